"""Subscriptions: who is owed what is recorded, decided in the very commit of the fact."""

import asyncio
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import select

from admit.events import log, subscriptions
from admit.events.catalog import Data, DeviceEnrolled, UserEnrolled
from admit.events.endpoint_facts import EndpointFailing, Ping
from admit.events.examples import EXAMPLES
from admit.events.log import Event
from admit.events.subscriptions import Equal, Filter, Subscription
from admit.jobs.tables import jobs
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from tests.residents import APP, NOW, start_app


async def subscribe(db: Database, subscriber: str = "ep_1", *, app_id: str = APP, **choices: Any) -> None:
    wanted = Subscription(app_id=app_id, subscriber_id=subscriber, kind="delivery", **choices)

    def unit(tx: Transaction) -> None:
        log.audience_changes(tx, app_id)
        subscriptions.put(tx, wanted)

    await db.write(unit)


async def unsubscribe(db: Database, subscriber: str) -> None:
    def unit(tx: Transaction) -> None:
        log.audience_changes(tx, APP)
        subscriptions.remove(tx, APP, subscriber)

    await db.write(unit)


def enrolled(name: str = "ada", **changes: Any) -> UserEnrolled:
    example = EXAMPLES["user.enrolled"]
    assert isinstance(example, UserEnrolled)
    person = {"uid": f"usr_{name}", "email": f"{name}@example.com", **changes}
    return replace(example, user=replace(example.user, **person))


def enrolled_on(device: str, name: str = "ada") -> DeviceEnrolled:
    example = EXAMPLES["device.enrolled"]
    assert isinstance(example, DeviceEnrolled)
    return replace(
        example,
        user=replace(example.user, uid=f"usr_{name}"),
        device=replace(example.device, identifier=device),
    )


async def record(db: Database, *facts: Data, app_id: str = APP) -> None:
    def unit(tx: Transaction) -> None:
        for data in facts:
            uid = getattr(getattr(data, "user", None), "uid", None)
            log.record(tx, Event(app_id=app_id, uid=uid, occurred_at=NOW, data=data))

    await db.write(unit)


async def owed(db: Database) -> list[tuple[str, int]]:
    """Who is owed which position."""
    wanted = select(jobs.c.lane, jobs.c.sequence).order_by(jobs.c.lane, jobs.c.sequence)
    return [tuple(row) for row in await db.read(lambda tx: tx.execute(wanted).all())]


async def test_whoever_subscribes_is_owed_what_is_committed_after_that_and_nothing_before(
    database: Database,
) -> None:
    await start_app(database)
    await record(database, enrolled())
    await subscribe(database)
    await record(database, enrolled(), enrolled("bob"))
    await unsubscribe(database, "ep_1")
    await record(database, enrolled())

    assert await owed(database) == [("ep_1", 2), ("ep_1", 3)]


async def test_fact_that_is_not_committed_is_owed_to_nobody(database: Database) -> None:
    await start_app(database)
    await subscribe(database)

    def fails(tx: Transaction) -> None:
        log.record(tx, Event(app_id=APP, uid="usr_ada", occurred_at=NOW, data=enrolled()))
        raise LookupError

    await asyncio.gather(database.write(fails), record(database, enrolled("bob")), return_exceptions=True)

    assert await owed(database) == [("ep_1", 1)]


async def test_subscription_of_a_unit_that_fails_is_not_remembered(database: Database) -> None:
    await start_app(database)
    await subscribe(database, "ep_1")

    def fails(tx: Transaction) -> None:
        log.audience_changes(tx, APP)
        subscriptions.put(tx, Subscription(app_id=APP, subscriber_id="ep_2", kind="delivery"))
        log.record(tx, Event(app_id=APP, uid="usr_eve", occurred_at=NOW, data=enrolled("eve")))
        tx.finish()
        raise LookupError

    await asyncio.gather(database.write(fails), return_exceptions=True)
    await record(database, enrolled())

    assert await owed(database) == [("ep_1", 1)]


async def test_apps_do_not_hear_of_each_other(database: Database) -> None:
    for app_id in (APP, "app_other"):
        await start_app(database, app_id)
    await subscribe(database)
    await record(database, enrolled(), app_id="app_other")

    assert await owed(database) == []


async def test_types_choose_and_none_is_everything_but_tests(database: Database) -> None:
    await start_app(database)
    await subscribe(database, "ep_all")
    await subscribe(database, "ep_devices", types=("device.enrolled",))
    await subscribe(database, "ep_pings", types=("test.ping",))
    await record(database, enrolled(), enrolled_on("laptop"), Ping())

    assert await owed(database) == [("ep_all", 1), ("ep_all", 2), ("ep_devices", 2), ("ep_pings", 3)]


async def test_who_is_behind_is_owed_nothing_now(database: Database) -> None:
    await start_app(database)
    await subscribe(database, live=False)
    await record(database, enrolled())

    assert await owed(database) == []


async def test_endpoint_is_not_told_that_it_does_not_listen(database: Database) -> None:
    await start_app(database)
    example = EXAMPLES["endpoint.failing"]
    assert isinstance(example, EndpointFailing)
    await subscribe(database, example.endpoint.id)
    await subscribe(database, "ep_watch")
    await record(database, example)

    assert await owed(database) == [("ep_watch", 1)]


async def test_filters_must_all_hold(database: Database) -> None:
    await start_app(database)
    plan = Equal(("user", "data", "plan"), "team")
    for name, rule in {
        "ep_prod": Filter(user_types=("prod",)),
        "ep_mail": Filter(methods=("email_code",)),
        "ep_sso": Filter(methods=("sso",)),
        "ep_domain": Filter(email_domains=("example.org", "example.com")),
        "ep_plan": Filter(equals=(plan,)),
        "ep_both": Filter(user_types=("eval",), equals=(plan,)),
        "ep_typed": Filter(equals=(Equal(("device", "derived"), 1),)),
    }.items():
        await subscribe(database, name, filter=rule)
    await record(
        database,
        enrolled(),
        enrolled(email="ada@elsewhere.net", type="eval", data=msgspec.Raw(b'{"plan":"solo"}')),
    )

    assert await owed(database) == [
        ("ep_domain", 1),
        ("ep_mail", 1),
        ("ep_mail", 2),
        ("ep_plan", 1),
        ("ep_prod", 1),
    ]


async def test_once_per_user_per_device_or_every_time(database: Database) -> None:
    await start_app(database)
    for once in ("user", "device", "enrollment"):
        await subscribe(database, f"ep_{once}", types=("device.enrolled",), once=once)
    await record(database, enrolled_on("laptop"), enrolled_on("laptop"))
    await record(database, enrolled_on("phone"), enrolled_on("laptop"), enrolled_on("laptop", "bob"))

    found = await owed(database)
    assert [position for lane, position in found if lane == "ep_user"] == [1, 5]
    assert [position for lane, position in found if lane == "ep_device"] == [1, 3, 5]
    assert [position for lane, position in found if lane == "ep_enrollment"] == [1, 2, 3, 4, 5]


async def test_once_holds_however_many_servers_record_at_once(postgres_url: str) -> None:
    servers = [Database(postgres_url) for _ in range(3)]
    await start_app(servers[0])
    await subscribe(servers[0], types=("device.enrolled",), once="device")
    await asyncio.gather(*(record(servers[n % 3], enrolled_on("laptop")) for n in range(30)))

    assert len(await owed(servers[0])) == 1
    for server in servers:
        server.close()


async def test_other_events_are_told_every_time_also_where_enrollments_are_told_once(
    database: Database,
) -> None:
    await start_app(database)
    await subscribe(database, once="user")
    updated = EXAMPLES["user.updated"]
    await record(database, updated, updated)

    assert await owed(database) == [("ep_1", 1), ("ep_1", 2)]


async def test_who_comes_back_after_a_deletion_is_told_of_again(database: Database) -> None:
    await start_app(database)
    await subscribe(database, types=("user.enrolled",), once="user")
    await record(database, enrolled())
    await database.write(partial(subscriptions.forget_person, app_id=APP, uid="usr_ada"))
    await record(database, enrolled())

    assert await owed(database) == [("ep_1", 1), ("ep_1", 2)]


async def test_change_of_subscriptions_is_seen_by_every_server_at_once(postgres_url: str) -> None:
    """What a server remembers of the audience is never older than the row that it locks."""
    one, two = Database(postgres_url), Database(postgres_url)
    await start_app(one)
    await subscribe(one, "ep_1")
    await record(two, enrolled())
    for number in range(20):
        await subscribe(one, f"ep_{number + 2}")
        await record(two, enrolled(f"user{number}"))
        await unsubscribe(one, f"ep_{number + 2}")
        await record(two, enrolled(f"other{number}"))

    lanes = [lane for lane, _ in await owed(one)]
    assert lanes.count("ep_1") == 41
    assert all(lanes.count(f"ep_{number + 2}") == 1 for number in range(20))
    for db in (one, two):
        db.close()
