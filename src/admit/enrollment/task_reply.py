"""Reading what a decision task has returned. Pure, strict and bounded: a process that lies is no better than
an endpoint that does."""

import re
from typing import Any

from admit.enrollment.hook_reply import NAME_CHARS_MAX, line, user_data
from admit.enrollment.policy import Admit, Fault, Refuse, Verdict
from admit.outbound.strict_json import Unreadable, bytes_of, read_json

RESULT_BYTES_MAX = 65_536
MESSAGE_CHARS_MAX = 300
REASON_CHARS_MAX = 1_000

_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_MESSAGE = re.compile(rf"[ -z|~]{{1,{MESSAGE_CHARS_MAX}}}")  # ASCII without braces: the addon replaces those


def read_result(result: bytes, task: str) -> Verdict | Fault:
    """The verdict in what `task` has returned, as JSON: `{"decision": "admit", "type": "eval"|"prod", "data",
    "name"}` or `{"decision": "refuse", "code", "message", "reason"}`."""
    if len(result) > RESULT_BYTES_MAX:
        return Fault(f"The task {task} returned more than {RESULT_BYTES_MAX} bytes.")
    try:
        return _verdict(read_json(result), task)
    except Unreadable as error:
        return Fault(f"What the task {task} returned {error}.")


def _verdict(result: Any, task: str) -> Verdict:
    if not isinstance(result, dict):
        raise Unreadable("is no decision; return task.admit(…) or task.refuse(…)")
    match result.get("decision"):
        case "admit":
            return _admitted(result, task)
        case "refuse":
            return _refused(result, task)
        case _:
            raise Unreadable("is no decision; return task.admit(…) or task.refuse(…)")


def _admitted(result: dict[str, Any], task: str) -> Admit:
    kind = result.get("type")
    if kind not in ("eval", "prod"):
        raise Unreadable('has a "type" that is neither "eval" nor "prod"')
    return Admit(
        type=kind,
        reason=f"The task {task} answered {kind}.",
        data=user_data(result.get("data"), "data"),
        name=line(_text(result, "name"), NAME_CHARS_MAX),
    )


def _refused(result: dict[str, Any], task: str) -> Refuse:
    code, message = _text(result, "code"), _text(result, "message")
    if not _CODE.fullmatch(code):
        raise Unreadable('has a "code" that is not like NOT_ON_THE_LIST')
    if not _MESSAGE.fullmatch(message):
        raise Unreadable(
            'has a "message" that is not one line of ASCII without braces, at most '
            f"{MESSAGE_CHARS_MAX} characters long"
        )
    reason = line(_text(result, "reason"), REASON_CHARS_MAX)
    return Refuse(code=code, message=message, reason=reason or f"The task {task} refused.")


def _text(result: dict[str, Any], member: str) -> str:
    value = result.get(member, "")
    if not isinstance(value, str):
        raise Unreadable(f'has a "{member}" that is not a text')
    bytes_of(value)
    return value
