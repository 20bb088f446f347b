"""What a decision task returns: the person may come in, or may not. Checked where it is made."""

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

USER_DATA_BYTES_MAX = 16_384
NESTING_MAX = 32
NAME_CHARACTERS_MAX = 200
MESSAGE_CHARACTERS_MAX = 300
REASON_CHARACTERS_MAX = 1_000
CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


class Admitted(msgspec.Struct, frozen=True, kw_only=True, tag_field="decision", tag="admit"):
    """The person may come in. `data` becomes the user's own, `name` is for display; None and "": nothing."""

    type: Literal["eval", "prod"]
    data: dict[str, Any] | None = None
    name: str = ""


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag_field="decision", tag="refuse"):
    """The person may not come in. They see `message`, their client `code`; `reason` is for the ledger."""

    code: str
    message: str
    reason: str = ""


Verdict = Admitted | Refused


def admit(
    type: Literal["eval", "prod"], *, data: Mapping[str, Any] | None = None, name: str = ""
) -> Admitted:
    """Lets the person in, to try the app (eval) or for good (prod).

    `data`: a JSON object of at most 16,384 bytes, the operator's own about the user. `name`: at most 200
    characters. Raises ValueError.
    """
    if type not in ("eval", "prod"):
        raise ValueError(f"Somebody is admitted as eval or prod, not as {type!r}.")
    if not isinstance(name, str) or not (name == "" or name.isprintable()):
        raise ValueError("name is one line of text.")
    if len(name) > NAME_CHARACTERS_MAX:
        raise ValueError(f"name has {len(name)} characters; {NAME_CHARACTERS_MAX} are allowed.")
    return Admitted(type=type, data=None if data is None else checked_data(data), name=name)


def refuse(code: str, message: str, reason: str = "") -> Refused:
    """Turns the person away.

    `code`, for programs: capital letters, digits and _, such as NOT_ON_THE_LIST. `message`, for the person:
    one line of at most 300 ASCII characters without braces, which clients would take for a place to fill in.
    `reason`, for the ledger alone: at most 1,000 characters. Raises ValueError.
    """
    if not isinstance(code, str) or not CODE.fullmatch(code):
        raise ValueError(f"A code is made of capital letters, digits and _, such as NOT_INVITED: {code!r}")
    if not isinstance(message, str) or not (message.strip() and message.isascii() and message.isprintable()):
        raise ValueError(f"A message is one line of ASCII text: {message!r}")
    if len(message) > MESSAGE_CHARACTERS_MAX or "{" in message or "}" in message:
        raise ValueError(f"A message has at most {MESSAGE_CHARACTERS_MAX} characters and no braces.")
    if not isinstance(reason, str) or len(reason) > REASON_CHARACTERS_MAX:
        raise ValueError(f"A reason is a text of at most {REASON_CHARACTERS_MAX} characters.")
    return Refused(code=code, message=message, reason=reason)


def checked_data(data: Mapping[str, Any]) -> dict[str, Any]:
    """A user's data as the server would keep it: made of JSON, and within its limits. Raises ValueError."""
    if not isinstance(data, Mapping):
        raise ValueError(f"data is a mapping, which becomes a JSON object, not {type(data).__name__}.")
    try:
        encoded = msgspec.json.encode(dict(data))
        kept: dict[str, Any] = msgspec.json.decode(encoded)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"data cannot be written as JSON: {error}") from None
    if len(encoded) > USER_DATA_BYTES_MAX:
        raise ValueError(f"data has {len(encoded)} bytes; {USER_DATA_BYTES_MAX} are allowed.")
    if _depth(kept) > NESTING_MAX:
        raise ValueError(f"data is nested deeper than {NESTING_MAX} levels.")
    return kept


def _depth(value: object) -> int:
    deepest, level = 0, [value]
    while level:
        deepest += 1
        inside = [child for each in level if isinstance(each, dict) for child in each.values()]
        inside += [child for each in level if isinstance(each, list) for child in each]
        level = [child for child in inside if isinstance(child, dict | list)]
    return deepest
