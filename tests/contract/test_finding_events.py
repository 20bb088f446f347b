"""Events before a place, the newest first; one by its id; and the deliveries that tell it."""

from functools import partial
from typing import Any

import pytest

from admit.accounts.apps import App
from admit.events import finding, log
from tests.contract.served import Answered, Served
from tests.contract.signin_desk import device
from tests.contract.test_admin_api import api
from tests.contract.token_desk import signed_in
from tests.receiver import always, receiving

WHERE = "apps/notes/events"


async def enrolled(served: Served, *names: str) -> App:
    app = await served.app()
    for name in names:
        assert (await signed_in(served, f"{name}@example.com")).status == 200
    return app


def told(answer: Answered) -> list[tuple[str, str]]:
    assert answer.status == 200, answer.body
    return [(each["data"]["sequence"], each["type"]) for each in answer.json["events"]]


async def all_before(served: Served, query: str) -> list[tuple[str, str]]:
    """All pages from the newest on."""
    found, cursor = [], "latest"
    while True:
        answer = await api(served, "GET", f"{WHERE}?before={cursor}&{query}")
        found += told(answer)
        if not answer.json["more"]:
            return found
        cursor = answer.json["cursor"]


async def test_pages_go_back_from_the_newest_and_forward_again(served: Served) -> None:
    await enrolled(served, "ada", "bob")

    newest = await api(served, "GET", f"{WHERE}?before=latest&limit=2")
    older = await api(served, "GET", f"{WHERE}?before={newest.json['cursor']}&limit=2")

    assert told(newest) == [("6", "session.started"), ("5", "device.enrolled")]
    assert told(older) == [("4", "user.enrolled"), ("3", "session.started")]
    assert older.json["more"] is True
    assert [place for place, _ in await all_before(served, "limit=2")] == ["6", "5", "4", "3", "2", "1"]
    newer = await api(served, "GET", f"{WHERE}?after={older.json['back']}&limit=2")
    assert told(newer) == told(newest)[::-1]
    follows = await api(served, "GET", f"{WHERE}?after={newest.json['back']}")
    assert told(follows) == []


async def test_types_person_and_device_are_looked_for(served: Served) -> None:
    await served.app()
    laptop = device(1)
    for name in ("ada", "bob"):
        assert (await signed_in(served, f"{name}@example.com", by=laptop)).status == 200
    assert (await signed_in(served, "ada@example.com", by=device(2))).status == 200
    listed = await api(served, "GET", f"{WHERE}?types=device.enrolled")
    identifiers = [each["data"]["device"]["identifier"] for each in listed.json["events"]]
    assert identifiers[0] == identifiers[1] != identifiers[2]

    on_laptop = await all_before(served, f"device={identifiers[0]}&limit=2")
    of_ada = await all_before(served, f"device={identifiers[0]}&user=ada@example.com&limit=2")
    of_types = await all_before(served, "types=user.enrolled&limit=1")
    of_bob = await all_before(served, "user=bob@example.com&limit=2")

    assert [place for place, _ in on_laptop] == ["6", "5", "4", "3", "2", "1"]
    assert [place for place, _ in of_ada] == ["3", "2", "1"]
    assert of_types == [("4", "user.enrolled"), ("1", "user.enrolled")]
    assert [place for place, _ in of_bob] == ["6", "5", "4"]
    assert await all_before(served, "device=nobodys") == []


async def test_page_looks_at_a_bounded_number_of_events(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enrolled(served, "ada", "bob")
    monkeypatch.setattr(finding, "SCANNED_MAX", 2)

    page = await api(served, "GET", f"{WHERE}?before=latest&types=user.enrolled")

    assert told(page) == []
    assert page.json["more"] is True
    assert [place for place, _ in await all_before(served, "types=user.enrolled")] == ["4", "1"]
    assert [place for place, _ in await all_before(served, "user=ada@example.com")] == ["3", "2", "1"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("before=latest&after=beginning", "invalid_request"),
        ("before=latest&wait=1", "invalid_request"),
        ("before=nonsense", "invalid_request"),
        ("device=laptop", "invalid_request"),
        ("before=latest&types=user.enroled", "event_type_unknown"),
        ("before=latest&limit=0", "invalid_request"),
    ],
)
async def test_question_that_makes_no_sense_is_refused(served: Served, query: str, code: str) -> None:
    await served.app()
    answer = await api(served, "GET", f"{WHERE}?{query}")
    assert (answer.status, answer.json["code"]) == (400, code)


async def test_cursor_of_another_app_has_expired(served: Served) -> None:
    await enrolled(served, "ada")
    await served.app("plans")
    page = await api(served, "GET", f"{WHERE}?before=latest&limit=1")
    answer = await api(served, "GET", f"apps/plans/events?before={page.json['cursor']}")
    assert (answer.status, answer.json["code"]) == (410, "cursor_expired")


async def test_event_is_shown_by_its_id(served: Served) -> None:
    app = await enrolled(served, "ada")
    (first, *_) = await served.gateway.db.read(partial(log.after, app_id=app.app_id, position=0, limit=1))

    full = await api(served, "GET", f"{WHERE}/{first.event_id}")
    thin = await api(served, "GET", f"{WHERE}/{first.event_id}?format=thin")
    unknown = await api(served, "GET", f"{WHERE}/evt_unknown")
    await served.app("plans")
    elsewhere = await api(served, "GET", f"apps/plans/events/{first.event_id}")

    assert full.json["id"] == first.event_id
    assert full.json["data"]["user"]["email"] == "ada@example.com"
    assert "email" not in thin.json["data"]["user"]
    assert (unknown.status, unknown.json["code"]) == (404, "event_not_found")
    assert elsewhere.status == 404


async def endpoint(served: Served, url: str, **settings: Any) -> str:
    made = await api(served, "POST", "apps/notes/endpoints", {"url": url, **settings})
    assert made.status == 200, made.body
    told: str = made.json["id"]
    return told


async def test_deliveries_of_an_event_are_found_by_its_id(served: Served) -> None:
    await served.app()
    async with receiving(always()) as receiver:
        first, second = [await endpoint(served, receiver.url) for _ in range(2)]
        assert (await signed_in(served, "ada@example.com")).status == 200
        listed = await api(served, "GET", f"{WHERE}?types=device.enrolled")
        (event,) = listed.json["events"]

        found = await api(served, "GET", f"apps/notes/deliveries?event={event['id']}")
        to_one = await api(served, "GET", f"apps/notes/deliveries?event={event['id']}&endpoint={second}")

    assert {each["endpoint"] for each in found.json["deliveries"]} == {first, second}
    assert {each["event_id"] for each in found.json["deliveries"]} == {event["id"]}
    assert found.json["before"] is None
    assert [each["endpoint"] for each in to_one.json["deliveries"]] == [second]
    unknown = await api(served, "GET", "apps/notes/deliveries?event=evt_unknown")
    assert (unknown.status, unknown.json["code"]) == (404, "event_not_found")
    both = await api(served, "GET", f"apps/notes/deliveries?event={event['id']}&user=ada@example.com")
    assert both.status == 400


async def test_delivery_of_an_event_about_nobody_is_found(served: Served) -> None:
    await served.app()
    async with receiving(always(410)) as gone, receiving(always()) as receiver:
        told = await endpoint(served, receiver.url)
        doomed = await endpoint(served, gone.url, events=["user.enrolled"])
        assert (await signed_in(served, "ada@example.com")).status == 200
        async with served.http.get(
            f"{served.url}/api/{WHERE}?types=endpoint.disabled&wait=20", headers=served.command()
        ) as answer:
            (event,) = (await answer.json())["events"]
        found = await api(served, "GET", f"apps/notes/deliveries?event={event['id']}")
    assert event["data"]["endpoint"]["id"] == doomed
    assert [each["endpoint"] for each in found.json["deliveries"]] == [told]


async def test_types_are_told_with_schema_and_example(served: Served) -> None:
    app = await served.app()

    listed = await api(served, "GET", "apps/notes/event-types")
    shown = await api(served, "GET", "apps/notes/event-types/user.enrolled")
    unknown = await api(served, "GET", "apps/notes/event-types/user.enroled")

    by_type = {each["type"]: each for each in listed.json["types"]}
    assert by_type["user.enrolled"]["for_everybody"] is True
    assert by_type["data.changed"]["for_everybody"] is False
    assert shown.json["schema"]["title"] == "user.enrolled"
    assert shown.json["full"]["data"]["app"] == {"id": app.app_id, "name": "notes"}
    assert shown.json["full"]["data"]["user"]["email"] == "ada@example.com"
    assert "email" not in shown.json["thin"]["data"]["user"]
    assert (unknown.status, unknown.json["code"]) == (400, "event_type_unknown")
