"""Migrations: brings the schema of a database up to what this version expects, never back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import text as sql

from admit.errors import AdmitError, StorageUnavailable
from admit.storage import postgres, sqlite
from admit.storage.url import parse_url

FOLDER = Path(__file__).parent / "migrations"
ADVISORY_LOCK = 0x41646D6974  # "Admit"
LOCK_TIMEOUT_MS = 10_000
"""How long a migration waits for a table. Everyone who uses that table waits behind it."""


class SchemaTooNew(AdmitError):
    """A newer version of Admit has migrated this database."""

    code = "schema_too_new"


def migrate(url: str) -> list[str]:
    """Applies what is pending, all of it or nothing, and returns the numbers of what was applied.

    Several servers may do this at once: one does it, the others wait and find nothing left to do. On
    SQLite the caller holds the lock of the file. Raises SchemaTooNew and StorageUnavailable.
    """
    script = _script()
    with _open(url) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"))
            connection.execute(sql(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))
        steps = _pending(script, connection)
        if steps:
            _apply(script, connection)
        return steps


def pending(url: str) -> list[str]:
    """The numbers of the migrations that `migrate` would apply, in order. Raises as `migrate` does."""
    parsed = parse_url("DATABASE_URL", url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists():
        return _numbers(_script())
    with _open(url) as connection:
        return _pending(_script(), connection)


def _pending(script: ScriptDirectory, connection: Connection) -> list[str]:
    numbers = _numbers(script)
    present = MigrationContext.configure(connection).get_current_revision()
    if present is None:
        return numbers
    if present not in numbers:
        raise SchemaTooNew(
            f"The database is at schema {present}, this version of Admit knows schemas up to {numbers[-1]}. "
            "Start the version that migrated it, or a newer one."
        )
    return numbers[numbers.index(present) + 1 :]


def _apply(script: ScriptDirectory, connection: Connection) -> None:
    environment = EnvironmentContext(
        Config(), script, fn=lambda present, _context: script._upgrade_revs("head", present)
    )
    with environment:
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()


def _numbers(script: ScriptDirectory) -> list[str]:
    return [step.revision for step in reversed(list(script.walk_revisions()))]


def _script() -> ScriptDirectory:
    return ScriptDirectory(str(FOLDER), version_locations=[str(FOLDER)])


@contextmanager
def _open(url: str) -> Iterator[Connection]:
    """One transaction on a connection without time limits."""
    parsed = parse_url("DATABASE_URL", url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    engine = sqlite.engine_for_migrations(parsed) if is_sqlite else postgres.engine_for_migrations(parsed)
    try:
        with engine.begin() as connection:
            yield connection
    except DBAPIError as error:
        if error.connection_invalidated or error.statement is None:
            raise StorageUnavailable(f"The database does not answer: {error.orig}".strip()) from error
        raise
    finally:
        engine.dispose()
