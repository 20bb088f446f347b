"""A small table of its own for the tests of storage, and units on it."""

import asyncio
import threading

from sqlalchemy import BigInteger, Column, MetaData, Table, Text, bindparam, func, insert, select, update

from admit.storage.database import Database
from admit.storage.transaction import Transaction, Unit

notes = Table("notes", MetaData(), Column("id", Text, primary_key=True), Column("n", BigInteger))

ADD = insert(notes)
ALL = select(notes.c.id).order_by(notes.c.id)
COUNT = select(func.count()).select_from(notes)
RAISE = update(notes).where(notes.c.id == bindparam("note")).values(n=notes.c.n + 1)
VALUE = select(notes.c.n).where(notes.c.id == bindparam("note"))


async def make_notes(database: Database) -> None:
    await database.write(lambda tx: notes.metadata.create_all(tx.connection))


def adding(note: str, n: int = 0) -> Unit[str]:
    def add(tx: Transaction) -> str:
        tx.execute(ADD, {"id": note, "n": n})
        return note

    return add


def add_together(tx: Transaction, items: list[str]) -> list[str]:
    tx.execute(ADD, [{"id": item, "n": len(items)} for item in items])
    return [f"added {item}" for item in items]


def all_notes(tx: Transaction) -> list[str]:
    return list(tx.execute(ALL).scalars())


def count_notes(tx: Transaction) -> int:
    count: int = tx.execute(COUNT).scalar_one()
    return count


def value_of(note: str) -> Unit[int]:
    def read(tx: Transaction) -> int:
        value: int = tx.execute(VALUE, {"note": note}).scalar_one()
        return value

    return read


class Gate:
    """A unit that waits, so that others gather behind it."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, _tx: Transaction) -> None:
        self.entered.set()
        assert self.opened.wait(10)


class Together:
    """A unit in list form that remembers which items were run together."""

    def __init__(self) -> None:
        self.runs: list[list[int]] = []

    def __call__(self, _tx: Transaction, items: list[int]) -> list[int]:
        self.runs.append(items)
        return items


def nothing(_tx: Transaction) -> None:
    """A unit that changes nothing."""


async def hold_writer(database: Database) -> tuple[Gate, asyncio.Task[None]]:
    """Occupies the writer until the gate is opened."""
    gate = Gate()
    task = asyncio.create_task(database.write(gate))
    await asyncio.to_thread(gate.entered.wait, 10)
    return gate, task


async def settled() -> None:
    """Lets the tasks that were just made come as far as they can."""
    for _ in range(3):
        await asyncio.sleep(0)


async def hearing(database: Database) -> None:
    """Waits until other processes are heard: as that begins, subscribers are told to look for themselves."""
    if database.url.get_backend_name() == "postgresql":
        assert database.listener is not None
        await asyncio.to_thread(database.listener.hears.wait, 10)
        await settled()
