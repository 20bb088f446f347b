"""Reading the JSON of others: what two parsers could read in two ways is refused. Pure."""

import json
import math
from typing import Any


class Unreadable(ValueError):
    """What makes it so: the rest of a sentence that begins with "the answer"."""


def read_json(body: bytes | str) -> Any:
    """The value in `body`, in UTF-8: no member named twice, no NaN, no number beyond all bounds.

    Members `__proto__` are dropped: they mean nothing but harm to whoever copies them in a browser.
    Raises Unreadable.
    """
    try:
        return json.loads(
            body.decode("utf-8") if isinstance(body, bytes) else body,
            object_pairs_hook=_members,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except Unreadable:
        raise
    except UnicodeDecodeError:
        raise Unreadable("is not UTF-8") from None
    except RecursionError:
        raise Unreadable("is nested too deeply") from None
    except ValueError as error:
        raise Unreadable(f"is not JSON: {error}") from None


def read_object(body: bytes | str) -> dict[str, Any]:
    """Like `read_json`, for a JSON object. Half surrogate pairs are refused too: nobody could store them."""
    value = read_json(body)
    if not isinstance(value, dict):
        raise Unreadable("is not a JSON object")
    bytes_of(value)
    return value


def bytes_of(value: Any) -> int:
    """The bytes that `value` takes as JSON. Raises Unreadable for half of a surrogate pair."""
    try:
        return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    except UnicodeEncodeError:
        raise Unreadable("holds half of a surrogate pair") from None
    except RecursionError:
        raise Unreadable("is nested too deeply") from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise Unreadable("names a member twice")
    members.pop("__proto__", None)
    return members


def _no_constant(name: str) -> Any:
    raise Unreadable(f"holds {name}, which is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise Unreadable("holds a number beyond all bounds")
    return value
