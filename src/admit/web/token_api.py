"""POST /token: every way to sign in, by grant. Source: RFC 6749 and the contract (docs/compat.md)."""

from collections.abc import Awaitable, Callable
from functools import partial

from msgspec.structs import replace
from starlette.responses import Response

from admit.accounts.alerts import Alert, alerts_for
from admit.accounts.apps import App
from admit.accounts.client_handover import CONNECT_CLIENT, NOBODY_HERE, may_connect
from admit.clock import DAY_MS
from admit.enrollment import redemptions, visits
from admit.enrollment.admissions import Login
from admit.enrollment.hopeless import hopeless
from admit.errors import (
    EMAIL_MISSING,
    EMAIL_NOT_TRUSTED,
    EMAIL_NOT_VERIFIED,
    MAILED_CODES_OFF,
    SIGN_IN_EXPIRED,
    AdmitError,
    Forbidden,
    Refused,
    UnsupportedGrant,
)
from admit.signin import client_credentials, refresh, spans
from admit.signin.client_credentials import ClientItself
from admit.signin.proof import Visit, scopes_of_person
from admit.signin.refresh import Refreshed, SignedRefresh
from admit.web import forms, sso_grants
from admit.web.device_headers import device_of
from admit.web.operations import Call, Operation
from admit.web.rate_limits import count_token
from admit.web.token_answers import (
    Lifetime,
    OtpSent,
    Tokens,
    oauth_answer,
    refusal_answer,
    sentence_answer,
    tokens_of_client,
    tokens_of_connecting,
    tokens_of_user,
)
from admit.web.token_requests import (
    AUTHORIZATION_CODE,
    TOKEN_EXCHANGE,
    TokenRequest,
    key_of,
    needed,
    read_token_request,
)

TOKEN_BYTES_MAX = 65_536
NO_MAILED_CODES = "This app does not sign people in by codes in mails. Choose another way to sign in."

Grant = Callable[[Call, App, TokenRequest], Awaitable[Tokens | OtpSent]]


async def post_token(call: Call) -> Response:
    """Finds the grant and lets it answer. What a grant refuses, it refuses in the form its clients expect."""
    try:
        request = await read_token_request(call)
        grant = GRANTS.get(request.grant_type)
        if grant is None:
            raise UnsupportedGrant(f"This server knows the grants {', '.join(GRANTS)}.")
        app = await call.app()
    except AdmitError as error:
        return oauth_answer(error)
    try:
        return call.answer(await grant(call, app, request))
    except Refused as error:
        return refusal_answer(error)
    except AdmitError as error:
        return sentence_answer(error) if request.grant_type == "otp" else oauth_answer(error)


async def _otp(call: Call, app: App, request: TokenRequest) -> Tokens | OtpSent:
    asks = request.otp is None and request.otp_id is None
    if request.scopes == (CONNECT_CLIENT,):
        return await (_mail_connect_code if asks else _redeem_connect_code)(call, app, request)
    if not app.settings.mailed_codes:
        raise Refused(NO_MAILED_CODES, code=MAILED_CODES_OFF)
    return await (_mail_code if asks else _redeem_code)(call, app, request)


async def _mail_code(call: Call, app: App, request: TokenRequest) -> OtpSent:
    scopes_of_person(request.scopes)
    gateway = call.gateway
    otp_id = await gateway.codes.start(
        app,
        needed(request.email, "email"),
        request.intent or "",
        call.address,
        hopeless=partial(hopeless, gateway.db),
    )
    return OtpSent(otp_id)


async def _redeem_code(call: Call, app: App, request: TokenRequest) -> Tokens:
    gateway, device = call.gateway, device_of(call, request.device)
    proof = await gateway.codes.check(
        app,
        otp_id=needed(request.otp_id, "otp_id"),
        otp=needed(request.otp, "otp"),
        email=request.email,
        public_key=key_of(request),
        scopes=request.scopes,
        intent=request.intent or "",
        address=call.address,
    )
    if isinstance(proof, Visit):
        await count_token(call, app, proof.actor or proof.user_ids[0])
        return await _visit(call, app, proof)
    await count_token(call, app, proof.user_id)
    login = await gateway.door.admit(app, replace(proof, device=device))
    return tokens_of_user(
        gateway, app, login.user, login.session, proof.scopes, alerts=_alerts(call, app, login)
    )


async def _enrollment_token(call: Call, app: App, request: TokenRequest) -> Tokens:
    gateway = call.gateway
    ticket = await gateway.enrollment_tokens.check(
        app,
        needed(request.enrollment_token, "enrollment_token"),
        device=device_of(call, request.device),
        public_key=key_of(request),
        scopes=request.scopes,
        address=call.address,
    )
    await count_token(call, app, ticket.user.user_id)
    life_ms = gateway.settings.refresh_token_days * DAY_MS
    login = await redemptions.redeem(gateway.db, gateway.clock, app, ticket, life_ms)
    session = login.session
    assert session is not None, "a ticket has a key"
    refresh.require_client(app, session, gateway.clock())
    alerts = _alerts(call, app, login)
    return tokens_of_user(
        gateway, app, login.user, session, ticket.scopes, client_id=session.client_id, alerts=alerts
    )


async def _demo(call: Call, app: App, request: TokenRequest) -> Tokens:
    visit = await call.gateway.demo_users.visit(
        app, needed(request.demo_user, "demo_user"), key_of(request), request.scopes, call.address
    )
    return await _visit(call, app, visit)


async def _visit(call: Call, app: App, visit: Visit) -> Tokens:
    gateway = call.gateway
    life_ms = gateway.settings.refresh_token_days * DAY_MS
    login = await visits.let_in(gateway.db, gateway.clock, app, visit, life_ms)
    alerts = _alerts(call, app, login)
    return tokens_of_user(gateway, app, login.user, login.session, visit.scopes, alerts=alerts)


async def _mail_connect_code(call: Call, app: App, request: TokenRequest) -> OtpSent:
    """Whether the address may connect is said to nobody but its owner, who reads the mail."""
    email = needed(request.email, "email")
    return OtpSent(await call.gateway.codes.start(app, email, "", call.address, use="connect"))


async def _redeem_connect_code(call: Call, app: App, request: TokenRequest) -> Tokens:
    email = await call.gateway.codes.connect(
        app,
        otp_id=needed(request.otp_id, "otp_id"),
        otp=needed(request.otp, "otp"),
        email=needed(request.email, "email"),
        address=call.address,
    )
    if not may_connect(app, email):
        raise Forbidden(NOBODY_HERE, code="not_an_owner")
    return tokens_of_connecting(call.gateway, app, email)


async def _client_credentials(call: Call, app: App, request: TokenRequest) -> Tokens:
    gateway, device = call.gateway, device_of(call, request.device)
    presented = client_credentials.credentials_of(
        request.client_id, request.client_secret, call.header("authorization")
    )
    client = client_credentials.authenticate(app, gateway.ring, presented, gateway.clock())
    lifetime = _lifetime(request, gateway.clock())
    gateway.mint.life(gateway.clock() // 1_000, lifetime.seconds, lifetime.not_before_ms)
    proof = client_credentials.proof_of(
        app,
        client,
        request.claims,
        scopes=request.scopes,
        public_key=key_of(request),
        address=call.address,
    )
    if isinstance(proof, ClientItself):
        await count_token(call, app, proof.client_id)
        return tokens_of_client(gateway, app, proof.client_id, proof.scopes, lifetime)
    await count_token(call, app, proof.user_id)
    login = await gateway.door.admit(app, replace(proof, device=device))
    return tokens_of_user(
        gateway,
        app,
        login.user,
        login.session,
        proof.scopes,
        client_id=proof.client_id,
        lifetime=lifetime,
        alerts=_alerts(call, app, login),
    )


async def _refresh_token(call: Call, app: App, request: TokenRequest) -> Tokens:
    gateway = call.gateway
    signed = SignedRefresh(
        refresh_token=needed(request.refresh_token, "refresh_token"),
        time_stamp=needed(request.time_stamp, "time_stamp"),
        signing_algorithm=needed(request.signing_algorithm, "signing_algorithm"),
        signature=needed(request.signature, "signature"),
        scopes=request.scopes,
        new_key=key_of(request),
    )
    refreshed = await refresh.refresh(gateway.db, gateway.mint, gateway.clock, app, signed)
    await count_token(call, app, _bearer_of(refreshed))
    return tokens_of_user(
        gateway,
        app,
        refreshed.user,
        refreshed.session,
        refreshed.scopes,
        client_id=refreshed.session.client_id,
    )


def _bearer_of(refreshed: Refreshed) -> str:
    """Whom these tokens count for: an owner who acts, one visitor of a demo, or the user."""
    if refreshed.user.type == "demo":
        return refreshed.session.session_id
    return refreshed.session.actor or refreshed.user.user_id


def _alerts(call: Call, app: App, login: Login) -> tuple[Alert, ...]:
    return alerts_for(app, login.user, call.gateway.clock())


GRANTS: dict[str, Grant] = {
    "otp": _otp,
    "demo": _demo,
    "client_credentials": _client_credentials,
    "refresh_token": _refresh_token,
    "urn:admit:enrollment-token": _enrollment_token,
    AUTHORIZATION_CODE: sso_grants.authorization_code,
    TOKEN_EXCHANGE: sso_grants.token_exchange,
}


def _lifetime(request: TokenRequest, now: int) -> Lifetime:
    seconds = None if request.expires_in is None else spans.milliseconds(request.expires_in) // 1_000
    not_before = None if request.not_before is None else now + spans.milliseconds(request.not_before)
    return Lifetime(seconds, not_before)


OPERATIONS = (
    Operation(
        method="POST",
        path="/{app}/token",
        handler=post_token,
        summary="Signs a person or an API client in, or refreshes a session",
        access="open",
        body=TokenRequest,
        body_media_types=("application/json", forms.MEDIA_TYPE),
        body_bytes_max=TOKEN_BYTES_MAX,
        answer=Tokens | OtpSent,
        codes=(
            "INVALID_OTP",
            "TOO_MANY_GUESSES",
            "USER_NOT_REGISTERED",
            "USER_NOT_ACCEPTED",
            "USER_DEACTIVATED",
            "USER_LOCKED",
            "DEVICE_LIMIT_REACHED",
            "WEBHOOK_ERROR",
            MAILED_CODES_OFF,
            SIGN_IN_EXPIRED,
            EMAIL_MISSING,
            EMAIL_NOT_VERIFIED,
            EMAIL_NOT_TRUSTED,
            "token_used",
            "token_expired",
            "token_revoked",
            "other_device",
            Forbidden.code,
            "not_an_owner",
            "client_expired",
            "exchange_off",
            "invalid_target",
            UnsupportedGrant.code,
        ),
    ),
)
