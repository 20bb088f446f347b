"""The admin API as commands see it, and the way to it over HTTP. The way without a network: in_process.py."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar
from urllib.parse import SplitResult, quote, urlencode, urlsplit

import msgspec

from admit.errors import AdmitError, ConfigError

TIMEOUT_SECONDS = 60.0
REPLY_BYTES_MAX = 64_000_000
UNAUTHORIZED = 401

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


class Connection(Protocol):
    """One way to the admin API."""

    where: str
    """What answers, for sentences."""
    if_unknown: str
    """What to do when it does not know our token, in a sentence."""
    alone: bool
    """Whether nothing can happen there while we are at it, because nobody else can."""

    def send(self, method: str, target: str, body: bytes) -> Answer: ...

    def close(self) -> None: ...


class CannotReach(AdmitError):
    """Nothing answers there, or not what was expected."""

    code = "cannot_reach"


class Rejection(AdmitError):
    """The admin API said no: `status` of HTTP, `code` and `message` of the body."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message, code=code)
        self.status = status


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every error of the admin API."""

    code: str
    message: str


class Api:
    """The admin API, wherever it is."""

    def __init__(self, connection: Connection, news: str = "") -> None:
        self._connection = connection
        self.news = news
        """What was made on the way here and deserves a sentence; else empty."""
        self.alone = connection.alone

    def call(self, method: str, target: str, body: msgspec.Struct | None, reply_type: type[T]) -> T:
        """Sends one request and returns its answer. Raises Rejection and CannotReach."""
        sent = b"" if body is None else msgspec.json.encode(body)
        answer = self._connection.send(method, "/api/" + target, sent)
        if not 200 <= answer.status < 300:
            raise _rejection(answer, self._connection)
        if not answer.body and reply_type is type(None):
            return None
        try:
            return msgspec.json.decode(answer.body, type=reply_type)
        except msgspec.MsgspecError as error:
            raise CannotReach(_stranger(self._connection.where)) from error

    def close(self) -> None:
        self._connection.close()


def target(*segments: str, **query: str | int | None) -> str:
    """The part of an address behind /api/: `segments` quoted, and the `query` values that are not None."""
    path = "/".join(quote(segment, safe="") for segment in segments)
    given = urlencode({name: value for name, value in query.items() if value is not None})
    return f"{path}?{given}" if given else path


class HttpConnection:
    """A server at `url`. Follows no redirect, so that the token goes where it was meant to go."""

    alone = False

    def __init__(self, url: str, token: Callable[[], str], *, if_unknown: str) -> None:
        parts = _address(url)
        self.if_unknown = if_unknown
        self.where = f"the server at {parts.scheme}://{parts.netloc}"
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port
        self._base = parts.path.rstrip("/")
        self._token = token

    @property
    def is_overheard(self) -> bool:
        """True when the token leaves this machine unencrypted."""
        from admit.config import is_loopback

        return not (self._secure or is_loopback(self._host))

    def send(self, method: str, target: str, body: bytes) -> Answer:
        import http.client

        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, self._base + target, body or None, _headers(self._token(), body))
            reply = connection.getresponse()
            content = reply.read(REPLY_BYTES_MAX + 1)
        except OSError as error:
            raise CannotReach(f"Cannot reach {self.where}: {_cause(error)}.") from error
        except http.client.HTTPException as error:
            raise CannotReach(_stranger(self.where)) from error
        finally:
            connection.close()
        if len(content) > REPLY_BYTES_MAX:
            raise CannotReach(_stranger(self.where))
        return Answer(reply.status, content)

    def close(self) -> None:
        """Every request has its own connection."""


def _address(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and "@" not in url and parts.port != 0:
            return parts
    except ValueError:
        pass
    # Not the address itself: it may hold a password.
    raise ConfigError("ADMIT_URL is not the address of a server. Example: https://login.example.com")


def _headers(token: str, body: bytes) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", "User-Agent": "admit"}
    return headers | {"Content-Type": "application/json"} if body else headers


def _rejection(answer: Answer, connection: Connection) -> AdmitError:
    try:
        body = msgspec.json.decode(answer.body, type=ErrorBody)
    except msgspec.MsgspecError:
        return CannotReach(_stranger(connection.where) + f" Its status was {answer.status}.")
    if answer.status == UNAUTHORIZED:
        return Rejection(answer.status, body.code, connection.if_unknown)
    return Rejection(answer.status, body.code, body.message)


def _stranger(where: str) -> str:
    return f"{where[0].upper()}{where[1:]} does not answer as Admit does. Check its address."


def _cause(error: OSError) -> str:
    return error.strerror or os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
