"""Which changes of objects somebody wants to hear of. Pure."""

from collections.abc import Iterator, Sequence, Set

import msgspec
from msgspec import UNSET

from admit.events.data_facts import ChangeType, DataChange

_names_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class ChangeFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes of objects. What is left out is not asked for; what is given must all hold.

    `properties` are names or paths, such as address.city, of which one must have been written.
    """

    table: str = ""
    operations: tuple[ChangeType, ...] = ()
    properties: tuple[str, ...] = ()


def passes(change: DataChange, filters: Sequence[ChangeFilter]) -> bool:
    """Whether one of `filters` lets a change through. None of them: everything passes."""
    if not filters:
        return True
    rules = [each for each in filters if _holds(each, change)]
    if not all(each.properties for each in rules):
        return True
    properties = {path for each in rules for path in each.properties}
    return bool(properties) and _touches(change, properties)


def _holds(rule: ChangeFilter, change: DataChange) -> bool:
    return rule.table in ("", change.table) and (not rule.operations or change.type in rule.operations)


def _touches(change: DataChange, properties: Set[str]) -> bool:
    """Whether one of `properties` was written. Who creates or deletes an object has written all of it.

    Each path is looked at once: filters and objects have thousands of them.
    """
    if change.updates is not UNSET:
        written = frozenset(_names_of(change.updates))
    elif change.properties is not UNSET:
        written = frozenset(change.properties)
    else:
        return True
    depth = 1 + max(path.count(".") for path in properties)
    if any(not properties.isdisjoint(_and_above(path, depth)) for path in written):
        return True
    return any(not written.isdisjoint(_and_above(path, depth)) for path in properties)


def _and_above(path: str, depth: int) -> Iterator[str]:
    """`path` and those above it that have at most `depth` names."""
    end = -1
    for _ in range(depth):
        end = path.find(".", end + 1)
        if end == -1:
            yield path
            return
        yield path[:end]
