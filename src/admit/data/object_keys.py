"""Where the key of an object is, and how it is put there. Pure.

A compound key is the JSON text of its parts, as the addon sends it. A private key, `#name`, is kept as
`#name:userId`, which the addon undoes.
"""

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from admit.data import keys
from admit.data.table_settings import TableSetting

EXACT_MAX = 2**53

_PARTS = msgspec.json.Decoder(list[Any])


def key_in(setting: TableSetting, value: Mapping[str, Any]) -> str | None:
    """The key that `value` carries; None where it carries none, or what can be none."""
    parts = [keys.at_path(value, path) for path in setting.parts]
    if not parts or any(not _is_part(part) for part in parts):
        return None
    if not setting.is_compound:
        return parts[0] if isinstance(parts[0], str) else None
    return msgspec.json.encode([_plain(part) for part in parts]).decode()


def with_key(setting: TableSetting, value: dict[str, Any], key: str) -> dict[str, Any]:
    """`value` with its key where the table has it; as it is where keys stand beside objects."""
    if setting.is_compound or not setting.parts:
        return value
    return _put(value, setting.parts[0].split("."), key)


def plain(key: str) -> str:
    """`key` as it is kept: a compound one without the spaces that somebody may have written in it."""
    if not key.startswith("["):
        return key
    try:
        return msgspec.json.encode([_plain(part) for part in _PARTS.decode(key)]).decode()
    except (msgspec.MsgspecError, RecursionError):
        return key


def private_key(key: str, user_id: str) -> str:
    """The key as it is kept in the private realm of `user_id`."""
    mark = f":{user_id}"
    return key + mark if key.startswith("#") and not key.endswith(mark) else key


def _put(value: dict[str, Any], path: list[str], key: str) -> dict[str, Any]:
    name, *rest = path
    if not rest:
        return {**value, name: key}
    inner = value.get(name)
    return {**value, name: _put(inner if isinstance(inner, dict) else {}, rest, key)}


def _is_part(part: Any) -> bool:
    if isinstance(part, list):
        return all(map(_is_part, part))
    return isinstance(part, str) or (isinstance(part, int | float) and not isinstance(part, bool))


def _plain(part: Any) -> Any:
    """Numbers as JavaScript writes them: 1.0 is 1."""
    if isinstance(part, list):
        return [_plain(each) for each in part]
    if isinstance(part, float) and math.isfinite(part) and part.is_integer() and abs(part) < EXACT_MAX:
        return int(part)
    return part
