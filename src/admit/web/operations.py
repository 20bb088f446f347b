"""An operation: one method on one path, told once for the router, for its handler and for OpenAPI."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qsl, unquote

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from admit.accounts.apps import App
from admit.errors import InvalidRequest, TooLarge
from admit.gateway import Gateway
from admit.operators.tokens import OperatorToken
from admit.outbound.deadline import Deadline
from admit.web.errors import BodyTooSlow
from admit.web.large_bodies import take_place

BODY_BYTES_MAX = 1_000_000
BODY_SECONDS_MAX = 10.0
QUERY_FIELDS_MAX = 50
PROBLEM_CHARACTERS_MAX = 300

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

T = TypeVar("T")
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class ClientGone(Exception):
    """The client hung up before its request was complete. Nobody is left to answer."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method on one path. `body`, `query` and `answer` are the types that the handler reads and gives."""

    method: Method
    path: str
    handler: "Handler"
    summary: str
    access: Literal["open", "person_or_open", "person", "operator", "operator_or_client"]
    """open: no token, or the body proves who asks. person: an access token. operator: an operator token.
    operator_or_client: that, or HTTP Basic with it or with the secret of an API client."""
    scopes: tuple[str, ...] = ()
    query: Any = None
    body: Any = None
    body_media_types: tuple[str, ...] = ("application/json",)
    body_bytes_max: int = BODY_BYTES_MAX
    status: int = 200
    answer: Any = None
    """The type of the answer's body; None: it has none."""
    codes: tuple[str, ...] = ()
    """The error codes that are particular to it."""


class Call:
    """One request, as the handler of its operation sees it."""

    def __init__(
        self,
        gateway: Gateway,
        operation: Operation,
        request: Request,
        *,
        operator: OperatorToken | None = None,
    ) -> None:
        self.gateway = gateway
        self.operation = operation
        self.request = request
        self.operator = operator
        """Who calls, where that is known: the operator of a page. None: the request says who calls."""

    @property
    def address(self) -> str:
        """The client's address behind the trusted proxies; "" when it is unknown."""
        return self.request.client.host if self.request.client else ""

    async def app(self) -> App:
        """The app that the path names. Raises NotFound."""
        return await self.gateway.directory.app(self.param("app"))

    def param(self, name: str) -> str:
        """A part of the path, decoded. Paths stay encoded until here, so that `a%2Fb` is one part."""
        return unquoted(self.request.path_params[name])

    def header(self, name: str) -> str | None:
        """A header that may stand once at most."""
        values = self.request.headers.getlist(name)
        if len(values) > 1:
            raise InvalidRequest(f"The header {name} stands more than once.")
        return values[0] if values else None

    def query(self, kind: type[T]) -> T:
        """The query as `kind`. Raises InvalidRequest with a sentence."""
        assert kind == self.operation.query, "the operation tells another query than its handler reads"
        return read_query(self.request, kind)

    def fields(self) -> dict[str, str]:
        """All that the query says, by name, also what the operation does not tell. Raises InvalidRequest."""
        return query_fields(self.request)

    async def json(self, kind: type[T], *, bytes_max: int | None = None) -> T:
        """The body as `kind`. Raises InvalidRequest with a sentence, and TooLarge while it arrives.

        `bytes_max` narrows what the operation allows, such as for strangers.
        """
        assert kind == self.operation.body, "the operation tells another body than its handler reads"
        return decode(await read_body(self.request, bytes_max or self.operation.body_bytes_max), kind)

    def answer(self, value: object, *, headers: Mapping[str, str] | None = None) -> Response:
        """The answer that the operation tells."""
        return Response(
            msgspec.json.encode(value),
            self.operation.status,
            media_type="application/json",
            headers=dict(headers) if headers else None,
        )

    def done(self) -> Response:
        """The answer that says no more than that it is done."""
        return Response(status_code=204)


Handler = Callable[[Call], Awaitable[Response]]


async def read_body(request: Request, bytes_max: int) -> bytes:
    """The whole body. Raises TooLarge as soon as it is, Unavailable, BodyTooSlow, and ClientGone."""
    length = request.headers.get("content-length", "")
    announced = int(length[:12]) if length.isascii() and length.isdigit() else bytes_max
    if announced > bytes_max:
        raise _too_large(bytes_max)
    await take_place(request.scope, announced)
    chunks: list[bytes] = []
    size = 0
    try:
        with Deadline(asyncio.get_running_loop(), BODY_SECONDS_MAX):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > bytes_max:
                    raise _too_large(bytes_max)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
    except TimeoutError:
        raise BodyTooSlow(f"The body did not arrive within {BODY_SECONDS_MAX:g} s.") from None


def _too_large(bytes_max: int) -> TooLarge:
    return TooLarge(f"The body is larger than {bytes_max} bytes.")


def decode(body: bytes, kind: type[T]) -> T:
    """Reads JSON strictly. Raises InvalidRequest that says where it went wrong and repeats no values."""
    refuse_nul(body)
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(_sentence("The body is not as it should be", error)) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(_sentence("The body is not JSON", error)) from None
    except UnicodeDecodeError:
        raise InvalidRequest("The body is not UTF-8.") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None


def refuse_nul(body: bytes) -> None:
    """PostgreSQL keeps no NUL in a text, and nobody has one in a name. Raises InvalidRequest."""
    if b"\\u0000" in body and _NUL.search(body):
        raise InvalidRequest("The body holds the character U+0000.")


def read_query(request: Request, kind: type[T]) -> T:
    """The query as `kind`; a name without a value is the empty text. Raises InvalidRequest."""
    try:
        return msgspec.convert(query_fields(request), kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(_sentence("The query is not as it should be", error)) from None


def query_fields(request: Request) -> dict[str, str]:
    """The query by name, each of which may stand once. Raises InvalidRequest."""
    try:
        pairs = parse_qsl(
            request.scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            strict_parsing=False,
            errors="strict",
            max_num_fields=QUERY_FIELDS_MAX,
        )
        fields = dict(pairs)
        if len(fields) < len(pairs):
            raise InvalidRequest("A name stands twice in the query.")
        if any("\0" in value for value in fields.values()):
            raise InvalidRequest("The query holds the character U+0000.")
        return fields
    except ValueError:  # not ASCII, not UTF-8 behind the encoding, too many fields
        raise InvalidRequest("The query cannot be read.") from None


def unquoted(part: str) -> str:
    """A part of a path, decoded. Raises InvalidRequest."""
    try:
        text = unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise InvalidRequest("The path is not UTF-8.") from None
    if "\0" in text:
        raise InvalidRequest("The path holds the character U+0000.")
    return text


def _sentence(start: str, error: Exception) -> str:
    return f"{start}: {error}"[:PROBLEM_CHARACTERS_MAX]
