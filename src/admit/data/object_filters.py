"""Which objects a query asks for by their properties. Pure.

A condition `path=text` holds where the property is that text, or what the text says as JSON: a number, true,
false, null, or a special type such as `{"$t":"Date","v":"…"}`. The `v` of a special type matches by itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

_NOTHING = object()


class Condition(msgspec.Struct, frozen=True):
    """The property at `path` is one of `values`."""

    path: tuple[str, ...]
    values: tuple[Any, ...]


def condition(path: str, text: str) -> Condition:
    """The condition that `path=text` of a query means."""
    try:
        read = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return Condition(tuple(path.split(".")), (text,))
    return Condition(tuple(path.split(".")), (text, read))


def holds(conditions: Sequence[Condition], value: str) -> bool:
    """Whether the object in the JSON text `value` meets all `conditions`."""
    if not conditions:
        return True
    read = msgspec.json.decode(value)
    return all(_meets(each, read) for each in conditions)


def _meets(wanted: Condition, value: Any) -> bool:
    for name in wanted.path:
        value = value.get(name, _NOTHING) if isinstance(value, Mapping) else _NOTHING
    return any(_same(value, each) for each in wanted.values)


def _same(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, dict) and isinstance(theirs, str):
        return "$t" in mine and mine.get("v") == theirs
    if isinstance(mine, bool) or isinstance(theirs, bool):
        return mine is theirs
    return mine == theirs and (type(mine) is type(theirs) or _are_numbers(mine, theirs))


def _are_numbers(*values: Any) -> bool:
    return all(isinstance(each, int | float) for each in values)
