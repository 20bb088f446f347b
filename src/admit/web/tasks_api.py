"""/{app}/tasks/…: requests that the operator's own HTTP tasks answer.

Each is asked twice: first whether the request may come in, of which nothing is kept, then to answer it, which
is a run like any other. What it answers is checked as if an enemy had written it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, assert_never
from urllib.parse import parse_qsl

import msgspec
import structlog
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from admit.accounts.apps import App
from admit.errors import Conflict, InvalidRequest, InvalidToken, NotFound, Unauthorized, Unavailable
from admit.gateway import Gateway
from admit.task import wire
from admit.task.declarations import Http
from admit.task.payloads import Caller, Request
from admit.tasks.registry import Task
from admit.tasks.runs import Executed, Runs
from admit.tasks.workshop import Stopped
from admit.web.bearer import Holder, holder_of
from admit.web.errors import MethodNotAllowed, TaskFailed, TaskTimeout
from admit.web.operations import read_body, unquoted
from admit.web.paths import Endpoint

PATTERN = "/{app}/tasks/{path:path}"
QUERY_FIELDS_MAX = 200
KEY_CHARACTERS_MAX = 255
HEADERS_MAX = 64
HEADER_CHARACTERS_MAX = 8_000
RETRY_AFTER_SECONDS = 2
UNDER_WAY_MAX = 256
"""Requests in one process, each with its body: whoever has yet to be let in waits for a place in memory."""
BODILESS = (204, 304)
"""RFC 9110 §6.4.1: what follows their head would be taken for the next answer."""
SANDBOX = "sandbox allow-forms allow-modals allow-popups allow-scripts allow-downloads"
"""Pages that a task makes have no origin, so that no mistake in one reaches what else this origin serves."""

_KEY = re.compile(rf"[!-~]{{1,{KEY_CHARACTERS_MAX}}}")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]{1,64}")
_VALUE = re.compile(rf"[\t\x20-\x7e]{{0,{HEADER_CHARACTERS_MAX}}}")
_OURS = re.compile(
    r"access-control-.*|set-cookie2?|content-length|transfer-encoding|connection|keep-alive|upgrade|trailer|te"
    r"|proxy-.*|date|server|x-request-id|x-run-id"
)
"""Headers that no task sets: those of the connection, of other pages, and of our cookies."""

log = structlog.get_logger("admit.web")


class TaskAnswer(msgspec.Struct, frozen=True):
    """What a task answers, as it comes from its process."""

    status: Annotated[int, msgspec.Meta(ge=200, le=599)]
    headers: Annotated[dict[str, str], msgspec.Meta(max_length=HEADERS_MAX)] = {}
    body: str = ""


class Asked(msgspec.Struct, frozen=True):
    """A request as its task sees it. `uid`: the user whose it is, if it is one's. `problem`: what is wrong
    with the access token that came along, if it is one of ours; a task may take tokens of others."""

    request: Request
    uid: str | None
    problem: InvalidToken | None


def endpoints(gateway: Gateway) -> list[tuple[str, Endpoint]]:
    """The one pattern under which all tasks of all apps lie."""

    under_way = 0

    async def answer(request: HttpRequest) -> Response:
        nonlocal under_way
        if under_way >= UNDER_WAY_MAX:
            raise _later()
        under_way += 1
        try:
            return await _answer(gateway, request)
        finally:
            under_way -= 1

    return [(PATTERN, answer)]


async def _answer(gateway: Gateway, request: HttpRequest) -> Response:
    app = await gateway.directory.app(unquoted(request.path_params["app"]))
    runs = gateway.runs
    there = _tasks_at(gateway, app, "/" + request.path_params["path"])
    if runs is None or not there:
        raise NotFound(f"{app.name} has no task at this address.")
    allow = ", ".join([*dict.fromkeys(verb for _, http in there for verb in http.methods), "OPTIONS"])
    if request.method == "OPTIONS":
        return Response(status_code=204, headers={"Allow": allow})
    task, http = _for_method(there, request.method, allow)
    asked = await _read(gateway, app, request, http)
    await _authenticate(runs, task, asked)
    executed = await runs.execute_now(task, asked.request, key=_key_of(request), uid=asked.uid)
    return _response(executed, task)


def _tasks_at(gateway: Gateway, app: App, path: str) -> list[tuple[Task, Http]]:
    if gateway.registry is None:
        return []
    return [
        (task, trigger)
        for task in gateway.registry.of_app(app.app_id)
        if isinstance(trigger := task.declaration.trigger, Http) and trigger.path == path
    ]


def _for_method(there: Sequence[tuple[Task, Http]], method: str, allow: str) -> tuple[Task, Http]:
    for task, http in there:
        if method in http.methods or (method == "HEAD" and "GET" in http.methods):
            return task, http
    raise MethodNotAllowed(allow)


async def _read(gateway: Gateway, app: App, request: HttpRequest, http: Http) -> Asked:
    holder: Holder | None = None
    problem: InvalidToken | None = None
    try:
        holder = await _holder(gateway, app, request)
    except InvalidToken as error:
        problem = error
    body = await read_body(request, http.body_bytes_max)
    told = Request(
        method="GET" if request.method == "HEAD" else request.method,
        path=http.path,
        query=_query_of(request),
        headers=_headers_of(request),
        body=body,
        address=request.client.host if request.client else "",
        caller=None if holder is None else _caller_of(holder),
    )
    uid = holder.user.uid if holder is not None and holder.user is not None else None
    return Asked(told, uid, problem)


async def _holder(gateway: Gateway, app: App, request: HttpRequest) -> Holder | None:
    """Whose access token came along. Raises InvalidToken where it is good for nothing, or none of ours."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        return None
    holder = await holder_of(gateway, app, token.strip())
    holder.check_welcome()
    return holder


def _caller_of(holder: Holder) -> Caller:
    claims = holder.claims
    return Caller(user_id=claims.sub, scopes=tuple(claims.scopes), session_id=claims.sid or "")


def _query_of(request: HttpRequest) -> tuple[tuple[str, str], ...]:
    try:
        text = request.scope["query_string"].decode("ascii")
        return tuple(
            parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_MAX)
        )
    except ValueError:  # not ASCII, not UTF-8 behind the encoding, too many fields
        raise InvalidRequest("The query cannot be read.") from None


def _headers_of(request: HttpRequest) -> Mapping[str, str]:
    """RFC 9110 §5.3: those that stand more than once are one list. Cookies of this origin are for no task."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        if name == "cookie":
            continue
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _key_of(request: HttpRequest) -> str:
    key = request.headers.get("idempotency-key", "")
    if key and not _KEY.fullmatch(key):
        raise InvalidRequest(
            f"An Idempotency-Key is 1 to {KEY_CHARACTERS_MAX} visible ASCII characters without spaces."
        )
    return key


async def _authenticate(runs: Runs, task: Task, asked: Asked) -> None:
    """Returns where the task says yes to the request. Nothing else lets one in."""
    match result := await runs.authenticate(task, asked.request):
        case wire.Ended():
            return
        case wire.Declined():
            raise asked.problem or Unauthorized("This task did not let the request in.")
        case Stopped(kind="busy" | "broken"):
            raise _later()
        case Stopped(kind="timeout"):
            raise TaskTimeout("The task did not say in time whether the request may come in.")
        case wire.Raised() | Stopped():
            log.warning("task.authenticate_failed", app_id=task.app_id, task=task.declaration.name)
            raise TaskFailed("The task failed before it let the request in.")
        case _:
            assert_never(result)


def _response(executed: Executed, task: Task) -> Response:
    run_id = executed.run_id
    match executed.outcome:
        case "ok":
            return _told(executed, task)
        case "timeout":
            raise TaskTimeout(f"The task took too long and was ended. Its run is {run_id}.")
        case "busy" | "broken" | "paused":
            raise _later()
        case "conflict":
            raise Conflict(f"What the task wanted to change has changed meanwhile. Its run is {run_id}.")
        case "under_way":
            raise Conflict("A request with this Idempotency-Key is being answered.", code="run_under_way")
        case "key_reused":
            raise Conflict(
                "This Idempotency-Key came with another request before.", code="idempotency_key_reused"
            )
        case _:
            raise _failed(run_id)


def _told(executed: Executed, task: Task) -> Response:
    """What the task answers. Raises TaskFailed for what is no answer."""
    try:
        answer = msgspec.json.decode(executed.result, type=TaskAnswer)
        body = b"" if answer.status in BODILESS else answer.body.encode()
    except (msgspec.MsgspecError, UnicodeError):
        log.warning("task.unreadable_answer", app_id=task.app_id, run_id=executed.run_id)
        raise _failed(executed.run_id) from None
    headers = {name.lower(): value for name, value in answer.headers.items()}
    kept = {name: value for name, value in headers.items() if _may_tell(name, value)}
    response = Response(body, answer.status, headers=kept)
    response.raw_headers.append((b"content-security-policy", SANDBOX.encode()))
    response.raw_headers.append((b"x-run-id", executed.run_id.encode()))
    return response


def _may_tell(name: str, value: str) -> bool:
    return (
        _NAME.fullmatch(name) is not None
        and _VALUE.fullmatch(value) is not None
        and _OURS.fullmatch(name) is None
    )


def _failed(run_id: str) -> TaskFailed:
    return TaskFailed(f"The task failed. Its run is {run_id}.")


def _later() -> Unavailable:
    return Unavailable("The task cannot run just now. Try again.", retry_after_seconds=RETRY_AFTER_SECONDS)
