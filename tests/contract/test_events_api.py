"""GET /api/apps/{app}/events: the feed as programs follow it."""

import asyncio
from functools import partial
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession
from sqlalchemy import select
from standardwebhooks import Webhook

from admit.accounts.apps import App
from admit.events import log, subscriptions, upkeep
from admit.events.catalog import Person, UserDeactivated
from admit.events.log import Event
from admit.events.subscriptions import Subscription
from admit.jobs import lanes
from admit.jobs.tables import jobs
from admit.storage.transaction import Transaction
from admit.webhooks.endpoints import KIND
from tests.contract.served import Answered, Served, serving
from tests.contract.test_admin_api import api, operator_token
from tests.contract.token_desk import signed_in
from tests.receiver import always, receiving

WHERE = "apps/notes/events"


async def enrolled(served: Served, *names: str) -> App:
    """The app notes, in which people of these names enroll one after the other."""
    app = await served.app()
    for name in names:
        assert (await signed_in(served, f"{name}@example.com")).status == 200
    return app


def fact(app: App, *, at: int) -> Event:
    person = Person(uid="usr_ada", user_id="ada", type="prod")
    return Event(app_id=app.app_id, uid="usr_ada", occurred_at=at, data=UserDeactivated(user=person))


def types(answer: Answered) -> list[str]:
    assert answer.status == 200, answer.body
    return [event["type"] for event in answer.json["events"]]


async def until_somebody_waits(served: Served, number: int = 1) -> None:
    while sum(len(each._waiting) for each in served.gateway.news._desks.values()) != number:
        await asyncio.sleep(0.001)


async def test_enrollment_is_told_whole_and_in_order(served: Served) -> None:
    app = await enrolled(served, "ada")

    answer = await api(served, "GET", WHERE)

    assert types(answer) == ["user.enrolled", "device.enrolled", "session.started"]
    assert [event["data"]["sequence"] for event in answer.json["events"]] == ["1", "2", "3"]
    assert answer.json["more"] is False
    first = answer.json["events"][0]
    (recorded, *_) = await served.gateway.db.read(partial(log.after, app_id=app.app_id, position=0, limit=1))
    assert first["id"] == recorded.event_id
    assert first["data"]["app"] == {"id": app.app_id, "name": "notes"}
    assert first["data"]["user"]["email"] == "ada@example.com"
    assert first["data"]["session"]["ordinal"] == 1
    assert list(first) == ["id", "type", "timestamp", "data"]


async def test_thin_events_say_less_about_the_person(served: Served) -> None:
    await enrolled(served, "ada")

    answer = await api(served, "GET", f"{WHERE}?format=thin&types=user.enrolled")

    (event,) = answer.json["events"]
    assert event["data"]["user"].keys() == {"uid", "user_id", "type"}


async def test_feed_is_followed_by_its_cursor(served: Served) -> None:
    await enrolled(served, "ada")
    first = await api(served, "GET", f"{WHERE}?limit=2")
    second = await api(served, "GET", f"{WHERE}?after={first.json['cursor']}")
    nothing = await api(served, "GET", f"{WHERE}?after={second.json['cursor']}")
    latest = await api(served, "GET", f"{WHERE}?after=latest")
    empty = await api(served, "GET", f"{WHERE}?after=")

    assert (types(first), first.json["more"]) == (["user.enrolled", "device.enrolled"], True)
    assert (types(second), second.json["more"]) == (["session.started"], False)
    assert nothing.json == latest.json == {"events": [], "cursor": second.json["cursor"], "more": False}
    assert len(types(empty)) == 3


async def test_feed_of_a_person_by_user_id_and_by_uid_and_of_types(served: Served) -> None:
    await enrolled(served, "ada", "bob")
    ada = (await api(served, "GET", "apps/notes/users/ada@example.com")).json["uid"]

    by_user_id = await api(served, "GET", f"{WHERE}?user=ada@example.com")
    by_uid = await api(served, "GET", f"{WHERE}?user={ada}")
    of_types = await api(served, "GET", f"{WHERE}?types=session.started,%20user.enrolled")
    deleted = await api(served, "DELETE", "apps/notes/users/ada@example.com")
    after_all = await api(served, "GET", f"{WHERE}?user={ada}")

    assert by_user_id.json == by_uid.json
    assert {event["data"]["user"]["uid"] for event in by_uid.json["events"]} == {ada}
    assert types(of_types) == ["user.enrolled", "session.started"] * 2
    assert deleted.status == 204
    assert types(after_all)[-1] == "user.deleted"
    assert b'"email":' not in after_all.body


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("after=nonsense", 400, "invalid_request"),
        ("types=user.enrolled,user.born", 400, "event_type_unknown"),
        ("user=nobody@example.com", 404, "user_not_found"),
        ("limit=0", 400, "invalid_request"),
        ("limit=1001", 400, "invalid_request"),
        ("wait=61", 400, "invalid_request"),
        ("wait=nan", 400, "invalid_request"),
        ("format=fat", 400, "invalid_request"),
        ("since=1", 400, "invalid_request"),
    ],
)
async def test_wrong_question_is_answered_with_what_is_wrong(
    door: Served, query: str, status: int, code: str
) -> None:
    await door.app()
    answer = await api(door, "GET", f"{WHERE}?{query}")
    assert (answer.status, answer.json["code"]) == (status, code)


async def test_feed_needs_the_scope_in_that_app(served: Served) -> None:
    await served.app()
    await served.app("other")
    reader = await operator_token(served, "events:read", app="notes")
    stranger = await operator_token(served, "users:read", "webhooks:read")

    assert (await api(served, "GET", WHERE, token=reader)).status == 200
    assert (await api(served, "GET", "apps/other/events", token=reader)).status == 403
    assert (await api(served, "GET", WHERE, token=stranger)).status == 403
    assert (await served.ask("GET", f"/api/{WHERE}")).status == 401
    for where in (f"{WHERE}/restored", "events/restored", f"{WHERE}/trigger"):
        body = {"type": "test.ping"} if where.endswith("trigger") else None
        assert (await api(served, "POST", where, body, token=reader)).status == 403


async def test_who_waits_is_answered_when_it_happens(served: Served) -> None:
    app = await enrolled(served)
    waiting = asyncio.create_task(api(served, "GET", f"{WHERE}?after=latest&wait=60&types=user.enrolled"))
    await until_somebody_waits(served)
    await signed_in(served, "ada@example.com")

    answer = await waiting
    assert types(answer) == ["user.enrolled"]
    rest = await api(served, "GET", f"{WHERE}?after={answer.json['cursor']}")
    assert len(types(rest)) in (0, 2)  # what came with it in one reading was looked at already
    assert app.name == "notes"


async def test_who_waits_is_told_what_another_server_recorded(served_postgres_url: str) -> None:
    async with serving(served_postgres_url) as one, serving(served_postgres_url) as other:
        app = await one.app()
        waiting = asyncio.create_task(api(one, "GET", f"{WHERE}?after=latest&wait=60"))
        await until_somebody_waits(one)
        await other.write(app, {"userId": "ada@example.com", "type": "prod"})

        assert "user.enrolled" in types(await waiting)


async def test_wait_ends_with_a_cursor_to_go_on_with(served: Served) -> None:
    await enrolled(served, "ada")
    answer = await api(served, "GET", f"{WHERE}?after=latest&wait=0.05")
    assert types(answer) == []
    assert types(await api(served, "GET", f"{WHERE}?after={answer.json['cursor']}")) == []


async def test_client_who_hangs_up_frees_everything(served: Served) -> None:
    await served.app()
    waiting = [asyncio.create_task(api(served, "GET", f"{WHERE}?after=latest&wait=60")) for _ in range(20)]
    await until_somebody_waits(served, 20)
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)

    async with asyncio.timeout(5):
        while served.gateway.news.waiting:
            await asyncio.sleep(0.001)
    assert served.gateway.news._desks == {}


async def test_server_that_stops_lets_those_who_wait_go(served_sqlite_url: str) -> None:
    async with asyncio.timeout(10), ClientSession() as http:
        async with serving(served_sqlite_url) as served:
            await served.app()
            where = f"{served.url}/api/{WHERE}?wait=60"
            waiting = asyncio.create_task(http.get(where, headers=served.command()))
            await until_somebody_waits(served)
        answer = await waiting
        assert types(await Answered.read(answer)) == []


async def test_restored_log_ends_cursors_with_410_and_says_what_to_do(served: Served) -> None:
    await enrolled(served, "ada")
    cursor = (await api(served, "GET", WHERE)).json["cursor"]

    assert (await api(served, "POST", f"{WHERE}/restored")).json == {"logs": 1}
    expired = await api(served, "GET", f"{WHERE}?after={cursor}")

    assert (expired.status, expired.json["code"]) == (410, "cursor_expired")
    assert "after=beginning" in expired.json["message"]
    fresh = await api(served, "GET", f"{WHERE}?after=beginning")
    assert len(types(fresh)) == 3
    assert (await api(served, "GET", f"{WHERE}?after={fresh.json['cursor']}")).status == 200


async def test_all_logs_are_said_to_be_restored_in_pages(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "LOGS_PAGE", 2)
    cursors = {}
    for name in ("notes", "plans", "tasks-2"):
        await served.app(name)
        cursors[name] = (await api(served, "GET", f"apps/{name}/events")).json["cursor"]

    assert (await api(served, "POST", "events/restored")).json == {"logs": 3}
    for name, cursor in cursors.items():
        assert (await api(served, "GET", f"apps/{name}/events?after={cursor}")).status == 410


# Retention


async def test_server_forgets_what_is_older_than_it_keeps(served_url: str) -> None:
    async with serving(served_url, retention_days="2") as served:
        app = await served.app()
        now = served.hands()
        old = [fact(app, at=now - 3 * 86_400_000) for _ in range(1_200)]

        def unit(tx: Transaction) -> None:
            for event in [*old, fact(app, at=now)]:
                log.record(tx, event)

        await served.gateway.db.write(unit)
        cursor = (await api(served, "GET", f"{WHERE}?limit=1")).json["cursor"]
        await served.gateway._forget_events()

        kept = await api(served, "GET", WHERE)
        assert [event["data"]["sequence"] for event in kept.json["events"]] == ["1201"]
        assert (await api(served, "GET", f"{WHERE}?after={cursor}")).json["code"] == "cursor_expired"


# Triggering


async def subscribe(served: Served, app: App, *names: str, live: bool = True, types: Any = ()) -> None:
    """Endpoints in everything but their URL, which nobody is to be sent anything at here."""

    def unit(tx: Transaction) -> None:
        log.audience_changes(tx, app.app_id)
        for name in names:
            subscription = Subscription(
                app_id=app.app_id, subscriber_id=name, kind=KIND, types=types, live=live
            )
            subscriptions.put(tx, subscription)
            lanes.open_lane(tx, app.app_id, KIND, name, lanes.Limits(), closed=True)

    await served.gateway.db.write(unit)


async def test_example_is_left_to_the_endpoints_that_are_told_of_its_type(served: Served) -> None:
    app = await served.app()
    await subscribe(served, app, "ep_all")
    await subscribe(served, app, "ep_some", types=("user.enrolled", "test.ping"))
    await subscribe(served, app, "ep_other", types=("user.deleted",))
    await subscribe(served, app, "ep_paused", live=False)

    answer = await api(served, "POST", f"{WHERE}/trigger", {"type": "user.enrolled"})
    ping = await api(served, "POST", f"{WHERE}/trigger", {"type": "test.ping"})

    assert {each["endpoint_id"] for each in answer.json["deliveries"]} == {"ep_all", "ep_some"}
    assert [each["endpoint_id"] for each in ping.json["deliveries"]] == ["ep_some"]
    rows = await served.gateway.db.read(
        lambda tx: tx.execute(select(jobs).where(jobs.c.kind == KIND, jobs.c.lane == "ep_all")).all()
    )
    assert [row.job_id for row in rows] == [
        each["delivery_id"] for each in answer.json["deliveries"] if each["endpoint_id"] == "ep_all"
    ]
    payload = msgspec.json.decode(rows[0].payload)
    assert (payload["type"], payload["test"]) == ("user.enrolled", True)
    assert payload["event_id"] == answer.json["event_id"]
    assert (rows[0].sequence, rows[0].subject) == (0, None)
    assert types(await api(served, "GET", WHERE)) == []


async def test_example_goes_to_the_endpoint_that_is_named_whatever_it_is_told_of(served: Served) -> None:
    app = await served.app()
    await subscribe(served, app, "ep_other", types=("user.deleted",))

    body = {"type": "test.ping", "endpoint": "ep_other"}
    answer = await api(served, "POST", f"{WHERE}/trigger", body)

    assert [each["endpoint_id"] for each in answer.json["deliveries"]] == ["ep_other"]


async def test_example_of_what_is_no_type_and_to_nobody_is_refused(door: Served) -> None:
    await door.app()
    wrong = await api(door, "POST", f"{WHERE}/trigger", {"type": "user.born"})
    nobody = await api(door, "POST", f"{WHERE}/trigger", {"type": "test.ping", "endpoint": "ep_1"})
    assert (wrong.status, wrong.json["code"]) == (400, "event_type_unknown")
    assert (nobody.status, nobody.json["code"]) == (404, "endpoint_not_found")


async def test_example_arrives_signed_and_marked_as_a_test(served: Served) -> None:
    await served.app()
    async with receiving(always()) as receiver:
        wanted = {"url": receiver.url, "events": ["user.enrolled"], "format": "full"}
        endpoint = (await api(served, "POST", "apps/notes/endpoints", wanted)).json
        left = (await api(served, "POST", f"{WHERE}/trigger", {"type": "user.enrolled"})).json
        async with asyncio.timeout(10):
            await receiver.arrived.wait()

    (received,) = receiver.calls
    body: Any = Webhook(endpoint["secret"]).verify(received.body, received.headers)
    assert received.headers["webhook-id"] == left["event_id"]
    assert body["data"]["test"] is True
    assert "sequence" not in body["data"]
    assert body["data"]["user"]["email"] == "ada@example.com"
    assert types(await api(served, "GET", WHERE)) == []
