"""SQLite: one file, one process, one connection that writes and checkpoints.

SQLite before 3.51.3 can corrupt a WAL that two connections reset at once (Debian 12 ships 3.40), so the
readers neither write nor checkpoint, and the writer is the last to close.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, RootTransaction, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from admit.errors import ConfigError
from admit.storage.transaction import Signal, Transaction
from admit.storage.watchdog import Guard, Watchdog
from admit.storage.work import Fault

BUSY_TIMEOUT_MS = 1_000

_FAULTS = {
    sqlite3.SQLITE_BUSY: Fault.TRY_AGAIN,
    sqlite3.SQLITE_LOCKED: Fault.TRY_AGAIN,
    sqlite3.SQLITE_INTERRUPT: Fault.TOO_SLOW,
    sqlite3.SQLITE_FULL: Fault.CANNOT_SAVE,
    sqlite3.SQLITE_IOERR: Fault.CANNOT_SAVE,
    sqlite3.SQLITE_READONLY: Fault.READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: Fault.CANNOT_SAVE,
    sqlite3.SQLITE_NOMEM: Fault.CANNOT_SAVE,
}


class SqliteEngine:
    """WAL with synchronous=FULL: an answered commit survives power loss."""

    def __init__(self, path: Path, *, watchdog: Watchdog) -> None:
        url = URL.create("sqlite+pysqlite", database=str(path))
        common: dict[str, Any] = {
            "connect_args": {"check_same_thread": False},
            "poolclass": NullPool,
            "hide_parameters": True,
            "query_cache_size": 1_000,
        }
        self._watchdog = watchdog
        self._writer = create_engine(url, **common)
        self._reader = create_engine(url, **common)
        for engine in (self._writer, self._reader):
            event.listen(engine, "connect", self._set_guard)
            event.listen(engine, "close", self._forget_guard)
        event.listen(self._writer, "connect", _prepare_writer)
        event.listen(self._reader, "connect", _prepare_reader)

    def connect_writer(self) -> Connection:
        return self._writer.connect()

    def connect_reader(self) -> Connection:
        return self._reader.connect()

    def begin_writing(self, connection: Connection) -> RootTransaction:
        return _begin(connection, "BEGIN IMMEDIATE")

    def begin_reading(self, connection: Connection) -> RootTransaction:
        return _begin(connection, "BEGIN")

    def begin_single_statements(self, connection: Connection) -> None:
        """What a transaction costs here is not worth the difference."""

    def guard_of(self, connection: Connection) -> Guard:
        guard: Guard = connection.info["guard"]
        return guard

    def limit_lock_wait(self, connection: Connection, milliseconds: int) -> None:
        """There are no others to wait for."""

    def settle(self, connection: Connection) -> None:
        """Every statement has been waited for."""

    def before_commit(self, tx: Transaction, signals: Sequence[Signal]) -> None:
        """Nothing to leave behind: the only process hears of its own commits."""

    def fault_of(self, error: DBAPIError) -> Fault:
        return _FAULTS.get(getattr(error.orig, "sqlite_errorcode", 0) & 0xFF, Fault.FINAL)

    def was_committed(self, connection: Connection) -> bool:
        raise NotImplementedError("an embedded database has no connection to lose")

    def _set_guard(self, connection: sqlite3.Connection, record: Any) -> None:
        record.info["plain"] = connection
        record.info["guard"] = self._watchdog.guard(connection.interrupt, grace_seconds=0.0)

    def _forget_guard(self, _connection: sqlite3.Connection, record: Any) -> None:
        self._watchdog.forget(record.info["guard"])


def engine_for_migrations(url: URL) -> Engine:
    """Opens the file like the writer, and makes it, readable by this account only."""
    path = Path(url.database or "")
    try:
        path.touch(mode=0o600)
    except OSError as error:
        raise ConfigError(
            f"DATABASE_URL names {path}, which cannot be opened ({type(error).__name__}). "
            "Its folder must exist and be writable for this account."
        ) from error
    engine = create_engine(url.set(drivername="sqlite+pysqlite"), poolclass=NullPool)
    event.listen(engine, "connect", _prepare_writer)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _prepare_writer(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _prepare_reader(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "query_only=ON", "wal_autocheckpoint=0"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection, statement: str) -> RootTransaction:
    """SQLAlchemy's own event for this makes every statement of the connection twice as dear."""
    transaction = connection.begin()
    try:
        connection.info["plain"].execute(statement)
    except sqlite3.Error as error:
        raise DBAPIError(statement, None, error) from error
    return transaction
