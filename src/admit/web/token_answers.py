"""What POST /token answers: tokens, and errors in the form that each client shows best."""

from typing import Any, Literal

import msgspec
from starlette.responses import Response

from admit.accounts.alerts import Alert
from admit.accounts.apps import App
from admit.accounts.client_handover import CONNECT_CLIENT
from admit.accounts.licenses import license_of
from admit.accounts.sessions import Session
from admit.accounts.users import NEVER, User
from admit.errors import SIGN_IN_EXPIRED, AdmitError, InvalidGrant, InvalidRequest, TokenOver
from admit.gateway import Gateway
from admit.web.bearer import issuer_of
from admit.web.errors import ErrorBody, headers_for, status_of

ERROR_CODE_HEADER = "X-Admit-Error"
CONNECT_SECONDS = 300


class OtpSent(msgspec.Struct, frozen=True, tag="otp-sent", tag_field="type"):
    """Step 1 is done: step 2 names this `otp_id`."""

    otp_id: str


class Tokens(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename="camel",
    tag="tokens",
    tag_field="type",
    omit_defaults=True,
):
    """The tokens of a login or a refresh. Times are UTC milliseconds. `data` reaches `currentUser.data`.

    The last ones are in answers to OAuth's own grants, in its words: RFC 6749 §5.1, RFC 8693 §2.2.1.
    """

    claims: dict[str, Any]
    access_token: str
    access_token_expiration: int
    refresh_token: str | None = None
    refresh_token_expiration: int | None = None
    user_type: Literal["demo", "eval", "prod", "client"]
    eval_days_left: int | None = None
    user_valid_until: int | None = None
    alerts: tuple[Alert, ...] = ()
    data: msgspec.Raw | None = None
    oauth_token: str | None = msgspec.field(default=None, name="access_token")
    token_type: str | None = msgspec.field(default=None, name="token_type")
    expires_in: int | None = msgspec.field(default=None, name="expires_in")
    scope: str | None = None
    issued_token_type: str | None = msgspec.field(default=None, name="issued_token_type")


class BadSubjectToken(InvalidRequest):
    """RFC 8693 §2.2.2: whatever is wrong with a token to be exchanged, the `error` is invalid_request."""


class OAuthError(msgspec.Struct, frozen=True):
    """An error as RFC 6749 §5.2 has it, with the code and the sentence of every other door beside."""

    error: str
    error_description: str
    code: str
    message: str


class Lifetime(msgspec.Struct, frozen=True):
    """A life that was asked for: seconds, and the moment in UTC ms at which it begins. None: the usual."""

    seconds: int | None = None
    not_before_ms: int | None = None


def tokens_of_user(
    gateway: Gateway,
    app: App,
    user: User,
    session: Session | None,
    scopes: tuple[str, ...],
    *,
    client_id: str | None = None,
    lifetime: Lifetime = Lifetime(),  # noqa: B008  (frozen)
    alerts: tuple[Alert, ...] = (),
) -> Tokens:
    """The tokens of a resident; the refresh token only with a session. `alerts` are read at logins only."""
    claims: dict[str, Any] = {
        "sub": user.user_id,
        "email": user.email,
        "name": user.name,
        "license": license_of(user, gateway.clock()),
        "scopes": scopes,
        "client_id": client_id,
        "sid": session.session_id if session else None,
        "act": {"sub": session.actor} if session and session.actor else None,
    }
    minted = gateway.mint.access(
        app_id=app.app_id,
        issuer=issuer_of(gateway, app),
        claims=claims | _client_since(app, client_id) | _unproven(user, session, client_id),
        expires_in_seconds=lifetime.seconds,
        not_before_ms=lifetime.not_before_ms,
    )
    return Tokens(
        claims={name: value for name, value in claims.items() if value is not None},
        access_token=minted.token,
        access_token_expiration=minted.expires_at_ms,
        refresh_token=_refresh_token(gateway, session),
        refresh_token_expiration=session.refresh_until if session else None,
        user_type=user.type,
        eval_days_left=user.eval_days_left if user.type == "eval" else None,
        user_valid_until=user.valid_until if user.valid_until != NEVER and user.type != "demo" else None,
        alerts=alerts,
        data=user.data or msgspec.Raw(b"{}"),  # a client keeps what it has unless something comes
    )


def tokens_of_client(
    gateway: Gateway, app: App, client_id: str, scopes: tuple[str, ...], lifetime: Lifetime
) -> Tokens:
    """The token of an API client for itself. It has its secret and needs no refresh token."""
    claims: dict[str, Any] = {"sub": client_id, "client_id": client_id, "scopes": scopes}
    minted = gateway.mint.access(
        app_id=app.app_id,
        issuer=issuer_of(gateway, app),
        claims=claims | _client_since(app, client_id),
        expires_in_seconds=lifetime.seconds,
        not_before_ms=lifetime.not_before_ms,
    )
    return Tokens(
        claims=claims,
        access_token=minted.token,
        access_token_expiration=minted.expires_at_ms,
        user_type="client",
    )


def tokens_of_connecting(gateway: Gateway, app: App, email: str) -> Tokens:
    """The token by which the owner of `email` fetches an API client, and does nothing else.

    Its `sub` is nobody's userId, so that no backend takes it for the login of a person.
    """
    claims: dict[str, Any] = {"sub": f"connect:{email}", "email": email, "scopes": (CONNECT_CLIENT,)}
    minted = gateway.mint.access(
        app_id=app.app_id,
        issuer=issuer_of(gateway, app),
        claims=claims,
        expires_in_seconds=CONNECT_SECONDS,
    )
    return Tokens(
        claims=claims,
        access_token=minted.token,
        access_token_expiration=minted.expires_at_ms,
        user_type="client",
    )


def sentence_answer(error: AdmitError) -> Response:
    """An error that the addon shows to the person word for word; the code is in a header."""
    return Response(
        error.message,
        status_of(error),
        media_type="text/plain",
        headers=headers_for(error) | {ERROR_CODE_HEADER: error.code},
    )


def refusal_answer(error: AdmitError) -> Response:
    """A 403 that the addon turns into an alert with the code, and starts anew."""
    body: ErrorBody | OAuthError = ErrorBody(error.code, error.message)
    if error.code == SIGN_IN_EXPIRED:  # a grant that is over, as OAuth's own clients know it
        body = OAuthError(InvalidGrant.code, error.message, error.code, error.message)
    return Response(msgspec.json.encode(body), 403, media_type="application/json")


def oauth_answer(error: AdmitError) -> Response:
    """An error for programs. RFC 6749 §5.2 knows one word for all that is wrong with a grant."""
    told = error.code
    if isinstance(error, InvalidGrant | TokenOver):
        told = InvalidGrant.code
    elif isinstance(error, BadSubjectToken):
        told = InvalidRequest.code
    body = OAuthError(told, error.message, error.code, error.message)
    return Response(
        msgspec.json.encode(body), status_of(error), media_type="application/json", headers=headers_for(error)
    )


def _client_since(app: App, client_id: str | None) -> dict[str, int]:
    """What ends the token with the client's secret. `app` is the snapshot in which the client was let in."""
    return {} if client_id is None else {"client_since": app.clients[client_id].secret_changed_at}


def _unproven(user: User, session: Session | None, client_id: str | None) -> dict[str, bool]:
    """What ends a token without a session once the owner of the user's email has proven it."""
    return {"unproven": True} if session is None and client_id and not user.email_verified else {}


def _refresh_token(gateway: Gateway, session: Session | None) -> str | None:
    if session is None:
        return None
    return gateway.mint.refresh(
        app_id=session.app_id, session_id=session.session_id, expires_at=session.refresh_until
    )
