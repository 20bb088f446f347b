"""Every statement that the rooms have at module level is understood by both databases."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy
from sqlalchemy import BigInteger, BindParameter, Connection, Executable, Integer, event
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement, ColumnElement
from sqlalchemy.sql.sqltypes import TupleType

import admit
from admit.storage.lookups import Lookup
from admit.storage.rows import Change, Insertion

ONLY_POSTGRES = "admit.storage.postgres"
"""The one module whose statements are for PostgreSQL alone; elsewhere the name ends with _POSTGRES."""


def _modules() -> Iterator[Any]:
    """The modules that speak SQL."""
    for path in sorted(Path(*admit.__path__).rglob("*.py")):
        name = ".".join(["admit", *path.relative_to(*admit.__path__).with_suffix("").parts])
        if "sqlalchemy" in path.read_text() and ".migrations." not in name:
            yield importlib.import_module(name.removesuffix(".__init__"))


class Statement(Executable, ClauseElement):
    """What can be executed and compiled: selects, inserts, updates, deletes, texts."""


def _statements(kind: str) -> dict[str, Statement]:
    """Statements by the name of the constant that holds them; imported ones once."""
    found: dict[Statement, str] = {}
    for module in _modules():
        for name, value in vars(module).items():
            statement = _for(kind, value)
            # A function, which could be executed too, stands for a part of statements.
            is_whole = isinstance(statement, Executable) and not isinstance(statement, ColumnElement)
            if is_whole and isinstance(statement, ClauseElement):
                found.setdefault(cast(Statement, statement), f"{module.__name__}.{name}")
    return {name: statement for statement, name in found.items() if _is_meant_for(kind, name)}


def _for(kind: str, value: object) -> object:
    match value:
        case Insertion() | Change():
            return sqlalchemy.text(_on_sqlite(value)) if kind == "sqlite" else value._for_postgres
        case Lookup():
            return value._for_sqlite if kind == "sqlite" else value._for_postgres
        case _:
            return value


def _on_sqlite(value: Insertion | Change) -> str:
    """The text for one row and two, with NULL for every value."""
    return value._for_sqlite.text(2).replace("?", "NULL")


def _is_meant_for(kind: str, name: str) -> bool:
    if kind == "postgres":
        return not name.endswith("_SQLITE")
    return not name.endswith("_POSTGRES") and not name.startswith(ONLY_POSTGRES)


STATEMENTS = {kind: _statements(kind) for kind in ("sqlite", "postgres")}


def test_rooms_have_statements() -> None:
    assert len(STATEMENTS["sqlite"]) > 30


@pytest.fixture(scope="module")
def sqlite_engine(sqlite_template: Path) -> Iterator[sqlalchemy.Engine]:
    engine = sqlalchemy.create_engine(f"sqlite:///{sqlite_template}")
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def postgres_engine(postgres_cluster: Any, postgres_template: str) -> Iterator[sqlalchemy.Engine]:
    url = postgres_cluster.create_database("statements", postgres_template)
    engine = sqlalchemy.create_engine(sqlalchemy.make_url(url).set(drivername="postgresql+psycopg"))
    yield engine
    engine.dispose()
    postgres_cluster.drop_database("statements")


@pytest.mark.parametrize("name", STATEMENTS["sqlite"])
def test_sqlite_understands(name: str, sqlite_engine: sqlalchemy.Engine) -> None:
    with sqlite_engine.connect() as connection:
        _explain(connection, STATEMENTS["sqlite"][name])


@pytest.mark.parametrize("name", STATEMENTS["postgres"])
def test_postgresql_understands(name: str, postgres_engine: sqlalchemy.Engine) -> None:
    with postgres_engine.connect() as connection:
        _explain(connection, STATEMENTS["postgres"][name])


def _explain(connection: Connection, statement: Statement) -> None:
    """Has the database plan `statement`, with values that fit its parameters, and run nothing."""
    compiled = statement.compile(dialect=connection.dialect)
    assert isinstance(compiled, SQLCompiler)
    values = {
        name: _value(bind) for name, bind in compiled.binds.items() if bind.required or bind.value is None
    }

    def explain(
        _c: object, _cursor: object, text: str, parameters: object, *_more: object
    ) -> tuple[str, object]:
        return "EXPLAIN " + text, parameters

    event.listen(connection, "before_cursor_execute", explain, retval=True)
    connection.execute(statement, values)


def _value(bind: BindParameter[Any]) -> Any:
    if isinstance(bind.type, TupleType):
        one: Any = tuple(_plain(each) for each in bind.type.types)
    else:
        one = _plain(bind.type)
    return [one, one] if bind.expanding else one


def _plain(kind: Any) -> Any:
    """Text that is a number fits whatever comes without a type, such as a limit."""
    return 1 if isinstance(kind, BigInteger | Integer) else "1"
