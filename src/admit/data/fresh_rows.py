"""What has been written behind the places of those who wait, read once for all of them."""

from collections.abc import Mapping, Sequence, Set
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, bindparam, select

from admit.data.tables import objects, realms
from admit.events.log import logs
from admit.storage.lookups import Lookup
from admit.storage.transaction import Transaction

ROWS_MAX = 500
BYTES_MAX = 1_000_000
"""Of what one look finds behind one place. A client that has missed more pulls."""

SMALL_STEP = 2
"""So few revisions are read without a look at their sizes: a unit writes no more than some MB of each."""

HEADS = Lookup(
    select(realms.c.app_id, realms.c.realm, realms.c.revision, logs.c.epoch).select_from(
        realms.join(logs, logs.c.app_id == realms.c.app_id)
    ),
    (realms.c.app_id, realms.c.realm),
)


def _behind(*columns: ColumnElement[Any]) -> Select[Any]:
    return (
        select(*columns)
        .where(
            objects.c.app_id == bindparam("app"),
            objects.c.history == bindparam("realm"),
            objects.c.revision > bindparam("after"),
            objects.c.revision <= bindparam("head"),
        )
        .limit(ROWS_MAX + 1)
    )


SIZES = _behind(objects.c.size)
ROWS = _behind(objects.c.table_name, objects.c.key, objects.c.value, objects.c.writer)

RealmKey = tuple[str, str]
"""An app_id and a realm in it: a uid or rlm-public."""
Start = tuple[str, str, int]
"""An app_id, a realm and the revision behind which to look."""


class FreshRow(msgspec.Struct, frozen=True):
    """An object that was written. `value`: JSON, None: deleted. `writer`: the client that has it already."""

    table: str
    key: str
    value: str | None
    writer: str


class Fresh(msgspec.Struct, frozen=True):
    """What was found. `epochs` by app, where any of its realms was there; `heads` by realm, 0 where there is
    none yet.

    `rows`: what is behind a start, up to the head of its realm; None: too much. Where nothing is, the start
    is not in it.
    """

    epochs: Mapping[str, str]
    heads: Mapping[RealmKey, int]
    rows: Mapping[Start, tuple[FreshRow, ...] | None]


def find_fresh(tx: Transaction, starts: Set[Start]) -> Fresh:
    """What is behind `starts`, in one snapshot."""
    keys = {(app_id, realm) for app_id, realm, _ in starts}
    found = HEADS.rows(tx, keys)
    epochs = {app_id: epoch for app_id, _, _, epoch in found}
    heads = dict.fromkeys(keys, 0) | {(app_id, realm): revision for app_id, realm, revision, _ in found}
    rows = {start: _rows(tx, start, heads[start[:2]]) for start in starts if heads[start[:2]] > start[2]}
    return Fresh(epochs, heads, rows)


def _rows(tx: Transaction, start: Start, head: int) -> tuple[FreshRow, ...] | None:
    app_id, realm, after = start
    wanted = {"app": app_id, "realm": realm, "after": after, "head": head}
    if head - after > SMALL_STEP and _is_too_much(tx.execute(SIZES, wanted).scalars().all()):
        return None
    rows = tx.execute(ROWS, wanted)
    fresh = [FreshRow(row.table_name, row.key, row.value, row.writer) for row in rows]
    return None if _is_too_much([len(row.value or "") for row in fresh]) else tuple(fresh)


def _is_too_much(sizes: Sequence[int]) -> bool:
    return len(sizes) > ROWS_MAX or sum(sizes) > BYTES_MAX
