"""PropModification: what clients want done to a property, whatever it is by then. Pure.

As `PropModification.execute` of Dexie does it, on values as they are kept.
"""

import math
import re
from collections.abc import Callable
from typing import Any

from admit.data.keys import milliseconds_of, sorted_as_texts
from admit.data.values import Unacceptable

SAFE_INTEGER = 2**53
MARK = "@@propmod"
NUMBER_CHARACTERS_MAX = 300
UNDEFINED = {"$t": "undefined"}
"""Of a property that is not there."""

_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_UNUSUAL = re.compile(r"0[xXoObB]|[+-]?Infinity|[^\x00-\x7f]")

Result = tuple[Any, bool]
"""The new value, and whether every client comes to surely the same."""


def spec_of(value: object) -> dict[str, Any] | None:
    """What is to be done, where `value` is a PropModification in one of its two forms."""
    if not isinstance(value, dict):
        return None
    if isinstance(spec := value.get(MARK), dict):
        return spec
    return value if value.get("$t") == "PropModification" else None


def execute(spec: dict[str, Any], value: object) -> Result:
    """`value` after what `spec` says, {"add" | "remove" | "replacePrefix": …}. Raises Unacceptable."""
    if "add" in spec:
        return _change(spec["add"], value, 1)
    if "remove" in spec:
        return _change(spec["remove"], value, -1)
    match spec.get("replacePrefix"):
        case [str(old), str(new)]:
            starts = bool(old) and isinstance(value, str) and value.startswith(old)
            return (new + value[len(old) :] if starts and isinstance(value, str) else value), True
    raise Unacceptable("A change of a property adds, removes or replaces a prefix.")


def _change(term: object, value: object, sign: int) -> Result:
    if isinstance(term, list):
        return _add_all(value, term) if sign > 0 else _remove_all(value, term)
    if (whole := _whole_of(term)) is not None:
        return _whole(_whole_or_zero(value) + sign * whole), True
    number = _number_of_term(term)
    before, sure = _number_of(value)
    if sign > 0 and math.isnan(before):
        before = 0
    return _kept(_sum(before, sign * number)), sure


def _add_all(value: object, items: list[Any]) -> Result:
    return _sorted([*(value if isinstance(value, list) else []), *items])


def _remove_all(value: object, items: list[Any]) -> Result:
    if not isinstance(value, list):
        return [], True
    gone = set(map(_compared, items)) - {None}
    return _sorted([each for each in value if _compared(each) not in gone])


def _compared(value: object) -> tuple[type, str] | None:
    """A text that is the same where `includes` finds two values the same; None: an object, as no other."""
    match value:
        case {"$t": "number", "v": str(name)}:
            return float, name
        case {"$t": "bigint", "v": str(digits)}:
            return int, digits
        case dict() | list():
            return None
        case int() | float() if not isinstance(value, bool):
            return float, number_text(value)
        case _:
            return type(value), str(value)


def _sorted(items: list[Any]) -> Result:
    texts = [_text_of(item) for item in items]
    places = sorted_as_texts([text for text, _ in texts])
    return [items[place] for place in places], all(sure for _, sure in texts)


def _text_of(item: object) -> tuple[str, bool]:
    """What String(item) of JavaScript is, and whether that is sure."""
    match item:
        case str():
            return item, True
        case bool():
            return "true" if item else "false", True
        case None:
            return "null", True
        case int() | float():
            return number_text(item), True
        case list():
            texts = [("", True) if part is None else _text_of(part) for part in item]
            return ",".join(text for text, _ in texts), all(sure for _, sure in texts)
        case {"$t": "number" | "bigint", "v": str(digits)}:
            return digits, True
        case {"$t": str(kind)}:
            return f"[object {kind}]", False
        case _:
            return "[object Object]", True


def number_text(number: float) -> str:
    """`number` as JavaScript writes it."""
    number = float(number)
    if number.is_integer() and abs(number) < 1e21:
        return str(int(number))
    text = repr(number)
    mantissa, e, exponent = text.partition("e")
    if not e:
        return text
    power = int(exponent)
    if -7 < power < 0:
        digits = mantissa.replace(".", "").removeprefix("-")
        return f"{'-' if number < 0 else ''}0.{'0' * (-power - 1)}{digits}"
    return f"{mantissa.removesuffix('.0')}e{'+' if power > 0 else '-'}{abs(power)}"


def _number_of_term(term: object) -> float:
    match term:
        case bool():
            pass
        case int() | float():
            return term
        case {"$t": "number", "v": str(name)} if (found := _named(name)) is not None:
            return found
    raise Unacceptable("Numbers and arrays can be added to a property and removed from it, nothing else.")


def _number_of(value: object) -> tuple[float, bool]:
    """What Number(value) of JavaScript is, and whether that is sure."""
    match value:
        case bool():
            return int(value), True
        case int() | float():
            return value, True
        case None:
            return 0, True
        case str():
            return _number_in(value)
        case {"$t": "number", "v": str(name)}:
            found = _named(name)
            return (math.nan, False) if found is None else (found, True)
        case {"$t": "bigint", "v": str(digits)}:
            return _number_in(digits)
        case {"$t": "Date", "v": str(date)}:
            moment = milliseconds_of(date)
            return (math.nan, False) if moment is None else (moment, True)
        case list():
            return math.nan, False
        case _:
            return math.nan, True


def _number_in(text: str) -> tuple[float, bool]:
    stripped = text.strip()
    if not stripped:
        return 0, True
    if len(stripped) > NUMBER_CHARACTERS_MAX:
        return math.nan, False
    if _DECIMAL.fullmatch(stripped):
        return (float(stripped) if set(stripped) & set(".eE") else int(stripped)), True
    return math.nan, not _UNUSUAL.match(stripped)


def _named(name: str) -> float | None:
    return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}.get(name)


def _sum(one: float, other: float) -> float:
    if isinstance(one, int) and isinstance(other, int) and abs(one + other) <= SAFE_INTEGER:
        return one + other
    return float(one) + float(other)


def _kept(number: float) -> Any:
    """A number as it is kept: JSON, or one of those that JSON has not."""
    if isinstance(number, int):
        return number
    if math.isfinite(number):
        return int(number) if number.is_integer() and abs(number) <= SAFE_INTEGER else number
    name = "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    return {"$t": "number", "v": name}


def _whole_of(term: object) -> int | None:
    match term:
        case {"$t": "bigint", "v": str(digits)} if len(digits) <= NUMBER_CHARACTERS_MAX:
            return _read(int, digits)
    return None


def _whole_or_zero(value: object) -> int:
    """What BigInt(value) of JavaScript is, or 0."""
    match value:
        case bool():
            return int(value)
        case int():
            return value
        case float() if value.is_integer():
            return int(value)
        case str() if len(value) <= NUMBER_CHARACTERS_MAX:
            return _read(int, value.strip() or "0") or 0
    return _whole_of(value) or 0


def _whole(number: int) -> dict[str, str]:
    if abs(number) >= 10**NUMBER_CHARACTERS_MAX:
        raise Unacceptable("A number is beyond all bounds.")
    return {"$t": "bigint", "v": str(number)}


def _read(kind: Callable[[str], int], text: str) -> int | None:
    try:
        return kind(text)
    except ValueError:
        return None
