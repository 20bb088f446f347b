"""Who holds the operator token that came with a request to the admin API, and what it lets them do."""

from typing import Any

from admit.accounts import operators
from admit.accounts.apps import App
from admit.accounts.operators import OperatorToken
from admit.errors import Forbidden, NotFound, Unauthorized
from admit.web.bearer import token_of
from admit.web.operations import BODY_BYTES_MAX, Call, Handler, Method, Operation


async def operator(call: Call) -> OperatorToken:
    """The operator token. Raises Unauthorized without one, InvalidToken for one that does not live."""
    token = token_of(call)
    if token is None:
        raise Unauthorized("The admin API needs an operator token: Authorization: Bearer TOKEN.")
    gateway = call.gateway
    return await operators.authenticate(gateway.db, gateway.ring, token, gateway.clock())


async def permitted(call: Call) -> OperatorToken:
    """The operator token, if it has the operation's scope and is not bound to one app."""
    token = await operator(call)
    operators.require(token, _scope_of(call), None)
    return token


async def permitted_app(call: Call, scope: str | None = None) -> App:
    """The app of the path, if the operator token has the operation's scope, or `scope`, in it.

    A token of one app is not told whether others exist.
    """
    app, _ = await permitted_in_app(call, scope)
    return app


async def permitted_in_app(call: Call, scope: str | None = None) -> tuple[App, OperatorToken]:
    """The app of the path, as `permitted_app` has it, and the operator token."""
    token = await operator(call)
    wanted = scope or _scope_of(call)
    operators.require(token, wanted, token.app_id)
    try:
        app = await call.app()
    except NotFound:
        if token.app_id is not None:
            raise Forbidden("This operator token is for another app.") from None
        raise
    operators.require(token, wanted, app.app_id)
    return app, token


def admin(
    method: Method,
    path: str,
    handler: Handler,
    summary: str,
    scope: str,
    *,
    query: Any = None,
    body: Any = None,
    answer: Any = None,
    codes: tuple[str, ...] = (),
    body_bytes_max: int = BODY_BYTES_MAX,
) -> Operation:
    """An operation of the admin API."""
    return Operation(
        method=method,
        path=f"/api{path}",
        handler=handler,
        summary=summary,
        access="operator",
        scopes=(scope,),
        query=query,
        body=body,
        body_bytes_max=body_bytes_max,
        answer=answer,
        codes=codes,
    )


def _scope_of(call: Call) -> str:
    (scope,) = call.operation.scopes
    return scope
