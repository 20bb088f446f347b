"""Which changes of objects somebody wants to hear of. Pure."""

from collections.abc import Sequence

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
    return not filters or any(_holds(each, change) for each in filters)


def _holds(rule: ChangeFilter, change: DataChange) -> bool:
    return (
        rule.table in ("", change.table)
        and (not rule.operations or change.type in rule.operations)
        and (not rule.properties or _touches(change, rule.properties))
    )


def _touches(change: DataChange, properties: Sequence[str]) -> bool:
    """Whether one of `properties` was written. Who creates or deletes an object has written all of it."""
    if change.updates is not UNSET:
        written = tuple(_names_of(change.updates))
    elif change.properties is not UNSET:
        written = change.properties
    else:
        return True
    return any(_one_contains_the_other(ours, theirs) for ours in properties for theirs in written)


def _one_contains_the_other(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")
