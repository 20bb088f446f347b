"""Reads: consistent snapshots, apart from the writer."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
from sqlalchemy import text

from admit.errors import AdmitError, StorageUnavailable
from admit.storage import readers
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from tests.contract.notes import COUNT, VALUE, add_together, adding, all_notes, count_notes, make_notes


@pytest.fixture(autouse=True)
async def _notes(database: Database) -> None:
    await make_notes(database)


async def test_read_never_sees_half_a_unit(database: Database) -> None:
    numbers = count()
    stop = asyncio.Event()

    def pair(tx: Transaction) -> None:
        number = next(numbers)
        adding(f"{number} first")(tx)
        time.sleep(0.002)
        adding(f"{number} second")(tx)

    async def write() -> None:
        while not stop.is_set():
            await database.write(pair)

    async def read() -> set[int]:
        seen: set[int] = set()
        while len(seen) < 10:
            seen.add(await database.read(count_notes))
        return seen

    writing = [asyncio.create_task(write()) for _ in range(3)]
    seen = set[int]().union(*await asyncio.gather(*(read() for _ in range(3))))
    stop.set()
    await asyncio.gather(*writing)
    assert all(number % 2 == 0 for number in seen)


def count_at_once(tx: Transaction) -> int:
    first, again = ([row[0] for row in rows] for rows in tx.rows_of_each([(COUNT, {})] * 2))
    assert first == again
    count: int = first[0]
    return count


@pytest.mark.parametrize("ask", [count_notes, count_at_once])
async def test_statements_of_one_read_see_the_same_moment(
    database: Database, ask: Callable[[Transaction], int]
) -> None:
    looked, written = threading.Event(), threading.Event()

    def twice(tx: Transaction) -> tuple[int, int]:
        first = ask(tx)
        looked.set()
        assert written.wait(10)
        return first, count_notes(tx)

    async def read_across(note: str) -> tuple[int, int]:
        looked.clear()
        written.clear()
        reading = asyncio.create_task(database.read(twice))
        await asyncio.to_thread(looked.wait, 10)
        await database.write(adding(note))
        written.set()
        return await reading

    first, second = await read_across("meanwhile")
    assert first == second
    assert await read_across("again") == (1, 1)  # what it asks for is known by now: it is not run anew
    assert await database.read(count_notes) == 2


async def test_read_cannot_write(database: Database) -> None:
    with pytest.raises(RuntimeError):
        await database.read(adding("a"))
    with pytest.raises(RuntimeError):
        await database.read_together(add_together, "a")
    with pytest.raises(AdmitError):
        await database.read(lambda tx: tx.execute(text("DELETE FROM notes")))
    assert await database.read(all_notes) == []


async def test_reads_do_not_wait_for_the_writer(database: Database) -> None:
    looked = threading.Event()
    writing = asyncio.create_task(database.write(lambda _tx: looked.wait(10)))
    assert await database.read(count_notes) == 0
    looked.set()
    await writing


def _values(tx: Transaction, items: list[str]) -> list[tuple[int, int]]:
    return [(tx.execute(VALUE, {"note": item}).scalar_one(), len(items)) for item in items]


async def test_reads_of_one_kind_are_answered_together(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(20):
        await database.write(adding(f"{i}", i))
    hold = threading.Event()
    held = [asyncio.create_task(database.read(lambda _tx: hold.wait(10))) for _ in range(4)]
    await asyncio.sleep(0.05)
    tasks = [asyncio.create_task(database.read_together(_values, f"{i}")) for i in range(20)]
    await asyncio.sleep(0)
    hold.set()
    results = await asyncio.gather(*tasks)
    await asyncio.gather(*held)
    assert [value for value, _ in results] == list(range(20))
    assert max(size for _, size in results) > 1


class SlowReading:
    """Queries that go together, of which the first stays with its reader until it is told to end."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.began, self.may_end = threading.Event(), threading.Event()

    def read(self, tx: Transaction, items: list[str]) -> list[int]:
        self.batches.append(items)
        self.began.set()
        assert self.may_end.wait(10)
        return [count_notes(tx)] * len(items)

    async def hold_up(self, database: Database) -> "asyncio.Task[list[int]]":
        """Has one reader read, and four queries come meanwhile."""
        unit = self.read
        asking = asyncio.create_task(database.read_together(unit, "first"))
        await asyncio.to_thread(self.began.wait, 10)
        later = [asyncio.create_task(database.read_together(unit, f"{i}")) for i in range(4)]

        async def all_of_them() -> list[int]:
            async with asyncio.timeout(10):
                return list(await asyncio.gather(asking, *later))

        return asyncio.create_task(all_of_them())


async def turned_away(database: Database) -> None:
    """Returns once the readers of `database` are closing."""
    with suppress(StorageUnavailable):
        while True:
            await database.read(count_notes)


async def test_queries_that_come_while_their_like_are_read_go_together(database: Database) -> None:
    slow = SlowReading()
    reading = await slow.hold_up(database)
    await asyncio.sleep(0.05)
    assert slow.batches == [["first"]]
    slow.may_end.set()
    assert await reading == [0] * 5
    assert slow.batches == [["first"], ["0", "1", "2", "3"]]


async def test_queries_of_one_kind_do_not_hold_up_others(database: Database) -> None:
    await database.write(adding("a", 1))
    slow = SlowReading()
    reading = await slow.hold_up(database)
    assert await database.read(count_notes) == 1
    assert await database.read_together(_values, "a") == (1, 1)
    assert len(slow.batches) == 1
    slow.may_end.set()
    await reading


async def test_queries_that_wait_for_their_like_are_answered_before_the_readers_close(
    database: Database, database_url: str
) -> None:
    closed = Database(database_url)
    slow = SlowReading()
    reading = await slow.hold_up(closed)
    await asyncio.sleep(0.02)
    closing = asyncio.create_task(asyncio.to_thread(closed.close))
    await turned_away(closed)
    slow.may_end.set()
    assert await reading == [0] * 5
    await closing


async def test_failing_read_lets_its_like_be_read(database: Database) -> None:
    slow = SlowReading()

    def fail_first(tx: Transaction, items: list[str]) -> list[int]:
        counts = slow.read(tx, items)
        if "first" in items:
            raise KeyError("first")
        return counts

    asking = asyncio.create_task(database.read_together(fail_first, "first"))
    await asyncio.to_thread(slow.began.wait, 10)
    later = asyncio.create_task(database.read_together(fail_first, "later"))
    await asyncio.sleep(0)
    slow.may_end.set()
    with pytest.raises(KeyError):
        await asking
    assert await later == 0


async def test_failing_read_harms_only_itself(database: Database) -> None:
    await database.write(adding("a", 1))
    results = await asyncio.gather(
        *(database.read_together(_values, item) for item in ("a", "nobody", "a")), return_exceptions=True
    )
    assert [type(each).__name__ for each in results] == ["tuple", "NoResultFound", "tuple"]


async def test_read_that_waited_too_long_is_turned_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "WAITING_SECONDS_MAX", 0.05)
    hold = threading.Event()
    held = [asyncio.create_task(database.read(lambda _tx: hold.wait(10))) for _ in range(4)]
    await asyncio.sleep(0.02)
    late: asyncio.Task[Any] = asyncio.create_task(database.read(count_notes))
    await asyncio.sleep(0.1)
    hold.set()
    with pytest.raises(StorageUnavailable):
        await late
    await asyncio.gather(*held)
