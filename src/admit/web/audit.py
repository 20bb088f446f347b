"""Performs operations, and writes down what operators change: what they asked before it is done, and then how
it came out. Reading is not written down, nor what API clients and the people of apps do. Why and how:
docs/decisions/0054-changes-by-operators.md.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, get_origin
from urllib.parse import quote

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from admit import clock
from admit.errors import AdmitError, NotFound
from admit.gateway import Gateway
from admit.operators import changes
from admit.operators.changes import Begun, Ended, WhoKind
from admit.operators.roles import SCOPES
from admit.operators.tokens import COMMAND_ID, OperatorToken
from admit.web import change_contents, operator_access, sessions_access
from admit.web.errors import INTERNAL, status_of
from admit.web.operations import Call, Operation, query_fields, read_body, unquoted

OPERATOR_PREFIX = "opr_"
APP_ID_PREFIX = "app_"
READING = ("/templates/preview", "/model/check", "/policy/simulation")
"""What is asked while somebody types: it reads what comes along, as GET would, and nothing stays of it."""
LISTS = frozenset({"AuthenticationTokens", "Devices", "Objects", "Sessions", "TaskList", "Users"})
"""Answers that tell of many things, beside lists and pages: one of them is not found in these."""

_LAST_PART = re.compile(r"/[^/]+$")
_PARAMETER = re.compile(r"{[^}]+}")

log = structlog.get_logger("admit.web")


class Audit:
    """Performs the operations of one application."""

    def __init__(self, gateway: Gateway, operations: Iterable[Operation]) -> None:
        self._gateway = gateway
        told = tuple(operations)
        readable = {each.path: each for each in told if each.method == "GET"}
        self._shown_by = {
            (each.method, each.path): _shown_by(each, readable) for each in told if _is_watched(each)
        }

    async def perform(self, call: Call) -> Response:
        """The answer of the operation; where an operator changes something by it, that is written down.

        Raises what the operation does, and AdmitError where it cannot be written down: then nothing is done.
        """
        operation = call.operation
        if (operation.method, operation.path) not in self._shown_by:
            return await operation.handler(call)
        who = await _who(call)
        if who is None:
            return await operation.handler(call)
        body = b""
        if operation.body is not None:
            body = await read_body(call.request, operation.body_bytes_max)
            call.request = _with_body(call.request, body)
        return await self._watched(call, who, body)

    async def watch(
        self,
        begun: Begun,
        do: Callable[[], Awaitable[Response]],
        ended: Callable[[Response], Awaitable[Ended]],
    ) -> Response:
        """The answer of `do`, which changes something; written down before and after it."""
        gateway, change_id = self._gateway, clock.new_id("chg")
        await gateway.db.write(lambda tx: changes.begin(tx, change_id, begun))
        try:
            response = await do()
        except Exception as error:
            known = error if isinstance(error, AdmitError) else AdmitError(INTERNAL.message)
            await self._end(change_id, Ended(at=gateway.clock(), status=status_of(known), code=known.code))
            raise
        await self._end(change_id, await ended(response))
        return response

    async def _watched(self, call: Call, who: OperatorToken, body: bytes) -> Response:
        operation = call.operation

        async def ended(response: Response) -> Ended:
            after = await self._shown(call) or self._told(operation, response)
            return Ended(at=self._gateway.clock(), status=response.status_code, after=after)

        return await self.watch(await self._begun(call, who, body), lambda: operation.handler(call), ended)

    async def _begun(self, call: Call, who: OperatorToken, body: bytes) -> Begun:
        operation, about_people = call.operation, change_contents.is_about_people(call.operation)
        ring = self._gateway.ring
        fields = _fields(call.request)
        return Begun(
            app_id=await _app_id(call),
            at=self._gateway.clock(),
            who_kind=_kind_of(who),
            who_id=who.token_id,
            who_label=who.label,
            address=call.address,
            kind="test" if change_contents.is_test(operation) else "change",
            method=operation.method,
            summary=operation.summary,
            path=_path(operation.path, call.request.path_params),
            query=change_contents.asked(
                msgspec.json.encode(fields) if fields else b"",
                operation.query,
                ring,
                about_people=about_people,
            ),
            asked=change_contents.asked(body, operation.body, ring, about_people=about_people),
            before=await self._shown(call),
        )

    async def _shown(self, call: Call) -> str:
        """What there is at the place of the operation, as GET shows it; "": it shows nothing."""
        shown_by = self._shown_by[call.operation.method, call.operation.path]
        if shown_by is None:
            return ""
        request = _reading(call.request, shown_by)
        try:
            response = await shown_by.handler(Call(self._gateway, shown_by, request, operator=_EYES))
            body = bytes(response.body)
            if get_origin(shown_by.answer) is list:
                body = _item_of(body, call.param(_item_name(shown_by, call.operation)))
            return self._kept(shown_by, call.operation, body)
        except AdmitError:
            return ""
        except Exception as error:  # a change is not refused, nor called failed, because it cannot be shown
            log.error("change.cannot_show", route=shown_by.path, exc_info=error)
            return ""

    def _told(self, operation: Operation, response: Response) -> str:
        """What the operation has answered; "": nothing that can be kept. It is done, whatever it told."""
        try:
            return self._kept(operation, operation, bytes(response.body))
        except Exception as error:
            log.error("change.cannot_show", route=operation.path, exc_info=error)
            return ""

    def _kept(self, told_by: Operation, changed_by: Operation, body: bytes) -> str:
        about_people = change_contents.is_about_people(changed_by)
        return change_contents.kept(body, told_by.answer, self._gateway.ring, about_people=about_people)

    async def _end(self, change_id: str, ended: Ended) -> None:
        """What is done is done: whether that can be written down does not change the answer."""
        try:
            await self._gateway.db.write(lambda tx: changes.end(tx, change_id, ended))
        except AdmitError as error:
            log.warning("change.end_unknown", change_id=change_id, cause=error.code)


_EYES = OperatorToken(
    token_id="audit",  # noqa: S106  (no token has this id)
    label="the list of changes",
    app_id=None,
    scopes=SCOPES - {"secrets:read"},
    created_at=0,
    expires_at=None,
)
"""Who reads what is there before and after."""


def _is_watched(operation: Operation) -> bool:
    if operation.method == "GET" or operation.path.endswith(READING):
        return False
    return operation.access in ("operator", "operator_or_client")


def _shown_by(operation: Operation, readable: Mapping[str, Operation]) -> Operation | None:
    """GET of the thing that `operation` changes. None: there is but a page that it may be on.

    It is at its path, or, where both answer the same, above it, or else beside it; or in a whole list above.
    """
    if change_contents.is_test(operation):
        return None
    if found := readable.get(operation.path):
        return None if _is_list(found.answer) else found
    above = _LAST_PART.sub("", operation.path)
    while "/" in above:
        if (found := readable.get(above)) and _are_alike(found.answer, operation.answer):
            return found
        if found and get_origin(found.answer) is list:
            return found if _item_name(found, operation) else None
        above = _LAST_PART.sub("", above)
    beside = [
        each
        for each in readable.values()
        if each.answer is operation.answer is not None
        and not _is_list(each.answer)
        and _names(each) <= _names(operation)
    ]
    return beside[0] if len(beside) == 1 else None


def _item_name(shown_by: Operation, operation: Operation) -> str:
    """The parameter of the path of `operation` that names an item of the list; "": it names none."""
    rest = operation.path.removeprefix(shown_by.path + "/").partition("/")[0]
    return rest[1:-1] if _PARAMETER.fullmatch(rest) and shown_by.path != "/api/apps" else ""


def _item_of(body: bytes, name: str) -> bytes:
    """The item of a list that is called `name`; empty: there is none."""
    items = msgspec.json.decode(body, type=list[dict[str, msgspec.Raw]])
    called = msgspec.json.encode(name)
    found = [each for each in items if called in (bytes(value) for value in each.values())]
    return msgspec.json.encode(found[0]) if len(found) == 1 else b""


def _names(operation: Operation) -> set[str]:
    return set(_PARAMETER.findall(operation.path))


def _are_alike(shown: Any, told: Any) -> bool:
    """Whether one tells all that the other tells, and they are no lists."""
    if not (isinstance(shown, type) and isinstance(told, type)) or _is_list(shown):
        return False
    return issubclass(shown, told) or issubclass(told, shown)


def _is_list(answer: Any) -> bool:
    name = getattr(answer, "__name__", "")
    return get_origin(answer) is list or name in LISTS or name.endswith("Page")


async def _who(call: Call) -> OperatorToken | None:
    """The operator who calls; None: an API client, or somebody whom the operation will refuse."""
    if call.operator is None:
        if call.operation.access == "operator":
            call.operator = await operator_access.operator(call)
        else:
            return await sessions_access.operator_of(call)
    return call.operator


def _kind_of(who: OperatorToken) -> WhoKind:
    if who.token_id == COMMAND_ID:
        return "command"
    return "operator" if who.token_id.startswith(OPERATOR_PREFIX) else "token"


async def _app_id(call: Call) -> str:
    """The id of the app in the path; "": there is none."""
    if "app" not in call.request.path_params:
        return ""
    name, directory = call.param("app"), call.gateway.directory
    try:
        app = await (directory.app_by_id(name) if name.startswith(APP_ID_PREFIX) else directory.app(name))
    except NotFound:
        return ""
    return app.app_id


def _path(pattern: str, params: Mapping[str, str]) -> str:
    """The path with what it names, spelled alike whoever called."""
    for name, value in params.items():
        pattern = pattern.replace(f"{{{name}}}", quote(unquoted(value), safe="@+:"))
    return pattern


def _fields(request: Request) -> dict[str, str] | None:
    try:
        return query_fields(request) or None
    except AdmitError:
        return None


def _with_body(request: Request, body: bytes) -> Request:
    """`request`, from which `body` can be read once more."""
    left = [body]

    async def receive() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await request.receive()

    return Request(request.scope, receive)


def _reading(request: Request, operation: Operation) -> Request:
    """A request for what `operation` shows at the same place, by the fields of the query that it knows."""
    query = operation.query
    names = {each.encode_name for each in msgspec.structs.fields(query)} if query is not None else set()
    told = {name: value for name, value in (_fields(request) or {}).items() if name in names}
    text = "&".join(f"{quote(name)}={quote(value, safe='')}" for name, value in told.items())
    scope = {**request.scope, "method": "GET", "headers": [], "query_string": text.encode()}
    return Request(scope)
