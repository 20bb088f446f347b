"""PostgreSQL: any number of processes, told of one another's commits by LISTEN and NOTIFY.

Works behind a pooler in transaction mode too, which keeps neither session settings nor prepared statements.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, RootTransaction, Text, create_engine, delete, event, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import Table
from sqlalchemy.sql import bindparam

from admit import clock
from admit.storage import notices
from admit.storage.direct import Asked
from admit.storage.schema import metadata, moment, number, text
from admit.storage.sending import SendingConnection
from admit.storage.transaction import Signal, Transaction
from admit.storage.watchdog import Guard, Watchdog
from admit.storage.work import Fault

STATEMENT_TIMEOUT_MS = 5_000
LOCK_TIMEOUT_MS = 250
IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000
FROZEN_SECONDS_MAX = 2.0
WRITER_ROWS_KEPT_MS = clock.DAY_MS

PLANNING: dict[str, int | str] = {
    # A plan that was made while a table was small, by any index that begins with the app, reads all rows
    # of the app when it has grown: 200 ms for 30 people among 6,000.
    "plan_cache_mode": "force_custom_plan",
}

writers = Table(
    "writers",
    metadata,
    text("writer_id", primary_key=True),
    number("batch"),
    moment("seen_at"),
)

REGISTER_WRITER = insert(writers).on_conflict_do_nothing()
PRUNE_WRITERS = delete(writers).where(writers.c.seen_at < bindparam("before"))
_MARK = insert(writers)
_MARK = _MARK.on_conflict_do_update(
    index_elements=[writers.c.writer_id],
    set_={"batch": _MARK.excluded.batch, "seen_at": _MARK.excluded.seen_at},
)
MARK_BATCH = _MARK.returning(writers.c.batch)
MARK_BATCH_AND_NOTIFY = _MARK.returning(
    func.pg_notify(bindparam("channel", type_=Text), bindparam("notice", type_=Text))
)
NOTIFY = select(func.pg_notify(bindparam("channel", type_=Text), bindparam("notice", type_=Text)))
LAST_BATCH = select(writers.c.batch).where(writers.c.writer_id == bindparam("writer")).with_for_update()

LIMITS_MS: dict[str, int | str] = {
    "statement_timeout": STATEMENT_TIMEOUT_MS,
    # A process that was frozen inside a transaction must not keep its locks.
    "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_TIMEOUT_MS,
}
CONNECT_ARGUMENTS = {
    "application_name": "admit",
    "connect_timeout": 3,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

_CONNECTION_LOST = ("08", "57P", "25P03")
_READ_ONLY = ("25006",)
_TRY_AGAIN = ("40001", "40P01", "55P03")
_TOO_SLOW = ("57014",)
_CANNOT_SAVE = ("53", "58")


class PostgresEngine:
    """Marks every commit in the writer's own row, so that a commit whose answer was lost can be looked up."""

    def __init__(self, url: URL, *, writer_id: str, watchdog: Watchdog) -> None:
        target = url.set(drivername="postgresql+psycopg")
        common: dict[str, Any] = {
            "connect_args": connect_arguments(url) | {"prepare_threshold": 2},
            "poolclass": NullPool,
            "hide_parameters": True,
            "query_cache_size": 1_000,
        }
        self._watchdog = watchdog
        self._writer = create_engine(target, isolation_level="READ COMMITTED", **common)
        self._reader = create_engine(target, isolation_level="REPEATABLE READ", **common)
        event.listen(self._writer, "do_connect", _connect_writer)
        event.listen(self._writer, "do_execute", self._execute)
        event.listen(self._writer, "do_executemany", self._execute_many)
        event.listen(self._writer, "close", self._leave_pipeline)
        for engine in (self._writer, self._reader):
            event.listen(engine, "connect", self._prepare)
            event.listen(engine, "close", self._forget_guard)
        event.listen(self._reader, "connect", _forbid_writing)
        self._writer_id = writer_id
        self._batch = 0
        self._pipeline = ExitStack()
        self._await_results: Callable[[], None] = _nothing

    def connect_writer(self) -> Connection:
        """Opens the connection and sees to it that the writer's row is there.

        That waits for a former transaction of this writer that was about to make the row.
        """
        connection = self._writer.connect()
        now = clock.now()
        try:
            self._enter_pipeline(connection)
            with self.begin_writing(connection), self._guarded(connection):
                connection.execute(PRUNE_WRITERS, {"before": now - WRITER_ROWS_KEPT_MS})
                row = {"writer_id": self._writer_id, "batch": 0, "seen_at": now}
                connection.execute(REGISTER_WRITER, row)
        except BaseException:
            connection.invalidate()
            connection.close()
            raise
        return connection

    def connect_reader(self) -> Connection:
        return self._reader.connect()

    def begin_writing(self, connection: Connection) -> RootTransaction:
        transaction = connection.begin()
        if connection.info["pooled"]:
            with self._guarded(connection):
                connection.exec_driver_sql(_setting(_limits(), locally=True))
        return transaction

    def begin_reading(self, connection: Connection) -> RootTransaction:
        _driver_of(connection).autocommit = False
        return self.begin_writing(connection)

    def begin_single_statements(self, connection: Connection) -> RootTransaction | None:
        """Without BEGIN and ROLLBACK, two of three round trips. None behind a pooler: limits are set by the
        transaction there."""
        if connection.info["pooled"]:
            return None
        _driver_of(connection).autocommit = True
        return connection.begin()

    def guard_of(self, connection: Connection) -> Guard:
        guard: Guard = connection.info["guard"]
        return guard

    def limit_lock_wait(self, connection: Connection, milliseconds: int) -> None:
        connection.exec_driver_sql(_setting({"lock_timeout": milliseconds}, locally=True))

    def before_commit(self, tx: Transaction, signals: Sequence[Signal]) -> None:
        self._batch += 1
        mark = {"writer_id": self._writer_id, "batch": self._batch, "seen_at": clock.now()}
        *former, last = notices.encode(self._writer_id, signals) or [""]
        asked: list[Asked] = [(NOTIFY, {"channel": notices.CHANNEL, "notice": each}) for each in former]
        if last:
            asked.append((MARK_BATCH_AND_NOTIFY, mark | {"channel": notices.CHANNEL, "notice": last}))
        else:
            asked.append((MARK_BATCH, mark))
        tx.rows_of_each(asked)

    def fault_of(self, error: DBAPIError) -> Fault:
        state: str = getattr(error.orig, "sqlstate", None) or ""
        if state.startswith(_CONNECTION_LOST) or error.connection_invalidated:
            return Fault.CONNECTION_LOST
        if state.startswith(_READ_ONLY):
            return Fault.READ_ONLY
        if state.startswith(_TRY_AGAIN):
            return Fault.TRY_AGAIN
        if state.startswith(_TOO_SLOW):
            return Fault.TOO_SLOW
        if state.startswith(_CANNOT_SAVE):
            return Fault.CANNOT_SAVE
        if isinstance(error.orig, psycopg.OperationalError) and not state:
            return Fault.CONNECTION_LOST
        return Fault.FINAL

    def was_committed(self, connection: Connection) -> bool:
        """Waits for the old transaction, if it still runs, by the lock on the writer's row."""
        with self.begin_writing(connection), self._guarded(connection):
            last = connection.execute(LAST_BATCH, {"writer": self._writer_id}).scalar_one_or_none()
        return last == self._batch

    def settle(self, connection: Connection) -> None:
        """Raises what a statement of the open transaction has failed with, if nobody has awaited it."""
        connection.exec_driver_sql("SELECT 1")

    def _enter_pipeline(self, connection: Connection) -> None:
        """From here on only results that somebody needs are waited for. Poolers may not know pipelines."""
        if not connection.info["pooled"]:
            pipeline = self._pipeline.enter_context(_driver_of(connection).pipeline())
            connection.info["pipeline"] = pipeline
            self._await_results = pipeline.sync

    def _leave_pipeline(self, _connection: psycopg.Connection[Any], _record: Any) -> None:
        """Of a connection that is about to be closed."""
        self._await_results = _nothing
        with suppress(psycopg.Error):
            self._pipeline.close()

    def _execute(self, cursor: Any, statement: str, parameters: Any, _context: Any) -> bool:
        cursor.execute(statement, parameters)
        self._await_results()
        return True

    def _execute_many(self, cursor: Any, statement: str, parameters: Any, _context: Any) -> bool:
        cursor.executemany(statement, parameters)
        self._await_results()
        return True

    @contextmanager
    def _guarded(self, connection: Connection) -> Iterator[None]:
        guard = self.guard_of(connection)
        guard.hold(time.monotonic() + STATEMENT_TIMEOUT_MS / 1_000)
        try:
            yield
        finally:
            guard.release()

    def _prepare(self, connection: psycopg.Connection[Any], record: Any) -> None:
        # The guard has its own handle of the socket: cutting it can never hit a stranger's.
        line = socket.socket(fileno=os.dup(connection.fileno()))
        guard = self._watchdog.guard(
            lambda: line.shutdown(socket.SHUT_RDWR), grace_seconds=FROZEN_SECONDS_MAX
        )
        guard.hold(time.monotonic())
        try:
            pooled = is_pooled(connection)
            if pooled:
                connection.prepare_threshold = None
            else:
                connection.execute(_setting(_limits() | PLANNING, locally=False))
            connection.commit()
        except BaseException:
            self._watchdog.forget(guard)
            line.close()
            raise
        guard.release()
        record.info.update(line=line, guard=guard, pooled=pooled)

    def _forget_guard(self, _connection: psycopg.Connection[Any], record: Any) -> None:
        self._watchdog.forget(record.info["guard"])
        record.info["line"].close()


def engine_for_migrations(url: URL) -> Engine:
    """Opens the database without the writer's time limits."""
    arguments = connect_arguments(url) | {"prepare_threshold": None}
    return create_engine(url.set(drivername="postgresql+psycopg"), poolclass=NullPool, connect_args=arguments)


def connect_arguments(url: URL) -> dict[str, Any]:
    """What every connection is opened with, unless the URL says otherwise."""
    return {name: value for name, value in CONNECT_ARGUMENTS.items() if name not in url.query}


def is_pooled(connection: psycopg.Connection[Any]) -> bool:
    """Whether a pooler stands between: then the server process is not the one that answered the login."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return row is None or row[0] != connection.info.backend_pid


def _limits() -> dict[str, int | str]:
    """The limits of a transaction or session, in milliseconds.

    Two that lock each other out must not give up at the same moment, or both would try again in vain.
    """
    return LIMITS_MS | {"lock_timeout": round(clock.jitter(LOCK_TIMEOUT_MS))}


def _setting(settings: Mapping[str, int | str], *, locally: bool) -> str:
    """A statement that puts `settings` in force for this transaction, or for the session."""
    calls = (f"set_config('{name}', '{value}', {str(locally).lower()})" for name, value in settings.items())
    return f"SELECT {', '.join(calls)}"


def _connect_writer(
    _dialect: Any, _record: Any, arguments: Sequence[Any], options: Mapping[str, Any]
) -> SendingConnection:
    return SendingConnection.connect(*arguments, **options)


def _forbid_writing(connection: psycopg.Connection[Any], record: Any) -> None:
    connection.read_only = True
    if not record.info["pooled"]:
        connection.execute(_setting({"default_transaction_read_only": "on"}, locally=False))
        connection.commit()


def _nothing() -> None:
    """What is to be awaited where every statement is."""


def _driver_of(connection: Connection) -> psycopg.Connection[Any]:
    driver: psycopg.Connection[Any] = connection.connection.dbapi_connection  # type: ignore[assignment]
    return driver
