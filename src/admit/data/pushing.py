"""Pushing: what a client sends, in the order in which it was done, in units that let others pass."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import msgspec
from msgspec.structs import replace

from admit.data.merging import Refused, by_transaction, check, check_values, needs_text
from admit.data.operations import Batch, Operation, Rejection, Written
from admit.data.scouting import find_meant, sizes_of
from admit.data.stored import Place
from admit.data.writing import write
from admit.storage.database import Database

UNIT_KEYS = 400
UNIT_BYTES = 4_000_000
FEW_KEYS = 8
"""So few are never too many bytes: they are not weighed."""

_encode = msgspec.json.Encoder().encode

Sizes = Mapping[Place, int]


async def push(db: Database, batch: Batch) -> Written:
    """Writes a batch of any size. Where it is more than a unit takes, each part is committed by itself.

    Whoever repeats it, because no answer has come, comes to the same. Raises StorageUnavailable.
    """
    operations = in_order(batch.operations)
    if any(each.criteria is not None for each in operations):
        operations = await find_meant(db, batch, operations)
    sizes: Sizes = {}
    if sum(len(each.keys) for each in operations) > FEW_KEYS:
        places = {(each.table, key) for each in operations if needs_text(each) for key in each.keys}
        sizes = await sizes_of(db, batch, places) if places else {}
    portions = list(units(batch, operations, sizes)) or [[]]
    parts = [
        await db.write_together(write, replace(batch, operations=tuple(unit), is_last=unit is portions[-1]))
        for unit in portions
    ]
    return _joined(parts)


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


def units(batch: Batch, operations: Sequence[Operation], sizes: Sizes) -> Iterator[list[Operation]]:
    """The operations in portions for one unit each. A transaction is divided where it is too large for one.

    Pure. `sizes`: of the objects that are there, where they matter.
    """
    unit: list[Operation] = []
    keys = bytes_ = 0
    weighs = sum(len(each.keys) for each in operations) > FEW_KEYS
    for _, transaction in by_transaction(tuple(operations)):
        parts = [part for each in transaction for part in _split(each, sizes, weighs)]
        more_keys = sum(len(part.keys) for part, _ in parts)
        more_bytes = sum(weight for _, weight in parts)
        is_whole = more_keys <= UNIT_KEYS and more_bytes <= UNIT_BYTES
        if not is_whole:
            parts = _checked(batch, parts)
        elif unit and (keys + more_keys > UNIT_KEYS or bytes_ + more_bytes > UNIT_BYTES):
            yield unit
            unit, keys, bytes_ = [], 0, 0
        for part, weight in parts:
            if unit and (keys + len(part.keys) > UNIT_KEYS or bytes_ + weight > UNIT_BYTES):
                yield unit
                unit, keys, bytes_ = [], 0, 0
            unit.append(part)
            keys += len(part.keys)
            bytes_ += weight
    if unit:
        yield unit


def _split(operation: Operation, sizes: Sizes, weighs: bool) -> Iterator[tuple[Operation, int]]:
    """The operation in parts that fit into a unit, each with its weight in bytes."""
    start = weight = 0
    for place, key in enumerate(operation.keys):
        own = sizes.get((operation.table, key), 0)
        if weighs and operation.values:
            own += len(_encode(operation.values[place]))
        if place > start and (place - start == UNIT_KEYS or weight + own > UNIT_BYTES):
            yield _part(operation, start, place), weight
            start, weight = place, 0
        weight += own
    yield _part(operation, start, len(operation.keys)), weight


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
