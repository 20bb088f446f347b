"""The timeline of a person, and what a delete would erase: what is told, in which order, and to whom."""

import base64
import re
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, update
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect

from admit.accounts import belongings
from admit.accounts.apps import App
from admit.data import erasure
from admit.enrollment import departures
from admit.enrollment.tables import admissions
from admit.events import log, person_walk
from admit.events.log import events
from admit.jobs import emptying
from admit.jobs import person_walk as jobs_walk
from admit.storage.transaction import Transaction
from tests.contract.served import Answered, Served
from tests.contract.test_admin_api import api, operator_token

ADA = "ada@example.com"
OF_ADA = f"apps/notes/users/{ADA}"


async def timeline(served: Served, query: str = "", whose: str = ADA, **options: Any) -> Answered:
    return await api(served, "GET", f"apps/notes/users/{whose}/timeline{query}", **options)


async def all_pages(served: Served, query: str = "") -> list[dict[str, Any]]:
    """Every entry, page by page."""
    found: list[dict[str, Any]] = []
    before = ""
    while True:
        page = (await timeline(served, f"?limit=3{query}{before}")).json
        found += page["entries"]
        if page["before"] is None:
            return found
        before = f"&before={page['before']}"


async def told(served: Served, app: App, endpoints: int = 2) -> None:
    """Ada was created and renamed twice, and endpoints are owed all of it."""
    for number in range(endpoints):
        made = await api(
            served,
            "POST",
            "apps/notes/endpoints",
            {"url": f"http://127.0.0.1:9/{number}", "events": ["user.enrolled", "user.updated"]},
        )
        assert made.status == 200, made.body
    await served.write(app, {"userId": ADA, "type": "eval"})
    for nick in ("Ada", "Countess"):
        served.hands.move(seconds=1)
        await served.write(app, {"userId": ADA, "data": {"nick": nick}})


async def test_everything_about_a_person_is_told_newest_first(served: Served) -> None:
    app = await served.app()
    await told(served, app, endpoints=1)
    await served.write(app, {"userId": "bob@example.com", "type": "eval"})

    page = (await timeline(served)).json

    assert page["kinds"] == ["decision", "event", "delivery", "run"]
    assert page["before"] is None
    shown = [
        (each["kind"], each.get("event", each.get("delivery", {})).get("type", ""))
        for each in page["entries"]
    ]
    assert shown == [
        ("delivery", "user.updated"),
        ("event", "user.updated"),
        ("delivery", "user.updated"),
        ("event", "user.updated"),
        ("delivery", "user.enrolled"),
        ("event", "user.enrolled"),
        ("decision", ""),
    ]
    times = [each["at"] for each in page["entries"]]
    assert times == sorted(times, reverse=True)
    decision = page["entries"][-1]
    assert decision["decision"]["verdict"] == "eval"
    assert decision["id"] == decision["decision"]["admission_id"]
    event = page["entries"][1]["event"]
    assert event["id"] == page["entries"][1]["id"]
    assert event["data"]["changed"] == ["data"]
    assert "data" not in event["data"]["user"], "the operator's data are on the person's page"


async def test_pages_skip_nothing_and_double_nothing_while_more_happens(served: Served) -> None:
    app = await served.app()
    await told(served, app)
    whole = [each["id"] for each in (await timeline(served)).json["entries"]]
    assert len(whole) == 10

    found: list[str] = []
    page = (await timeline(served, "?limit=3")).json
    while True:
        found += [each["id"] for each in page["entries"]]
        await served.write(app, {"userId": ADA, "data": {"nick": f"{len(found)}"}})
        if page["before"] is None:
            break
        page = (await timeline(served, f"?limit=3&before={page['before']}")).json

    assert found == whole


async def test_events_whose_times_are_not_in_their_order_are_told_once_each(served: Served) -> None:
    """An event takes its place when it is committed: two that happen at once may swap."""
    app = await served.app()
    await told(served, app)

    def shuffle(tx: Transaction) -> None:
        for position, ahead in ((1, 5_000), (2, -5_000), (3, 0)):
            own = (events.c.app_id == app.app_id) & (events.c.position == position)
            tx.execute(update(events).where(own).values(occurred_at=events.c.occurred_at + ahead))

    await served.gateway.db.write(shuffle)

    paged = [each["id"] for each in await all_pages(served)]
    assert sorted(paged) == sorted(each["id"] for each in (await timeline(served)).json["entries"])
    assert len(set(paged)) == len(paged) == 10


@pytest.mark.parametrize(("kind", "count"), [("decision", 1), ("event", 3), ("delivery", 6), ("run", 0)])
async def test_one_kind_alone(served: Served, kind: str, count: int) -> None:
    app = await served.app()
    await told(served, app)
    found = await all_pages(served, f"&kind={kind}")
    assert [each["kind"] for each in found] == [kind] * count
    assert len({each["id"] for each in found}) == count


async def test_a_walk_that_finds_little_goes_on_where_it_stopped(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changes of data and mails, which are not told here, may be most of what there is."""
    app = await served.app()
    await told(served, app)
    ada = (await api(served, "GET", OF_ADA)).json
    monkeypatch.setattr(person_walk, "SCANNED_MAX", 2)
    monkeypatch.setattr(jobs_walk, "SCANNED_MAX", 2)

    def hide(tx: Transaction) -> None:
        of_ada = (events.c.app_id == app.app_id) & (events.c.uid == ada["uid"])
        rows = [
            {
                "app_id": app.app_id,
                "position": position,
                "event_id": f"evt_hidden_{position}",
                "type": "data.changed",
                "uid": ada["uid"],
                "occurred_at": served.hands() + position,
                "data": '{"changes":[]}',
            }
            for position in range(100, 107)
        ]
        tx.execute(insert(events), rows)
        tx.execute(update(events).where(of_ada, events.c.position == 2).values(type="data.changed"))

    await served.gateway.db.write(hide)

    found = await all_pages(served)
    kinds = [each["kind"] for each in found]
    assert (kinds.count("event"), kinds.count("delivery"), kinds.count("decision")) == (2, 6, 1)
    assert len({each["id"] for each in found}) == 9
    times = [each["at"] for each in found]
    assert times == sorted(times, reverse=True), "a page ends where one source looked no further"


async def test_who_may_not_see_deliveries_is_not_told_of_them(served: Served) -> None:
    app = await served.app()
    await told(served, app)
    token = await operator_token(served, "users:read", "events:read")

    page = (await timeline(served, token=token)).json
    assert page["kinds"] == ["decision", "event"]
    assert {each["kind"] for each in page["entries"]} == {"decision", "event"}
    refused = await timeline(served, "?kind=delivery", token=token)
    assert (refused.status, refused.json["code"]) == (403, "insufficient_scope")
    assert "webhooks:read" in refused.json["message"]


async def test_somebody_who_was_refused_has_a_timeline_and_nobody_has_none(served: Served) -> None:
    app = await served.app()
    columns: dict[str, object] = {column.name: "" for column in admissions.columns}
    numbers = dict.fromkeys(
        ("policy_version", "fence", "lease_until", "opened_at", "settled_at", "attempts", "latency_ms"), 1
    )
    row = columns | numbers | {"app_id": app.app_id, "admission_id": "adm_1", "user_id": "eve@example.com"}
    row = {**row, "verdict": "refused", "uid": None}
    await served.gateway.db.write(lambda tx: tx.execute(insert(admissions), row) and None)

    [entry] = (await timeline(served, whose="eve@example.com")).json["entries"]
    assert (entry["kind"], entry["decision"]["verdict"]) == ("decision", "refused")
    unknown = await timeline(served, whose="nobody@example.com")
    assert (unknown.status, unknown.json["code"]) == (404, "user_not_found")


async def test_somebody_who_was_deleted_is_found_by_the_uid(served: Served) -> None:
    app = await served.app()
    await told(served, app, endpoints=1)
    uid = (await api(served, "GET", OF_ADA)).json["uid"]
    assert (await api(served, "DELETE", OF_ADA)).status == 204

    found = (await timeline(served, "?kind=event", whose=uid)).json["entries"]
    assert [each["event"]["type"] for each in found] == [
        "user.deleted",
        "user.updated",
        "user.updated",
        "user.enrolled",
    ]
    by_name = (await timeline(served)).json["entries"]
    assert [each["kind"] for each in by_name] == ["decision"], "the ledger goes on telling"


@pytest.mark.parametrize(
    "query",
    [
        "?before=nonsense",
        "?before=" + base64.urlsafe_b64encode(b'{"jobs":[1]}').decode().rstrip("="),
        "?before=" + base64.urlsafe_b64encode(b'{"jobs":[-1,"x"]}').decode().rstrip("="),
        "?before=" + base64.urlsafe_b64encode(msgspec.json.encode({"events": [2**70, ""]})).decode(),
        "?before=" + base64.urlsafe_b64encode(b'{"jobs":[1,"\\u0000"]}').decode().rstrip("="),
        "?kind=mail",
        "?limit=0",
        "?limit=201",
        "?after=1",
    ],
)
async def test_bad_query_is_refused(served: Served, query: str) -> None:
    app = await served.app()
    await served.write(app, {"userId": ADA, "type": "eval"})
    answer = await timeline(served, query)
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")


async def test_it_is_said_what_a_delete_would_erase(served: Served) -> None:
    app = await served.app()
    await told(served, app, endpoints=1)
    await served.write(app, {"userId": ADA, "type": "prod"})
    assert (await api(served, "POST", f"{OF_ADA}/enrollment-tokens", {})).status == 200
    put = await api(served, "PUT", "apps/notes/objects/todos/t1", {"value": {"id": "t1"}, "realm_id": ADA})

    said = (await api(served, "GET", f"{OF_ADA}/erasure")).json

    assert said["user_id"] == ADA
    assert said["enrollment_tokens"] == 1
    assert (said["devices"], said["sessions"], said["identities"]) == (0, 0, 0)
    assert said["unfinished"] == 4, "nobody listens at the endpoint"
    assert said["decisions"] == 1
    assert said["events"] == 5
    assert said["frees_seat"] is True
    assert said["counted_max"] == 1_000
    assert put.status == 200, put.body
    assert said["objects"] == 1
    assert (await api(served, "GET", OF_ADA)).status == 200, "nothing was erased"
    unknown = await api(served, "GET", "apps/notes/users/bob@example.com/erasure")
    assert (unknown.status, unknown.json["code"]) == (404, "user_not_found")


async def test_counting_ends_where_nobody_wants_to_know_more(served: Served) -> None:
    app = await served.app()
    await told(served, app)
    uid = (await api(served, "GET", OF_ADA)).json["uid"]
    read = served.gateway.db.read
    assert await read(partial(person_walk.count, app_id=app.app_id, uid=uid, most=2)) == 2
    assert await read(partial(person_walk.count, app_id=app.app_id, uid=uid, most=9)) == 3
    assert len(await read(partial(log.after, app_id=app.app_id, position=0, limit=9))) == 3


def test_every_walk_follows_an_index_and_sorts_nothing(migrated_sqlite: Path) -> None:
    """So a page costs the same however many events, jobs and decisions there are."""
    connection = sqlite3.connect(migrated_sqlite)
    for statement in (
        person_walk.NEWEST,
        person_walk.EDGE,
        person_walk.COUNT,
        jobs_walk.NEWEST,
        jobs_walk.EDGE,
        departures.COUNT_DECISIONS,
        erasure.COUNT_OBJECTS,
        emptying.COUNT_OF_PERSON,
        belongings.COUNT_SESSIONS,
        belongings.COUNT_DEVICES,
        belongings.COUNT_IDENTITIES,
        belongings.COUNT_TOKENS,
    ):
        compiled = statement.compile(dialect=sqlite_dialect(), compile_kwargs={"literal_binds": False})
        text = re.sub(r"__\[POSTCOMPILE_\w+\]", "?", str(compiled))
        wanted = [1] * text.count("?")
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", wanted)]
        assert any("USING" in step and "INDEX" in step for step in plan), plan
        assert not [step for step in plan if re.match(r"SCAN (?!\(subquery|anon|\()", step)], plan
    connection.close()
