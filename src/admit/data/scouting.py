"""Looking around before a push: which objects its criteria mean that its client does not have, and how much
there is to be read for it."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from admit.data import criteria as ranges
from admit.data.criteria import Criteria, Finder
from admit.data.operations import UNKNOWN, Batch, Operation
from admit.data.reading import Change, changes_of, heads
from admit.data.stored import Place
from admit.data.writing import HEADS, PIECES
from admit.storage.database import Database
from admit.storage.transaction import Transaction

CRITERIA_MAX = 100
"""Of a push. Those behind them mean what the client has listed, and nothing else."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


Kind = tuple[str, str, bytes]
"""A transaction, a table, and criteria."""


class Search(msgspec.Struct, frozen=True):
    """What an operation looks for: objects that have changed behind `after` and that nobody has `listed`."""

    place: int
    table: str
    criteria: Criteria
    after: int
    listed: frozenset[str]


async def sizes_of(db: Database, batch: Batch, places: Collection[Place]) -> dict[Place, int]:
    """The bytes of the objects that are there."""
    keys = [(batch.app_id, table, batch.realm, key) for table, key in places]
    rows = await db.read(lambda tx: HEADS.rows(tx, keys))
    return {(row[1], row[3]): row[6] for row in rows}


async def find_meant(db: Database, batch: Batch, operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """The operations, before each with criteria one on those objects that they mean and the client has not
    listed. What the client knew when it made them it would have listed: only newer ones are looked at.
    """
    searches = await _searches(db, batch, operations)
    if not searches:
        return tuple(operations)
    head = await heads(db, batch.app_id, [batch.realm])
    if batch.epoch not in (None, head.epoch):
        searches = [replace(each, after=UNKNOWN) for each in searches]
    found: defaultdict[int, list[str]] = defaultdict(list)
    after, until = min(each.after for each in searches), head.revisions[batch.realm]
    while after < until:
        look = partial(_look, batch=batch, searches=searches, after=after, until=until)
        matches, after = await db.read(look)
        for place, key in matches:
            found[place].append(key)
    return tuple(_with_found(operations, found))


async def _searches(db: Database, batch: Batch, operations: Sequence[Operation]) -> list[Search]:
    asked, listed = await asyncio.to_thread(_asked, operations)
    keys = [(batch.app_id, batch.realm, batch.client, f"{each.piece}/0") for _, each, _ in asked]
    known = {row[3] for row in await db.read(lambda tx: PIECES.rows(tx, keys))}
    return [
        Search(
            place=place,
            table=each.table,
            criteria=each.criteria,
            after=min(each.base, batch.known),
            listed=listed[kind],
        )
        for place, each, kind in asked
        if each.criteria is not None and f"{each.piece}/0" not in known
    ]


def _asked(
    operations: Sequence[Operation],
) -> tuple[list[tuple[int, Operation, Kind]], dict[Kind, frozenset[str]]]:
    """The operations to look for, with their places, and what is listed by all of a kind. Pure."""
    meant = [
        (place, each, _kind(each))
        for place, each in enumerate(operations)
        if each.criteria is not None and ranges.fault_of(each.criteria) is None
    ]
    keys: defaultdict[Kind, set[str]] = defaultdict(set)
    for _, each, kind in meant:
        keys[kind].update(each.keys)
    asked = [(place, each, kind) for place, each, kind in meant if not each.additional]
    return asked[:CRITERIA_MAX], {kind: frozenset(some) for kind, some in keys.items()}


def _kind(operation: Operation) -> Kind:
    """What the chunks of one operation have in common."""
    return operation.txid, operation.table, msgspec.json.encode(operation.criteria, order="sorted")


def _look(
    tx: Transaction, batch: Batch, searches: Sequence[Search], after: int, until: int
) -> tuple[list[tuple[int, str]], int]:
    """The places of the searches with keys that they find on the next page, and the revision at its end."""
    by_table: defaultdict[str, list[tuple[Search, Finder]]] = defaultdict(list)
    for each in searches:
        by_table[each.table].append((each, ranges.finder(each.criteria)))
    changes, last = changes_of(tx, batch.app_id, batch.realm, after, until)
    own = (batch.client, f"~{batch.client}") if batch.client else ()
    found = []
    for change in changes:
        if change.value is None or change.writer in own or change.table not in by_table:
            continue
        value = _decode(change.value)
        found += [
            (each.place, change.key)
            for each, finds in by_table[change.table]
            if _is_open(each, change) and finds(change.key, value, batch.realm_id)
        ]
    return found, last


def _is_open(search: Search, change: Change) -> bool:
    return change.revision > search.after and change.key not in search.listed


def _with_found(operations: Sequence[Operation], found: dict[int, list[str]]) -> list[Operation]:
    """The found ones come first: where those that the client has listed are done, all are."""
    result = []
    for place, each in enumerate(operations):
        if keys := found.get(place):
            result.append(replace(each, keys=tuple(dict.fromkeys(keys)), piece="", found=True))
        result.append(each)
    return result
