"""Who holds the operator token that came with a request to the admin API, and what it lets them do."""

from typing import Any

from admit.accounts.apps import App
from admit.errors import Forbidden, NotFound, Unauthorized
from admit.operators import tokens
from admit.operators.tokens import OperatorToken
from admit.web.bearer import token_of
from admit.web.operations import BODY_BYTES_MAX, Call, Handler, Method, Operation

SEES_SECRETS = "secrets:read"


async def operator(call: Call) -> OperatorToken:
    """The operator token. Raises Unauthorized without one, InvalidToken for one that does not live."""
    if call.operator is not None:
        return call.operator
    token = token_of(call)
    if token is None:
        raise Unauthorized("The admin API needs an operator token: Authorization: Bearer TOKEN.")
    gateway = call.gateway
    return await tokens.authenticate(gateway.db, gateway.ring, token, gateway.clock())


async def permitted(call: Call) -> OperatorToken:
    """The operator token, if it has the operation's scopes and is not bound to one app."""
    token = await operator(call)
    for scope in call.operation.scopes:
        tokens.require(token, scope, None)
    return token


async def permitted_app(call: Call) -> App:
    """The app of the path, if the operator token has the operation's scopes in it.

    A token of one app is not told whether others exist.
    """
    app, _ = await permitted_in_app(call)
    return app


async def permitted_in_app(call: Call) -> tuple[App, OperatorToken]:
    """The app of the path, as `permitted_app` has it, and the operator token."""
    token = await operator(call)
    for scope in call.operation.scopes:
        tokens.require(token, scope, token.app_id)
    try:
        app = await call.app()
    except NotFound:
        if token.app_id is not None:
            raise Forbidden("This operator token is for another app.") from None
        raise
    for scope in call.operation.scopes:
        tokens.require(token, scope, app.app_id)
    return app, token


def admin(
    method: Method,
    path: str,
    handler: Handler,
    summary: str,
    scope: str,
    *,
    shows_secret: bool = False,
    query: Any = None,
    body: Any = None,
    answer: Any = None,
    codes: tuple[str, ...] = (),
    body_bytes_max: int = BODY_BYTES_MAX,
) -> Operation:
    """An operation of the admin API. `shows_secret`: it tells one, which takes a scope besides."""
    return Operation(
        method=method,
        path=f"/api{path}",
        handler=handler,
        summary=summary,
        access="operator",
        scopes=(scope, SEES_SECRETS) if shows_secret else (scope,),
        query=query,
        body=body,
        body_bytes_max=body_bytes_max,
        answer=answer,
        codes=codes,
    )
