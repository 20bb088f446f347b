"""What an HTTP task answers, and how it travels. Checked where it is made."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

BODY_BYTES_MAX = 1_000_000
HEADERS_MAX = 64
HEADER_CHARACTERS_MAX = 8_000
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
JSON = "application/json"


class BadRequest(ValueError):
    """Raised in an HTTP task: the request is answered 400 with the sentence, and nothing else comes of it."""


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """An answer: what leaves the process is this, in JSON. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str] = {}
    body: str = ""


def response(
    status: int = 200,
    *,
    json: object = msgspec.UNSET,
    text: str | None = None,
    html: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer of an HTTP task: with a status from 200 to 599, and JSON, plain text, HTML or nothing.

    Raises ValueError.
    """
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise ValueError(f"A status is a number from 200 to 599, not {status!r}.")
    if sum(each is not None for each in (text, html)) + (json is not msgspec.UNSET) > 1:
        raise ValueError("A response has json, text or html, and only one of them.")
    told = _headers(headers or {})
    body = ""
    if json is not msgspec.UNSET:
        told.setdefault("content-type", JSON)
        body = _json(json)
    elif text is not None:
        told.setdefault("content-type", "text/plain; charset=utf-8")
        body = text
    elif html is not None:
        told.setdefault("content-type", "text/html; charset=utf-8")
        body = html
    if len(body.encode()) > BODY_BYTES_MAX:
        raise ValueError(f"The body has more than {BODY_BYTES_MAX} bytes.")
    return Response(status=status, headers=told, body=body)


def response_of(returned: Any) -> Response:
    """The answer that is meant by what a task returned: None is 204, a text is text, all else is JSON.

    Raises ValueError for what cannot be written as JSON.
    """
    match returned:
        case Response():
            return returned
        case None:
            return Response(status=204)
        case str():
            return response(text=returned)
        case _:
            return response(json=returned)


def refusal_of(error: BadRequest) -> Response:
    """The answer 400 that says what was wrong with the request."""
    return response(400, json={"code": "invalid_request", "message": str(error)})


def _json(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"The answer cannot be written as JSON: {error}") from None


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    if len(headers) > HEADERS_MAX:
        raise ValueError(f"A response has at most {HEADERS_MAX} headers.")
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header.")
        if not isinstance(value, str) or not _VALUE.fullmatch(value) or len(value) > HEADER_CHARACTERS_MAX:
            raise ValueError(f"The value of {name} is not one line of ASCII text.")
    return {name.lower(): value for name, value in headers.items()}
