"""Looking many rows up by their keys in one statement, whose plan cannot go wrong.

A list of keys in IN (…) is a new text for every length, is planned anew each time, and PostgreSQL may answer
it by reading all rows of an app, above all while a table is young and has no statistics. So the keys travel
as one JSON text, and each is looked up by itself: by an index, always.

On SQLite the rows come back as one JSON text, too: Python's sqlite3 lets go of the interpreter for every row
that it fetches, and gets it back only when the busiest thread yields.
"""

import re
from collections import namedtuple
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import msgspec
from sqlalchemy import (
    JSON,
    ColumnElement,
    Select,
    Text,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
    true,
)

from admit.storage.transaction import Transaction

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Lookup:
    """The rows of `chosen` that have one of many keys, which are texts, in the columns `key`.

    Those of `chosen` are texts and whole numbers. `lock` holds the rows until the transaction ends, where
    other processes write, too (PostgreSQL).
    """

    def __init__(self, chosen: Select[Any], key: Sequence[ColumnElement[str]], *, lock: bool = False) -> None:
        self._chosen = chosen
        self._key = tuple(key)
        self._lock = lock

    def rows(self, tx: Transaction, keys: Iterable[Sequence[str]]) -> Sequence[Any]:
        """The rows for `keys`, each once, in no particular order; locked in the order of the keys.

        Keys may come from anybody: one that could not be stored is not found.
        """
        wanted = sorted({tuple(key) for key in keys if not any(map(_UNSTORABLE.search, key))})
        if not wanted:
            return []
        parameters = {"keys": msgspec.json.encode(wanted).decode()}
        if tx.dialect != "sqlite":
            return tx.execute(self._for_postgres, parameters).all()
        found = tx.execute(self._for_sqlite, parameters).scalar_one()
        return [self._row._make(row) for row in msgspec.json.decode(found)]

    @cached_property
    def _row(self) -> Any:
        """A row by name, as SQLAlchemy gives them. A name that stands twice is reached by its place alone."""
        return namedtuple("Row", [each.name for each in self._chosen.selected_columns], rename=True)

    @cached_property
    def _for_sqlite(self) -> Select[Any]:
        given = func.json_each(bindparam("keys", type_=Text)).table_valued("value", name="given")
        places = range(len(self._key))
        parts = [func.json_extract(given.c.value, literal_column(f"'$[{place}]'")) for place in places]
        found = self._chosen.where(*(mine == part for mine, part in zip(self._key, parts, strict=True)))
        row = func.json_array(*found.selected_columns)
        return found.with_only_columns(func.json_group_array(row))

    @cached_property
    def _for_postgres(self) -> Select[Any]:
        places = range(len(self._key))
        keys = func.json_array_elements(cast(bindparam("keys", type_=Text), JSON))
        given = keys.table_valued(column("value", JSON), name="given")
        values = [given.c.value.op("->>", return_type=Text())(literal_column(str(place))) for place in places]
        parts = [value.collate("C") for value in values]
        found = self._chosen.where(*(mine == part for mine, part in zip(self._key, parts, strict=True)))
        # OFFSET keeps the planner from turning lookups into a join of whole tables.
        found = found.with_for_update() if self._lock else found.offset(literal_column("0"))
        each = found.lateral("found")
        return select(each).select_from(given.join(each, true()))
