"""The pages about people: the list, a new person, one person with all that is done there, and the export."""

import csv
import io
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert

from admit.accounts.apps import App
from admit.accounts.tables import devices, sessions
from admit.storage.transaction import Transaction
from admit.web.manager import people as people_page
from tests.contract.manager_pages import FoundForm, Shown, signed_in
from tests.contract.served import Served
from tests.contract.test_admin_api import api

ADA = "ada@example.com"
PEOPLE = "/apps/notes/people"
PAGE_OF_ADA = f"{PEOPLE}/{ADA}"


async def person(served: Served, whose: str = ADA) -> dict[str, Any]:
    found: dict[str, Any] = (await api(served, "GET", f"apps/notes/users/{whose}")).json
    return found


async def move_in(
    served: Served, app: App, *, data: dict[str, Any] | None = None, type: str = "eval"
) -> None:
    await served.write(
        app, {"userId": ADA, "type": type, "data": {"displayName": "Ada Lovelace"} | (data or {})}
    )


async def on_devices(served: Served, app: App, *names: str) -> None:
    """Ada is enrolled on devices of these names."""
    uid, now = (await person(served))["uid"], served.hands()

    def write(tx: Transaction) -> None:
        for number, name in enumerate(names):
            tx.execute(insert(devices), device_row(app.app_id, uid, name, now + number))
            tx.execute(insert(sessions), session_row(app.app_id, uid, name, now + number))

    await served.gateway.db.write(write)


def device_row(app_id: str, uid: str, name: str, now: int) -> dict[str, object]:
    own = {"device_id": f"id-{name}", "derived": "no", "key_thumbprint": "", "label": name, "about": "{}"}
    return {"app_id": app_id, "uid": uid, "first_seen_at": now, "last_seen_at": now, **own}


def session_row(app_id: str, uid: str, name: str, now: int) -> dict[str, object]:
    row: dict[str, object] = {
        each.name: None if each.nullable else "" if each.name in TEXTS else now for each in sessions.columns
    }
    row |= {
        "app_id": app_id,
        "session_id": f"ses_{name}",
        "uid": uid,
        "device_id": f"id-{name}",
        "ordinal": 1,
    }
    return row | {"state": "ENROLLED", "scopes": "ACCESS_DB", "refresh_until": now + 10**9}


TEXTS = frozenset({"reason", "public_key", "key_thumbprint", "scopes", "state"})


# The list


async def test_an_app_in_which_nobody_lives_says_how_they_come(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        page = await operator.get(PEOPLE)
    assert page.status == 200
    assert "Nobody lives here yet" in page.text
    assert page.links["Import people"] == "/manager/apps/notes/people-import"
    assert page.links["Create person"] == "/manager/apps/notes/new-person"


async def test_people_are_listed_filtered_and_searched_for(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people_page, "TOTAL_SECONDS_MAX", 10)  # this machine may be busy
    app = await served.app()
    await move_in(served, app, type="prod")
    await served.write(
        app,
        {"userId": "bob@example.com", "type": "eval"},
        {"userId": "cy@example.com", "type": "eval", "deactivated": True},
    )
    async with signed_in(served) as operator:
        everybody = await operator.get(PEOPLE)
        assert "3 people" in everybody.text
        assert everybody.links["Ada Lovelace"] == "/manager/apps/notes/people/ada%40example.com"
        assert "30 active days left" in everybody.text

        found = await operator.get(f"{PEOPLE}?q=lovel&type=prod")
        assert "Ada Lovelace" in found.links
        assert "bob@example.com" not in found.links
        assert "admit user list notes --search lovel --type prod --sort created --desc" in found.text
        deactivated = await operator.get(f"{PEOPLE}?standing=deactivated")
        assert ("cy@example.com" in deactivated.links, "bob@example.com" in deactivated.links) == (
            True,
            False,
        )
        assert "Nobody fits" in (await operator.get(f"{PEOPLE}?q=zoe")).text
        assert (await operator.get(f"{PEOPLE}?standing=asleep")).status == 400
        assert (await operator.get(f"{PEOPLE}?key=nonsense")).status == 400


async def test_a_search_as_it_is_typed_gets_the_list_alone(served: Served) -> None:
    app = await served.app()
    await move_in(served, app)
    async with signed_in(served) as operator:
        found = await operator.fragment(f"{PEOPLE}?q=ada")
    assert found.status == 200
    assert found.html.lstrip().startswith('<div class="stack" id="found">')
    assert "Ada Lovelace" in found.html
    assert "<nav" not in found.html


async def test_pages_lead_there_and_back(served: Served) -> None:
    app = await served.app()
    await served.write(
        app, *({"userId": f"p{number:03}@example.com", "type": "prod"} for number in range(120))
    )

    def shown(page: Shown) -> list[str]:
        return [label for label in page.links if label.startswith("p")]

    async with signed_in(served) as operator:
        first = await operator.get(f"{PEOPLE}?sort=userId")
        assert shown(first) == [f"p{number:03}@example.com" for number in range(50)]
        assert "Previous" not in first.links
        second = await operator.get(first.links["Next"])
        third = await operator.get(second.links["Next"])
        assert shown(third) == [f"p{number:03}@example.com" for number in range(100, 120)]
        assert "Next" not in third.links
        back = await operator.get(third.links["Previous"])
        assert shown(back) == shown(second)
        assert shown(await operator.get(back.links["Previous"])) == shown(first)


# Creating


async def test_somebody_is_created_with_what_was_typed(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        form = (await operator.get("/apps/notes/new-person")).form("/new-person")
        done = await operator.post(
            form, user_id=ADA, type="eval", eval_days="7", valid_until="2030-12-31", data='{"team":"North"}'
        )
    assert done.url.endswith("/people/ada@example.com")
    assert "ada@example.com is created." in done.text
    ada = await person(served)
    assert (ada["type"], ada["eval_days_left"], ada["data"]) == ("eval", 7, {"team": "North"})
    assert ada["valid_until"] == 1_924_905_600_000


@pytest.mark.parametrize(
    ("typed", "status", "sentence"),
    [
        ({"user_id": ""}, 400, "Whom? Type a user ID"),
        ({"user_id": "known@example.com"}, 409, "lives here already"),
        ({"eval_days": "soon"}, 400, "Days of the trial: write a whole number"),
        ({"eval_days": "-1"}, 400, "evalDaysLeft is a number from 0"),
        ({"valid_until": "tomorrow"}, 400, "validUntil is a date"),
        ({"data": '{"a": 1,}'}, 400, "remove the comma before “}”"),
        ({"data": "[]"}, 400, "JSON object"),
    ],
)
async def test_a_person_who_cannot_be_is_not_created(
    served: Served, typed: dict[str, str], status: int, sentence: str
) -> None:
    app = await served.app()
    await served.write(app, {"userId": "known@example.com", "type": "prod"})
    async with signed_in(served) as operator:
        form = (await operator.get("/apps/notes/new-person")).form("/new-person")
        page = await operator.post(form, **({"user_id": ADA, "type": "prod"} | typed))
    assert page.status == status
    assert "Nobody was created" in page.text
    assert sentence in page.text
    assert page.form("/new-person").fields["user_id"] == typed.get("user_id", ADA), "what was typed is kept"
    assert (await api(served, "GET", f"apps/notes/users/{ADA}")).status == 404


async def test_no_seat_is_said_and_nobody_is_created(served: Served) -> None:
    await served.app()
    await api(served, "PUT", "apps/notes/seats", {"limit": 0})
    async with signed_in(served) as operator:
        form = (await operator.get("/apps/notes/new-person")).form("/new-person")
        page = await operator.post(form, user_id=ADA, type="prod")
    assert page.status == 409
    assert "seat" in page.text


# One person


async def test_a_person_is_shown_with_devices_data_and_timeline(served: Served) -> None:
    app = await served.app()
    await move_in(served, app, data={"team": "North"})
    await on_devices(served, app, "Laptop")
    async with signed_in(served) as operator:
        page = await operator.get(PAGE_OF_ADA)
    assert page.status == 200
    for said in ("Ada Lovelace", "Laptop", "1 device", "Admitted as eval", "user.enrolled", "Came by api"):
        assert said in page.text, said
    assert msgspec.json.decode(page.form("/data").fields["data"])["team"] == "North"
    assert "admit user timeline notes ada@example.com" in page.text
    assert "Erased: the data, 1 device and 1 session." in page.text
    assert "1 decision in the ledger and 1 event, with the userId" in page.text


async def test_somebody_who_does_not_live_here_is_not_found(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        page = await operator.get(PAGE_OF_ADA)
    assert page.status == 404
    assert "There is no such user in this app." in page.text


async def test_a_user_id_with_anything_in_it_has_a_page(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": "a/b ?#%<c>", "type": "prod"})
    async with signed_in(served) as operator:
        listed = await operator.get(PEOPLE)
        page = await operator.get(listed.links["a/b ?#%<c>"])
        assert page.status == 200
        locked = await operator.post(page.form("/lock"))
    assert "All devices are locked." in locked.text
    assert "Unlock all devices" in locked.text


async def test_the_standing_is_saved_and_taken_back(served: Served) -> None:
    app = await served.app()
    await move_in(served, app)
    async with signed_in(served) as operator:
        form = (await operator.get(PAGE_OF_ADA)).form("/standing")
        served.hands.move(seconds=1)
        done = await operator.post(
            form, type="prod", eval_days="5", valid_until="2031-01-01", devices_max="3"
        )
        assert "The standing is saved." in done.text
        ada = await person(served)
        assert (ada["type"], ada["eval_days_left"], ada["devices_max"]) == ("prod", 5, 3)
        assert ada["valid_until"] == 1_924_992_000_000

        undo = [each for each in done.forms if each.action.endswith("/standing")][-1]
        await operator.post(undo)
        ada = await person(served)
        assert (ada["type"], ada["eval_days_left"], ada["devices_max"]) == ("eval", 30, None)
        assert ada["valid_until"] is None


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ({"devices_max": "many"}, "Devices at once: write a whole number"),
        ({"devices_max": "1001"}, "write a number from 0 to 1000"),
        ({"eval_days": "999999"}, "evalDaysLeft is a number"),
        ({"type": "king"}, "The type of a user is eval or prod"),
    ],
)
async def test_a_standing_that_cannot_be_is_refused_with_what_was_typed(
    served: Served, typed: dict[str, str], sentence: str
) -> None:
    app = await served.app()
    await move_in(served, app)
    before = await person(served)
    async with signed_in(served) as operator:
        form = (await operator.get(PAGE_OF_ADA)).form("/standing")
        page = await operator.post(form, **({"valid_until": "2031-01-01"} | typed))
    assert page.status == 400
    assert sentence in page.text
    assert page.form("/standing").fields["valid_until"] == "2031-01-01"
    assert await person(served) == before


async def test_who_saves_what_somebody_else_has_changed_meanwhile_is_told(served: Served) -> None:
    app = await served.app()
    await move_in(served, app)
    async with signed_in(served) as operator:
        shown = await operator.get(PAGE_OF_ADA)
        served.hands.move(seconds=1)
        await served.write(app, {"userId": ADA, "data": {"team": "South"}})
        for form, typed in (
            (shown.form("/data"), {"data": '{"team":"West"}'}),
            (shown.form("/standing"), {"type": "prod"}),
        ):
            page = await operator.post(form, **typed)
            assert page.status == 409
            assert "Somebody else has changed this person meanwhile." in page.text
    ada = await person(served)
    assert (ada["data"], ada["type"]) == ({"team": "South"}, "eval")


async def test_data_are_saved_checked_and_taken_away(served: Served) -> None:
    app = await served.app()
    await move_in(served, app)
    async with signed_in(served) as operator:
        form = (await operator.get(PAGE_OF_ADA)).form("/data")
        wrong = await operator.post(form, data='{\n  "team": "North",\n}')
        assert wrong.status == 400
        assert "Line 3, character 1: remove the comma before “}”." in wrong.text
        assert wrong.form("/data").fields["data"] == '{\n  "team": "North",\n}'

        served.hands.move(seconds=1)
        saved = await operator.post(form, data='{"team": "North"}')
        assert "The data are saved." in saved.text
        assert (await person(served))["data"] == {"team": "North"}
        editor = next(each for each in saved.forms if each.action.endswith("/data") and "seen" in each.fields)
        await operator.post(editor, data="")
    assert (await person(served))["data"] is None


async def test_a_door_is_closed_and_opened_again_by_undo(served: Served) -> None:
    app = await served.app()
    await move_in(served, app)
    async with signed_in(served) as operator:
        closed = await operator.post((await operator.get(PAGE_OF_ADA)).form("/deactivate"))
        assert "ada@example.com is deactivated." in closed.text
        assert "cannot sign in or sync since" in closed.text
        assert (await person(served))["deactivated_at"] is not None
        undo = next(each for each in closed.forms if each.action.endswith("/reactivate"))
        await operator.post(undo)
    assert (await person(served))["deactivated_at"] is None


async def test_a_device_is_locked_unlocked_and_wiped(served: Served) -> None:
    app = await served.app()
    await move_in(served, app)
    await on_devices(served, app, "Laptop", "Phone")

    async def state(session_id: str) -> tuple[str, str]:
        found = (await api(served, "GET", f"v4/notes/users/{ADA}/sessions/{session_id}")).json
        return found["state"], found.get("reason", "")

    async with signed_in(served) as operator:
        page = await operator.get(PAGE_OF_ADA)
        locked = await operator.post(page.form("/ses_Laptop/lock"))
        assert "Laptop is locked." in locked.text
        assert await state("ses_Laptop") == ("LOCKED", "locked")
        assert await state("ses_Phone") == ("ENROLLED", "")
        unlock = next(each for each in locked.forms if each.action.endswith("/ses_Laptop/unlock"))
        await operator.post(unlock)
        assert await state("ses_Laptop") == ("ENROLLED", "")

        again = await operator.post(page.form("/ses_Laptop/re-authenticate"))
        assert "Laptop waits for a new sign-in." in again.text
        wiped = await operator.post(page.form("/ses_Phone/wipe"))
        assert "Phone is to erase what it holds when it connects next." in wiped.text
        assert await state("ses_Phone") == ("RESET", "wiped")
        everything = await operator.post((await operator.get(PAGE_OF_ADA)).form(f"{PAGE_PATH}/lock"))
        assert "Unlock all devices" in everything.text
    assert (await person(served))["locked_at"] is not None


PAGE_PATH = "/people/ada%40example.com"


async def test_who_deletes_types_the_user_id(served: Served) -> None:
    app = await served.app()
    await move_in(served, app)
    async with signed_in(served) as operator:
        form = (await operator.get(PAGE_OF_ADA)).form("/delete")
        refused = await operator.post(form, confirm="ada")
        assert refused.status == 400
        assert "Nothing was deleted." in refused.text
        assert (await api(served, "GET", f"apps/notes/users/{ADA}")).status == 200
        deleted = await operator.post(form, confirm=ADA)
    assert deleted.url.endswith("/apps/notes/people")
    assert "ada@example.com is deleted." in deleted.text
    assert (await api(served, "GET", f"apps/notes/users/{ADA}")).status == 404


async def test_the_timeline_is_turned_over_by_kind(served: Served) -> None:
    app = await served.app()
    await move_in(served, app)
    for number in range(40):
        await served.write(app, {"userId": ADA, "data": {"n": number}})
    async with signed_in(served) as operator:
        page = await operator.get(f"{PAGE_OF_ADA}?kind=event")
        older = await operator.get(page.links["Older"])
        assert page.text.count("user.updated") == 30
        assert older.text.count("user.updated") == 10
        assert "user.enrolled" in older.text
        assert "Older" not in older.links
        decisions = await operator.fragment(f"{PAGE_OF_ADA}?kind=decision", target="timeline")
    assert decisions.html.lstrip().startswith('<section class="panel" id="timeline"')
    assert "Admitted as eval" in decisions.html
    assert "user.updated" not in decisions.html


@pytest.mark.parametrize(("role", "writes"), [("support", True), ("read-only", False)])
async def test_what_a_role_may_not_do_is_neither_offered_nor_done(
    served: Served, role: Any, writes: bool
) -> None:
    app = await served.app()
    await move_in(served, app)
    await on_devices(served, app, "Laptop")
    async with signed_in(served, role) as operator:
        page = await operator.get(PAGE_OF_ADA)
        offered = {each.action.rsplit("/", 1)[1] for each in page.forms}
        assert ({"standing", "data", "deactivate", "delete", "lock", "wipe"} <= offered) is writes
        assert ("Create person" in (await operator.get(PEOPLE)).links) is writes
        csrf = page.forms[0].fields["csrf"]
        for action in ("deactivate", "lock", "data", "delete"):
            form = FoundForm(
                f"/manager/apps/notes{PAGE_PATH}/{action}", {"csrf": csrf, "confirm": ADA, "data": "{}"}
            )
            answered = await operator.post(form)
            assert (answered.status == 403) is not writes, action
    assert (await api(served, "GET", f"apps/notes/users/{ADA}")).status == (404 if writes else 200)


# The export


async def test_an_export_holds_everybody_and_is_what_an_import_reads(served: Served) -> None:
    app = await served.app()
    for begin in (0, 600):
        people = (
            {"userId": f"p{number:04}@example.com", "type": "prod"} for number in range(begin, begin + 600)
        )
        await served.write(app, *people)
    await served.write(app, {"userId": ADA, "type": "eval", "data": {"displayName": "=1+1"}})
    async with signed_in(served) as operator:
        page = await operator.get(PEOPLE)
        file = await operator.get(page.links["CSV, for spreadsheets"])
        rows = list(csv.DictReader(io.StringIO(file.html)))
        assert file.headers["Content-Disposition"] == 'attachment; filename="notes-people.csv"'
        assert len({row["userId"] for row in rows}) == len(rows) == 1_201
        assert next(row for row in rows if row["userId"] == ADA)["name"] == "'=1+1", "no formula"
        lines = (await operator.get("/apps/notes/people-export?format=jsonl&type=eval")).html.splitlines()
        assert [msgspec.json.decode(line)["userId"] for line in lines] == [ADA]
        assert (await operator.get("/apps/notes/people-export?format=xml")).status == 400
