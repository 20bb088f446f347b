"""What operators change is written down: who, what was asked, what there was before and after."""

from functools import partial
from typing import Any

import pytest
from aiohttp import encode_basic_auth
from sqlalchemy import select

from admit.clock import DAY_MS
from admit.errors import StorageUnavailable
from admit.operators import changes, tokens
from admit.operators.changes import Begun, Ended, Page, Wanted
from admit.operators.tables import operator_changes
from admit.operators.tokens import NewToken
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from tests.contract.command_line import CommandLine
from tests.contract.served import Served

NOW = 1_800_000_000_000


def begun(number: int, **other: Any) -> Begun:
    given: dict[str, Any] = {
        "app_id": "app_1",
        "at": NOW + number,
        "who_kind": "operator",
        "who_id": "opr_1",
        "who_label": "noor@example.com",
        "address": "192.0.2.7",
        "kind": "change",
        "method": "PUT",
        "summary": "Replaces the settings",
        "path": f"/api/apps/notes/settings/{number}",
    }
    return Begun(**(given | other))


async def fill(database: Database, *rows: Begun) -> None:
    def unit(tx: Transaction) -> None:
        for number, row in enumerate(rows):
            changes.begin(tx, f"chg_{row.at}_{number}", row)

    await database.write(unit)


async def page(database: Database, **wanted: Any) -> Page:
    return await database.read(lambda tx: changes.page(tx, Wanted(**wanted)))


async def token_of(served: Served, *scopes: str) -> dict[str, str]:
    new = NewToken(label="deploy", scopes=frozenset(scopes))
    made = await served.gateway.db.write(
        partial(tokens.create_token, ring=served.gateway.ring, new=new, now=served.hands())
    )
    return {"Authorization": f"Bearer {made.token}"}


async def listed(served: Served, path: str = "/api/changes", **query: Any) -> list[dict[str, Any]]:
    answer = await served.ask("GET", path, headers=served.command(), params=query)
    assert answer.status == 200, answer.body
    changes: list[dict[str, Any]] = answer.json["changes"]
    return changes


async def newest(served: Served) -> dict[str, Any]:
    change_id = (await listed(served, limit=1))[0]["change_id"]
    shown: dict[str, Any] = (
        await served.ask("GET", f"/api/changes/{change_id}", headers=served.command())
    ).json
    return shown


async def test_changes_come_newest_first_in_pages_by_key(database: Database) -> None:
    await fill(database, *(begun(n // 2) for n in range(7)))
    first = await page(database, limit=4)
    rest = await page(database, limit=4, before=first.before)
    ids = [each.change_id for each in first.changes + rest.changes]
    assert len(set(ids)) == 7
    assert [each.at for each in first.changes + rest.changes] == sorted(
        (NOW + n // 2 for n in range(7)), reverse=True
    )
    assert rest.before is None


async def test_changes_are_found_by_who_time_app_and_path(database: Database) -> None:
    await fill(
        database,
        begun(1),
        begun(2, who_id="opt_1", who_label="Deploy", who_kind="token"),
        begun(3, app_id="app_2"),
        begun(4, path="/api/apps/notes/users/ada@example.com"),
    )
    assert [each.at - NOW for each in (await page(database, who="opt_1")).changes] == [2]
    assert [each.at - NOW for each in (await page(database, who="DEPLOY")).changes] == [2]
    assert [each.at - NOW for each in (await page(database, since=NOW + 3)).changes] == [4, 3]
    assert [each.at - NOW for each in (await page(database, app_id="app_2")).changes] == [3]
    assert [each.at - NOW for each in (await page(database, search="ADA@")).changes] == [4]
    assert (await page(database, search="a%@")).changes == (await page(database, search="_da")).changes == []
    assert (await page(database, app_id="app_2", who="opt_1")).changes == []


async def test_search_that_finds_nothing_near_leads_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "SEARCHED_ROWS_MAX", 10)
    await fill(database, begun(0, path="/wanted"), *(begun(n) for n in range(1, 16)))
    first = await page(database, search="wanted", limit=5)
    assert first.changes == []
    assert first.before is not None
    second = await page(database, search="wanted", limit=5, before=first.before)
    assert [each.path for each in second.changes] == ["/wanted"]


async def test_change_whose_end_nobody_saw_is_told_as_unknown(database: Database) -> None:
    await fill(database, begun(1))
    (change,) = (await page(database)).changes
    assert (change.status, change.ended_at) == (None, None)
    await database.write(partial(changes.end, change_id=change.change_id, ended=Ended(at=NOW, status=200)))
    await database.write(partial(changes.end, change_id=change.change_id, ended=Ended(at=NOW, status=500)))
    assert [each.status for each in (await page(database)).changes] == [200]


async def test_changes_are_forgotten_after_400_days(database: Database) -> None:
    await fill(database, begun(0), begun(1), begun(2))
    later = NOW + 400 * DAY_MS + 2
    assert await database.write(partial(changes.prune, now=later, rows_max=1)) == 1
    assert await database.write(partial(changes.prune, now=later, rows_max=9)) == 1
    assert [each.at - NOW for each in (await page(database)).changes] == [2]


async def test_change_by_a_token_has_what_was_there_before_and_after(served: Served) -> None:
    await served.app()
    headers = await token_of(served, "apps:read", "apps:write")
    answer = await served.ask("PUT", "/api/apps/notes/seats", headers=headers, json={"limit": 7})
    assert answer.status == 200
    change = await newest(served)
    assert change["who_kind"] == "token"
    assert change["who"] == "deploy"
    assert change["app"] == "notes"
    assert change["path"] == "/api/apps/notes/seats"
    assert change["asked"] == {"limit": 7}
    assert (change["before"]["limit"], change["after"]["limit"]) == (None, 7)
    assert (change["status"], change["code"], change["kind"]) == (200, "", "change")


async def test_reading_is_not_written_down(served: Served) -> None:
    await served.app()
    for path in ("/api/apps", "/api/apps/notes", "/api/changes", "/api/v4/notes/users"):
        assert (await served.ask("GET", path, headers=served.command())).status == 200
    assert await listed(served) == []


async def test_test_is_told_to_be_one_and_what_is_typed_leaves_no_trace(served: Served) -> None:
    await served.app()
    for path, body in (("policy/simulation", {"email": "ada@example.com"}), ("endpoints/ep_x/test", {})):
        await served.ask("POST", f"/api/apps/notes/{path}", headers=served.command(), json=body)
    (change,) = await listed(served)
    assert (change["kind"], change["path"]) == ("test", "/api/apps/notes/endpoints/ep_x/test")


async def test_refused_change_is_written_down_with_its_code(served: Served) -> None:
    await served.app()
    headers = await token_of(served, "apps:read")
    answer = await served.ask("PUT", "/api/apps/notes/seats", headers=headers, json={"limit": 7})
    assert answer.status == 403
    change = await newest(served)
    assert (change["status"], change["code"]) == (403, "insufficient_scope")
    assert change["after"] is None


async def test_stranger_writes_nothing_down(served: Served) -> None:
    await served.app()
    for headers in ({}, {"Authorization": "Bearer adm_nobody"}):
        answer = await served.ask("PUT", "/api/apps/notes/seats", headers=headers, json={"limit": 7})
        assert answer.status == 401
    assert await listed(served) == []


async def test_secret_is_neither_kept_when_given_nor_when_told(served: Served) -> None:
    app = await served.app()
    made = await served.ask("POST", "/api/apps/notes/clients", headers=served.command(), json={})
    mail = {"url": "smtp://postmaster:hunter2@mail.example.com:587", "sender": "Notes <n@example.com>"}
    assert (
        await served.ask("PUT", "/api/apps/notes/mail", headers=served.command(), json=mail)
    ).status == 200
    await served.ask("POST", "/api/apps/notes/policy/secret", headers=served.command())
    await served.ask(
        "POST", "/api/apps/notes/endpoints", headers=served.command(), json={"nonsense": "hunter2"}
    )
    rows = repr(
        await served.gateway.db.read(lambda tx: tx.execute(select(operator_changes)).mappings().all())
    )
    current = await served.gateway.directory.app(app.name)
    assert "(secret)" in rows
    assert "hunter2" not in rows
    assert made.json["client_secret"] not in rows
    assert current.hook_secret not in rows


async def test_nothing_of_a_person_but_ids_and_states_is_kept(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": "ada@example.com", "type": "prod", "data": {"name": "Ada L.", "n": 1}})
    body = [{"userId": "ada@example.com", "type": "eval", "data": {"type": "Lovelace"}}]
    put = await served.ask("POST", "/api/apps/notes/users", headers=served.command(), json=body)
    assert put.status == 200
    path = "/api/apps/notes/users/ada@example.com/deactivation"
    assert (await served.ask("POST", path, headers=served.command())).status == 200
    change = await newest(served)
    assert change["before"]["deactivated_at"] is None
    assert change["after"]["deactivated_at"] is not None
    assert change["before"]["type"] == "eval"
    assert change["before"]["data"].startswith("(left out ")
    rows = repr(
        await served.gateway.db.read(lambda tx: tx.execute(select(operator_changes)).mappings().all())
    )
    assert "Ada" not in rows
    assert "Lovelace" not in rows


async def test_long_body_is_kept_as_a_digest(served: Served) -> None:
    await served.app()
    users = [{"userId": f"u{n:05}@example.com", "type": "prod"} for n in range(500)]
    answer = await served.ask(
        "POST", "/api/apps/notes/user-imports", headers=served.command(), json={"users": users}
    )
    assert answer.status == 200
    change = await newest(served)
    assert set(change["asked"]) == {"(left out)"}
    assert change["asked"]["(left out)"]["bytes"] > 16_000
    assert change["after"]["created"] == 500


async def test_change_by_basic_with_an_operator_token_is_written_down(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": "ada@example.com", "type": "prod"})
    token = (await token_of(served, "sessions:write", "sessions:read"))["Authorization"].partition(" ")[2]
    client = await served.client(app)
    path = "/api/v4/notes/users/ada@example.com/lock"
    by_operator = await served.ask("POST", path, headers=_basic("notes", token))
    assert by_operator.status == 200, by_operator.body
    by_client = await served.ask("POST", path, headers=_basic(client.client_id, client.client_secret))
    assert by_client.status == 200, by_client.body
    written = await listed(served)
    assert [each["who"] for each in written] == ["deploy"]
    assert written[0]["app"] == "notes"


async def test_nothing_is_changed_that_cannot_be_written_down(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.app()

    def away(tx: Transaction, change_id: str, begun: Begun) -> None:
        raise StorageUnavailable("The database is away.")

    monkeypatch.setattr(changes, "begin", away)
    answer = await served.ask("PUT", "/api/apps/notes/seats", headers=served.command(), json={"limit": 7})
    assert answer.status == 503
    seats = await served.ask("GET", "/api/apps/notes/seats", headers=served.command())
    assert seats.json["limit"] is None


async def test_change_is_done_even_when_its_end_cannot_be_written_down(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.app()

    def away(tx: Transaction, change_id: str, ended: Ended) -> None:
        raise StorageUnavailable("The database is away.")

    monkeypatch.setattr(changes, "end", away)
    answer = await served.ask("PUT", "/api/apps/notes/seats", headers=served.command(), json={"limit": 7})
    assert answer.status == 200
    change = await newest(served)
    assert (change["status"], change["after"]) == (None, None)


async def test_changes_of_one_app_are_for_those_who_may_see_it(served: Served) -> None:
    await served.app("notes")
    await served.app("other")
    for app in ("notes", "other"):
        await served.ask("PUT", f"/api/apps/{app}/seats", headers=served.command(), json={"limit": 7})
    (change,) = await listed(served, "/api/apps/notes/changes")
    assert change["app"] == "notes"
    elsewhere = await served.ask(
        "GET", f"/api/apps/other/changes/{change['change_id']}", headers=served.command()
    )
    assert (elsewhere.status, elsewhere.json["code"]) == (404, "change_not_found")
    blind = await token_of(served, "apps:read")
    assert (await served.ask("GET", "/api/changes", headers=blind)).status == 403
    assert (await served.ask("GET", "/api/apps/notes/changes", headers=blind)).status == 403


@pytest.mark.parametrize("query", [{"before": "x"}, {"since": "-1"}, {"limit": "0"}, {"who_id": "x"}])
async def test_wrong_question_about_changes_is_refused(served: Served, query: dict[str, str]) -> None:
    answer = await served.ask("GET", "/api/changes", headers=served.command(), params=query)
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")


def test_commands_list_and_show_changes(admit: CommandLine) -> None:
    admit.done("app", "create", "notes", "--owner", "ada@example.com")
    admit.done("origin", "add", "notes", "https://notes.example.com")
    [head, change] = [
        line.split("\t") for line in admit.done("change", "list", "notes", "--since", "1d").splitlines()
    ]
    assert head == ["AT", "WHO", "APP", "WHAT", "PATH", "OUTCOME", "CHANGE"]
    assert change[1:6] == [
        "a command on this machine",
        "notes",
        "Allows an origin",
        "POST /api/apps/notes/origins",
        "done",
    ]
    shown = admit.done("change", "show", change[6]).splitlines()
    told = dict(line.split("\t", 1) for line in shown)
    assert "https://notes.example.com" in told["asked"]
    assert "https://notes.example.com" not in told["before"]
    assert "https://notes.example.com" in told["after"]
    assert admit.done("change", "list", "notes", "--who", "opr_nobody").splitlines() == ["\t".join(head)]
    admit.refused("change", "show", "chg_nothing", code=3)


def _basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": encode_basic_auth(name, password)}
