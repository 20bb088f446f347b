"""The HTTP application: what all doors share, and the list of the doors."""

import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from urllib.parse import quote

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router, WebSocketRoute
from starlette.types import Receive, Scope, Send

from admit import clock
from admit.config import Network
from admit.errors import AdmitError, NotFound
from admit.gateway import Gateway
from admit.web import (
    admin_addresses_api,
    admin_admissions_api,
    admin_api,
    admin_identities_api,
    admin_import_api,
    admin_lines_api,
    admin_mail_api,
    admin_models_api,
    admin_notices_api,
    admin_people_api,
    admin_policy_api,
    admin_policy_tests_api,
    admin_providers_api,
    admin_rehearsals_api,
    admin_runs_api,
    admin_seats_api,
    admin_settings_api,
    admin_simulation_api,
    admin_tables_api,
    admin_task_env_api,
    admin_tasks_api,
    admin_tokens_api,
    campaigns_api,
    changes_api,
    clearing_api,
    cors,
    deliveries_api,
    devices_api,
    endpoint_figures_api,
    endpoints_api,
    enrollment_tokens_api,
    erasure_api,
    event_types_api,
    events_api,
    health,
    inbox,
    managing_api,
    not_built_api,
    oauth_api,
    objects_api,
    openapi,
    operators_api,
    overview_api,
    proxies,
    rows_api,
    schemas_api,
    session_api,
    sessions_api,
    sessions_changes_api,
    sync_api,
    tasks_api,
    templates_api,
    timeline_api,
    token_api,
    token_readers_api,
    transfer_api,
    users_api,
    webhook_keys_api,
)
from admit.web.audit import Audit
from admit.web.changes import Hub
from admit.web.errors import MethodNotAllowed, answer_for, status_of
from admit.web.hosts import Hosts
from admit.web.large_bodies import LargeBodies
from admit.web.manager import doors as manager
from admit.web.operations import Call, ClientGone, Operation
from admit.web.paths import Endpoint, Paths

NOT_BUILT = 501
CLIENT_GONE = 499
"""The status in our log when nobody waited for an answer; nginx uses the same."""

_TOLD: tuple[Operation, ...] = (
    *token_api.OPERATIONS,
    *token_readers_api.OPERATIONS,
    *oauth_api.OPERATIONS,
    *session_api.OPERATIONS,
    *sync_api.OPERATIONS,
    *users_api.OPERATIONS,
    *managing_api.OPERATIONS,
    *templates_api.OPERATIONS,
    *transfer_api.OPERATIONS,
    *clearing_api.OPERATIONS,
    *rows_api.OPERATIONS,
    *not_built_api.OPERATIONS,
    *admin_api.OPERATIONS,
    *admin_addresses_api.OPERATIONS,
    *admin_policy_api.OPERATIONS,
    *admin_policy_tests_api.OPERATIONS,
    *admin_admissions_api.OPERATIONS,
    *admin_simulation_api.OPERATIONS,
    *admin_providers_api.OPERATIONS,
    *admin_seats_api.OPERATIONS,
    *admin_settings_api.OPERATIONS,
    *admin_people_api.OPERATIONS,
    *timeline_api.OPERATIONS,
    *erasure_api.OPERATIONS,
    *admin_identities_api.OPERATIONS,
    *admin_import_api.OPERATIONS,
    *enrollment_tokens_api.OPERATIONS,
    *sessions_api.OPERATIONS,
    *sessions_changes_api.OPERATIONS,
    *objects_api.OPERATIONS,
    *devices_api.OPERATIONS,
    *admin_tokens_api.OPERATIONS,
    *changes_api.OPERATIONS,
    *operators_api.OPERATIONS,
    *overview_api.OPERATIONS,
    *admin_mail_api.OPERATIONS,
    *admin_notices_api.OPERATIONS,
    *schemas_api.OPERATIONS,
    *endpoints_api.OPERATIONS,
    *endpoint_figures_api.OPERATIONS,
    *webhook_keys_api.OPERATIONS,
    *deliveries_api.OPERATIONS,
    *campaigns_api.OPERATIONS,
    *events_api.OPERATIONS,
    *event_types_api.OPERATIONS,
    *admin_tables_api.OPERATIONS,
    *admin_tasks_api.OPERATIONS,
    *admin_task_env_api.OPERATIONS,
    *admin_models_api.OPERATIONS,
    *admin_runs_api.OPERATIONS,
    *admin_rehearsals_api.OPERATIONS,
    *admin_lines_api.OPERATIONS,
    *health.OPERATIONS,
)
OPERATIONS = (*_TOLD, openapi.operation_for(_TOLD))
"""Every operation there is. OpenAPI tells all of them."""

log = structlog.get_logger("admit.web")

_SAFE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"cache-control", b"no-store"),
)
"""What every answer says that does not say otherwise."""


def create_app(gateway: Gateway) -> "Application":
    """The application around an open gateway, which it neither opens nor closes."""
    return Application(gateway)


class Application:
    """All doors of one gateway. `hub`: the open sockets; `paths`: the way to everything else."""

    def __init__(self, gateway: Gateway) -> None:
        self.hub = Hub(gateway)
        audit = Audit(gateway, OPERATIONS)
        self.paths = Paths(
            [
                *_endpoints(OPERATIONS, gateway, audit),
                *inbox.endpoints(gateway),
                *manager.endpoints(gateway, OPERATIONS, audit),
                *tasks_api.endpoints(gateway),
            ]
        )
        self._sockets = Router(
            [WebSocketRoute("/{app}/changes", self.hub.serve)],
            redirect_slashes=False,
            default=_no_socket_here,
            lifespan=self._live,
        )
        self._find_app = gateway.directory.app
        self._hosts = Hosts(gateway.directory, gateway.settings)
        self._trusted = gateway.settings.trusted_proxies
        self._large_bodies = LargeBodies()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._respond(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._connect(scope, receive, send)
        else:
            await self._sockets(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = self._receive(scope)
        started = time.perf_counter()
        status = CLIENT_GONE
        try:
            response = await self._answer(scope, receive)
            response.raw_headers.append((b"x-request-id", request_id.encode()))
            status = response.status_code
            await response(scope, receive, send)
        except ClientGone:
            return
        except Exception as error:  # the answer has begun and breaks off
            log.error("request.failed", route=_route_of(scope), exc_info=error)
        finally:
            _log_outcome(scope, status, started)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        """The answer, with the headers that every answer has. What goes wrong inside is answered, too."""
        marks: cors.Headers = []
        self._large_bodies.receive(scope)
        try:
            scope["path"] = await self._hosts.path_of(scope)
            marks = await cors.marks_for(scope, self._find_app)
            if cors.is_preflight(scope):
                response = cors.preflight_answer(marks)
            else:
                response = await self._endpoint(scope)(Request(scope, receive))
        except ClientGone:
            raise
        except Exception as error:
            response = _told(error, scope)
        finally:
            self._large_bodies.leave(scope)
        present = {name for name, _ in response.raw_headers}
        response.raw_headers += [each for each in _SAFE_HEADERS if each[0] not in present]
        response.raw_headers += [each for each in marks if each[0] not in present]
        return response

    def _endpoint(self, scope: Scope) -> Endpoint:
        place = self.paths.find(scope["path"])
        if place is None:
            raise NotFound("There is nothing at this address. Every address is listed in /openapi.json.")
        scope["pattern"], scope["path_params"] = place.pattern, place.params
        return place.endpoint

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive(scope)
        # The query carries the access token, and servers log the address of a socket that they accept.
        scope["hidden_query"], scope["query_string"] = scope["query_string"], b""
        scope["path"] = await self._hosts.path_of(scope)
        await self._sockets(scope, receive, send)

    def _receive(self, scope: Scope) -> str:
        """Sees whose request it is and gives it an id, which all of its lines in the log carry."""
        scope["path"] = _plain_path(scope)
        _believe_proxies(scope, self._trusted)
        request_id = clock.new_id("req")
        structlog.contextvars.bind_contextvars(request_id=request_id)
        return request_id

    @contextlib.asynccontextmanager
    async def _live(self, _app: object) -> AsyncIterator[None]:
        yield
        await self.hub.close()


class _Path:
    """One path and the operations on it, by method."""

    def __init__(self, gateway: Gateway, operations: Mapping[str, Operation], audit: Audit) -> None:
        self._gateway = gateway
        self._audit = audit
        self._operations = operations
        self._allow = ", ".join([*operations, "OPTIONS"])

    async def __call__(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        if operation := self._operations.get(method):
            return await self._audit.perform(Call(self._gateway, operation, request))
        if method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": self._allow})
        raise MethodNotAllowed(self._allow)


def _endpoints(operations: Iterable[Operation], gateway: Gateway, audit: Audit) -> list[tuple[str, Endpoint]]:
    paths: defaultdict[str, dict[str, Operation]] = defaultdict(dict)
    for operation in operations:
        assert operation.method not in paths[operation.path], f"{operation.path} is told twice"
        paths[operation.path][operation.method] = operation
    return [(path, _Path(gateway, by_method, audit)) for path, by_method in paths.items()]


def _told(error: Exception, scope: Scope) -> Response:
    known = error if isinstance(error, AdmitError) else AdmitError("Internal error")
    if status_of(known) == 500:
        log.error("request.failed", route=_route_of(scope), exc_info=error)
    scope["code"] = known.code
    return answer_for(known)


async def _no_socket_here(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "websocket.close", "code": 1000})


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


def _route_of(scope: Scope) -> str:
    """The pattern of the path: unlike the path itself it holds no userId."""
    pattern: str = scope.get("pattern", "")
    return pattern


def _log_outcome(scope: Scope, status: int, started: float) -> None:
    failed = status >= 500 and status != NOT_BUILT
    level = log.error if failed else log.debug if _route_of(scope) in health.PATHS else log.info
    level(
        "request",
        method=scope["method"],
        route=_route_of(scope),
        app=scope.get("path_params", {}).get("app", ""),
        status=int(status),
        code=scope.get("code", ""),
        address=scope["client"][0] if scope["client"] else "",
        duration_ms=round((time.perf_counter() - started) * 1000, 1),
    )
