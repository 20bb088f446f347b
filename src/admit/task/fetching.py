"""Requests of a task to the outside. The server sends them, under its rules for where bytes may go."""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict, Unpack

import msgspec

from admit.task.headers import Headers
from admit.task.stage import Stage
from admit.task.wire import Fetch, Fetched

TIMEOUT_SECONDS = 10.0
TIMEOUT_SECONDS_MAX = 300.0
BODY_BYTES_MAX = 5_000_000
URL_CHARACTERS_MAX = 8_000
KEY_CHARACTERS_MAX = 200
IDEMPOTENCY_KEY = "idempotency-key"

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class HttpError(RuntimeError):
    """A reply whose status says that the request failed: see `Reply.raise_for_status`."""

    def __init__(self, message: str, reply: "Reply") -> None:
        super().__init__(message)
        self.reply = reply


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered. Headers are found in any case. `truncated`: the body goes on, and was cut."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    truncated: bool = False

    @property
    def ok(self) -> bool:
        """Whether the status is from 200 to 299."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The body, read as UTF-8."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body, read as JSON. Raises ValueError."""
        return msgspec.json.decode(self.content)

    def raise_for_status(self) -> "Reply":
        """Itself, where it is ok. Raises HttpError, so that the run fails and is tried again."""
        if not self.ok:
            raise HttpError(f"The answer was {self.status}: {self.text[:200]!r}", self)
        return self


class Sending(TypedDict, total=False):
    """What can be said of a request."""

    json: object
    data: str | bytes | Mapping[str, object] | None
    headers: Mapping[str, str] | None
    timeout: float
    key: str


class Http:
    """Requests to the outside, one at a time. Redirects are not followed.

    Each request carries an Idempotency-Key that is the same at every attempt of the run: the run's id with
    `key`, or with the number of the request, so that whoever honours it does nothing twice. `json` is
    written as JSON, `data` is a text, bytes, or a mapping that becomes a form. `timeout` in seconds.

    Raises NotAnswered where nothing is answered, or the address is one that tasks may not reach; ValueError
    for what no request can be.
    """

    __slots__ = ("_number", "_run_key", "_stage")

    def __init__(self, stage: Stage, run_key: str) -> None:
        self._stage = stage
        self._run_key = run_key
        self._number = 0

    def get(
        self,
        url: str,
        *,
        params: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT_SECONDS,
        key: str = "",
    ) -> Reply:
        """Asks for `url`, with `params` in its query."""
        return self.request("GET", _with_query(url, params), headers=headers, timeout=timeout, key=key)

    def post(self, url: str, **options: Unpack[Sending]) -> Reply:
        """Posts to `url`. The options are those of `request`."""
        return self.request("POST", url, **options)

    def put(self, url: str, **options: Unpack[Sending]) -> Reply:
        """Puts to `url`. The options are those of `request`."""
        return self.request("PUT", url, **options)

    def patch(self, url: str, **options: Unpack[Sending]) -> Reply:
        """Patches `url`. The options are those of `request`."""
        return self.request("PATCH", url, **options)

    def delete(self, url: str, **options: Unpack[Sending]) -> Reply:
        """Deletes `url`. The options are those of `request`."""
        return self.request("DELETE", url, **options)

    def request(
        self,
        method: Method,
        url: str,
        *,
        json: object = msgspec.UNSET,
        data: str | bytes | Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT_SECONDS,
        key: str = "",
    ) -> Reply:
        """Sends one request and returns what was answered, whatever its status."""
        self._number += 1
        if len(url) > URL_CHARACTERS_MAX:
            raise ValueError(f"A URL has at most {URL_CHARACTERS_MAX} characters.")
        if not 0 < timeout <= TIMEOUT_SECONDS_MAX:
            raise ValueError(
                f"timeout is a number of seconds, more than 0 and at most {TIMEOUT_SECONDS_MAX:g}."
            )
        if len(key) > KEY_CHARACTERS_MAX or not key.isascii() or (key and not key.isprintable()):
            raise ValueError(f"A key has at most {KEY_CHARACTERS_MAX} printable ASCII characters.")
        told = {name.lower(): str(value) for name, value in (headers or {}).items()}
        told.setdefault(IDEMPOTENCY_KEY, f"{self._run_key}.{key or self._number}")
        body = _body(json, data, told)
        if len(body) > BODY_BYTES_MAX:
            raise ValueError(f"The body has {len(body)} bytes; {BODY_BYTES_MAX} are allowed.")
        fetch = Fetch(method=method, url=url, headers=told, body=body, timeout_seconds=float(timeout))
        found: Fetched = msgspec.convert(self._stage.ask(fetch), Fetched)
        return Reply(
            status=found.status,
            headers=Headers(found.headers),
            content=found.body,
            truncated=found.truncated,
        )


def _body(json: object, data: str | bytes | Mapping[str, object] | None, headers: dict[str, str]) -> bytes:
    """The bytes to send; `headers` gains their type where the task does not say it."""
    if json is not msgspec.UNSET:
        if data is not None:
            raise ValueError("A request has json or data, not both.")
        headers.setdefault("content-type", "application/json")
        return msgspec.json.encode(json)
    match data:
        case None:
            return b""
        case bytes():
            headers.setdefault("content-type", "application/octet-stream")
            return data
        case str():
            headers.setdefault("content-type", "text/plain; charset=utf-8")
            return data.encode()
        case _:
            from urllib.parse import urlencode

            headers.setdefault("content-type", "application/x-www-form-urlencoded")
            return urlencode(data, doseq=True).encode()


def _with_query(url: str, params: Mapping[str, object] | None) -> str:
    if not params:
        return url
    from urllib.parse import urlencode

    before, hash_, fragment = url.partition("#")
    return before + ("&" if "?" in before else "?") + urlencode(params, doseq=True) + hash_ + fragment
