"""Behind a commit of several the writer rests: until as many wait again, or for as long as it took."""

import asyncio
import threading
import time
from typing import Any

import pytest

from admit.storage import gathering, writer
from admit.storage.database import Database
from admit.storage.gathering import Gathering
from tests.contract.notes import Gate, Together, nothing

LONG_SECONDS = 20.0
APART_SECONDS = 0.05


class Leaping:
    """The clock of the writer's rest. A commit may take long without anybody waiting for it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Leaping:
    leaping = Leaping()
    monkeypatch.setattr(gathering, "time", leaping)
    monkeypatch.setattr(gathering, "GATHER_SECONDS_MAX", LONG_SECONDS)
    return leaping


async def commit_of(database: Database, clock: Leaping, units: int, *, held_seconds: float = 0.0) -> None:
    """Has so many units committed together, which takes long. `held_seconds`: those that it really does."""
    gate = Gate()
    at_work = [asyncio.create_task(database.write(gate if place == 0 else nothing)) for place in range(units)]
    assert await asyncio.to_thread(gate.entered.wait, 10)
    clock.ahead += LONG_SECONDS
    await asyncio.sleep(held_seconds)
    gate.opened.set()
    await asyncio.gather(*at_work)


async def test_as_many_as_were_committed_are_waited_for(database: Database, clock: Leaping) -> None:
    note = Together()
    await commit_of(database, clock, 3)
    coming: list[asyncio.Task[int]] = []
    for number in range(3):
        coming.append(asyncio.create_task(database.write_together(note, number)))
        await asyncio.sleep(APART_SECONDS)
    async with asyncio.timeout(LONG_SECONDS / 2):
        await asyncio.gather(*coming)
    assert note.runs == [[0, 1, 2]]


async def test_a_unit_of_its_own_ends_the_rest(database: Database, clock: Leaping) -> None:
    note = Together()
    await commit_of(database, clock, 3)
    async with asyncio.timeout(LONG_SECONDS / 2):
        await asyncio.gather(database.write_together(note, 0), database.write(nothing))


async def test_so_does_one_that_is_to_be_written_at_once(database: Database, clock: Leaping) -> None:
    note = Together()
    await commit_of(database, clock, 3)
    async with asyncio.timeout(LONG_SECONDS / 2):
        await database.write_together(note, 0, at_once=True)


async def test_housekeeping_does_not(database: Database, clock: Leaping) -> None:
    note = Together()
    await commit_of(database, clock, 2)
    coming: list[asyncio.Task[Any]] = [asyncio.create_task(database.write_together(note, 0))]
    coming += [asyncio.create_task(database.write(nothing, patient=True))]
    await asyncio.sleep(APART_SECONDS)
    coming += [asyncio.create_task(database.write_together(note, 1))]
    async with asyncio.timeout(LONG_SECONDS / 2):
        await asyncio.gather(*coming)
    assert note.runs == [[0, 1]]


async def test_who_did_not_fit_into_a_commit_is_in_the_next_at_once(
    database: Database, clock: Leaping
) -> None:
    async with asyncio.timeout(LONG_SECONDS / 2):
        await commit_of(database, clock, 3, held_seconds=2 * writer.BATCH_SECONDS_MAX)


async def test_nobody_waits_behind_a_commit_of_one(database: Database, clock: Leaping) -> None:
    note = Together()
    await commit_of(database, clock, 1)
    async with asyncio.timeout(LONG_SECONDS / 2):
        await database.write_together(note, 0)


def test_nobody_waits_once_a_commit_is_as_long_ago_as_it_took(clock: Leaping) -> None:
    lock = threading.RLock()
    rest = Gathering(lock, [])
    asked_at = time.monotonic()
    with lock:
        rest.begin(2)
        clock.ahead += LONG_SECONDS
        rest.end()
        clock.ahead += LONG_SECONDS
        rest.wait()
    assert time.monotonic() - asked_at < LONG_SECONDS / 2


async def test_nobody_waits_longer_than_the_most(
    database: Database, clock: Leaping, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = Together()
    monkeypatch.setattr(gathering, "GATHER_SECONDS_MAX", 0.01)
    await commit_of(database, clock, 2)
    async with asyncio.timeout(LONG_SECONDS / 2):
        await database.write_together(note, 0)
