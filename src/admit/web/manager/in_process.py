"""Operations of the admin API, called by pages: without a network, with the scopes of an operator."""

from collections.abc import Iterable, Mapping
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec
from starlette.requests import Request
from starlette.types import Message

from admit.gateway import Gateway
from admit.operators.tokens import OperatorToken
from admit.web.audit import Audit
from admit.web.operations import Call, Method, Operation

T = TypeVar("T")


class AdminApi:
    """The operations that an operator may call, by method and path."""

    def __init__(self, gateway: Gateway, operations: Iterable[Operation], audit: Audit) -> None:
        self._gateway = gateway
        self.audit = audit
        self._operations = {(each.method, each.path): each for each in operations}

    async def call(
        self,
        method: Method,
        path: str,
        kind: type[T],
        *,
        operator: OperatorToken,
        came_by: Request,
        params: Mapping[str, str],
        query: Mapping[str, object] | None = None,
        body: object = msgspec.UNSET,
    ) -> T:
        """What the operation at `path`, a pattern such as `/apps/{app}/users`, answers to `operator`.

        In the query None stands for a field that is left out. `kind`: what the answer is read as; `NoneType`
        for one that has no body. Raises AdmitError where the operation refuses.
        """
        operation = self._operations[(method, f"/api{path}")]
        raw = b"" if body is msgspec.UNSET else msgspec.json.encode(body)
        request = _request(came_by, method, params, query or {}, raw)
        response = await self.audit.perform(Call(self._gateway, operation, request, operator=operator))
        if kind is type(None):
            return kind()
        return msgspec.json.decode(bytes(response.body), type=kind)


def _request(
    came_by: Request, method: Method, params: Mapping[str, str], query: Mapping[str, object], body: bytes
) -> Request:
    """The request that a program would have sent, from the address of the browser."""
    fields = {name: _text(value) for name, value in query.items() if value is not None}
    scope = {
        "type": "http",
        "method": method,
        "path_params": {name: quote(value, safe="") for name, value in params.items()},
        "query_string": urlencode(fields).encode(),
        "headers": [(b"content-type", b"application/json")],
        "client": came_by.scope["client"],
        "peer": came_by.scope.get("peer", ""),
        "scheme": came_by.scope["scheme"],
    }
    left = [body]

    async def receive() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await came_by.receive()

    return Request(scope, receive)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
