"""The HTTP application: what all doors share, and the list of the doors."""

import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from urllib.parse import quote

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from admit import clock
from admit.config import Network
from admit.errors import AdmitError, NotFound
from admit.gateway import Gateway
from admit.web import (
    admin_api,
    admin_people_api,
    admin_policy_api,
    admin_tokens_api,
    data_api,
    health,
    inbox,
    openapi,
    proxies,
    token_api,
    token_readers_api,
    users_api,
)
from admit.web.changes import Hub
from admit.web.cors import Cors
from admit.web.errors import MethodNotAllowed, answer_for, status_of
from admit.web.operations import Call, ClientGone, Operation

CLIENT_GONE = 499
"""The status in our log when nobody waited for an answer; nginx uses the same."""

_TOLD: tuple[Operation, ...] = (
    *token_api.OPERATIONS,
    *token_readers_api.OPERATIONS,
    *data_api.OPERATIONS,
    *users_api.OPERATIONS,
    *admin_api.OPERATIONS,
    *admin_policy_api.OPERATIONS,
    *admin_people_api.OPERATIONS,
    *admin_tokens_api.OPERATIONS,
    *health.OPERATIONS,
)
OPERATIONS = (*_TOLD, openapi.operation_for(_TOLD))
"""Every operation there is. OpenAPI tells all of them."""

log = structlog.get_logger("admit.web")

_SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"cross-origin"),
)
_NO_STORE = (b"cache-control", b"no-store")


def create_app(gateway: Gateway) -> "Application":
    """The application around an open gateway, which it neither opens nor closes."""
    return Application(gateway)


class Application:
    """All doors of one gateway. `hub`: the open sockets; `router`: the way to everything else."""

    def __init__(self, gateway: Gateway) -> None:
        self.hub = Hub(gateway)
        self.router = Router(
            [
                *_routes(OPERATIONS, gateway),
                *inbox.routes(gateway),
                WebSocketRoute("/{app}/changes", self.hub.serve),
            ],
            redirect_slashes=False,
            default=_nothing_here,
            lifespan=self._live,
        )
        self._front = Front(Cors(Guard(self.router), gateway.directory.app), gateway.settings.trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._front(scope, receive, send)

    @contextlib.asynccontextmanager
    async def _live(self, _app: object) -> AsyncIterator[None]:
        yield
        await self.hub.close()


class Front:
    """What comes before everything else: whose request it is, its id, its line in the log, safe headers."""

    def __init__(self, inner: ASGIApp, trusted: tuple[Network, ...]) -> None:
        self._inner = inner
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._inner(scope, receive, send)
            return
        scope["path"] = _plain_path(scope)
        _believe_proxies(scope, self._trusted)
        request_id = clock.new_id("req")
        structlog.contextvars.bind_contextvars(request_id=request_id)
        if scope["type"] == "websocket":
            # The query carries the access token, and servers log the address of a socket that they accept.
            scope["hidden_query"], scope["query_string"] = scope["query_string"], b""
            await self._inner(scope, receive, send)
            return
        status = CLIENT_GONE
        started = time.perf_counter()

        async def send_safely(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*_safe(message["headers"]), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._inner(scope, receive, send_safely)
        finally:
            _log_outcome(scope, status, started)


class Guard:
    """Turns what goes wrong inside into an answer."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        begun = False

        async def send_noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._inner(scope, receive, send_noting)
        except ClientGone:
            return
        except Exception as error:
            known = error if isinstance(error, AdmitError) else AdmitError("Internal error")
            if status_of(known) == 500:
                log.error("request.failed", route=_route_of(scope), exc_info=error)
            if not begun:
                scope["code"] = known.code
                await answer_for(known)(scope, receive, send)


class _Path:
    """One path and the operations on it, by method."""

    def __init__(self, gateway: Gateway, operations: Mapping[str, Operation]) -> None:
        self._gateway = gateway
        self._operations = operations
        self._allow = ", ".join([*operations, "OPTIONS"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        response: Response
        if operation := self._operations.get(method):
            request = Request(scope, receive)
            response = await operation.handler(Call(self._gateway, operation, request))
        elif method == "OPTIONS":
            response = Response(status_code=204, headers={"Allow": self._allow})
        else:
            raise MethodNotAllowed(self._allow)
        await response(scope, receive, send)


def _routes(operations: Iterable[Operation], gateway: Gateway) -> list[BaseRoute]:
    paths: defaultdict[str, dict[str, Operation]] = defaultdict(dict)
    for operation in operations:
        assert operation.method not in paths[operation.path], f"{operation.path} is told twice"
        paths[operation.path][operation.method] = operation
    return [Route(path, _Path(gateway, by_method)) for path, by_method in paths.items()]


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
        return
    raise NotFound("There is nothing at this address. Every address is listed in /openapi.json.")


def _plain_path(scope: Scope) -> str:
    """The path with single slashes, still encoded: an id that contains `%2F` stays one part of it.

    The addon asks for `//changes` where its database URL ends in a slash.
    """
    raw = scope.get("raw_path")
    path = raw.decode("latin-1") if raw is not None else quote(scope["path"])
    while "//" in path:
        path = path.replace("//", "/")
    return path if path.startswith("/") else "/" + path


def _believe_proxies(scope: Scope, trusted: tuple[Network, ...]) -> None:
    peer = scope["client"]
    scope["peer"] = peer[0] if peer else ""
    if not trusted or not peer:
        return
    forwarded_for = [v.decode("latin-1") for k, v in scope["headers"] if k == b"x-forwarded-for"]
    forwarded_proto = [v.decode("latin-1") for k, v in scope["headers"] if k == b"x-forwarded-proto"]
    scope["client"] = (proxies.client_address(peer[0], forwarded_for, trusted), 0)
    scope["scheme"] = proxies.client_scheme(peer[0], scope["scheme"], forwarded_proto, trusted)


def _safe(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    given = list(headers)
    names = {name.lower() for name, _ in given}
    return [*given, *(each for each in (*_SECURITY_HEADERS, _NO_STORE) if each[0] not in names)]


def _route_of(scope: Scope) -> str:
    """The pattern of the path: unlike the path itself it holds no userId."""
    route = scope.get("route")
    return route.path if isinstance(route, (Route, WebSocketRoute)) else ""


def _log_outcome(scope: Scope, status: int, started: float) -> None:
    level = log.error if status >= 500 else log.debug if _route_of(scope) in health.PATHS else log.info
    level(
        "request",
        method=scope["method"],
        route=_route_of(scope),
        app=scope.get("path_params", {}).get("app", ""),
        status=status,
        code=scope.get("code", ""),
        address=scope["client"][0] if scope["client"] else "",
        duration_ms=round((time.perf_counter() - started) * 1000, 1),
    )
