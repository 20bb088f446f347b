"""Looking many rows up by their keys in one statement, whose plan cannot go wrong.

A list of keys in IN (…) is a new text for every length, is planned anew each time, and PostgreSQL may answer
it by reading all rows of an app, above all while a table is young and has no statistics. So the keys travel
as one JSON text, and each is looked up by itself: by an index, always.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import msgspec
from sqlalchemy import (
    JSON,
    ColumnElement,
    Row,
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

    `lock` holds the rows until the transaction ends, where other processes write, too (PostgreSQL).
    """

    def __init__(self, chosen: Select[Any], key: Sequence[ColumnElement[str]], *, lock: bool = False) -> None:
        self._chosen = chosen
        self._key = tuple(key)
        self._lock = lock

    def rows(self, tx: Transaction, keys: Iterable[Sequence[str]]) -> Sequence[Row[Any]]:
        """The rows for `keys`, each once, in no particular order; locked in the order of the keys.

        Keys may come from anybody: one that could not be stored is not found.
        """
        wanted = sorted({tuple(key) for key in keys if not any(map(_UNSTORABLE.search, key))})
        if not wanted:
            return []
        statement = self._for_sqlite if tx.dialect == "sqlite" else self._for_postgres
        return tx.execute(statement, {"keys": msgspec.json.encode(wanted).decode()}).all()

    @cached_property
    def _for_sqlite(self) -> Select[Any]:
        given = func.json_each(bindparam("keys", type_=Text)).table_valued("value", name="given")
        places = range(len(self._key))
        parts = [func.json_extract(given.c.value, literal_column(f"'$[{place}]'")) for place in places]
        return self._chosen.where(*(mine == part for mine, part in zip(self._key, parts, strict=True)))

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
