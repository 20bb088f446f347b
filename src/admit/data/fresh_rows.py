"""What has been written behind the places of those who wait, read once for all of them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set

import msgspec
from sqlalchemy import select

from admit.data.reading import BEHIND, REVISIONS
from admit.data.tables import objects
from admit.storage.lookups import Lookup
from admit.storage.transaction import Transaction

ROWS_MAX = 500
BYTES_MAX = 1_000_000
"""Of what one look finds behind one place. A client that has missed more pulls."""

LOOK_BYTES_MAX = 32_000_000
"""Of what one look finds behind all places."""
STEP_MAX = 16
"""So few revisions are looked up one by one, those of all places together."""

SIZES = select(objects.c.size).where(*BEHIND).limit(ROWS_MAX + 1)
ROWS = select(objects.c.table_name, objects.c.key, objects.c.value, objects.c.writer)
ROWS = ROWS.where(*BEHIND).limit(ROWS_MAX + 1)
_of_revision = (objects.c.app_id, objects.c.history, objects.c.revision)
SIZES_OF_EACH = Lookup(select(*_of_revision, objects.c.size), _of_revision)
ROWS_OF_EACH = Lookup(
    select(*_of_revision, objects.c.table_name, objects.c.key, objects.c.value, objects.c.writer),
    _of_revision,
)

RealmKey = tuple[str, str]
"""An app_id and a realm in it: a uid or rlm-public."""
Start = tuple[str, str, int]
"""An app_id, a realm and the revision behind which to look."""
Revision = tuple[str, str, int]
"""An app_id, a realm and one of its revisions."""


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
    found = REVISIONS.rows(tx, keys)
    epochs = {app_id: epoch for app_id, epoch, _, _ in found}
    heads = dict.fromkeys(keys, 0) | {(app_id, realm): revision for app_id, _, realm, revision in found}
    steps = {start: heads[start[:2]] - start[2] for start in starts if heads[start[:2]] > start[2]}
    rows = _small_steps(tx, {start: step for start, step in steps.items() if step <= STEP_MAX})
    rows |= {start: _large_step(tx, start, step) for start, step in steps.items() if step > STEP_MAX}
    return Fresh(epochs, heads, rows)


def _small_steps(tx: Transaction, steps: Mapping[Start, int]) -> dict[Start, tuple[FreshRow, ...] | None]:
    """What is behind each start, so many revisions on: two statements for all of them."""
    sizes: defaultdict[Revision, list[int]] = defaultdict(list)
    for app_id, realm, revision, size in SIZES_OF_EACH.rows(tx, _revisions(steps)):
        sizes[app_id, realm, revision].append(size)
    rows: dict[Start, tuple[FreshRow, ...] | None] = {}
    left = LOOK_BYTES_MAX
    for start, step in steps.items():
        of_start = [size for each in _revisions({start: step}) for size in sizes.get(each, ())]
        if _is_too_much(of_start) or sum(of_start) > left:
            rows[start] = None
        else:
            left -= sum(of_start)
    taken = {start: step for start, step in steps.items() if start not in rows}
    found: defaultdict[Revision, list[FreshRow]] = defaultdict(list)
    for app_id, realm, revision, table, key, value, writer in ROWS_OF_EACH.rows(tx, _revisions(taken)):
        found[app_id, realm, revision].append(FreshRow(table, key, value, writer))
    for start, step in taken.items():
        rows[start] = tuple(row for each in _revisions({start: step}) for row in found.get(each, ()))
    return rows


def _revisions(steps: Mapping[Start, int]) -> list[Revision]:
    return [
        (app_id, realm, after + number)
        for (app_id, realm, after), step in steps.items()
        for number in range(1, step + 1)
    ]


def _large_step(tx: Transaction, start: Start, step: int) -> tuple[FreshRow, ...] | None:
    app_id, realm, after = start
    wanted = {"app": app_id, "realm": realm, "after": after, "until": after + step}
    if _is_too_much(tx.execute(SIZES, wanted).scalars().all()):
        return None
    rows = tx.execute(ROWS, wanted)
    return tuple(FreshRow(row.table_name, row.key, row.value, row.writer) for row in rows)


def _is_too_much(sizes: Sequence[int]) -> bool:
    return len(sizes) > ROWS_MAX or sum(sizes) > BYTES_MAX
