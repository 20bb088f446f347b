"""/api/tokens: operator tokens, which are the keys to the admin API itself."""

from starlette.responses import Response

from admit.errors import Forbidden, NotFound
from admit.gateway import Gateway
from admit.operators import tokens
from admit.operators.tokens import NewOperatorToken, OperatorToken
from admit.storage.transaction import Transaction
from admit.web.admin_types import NewToken, TokenSecret, TokenView
from admit.web.operations import Call
from admit.web.operator_access import admin, operator

UNNAMED = "unnamed"


async def list_tokens(call: Call) -> Response:
    """The operator tokens, without the tokens; a token of one app sees those of its app."""
    holder = await operator(call)
    tokens.require(holder, "tokens:read", holder.app_id)
    listed = await _visible(call.gateway, holder)
    names = await _names(call.gateway, listed)
    return call.answer(
        [
            TokenView(
                token_id=each.token_id,
                label=each.label,
                app=None if each.app_id is None else names[each.app_id],
                scopes=sorted(each.scopes),
                created_at=each.created_at,
                expires_at=each.expires_at,
                revoked_at=each.revoked_at,
            )
            for each in listed
        ]
    )


async def create_token(call: Call) -> Response:
    """Makes an operator token and tells it, this once. It reaches no further than the one that makes it."""
    holder = await operator(call)
    for scope in call.operation.scopes:
        tokens.require(holder, scope, holder.app_id)
    body, gateway, now = await call.json(NewToken), call.gateway, call.gateway.clock()
    seconds = body.expires_in_seconds
    wanted = tokens.check_new_token(
        tokens.NewToken(
            label=body.label.strip() or UNNAMED,
            scopes=holder.scopes if body.scopes is None else frozenset(body.scopes),
            app_id=None if body.app is None else await _app_id(gateway, holder, body.app),
            expires_at=None if seconds is None else now + seconds * 1_000,
        ),
        now,
    )
    tokens.require_may_grant(holder, wanted)

    def make(tx: Transaction) -> NewOperatorToken:
        return tokens.create_token(tx, gateway.ring, wanted, now)

    made = await gateway.db.write(make)
    return call.answer(
        TokenSecret(
            token_id=made.about.token_id,
            token=made.token,
            scopes=sorted(made.about.scopes),
            app=body.app,
            expires_at=made.about.expires_at,
        )
    )


async def revoke_token(call: Call) -> Response:
    """Ends an operator token at once."""
    holder = await operator(call)
    tokens.require(holder, "tokens:write", holder.app_id)
    token_id, now = call.param("token_id"), call.gateway.clock()
    seen = {each.token_id for each in await _visible(call.gateway, holder)}
    if holder.app_id is not None and token_id not in seen:
        raise _no_token()
    if not await call.gateway.db.write(lambda tx: tokens.revoke_token(tx, token_id, now)):
        raise _no_token()
    return call.done()


async def _visible(gateway: Gateway, holder: OperatorToken) -> list[OperatorToken]:
    listed = await gateway.db.read(tokens.list_tokens)
    return [each for each in listed if holder.app_id in (None, each.app_id)]


async def _names(gateway: Gateway, listed: list[OperatorToken]) -> dict[str, str]:
    wanted = {each.app_id for each in listed if each.app_id is not None}
    return {app_id: (await gateway.directory.app_by_id(app_id)).name for app_id in wanted}


async def _app_id(gateway: Gateway, holder: OperatorToken, name: str) -> str:
    try:
        return (await gateway.directory.app(name)).app_id
    except NotFound:
        if holder.app_id is not None:
            raise Forbidden("This operator token is for another app.") from None
        raise


def _no_token() -> NotFound:
    return NotFound("There is no such token, or it has been revoked.", code="token_not_found")


OPERATIONS = (
    admin("GET", "/tokens", list_tokens, "Lists operator tokens", "tokens:read", answer=list[TokenView]),
    admin(
        "POST",
        "/tokens",
        create_token,
        "Makes an operator token",
        "tokens:write",
        shows_secret=True,
        body=NewToken,
        answer=TokenSecret,
    ),
    admin(
        "DELETE",
        "/tokens/{token_id}",
        revoke_token,
        "Revokes an operator token",
        "tokens:write",
        codes=("token_not_found",),
    ),
)
