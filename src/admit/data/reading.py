"""Reading objects: how far the realms are, what has changed behind a place, and how some of them stand."""

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import msgspec
from sqlalchemy import bindparam, select

from admit.data.changed import PUBLIC
from admit.data.tables import objects, realms
from admit.data.wire import State
from admit.events.log import logs
from admit.storage.database import Database
from admit.storage.lookups import Lookup
from admit.storage.transaction import Transaction

PAGE_ROWS = 1_000
PAGE_BYTES_MAX = 4_000_000
"""Where one revision alone has more, it is a page of its own."""
SMALL_STEP = 2
"""So few revisions are read without a look at their sizes."""

REVISIONS = Lookup(
    select(logs.c.app_id, logs.c.epoch, realms.c.realm, realms.c.revision).select_from(
        logs.join(realms, realms.c.app_id == logs.c.app_id)
    ),
    (realms.c.app_id, realms.c.realm),
)
"""How far realms are, and the epochs of their apps: app_id, epoch, realm, revision."""
EPOCHS = Lookup(select(logs.c.app_id, logs.c.epoch), (logs.c.app_id,))
BEHIND = (
    objects.c.app_id == bindparam("app"),
    objects.c.history == bindparam("realm"),
    objects.c.revision > bindparam("after"),
    objects.c.revision <= bindparam("until"),
)
"""What has changed in a realm behind one revision, up to another."""
SIZES = (
    select(objects.c.revision, objects.c.size).where(*BEHIND).order_by(objects.c.revision).limit(PAGE_ROWS)
)
ROWS = (
    select(objects.c.table_name, objects.c.key, objects.c.value, objects.c.writer, objects.c.revision)
    .where(*BEHIND)
    .order_by(objects.c.revision)
)
STATES = Lookup(
    select(objects.c.table_name, objects.c.realm, objects.c.key, objects.c.value),
    (objects.c.app_id, objects.c.table_name, objects.c.realm, objects.c.key),
)


class Heads(msgspec.Struct, frozen=True):
    """How far the realms of an app are; 0: nothing was ever written there."""

    epoch: str
    revisions: dict[str, int]


class Change(NamedTuple):
    """An object as it has become at a revision. `value`: JSON; None: it was deleted. `writer`: as stored."""

    table: str
    key: str
    value: str | None
    writer: str
    revision: int


async def heads(db: Database, app_id: str, names: Collection[str]) -> Heads:
    """How far these realms are, at one moment."""
    return await db.read_together(_heads, (app_id, tuple(names)))


async def pages(
    db: Database,
    app_id: str,
    realm: str,
    after: int,
    until: int,
    *,
    client: str = "",
    with_deleted: bool = True,
    beneath: str | None = None,
) -> AsyncIterator[list[State]]:
    """What has changed in a realm behind the revision `after`, up to `until`, in pages, in order.

    What has changed again since `until` is missing; it comes behind `until`. `client` is spared what it has
    written and has already. `with_deleted`: with what was deleted, for who may have had it. `beneath`: the
    private realm of who reads the public one, whose object comes to light where a public one was deleted.
    """
    while after < until:
        read = partial(changes_of, app_id=app_id, realm=realm, after=after, until=until)
        page, after = await db.read(read)
        found = [
            (each.table, each.key, each.value)
            for each in page
            if (each.value is not None or with_deleted) and not (client and each.writer == client)
        ]
        if beneath is not None and (
            deleted := [(table, key) for table, key, value in found if value is None]
        ):
            there = await of_keys(db, app_id, beneath, deleted)
            found = [each for each in found if each[2] is not None] + there
        if found:
            yield found


async def of_keys(db: Database, app_id: str, realm: str, places: Iterable[tuple[str, str]]) -> list[State]:
    """How the objects (table, key) stand for who reads `realm` and the public realm, which wins."""
    return await db.read(partial(states, app_id=app_id, realm=realm, places=tuple(places)))


def states(tx: Transaction, app_id: str, realm: str, places: Collection[tuple[str, str]]) -> list[State]:
    """As `of_keys`, in a transaction. What is not there counts as deleted."""
    keys = [(app_id, table, each, key) for table, key in places for each in {realm, PUBLIC}]
    found: dict[tuple[str, str], str] = {}
    for table, of, key, value in STATES.rows(tx, keys):
        if value is not None and (of == PUBLIC or (table, key) not in found):
            found[table, key] = value
    return [(table, key, found.get((table, key))) for table, key in dict.fromkeys(places)]


def _heads(tx: Transaction, asked: list[tuple[str, tuple[str, ...]]]) -> list[Heads]:
    keys = {(app_id, realm) for app_id, names in asked for realm in names}
    found = {(row[0], row[2]): (row[1], row[3]) for row in REVISIONS.rows(tx, keys)}
    epochs = {app_id: epoch for (app_id, _), (epoch, _) in found.items()}
    if missing := {app_id for app_id, _ in asked} - epochs.keys():
        epochs |= dict(EPOCHS.rows(tx, [(app_id,) for app_id in missing]))
    return [
        Heads(epochs[app_id], {realm: found.get((app_id, realm), ("", 0))[1] for realm in names})
        for app_id, names in asked
    ]


def changes_of(
    tx: Transaction, app_id: str, realm: str, after: int, until: int
) -> tuple[Sequence[Change], int]:
    """A page of what has changed behind `after`, at most up to `until`, and the revision at its end."""
    of = {"app": app_id, "realm": realm, "after": after}
    if until - after > SMALL_STEP:
        sizes = tx.execute(SIZES, of | {"until": until}).all()
        until = _cut([(row.revision, row.size) for row in sizes], until)
    rows = tx.execute(ROWS, of | {"until": until}).all()
    return [Change(row.table_name, row.key, row.value, row.writer, row.revision) for row in rows], until


def _cut(sizes: Sequence[tuple[int, int]], until: int) -> int:
    """The revision with which a page ends that begins with rows of these revisions and sizes. Pure."""
    total = 0
    for place, (revision, size) in enumerate(sizes):
        total += size
        if total > PAGE_BYTES_MAX or place + 1 == PAGE_ROWS:
            first = sizes[0][0]
            return max(first, revision - 1)
    return until
