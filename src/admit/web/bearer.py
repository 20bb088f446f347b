"""Who holds the access token that came with a request, and what it lets them do."""

from admit.accounts import sessions, users
from admit.accounts.acting import may_act_for_others
from admit.accounts.apps import App
from admit.accounts.tokens import AccessClaims
from admit.accounts.users import User
from admit.errors import Forbidden, InvalidRequest, InvalidToken, Unauthorized
from admit.gateway import Gateway
from admit.storage.transaction import Transaction
from admit.web.operations import Call


def issuer_of(gateway: Gateway, app: App) -> str:
    """The issuer of this app's tokens, which is also the database URL of its clients.

    Where hosts are mapped to the app it is the first of them, with the scheme of PUBLIC_URL.
    """
    public_url = gateway.settings.public_url
    if app.hosts:
        return f"{public_url.partition('://')[0]}://{app.hosts[0]}"
    return f"{public_url}/{app.name}"


def token_of(call: Call) -> str | None:
    """The bearer token (RFC 6750 §2.1); None: there is no Authorization header. Raises InvalidRequest."""
    header = call.header("authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise InvalidRequest("The Authorization header is not of the form: Bearer TOKEN.")
    return token.strip()


def bearer(call: Call, app: App) -> AccessClaims:
    """The claims of the access token. Raises Unauthorized without one, InvalidToken for one of elsewhere.

    Whether the session behind it still stands is not looked up: tokens of people live for an hour.
    """
    if (claims := bearer_if_any(call, app)) is None:
        raise Unauthorized("This needs an access token: Authorization: Bearer TOKEN.")
    return claims


def bearer_if_any(call: Call, app: App) -> AccessClaims | None:
    """Like `bearer`; None for an anonymous request."""
    if (token := token_of(call)) is None:
        return None
    return verified(call.gateway, app, token)


def verified(gateway: Gateway, app: App, token: str) -> AccessClaims:
    """What `token` says. Raises InvalidToken, also where the API client behind it ended or has a new secret.

    Clients choose how long their tokens live, up to a month; whom the app has revoked is at hand.
    """
    claims = gateway.mint.verify(token, app_id=app.app_id)
    if not _client_lives(gateway, app, claims):
        raise InvalidToken("The API client behind this token was revoked, has expired or has a new secret.")
    if not _actor_may(gateway, app, claims):
        raise InvalidToken("Whoever signed in as this person may not do so any more.")
    return claims


def require(claims: AccessClaims, *scopes: str) -> None:
    """Raises Forbidden unless the token carries all of `scopes`."""
    if missing := [scope for scope in scopes if scope not in claims.scopes]:
        raise Forbidden(f"The access token lacks the scope {' and '.join(missing)}.")


async def still_stands(gateway: Gateway, app: App, claims: AccessClaims) -> bool:
    """Whether the client, or the user and the session, that the token speaks of are still welcome."""
    if not _client_lives(gateway, app, claims) or not _actor_may(gateway, app, claims):
        return False
    if claims.sid is None and claims.sub == claims.client_id:
        return True
    key = (app.app_id, claims.sub)

    def look(tx: Transaction) -> tuple[User | None, sessions.Session | None]:
        session = sessions.find(tx, app.app_id, claims.sid) if claims.sid else None
        return users.by_user_id(tx, [key]).get(key), session

    user, session = await gateway.db.read(look)
    if user is None or user.deactivated_at is not None:
        return False
    return claims.sid is None or (
        session is not None and session.uid == user.uid and session.state == "ENROLLED"
    )


def _actor_may(gateway: Gateway, app: App, claims: AccessClaims) -> bool:
    """Whether the owner who acts for somebody else, if one does, may still do so."""
    return claims.act is None or may_act_for_others(app, claims.act.sub, gateway.clock())


def _client_lives(gateway: Gateway, app: App, claims: AccessClaims) -> bool:
    """Whether the API client behind the token, if there is one, lives and has the secret that it had then."""
    if claims.client_id is None:
        return True
    client = app.clients.get(claims.client_id)
    if client is None or not client.lives(gateway.clock()):
        return False
    return claims.client_since >= client.secret_changed_at
