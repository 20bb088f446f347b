"""Migrations: brings the schema of a database up to what this version expects, never back.

Alembic carries them out. It is there only while something is missing: a server whose database is up to date
does without its 9 MB.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import text as sql

from admit.errors import AdmitError, StorageUnavailable
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
    with _open(url) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"))
            connection.execute(sql(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))
        steps = _pending(connection)
        if steps:
            _apply(connection)
        return steps


def pending(url: str) -> list[str]:
    """The numbers of the migrations that `migrate` would apply, in order. Raises as `migrate` does."""
    parsed = parse_url("DATABASE_URL", url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").exists():
        return _numbers()
    with _open(url) as connection:
        return _pending(connection)


def _pending(connection: Connection) -> list[str]:
    numbers = _numbers()
    known = inspect(connection).has_table("alembic_version")
    present = connection.scalar(sql("SELECT version_num FROM alembic_version")) if known else None
    if present is None:
        return numbers
    if present not in numbers:
        raise SchemaTooNew(
            f"The database is at schema {present}, this version of Admit knows schemas up to {numbers[-1]}. "
            "Start the version that migrated it, or a newer one."
        )
    return numbers[numbers.index(present) + 1 :]


def _apply(connection: Connection) -> None:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(FOLDER), version_locations=[str(FOLDER)])
    environment = EnvironmentContext(
        Config(), script, fn=lambda present, _context: script._upgrade_revs("head", present)
    )
    with environment:
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()


def _numbers() -> list[str]:
    """Of all migrations, in order: they stand in the names of their files."""
    return sorted(path.name[1:5] for path in FOLDER.glob("m*.py"))


@contextmanager
def _open(url: str) -> Iterator[Connection]:
    """One transaction on a connection without time limits."""
    parsed = parse_url("DATABASE_URL", url)
    if parsed.get_backend_name() == "sqlite":
        from admit.storage.sqlite import engine_for_migrations
    else:
        from admit.storage.postgres import engine_for_migrations
    engine = engine_for_migrations(parsed)
    try:
        with engine.begin() as connection:
            yield connection
    except DBAPIError as error:
        if error.connection_invalidated or error.statement is None:
            raise StorageUnavailable(f"The database does not answer: {error.orig}".strip()) from error
        raise
    finally:
        engine.dispose()
