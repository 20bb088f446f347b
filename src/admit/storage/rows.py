"""Writing many rows at once, at the price of the rows.

SQLAlchemy makes a dictionary of each row it executes many times (5 µs), psycopg sends each as a message of
its own (20 µs here, as much again in PostgreSQL), and Python's sqlite3 lets go of the interpreter for each,
which it gets back only when the busiest thread yields. So PostgreSQL gets all rows as one JSON text, and
SQLite as few statements with as many rows each as there can be.
"""

from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from itertools import chain
from typing import Any, Protocol

import msgspec
from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnClause,
    ColumnElement,
    Connection,
    FromClause,
    Table,
    Text,
    Update,
    bindparam,
    cast,
    column,
    func,
    select,
    table,
    update,
)
from sqlalchemy import Column as TableColumn
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import Insert

from admit.storage import direct
from admit.storage.direct import Values

STATEMENT_ROWS_MAX = 128
"""17 columns of as many rows are far from SQLite's limit of 32,766 parameters."""

OR_FAIL = "OR FAIL"
"""Spares SQLite the journal by which it would undo half a statement: where one fails, we undo the unit."""


class ManyRows(Protocol):
    """A statement that writes many rows."""

    def run(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Writes `rows`. PostgreSQL does so while we go on: what it has to say comes with its next answer."""

    def count(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> int:
        """Writes `rows`; waits to hear how many it has written."""


class Insertion:
    """An INSERT of whole rows, with or without ON CONFLICT: those that it passes over are not counted."""

    def __init__(self, statement: Insert) -> None:
        self._statement = statement
        self._columns = tuple(statement.table.columns)

    def run(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Writes `rows`, whose values stand in the order of the table's columns."""
        if connection.dialect.name == "sqlite":
            _run_on_sqlite(connection, self._for_sqlite, rows)
        else:
            direct.send(connection, *self._on_postgres(rows))

    def count(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> int:
        """Like `run`; returns how many rows were written."""
        if connection.dialect.name == "sqlite":
            return _run_on_sqlite(connection, self._for_sqlite, rows)
        return direct.count(connection, *self._on_postgres(rows))

    def _on_postgres(self, rows: Sequence[Sequence[Any]]) -> tuple[str, Values]:
        return direct.text_of("postgresql", self._for_postgres, {"rows": _as_objects(self._columns, rows)})

    @cached_property
    def _for_sqlite(self) -> "_ForSqlite":
        names = [each.name for each in self._columns]
        statement = self._statement.prefix_with(OR_FAIL)
        text = str(statement.compile(dialect=sqlite.dialect(), column_keys=names))
        head, one_row, tail = text.partition(f"({', '.join('?' * len(names))})")
        assert one_row, "an insertion names no values of its own"
        return _ForSqlite(head, one_row, tail)

    @cached_property
    def _for_postgres(self) -> Insert:
        """INSERT … SELECT … FROM json_to_recordset(…)."""
        given = _recordset(self._columns)
        names = [each.name for each in self._columns]
        chosen = select(*(given.c[name] for name in names))
        return self._statement.from_select(names, chosen, include_defaults=False)


class Change:
    """An UPDATE that gives each row, found by `key`, its own values in `columns`; `only` narrows it.

    On PostgreSQL it locks rows in no particular order: callers hold them already.
    """

    def __init__(
        self,
        of: Table,
        key: Sequence[TableColumn[Any]],
        columns: Sequence[TableColumn[Any]],
        *,
        only: Sequence[ColumnElement[bool]] = (),
    ) -> None:
        self._table = of
        self._key = tuple(key)
        self._columns = tuple(columns)
        self._only = tuple(only)

    def run(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Changes rows: each of `rows` holds the values of the key, then the new values."""
        if connection.dialect.name == "sqlite":
            _run_on_sqlite(connection, self._for_sqlite, rows)
        else:
            direct.send(connection, *self._on_postgres(rows))

    def count(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> int:
        """Like `run`; returns how many rows were there to be changed."""
        if connection.dialect.name == "sqlite":
            return _run_on_sqlite(connection, self._for_sqlite, rows)
        return direct.count(connection, *self._on_postgres(rows))

    def _on_postgres(self, rows: Sequence[Sequence[Any]]) -> tuple[str, Values]:
        return direct.text_of("postgresql", self._for_postgres, {"rows": _as_objects(self._given, rows)})

    @property
    def _given(self) -> tuple[TableColumn[Any], ...]:
        return (*self._key, *self._columns)

    @cached_property
    def _for_sqlite(self) -> "_ForSqlite":
        names = [f"column{place}" for place in range(1, len(self._given) + 1)]  # SQLite's own, of VALUES
        given = table("given", *map(column, names))
        text = str(self._from(list(given.c)).prefix_with(OR_FAIL).compile(dialect=sqlite.dialect()))
        head, _, tail = text.partition("FROM given")
        return _ForSqlite(f"{head}FROM (VALUES ", f"({', '.join('?' * len(names))})", f") AS given{tail}")

    @cached_property
    def _for_postgres(self) -> Update:
        given = _recordset(self._given)
        return self._from([given.c[each.name] for each in self._given])

    def _from(self, given: Sequence[ColumnElement[Any]]) -> Update:
        key, values = given[: len(self._key)], given[len(self._key) :]
        return (
            update(self._table)
            .values(dict(zip(self._columns, values, strict=True)))
            .where(*(mine == its for mine, its in zip(self._key, key, strict=True)), *self._only)
        )


class _ForSqlite:
    """A statement around VALUES, which can carry any number of rows."""

    def __init__(self, head: str, one_row: str, tail: str) -> None:
        self._head = head
        self._one_row = one_row
        self._tail = tail
        self.text = cache(self._text)

    def _text(self, rows: int) -> str:
        return self._head + ", ".join([self._one_row] * rows) + self._tail


def _run_on_sqlite(connection: Connection, statement: _ForSqlite, rows: Sequence[Sequence[Any]]) -> int:
    return sum(
        direct.count(connection, statement.text(len(piece)), tuple(chain.from_iterable(piece)))
        for piece in _pieces(rows)
    )


def _pieces(rows: Sequence[Sequence[Any]]) -> Iterator[Sequence[Sequence[Any]]]:
    """`rows` in powers of two, the largest first: few statements, and few texts to keep prepared."""
    start = 0
    while left := len(rows) - start:
        size = min(1 << (left.bit_length() - 1), STATEMENT_ROWS_MAX)
        yield rows[start : start + size]
        start += size


def _as_objects(columns: Sequence[ColumnClause[Any]], rows: Sequence[Sequence[Any]]) -> str:
    names = [each.name for each in columns]
    return msgspec.json.encode([dict(zip(names, row, strict=True)) for row in rows]).decode()


def _recordset(columns: Sequence[ColumnClause[Any]]) -> FromClause:
    """The parameter `rows`, a JSON array of objects, as a table named `given`. PostgreSQL only."""
    types = [
        column(each.name, BigInteger() if isinstance(each.type, BigInteger) else Text()) for each in columns
    ]
    rows = func.json_to_recordset(cast(bindparam("rows", type_=Text), JSON))
    return rows.table_valued(*types, name="given").render_derived(with_types=True)
