"""Several statements of which none waits for the answer to another: on PostgreSQL they travel together.

SQLAlchemy reads what a statement answers before it lets go of it, so these go to the driver by themselves.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Integer, literal_column
from sqlalchemy.dialects.postgresql import psycopg as postgresql
from sqlalchemy.engine.interfaces import Compiled, DBAPIModule, Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.base import Executable

if TYPE_CHECKING:
    import psycopg

_DIALECT: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]

Asked = tuple[Executable, Mapping[str, Any]]
"""A statement that returns rows, and its parameters. It is kept for good: a constant, or one of a few."""


def rows_of_each(connection: Connection, asked: Sequence[Asked]) -> list[Sequence[Sequence[Any]]]:
    """The rows that each statement returns, in their order. Raises DBAPIError for the first that fails."""
    pipeline = connection.info.get("pipeline")
    if pipeline is None:
        return [connection.execute(statement, dict(values)).all() for statement, values in asked]
    driver: psycopg.Connection[tuple[Any, ...]] = connection.connection.dbapi_connection  # type: ignore[assignment]
    try:
        cursors = [driver.execute(*text_of(statement, values)) for statement, values in asked]
        pipeline.sync()
        return [cursor.fetchall() for cursor in cursors]
    except connection.dialect.loaded_dbapi.Error as error:
        raise _as_sqlalchemy_tells(connection, error) from error


def written_out(number: int) -> ColumnElement[int]:
    """A number that stands in the text of a statement, where the database plans by it."""
    return literal_column(str(number), Integer)


def text_of(statement: Executable, values: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | None]:
    """A statement and its parameters as psycopg takes them."""
    compiled = _compiled(statement)
    return str(compiled), compiled.construct_params(dict(values))


@cache
def _compiled(statement: Executable) -> Compiled:
    return statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined,no-any-return]


def _as_sqlalchemy_tells(connection: Connection, error: DBAPIModule.Error) -> DBAPIError:
    base = connection.dialect.loaded_dbapi.Error
    told = DBAPIError.instance(None, None, error, base, hide_parameters=True, dialect=connection.dialect)
    assert isinstance(told, DBAPIError)
    return told
