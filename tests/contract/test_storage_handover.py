"""A commit begins when the loop has handed over all it has: not before, and without waiting for long."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from admit.storage import writer
from admit.storage.database import Database
from tests.contract.notes import Gate, Together, nothing

BLOCKING_SECONDS = 0.02
"""For so long each of them keeps the loop busy, and any thread may run that wants to."""


@pytest.mark.parametrize("way", ["write_together", "read_together"])
async def test_what_comes_in_one_round_of_the_loop_is_run_together(database: Database, way: str) -> None:
    note = Together()
    await _ask_all(partial(getattr(database, way), note), rounds=[0, 0, 0, 0, 0])
    assert note.runs == [[0, 1, 2, 3, 4]]


async def test_as_long_as_each_round_brings_more_a_commit_waits(database: Database) -> None:
    note = Together()
    await _ask_all(partial(database.write_together, note), rounds=[0, 0, 1, 2, 3])
    assert note.runs == [[0, 1, 2, 3, 4]]


async def test_who_was_answered_together_may_go_on_together(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "HANDOVER_SECONDS_MAX", 10.0)
    gate, note = Gate(), Together()

    async def twice(number: int) -> None:
        await database.write(nothing if number else gate)
        _keep_the_loop_busy()
        await database.write_together(note, number)

    answered = [asyncio.create_task(twice(number)) for number in range(3)]
    assert await asyncio.to_thread(gate.entered.wait, 30)
    waiting = asyncio.create_task(database.write_together(note, 3))
    await asyncio.sleep(BLOCKING_SECONDS)
    gate.opened.set()
    await asyncio.gather(*answered, waiting)
    assert [sorted(each) for each in note.runs] == [[0, 1, 2, 3]]


async def test_who_waits_does_not_wait_for_a_loop_that_is_busy(database: Database) -> None:
    gate, noted = Gate(), threading.Event()
    two = [asyncio.create_task(database.write(unit)) for unit in (gate, nothing)]
    assert await asyncio.to_thread(gate.entered.wait, 30)
    waiting = asyncio.create_task(database.write(lambda _: noted.set()))
    await asyncio.sleep(BLOCKING_SECONDS)
    gate.opened.set()
    assert noted.wait(30)  # while the loop does nothing else
    await asyncio.gather(*two, waiting)


async def test_a_loop_that_ended_before_it_had_handed_over_is_not_waited_for(database: Database) -> None:
    await asyncio.to_thread(_begin_in_a_loop_that_ends, database)
    async with asyncio.timeout(10):
        await database.write(nothing)
        await database.read(nothing)


async def test_nor_is_it_where_another_has_just_handed_over(database: Database) -> None:
    own = [asyncio.create_task(each) for each in (database.write(nothing), database.read(nothing))]
    await asyncio.sleep(0)
    other = threading.Thread(target=_begin_in_a_loop_that_ends, args=(database,))
    other.start()
    other.join()
    async with asyncio.timeout(10):
        await asyncio.gather(*own)


async def test_two_loops_do_not_wait_for_each_other(database: Database) -> None:
    """Both threads work with the same database until each has been answered a few hundred times."""

    async def many() -> None:
        for _ in range(100):
            await asyncio.gather(*(database.write(nothing) for _ in range(3)), database.read(nothing))

    async with asyncio.timeout(60):
        await asyncio.gather(many(), asyncio.to_thread(asyncio.run, many()))


async def _ask_all(ask: Callable[..., Awaitable[int]], *, rounds: list[int]) -> None:
    """Asks once for each of `rounds`, which says how many rounds of the loop go by before."""

    async def one(number: int, rounds: int) -> None:
        for _ in range(rounds):
            await asyncio.sleep(0)
        _keep_the_loop_busy()
        await ask(number)

    await asyncio.gather(*map(one, range(len(rounds)), rounds))


def _begin_in_a_loop_that_ends(database: Database) -> None:
    """Asks for a write and a read in the one round of a loop, which is closed behind it."""

    def begin() -> None:
        for each in (database.write(nothing), database.read(nothing)):
            each.send(None)
            each.close()

    loop = asyncio.new_event_loop()
    loop.call_soon(begin)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()


def _keep_the_loop_busy() -> None:
    time.sleep(BLOCKING_SECONDS)
