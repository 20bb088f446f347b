"""Who holds the access token that came with a request, and what it lets them do."""

import msgspec

from admit.accounts import users
from admit.accounts.acting import may_act_for_others
from admit.accounts.apps import App
from admit.accounts.session_standing import SENTENCES, End, Tenant, end_of, find_tenants
from admit.accounts.tokens import AccessClaims
from admit.accounts.users import User
from admit.errors import Forbidden, InvalidRequest, InvalidToken, Unauthorized
from admit.gateway import Gateway
from admit.web.operations import Call


class Holder(msgspec.Struct, frozen=True):
    """Who holds an access token. `user`: None where an API client holds it for itself, or nobody is known."""

    claims: AccessClaims
    user: User | None

    @property
    def is_welcome(self) -> bool:
        """Whether it is an API client itself, or a user who is there and not deactivated."""
        if self.user is None:
            return _is_client_itself(self.claims)
        return self.user.deactivated_at is None

    def check_welcome(self) -> None:
        """Raises InvalidToken unless `is_welcome`."""
        if not self.is_welcome:
            raise InvalidToken("The user of this token is deactivated, or does not exist any more.")


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


async def bearer(call: Call, app: App) -> AccessClaims:
    """The claims of the access token. Raises Unauthorized without one, else as `holder_if_any` does."""
    return (await holder(call, app)).claims


async def holder(call: Call, app: App) -> Holder:
    """Who holds the access token. Raises as `bearer` does."""
    if (found := await holder_if_any(call, app)) is None:
        raise Unauthorized("This needs an access token: Authorization: Bearer TOKEN.")
    return found


async def holder_if_any(call: Call, app: App) -> Holder | None:
    """Like `holder`; None for an anonymous request.

    Raises InvalidToken for a token of elsewhere, and with the code of an `End` where the session behind it
    does not go on, or its user is locked. That is asked at every call: tokens live for an hour or longer.
    """
    token = token_of(call)
    return None if token is None else await holder_of(call.gateway, app, token)


async def holder_of(gateway: Gateway, app: App, token: str) -> Holder:
    """Who holds `token`. Raises InvalidToken as `holder_if_any` does."""
    claims = verified(gateway, app, token)
    user, end = await _look(gateway, app, claims)
    if end is not None:
        raise InvalidToken(SENTENCES[end], code=end)
    if claims.sid is not None:
        gateway.connections.note(app.app_id, claims.sid)
    return Holder(claims, user)


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
    user, end = await _look(gateway, app, claims)
    return end is None and Holder(claims, user).is_welcome


def end_of_token(
    app: App, claims: AccessClaims, *, user: User | None, tenant: Tenant | None, now: int
) -> End | None:
    """Why the session of the token does not go on, or its user is held up; None: there is nothing of that.

    `user` and `tenant`: what is stored of the user and the session that it speaks of. Pure.
    """
    if claims.sid is None:
        return _end_without_session(claims, user)
    if tenant is None or tenant.user.user_id != claims.sub:
        return "session_ended"
    idle_days = app.settings.session_idle_days
    return end_of(tenant.session, tenant.user, now=now, idle_days=idle_days)


def _end_without_session(claims: AccessClaims, user: User | None) -> End | None:
    """Of a token that nobody can refresh. What a client got without a proof ends when the owner has come."""
    if user is None:
        return None
    if user.locked_at is not None:
        return "session_locked"
    return "reauthentication_required" if claims.unproven and user.email_verified else None


async def _look(gateway: Gateway, app: App, claims: AccessClaims) -> tuple[User | None, End | None]:
    """The user of the token, if it has one who is known, and why it is good for nothing any more, if so."""
    user: User | None = None
    tenant: Tenant | None = None
    if claims.sid is not None:
        tenant = await gateway.db.read_together(find_tenants, (app.app_id, claims.sid))
        user = None if tenant is None else tenant.user
    elif not _is_client_itself(claims):
        user = await gateway.db.read_together(users.find_each, (app.app_id, claims.sub))
    return user, end_of_token(app, claims, user=user, tenant=tenant, now=gateway.clock())


def _is_client_itself(claims: AccessClaims) -> bool:
    return claims.sid is None and claims.sub == claims.client_id


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
