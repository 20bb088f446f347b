"""The readers: a few threads that answer queries on snapshots, apart from the writer."""

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from types import CodeType
from typing import Any, Protocol

import structlog
from sqlalchemy import Connection, RootTransaction
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from admit.errors import StorageUnavailable
from admit.storage.handover import Handover
from admit.storage.queries import Queries
from admit.storage.transaction import (
    SeveralStatements,
    SingleStatements,
    Transaction,
    mark_thread_of_units,
)
from admit.storage.watchdog import Guard
from admit.storage.work import AWAY, STOPPING, Fault, Work, answer, answer_with, fail, meaning, run

WAITING_QUERIES_MAX = 20_000
WAITING_SECONDS_MAX = 5.0
ALONE_MAX = 16
BATCH_SECONDS_MAX = 0.005
AWAY_SECONDS = 0.25

log = structlog.get_logger("admit.storage")


class ReadEngine(Protocol):
    """What the readers need to know of a database; `sqlite.py` and `postgres.py` implement it."""

    def connect_reader(self) -> Connection: ...

    def begin_reading(self, connection: Connection) -> RootTransaction: ...

    def begin_single_statements(self, connection: Connection) -> RootTransaction | None:
        """None: a transaction costs next to nothing, or there must be one."""
        ...

    def guard_of(self, connection: Connection) -> Guard: ...

    def fault_of(self, error: DBAPIError) -> Fault: ...


class Readers:
    """Runs queries on `count` threads. Under load, queries share a snapshot that was taken after all of them
    had been asked.

    A query of one statement is a snapshot without a transaction, which on PostgreSQL is most of its price.
    Nobody says how many statements a query has: it is taken to have one until it asks for the second, and is
    then run again in a transaction, as it will be from then on.
    """

    def __init__(self, engine: ReadEngine, count: int) -> None:
        self._engine = engine
        self._count = count
        self._queries = Queries()
        self._wake = threading.Condition()
        self._handover = Handover(self._wake)
        self._idle = 0
        self._closing = False
        self._away_until = 0.0
        self._own = threading.local()
        self._several: set[CodeType | Callable[..., Any]] = set()
        self._threads = [
            threading.Thread(target=self._run, name=f"admit-reader-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Work) -> None:
        """Queues `work`."""
        with self._wake:
            if self._closing:
                raise StorageUnavailable(STOPPING)
            if len(self._queries) >= WAITING_QUERIES_MAX:
                raise StorageUnavailable("Too much is waiting to be read. Try again in a moment.")
            self._queries.add(work)
            if self._queries.can_be_taken():
                self._handover.came(work.loop)

    def close(self) -> None:
        """Answers what is waiting, then ends the threads and their connections."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        mark_thread_of_units()
        self._own.connection = None
        batch: list[Work] = []
        while batch := self._next_batch(batch):
            try:
                self._serve([work for work in batch if work.is_wanted(WAITING_SECONDS_MAX)])
            except Exception:  # a bug of ours must not leave everybody waiting for ever
                log.exception("storage.reader_failed", queries=len(batch))
                self._disconnect()
                fail(batch, AWAY)
        self._disconnect()

    def _next_batch(self, read: list[Work]) -> list[Work]:
        """Waits for queries that this thread can take, having `read` others; none: no more will come."""
        with self._wake:
            self._queries.has_read(read)
            while not (batch := self._queries.take(self._share())) and not self._closing:
                self._idle += 1
                self._wake.wait()
                self._idle -= 1
            if self._queries.can_be_taken():
                self._wake.notify()
            return batch

    def _share(self) -> int:
        """How many queries that stand alone a thread takes: one, while another thread has nothing to do."""
        return 1 if self._idle else min(ALONE_MAX, 1 + len(self._queries) // self._count)

    def _serve(self, batch: list[Work]) -> None:
        """Answers `batch`, or puts the end of it back when its beginning takes long."""
        while batch:
            if time.monotonic() < self._away_until:
                return fail(batch, AWAY)
            try:
                done = self._read_some(batch)
            except Exception as error:
                failed = _front(batch)
                batch = batch[len(failed) :]
                self._report(failed, error)
            else:
                self._put_back(batch[done:])
                return None
        return None

    def _report(self, failed: list[Work], error: Exception) -> None:
        """Answers queries that failed; where they were run together, no caller pays for another."""
        if isinstance(error, DBAPIError) and self._engine.fault_of(error) is Fault.CONNECTION_LOST:
            self._away_until = time.monotonic() + AWAY_SECONDS
            fail(failed, AWAY)
        elif len(failed) == 1:
            answer_with(failed[0], meaning(error, self._engine.fault_of))
        else:
            for work in failed:
                self._serve([work])

    def _read_some(self, batch: list[Work]) -> int:
        """Answers queries from the front of `batch`; returns how many. Raises when the first one fails.

        Tries once more where the connection turned out to be a stale one.
        """
        may_be_stale = True
        while True:
            try:
                return self._read_once(batch)
            except SeveralStatements:
                self._several.add(_code_of(batch[0]))
            except DBAPIError as error:
                faults = (Fault.CONNECTION_LOST, Fault.TRY_AGAIN)
                if not may_be_stale or self._engine.fault_of(error) not in faults:
                    raise
                may_be_stale = False
                self._disconnect()

    def _read_once(self, batch: list[Work]) -> int:
        connection = self._connect()
        tx, transaction = self._begin(connection, batch)
        stop_at = time.monotonic() + BATCH_SECONDS_MAX
        done = 0
        end = transaction.rollback
        try:
            while done < len(batch) and (done == 0 or time.monotonic() < stop_at):
                group = _front(batch[done:])
                run(tx, group)
                done += len(group)
            end = transaction.commit
        except Exception:
            if done == 0:
                raise
        finally:
            answer(batch[:done])
            self._end(tx, end)
        return done

    def _begin(self, connection: Connection, batch: Iterable[Work]) -> tuple[Transaction, RootTransaction]:
        guard = self._engine.guard_of(connection)
        try:
            if self._several.isdisjoint(map(_code_of, batch)):
                transaction = self._engine.begin_single_statements(connection)
                if transaction is not None:
                    return SingleStatements(connection, guard, may_write=False), transaction
            transaction = self._engine.begin_reading(connection)
            return Transaction(connection, guard, may_write=False), transaction
        except BaseException:
            self._disconnect()
            raise

    def _end(self, tx: Transaction, end: Callable[[], None]) -> None:
        try:
            end()
        except SQLAlchemyError:
            self._disconnect()
        finally:
            tx.end()

    def _put_back(self, works: list[Work]) -> None:
        if works:
            with self._wake:
                self._queries.put_back(works)
                self._wake.notify()

    def _connect(self) -> Connection:
        if self._own.connection is None:
            self._own.connection = self._engine.connect_reader()
        connection: Connection = self._own.connection
        return connection

    def _disconnect(self) -> None:
        if self._own.connection is not None:
            connection, self._own.connection = self._own.connection, None
            with suppress(SQLAlchemyError):
                connection.invalidate()
            with suppress(SQLAlchemyError):
                connection.close()


def _front(batch: list[Work]) -> list[Work]:
    """What is run at once: all of `batch` where it shares its statements, else the first of it."""
    return batch if batch[0].together else batch[:1]


def _code_of(work: Work) -> CodeType | Callable[..., Any]:
    """What queries of one kind have in common: those that are made anew for every caller share their code."""
    unit = work.unit
    while isinstance(unit, partial):
        unit = unit.func
    code: CodeType | Callable[..., Any] = getattr(unit, "__code__", unit)
    return code
