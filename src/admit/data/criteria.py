"""Criteria: which objects a client has meant beyond those that it has. Pure."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from admit.data.keys import Ordered, at_path, of_client, ordered
from admit.data.values import NESTING_MAX, depth_of, weight_of

BYTES_MAX = 100_000
EQUAL, RANGE, ANY, NEVER = 1, 2, 3, 4


class Criteria(msgspec.Struct, frozen=True):
    """An index and a range of it, as IndexedDB has them.

    `index`: its name, a path or `[a+b]`; None: the primary key. `range`: {type: EQUAL | RANGE | ANY | NEVER,
    lower, upper, lowerOpen, upperOpen}.
    """

    index: str | None
    range: dict[str, Any]


Finder = Callable[[str, dict[str, Any], str], bool]


def fault_of(criteria: Criteria) -> str | None:
    """Why nothing can be compared with them; None: it can."""
    if depth_of(criteria.range) > NESTING_MAX:
        return f"Criteria are nested more than {NESTING_MAX} deep."
    if not 0 < weight_of((criteria.index, criteria.range)) <= BYTES_MAX:
        return f"Criteria are larger than {BYTES_MAX:,} bytes, or hold half of a character."
    return None


def matches(criteria: Criteria, key: str, value: dict[str, Any], realm_id: str) -> bool:
    """Whether the object `value` under `key` is in the range. A realm is called `realm_id` by its clients."""
    return finder(criteria)(key, value, realm_id)


def finder(criteria: Criteria) -> Finder:
    """`matches` of these criteria, for many objects: their bounds are read once."""
    is_in = _test_of(criteria.range)
    index = criteria.index
    return lambda key, value, realm_id: any(map(is_in, _entries(index, key, value, realm_id)))


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


def _test_of(range_: dict[str, Any]) -> Callable[[Ordered], bool]:
    match range_.get("type"):
        case 3:
            return lambda entry: True
        case 1:
            equal = ordered(range_.get("lower"))
            return lambda entry: entry == equal
        case 2:
            is_above, is_below = _above(range_), _below(range_)
            return lambda entry: is_above(entry) and is_below(entry)
        case _:
            return lambda entry: False


def _above(range_: dict[str, Any]) -> Callable[[Ordered], bool]:
    if "lower" not in range_ or _is_undefined(range_["lower"]):
        return lambda entry: True
    lower, is_open = ordered(range_["lower"]), range_.get("lowerOpen")
    return lambda entry: lower is not None and (entry > lower or (entry == lower and not is_open))


def _below(range_: dict[str, Any]) -> Callable[[Ordered], bool]:
    if "upper" not in range_ or _is_undefined(range_["upper"]):
        return lambda entry: True
    upper, is_open = ordered(range_["upper"]), range_.get("upperOpen")
    return lambda entry: upper is not None and (entry < upper or (entry == upper and not is_open))


def _is_undefined(bound: object) -> bool:
    return bound == {"$t": "undefined"}
