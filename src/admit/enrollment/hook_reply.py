"""Reading what a decision endpoint has answered. Pure, strict and bounded: the other side may lie."""

import json
import math
from typing import Any

import msgspec

from admit.enrollment.policy import NOT_ACCEPTED, Admit, Refuse, Verdict
from admit.errors import USER_NOT_ACCEPTED

USER_DATA_BYTES_MAX = 16_384
NESTING_MAX = 32
NAME_CHARS_MAX = 200
EMAIL_CHARS_MAX = 254


class Fault(msgspec.Struct, frozen=True):
    """The answer cannot be trusted with a decision; `reason` tells the operator what is wrong with it."""

    reason: str


class _Unreadable(ValueError):
    """Something in the body that JSON would let pass and we do not."""


def read_reply(body: bytes) -> Verdict | Fault:
    """The verdict in `body`: `{"ok": bool, "action": "reject"|"eval"|"prod", "userData"?: {…}}`.

    `ok: false` never admits. Members that the contract does not name are ignored. Source: the Dexie Cloud
    contract, web hook policy.
    """
    try:
        reply = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_members,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
        return _verdict(reply)
    except _Unreadable as error:
        return Fault(f"The answer {error}.")
    except UnicodeDecodeError:
        return Fault("The answer is not UTF-8.")
    except RecursionError:
        return Fault("The answer is nested too deeply.")
    except ValueError as error:
        return Fault(f"The answer is not JSON: {error}.")


def _verdict(reply: Any) -> Verdict | Fault:
    if not isinstance(reply, dict):
        return Fault("The answer is not a JSON object.")
    accepted, action = reply.get("ok"), reply.get("action")
    if not isinstance(accepted, bool):
        return Fault('"ok" is not true or false.')
    if not accepted:
        return _rejection('The endpoint answered "ok": false.')
    match action:
        case "reject":
            return _rejection("The endpoint answered reject.")
        case "eval" | "prod":
            data = _user_data(reply.get("userData"))
            return Admit(
                type=action,
                reason=f"The endpoint answered {action}.",
                data=data,
                name=_line(data, "displayName", NAME_CHARS_MAX),
                email=_line(data, "email", EMAIL_CHARS_MAX),
            )
        case _:
            return Fault('"action" is not "reject", "eval" or "prod".')


def _rejection(reason: str) -> Refuse:
    return Refuse(code=USER_NOT_ACCEPTED, message=NOT_ACCEPTED, reason=reason)


def _user_data(data: Any) -> dict[str, Any] | None:
    if data is None:
        return None
    if not isinstance(data, dict):
        raise _Unreadable('has a "userData" that is not an object')
    if _depth(data) > NESTING_MAX:
        raise _Unreadable(f'has a "userData" nested deeper than {NESTING_MAX} levels')
    try:
        size = len(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())
    except UnicodeEncodeError:
        raise _Unreadable("holds half of a surrogate pair") from None
    if size > USER_DATA_BYTES_MAX:
        raise _Unreadable(f'has a "userData" of {size} bytes; {USER_DATA_BYTES_MAX} are allowed')
    return data


def _depth(value: Any) -> int:
    """How deep `value` is nested, counted without recursion."""
    deepest, level = 0, [value]
    while level:
        deepest += 1
        children = [child for each in level if isinstance(each, dict) for child in each.values()]
        children += [child for each in level if isinstance(each, list) for child in each]
        level = [child for child in children if isinstance(child, dict | list)]
    return deepest


def _line(data: dict[str, Any] | None, member: str, chars_max: int) -> str:
    """A member that people will see: one line of printable text, or "" where there is none."""
    value = (data or {}).get(member)
    if not isinstance(value, str):
        return ""
    return "".join(letter if letter.isprintable() else " " for letter in value).strip()[:chars_max]


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object without twins. `__proto__` means nothing but harm to whoever copies it in a browser."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise _Unreadable("names a member twice")
    members.pop("__proto__", None)
    return members


def _no_constant(name: str) -> Any:
    raise _Unreadable(f"holds {name}, which is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _Unreadable("holds a number beyond all bounds")
    return value
