"""Pushing: what a client sends, in the order in which it was done, in units that let others pass."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TypeVar

from msgspec.structs import replace

from admit.data.hook_loads import Load, load_of
from admit.data.merging import Refused, by_transaction, check, check_values, needs_text
from admit.data.operations import Batch, Operation, Rejection, Written
from admit.data.scouting import find_meant, sizes_of
from admit.data.stored import Place
from admit.data.values import weight_of
from admit.data.writing import write
from admit.storage.database import Database

UNIT_KEYS = 400
PIECE_KEYS = 16
"""An operation is remembered in pieces of so many keys, always the same ones, whatever a unit has room for.
Otherwise, who repeats what a crash has left half done would find pieces of another size known."""
UNIT_BYTES = 4_000_000
ASIDE_KEYS = 500
FEW_KEYS = 8
"""So few are never too many bytes: they are not weighed."""

T = TypeVar("T")

Sizes = Mapping[Place, int]


async def push(db: Database, batch: Batch) -> Written:
    """Writes a batch of any size. Where it is more than a unit takes, each part is committed by itself.

    Whoever repeats it, because no answer has come, comes to the same. Raises StorageUnavailable.
    """
    operations = await _aside(batch.operations, partial(in_order, batch.operations))
    if any(each.criteria is not None for each in operations):
        operations = await find_meant(db, batch, operations)
    sizes: Sizes = {}
    load = Load()
    if sum(len(each.keys) for each in operations) > FEW_KEYS:
        load = await db.read(partial(load_of, app_id=batch.app_id))
        looked_at = [each for each in operations if load.listens or needs_text(each)]
        places = {(each.table, key) for each in looked_at for key in each.keys}
        sizes = await sizes_of(db, batch, places) if places else {}
    portions = await _aside(operations, lambda: list(units(batch, operations, sizes, load))) or [[]]
    parts = [
        await db.write_together(write, replace(batch, operations=tuple(unit), is_last=unit is portions[-1]))
        for unit in portions
    ]
    return _joined(parts)


async def _aside(operations: Sequence[Operation], work: Callable[[], T]) -> T:
    """Does `work`, beside the loop where there are many operations or keys of them."""
    parts = sum(max(1, len(each.keys)) for each in operations)
    return work() if parts < ASIDE_KEYS else await asyncio.to_thread(work)


def in_order(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """The operations, those of each table in the order of their `rev`, in the places that they have among
    those of other tables. Pure.

    A client sorts them by its clock. Where that was set back, it has done them in another order.
    """
    by_table: defaultdict[str, list[int]] = defaultdict(list)
    for place, each in enumerate(operations):
        by_table[each.table].append(place)
    ordered = list(operations)
    for places in by_table.values():
        mine = sorted(
            (operations[place] for place in places), key=lambda each: (each.rev is None, each.rev or 0)
        )
        for place, each in zip(places, mine, strict=True):
            ordered[place] = each
    return tuple(ordered)


def units(
    batch: Batch, operations: Sequence[Operation], sizes: Sizes, load: Load
) -> Iterator[list[Operation]]:
    """The operations in portions for one unit each. A transaction is divided where it is too large for one.

    Pure. `sizes`: of the objects that are there, where they matter. `load`: what hooks add.
    """
    unit: list[Operation] = []
    keys = bytes_ = 0
    weighs = sum(len(each.keys) for each in operations) > FEW_KEYS
    for _, transaction in by_transaction(tuple(operations)):
        parts = [part for each in transaction for part in _split(each, sizes, weighs)]
        more_keys = sum(_count(load, part) for part, _ in parts)
        more_bytes = sum(weight for _, weight in parts)
        is_whole = more_keys <= UNIT_KEYS and more_bytes <= UNIT_BYTES
        if not is_whole:
            parts = _checked(batch, parts)
        elif unit and (keys + more_keys > UNIT_KEYS or bytes_ + more_bytes > UNIT_BYTES):
            yield unit
            unit, keys, bytes_ = [], 0, 0
        for part, weight in parts:
            more_keys = _count(load, part)
            if unit and (keys + more_keys > UNIT_KEYS or bytes_ + weight > UNIT_BYTES):
                yield unit
                unit, keys, bytes_ = [], 0, 0
            unit.append(part)
            keys += more_keys
            bytes_ += weight
    if unit:
        yield unit


def _count(load: Load, part: Operation) -> int:
    """As how many keys a piece counts: one without keys is remembered, too."""
    return load.keys(part.table, max(1, len(part.keys)))


def _split(operation: Operation, sizes: Sizes, weighs: bool) -> Iterator[tuple[Operation, int]]:
    """The pieces of the operation, each with its weight in bytes."""
    own = operation.values or operation.specs
    # One spec is often that of many keys.
    known: dict[int, int] = {}
    for start in range(0, max(1, len(operation.keys)), PIECE_KEYS):
        end = min(start + PIECE_KEYS, len(operation.keys))
        weight = 0
        for place in range(start, end) if weighs else ():
            weight += sizes.get((operation.table, operation.keys[place]), 0)
            if own:
                given = own[0] if operation.type == "modify" else own[place]
                if id(given) not in known:
                    known[id(given)] = weight_of(given)
                weight += known[id(given)]
        yield _part(operation, start, end), weight


def _part(operation: Operation, start: int, end: int) -> Operation:
    piece = f"{operation.piece}/{start}" if operation.piece else ""
    if (start, end) == (0, len(operation.keys)):
        return replace(operation, piece=piece) if piece else operation
    specs = operation.specs if operation.type == "modify" else operation.specs[start:end]
    return replace(
        operation,
        keys=operation.keys[start:end],
        values=operation.values[start:end],
        specs=specs,
        piece=piece,
    )


def _checked(batch: Batch, parts: list[tuple[Operation, int]]) -> list[tuple[Operation, int]]:
    """The parts of a transaction that will be divided: if one cannot be taken, none is."""
    try:
        for part, _ in parts:
            check(batch, part)
            check_values(batch, part)
    except Refused as refused:
        return [(replace(part, fault=(refused.name, refused.message)), weight) for part, weight in parts]
    return parts


def _joined(parts: Sequence[Written]) -> Written:
    """What came of a batch, from what came of its parts."""
    if len(parts) == 1:
        return parts[0]
    first, last = parts[0], parts[-1]
    alone = all(one.after == other.before for one, other in pairwise(parts))
    rejections: dict[str, Rejection] = {}
    for part in parts:
        for each in part.rejections:
            rejections.setdefault(each.txid, each)
    return Written(
        epoch=last.epoch,
        before=first.before if alone else -1,
        after=last.after,
        public=last.public,
        rejections=tuple(rejections.values()),
        corrected=tuple(dict.fromkeys(place for part in parts for place in part.corrected)),
        results=tuple(each for part in parts for each in part.results),
    )
