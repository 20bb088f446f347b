"""Change specs: what an update does to an object, by dotted paths, as `setByKeyPath` of Dexie does. Pure."""

import re
from typing import Any

import msgspec

from admit.data import propmods
from admit.data.keys import member_of
from admit.data.propmods import UNDEFINED
from admit.data.values import NESTING_MAX, PROTO, Unacceptable, depth_of

PATH_CHARACTERS_MAX = 1_000
PATHS_MAX = 10_000
GAP_MAX = 100
"""How far behind the end of an array something may be set: each nothing between costs memory."""
SHIFTED_MAX = 10_000
"""Of a longer array no items are taken out: those behind each of them move."""

_WHOLE = re.compile("[0-9]{1,9}")
_LEADING_WHOLE = re.compile(r"\s*[+-]?[0-9]")


class Applied(msgspec.Struct, frozen=True):
    """What became of an object. `updates`: by path, what was set to which value; UNDEFINED: removed.

    `sure`: every client that had the same object comes to surely the same.
    """

    value: dict[str, Any]
    updates: dict[str, Any]
    sure: bool


def apply(spec: dict[str, Any], value: dict[str, Any]) -> Applied:
    """Applies `spec` to `value`, which is changed. Raises Unacceptable."""
    if len(spec) > PATHS_MAX:
        raise Unacceptable(f"An update changes more than {PATHS_MAX:,} properties.")
    updates: dict[str, Any] = {}
    sure = True
    for member, given in spec.items():
        path = path_of(member)
        change = propmods.spec_of(given)
        if change is None:
            new = given
        else:
            _check_nesting(change)
            new, certain = propmods.execute(change, _get(value, path))
            sure &= certain
        _check(path, new)
        sure &= _set(value, path, new) and not member.endswith(".")
        updates[member] = new
    return Applied(value, updates, sure)


def path_of(member: str) -> list[str]:
    """The names on the path that a member of a change spec stands for."""
    path = member[1:] if member.startswith("$") else member
    return path.removesuffix(".").split(".") if path != "." else [""]


def _check(path: list[str], value: object) -> None:
    if PROTO in path:
        raise Unacceptable("There can be no member __proto__.")
    if sum(map(len, path)) > PATH_CHARACTERS_MAX:
        raise Unacceptable(f"A path is longer than {PATH_CHARACTERS_MAX} characters.")
    _check_nesting(value, len(path))


def _check_nesting(value: object, depth: int = 0) -> None:
    if depth + depth_of(value) > NESTING_MAX:
        raise Unacceptable(f"An object is nested more than {NESTING_MAX} deep.")


def _get(value: object, path: list[str]) -> object:
    for name in path:
        match value:
            case {"$t": _}:
                return UNDEFINED
            case dict():
                value = value.get(member_of(name), UNDEFINED)
            case list() if _WHOLE.fullmatch(name) and int(name) < len(value):
                value = value[int(name)]
            case _:
                return UNDEFINED
    return value


def _set(value: Any, path: list[str], new: Any) -> bool:
    """Sets or removes what stands at `path`. False: clients may do it in another way."""
    *parents, last = path
    for name in parents:
        inner = _inner(value, name, new)
        if inner is None:
            return True
        value = inner
        if not isinstance(value, dict | list):
            return True  # a number or a text has no properties
        if isinstance(value, dict) and "$t" in value:
            return False
    if isinstance(value, list):
        return _set_item(value, last, new)
    if new == UNDEFINED:
        value.pop(member_of(last), None)
    else:
        value[member_of(last)] = new
    return True


def _inner(value: Any, name: str, new: Any) -> Any:
    """What stands in `value`, an object or array; if nothing, a new object. None: there is nothing to do."""
    if isinstance(value, list):
        if not _WHOLE.fullmatch(name):
            return {"$t": "array"}
        place = int(name)
        inner = value[place] if place < len(value) else None
        if _is_empty(inner) and new != UNDEFINED:
            inner = {}
            _put_item(value, place, inner)
        return None if _is_empty(inner) else inner
    member = member_of(name)
    inner = value.get(member)
    if _is_empty(inner):
        if new == UNDEFINED:
            return None
        inner = value[member] = {}
    return inner


def _is_empty(value: object) -> bool:
    """Whether JavaScript takes `value` for false."""
    if isinstance(value, dict):
        return value == UNDEFINED or value == {"$t": "number", "v": "NaN"}
    return not value and not isinstance(value, list)


def _set_item(items: list[Any], name: str, new: Any) -> bool:
    """Sets or removes an item; False: it is none that every client finds in the same way."""
    if not _WHOLE.fullmatch(name):
        return not _LEADING_WHOLE.match(name) and new == UNDEFINED
    place = int(name)
    if new != UNDEFINED:
        return _put_item(items, place, new)
    if len(items) > SHIFTED_MAX:
        raise Unacceptable(f"An item is taken out of an array of more than {SHIFTED_MAX:,}.")
    del items[place : place + 1]
    return True


def _put_item(items: list[Any], place: int, new: Any) -> bool:
    if place > len(items) + GAP_MAX:
        raise Unacceptable("An item is set far behind the end of an array.")
    gap = place - len(items)
    items.extend([None] * max(0, gap))
    items[place : place + 1] = [new]
    return gap <= 0
