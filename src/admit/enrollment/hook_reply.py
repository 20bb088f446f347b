"""Reading what a decision endpoint has answered. Pure, strict and bounded: the other side may lie."""

from typing import Any

from admit.enrollment.policy import NOT_ACCEPTED, Admit, Fault, Refuse, Verdict
from admit.errors import USER_NOT_ACCEPTED
from admit.outbound.strict_json import Unreadable, bytes_of, read_json

USER_DATA_BYTES_MAX = 16_384
NESTING_MAX = 32
NAME_CHARS_MAX = 200
EMAIL_CHARS_MAX = 254


def read_reply(body: bytes) -> Verdict | Fault:
    """The verdict in `body`: `{"ok": bool, "action": "reject"|"eval"|"prod", "userData"?: {…}}`.

    `ok: false` never admits. Members that the contract does not name are ignored. Source: the Dexie Cloud
    contract, web hook policy.
    """
    try:
        return _verdict(read_json(body))
    except Unreadable as error:
        return Fault(f"The answer {error}.")


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
            data = user_data(reply.get("userData"), "userData")
            return Admit(
                type=action,
                reason=f"The endpoint answered {action}.",
                data=data,
                name=line((data or {}).get("displayName"), NAME_CHARS_MAX),
                email=line((data or {}).get("email"), EMAIL_CHARS_MAX),
            )
        case _:
            return Fault('"action" is not "reject", "eval" or "prod".')


def _rejection(reason: str) -> Refuse:
    return Refuse(code=USER_NOT_ACCEPTED, message=NOT_ACCEPTED, reason=reason)


def user_data(data: Any, member: str) -> dict[str, Any] | None:
    """The data of a new user that an answer has in `member`. Raises Unreadable."""
    if data is None:
        return None
    if not isinstance(data, dict):
        raise Unreadable(f'has a "{member}" that is not an object')
    if _depth(data) > NESTING_MAX:
        raise Unreadable(f'has a "{member}" nested deeper than {NESTING_MAX} levels')
    size = bytes_of(data)
    if size > USER_DATA_BYTES_MAX:
        raise Unreadable(f'has a "{member}" of {size} bytes; {USER_DATA_BYTES_MAX} are allowed')
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


def line(value: Any, chars_max: int) -> str:
    """Something that people will see: one line of printable text, or "" where there is none."""
    if not isinstance(value, str):
        return ""
    return "".join(letter if letter.isprintable() else " " for letter in value).strip()[:chars_max]
