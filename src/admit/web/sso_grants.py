"""Two grants of POST /token for whom a provider vouches: a code that a browser brings back, and an ID token.

RFC 6749 §4.1.3 with RFC 7636, and RFC 8693.
"""

import base64
import binascii

import msgspec
import structlog
from msgspec.structs import replace

from admit.accounts.alerts import alerts_for
from admit.accounts.apps import App
from admit.accounts.providers import Provider
from admit.errors import (
    SIGN_IN_EXPIRED,
    InvalidRequest,
    ProviderFault,
    Refused,
    TooLarge,
    Unavailable,
)
from admit.signin.identity import Identity
from admit.signin.proof import Proof, scopes_of_person
from admit.signin.sso import proof_of, user_id_of
from admit.signin.sso_codes import Presented
from admit.web.bearer import issuer_of
from admit.web.device_headers import device_of
from admit.web.operations import Call
from admit.web.rate_limits import count_token
from admit.web.token_answers import BadSubjectToken, Tokens, tokens_of_user
from admit.web.token_requests import TokenRequest, key_of, needed

SUBJECT_TOKEN_CHARACTERS_MAX = 16_384
NO_KEY = "public_key is missing. Send the device's RSA key in PEM together with the code."
NO_ACTORS = "Nobody acts for others by a token exchange: leave actor_token out."
OTHER_TARGET = "The tokens that are given here are for this app alone: leave audience and resource out."
NO_PROVIDER = "No provider of this app has issued this token for a client whose tokens are exchanged here."

_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:"  # noqa: S105  (RFC 8693 §3)
SUBJECT_TOKEN_TYPES = (_TOKEN_TYPE + "id_token", _TOKEN_TYPE + "jwt")
ISSUED_TOKEN_TYPE = _TOKEN_TYPE + "access_token"
_NOT_OF_THE_TOKEN = ("provider_unreachable", "provider_metadata", "provider_keys", "provider_setting")

log = structlog.get_logger("admit.signin")


async def authorization_code(call: Call, app: App, request: TokenRequest) -> Tokens:
    """Tokens for the code in `dxc-auth`, which /oauth/callback has given to a page of the app."""
    scopes = scopes_of_person(_scopes(request))
    key = key_of(request)
    if key is None:
        raise InvalidRequest(NO_KEY)
    device = device_of(call, request.device)
    presented = Presented(
        code=needed(request.code, "code"),
        verifier=request.code_verifier,
        thumbprint=key.thumbprint,
        origin=call.header("origin"),
        address=call.address,
    )
    codes = call.gateway.sso_codes
    taken = await codes.take(app, presented)
    await _count(call, app, taken.provider, taken.identity)
    proof = proof_of(
        app,
        taken.provider,
        taken.identity,
        method="sso",
        scopes=scopes,
        sign_in_code=taken.code_digest,
        public_key=key,
        device=device,
        intent=request.intent or "",
        address=call.address,
    )
    try:
        return await _admit(call, app, proof)
    except Refused as refused:
        if refused.code == SIGN_IN_EXPIRED:  # another key was faster by a moment
            await codes.end_if_reused(app.app_id, taken.code_digest, key.thumbprint)
        raise


async def token_exchange(call: Call, app: App, request: TokenRequest) -> Tokens:
    """Tokens for an ID token that a provider of the app has issued for one of the app's other clients."""
    _check_exchange(call, app, request)
    scopes = scopes_of_person(_scopes(request))
    key = key_of(request)
    device = device_of(call, request.device)
    token: str = needed(request.subject_token, "subject_token")
    if len(token) > SUBJECT_TOKEN_CHARACTERS_MAX:
        raise TooLarge(f"subject_token has more than {SUBJECT_TOKEN_CHARACTERS_MAX} characters.")
    provider = _provider_of(app, request.provider, token)
    identity = await _identity(call, app, provider, token, request.nonce)
    await _count(call, app, provider, identity)
    proof = proof_of(
        app,
        provider,
        identity,
        method="token_exchange",
        scopes=scopes,
        sign_in_code=await call.gateway.sso_codes.note_token(app, provider, token, key),
        public_key=key,
        device=device,
        intent=request.intent or "",
        address=call.address,
    )
    return replace(await _admit(call, app, proof), issued_token_type=ISSUED_TOKEN_TYPE)


async def _count(call: Call, app: App, provider: Provider, identity: Identity) -> None:
    """Before anything is written for them. Who has no userId is counted by issuer and subject."""
    user_id = user_id_of(app, provider, identity)
    await count_token(call, app, user_id or f"{identity.issuer}|{identity.subject}")


async def _admit(call: Call, app: App, proof: Proof) -> Tokens:
    gateway = call.gateway
    about = {
        "app_id": app.app_id,
        "provider": proof.provider,
        "method": proof.method,
        "address": call.address,
    }
    try:
        login = await gateway.door.admit(app, proof)
    except Refused as refused:
        log.info("sso.not_admitted", code=refused.code, **about)
        raise
    log.info("sso.signed_in", **about)
    now = gateway.clock()
    alerts = alerts_for(app, login.user, now)
    tokens = tokens_of_user(gateway, app, login.user, login.session, proof.scopes, alerts=alerts)
    return replace(
        tokens,
        oauth_token=tokens.access_token,
        token_type="Bearer",  # noqa: S106
        expires_in=(tokens.access_token_expiration - now) // 1_000,
        scope=" ".join(proof.scopes),
    )


def _scopes(request: TokenRequest) -> tuple[str, ...]:
    """In JSON as the contract has them, in forms as RFC 6749 §3.3 does."""
    return request.scopes or tuple((request.scope or "").split())


def _check_exchange(call: Call, app: App, request: TokenRequest) -> None:
    """Raises InvalidRequest for what a token exchange could ask and this one does not give."""
    if needed(request.subject_token_type, "subject_token_type") not in SUBJECT_TOKEN_TYPES:
        raise InvalidRequest(f"subject_token_type is one of {', '.join(SUBJECT_TOKEN_TYPES)}.")
    if request.requested_token_type not in (None, ISSUED_TOKEN_TYPE):
        raise InvalidRequest(f"requested_token_type is {ISSUED_TOKEN_TYPE}, or left out.")
    if request.actor_token is not None or request.actor_token_type is not None:
        raise InvalidRequest(NO_ACTORS)
    here = issuer_of(call.gateway, app)
    if request.audience not in (None, here) or request.resource not in (None, here):
        raise InvalidRequest(OTHER_TARGET, code="invalid_target")


class _Unverified(msgspec.Struct, frozen=True):
    """What a token says of where it comes from, before anybody has looked whether that is true."""

    iss: str = ""
    aud: str | list[str] = ""


def _provider_of(app: App, name: str | None, token: str) -> Provider:
    """The provider that is named, else the first that the token could be of. Raises BadSubjectToken."""
    if name is not None:
        provider = app.providers.get(name)
        if provider is None or not provider.audiences or not provider.speaks_oidc:
            raise BadSubjectToken(NO_PROVIDER, code="exchange_off")
        return provider
    told = _unverified(token)
    audiences = {told.aud} if isinstance(told.aud, str) else set(told.aud)
    for provider in app.providers.values():
        # Microsoft's tokens name the tenant as their issuer.
        is_its = provider.issuer == told.iss or provider.type == "microsoft"
        if provider.speaks_oidc and is_its and audiences & set(provider.audiences):
            return provider
    raise BadSubjectToken(NO_PROVIDER, code="exchange_off")


def _unverified(token: str) -> _Unverified:
    part = token.split(".")[1:2]
    try:
        raw = base64.urlsafe_b64decode("".join(part) + "==")
        return msgspec.json.decode(raw, type=_Unverified)
    except (binascii.Error, ValueError, RecursionError):
        return _Unverified()


async def _identity(call: Call, app: App, provider: Provider, token: str, nonce: str | None) -> Identity:
    try:
        return await call.gateway.providers.identity_of_token(provider, token, nonce=nonce)
    except ProviderFault as fault:
        log.warning(
            "sso.token_refused",
            app_id=app.app_id,
            provider=provider.name,
            fault=fault.code,
            detail=fault.detail,
            address=call.address,
        )
        if fault.code in _NOT_OF_THE_TOKEN:
            raise Unavailable(fault.message, retry_after_seconds=5) from None
        raise BadSubjectToken(fault.message, code=fault.code) from None
