"""Migrations: what they make is what the rooms declare, on both databases."""

import ast
import importlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, inspect

from admit.errors import ConfigError, StorageUnavailable
from admit.storage.migrate import FOLDER, SchemaTooNew, migrate, pending
from admit.storage.schema import metadata
from tests.draft_migration import import_every_table
from tests.postgres import Cluster

MIGRATE = "import sys; from admit.storage.migrate import migrate; print(migrate(sys.argv[1]))"
LOADED = """
import sys, admit.gateway, admit.web.app
from admit.storage.migrate import migrate
print(migrate(sys.argv[1]), sorted({"alembic", "psycopg"} & set(sys.modules)))
"""

_numbers = count(1)


@pytest.fixture
def empty_postgres_url(postgres_cluster: Cluster) -> Iterator[str]:
    name = f"empty_{next(_numbers)}"
    yield postgres_cluster.create_database(name)
    postgres_cluster.drop_database(name)


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/admit.db"
    url: str = request.getfixturevalue("empty_postgres_url")
    return url


class _Opened:
    """A plain connection to `url`, for looking."""

    def __init__(self, url: str) -> None:
        parsed = sqlalchemy.make_url(url)
        if parsed.get_backend_name() == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        self._engine = sqlalchemy.create_engine(parsed, poolclass=sqlalchemy.NullPool)

    def __enter__(self) -> Connection:
        self._connection = self._engine.connect()
        return self._connection

    def __exit__(self, *_error: object) -> None:
        self._connection.commit()
        self._connection.close()
        self._engine.dispose()


def test_migrations_make_the_declared_tables(empty_url: str) -> None:
    import_every_table()
    migrate(empty_url)
    with _Opened(empty_url) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_migrations_make_the_declared_conditions_and_collations(empty_url: str, tmp_path: Path) -> None:
    """What alembic does not compare: the definitions as the database itself tells them."""
    import_every_table()
    migrate(empty_url)
    with _Opened(empty_url) as connection:
        migrated = _definitions(connection)
        MetaData.reflect(reflected := MetaData(), connection)
        reflected.drop_all(connection)
        connection.commit()
        metadata.create_all(connection)
        declared = _definitions(connection)
    assert migrated == declared
    assert any("WHERE" in each for each in migrated)


def _definitions(connection: Connection) -> set[str]:
    if connection.dialect.name == "sqlite":
        # The text of a table is kept as it was written; its columns are compared by alembic.
        query = "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        return {" ".join(row[0].split()) for row in connection.exec_driver_sql(query)}
    indexes = connection.exec_driver_sql(
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
    )
    columns = connection.exec_driver_sql(
        "SELECT concat_ws(' ', table_name, column_name, data_type, collation_name, is_nullable) "
        "FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'"
    )
    constraints = connection.exec_driver_sql(
        "SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'"
    )
    return {row[0] for rows in (indexes, columns, constraints) for row in rows}


def test_second_migration_finds_nothing_to_do(empty_url: str) -> None:
    every = pending(empty_url)
    assert every[0] == "0001"
    assert migrate(empty_url) == every
    assert pending(empty_url) == []
    assert migrate(empty_url) == []


def test_asking_what_is_pending_makes_no_file(tmp_path: Path) -> None:
    assert pending(f"sqlite:///{tmp_path}/admit.db") != []
    assert list(tmp_path.iterdir()) == []


def test_database_of_a_newer_version_is_left_alone(empty_url: str) -> None:
    migrate(empty_url)
    with _Opened(empty_url) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for function in (migrate, pending):
        with pytest.raises(SchemaTooNew, match=r"schema 9999.*newer"):
            function(empty_url)


def test_migration_that_fails_changes_nothing(empty_url: str) -> None:
    # The last table of all, so that everything before it had been made.
    with _Opened(empty_url) as connection:
        connection.exec_driver_sql("CREATE TABLE writers (strange integer)")
    with pytest.raises(sqlalchemy.exc.DBAPIError):
        migrate(empty_url)
    with _Opened(empty_url) as connection:
        assert inspect(connection).get_table_names() == ["writers"]


def test_servers_that_start_at_once_migrate_once(empty_postgres_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MIGRATE, empty_postgres_url], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(output == "[]\n" for output in outputs) == [False, True, True]


def test_database_that_is_away_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable):
        migrate("postgresql://admit@127.0.0.1:1/admit")
    with pytest.raises(ConfigError):
        migrate("nonsense")


def test_file_in_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="folder"):
        migrate(f"sqlite:///{tmp_path}/missing/admit.db")


def test_migrations_go_forward_only() -> None:
    paths = sorted(FOLDER.glob("m*.py"))
    modules = [_module(path) for path in paths]
    assert [path.name[1:5] for path in paths] == [module.revision for module in modules]
    assert modules[0].down_revision is None
    for number, (former, module) in enumerate(zip([None, *modules], modules, strict=False), 1):
        assert module.revision == f"{number:04}"
        assert module.down_revision == (former.revision if former else None)
        assert not hasattr(module, "downgrade")


def test_what_a_server_does_without_is_not_loaded(tmp_path: Path) -> None:
    """Alembic, where nothing is missing, and psycopg, where the database is a file: 19 MB."""
    url = f"sqlite:///{tmp_path}/admit.db"
    migrate(url)
    again = subprocess.run([sys.executable, "-c", LOADED, url], capture_output=True, text=True, check=True)
    assert again.stdout == "[] []\n"


def test_migrations_import_no_room() -> None:
    """A migration tells what was, so it must not change with the tables of today."""
    for path in FOLDER.glob("m*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.startswith("admit")]


def _module(path: Path) -> Any:
    return importlib.import_module(f"admit.storage.migrations.{path.stem}")


def test_file_of_another_program_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "admit.db"
    path.write_text("This is no database. " * 100)
    with pytest.raises((StorageUnavailable, ConfigError)):
        migrate(f"sqlite:///{path}")
    assert path.read_text().startswith("This is no database.")
    assert sqlite3.sqlite_version
    assert os.path.getsize(path) == 2_100
