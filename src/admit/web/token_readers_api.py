"""The doors that say what a token is worth: /token/validate, /introspect, the keys, and how to sign in.

Source: the Dexie Cloud contract (docs/compat.md); RFC 7662 (introspection); RFC 7517 §5 (key sets).
"""

from typing import Any, Literal

import msgspec
from starlette.responses import Response

from admit.accounts.providers import Provider
from admit.errors import InvalidRequest, InvalidToken
from admit.signin import client_credentials
from admit.web import forms
from admit.web.bearer import holder, still_stands
from admit.web.forms import read_form
from admit.web.operations import Call, Operation, read_body
from admit.web.rate_limits import count_rest

FORM_BYTES_MAX = 32_768
KEYS_CACHE_SECONDS = 300


class Valid(msgspec.Struct, frozen=True):
    """The token is good for this app, now."""

    valid: bool
    claims: msgspec.Raw


ShownType = Literal["google", "github", "microsoft", "apple", "custom-oauth2"]

_SHOWN_TYPES: dict[str, ShownType] = {
    "google": "google",
    "github": "github",
    "microsoft": "microsoft",
    "apple": "apple",
}


class ShownProvider(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A provider as the addon shows it: a button with an icon that it has itself, or `iconUrl`."""

    type: ShownType
    name: str
    display_name: str
    icon_url: str = ""
    scopes: tuple[str, ...] = ()


class AuthProviders(msgspec.Struct, frozen=True, rename="camel"):
    """How people may sign in."""

    providers: tuple[ShownProvider, ...]
    otp_enabled: bool


class KeySet(msgspec.Struct, frozen=True):
    """A JSON Web Key Set."""

    keys: list[dict[str, Any]]


async def validate(call: Call) -> Response:
    """The claims of the bearer token, for backends of the app. 401 where it is not good any more."""
    app = await call.app()
    asking = await holder(call, app)
    told = await count_rest(call, app, asking.claims, prod=True)
    asking.check_welcome()
    return call.answer(Valid(True, asking.claims.raw), headers=told)


async def introspect(call: Call) -> Response:
    """RFC 7662 §2, for API clients of the app. Anything but a live token of this app is `active: false`."""
    app = await call.app()
    form = read_form(await read_body(call.request, call.operation.body_bytes_max))
    presented = client_credentials.credentials_of(
        form.get("client_id"), form.get("client_secret"), call.header("authorization")
    )
    client_credentials.authenticate(app, call.gateway.ring, presented, call.gateway.clock())
    if "token" not in form:
        raise InvalidRequest("token is missing.")
    gateway = call.gateway
    try:
        claims = gateway.mint.verify(form["token"], app_id=app.app_id)
    except InvalidToken:
        return call.answer({"active": False})
    if not await still_stands(gateway, app, claims):
        return call.answer({"active": False})
    told: dict[str, Any] = msgspec.json.decode(claims.raw)
    return call.answer(
        told
        | {"active": True, "scope": " ".join(claims.scopes), "token_type": "Bearer", "username": claims.sub}
    )


async def auth_providers(call: Call) -> Response:
    """What the addon asks before every login that names no method."""
    app = await call.app()
    providers = tuple(_shown(provider) for provider in app.providers.values())
    return call.answer(AuthProviders(providers, otp_enabled=app.settings.mailed_codes))


async def keys(call: Call) -> Response:
    """The public keys that verify this app's access tokens."""
    await call.app()
    return call.answer(
        call.gateway.mint.jwks(), headers={"Cache-Control": f"public, max-age={KEYS_CACHE_SECONDS}"}
    )


def _shown(provider: Provider) -> ShownProvider:
    return ShownProvider(
        type=_SHOWN_TYPES.get(provider.type, "custom-oauth2"),
        name=provider.name,
        display_name=provider.display_name,
        icon_url=provider.icon_url,
        scopes=provider.scopes,
    )


OPERATIONS = (
    Operation(
        method="GET",
        path="/{app}/token/validate",
        handler=validate,
        summary="Says whether an access token is valid, and what it claims",
        access="person",
        answer=Valid,
        codes=("invalid_token", "rate_limited"),
    ),
    Operation(
        method="POST",
        path="/{app}/introspect",
        handler=introspect,
        summary="Token introspection (RFC 7662)",
        access="open",
        body=dict[str, str],
        body_media_types=(forms.MEDIA_TYPE,),
        body_bytes_max=FORM_BYTES_MAX,
        answer=dict[str, Any],
        codes=("invalid_client",),
    ),
    Operation(
        method="GET",
        path="/{app}/auth-providers",
        handler=auth_providers,
        summary="Lists the ways to sign in",
        access="open",
        answer=AuthProviders,
    ),
    Operation(
        method="GET",
        path="/{app}/.well-known/jwks.json",
        handler=keys,
        summary="The keys that verify access tokens (RFC 7517)",
        access="open",
        answer=KeySet,
    ),
)
