"""Constant statements, handed to the driver directly.

SQLAlchemy compiles them, once. When it executes one it also looks it up, makes a context and a result for it
and closes both: 10 µs warm, several times that in a busy server, twenty times in a commit, during which the
event loop waits for the interpreter. On PostgreSQL it would also read what one statement answers before it
lets go of the next: those that are asked for together travel together.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, cast

from sqlalchemy import ColumnElement, Connection, Integer, literal_column
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import psycopg as postgresql
from sqlalchemy.engine.interfaces import DBAPIModule, Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.compiler import SQLCompiler

if TYPE_CHECKING:
    import psycopg

_DIALECTS: dict[str, Dialect] = {
    "sqlite": sqlite.dialect(),
    "postgresql": postgresql.dialect(),  # type: ignore[no-untyped-call]
}

Asked = tuple[Executable, Mapping[str, Any]]
"""A statement that returns rows, and its parameters. It is kept for good: a constant, or one of a few."""

Values = Mapping[str, Any] | Sequence[Any]
"""The parameters of a text, as its driver takes them."""


class Cursor(Protocol):
    """What both drivers answer a statement with."""

    @property
    def rowcount(self) -> int: ...

    def fetchall(self) -> list[tuple[Any, ...]]: ...


def rows_of_each(connection: Connection, asked: Sequence[Asked]) -> list[Sequence[Sequence[Any]]]:
    """The rows that each statement returns, in their order. Raises DBAPIError for the first that fails."""
    dialect = connection.dialect.name
    pipeline = _pipeline_of(connection)
    try:
        if pipeline is None:
            return [hand_over(connection, *text_of(dialect, *each)).fetchall() for each in asked]
        cursors = [hand_over(connection, *text_of(dialect, *each)) for each in asked]
        pipeline.sync()
        return [cursor.fetchall() for cursor in cursors]
    except connection.dialect.loaded_dbapi.Error as error:
        raise _as_sqlalchemy_tells(connection, error) from error


def send(connection: Connection, text: str, values: Values) -> None:
    """Executes a text whose result nobody needs. On PostgreSQL a failure comes with the next answer."""
    try:
        hand_over(connection, text, values)
    except connection.dialect.loaded_dbapi.Error as error:
        raise _as_sqlalchemy_tells(connection, error) from error


def count(connection: Connection, text: str, values: Values) -> int:
    """Executes a text; returns how many rows it has written. Raises DBAPIError."""
    pipeline = _pipeline_of(connection)
    try:
        cursor = hand_over(connection, text, values)
        if pipeline is not None:
            pipeline.sync()
        return cursor.rowcount
    except connection.dialect.loaded_dbapi.Error as error:
        raise _as_sqlalchemy_tells(connection, error) from error


def hand_over(connection: Connection, text: str, values: Values) -> Cursor:
    """Whatever goes past SQLAlchemy goes through here. Raises what the driver raises."""
    driver: Any = connection.connection.dbapi_connection
    return cast(Cursor, driver.execute(text, values))


def written_out(number: int) -> ColumnElement[int]:
    """A number that stands in the text of a statement, where the database plans by it."""
    return literal_column(str(number), Integer)


def text_of(dialect: str, statement: Executable, values: Mapping[str, Any]) -> tuple[str, Values]:
    """A statement and its parameters as the driver of `dialect` takes them."""
    text, compiled = _compiled(dialect, statement)
    given = compiled.construct_params(dict(values))
    places = compiled.positiontup
    return text, given if places is None else tuple(given[name] for name in places)


@cache
def _compiled(dialect: str, statement: Executable) -> tuple[str, SQLCompiler]:
    compiled: SQLCompiler = statement.compile(dialect=_DIALECTS[dialect])  # type: ignore[attr-defined]
    assert not compiled.post_compile_params, "a constant statement has no text of its own for each execution"
    return str(compiled), compiled


def _pipeline_of(connection: Connection) -> "psycopg.Pipeline | None":
    return connection.info.get("pipeline")


def _as_sqlalchemy_tells(connection: Connection, error: DBAPIModule.Error) -> DBAPIError:
    base = connection.dialect.loaded_dbapi.Error
    told = DBAPIError.instance(None, None, error, base, hide_parameters=True, dialect=connection.dialect)
    assert isinstance(told, DBAPIError)
    return told
