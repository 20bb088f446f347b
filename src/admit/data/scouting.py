"""Looking around before a push: which objects its criteria mean that its client does not have, and how much
there is to be read for it."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from admit.data import criteria as ranges
from admit.data.criteria import Criteria
from admit.data.operations import UNKNOWN, Batch, Operation
from admit.data.reading import Change, changes_of, heads
from admit.data.stored import Place
from admit.data.writing import HEADS, PIECES
from admit.storage.database import Database
from admit.storage.transaction import Transaction

CRITERIA_MAX = 100
"""Of a push. Those behind them mean what the client has listed, and nothing else."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


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
    listed: defaultdict[tuple[str, str, bytes], set[str]] = defaultdict(set)
    for each in operations:
        if each.criteria is not None:
            listed[_kind(each)].update(each.keys)
    asked = [
        (place, each)
        for place, each in enumerate(operations)
        if each.criteria is not None and not each.additional
    ][:CRITERIA_MAX]
    keys = [(batch.app_id, batch.realm, batch.client, f"{each.piece}/0") for _, each in asked]
    known = {row[3] for row in await db.read(lambda tx: PIECES.rows(tx, keys))}
    return [
        Search(
            place=place,
            table=each.table,
            criteria=each.criteria,
            after=min(each.base, batch.known),
            listed=frozenset(listed[_kind(each)]),
        )
        for place, each in asked
        if each.criteria is not None and f"{each.piece}/0" not in known
    ]


def _kind(operation: Operation) -> tuple[str, str, bytes]:
    """What the chunks of one operation have in common."""
    return operation.txid, operation.table, msgspec.json.encode(operation.criteria, order="sorted")


def _look(
    tx: Transaction, batch: Batch, searches: Sequence[Search], after: int, until: int
) -> tuple[list[tuple[int, str]], int]:
    """The places of the searches with keys that they find on the next page, and the revision at its end."""
    by_table: defaultdict[str, list[Search]] = defaultdict(list)
    for each in searches:
        by_table[each.table].append(each)
    changes, last = changes_of(tx, batch.app_id, batch.realm, after, until)
    own = (batch.client, f"~{batch.client}") if batch.client else ()
    found = []
    for change in changes:
        if change.value is None or change.writer in own or change.table not in by_table:
            continue
        value = _decode(change.value)
        found += [
            (each.place, change.key)
            for each in by_table[change.table]
            if _is_meant(each, change, value, batch.realm_id)
        ]
    return found, last


def _is_meant(search: Search, change: Change, value: dict[str, Any], realm_id: str) -> bool:
    if change.revision <= search.after or change.key in search.listed:
        return False
    return ranges.matches(search.criteria, change.key, value, realm_id)


def _with_found(operations: Sequence[Operation], found: dict[int, list[str]]) -> list[Operation]:
    """The found ones come first: where those that the client has listed are done, all are."""
    result = []
    for place, each in enumerate(operations):
        if keys := found.get(place):
            result.append(replace(each, keys=tuple(dict.fromkeys(keys)), piece="", found=True))
        result.append(each)
    return result
