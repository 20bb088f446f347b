"""The feed: pages behind a cursor, in which nothing is skipped and nothing comes twice."""

import asyncio
import multiprocessing
import shutil
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from admit.clock import DAY_MS
from admit.errors import CursorExpired, InvalidRequest, Unavailable
from admit.events import feed, log, news, upkeep
from admit.events.catalog import Person, UserDeactivated, UserDeleted
from admit.events.feed import BEGINNING, LATEST, Page, Place, Wanted
from admit.events.log import Event, Recorded
from admit.events.news import News
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from tests.postgres import Cluster
from tests.residents import APP, NOW, events_of, start_app

EVERYTHING = Wanted(app_id=APP)
DELETED = frozenset({"user.deleted"})
RARE = frozenset({"user.deactivated"})
READINGS_MAX = 3  # one for each of two commits, and one when LISTEN is set up at last on PostgreSQL


def fact(name: str = "ada", *, rare: bool = False, app_id: str = APP, at: int = NOW) -> Event:
    """Some fact about somebody."""
    person = Person(uid=f"usr_{name}", user_id=name, type="eval")
    data = UserDeactivated(user=person) if rare else UserDeleted(user=person)
    return Event(app_id=app_id, uid=person.uid, occurred_at=at, data=data)


def record_all(tx: Transaction, events: Sequence[Event]) -> None:
    for event in events:
        log.record(tx, event)


async def record(database: Database, *events: Event) -> None:
    await database.write(partial(record_all, events=events))


async def page(database: Database, after: str = BEGINNING, wanted: Wanted = EVERYTHING) -> Page:
    return await database.read(partial(feed.read, wanted=wanted, after=after))


def positions(found: Page) -> list[int]:
    return [event.position for event in found.events]


def of(types: frozenset[str] = frozenset(), *, uid: str | None = None, limit: int = 100) -> Wanted:
    return Wanted(app_id=APP, types=types, uid=uid, limit=limit)


async def test_pages_follow_each_other_and_the_last_one_has_nothing_behind_it(database: Database) -> None:
    await start_app(database)
    await record(database, *(fact(f"user{number}") for number in range(25)))

    first = await page(database, wanted=of(limit=10))
    second = await page(database, first.place.cursor, of(limit=10))
    third = await page(database, second.place.cursor, of(limit=10))
    nothing = await page(database, third.place.cursor, of(limit=10))

    assert [positions(each) for each in (first, second, third)] == [
        list(range(1, 11)),
        list(range(11, 21)),
        list(range(21, 26)),
    ]
    assert [each.more for each in (first, second, third, nothing)] == [True, True, False, False]
    assert positions(nothing) == []
    assert nothing.place == third.place


async def test_who_begins_at_the_latest_is_told_what_comes_then(database: Database) -> None:
    await start_app(database)
    await record(database, fact("ada"))
    start = await page(database, LATEST)
    await record(database, fact("bob"))

    assert positions(start) == []
    assert positions(await page(database, start.place.cursor)) == [2]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (of(RARE), [2, 3]),
        (of(DELETED), [1, 4, 5]),
        (of(uid="usr_ada"), [1, 3, 4]),
        (of(RARE, uid="usr_ada"), [3]),
        (of(RARE | DELETED, uid="usr_bob"), [2, 5]),
        (of(uid="usr_nobody"), []),
    ],
)
async def test_feed_is_filtered_by_type_and_person(
    database: Database, wanted: Wanted, expected: list[int]
) -> None:
    await start_app(database)
    await start_app(database, "app_other")
    news = fact("ada"), fact("bob", rare=True), fact("ada", rare=True), fact("ada"), fact("bob")
    await record(database, *news, fact("ada", app_id="app_other"))

    found = await page(database, wanted=wanted)

    assert positions(found) == expected
    assert (found.place.position, found.more) == (5, False)


@pytest.mark.parametrize("uid", [None, "usr_ada"])
async def test_page_looks_at_a_bounded_number_and_leads_on(
    database: Database, monkeypatch: pytest.MonkeyPatch, uid: str | None
) -> None:
    monkeypatch.setattr(feed, "SCANNED_MAX", 10)
    await start_app(database)
    await record(database, *(fact() for _ in range(24)), fact(rare=True), fact())

    pages = [await page(database, wanted=of(RARE, uid=uid))]
    while pages[-1].more:
        pages.append(await page(database, pages[-1].place.cursor, of(RARE, uid=uid)))

    assert [positions(each) for each in pages] == [[], [], [25]]
    assert [each.place.position for each in pages] == [10, 20, 26]


async def test_page_of_large_events_is_cut_and_leads_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "PAGE_BYTES_MAX", 200)
    await start_app(database)
    await record(database, fact("a" * 300), fact("b" * 10), fact("c" * 10), fact("d" * 200))

    first = await page(database)
    second = await page(database, first.place.cursor)
    third = await page(database, second.place.cursor)

    assert [positions(each) for each in (first, second, third)] == [[1], [2, 3], [4]]
    assert [each.more for each in (first, second, third)] == [True, True, False]


@pytest.mark.parametrize("cursor", ["x", "!", "MTIz", "ä", "-1", "a" * 5_000, Place("", 3).cursor])
async def test_what_is_no_cursor_is_refused(database: Database, cursor: str) -> None:
    await start_app(database)
    with pytest.raises(InvalidRequest, match="neither a cursor"):
        await page(database, cursor)


async def test_cursor_of_another_app_has_expired(database: Database) -> None:
    await start_app(database)
    await start_app(database, "app_other")
    theirs = await page(database, wanted=Wanted(app_id="app_other"))
    with pytest.raises(CursorExpired, match="from another app's"):
        await page(database, theirs.place.cursor)


# Several servers


TURNS = 25


def write_in_a_process(url: str, place: int) -> None:
    """Two writers whose units take longer or shorter: they commit in another order than they began."""

    def slow(tx: Transaction, turn: int) -> None:
        log.record(tx, fact(f"{place}-{turn}", rare=turn % 5 == 0))
        tx.connection.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": (turn * 7 + place) % 4 / 200})
        log.record(tx, fact("other", app_id="app_other"))
        log.record(tx, fact("ada", rare=turn % 7 == 0))

    async def write(database: Database, start: int) -> None:
        for turn in range(start, start + TURNS):
            await database.write(partial(slow, turn=turn))

    async def run() -> None:
        writers = [Database(url), Database(url)]
        await asyncio.gather(*(write(each, number * TURNS) for number, each in enumerate(writers)))
        for each in writers:
            each.close()

    asyncio.run(run())


async def test_followers_of_two_processes_with_two_writers_each_miss_nothing_and_get_nothing_twice(
    postgres_url: str,
) -> None:
    reader = Database(postgres_url)
    reader.signals.attach(asyncio.get_running_loop())
    for app_id in (APP, "app_other"):
        await start_app(reader, app_id)
    desk = News(reader)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_in_a_process, args=(postgres_url, place)) for place in (0, 1)]
    for writer in writers:
        writer.start()

    async def follow(wanted: Wanted, wait_seconds: float) -> list[Recorded]:
        followed: list[Recorded] = []
        after = BEGINNING
        while True:
            last_look = not any(writer.is_alive() for writer in writers)
            found = await desk.page(wanted, after, wait_seconds)
            followed.extend(found.events)
            after = found.place.cursor
            if last_look and not (found.more or found.events):
                return followed
            await asyncio.sleep(0)

    kinds = [of(limit=3), of(RARE, limit=3), of(uid="usr_ada", limit=3), of(RARE, uid="usr_ada", limit=3)]
    followed = await asyncio.gather(*(follow(each, wait) for each in kinds for wait in (0.0, 0.2)))

    everything = await events_of(reader)
    assert [event.position for event in everything] == list(range(1, 2 * 2 * TURNS * 2 + 1))
    for kind, (by_looking, by_waiting) in zip(
        kinds, zip(followed[::2], followed[1::2], strict=True), strict=True
    ):
        expected = [event for event in everything if kind.fits(event)]
        assert len(expected) >= 10
        assert by_looking == expected
        assert by_waiting == expected
    await desk.close()
    reader.close()
    assert [writer.exitcode for writer in writers] == [0, 0]


# Waiting


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[News]:
    await start_app(database)
    news = News(database)
    yield news
    assert news.waiting == 0
    await news.close()


async def waits(desk: News, visitors: int) -> None:
    """Returns when so many wait."""
    while desk.waiting != visitors or any(
        len(each._waiting) != each.visitors for each in desk._desks.values()
    ):
        await asyncio.sleep(0.001)


async def test_who_waits_is_told_at_once_and_who_need_not_wait_does_not(
    database: Database, desk: News
) -> None:
    waiting = asyncio.create_task(desk.page(EVERYTHING, LATEST, 60))
    await waits(desk, 1)
    await record(database, fact())

    assert positions(await waiting) == [1]
    assert positions(await desk.page(EVERYTHING, BEGINNING, 60)) == [1]


async def test_who_waits_in_vain_gets_a_cursor_behind_what_did_not_fit(
    database: Database, desk: News
) -> None:
    waiting = asyncio.create_task(desk.page(of(RARE), LATEST, 3))
    await waits(desk, 1)
    await record(database, fact(), fact())

    found = await waiting

    assert (positions(found), found.place.position, found.more) == ([], 2, False)


async def test_a_thousand_who_wait_cost_one_reading_for_a_burst(
    database: Database, desk: News, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = [asyncio.create_task(desk.page(of(RARE, limit=1), LATEST, 60)) for _ in range(1_000)]
    await waits(desk, 1_000)
    readings = 0
    read = feed.read

    def counted(tx: Transaction, wanted: Wanted, after: str | Place) -> Page:
        nonlocal readings
        readings += 1
        return read(tx, wanted, after)

    monkeypatch.setattr(feed, "read", counted)
    await record(database, *(fact() for _ in range(50)))
    await record(database, fact(rare=True), fact(rare=True))
    told = await asyncio.gather(*waiting)

    assert {tuple(positions(each)) for each in told} == {(51,)}
    assert {(each.place.position, each.more) for each in told} == {(51, True)}
    assert readings <= READINGS_MAX


async def test_events_that_come_while_somebody_begins_to_wait_are_told(
    database: Database, desk: News, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event is committed between the own look of one who comes and their place among those who wait."""
    look = desk._read

    async def look_and_be_slow(wanted: Wanted, after: str | Place) -> Page:
        found = await look(wanted, after)
        if after == LATEST:
            await record(database, fact("during"))
        return found

    monkeypatch.setattr(desk, "_read", look_and_be_slow)
    assert len(positions(await desk.page(EVERYTHING, LATEST, 60))) == 1


async def test_one_who_is_behind_those_who_wait_misses_nothing(
    database: Database, desk: News, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While their own look was on its way, what they lack was handed to the others."""
    slow, others_told = asyncio.Event(), asyncio.Event()
    look = desk._read

    async def look_and_be_slow(wanted: Wanted, after: str | Place) -> Page:
        found = await look(wanted, after)
        if wanted.limit == 7:
            slow.set()
            await others_told.wait()
        return found

    monkeypatch.setattr(desk, "_read", look_and_be_slow)
    patient = asyncio.create_task(desk.page(of(RARE), LATEST, 60))
    await waits(desk, 1)
    late = asyncio.create_task(desk.page(of(limit=7), LATEST, 60))
    await slow.wait()
    await record(database, fact())
    while (place := desk._desks[APP]._place) is None or place.position < 1:
        await asyncio.sleep(0.001)
    others_told.set()

    assert positions(await late) == [1]
    patient.cancel()
    await asyncio.gather(patient, return_exceptions=True)


async def test_who_waits_hears_of_a_restored_log(database: Database, desk: News) -> None:
    await record(database, fact())
    waiting = asyncio.create_task(desk.page(EVERYTHING, (await page(database)).place.cursor, 60))
    await waits(desk, 1)
    await database.write(partial(upkeep.begin_epoch, app_id=APP))
    with pytest.raises(CursorExpired, match="restored"):
        await waiting


async def test_who_waits_hears_although_signals_were_missed(
    database: Database, desk: News, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "TOPIC", "nobody-listens-to-this")
    waiting = asyncio.create_task(desk.page(EVERYTHING, LATEST, 60))
    await waits(desk, 1)
    await record(database, fact())
    database.signals.look_yourselves()

    assert positions(await waiting) == [1]


async def test_who_waits_outlives_a_database_that_cannot_be_read_for_a_moment(
    database: Database, desk: News, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news, "TROUBLE_SECONDS", 0.01)
    waiting = asyncio.create_task(desk.page(EVERYTHING, LATEST, 60))
    await waits(desk, 1)
    failures = iter([OSError("no"), OSError("no")])
    read = feed.read

    def failing(tx: Transaction, wanted: Wanted, after: str | Place) -> Page:
        if (error := next(failures, None)) is not None:
            raise error
        return read(tx, wanted, after)

    monkeypatch.setattr(feed, "read", failing)
    await record(database, fact())

    assert positions(await waiting) == [1]


async def test_who_gives_up_leaves_nothing_behind(database: Database, desk: News) -> None:
    waiting = [asyncio.create_task(desk.page(EVERYTHING, LATEST, 60)) for _ in range(3)]
    await waits(desk, 3)
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)

    assert desk.waiting == 0
    assert desk._desks == {}


async def test_everybody_is_let_go_when_the_server_stops_and_nobody_waits_any_more(
    database: Database, desk: News
) -> None:
    waiting = asyncio.create_task(desk.page(EVERYTHING, LATEST, 60))
    await waits(desk, 1)
    desk.end_waits()

    assert positions(await waiting) == []
    assert positions(await desk.page(EVERYTHING, LATEST, 60)) == []


async def test_too_many_who_wait_are_told_to_come_back(
    database: Database, desk: News, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news, "WAITING_MAX", 1)
    waiting = asyncio.create_task(desk.page(EVERYTHING, LATEST, 60))
    await waits(desk, 1)
    with pytest.raises(Unavailable):
        await desk.page(EVERYTHING, LATEST, 60)
    desk.end_waits()
    await waiting


# A copy that is restored


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize("said", [True, False], ids=["said", "unsaid"])
async def test_after_a_restore_cursors_end_and_a_fresh_reading_has_everything(
    request: pytest.FixtureRequest, kind: str, said: bool, postgres_cluster: Cluster, tmp_path: Path
) -> None:
    url: str = request.getfixturevalue(f"{kind}_url")
    database = Database(url)
    await start_app(database)
    await record(database, fact("ada"), fact("bob"))
    old = (await page(database)).place.cursor
    database.close()
    copied = _copy(url, request, postgres_cluster, tmp_path)
    database = Database(url)
    await record(database, fact("lost"), fact("lost-too"))
    newest = (await page(database)).place.cursor
    database.close()

    restored = Database(copied)
    if said:
        await restored.write(partial(upkeep.begin_epochs, after=""))
    with pytest.raises(CursorExpired, match=r"from the beginning \(after=beginning\)"):
        await page(restored, newest)
    if said:
        with pytest.raises(CursorExpired, match="restored from a copy"):
            await page(restored, old)
    await record(restored, fact("new"), fact("new-too"))
    fresh = await page(restored)
    assert [event.uid for event in fresh.events] == ["usr_ada", "usr_bob", "usr_new", "usr_new-too"]
    if said:
        with pytest.raises(CursorExpired):
            await page(restored, newest)
        assert positions(await page(restored, fresh.place.cursor)) == []
    restored.close()


def _copy(url: str, request: pytest.FixtureRequest, cluster: Cluster, folder: Path) -> str:
    """Copies a database that nobody has open."""
    if url.startswith("sqlite:"):
        shutil.copy(url.removeprefix("sqlite:///"), folder / "copy.db")
        return f"sqlite:///{folder}/copy.db"
    original = url.rpartition("/")[2]
    request.addfinalizer(lambda: cluster.drop_database(f"{original}_copy"))
    return cluster.create_database(f"{original}_copy", original)


# What is no longer kept


async def test_oldest_events_are_forgotten_and_cursors_into_them_expire(database: Database) -> None:
    await start_app(database)
    await record(database, *(fact(at=NOW + number) for number in range(10)))
    first = await page(database, wanted=of(limit=3))
    behind_the_gap = await page(database, first.place.cursor, of(limit=3))

    gone = await database.write(partial(upkeep.prune, app_id=APP, before=NOW + 6, rows_max=4))
    gone += await database.write(partial(upkeep.prune, app_id=APP, before=NOW + 6, rows_max=4))
    nothing = await database.write(partial(upkeep.prune, app_id=APP, before=NOW + 6, rows_max=4))

    assert (gone, nothing) == (6, 0)
    assert positions(await page(database)) == [7, 8, 9, 10]
    assert positions(await page(database, behind_the_gap.place.cursor)) == [7, 8, 9, 10]
    with pytest.raises(CursorExpired, match="no longer kept"):
        await page(database, first.place.cursor)
    await record(database, fact())
    assert positions(await page(database))[-1] == 11


async def test_log_that_is_wholly_forgotten_goes_on_counting(database: Database) -> None:
    await start_app(database)
    await record(database, fact(), fact())
    place = (await page(database)).place
    assert await database.write(partial(upkeep.prune, app_id=APP, before=NOW + 1, rows_max=100)) == 2

    assert positions(await page(database)) == []
    await record(database, fact())
    assert positions(await page(database, place.cursor)) == [3]


async def test_event_with_a_time_out_of_order_keeps_those_behind_it_for_a_while(database: Database) -> None:
    await start_app(database)
    await record(database, fact(at=NOW), fact(at=NOW + DAY_MS), fact(at=NOW))

    assert await database.write(partial(upkeep.prune, app_id=APP, before=NOW + 1, rows_max=100)) == 1
    assert positions(await page(database)) == [2, 3]


async def test_logs_with_something_old_are_found_in_pages(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "LOGS_PAGE", 2)
    for number in range(5):
        await start_app(database, f"app_{number}")
    for number in (0, 2, 3):
        await record(database, fact(app_id=f"app_{number}", at=NOW + number))

    found = [await database.read(partial(upkeep.old_logs, after="", before=NOW + 3))]
    while (last := found[-1].last) is not None:
        found.append(await database.read(partial(upkeep.old_logs, after=last, before=NOW + 3)))

    assert [each.old for each in found] == [["app_0"], ["app_2"], []]


async def test_two_servers_that_forget_the_same_are_in_nobodys_way(postgres_url: str) -> None:
    servers = [Database(postgres_url) for _ in range(2)]
    await start_app(servers[0])
    await record(servers[0], *(fact() for _ in range(200)))

    async def forget(server: Database) -> None:
        while await server.write(partial(upkeep.prune, app_id=APP, before=NOW + 1, rows_max=10)):
            pass

    async def go_on() -> None:
        for _ in range(20):
            await record(servers[1], fact(at=NOW + 1))

    await asyncio.gather(*map(forget, servers), go_on())

    assert positions(await page(servers[0])) == list(range(201, 221))
    for server in servers:
        server.close()
