"""The meter: exact in one process, off by a known number in several, without a write for most requests."""

import asyncio

import pytest
from sqlalchemy import select

from admit.errors import StorageUnavailable
from admit.signin import meter as module
from admit.signin.limits import Limit
from admit.signin.meter import Meter, Standing
from admit.signin.tables import limits
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from tests.contract.signin_desk import NOON

HUNDRED = Limit(100, 3_600)
MINUTE = 60_000


class Time:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> int:
        return self.now


class Counting(Database):
    """A database that counts what is asked of it."""

    writes = 0
    cut = False

    async def write_together(self, *arguments: object, **options: object) -> object:  # type: ignore[override]
        self.writes += 1
        if self.cut:
            raise StorageUnavailable("The database does not answer.")
        return await super().write_together(*arguments, **options)  # type: ignore[arg-type]


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def counting(database: Database) -> Counting:
    database.__class__ = Counting
    assert isinstance(database, Counting)
    return database


async def take(meter: Meter, who: str = "user/ada", limit: Limit = HUNDRED) -> Standing:
    return await meter.take("app_1", "token", who, limit)


async def passed(meter: Meter, times: int, who: str = "user/ada", limit: Limit = HUNDRED) -> int:
    standings = await asyncio.gather(*(take(meter, who, limit) for _ in range(times)))
    return sum(standing.passed for standing in standings)


async def test_one_process_lets_exactly_the_limit_through(
    database: Database, ring: KeyRing, time: Time
) -> None:
    meter = Meter(database, ring, time)
    for number in range(100):
        assert await take(meter) == Standing(True, 100, 99 - number, 3_600)
    assert await take(meter) == Standing(False, 100, 0, 3_600)


async def test_three_hundred_at_once_get_exactly_the_limit(
    database: Database, ring: KeyRing, time: Time
) -> None:
    assert await passed(Meter(database, ring, time), 300) == 100


async def test_window_ends_on_time_for_everybody(database: Database, ring: KeyRing, time: Time) -> None:
    meter = Meter(database, ring, time)
    time.now += 59 * MINUTE
    assert await passed(meter, 101) == 100
    time.now += MINUTE - 1
    assert await take(meter) == Standing(False, 100, 0, 1)
    time.now += 1
    assert await take(meter) == Standing(True, 100, 99, 3_600)


async def test_callers_apps_and_doors_are_counted_apart(
    database: Database, ring: KeyRing, time: Time
) -> None:
    meter, one = Meter(database, ring, time), Limit(1, 3_600)
    for app, what, who in (("a", "read", "x"), ("b", "read", "x"), ("a", "write", "x"), ("a", "read", "y")):
        assert (await meter.take(app, what, who, one)).passed
        assert not (await meter.take(app, what, who, one)).passed


async def test_wider_limit_counts_what_was_made_under_the_narrower(
    database: Database, ring: KeyRing, time: Time
) -> None:
    """Who becomes a production user goes on at once, and not from nothing."""
    meter = Meter(database, ring, time)
    assert await passed(meter, 60, limit=Limit(50, 300)) == 50
    assert await passed(meter, 200, limit=Limit(200, 300)) == 150


async def test_below_a_tenth_of_the_limit_nothing_is_written(
    counting: Counting, ring: KeyRing, time: Time
) -> None:
    meter = Meter(counting, ring, time)
    for number in range(9):
        assert (await take(meter)).remaining == 99 - number
    assert counting.writes == 0


async def test_a_write_stands_for_a_tenth_of_the_limit_and_none_for_what_is_refused(
    counting: Counting, ring: KeyRing, time: Time
) -> None:
    meter = Meter(counting, ring, time)
    assert await passed(meter, 500) == 100
    assert counting.writes == 10


async def test_processes_together_exceed_the_limit_by_no_more_than_they_keep_to_themselves(
    database: Database, ring: KeyRing, time: Time
) -> None:
    """The worst case: each has nine requests that the others do not know of, then all ask on at once."""
    meters = [Meter(database, ring, time) for _ in range(3)]
    before = [await passed(meter, 9) for meter in meters]
    after = await asyncio.gather(*(passed(meter, 300) for meter in meters))
    assert 100 <= sum(before) + sum(after) <= 100 + 3 * 9


async def test_process_that_was_idle_hears_that_the_limit_is_reached(
    database: Database, ring: KeyRing, time: Time
) -> None:
    busy, idle = Meter(database, ring, time), Meter(database, ring, time)
    assert await passed(busy, 200) == 100
    assert await passed(idle, 50) == 9
    assert (await take(idle)).passed is False


async def test_small_limit_is_exact_across_processes(database: Database, ring: KeyRing, time: Time) -> None:
    meters = [Meter(database, ring, time) for _ in range(3)]
    counts = await asyncio.gather(*(passed(meter, 30, limit=Limit(19, 60)) for meter in meters))
    assert sum(counts) == 19


async def test_two_servers_on_postgres_share_a_limit(postgres_url: str, ring: KeyRing, time: Time) -> None:
    servers = [Database(postgres_url) for _ in range(2)]
    try:
        counts = await asyncio.gather(*(passed(Meter(each, ring, time), 200) for each in servers))
        assert 100 <= sum(counts) <= 100 + 2 * 9
    finally:
        for each in servers:
            each.close()


async def test_process_that_starts_anew_has_lost_what_it_had_not_shared(
    database: Database, ring: KeyRing, time: Time
) -> None:
    assert await passed(Meter(database, ring, time), 35) == 35
    assert 65 <= await passed(Meter(database, ring, time), 200) <= 65 + 5 + 9


async def test_who_hangs_up_neither_loses_a_count_nor_holds_others(
    database: Database, ring: KeyRing, time: Time
) -> None:
    meter = Meter(database, ring, time)
    assert await passed(meter, 9) == 9
    tenth = asyncio.create_task(take(meter))
    await asyncio.sleep(0)
    tenth.cancel()
    assert await passed(meter, 200) == 90


async def test_silent_database_stops_nobody_below_the_limit(
    counting: Counting, ring: KeyRing, time: Time
) -> None:
    meter = Meter(counting, ring, time)
    counting.cut = True
    assert await passed(meter, 60) == 60
    counting.cut = False
    assert await passed(meter, 200) == 40
    assert await passed(Meter(counting, ring, time), 50) == 9


async def test_crowd_costs_no_more_memory_and_makes_the_meter_forget_who_is_silent(
    database: Database, ring: KeyRing, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CALLERS_MAX", 100)
    meter = Meter(database, ring, time)
    await passed(meter, 55, "user/silent")
    busy = 0
    for number in range(1_000):
        await take(meter, f"user/{number}")
        assert meter._windows[3_600_000].callers <= 100
        if number % 10 == 0:
            busy += (await take(meter, "user/busy")).passed
    assert busy == 100
    assert await passed(meter, 50, "user/busy") == 0
    assert 45 <= await passed(meter, 200, "user/silent") <= 45 + 5 + 9


async def test_rows_say_nothing_about_anyone(database: Database, ring: KeyRing, time: Time) -> None:
    await passed(Meter(database, ring, time), 20)
    rows = await database.read(lambda tx: tx.execute(select(limits)).all())
    assert [row._mapping["count"] for row in rows] == [20]
    assert "ada" not in str(rows)
