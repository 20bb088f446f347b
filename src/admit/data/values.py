"""What can be kept: tables, keys and objects as they arrive from anybody, and what is refused of them. Pure.

Values are JSON as clients send it. Types that JSON has not are objects with the member `$t`, kept as they
are; properties whose own name begins with `$` arrive with one `$` more.
"""

import json
import math
from typing import Any

import msgspec

from admit.errors import InvalidRequest
from admit.storage.lookups import UNSTORABLE

OBJECT_BYTES_MAX = 1_000_000
NESTING_MAX = 64
KEY_CHARACTERS_MAX = 500
TABLE_CHARACTERS_MAX = 100
WHOLE_MIN, WHOLE_MAX = -(2**63), 2**63 - 1
"""What is beyond is kept as clients read it, who have no whole numbers of this size."""
PROTO = "__proto__"
PROTO_BYTES = PROTO.encode()

_encode = msgspec.json.Encoder().encode


class Unacceptable(InvalidRequest):
    """What was sent cannot be kept. The message says why."""


def read_json(body: bytes) -> Any:
    """The value in `body`: no member named twice, no number beyond all bounds.

    Raises Unacceptable.
    """
    try:
        return json.loads(
            body.decode(),
            object_pairs_hook=_members,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except UnicodeDecodeError:
        raise Unacceptable("This is not UTF-8.") from None
    except RecursionError:
        raise Unacceptable("This is nested too deeply.") from None
    except ValueError as error:
        raise Unacceptable(f"This is not JSON: {error}.") from None


def fault_of_table(name: str) -> str | None:
    """Why there can be no table of this name; None: there can."""
    if not 1 <= len(name) <= TABLE_CHARACTERS_MAX:
        return f"The name of a table has 1 to {TABLE_CHARACTERS_MAX} characters."
    if name.startswith("$"):
        return "The name of a table does not begin with $."
    if name == PROTO or UNSTORABLE.search(name):
        return "This cannot be the name of a table."
    return None


def fault_of_key(key: str) -> str | None:
    """Why there can be no object with this key; None: there can. Compound keys are JSON arrays."""
    if not 1 <= len(key) <= KEY_CHARACTERS_MAX:
        return f"A key has 1 to {KEY_CHARACTERS_MAX} characters."
    if key == PROTO or UNSTORABLE.search(key):
        return "A key has no NUL, no half characters, and is not __proto__."
    if key[0] == "[" and key[-1] == "]":
        return _fault_of_compound_key(key)
    return None


def fault_of_object(value: object) -> str | None:
    """Why `value` cannot be kept as an object; None: it can."""
    try:
        text_of(value)
    except Unacceptable as error:
        return error.message
    return None


def text_of(value: object) -> str:
    """The JSON of an object, as it is kept. Raises Unacceptable.

    What `read_json` refuses is taken to have been refused already.
    """
    if not isinstance(value, dict) or "$t" in value:
        raise Unacceptable("An object is a JSON object, none of the special types.")
    text = _encoded(value)
    if len(text) > OBJECT_BYTES_MAX:
        raise Unacceptable(f"An object is larger than {OBJECT_BYTES_MAX:,} bytes.")
    if text.count(b"{") + text.count(b"[") > NESTING_MAX and depth_of(value) > NESTING_MAX:
        raise Unacceptable(f"An object is nested more than {NESTING_MAX} deep.")
    if PROTO_BYTES in text and _has_proto(value):
        raise Unacceptable("There can be no member __proto__.")
    return text.decode()


def weight_of(value: object) -> int:
    """The bytes of the JSON of `value`; 0 where it has none and will be refused."""
    try:
        return len(_encoded(value))
    except Unacceptable:
        return 0


def depth_of(value: object) -> int:
    """How deep objects and arrays are nested in `value`: 0 for anything else. More than NESTING_MAX is
    counted as one more.
    """
    depth = 0
    level = [value]
    while depth <= NESTING_MAX:
        level = [part for each in level if isinstance(each, dict | list) for part in _parts(each)]
        if not level:
            return depth
        depth += 1
    return depth


def _parts(value: dict[str, Any] | list[Any]) -> list[Any]:
    """What is in it, at least one thing."""
    return [*(value.values() if isinstance(value, dict) else value), None]


def _has_proto(value: object) -> bool:
    if isinstance(value, dict):
        return PROTO in value or any(map(_has_proto, value.values()))
    return isinstance(value, list) and any(map(_has_proto, value))


def _encoded(value: object) -> bytes:
    try:
        return _encode(value)
    except UnicodeEncodeError:
        raise Unacceptable("A text holds half of a character.") from None
    except (RecursionError, OverflowError, TypeError):
        raise Unacceptable("This cannot be kept.") from None


def _fault_of_compound_key(key: str) -> str | None:
    try:
        parts = json.loads(key, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None  # clients take it for a text, too
    if not (_has_text(parts) and all(map(_is_part, parts))):
        return "A compound key is an array of texts, numbers and arrays of them, with at least one text."
    return None


def _has_text(parts: list[Any]) -> bool:
    return any(isinstance(part, str) or (isinstance(part, list) and _has_text(part)) for part in parts)


def _is_part(part: object) -> bool:
    if isinstance(part, list):
        return all(map(_is_part, part))
    if isinstance(part, str):
        return part != PROTO and not UNSTORABLE.search(part)
    return isinstance(part, int | float) and not isinstance(part, bool) and math.isfinite(part)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise Unacceptable("A member is named twice.")
    return members


def _no_constant(name: str) -> Any:
    raise Unacceptable(f"{name} is not JSON.")


def _whole(digits: str) -> float:
    if len(digits) > 300:  # JavaScript reads them as infinite
        raise Unacceptable("A number is beyond all bounds.")
    whole = int(digits)
    return whole if WHOLE_MIN <= whole <= WHOLE_MAX else float(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise Unacceptable("A number is beyond all bounds.")
    return value
