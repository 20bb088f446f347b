"""JSON that somebody has typed: read, or refused with its line and the cause, as manager.js says it. Pure."""

import json
from typing import Any

import msgspec

from admit.errors import InvalidRequest


def read_object(text: str) -> dict[str, Any]:
    """The JSON object in `text`. Raises InvalidRequest with its line and the cause."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidRequest(_place_of(error, text)) from None
    except (RecursionError, ValueError):
        raise InvalidRequest("The JSON is nested too deeply, or holds a number that is too long.") from None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.ValidationError:
        raise InvalidRequest("Write a JSON object: it begins with “{” and ends with “}”.") from None
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        raise InvalidRequest("NaN, Infinity and half characters are no JSON.") from None


def _place_of(error: json.JSONDecodeError, text: str) -> str:
    at = error.pos
    if (
        text[at : at + 1] == ","
    ):  # From Python 3.13 on, a comma too many is the place; before, what follows it.
        at += 1 + len(text[at + 1 :]) - len(text[at + 1 :].lstrip())
    before, near = text[:at], text[at : at + 1]
    line, column = before.count("\n") + 1, at - before.rfind("\n")
    where = f"Line {line}, character {column}"
    if not text[at:].strip():
        return f"{where}: the JSON ends before it is complete."
    if near in "]}" and before.rstrip().endswith(","):
        return f"{where}: remove the comma before “{near}”."
    if error.msg.startswith("Invalid control character"):
        return f"{where}: a text ends on the line on which it begins; write a line break as \\n."
    if error.msg.startswith("Unterminated string"):
        return f"{where}: this text has no closing quote."
    if "delimiter" in error.msg and near == '"':
        return f"{where}: a comma or a colon is missing before this quote."
    return f"{where}: “{near.strip() or 'a blank'}” cannot stand here."
