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
from itertools import chain
from typing import Any

import msgspec
from sqlalchemy import (
    JSON,
    BigInteger,
    BindParameter,
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

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""What no text in a database can hold."""


class Lookup:
    """The rows of `chosen` that have one of many keys in the columns `key`.

    All columns are texts and whole numbers. `lock` holds the rows until the transaction ends, where
    other processes write, too (PostgreSQL). `each_max`: of the rows of one key no more than so many are
    found, the first in the order of `chosen`.
    """

    def __init__(
        self,
        chosen: Select[Any],
        key: Sequence[ColumnElement[Any]],
        *,
        lock: bool = False,
        each_max: BindParameter[int] | None = None,
    ) -> None:
        self._chosen = chosen
        self._key = tuple(key)
        self._lock = lock
        self._each_max = each_max

    def rows(
        self, tx: Transaction, keys: Iterable[Sequence[str | int]], **values: str | int | None
    ) -> Sequence[Any]:
        """The rows for `keys`, each once, in no particular order; locked in the order of the keys.

        Keys may come from anybody: one that could not be stored is not found. `values` are those of the
        parameters that `chosen` and `each_max` have.
        """
        wanted = _each_once(keys)
        if not wanted:
            return []
        parameters = {"keys": _encoded(wanted), **values}
        if tx.dialect == "sqlite":
            (((text,),),) = tx.rows_of_each([(self._for_sqlite, parameters)])
            found = msgspec.json.decode(text)
            if self._each_max is not None:
                found = chain.from_iterable(found)
        else:
            (found,) = tx.rows_of_each([(self._for_postgres, parameters)])
        return [self._row._make(row) for row in found]

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
        if self._each_max is None:
            row = func.json_array(*found.selected_columns)
            return found.with_only_columns(func.json_group_array(row))
        first = found.limit(self._each_max).correlate(given).subquery("first")
        of_one = select(func.json_group_array(func.json_array(*first.columns))).scalar_subquery()
        return select(func.json_group_array(func.json(of_one))).select_from(given)

    @cached_property
    def _for_postgres(self) -> Select[Any]:
        places = range(len(self._key))
        keys = func.json_array_elements(cast(bindparam("keys", type_=Text), JSON))
        given = keys.table_valued(column("value", JSON), name="given")
        values = [given.c.value.op("->>", return_type=Text())(literal_column(str(place))) for place in places]
        parts = [
            cast(value, BigInteger) if isinstance(mine.type, BigInteger) else value.collate("C")
            for mine, value in zip(self._key, values, strict=True)
        ]
        found = self._chosen.where(*(mine == part for mine, part in zip(self._key, parts, strict=True)))
        # OFFSET keeps the planner from turning lookups into a join of whole tables.
        found = found.with_for_update() if self._lock else found.offset(literal_column("0"))
        if self._each_max is not None:
            found = found.limit(self._each_max)
        each = found.lateral("found")
        return select(each).select_from(given.join(each, true()))


def rows_of_all(
    tx: Transaction, *asked: tuple[Lookup, Iterable[Sequence[str | int]]]
) -> list[Sequence[Sequence[Any]]]:
    """The rows that each lookup finds for its keys, like `Lookup.rows`, each row by its places.

    PostgreSQL is asked all of it at once, and answers in this order: what is locked first stays as the others
    see it.
    """
    if tx.dialect == "sqlite":
        return [lookup.rows(tx, keys) for lookup, keys in asked]
    wanted = [_each_once(keys) for _, keys in asked]
    volley = [
        (lookup._for_postgres, {"keys": _encoded(keys)})
        for (lookup, _), keys in zip(asked, wanted, strict=True)
        if keys
    ]
    found = iter(tx.rows_of_each(volley))
    return [next(found) if keys else [] for keys in wanted]


def _each_once(keys: Iterable[Sequence[str | int]]) -> list[tuple[str | int, ...]]:
    """In their order, which is the one in which rows are locked."""
    return sorted(set(map(tuple, keys)))


def _encoded(keys: list[tuple[str | int, ...]]) -> str:
    """JSON of those of `keys` that could be stored. One look at the text says that it is all of them."""
    try:
        encoded = msgspec.json.encode(keys)
        if b"\\u0000" not in encoded:
            return encoded.decode()
    except UnicodeEncodeError:  # half a character
        pass
    return msgspec.json.encode([key for key in keys if not any(map(_is_unstorable, key))]).decode()


def _is_unstorable(part: str | int) -> bool:
    return isinstance(part, str) and UNSTORABLE.search(part) is not None
