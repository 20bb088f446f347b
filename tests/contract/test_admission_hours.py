"""What is decided at the door is counted by the hour: all of it, once, whoever settles it and wherever."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from admit.clock import DAY_MS, HOUR_MS
from admit.enrollment import hours
from admit.enrollment.admit import Door
from admit.enrollment.hours import Answered, Decided
from admit.errors import Refused
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from tests.contract.test_door import House, open_door, open_house, proof
from tests.receiver import PROD, always, in_turn, receiving

SINCE = 0
REJECT: dict[str, Any] = {"ok": True, "action": "reject", "message": "No."}


@pytest.fixture
async def house(database: Database, ring: KeyRing) -> AsyncIterator[House]:
    async with open_house(database, ring) as house:
        yield house


@pytest.fixture
async def two_nodes(postgres_url: str, ring: KeyRing) -> AsyncIterator[tuple[House, Door]]:
    here, there = Database(postgres_url), Database(postgres_url)
    for each in (here, there):
        each.signals.attach(asyncio.get_running_loop())
    async with open_house(here, ring) as house, open_door(there, ring) as (_, door):
        yield house, door
    here.close()
    there.close()


async def decided(house: House, *, by_day: bool = True) -> list[Decided]:
    return await house.db.read(lambda tx: hours.decided(tx, house.app.app_id, SINCE, by_day=by_day))


async def answered(house: House) -> tuple[Answered, list[Answered]]:
    return await house.db.read(lambda tx: hours.answered(tx, house.app.app_id, SINCE))


async def test_each_verdict_is_counted_as_what_it_is(house: House) -> None:
    async with receiving(in_turn(always(**PROD), always(**REJECT), always(500))) as receiver:
        await house.ask(receiver)
        await house.admit("ada")
        for name in ("bob", "carla"):
            with pytest.raises(Refused):
                await house.admit(name)
    [day] = await decided(house)
    assert (day.admitted_eval, day.admitted_prod, day.refused, day.unanswered) == (0, 1, 1, 1)
    assert day.at % DAY_MS == 0
    whole, [hour] = await answered(house)
    assert (whole.asked, whole.failed) == (hour.asked, hour.failed) == (3, 1)
    assert hour.at % HOUR_MS == 0
    assert whole.median_ms is not None
    assert whole.p99_ms is not None
    assert whole.median_ms <= whole.p99_ms < 5_000


async def test_who_is_admitted_for_want_of_an_answer_is_admitted_and_the_fault_is_told(house: House) -> None:
    async with receiving(always(500)) as receiver:
        await house.ask(receiver, on_failure="eval")
        await house.admit("ada")
    [day] = await decided(house)
    assert (day.admitted_eval, day.unanswered) == (1, 0)
    whole, _ = await answered(house)
    assert (whole.asked, whole.failed, whole.median_ms) == (1, 1, None)


async def test_nobody_was_asked_where_the_rule_decides_alone(house: House) -> None:
    await house.admit("ada")
    assert [day.admitted_eval for day in await decided(house)] == [1]
    whole, by_hour = await answered(house)
    assert (whole.asked, by_hour) == (0, [])


async def test_who_comes_again_is_no_decision(house: House) -> None:
    await house.admit("ada")
    await house.admit("ada", device=2)
    assert [day.admitted_eval for day in await decided(house)] == [1]


async def test_rivals_are_one_decision(house: House) -> None:
    async with receiving(always(**PROD)) as receiver:
        await house.ask(receiver)
        await asyncio.gather(*(house.admit("ada", device=each) for each in range(1, 6)))
    assert [day.admitted_prod for day in await decided(house)] == [1]


async def test_many_at_once_are_all_counted_on_two_nodes(two_nodes: tuple[House, Door]) -> None:
    house, there = two_nodes
    await asyncio.gather(
        *(house.admit(f"here{each}", device=each) for each in range(1, 31)),
        *(there.admit(house.app, proof(f"there{each}", device=100 + each)) for each in range(1, 31)),
    )
    assert sum(hour.admitted_eval for hour in await decided(house, by_day=False)) == 60


async def test_hours_of_long_ago_are_forgotten(house: House) -> None:
    await house.admit("ada")
    [hour] = await decided(house, by_day=False)

    async def prune(now: int) -> int:
        return await house.db.write(lambda tx: hours.prune(tx, now=now, rows_max=10))

    assert await prune(hour.at + hours.KEPT_MS) == 0
    assert await prune(hour.at + hours.KEPT_MS + 1) == 1
    assert await decided(house) == []
