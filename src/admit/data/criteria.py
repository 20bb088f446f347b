"""Criteria: which objects a client has meant beyond those that it has. Pure."""

from collections.abc import Iterator
from typing import Any

import msgspec

from admit.data.keys import Ordered, at_path, of_client, ordered

EQUAL, RANGE, ANY, NEVER = 1, 2, 3, 4


class Criteria(msgspec.Struct, frozen=True):
    """An index and a range of it, as IndexedDB has them.

    `index`: its name, a path or `[a+b]`; None: the primary key. `range`: {type: EQUAL | RANGE | ANY | NEVER,
    lower, upper, lowerOpen, upperOpen}.
    """

    index: str | None
    range: dict[str, Any]


def matches(criteria: Criteria, key: str, value: dict[str, Any], realm_id: str) -> bool:
    """Whether the object `value` under `key` is in the range. A realm is called `realm_id` by its clients."""
    return any(_is_in(criteria.range, each) for each in _entries(criteria.index, key, value, realm_id))


def _entries(index: str | None, key: str, value: dict[str, Any], realm_id: str) -> Iterator[Ordered]:
    """What the index has of the object. Nobody tells us whether it is one of many entries: an array is taken
    for both."""
    if index is None or index == ":id":
        found = [of_client(key, realm_id)]
    elif index.startswith("[") and index.endswith("]"):
        found = [[at_path(value, path) for path in index[1:-1].split("+")]]
    else:
        at = at_path(value, index)
        found = [at, *at] if isinstance(at, list) else [at]
    for each in found:
        if (entry := ordered(each)) is not None:
            yield entry


def _is_in(range_: dict[str, Any], entry: Ordered) -> bool:
    match range_.get("type"):
        case 3:
            return True
        case 1:
            return entry == ordered(range_.get("lower"))
        case 2:
            return _is_above(range_, entry) and _is_below(range_, entry)
        case _:
            return False


def _is_above(range_: dict[str, Any], entry: Ordered) -> bool:
    if "lower" not in range_ or _is_undefined(range_["lower"]):
        return True
    lower = ordered(range_["lower"])
    return lower is not None and (entry > lower or (entry == lower and not range_.get("lowerOpen")))


def _is_below(range_: dict[str, Any], entry: Ordered) -> bool:
    if "upper" not in range_ or _is_undefined(range_["upper"]):
        return True
    upper = ordered(range_["upper"])
    return upper is not None and (entry < upper or (entry == upper and not range_.get("upperOpen")))


def _is_undefined(bound: object) -> bool:
    return bound == {"$t": "undefined"}
