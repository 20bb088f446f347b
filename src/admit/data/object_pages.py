"""Objects by their keys, page by page: what REST, exports and commands read.

A page begins behind the place where the last one ended, so that rows which come or go between two pages
neither hide nor repeat others, and it never counts. The rows that were deleted and are kept for clients that
have not heard of it lie in between: a page walks past ROWS_MAX of them at most, and may therefore hold fewer
objects than asked for, even none, and still say that there is more.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Integer, Text, bindparam, func, select, tuple_

from admit.data.tables import objects
from admit.storage.lookups import Lookup
from admit.storage.transaction import Transaction

ROWS_MAX = 1_000
COUNTED_ROWS_MAX = 20_000
REALMS_OF_KEY_MAX = 2
BEFORE_ALL = ("", "")


class Row(msgspec.Struct, frozen=True):
    """An object as it is stored. `value`: the text of a JSON object; None: it was deleted."""

    realm: str
    table: str
    key: str
    value: str | None
    revision: int
    changed_at: int

    @property
    def place(self) -> tuple[str, str]:
        """Where it stands among the objects of its table, of all realms."""
        return self.realm, self.key


class Page(msgspec.Struct, frozen=True):
    """Some objects of a table in the order of (realm, key). `after`: where the next page begins behind.

    `walked`: how many rows were looked at, with those that were deleted.
    """

    rows: list[Row]
    after: tuple[str, str] | None
    walked: int


class Counted(msgspec.Struct, frozen=True):
    """So many objects up to `after`; None: up to the end."""

    objects: int
    after: tuple[str, str] | None


_COLUMNS = (
    objects.c.realm,
    objects.c.table_name,
    objects.c.key,
    objects.c.value,
    objects.c.revision,
    objects.c.changed_at,
)
_KEYS = (objects.c.realm, objects.c.key)
_TABLE = (
    objects.c.app_id == bindparam("app", type_=Text),
    objects.c.table_name == bindparam("table", type_=Text),
    tuple_(*_KEYS) > tuple_(bindparam("last_realm", type_=Text), bindparam("last_key", type_=Text)),
)
# Not `=`, by which PostgreSQL may walk past the keys of all realms in an index without the realm in front.
_IN_REALM = objects.c.realm <= bindparam("last_realm", type_=Text)
# Written into the statement, so that PostgreSQL plans for few rows also when it no longer looks at values.
_MOST = bindparam("most", type_=Integer, literal_execute=True)
_BEFORE_LAST = bindparam("before_last", type_=Integer, literal_execute=True)

OF_TABLE = select(*_COLUMNS).where(*_TABLE).order_by(*_KEYS).limit(_MOST)
OF_TABLE_IN_REALM = OF_TABLE.where(_IN_REALM)
NEXT_TABLE = select(func.min(objects.c.table_name)).where(
    objects.c.app_id == bindparam("app", type_=Text),
    objects.c.table_name > bindparam("last_table", type_=Text),
)
END_OF_TABLE = select(*_KEYS).where(*_TABLE).order_by(*_KEYS).offset(_BEFORE_LAST).limit(1)
END_IN_REALM = END_OF_TABLE.where(_IN_REALM)
# Of the first rows, and not of those up to a key: of two columns that are compared together PostgreSQL weighs
# the first one only, and reads all of a table in which most is of one realm.
_FIRST = select(objects.c.value).where(*_TABLE).order_by(*_KEYS).limit(_MOST)
_FIRST_OF_TABLE = _FIRST.subquery()
_FIRST_IN_REALM = _FIRST.where(_IN_REALM).subquery()
COUNT_OF_TABLE = select(func.count(_FIRST_OF_TABLE.c.value))
COUNT_IN_REALM = select(func.count(_FIRST_IN_REALM.c.value))

BY_KEY = Lookup(
    select(*_COLUMNS).where(objects.c.value.is_not(None)).order_by(objects.c.realm),
    (objects.c.app_id, objects.c.table_name, objects.c.key),
    each_max=bindparam("most", type_=Integer),
)
BY_REALM_AND_KEY = Lookup(
    select(*_COLUMNS).where(objects.c.value.is_not(None)),
    (objects.c.app_id, objects.c.table_name, objects.c.realm, objects.c.key),
)


def page(
    tx: Transaction,
    app_id: str,
    table: str,
    realm: str | None,
    after: tuple[str, str] | None,
    rows_max: int = ROWS_MAX,
) -> Page:
    """The objects of `table` behind `after`, of one realm or of all. One statement."""
    given = _given(app_id, table, realm, after) | {"most": rows_max}
    found = tx.execute(OF_TABLE if realm is None else OF_TABLE_IN_REALM, given).all()
    rows = [_row(each) for each in found]
    live = [row for row in rows if row.value is not None]
    return Page(live, rows[-1].place if len(rows) == rows_max else None, len(rows))


def count(
    tx: Transaction,
    app_id: str,
    table: str,
    realm: str | None,
    after: tuple[str, str] | None,
    rows_max: int = COUNTED_ROWS_MAX,
) -> Counted:
    """How many objects stand behind `after`, looking at `rows_max` rows at most."""
    given = _given(app_id, table, realm, after)
    find_end = END_OF_TABLE if realm is None else END_IN_REALM
    end = tx.execute(find_end, given | {"before_last": rows_max - 1}).one_or_none()
    first = COUNT_OF_TABLE if realm is None else COUNT_IN_REALM
    number = tx.execute(first, given | {"most": rows_max}).scalar_one()
    return Counted(number, None if end is None else (end.realm, end.key))


def of_keys(
    tx: Transaction, app_id: str, wanted: Iterable[tuple[str, str, str]]
) -> dict[tuple[str, str, str], Row]:
    """The objects with these (table, realm, key); those that are not there, or were deleted, are absent."""
    found = BY_REALM_AND_KEY.rows(tx, [(app_id, *each) for each in wanted])
    return {(row.table_name, row.realm, row.key): _row(row) for row in found}


def wherever(
    tx: Transaction, app_id: str, wanted: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], list[Row]]:
    """The objects with these (table, key) in whatever realm: two of each at most."""
    places: dict[tuple[str, str], list[Row]] = {each: [] for each in wanted}
    for row in BY_KEY.rows(tx, [(app_id, *each) for each in places], most=REALMS_OF_KEY_MAX):
        places[row.table_name, row.key].append(_row(row))
    return places


def next_table(tx: Transaction, app_id: str, after: str) -> str | None:
    """The first table behind `after`, by name, that has ever had an object; None: there is none."""
    found: str | None = tx.execute(NEXT_TABLE, {"app": app_id, "last_table": after}).scalar_one()
    return found


def _row(row: Sequence[Any]) -> Row:
    return Row(*row)


def _given(app_id: str, table: str, realm: str | None, after: tuple[str, str] | None) -> dict[str, object]:
    last_realm, last_key = after or BEFORE_ALL
    return {
        "app": app_id,
        "table": table,
        "last_realm": last_realm if realm is None else realm,
        "last_key": last_key,
    }
