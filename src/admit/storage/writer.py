"""The writer: one thread that commits all waiting units together and only then answers any of them.

Group commit is worth a factor of ten: a commit waits for the disk, and everyone who arrives meanwhile
shares the next one. The price is that strangers share a transaction, so most of this file is about units
that fail, and about databases that do.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

import structlog
from sqlalchemy import Connection, RootTransaction
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from admit.clock import jitter
from admit.errors import StorageUnavailable
from admit.storage.gathering import Gathering
from admit.storage.handover import Handover
from admit.storage.transaction import Overtaken, Signal, Transaction, UnitTooLarge, mark_thread_of_units
from admit.storage.watchdog import Guard
from admit.storage.work import (
    AWAY,
    STOPPING,
    UNKNOWN,
    Doubt,
    Fault,
    Work,
    answer,
    answer_with,
    fail,
    meaning,
    name_of,
    run,
)

BATCH_UNITS_MAX = 256
BATCH_SECONDS_MAX = 0.025
HANDOVER_SECONDS_MAX = 0.004  # kept from those who wait already, for what a busy loop may hand over, too
WAITING_UNITS_MAX = 20_000
WAITING_SECONDS_MAX = 10.0
RETRY_SECONDS_MAX = 5.0
CONFLICT_TRIES_MAX = 3
CONFLICT_LOCK_WAIT_MS = 500
APART_LOCK_WAIT_MS = 50
PAUSE_SECONDS_MIN = 0.01
PAUSE_SECONDS_MAX = 0.25
AWAY_SECONDS = 0.25

RunUnits = Callable[[Transaction, list[Work]], int]

log = structlog.get_logger("admit.storage")


class Engine(Protocol):
    """What the writer needs to know of a database; `sqlite.py` and `postgres.py` implement it."""

    def connect_writer(self) -> Connection: ...

    def begin_writing(self, connection: Connection) -> RootTransaction: ...

    def guard_of(self, connection: Connection) -> Guard: ...

    def limit_lock_wait(self, connection: Connection, milliseconds: int) -> None:
        """Limits how long the open transaction waits for a lock that another holds."""

    def settle(self, connection: Connection) -> None:
        """Raises what a statement of the open transaction has failed with, if nobody knows of it yet."""

    def before_commit(self, tx: Transaction, signals: Sequence[Signal]) -> None: ...

    def fault_of(self, error: DBAPIError) -> Fault: ...

    def was_committed(self, connection: Connection) -> bool:
        """Whether the last transaction that came as far as `before_commit` took place."""


class DatabaseAway(Exception):
    """The database stays away. The text is the sentence for the callers."""


class Writer:
    """Runs units on a thread of its own, on the one connection that writes."""

    def __init__(
        self, engine: Engine, on_commit: Callable[[Sequence[Signal]], None], on_gap: Callable[[], None]
    ) -> None:
        """`on_commit(signals)` is called before callers are answered, `on_gap()` when a commit whose signals
        nobody has seen may have taken place."""
        self._engine = engine
        self._on_commit = on_commit
        self._on_gap = on_gap
        self._waiting: deque[Work] = deque()
        self._patient: deque[Work] = deque()
        lock = threading.RLock()
        self._wake = threading.Condition(lock)
        self._gathering = Gathering(lock, self._waiting)
        self._handover = Handover(self._wake)
        self._closing = False
        self._connection: Connection | None = None
        self._at_work: list[Work] = []
        self._doubt: Doubt | None = None
        self._gap = False
        self._away_until = 0.0
        self._thread = threading.Thread(target=self._run, name="admit-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Work, *, patient: bool = False) -> None:
        """Queues `work`. Patient work (housekeeping) lets logins pass."""
        with self._wake:
            if self._closing:
                raise StorageUnavailable(STOPPING)
            if len(self._waiting) + len(self._patient) >= WAITING_UNITS_MAX:
                raise StorageUnavailable("Too much is waiting to be written. Try again in a moment.")
            (self._patient if patient else self._waiting).append(work)
            self._handover.came(work.loop)
            self._gathering.came(at_once=work.at_once)

    def close(self) -> None:
        """Commits what is waiting, then ends the thread and its connection."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        mark_thread_of_units()
        while (batch := self._next_batch()) is not None:
            try:
                self._write([work for work in batch if work.is_wanted(WAITING_SECONDS_MAX)])
            except Exception:  # a bug of ours must not leave everybody waiting for ever
                log.exception("storage.writer_failed", units=len(batch))
                self._disconnect()
                fail(batch, UNKNOWN)
        self._disconnect()

    def _next_batch(self) -> list[Work] | None:
        """Waits for work; None when there is none left and none will come."""
        with self._wake:
            self._gathering.end()
            while not (self._waiting or self._patient):
                if self._closing:
                    return None
                self._wake.wait()
            self._wake.wait_for(lambda: self._handover.is_over or self._closing, HANDOVER_SECONDS_MAX)
            self._gathering.wait()
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_UNITS_MAX))]
            if self._patient:
                batch.append(self._patient.popleft())
            self._handover.is_over = bool(self._waiting or self._patient)
            self._gathering.begin(len(batch))
            return batch

    def _write(self, batch: list[Work]) -> None:
        """Commits `batch`. No caller pays for another's error.

        Where a unit fails, everything is rolled back and each unit is run apart from the others, inside a
        savepoint, which still takes only one commit. Where that fails too (in what was deferred, or in the
        commit), each unit gets a transaction of its own.
        """
        while batch:
            try:
                return self._persist(batch, self._run_joined)
            except DatabaseAway as error:
                return fail(batch, str(error))
            except Exception as error:
                told = meaning(error, self._engine.fault_of)
                if len(batch) > 1 and not (isinstance(told, UnitTooLarge) and len(self._at_work) == 1):
                    log.info("storage.apart", units=len(batch), cause=name_of(error))
                    return self._write_apart(batch)
                # What was too slow once would be so again, and make everyone wait again.
                culprit = batch[0] if len(batch) == 1 else self._at_work[0]
                answer_with(culprit, told)
                batch = [work for work in batch if work is not culprit]
        return None

    def _write_apart(self, batch: list[Work]) -> None:
        try:
            return self._persist(batch, self._run_apart)
        except DatabaseAway as error:
            return fail(batch, str(error))
        except Exception as error:
            log.info("storage.alone", units=len(batch), cause=name_of(error))
        for work in batch:
            try:
                self._persist([work], self._run_alone)
            except DatabaseAway as error:
                fail([work], str(error))
            except Exception as error:
                answer_with(work, meaning(error, self._engine.fault_of))
        return None

    def _persist(self, batch: list[Work], run_units: RunUnits) -> None:
        """Commits `batch` and answers it; again after a conflict with others or a lost connection.

        Raises DatabaseAway, and what a unit raised.
        """
        if time.monotonic() < self._away_until:
            raise DatabaseAway(AWAY)
        give_up_at = time.monotonic() + (0 if self._away_until else RETRY_SECONDS_MAX)
        pause = PAUSE_SECONDS_MIN
        conflicts = 0
        while True:
            try:
                if not self._was_committed_after_all():
                    self._transact(batch, run_units, conflicts)
                return self._recover()
            except Overtaken as overtaken:
                log.info("storage.overtaken", units=len(batch), cause=str(overtaken))
                conflicts += 1
                if conflicts == CONFLICT_TRIES_MAX:
                    raise
            except DBAPIError as error:
                fault = self._engine.fault_of(error)
                if fault is Fault.FINAL and self._doubt is None and self._connection is not None:
                    raise
                log.warning("storage.fault", fault=fault.name, units=len(batch), cause=name_of(error))
                lost = fault in (Fault.CONNECTION_LOST, Fault.READ_ONLY) or self._connection is None
                if lost or self._doubt is not None:
                    self._disconnect()
                    if time.monotonic() + pause > give_up_at:
                        raise DatabaseAway(self._give_up()) from error
                elif fault is Fault.TRY_AGAIN:
                    conflicts += 1
                    if conflicts == CONFLICT_TRIES_MAX:
                        raise
                else:
                    raise
            time.sleep(jitter(pause))
            pause = min(pause * 2, PAUSE_SECONDS_MAX)

    def _transact(self, batch: list[Work], run_units: RunUnits, conflicts: int) -> None:
        """Runs and commits units from the front of `batch`, answers them, and puts the others back."""
        connection = self._connect()
        transaction = self._begin(connection)
        tx = Transaction(connection, self._engine.guard_of(connection))
        try:
            self._at_work = []
            if conflicts:  # who had to yield waits longer than the other and is not the one to yield again
                self._engine.limit_lock_wait(connection, conflicts * CONFLICT_LOCK_WAIT_MS)
            done = run_units(tx, batch)
            self._at_work = []
            tx.finish()
            signals = tuple(tx.signals)
            self._engine.before_commit(tx, signals)
            self._commit(transaction, Doubt(batch[:done], batch[done:], signals))
        except BaseException:
            self._roll_back(transaction)
            raise
        finally:
            tx.end()
        self._finish(batch[:done], batch[done:], signals)

    def _commit(self, transaction: RootTransaction, doubt: Doubt) -> None:
        try:
            transaction.commit()
        except DBAPIError as error:
            if self._engine.fault_of(error) is Fault.CONNECTION_LOST:
                self._doubt = doubt
            raise

    def _run_joined(self, tx: Transaction, batch: list[Work]) -> int:
        """Runs units until BATCH_SECONDS_MAX; returns how many of `batch`, from the front, were run.

        Units of one kind that may run together move up behind the first of them.
        """
        batch.sort(key=_arrival_of_kind(batch))
        stop_at = time.monotonic() + BATCH_SECONDS_MAX
        done = 0
        while done < len(batch) and (done == 0 or time.monotonic() < stop_at):
            first = batch[done]
            if first.together:
                group = [work for work in batch[done:] if work.together and work.unit is first.unit]
            else:
                group = [first]
            self._at_work = group
            run(tx, group)
            done += len(group)
        return done

    def _run_apart(self, tx: Transaction, batch: list[Work]) -> int:
        """Like `_run_joined`, but runs each unit inside a savepoint and leaves out those that fail."""
        self._engine.limit_lock_wait(tx.connection, APART_LOCK_WAIT_MS)
        stop_at = time.monotonic() + BATCH_SECONDS_MAX
        for done, work in enumerate(batch):
            if done and time.monotonic() > stop_at:
                return done
            self._run_in_savepoint(tx, work)
        return len(batch)

    def _run_in_savepoint(self, tx: Transaction, work: Work) -> None:
        self._at_work = [work]
        part = Transaction(tx.connection, self._engine.guard_of(tx.connection))
        savepoint = tx.connection.begin_nested()
        try:
            run(part, [work])
            self._engine.settle(tx.connection)
            tx.adopt(part)
        except Exception as error:
            if isinstance(error, DBAPIError):
                fault = self._engine.fault_of(error)
                if fault in (Fault.CONNECTION_LOST, Fault.CANNOT_SAVE):
                    raise
            savepoint.rollback()
            work.error = meaning(error, self._engine.fault_of)
        else:
            savepoint.commit()

    def _run_alone(self, tx: Transaction, batch: list[Work]) -> int:
        self._engine.limit_lock_wait(tx.connection, APART_LOCK_WAIT_MS)
        self._at_work = batch
        run(tx, batch)
        return 1

    def _finish(self, works: list[Work], rest: list[Work], signals: Sequence[Signal]) -> None:
        """Tells what is now committed. Nothing here may fail, or it would be written again."""
        if rest:
            with self._wake:
                self._waiting.extendleft(reversed(rest))
                self._gathering.came(at_once=True)
        try:
            self._on_commit(signals)
        except Exception:
            log.exception("storage.signals_lost", count=len(signals))
        answer(works)
        if len(works) > 1:
            self._handover.answered(works[-1].loop)

    def _was_committed_after_all(self) -> bool:
        """Whether a commit whose answer was lost took place: looked up, never guessed. Answers it if so."""
        if self._doubt is None:
            return False
        committed = self._engine.was_committed(self._connect())
        doubt, self._doubt = self._doubt, None
        log.warning("storage.commit_looked_up", committed=committed, units=len(doubt.works))
        if committed:
            self._finish(doubt.works, doubt.rest, doubt.signals)
        return committed

    def _give_up(self) -> str:
        """Says so to everyone who waits, and returns the sentence for those whose turn it was.

        From now on the database is tried once in AWAY_SECONDS, until it is back.
        """
        self._away_until = time.monotonic() + AWAY_SECONDS
        with self._wake:
            waiting = [*self._waiting, *self._patient]
            self._waiting.clear()
            self._patient.clear()
        fail(waiting, AWAY)
        if self._doubt is None:
            return AWAY
        self._doubt = None
        self._gap = True
        return UNKNOWN

    def _recover(self) -> None:
        if self._away_until:
            self._away_until = 0.0
            log.info("storage.back")
        if self._gap:
            self._gap = False
            self._on_gap()

    def _connect(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect_writer()
        return self._connection

    def _begin(self, connection: Connection) -> RootTransaction:
        try:
            return self._engine.begin_writing(connection)
        except BaseException:
            self._disconnect()
            raise

    def _roll_back(self, transaction: RootTransaction) -> None:
        try:
            transaction.rollback()
        except SQLAlchemyError:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with suppress(SQLAlchemyError):
                connection.invalidate()
            with suppress(SQLAlchemyError):
                connection.close()


def _arrival_of_kind(batch: list[Work]) -> Callable[[Work], int]:
    arrival: dict[int, int] = {}
    for place, work in enumerate(batch):
        arrival.setdefault(id(work.unit) if work.together else id(work), place)
    return lambda work: arrival[id(work.unit) if work.together else id(work)]
