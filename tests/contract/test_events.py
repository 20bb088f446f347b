"""The log: a total order in which nothing appears behind a place that a reader has reached."""

import asyncio
from functools import partial

import msgspec
import pytest

from admit.events import log
from admit.events.catalog import Person, SignIn, Stranger, UserDeleted, UserRefused, Verdict
from admit.events.log import Event, Head, Recorded
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from tests.residents import APP, NOW, events_of, start_app


def fact(name: str = "ada", app_id: str = APP) -> Event:
    """Some fact, told by its name."""
    nobody = Person(uid=f"usr_{name}", user_id=name, type="eval")
    return Event(app_id=app_id, uid=nobody.uid, occurred_at=NOW, data=UserDeleted(user=nobody))


async def record(database: Database, *events: Event) -> None:
    def unit(tx: Transaction) -> None:
        for event in events:
            log.record(tx, event)

    await database.write(unit)


async def test_recorded_event_comes_back_whole_without_what_does_not_apply(database: Database) -> None:
    await start_app(database)
    refused = UserRefused(
        user=Stranger(user_id="eve"),
        sign_in=SignIn(method="email_code", provider="email"),
        verdict=Verdict(type="refused", source="webhook", admission_id="adm_1"),
    )
    event = Event(app_id=APP, uid=None, occurred_at=NOW, data=refused)

    await record(database, event)

    (found,) = await events_of(database)
    assert found == Recorded(
        position=1,
        event_id=event.event_id,
        type="user.refused",
        uid=None,
        occurred_at=NOW,
        data=msgspec.Raw(
            b'{"user":{"user_id":"eve"},"sign_in":{"method":"email_code","provider":"email"},'
            b'"verdict":{"type":"refused","source":"webhook","admission_id":"adm_1"}}'
        ),
    )


async def test_each_app_counts_its_own_events_without_gaps(database: Database) -> None:
    for app_id in (APP, "app_other"):
        await start_app(database, app_id)

    await asyncio.gather(
        *(record(database, fact(), fact(app_id="app_other"), fact()) for _ in range(30)),
    )

    assert [event.position for event in await events_of(database)] == list(range(1, 61))
    assert [event.position for event in await events_of(database, "app_other")] == list(range(1, 31))


async def test_pages_of_the_log_follow_each_other(database: Database) -> None:
    await start_app(database)
    await record(database, *(fact(f"user{number}") for number in range(25)))

    pages = [
        await database.read(partial(log.after, app_id=APP, position=position, limit=10))
        for position in (0, 10, 20, 25)
    ]

    assert [len(page) for page in pages] == [10, 10, 5, 0]
    assert [event.position for page in pages for event in page] == list(range(1, 26))


async def test_event_of_a_unit_that_fails_takes_no_place(database: Database) -> None:
    await start_app(database)

    def failing(tx: Transaction) -> None:
        log.record(tx, fact("nobody"))
        raise RuntimeError("no")

    failed, _, _ = await asyncio.gather(
        database.write(failing),
        record(database, fact("ada")),
        record(database, fact("bob")),
        return_exceptions=True,
    )

    assert isinstance(failed, RuntimeError)
    assert [(event.position, event.uid) for event in await events_of(database)] == [
        (1, "usr_ada"),
        (2, "usr_bob"),
    ]


async def test_head_is_the_place_of_the_newest_event(database: Database) -> None:
    await start_app(database)
    await record(database, fact(), fact())

    head = await database.read(partial(log.head, app_id=APP))

    assert isinstance(head, Head)
    assert head.position == 2
    assert head.epoch.startswith("epo_")
    assert await database.read(partial(log.head, app_id="app_unknown")) is None


async def test_event_of_an_app_without_a_log_is_refused_and_not_lost_silently(database: Database) -> None:
    with pytest.raises(LookupError, match="app_unknown has no log"):
        await record(database, fact(app_id="app_unknown"))


async def test_reader_who_follows_the_log_of_three_servers_misses_nothing(postgres_url: str) -> None:
    """Units of different lengths commit in another order than they began; the log is read all the while."""
    servers = [Database(postgres_url) for _ in range(3)]
    reader = Database(postgres_url)
    await start_app(servers[0])
    await start_app(servers[0], "app_other")
    writing = True
    followed: list[Recorded] = []

    def slow(tx: Transaction, name: str, delay_seconds: float) -> None:
        log.record(tx, fact(name))
        tx.connection.exec_driver_sql(f"SELECT pg_sleep({delay_seconds})")
        log.record(tx, fact(name + "-other", app_id="app_other"))
        log.record(tx, fact(name + "-again"))

    async def write(place: int) -> None:
        for turn in range(40):
            delay_seconds = 0.02 if (turn + place) % 7 == 0 else 0.0
            await servers[place % 3].write(partial(slow, name=f"{place}-{turn}", delay_seconds=delay_seconds))

    async def follow() -> None:
        position = 0
        while True:
            last_look = not writing
            news = await reader.read(partial(log.after, app_id=APP, position=position, limit=7))
            followed.extend(news)
            if news:
                position = news[-1].position
            elif last_look:
                return

    async def write_all() -> None:
        nonlocal writing
        await asyncio.gather(*(write(place) for place in range(9)))
        writing = False

    await asyncio.gather(write_all(), follow())

    assert [event.position for event in followed] == list(range(1, 9 * 40 * 2 + 1))
    assert followed == await events_of(reader)
    names = {f"usr_{place}-{turn}{end}" for place in range(9) for turn in range(40) for end in ("", "-again")}
    assert {event.uid for event in followed} == names
    for server in (*servers, reader):
        server.close()
