"""Keys as IndexedDB compares them: number < Date < text < binary < array. Pure."""

import base64
import binascii
import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

Ordered = tuple[int, Any]
"""A key in a form that compares as IndexedDB does; of two kinds, the kind decides."""

_LEXICAL = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz|"
_USUAL = "=ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_TO_USUAL = str.maketrans(_LEXICAL, _USUAL)
_BINARY = frozenset(
    {"ArrayBuffer", "DataView"}
    | {f"{kind}Array" for kind in ("Int8", "Uint8", "Uint8Clamped", "Int16", "Uint16", "Int32", "Uint32")}
    | {f"{kind}Array" for kind in ("Float32", "Float64", "BigInt64", "BigUint64")}
)


def ordered(value: object) -> Ordered | None:
    """`value`, JSON as it is kept, in a form to compare; None: it cannot be a key, and stands in no index."""
    match value:
        case bool() | None:
            return None
        case int() | float():
            return 1, value
        case str():
            return 3, _units(value)
        case list():
            parts = [ordered(part) for part in value]
            return None if None in parts else (5, tuple(parts))
        case {"$t": str(kind), "v": str(content)}:
            return _special(kind, content)
        case _:
            return None


def at_path(value: object, path: str) -> object:
    """What stands at a dotted path of an object as it is kept; None where nothing does."""
    for name in path.split("."):
        if not isinstance(value, dict) or "$t" in value:
            return None
        value = value.get(member_of(name))
    return value


def member_of(name: str) -> str:
    """As what a property of this name is kept."""
    return "$" + name if name.startswith("$") else name


def of_client(key: str, realm_id: str) -> object:
    """A key as the owner of the realm has it: an array, or without the part that makes it private."""
    if key.startswith("[") and key.endswith("]"):
        try:
            return json.loads(key)
        except ValueError:
            return key
    return key.removesuffix(f":{realm_id}") if key.startswith("#") else key


def _special(kind: str, content: str) -> Ordered | None:
    if kind == "number":
        infinite = {"Infinity": math.inf, "-Infinity": -math.inf}.get(content)
        return None if infinite is None else (1, infinite)
    if kind == "Date":
        moment = milliseconds_of(content)
        return None if moment is None else (2, moment)
    if kind in _BINARY:
        return _binary(content)
    return None


def milliseconds_of(date: str) -> float | None:
    """The moment that a date of JavaScript names, in ms since 1970; None: no valid one."""
    try:
        moment = datetime.fromisoformat(date)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000)


def _binary(content: str) -> Ordered | None:
    try:
        return 4, base64.b64decode(content.translate(_TO_USUAL), validate=True)
    except (binascii.Error, ValueError):
        return None


def _units(text: str) -> bytes:
    """The 16-bit units of `text`, by which JavaScript compares."""
    return text.encode("utf-16-be", "surrogatepass")


def sorted_as_texts(texts: Sequence[str]) -> list[int]:
    """The places of `texts` in the order in which JavaScript sorts them. Stable."""
    return sorted(range(len(texts)), key=lambda place: _units(texts[place]))
