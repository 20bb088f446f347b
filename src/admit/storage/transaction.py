"""One open transaction, as a unit of work sees it."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    JSON,
    BigInteger,
    Connection,
    CursorResult,
    Executable,
    Text,
    bindparam,
    cast,
    func,
    select,
)
from sqlalchemy.exc import DBAPIError

from admit.errors import AdmitError
from admit.storage import direct
from admit.storage.direct import Asked
from admit.storage.rows import ManyRows
from admit.storage.watchdog import Guard

UNIT_ROWS_MAX = 5_000
UNIT_SECONDS_MAX = 5.0
FINISH_ROWS_MAX = 1_000_000

T = TypeVar("T")
# Of a function that returns a set, PostgreSQL handles row after row, in order.
HOLD_POSTGRES = select(
    func.pg_advisory_xact_lock(
        cast(func.json_array_elements_text(cast(bindparam("keys", type_=Text), JSON)), BigInteger)
    )
)

Unit = Callable[["Transaction"], T]
"""A unit of work: a plain function of an open transaction. It must be safe to run again."""

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]

_running: ContextVar[bool] = ContextVar("admit_unit_is_running", default=False)


def unit_is_running() -> bool:
    """True inside a unit of work, where nothing may leave the house."""
    return _running.get()


def mark_thread_of_units() -> None:
    """Says that from now on everything this thread runs is a unit of work."""
    _running.set(True)


class UnitTooLarge(AdmitError):
    """A unit touched more than UNIT_ROWS_MAX rows or ran longer than UNIT_SECONDS_MAX: chop the work."""

    code = "unit_too_large"


class Overtaken(Exception):
    """Another process has changed what a unit relied on, before our commit: everything is run once more."""


class SeveralStatements(Exception):
    """A query asks for a second statement where each has only one: it is run again on a snapshot for both."""


@dataclass(frozen=True)
class Finisher:
    """Work done once per commit for all items that units have deferred to it, right before the commit.

    Hot rows are touched this way, last and in key order. Lower `rank` runs first.
    """

    rank: int
    run: Callable[["Transaction", list[Any]], None]


@dataclass(frozen=True)
class Signal:
    """A hint that a fact has changed: what kind (`topic`) and which (`key`). Never the fact itself."""

    topic: str
    key: str


class Transaction:
    """An open transaction. Units execute statements through it; the writer commits it."""

    def __init__(self, connection: Connection, guard: Guard, *, may_write: bool = True) -> None:
        self.connection = connection
        self.dialect = connection.dialect.name
        self.signals: dict[Signal, None] = {}
        self._guard = guard
        self._may_write = may_write
        self._deferred: defaultdict[Finisher, list[Any]] = defaultdict(list)
        self._broken = False
        self.begin_unit()

    def execute(self, statement: Executable, parameters: Parameters | None = None) -> CursorResult[Any]:
        """Executes one statement, once per mapping where `parameters` is a sequence."""
        self._may_go_on(statement.is_dml)
        try:
            result = self.connection.execute(statement, parameters)
        except DBAPIError:
            self._broken = True
            raise
        if statement.is_dml:
            # Rows that are returned are not always counted; the time limit stands behind this one.
            self._count(len(parameters) if isinstance(parameters, Sequence) else max(result.rowcount, 1))
        return result

    def rows_of_each(self, asked: Sequence[Asked]) -> list[Sequence[Sequence[Any]]]:
        """The rows that each of several statements returns. They do not wait for one another's answers."""
        self._may_go_on(any(statement.is_dml for statement, _ in asked))
        try:
            found = direct.rows_of_each(self.connection, asked)
        except DBAPIError:
            self._broken = True
            raise
        for (statement, _), rows in zip(asked, found, strict=True):
            if statement.is_dml:
                self._count(max(len(rows), 1))
        return found

    def write(self, statement: ManyRows, rows: Sequence[Sequence[Any]]) -> None:
        """Writes many rows, cheaper than `execute`. Where that fails, this or a later statement raises."""
        if rows:
            self._write(statement.run, rows)

    def count_written(self, statement: ManyRows, rows: Sequence[Sequence[Any]]) -> int:
        """Like `write`, and waits for it; returns how many rows were written."""
        return self._write(statement.count, rows) if rows else 0

    def check(self) -> None:
        """Raises RuntimeError when a unit has hidden that a statement failed: it would be half done."""
        if self._broken:
            raise RuntimeError("A unit of work went on after one of its statements had failed.")

    def hold(self, names: Iterable[str]) -> None:
        """Waits until no other transaction holds any of `names`, and holds them until this one ends.

        On SQLite there is no other. Deadlocks are ruled out only among those who hold everything at once.
        """
        if self.dialect == "sqlite":
            return
        keys = sorted(int.from_bytes(sha256(name.encode()).digest()[:8], signed=True) for name in set(names))
        if keys:
            self.execute(HOLD_POSTGRES, {"keys": msgspec.json.encode(keys).decode()})

    def defer(self, finisher: Finisher, item: Any) -> None:
        """Leaves `item` to `finisher`, which sees all items of this commit at once, last thing before it."""
        self._deferred[finisher].append(item)

    def deferred(self, finisher: Finisher) -> Sequence[Any]:
        """What has been left to `finisher` in this transaction so far."""
        return self._deferred.get(finisher, ())

    def signal(self, topic: str, key: str) -> None:
        """Tells every process, once this transaction is committed, that `key` of `topic` has changed."""
        self.signals[Signal(topic, key)] = None

    def begin_unit(self, members: int = 1) -> None:
        """Grants the next unit its own ceiling; a unit that stands for `members` callers gets theirs."""
        self._grant(UNIT_ROWS_MAX * members)

    def finish(self) -> None:
        """Runs the deferred work. Called by the writer right before the commit."""
        self._grant(FINISH_ROWS_MAX)
        while self._deferred:
            finisher = min(self._deferred, key=lambda each: each.rank)
            finisher.run(self, self._deferred.pop(finisher))
        self.check()

    def end(self) -> None:
        """Says that nothing runs any more."""
        self._guard.release()

    def adopt(self, part: "Transaction") -> None:
        """Takes over what `part`, a unit that was run apart on the same connection, has deferred."""
        self.signals |= part.signals
        for finisher, items in part._deferred.items():
            self._deferred[finisher] += items

    def _write(
        self, run: Callable[[Connection, Sequence[Sequence[Any]]], T], rows: Sequence[Sequence[Any]]
    ) -> T:
        self._may_go_on(True)
        try:
            written = run(self.connection, rows)
        except DBAPIError:
            self._broken = True
            raise
        self._count(len(rows))
        return written

    def _may_go_on(self, writes: bool) -> None:
        self.check()
        if writes and not self._may_write:
            raise RuntimeError("A query cannot change anything. Use Database.write.")
        if time.monotonic() > self._deadline:
            raise too_slow()

    def _count(self, rows: int) -> None:
        self._rows_left -= rows
        if self._rows_left < 0:
            raise UnitTooLarge(f"A unit of work touched more than {UNIT_ROWS_MAX} rows. Chop it.")

    def _grant(self, rows: int) -> None:
        self._rows_left = rows
        self._deadline = time.monotonic() + UNIT_SECONDS_MAX
        self._guard.hold(self._deadline)


class SingleStatements(Transaction):
    """No transaction, for queries of one statement each: that is a snapshot of its own."""

    _executed: bool

    def execute(self, statement: Executable, parameters: Parameters | None = None) -> CursorResult[Any]:
        """As in a transaction, once for each unit. Raises SeveralStatements at the second time."""
        if self._executed:
            raise SeveralStatements
        self._executed = True
        return super().execute(statement, parameters)

    def rows_of_each(self, asked: Sequence[Asked]) -> list[Sequence[Sequence[Any]]]:
        """As in a transaction, where it is one statement, the first. Raises SeveralStatements otherwise."""
        if self._executed or len(asked) > 1:
            raise SeveralStatements
        self._executed = bool(asked)
        return super().rows_of_each(asked)

    def begin_unit(self, members: int = 1) -> None:
        """Lets the next unit execute its statement."""
        self._executed = False
        super().begin_unit(members)


def too_slow() -> UnitTooLarge:
    """The complaint about a unit that has used up its time."""
    return UnitTooLarge(f"A unit of work ran for more than {UNIT_SECONDS_MAX:g} s. Chop it.")
