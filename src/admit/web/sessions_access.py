"""Who may use the Sessions API: operators and API clients of the app, by HTTP Basic or a token; no person.

Source: the JourneyApps contract (docs/compat.md); RFC 7617 (Basic), RFC 6750 (Bearer), RFC 9110 §11.
"""

from collections.abc import Mapping

import msgspec

from admit.accounts import clients
from admit.accounts.apps import App, Client
from admit.accounts.enrollment_tokens import Maker
from admit.errors import Forbidden, InvalidClient, InvalidToken, NotFound
from admit.operators import tokens
from admit.operators.tokens import OperatorToken
from admit.signin import client_credentials
from admit.signin.client_credentials import Credentials
from admit.web.errors import NotAdmitted
from admit.web.operations import Call
from admit.web.rate_limits import count_client

APP_ID_PREFIX = "app_"
CLIENT_SCOPES = {
    "sessions:read": "GLOBAL_READ",
    "sessions:write": "GLOBAL_WRITE",
    "data:read": "GLOBAL_READ",
    "data:write": "GLOBAL_WRITE",
}
"""What an API client needs where an operator token needs the scope of the operation."""

_TOKEN_SCHEMES = ("bearer", "token")


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """The app of the path, and who calls: an API client, or the holder of an operator token.

    `headers` tell an API client how often it may call.
    """

    app: App
    client: Client | None = None
    operator: OperatorToken | None = None
    headers: Mapping[str, str] = {}

    @property
    def maker(self) -> Maker:
        """Who makes what whoever calls makes."""
        if self.client is not None:
            return Maker(client_id=self.client.client_id, client_since=self.client.secret_changed_at)
        return Maker(operator_token_id=None if self.operator is None else self.operator.revocable_id)


async def admitted(call: Call) -> Admitted:
    """The app of the path, if whoever calls may do in it what the operation does.

    Raises NotAdmitted without a credential and for a wrong one, Forbidden for one that does not reach so far,
    and NotFound. Nobody who is not of the app is told whether it exists.
    """
    if call.operator is not None:
        return Admitted(app=await _app_of(call, call.operator), operator=call.operator)
    header = call.header("authorization") or ""
    scheme, _, credential = header.strip().partition(" ")
    if scheme.lower() in _TOKEN_SCHEMES and credential.strip():
        operator = await _operator(call, credential.strip())
        return Admitted(app=await _app_of(call, operator), operator=operator)
    if scheme.lower() != "basic":
        raise NotAdmitted(
            "The Sessions API needs HTTP Basic or an operator token: Authorization: Bearer TOKEN."
        )
    try:
        presented = client_credentials.credentials_of(None, None, header)
    except InvalidClient as error:
        raise NotAdmitted(error.message, code=error.code) from None
    _refuse_pages(call)
    if presented.client_secret.startswith(tokens.TOKEN_PREFIX):
        return await _by_operator(call, presented)
    return await _by_client(call, presented)


async def operator_of(call: Call) -> OperatorToken | None:
    """The holder of the operator token that came along; None: there is none, or one that does not live."""
    scheme, _, credential = (call.header("authorization") or "").strip().partition(" ")
    token = credential.strip()
    if scheme.lower() == "basic":
        try:
            token = client_credentials.credentials_of(None, None, call.header("authorization")).client_secret
        except InvalidClient:
            return None
    if not token.startswith(tokens.TOKEN_PREFIX):
        return None
    gateway = call.gateway
    try:
        return await tokens.authenticate(gateway.db, gateway.ring, token, gateway.clock())
    except InvalidToken:
        return None


async def _operator(call: Call, token: str) -> OperatorToken:
    gateway = call.gateway
    try:
        return await tokens.authenticate(gateway.db, gateway.ring, token, gateway.clock())
    except InvalidToken as error:
        raise NotAdmitted(error.message, code=error.code) from None


async def _app_of(call: Call, token: OperatorToken) -> App:
    """The app of the path, for the holder of `token`. One of another app is not told whether it exists."""
    scope = _scope_of(call)
    tokens.require(token, scope, token.app_id)
    try:
        app = await _find_app(call)
    except NotFound:
        if token.app_id is not None:
            raise Forbidden("This operator token is for another app.") from None
        raise
    tokens.require(token, scope, app.app_id)
    return app


async def _by_operator(call: Call, presented: Credentials) -> Admitted:
    """Whoever has an operator token; before it, as the user name, stands the name or the id of the app."""
    operator = await _operator(call, presented.client_secret)
    app = await _app_of(call, operator)
    if presented.client_id not in (call.param("app"), app.name, app.app_id):
        raise NotAdmitted("Before an operator token, the user name is the name of the app or its app_id.")
    return Admitted(app=app, operator=operator)


async def _by_client(call: Call, presented: Credentials) -> Admitted:
    gateway = call.gateway
    try:
        app = await _find_app(call)
        client = client_credentials.authenticate(app, gateway.ring, presented, gateway.clock())
    except NotFound:
        clients.check_secret(gateway.ring, None, presented.client_secret.encode().hex())  # takes as long
        raise NotAdmitted(client_credentials.WRONG_CREDENTIALS, code=InvalidClient.code) from None
    except InvalidClient as error:
        raise NotAdmitted(error.message, code=error.code) from None
    scope = CLIENT_SCOPES[_scope_of(call)]
    if scope not in client.scopes:
        raise Forbidden(f"This API client lacks the scope {scope}.")
    return Admitted(app=app, client=client, headers=await count_client(call, app, client.client_id))


def _refuse_pages(call: Call) -> None:
    """A browser sends a password that it once was told along with what any page asks for.

    It names that page in Origin wherever something would be changed. Fetch standard §3.2.
    """
    if call.operation.method != "GET" and call.header("origin") is not None:
        raise Forbidden("Pages cannot change sessions by HTTP Basic. Call from a server, or use a token.")


async def _find_app(call: Call) -> App:
    """The app of the path, which names it or has its app_id. Raises NotFound."""
    name = call.param("app")
    directory = call.gateway.directory
    return await (directory.app_by_id(name) if name.startswith(APP_ID_PREFIX) else directory.app(name))


def _scope_of(call: Call) -> str:
    (scope,) = call.operation.scopes
    return scope
