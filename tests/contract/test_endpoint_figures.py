"""How endpoints are doing, in numbers: what was tried by the hour, what waits, and for how long."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from admit.clock import DAY_MS, HOUR_MS
from admit.jobs import attempts, backlog, hours
from admit.jobs.attempts import Attempt
from admit.storage.database import Database
from tests.contract.served import Served
from tests.contract.test_admin_api import api
from tests.contract.token_desk import signed_in
from tests.receiver import always, receiving
from tests.residents import APP, NOW

FIGURES = "apps/notes/endpoint-figures"


def tried(job: str, lane: str, at: int, outcome: str = "ok", took: int = 100) -> Attempt:
    return Attempt(
        app_id=APP,
        job_id=job,
        attempt=1,
        lane=lane,
        started_at=at,
        duration_ms=took,
        outcome=outcome,
        status=None,
        address="",
        detail="",
        reply="",
    )


async def note(database: Database, *noted: Attempt) -> None:
    def unit(tx: Any) -> None:
        for each in noted:
            attempts.note(tx, each)

    await database.write(unit)


async def of_lane(database: Database, lane: str, since: int = 0) -> list[tuple[int, int, int, int]]:
    found = await database.read(partial(hours.of_lane, app_id=APP, lane=lane, since=since))
    return [(each.hour, each.accepted, each.failed, each.duration_ms) for each in found]


async def test_attempts_are_counted_by_lane_and_hour(database: Database) -> None:
    hour = NOW - NOW % HOUR_MS
    await note(database, tried("a", "ep_1", hour), tried("b", "ep_1", hour + 1, "http_503", 50))
    await note(database, tried("c", "ep_1", hour + HOUR_MS - 1), tried("d", "ep_2", hour, "timeout", 9))
    await note(database, tried("e", "ep_1", hour + HOUR_MS))

    assert await of_lane(database, "ep_1") == [(hour, 2, 1, 250), (hour + HOUR_MS, 1, 0, 100)]
    assert await of_lane(database, "ep_1", since=hour + HOUR_MS + 5) == [(hour + HOUR_MS, 1, 0, 100)]
    assert await of_lane(database, "ep_2") == [(hour, 0, 1, 9)]
    assert await of_lane(database, "ep_3") == []


async def test_attempts_that_are_noted_at_once_are_all_counted(database: Database) -> None:
    hour = NOW - NOW % HOUR_MS
    await asyncio.gather(*(note(database, tried(f"job{n}", "ep_1", hour + n)) for n in range(60)))
    assert await of_lane(database, "ep_1") == [(hour, 60, 0, 6_000)]


async def test_hours_are_forgotten_after_a_while(database: Database) -> None:
    for place in range(5):
        await note(database, tried(f"job{place}", "ep_1", NOW - place * 3 * DAY_MS))
    assert await database.write(partial(hours.prune, now=NOW, rows_max=1)) == 1
    assert await database.write(partial(hours.prune, now=NOW, rows_max=10)) == 1
    kept = [hour for hour, *_ in await of_lane(database, "ep_1")]
    assert all(hour > NOW - 8 * DAY_MS for hour in kept)
    assert len(kept) == 3


async def test_headers_of_answers_are_kept_as_far_as_they_fit(database: Database) -> None:
    long = {"x-first": "kept", "x-long": "a" * attempts.HEADERS_CHARACTERS_MAX}
    await note(database, Attempt(**{**_fields(tried("a", "ep_1", NOW)), "headers": long}))
    await note(database, Attempt(**{**_fields(tried("b", "ep_1", NOW)), "headers": {"x": "\udcff\x00"}}))
    [first] = await database.read(partial(attempts.of_job, app_id=APP, job_id="a"))
    [second] = await database.read(partial(attempts.of_job, app_id=APP, job_id="b"))
    assert first.headers == {"x-first": "kept"}
    assert second.headers == {"x": "?�"}


def _fields(attempt: Attempt) -> dict[str, Any]:
    return {name: getattr(attempt, name) for name in Attempt.__struct_fields__}


async def until(served: Served, wanted: Callable[[Any], bool], where: str = FIGURES) -> Any:
    """What the admin API answers once `wanted` holds of it."""
    async with asyncio.timeout(20):
        while True:
            answer = await api(served, "GET", where)
            assert answer.status == 200, answer.body
            if wanted(answer.json):
                return answer.json
            await asyncio.sleep(0.02)


async def endpoint(served: Served, url: str, **settings: Any) -> str:
    made = await api(served, "POST", "apps/notes/endpoints", {"url": url, **settings})
    assert made.status == 200, made.body
    told: str = made.json["id"]
    return told


async def test_figures_tell_what_was_accepted_failed_and_waits(served: Served) -> None:
    await served.app()
    began = served.hands()
    async with receiving(always()) as well, receiving(always(500)) as ill:
        good = await endpoint(served, well.url)
        bad = await endpoint(served, ill.url, events=["user.enrolled"])
        assert (await signed_in(served, "ada@example.com")).status == 200
        found = await until(
            served,
            lambda page: [each["accepted"] + each["failed"] for each in page["endpoints"]] == [3, 1],
        )

    first, second = found["endpoints"]
    assert (first["id"], first["accepted"], first["failed"], first["waiting"]) == (good, 3, 0, 0)
    assert (first["oldest_at"], first["next_at"]) == (None, None)
    assert first["answer_ms"] is not None
    assert (second["id"], second["accepted"], second["failed"], second["waiting"]) == (bad, 0, 1, 1)
    assert began <= second["oldest_at"] <= served.hands()
    assert second["next_at"] > second["oldest_at"]
    page = await api(served, "GET", f"{FIGURES}?limit=1")
    assert page.json["after"] == good
    rest = await api(served, "GET", f"{FIGURES}?after={good}")
    assert ([each["id"] for each in rest.json["endpoints"]], rest.json["after"]) == ([bad], None)


async def test_paused_endpoint_is_behind_since_the_first_event_that_it_missed(served: Served) -> None:
    await served.app()
    async with receiving(always()) as receiver:
        told = await endpoint(served, receiver.url)
        state = await api(served, "PUT", f"apps/notes/endpoints/{told}/state", {"state": "paused"})
        assert state.status == 200
        [before] = (await api(served, "GET", FIGURES)).json["endpoints"]
        began = served.hands()
        assert (await signed_in(served, "ada@example.com")).status == 200
        [after] = (await api(served, "GET", FIGURES)).json["endpoints"]
    assert (before["missed"], before["oldest_at"]) == (0, None)
    assert after["missed"] == 3
    assert after["waiting"] == 0
    assert after["oldest_at"] >= began


async def test_hours_of_an_endpoint_are_told_one_by_one(served: Served) -> None:
    await served.app()
    async with receiving(always()) as receiver:
        told = await endpoint(served, receiver.url, events=["user.enrolled"])
        assert (await signed_in(served, "ada@example.com")).status == 200
        where = f"apps/notes/endpoints/{told}/figures"
        found = await until(served, lambda of: of["accepted"] == 1, f"{where}?hours=48")
    assert len(found["hours"]) == 48
    assert sum(each["accepted"] for each in found["hours"]) == 1
    assert [each["answer_ms"] is None for each in found["hours"]].count(False) == 1
    moments = [each["at"] for each in found["hours"]]
    assert moments == list(range(moments[0], moments[0] + 48 * HOUR_MS, HOUR_MS))
    unknown = await api(served, "GET", "apps/notes/endpoints/ep_unknown/figures")
    assert (unknown.status, unknown.json["code"]) == (404, "endpoint_not_found")
    assert (await api(served, "GET", f"{where}?hours=999")).status == 400


async def test_backlog_is_bounded_however_much_waits(served: Served, monkeypatch: Any) -> None:
    await served.app()
    monkeypatch.setattr(backlog, "COUNTED_MAX", 2)
    monkeypatch.setattr(backlog, "LOOKED_AT_MAX", 1)
    async with receiving(always(500)) as receiver:
        told = await endpoint(served, receiver.url)
        began = served.hands()
        for name in ("ada", "bob"):
            assert (await signed_in(served, f"{name}@example.com")).status == 200
        found = await until(served, lambda page: page["endpoints"][0]["failed"] >= 2)
    [figures] = found["endpoints"]
    assert figures["id"] == told
    assert figures["waiting"] == 2
    assert began <= figures["oldest_at"] <= served.hands()


async def test_delivery_tells_what_was_sent_and_what_came_back(served: Served) -> None:
    await served.app()
    async with receiving(always(headers={"X-Request-Id": "req-7"}, ok=True)) as receiver:
        told = await endpoint(
            served, receiver.url, events=["user.enrolled"], headers={"X-Key": "very-secret"}
        )
        assert (await signed_in(served, "ada@example.com")).status == 200
        listed = await until(
            served,
            lambda page: [each["state"] for each in page["deliveries"]] == ["delivered"],
            f"apps/notes/deliveries?endpoint={told}",
        )
        shown = await api(served, "GET", f"apps/notes/deliveries/{listed['deliveries'][0]['id']}")
    assert shown.json["history"][0]["headers"]["x-request-id"] == "req-7"
    assert shown.json["headers"] == {
        "x-key": "…",
        "content-type": "application/json",
        "webhook-id": shown.json["event_id"],
    }
    assert shown.json["url"] == receiver.url
    assert b"very-secret" not in shown.body


async def test_what_was_answered_about_somebody_goes_with_them(served: Served) -> None:
    await served.app()
    async with receiving(always(headers={"X-About": "ada"}, ok=True)) as receiver:
        told = await endpoint(served, receiver.url, events=["user.enrolled"])
        assert (await signed_in(served, "ada@example.com")).status == 200
        where = f"apps/notes/deliveries?endpoint={told}"
        listed = await until(
            served, lambda page: [each["state"] for each in page["deliveries"]] == ["delivered"], where
        )
        gone = await api(served, "DELETE", "apps/notes/users/ada@example.com")
        assert gone.status in (200, 204), gone.body
        shown = await api(served, "GET", f"apps/notes/deliveries/{listed['deliveries'][0]['id']}")
    assert (shown.json["history"][0]["headers"], shown.json["history"][0]["reply"]) == ({}, "")
    assert shown.json["user_id"] is None
