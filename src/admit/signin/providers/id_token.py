"""ID tokens (OpenID Connect Core 1.0 §3.1.3.7): which are believed, and about whom. Pure.

What a token says of itself chooses among keys and algorithms that are trusted already, and never adds one:
`jku`, `jwk`, `x5u` and `x5c` are not even read.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from admit.accounts.providers import Provider
from admit.outbound.strict_json import Unreadable, read_object
from admit.signin.providers.faults import fault, shown
from admit.signin.providers.keys import ProviderKey
from admit.signin.providers.metadata import TENANT_TEMPLATE, is_tenant_id, tenant_is_let_in

TOKEN_CHARACTERS_MAX = 16_384
SUBJECT_CHARACTERS_MAX = 255
CLOCK_SKEW_SECONDS = 120
AGE_SECONDS_MAX = 86_400
SECONDS_MAX = 10**11

ALGORITHMS = {
    name: JWSRegistry.algorithms[name]
    for name in (
        *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
        *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
    )
}
_HASHES = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}


class IdToken(msgspec.Struct, frozen=True):
    """A JWS in compact form, taken apart. Nothing of it is believed yet."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes

    def __repr__(self) -> str:
        return f"IdToken(iss={shown(self.claims.get('iss'))})"


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What a token must say. `issuer` may have {tenantid} in it.

    `clients`: whom it may be meant for. `nonce`: None where none was agreed upon. `access_token`: the one
    that came with it, "" where none did.
    """

    issuer: str
    clients: tuple[str, ...]
    nonce: str | None
    access_token: str = ""

    def __repr__(self) -> str:
        return f"Expected(issuer={self.issuer!r})"


def parse_id_token(text: str) -> IdToken:
    """Takes `text` apart, as strictly as JWS allows (RFC 7515 §7.1). Raises Unreadable."""
    if len(text) > TOKEN_CHARACTERS_MAX:
        raise Unreadable(f"is a token of more than {TOKEN_CHARACTERS_MAX} characters")
    parts = text.split(".")
    if len(parts) == 5:
        raise Unreadable("is an encrypted token, which this server cannot read")
    if len(parts) != 3 or not text.isascii():
        raise Unreadable("is not a token of three parts")
    header, claims, signature = map(_decoded, parts)
    return IdToken(read_object(header), read_object(claims), f"{parts[0]}.{parts[1]}".encode(), signature)


def believed_claims(
    provider: Provider, token: IdToken, keys: Sequence[ProviderKey], expected: Expected, now: int
) -> Mapping[str, Any]:
    """The claims of `token`, once every check has passed; `now` in seconds. Raises ProviderFault.

    Each check that fails has a code of its own. A signature or key that does not fit may be news of keys
    that the caller has yet to hear of: `id_token_key` and `id_token_signature`.
    """
    _check_header(provider, token.header)
    _check_signature(provider, token, keys)
    claims = token.claims
    _check_issuer(provider, claims, expected)
    _check_audience(provider, claims, expected)
    _check_times(provider, claims, now)
    _check_nonce(provider, claims, expected)
    _check_subject(provider, claims)
    _check_access_token(provider, token, expected)
    return claims


def _check_header(provider: Provider, header: Mapping[str, Any]) -> None:
    algorithm, type = header.get("alg"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise fault(provider, "id_token_algorithm", f"The ID token is signed by {shown(algorithm)}.")
    if "crit" in header:
        raise fault(provider, "id_token_critical", f"The ID token wants {shown(header['crit'])} understood.")
    # RFC 8725 §3.11: at+jwt, logout+jwt and secevent+jwt are signed by the same keys for other ends.
    if not isinstance(type, str) or type.lower().removeprefix("application/").endswith("+jwt"):
        raise fault(provider, "id_token_malformed", f"This is no ID token: its typ is {shown(type)}.")
    if not isinstance(header.get("kid"), str | None):
        raise fault(provider, "id_token_malformed", "The kid of the ID token is no text.")


def _check_signature(provider: Provider, token: IdToken, keys: Sequence[ProviderKey]) -> None:
    algorithm = ALGORITHMS[token.header["alg"]]
    chosen = _chosen_key(provider, token, keys)
    try:
        signed = algorithm.verify(token.signed, token.signature, chosen.key)
    except (JoseError, ValueError):
        signed = False
    if not signed:
        raise fault(
            provider, "id_token_signature", f"The key {shown(chosen.kid)} has not signed the ID token."
        )


def _chosen_key(provider: Provider, token: IdToken, keys: Sequence[ProviderKey]) -> ProviderKey:
    """The one key that the token names and that fits its algorithm."""
    algorithm, kid = token.header["alg"], token.header.get("kid")
    fitting = [key for key in keys if _fits(key, algorithm) and kid in (None, key.kid)]
    if len(fitting) != 1:
        told = f"{len(fitting)} keys" if fitting else "No key"
        raise fault(provider, "id_token_key", f"{told} of the provider fit kid {shown(kid)} and {algorithm}.")
    [key] = fitting
    if key.issuer and _of_tenant(key.issuer, token.claims) != token.claims.get("iss"):
        raise fault(provider, "id_token_key", f"The key {shown(kid)} signs for {shown(key.issuer)} alone.")
    return key


def _fits(key: ProviderKey, algorithm: str) -> bool:
    try:
        ALGORITHMS[algorithm].check_key(key.key)
    except JoseError:
        return False
    return True


def _check_issuer(provider: Provider, claims: Mapping[str, Any], expected: Expected) -> None:
    issuer, tenant = expected.issuer, claims.get("tid")
    if provider.type == "microsoft":
        if not is_tenant_id(tenant):
            raise fault(
                provider, "id_token_tenant", f"The tenant {shown(tenant)} of the ID token is no GUID."
            )
        issuer = _of_tenant(issuer, claims)
    if claims.get("iss") != issuer:
        raise fault(
            provider,
            "id_token_issuer",
            f"The ID token is from {shown(claims.get('iss'))}, not from {issuer}.",
        )
    if provider.type == "microsoft" and not tenant_is_let_in(provider, str(tenant)):
        raise fault(provider, "id_token_tenant", f"People of the tenant {tenant} are not let in.")


def _of_tenant(issuer: str, claims: Mapping[str, Any]) -> str:
    return issuer.replace(TENANT_TEMPLATE, str(claims.get("tid")))


def _check_audience(provider: Provider, claims: Mapping[str, Any], expected: Expected) -> None:
    named = claims.get("aud")
    audiences = named if isinstance(named, list) else [named]
    if not any(each in expected.clients for each in audiences):
        raise fault(provider, "id_token_audience", f"The ID token is meant for {shown(named)}.")
    party = claims.get("azp")
    if (party is not None or len(audiences) > 1) and party not in expected.clients:
        raise fault(provider, "id_token_azp", f"The ID token was given to the client {shown(party)}.")


def _check_times(provider: Provider, claims: Mapping[str, Any], now: int) -> None:
    expires, issued = _time(provider, claims, "exp"), _time(provider, claims, "iat")
    if now >= expires + CLOCK_SKEW_SECONDS:
        raise fault(provider, "id_token_expired", f"The ID token expired {now - expires:.0f} s ago.")
    begins = max(issued, _time(provider, claims, "nbf") if "nbf" in claims else issued)
    if begins > now + CLOCK_SKEW_SECONDS:
        raise fault(
            provider,
            "id_token_not_yet",
            f"The ID token begins {begins - now:.0f} s from now: the clocks of provider and server differ.",
        )
    if issued + AGE_SECONDS_MAX + CLOCK_SKEW_SECONDS < now:
        raise fault(provider, "id_token_too_old", f"The ID token was issued {now - issued:.0f} s ago.")


def _check_nonce(provider: Provider, claims: Mapping[str, Any], expected: Expected) -> None:
    if expected.nonce is None:
        return
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), expected.nonce.encode()):
        raise fault(provider, "id_token_nonce", "The ID token answers another sign-in than this one.")


def _check_subject(provider: Provider, claims: Mapping[str, Any]) -> None:
    if not is_subject(claims.get("sub")):
        raise fault(provider, "id_token_subject", f"The sub {shown(claims.get('sub'))} cannot be used.")
    # OpenID Connect Back-Channel Logout 1.0 §2.4: a logout token must not pass for an ID token.
    if "events" in claims:
        raise fault(provider, "id_token_malformed", "This is no ID token: it announces events.")


def is_subject(subject: object) -> bool:
    """Whether `subject` can say who somebody is: 1 to 255 visible characters."""
    return isinstance(subject, str) and 0 < len(subject) <= SUBJECT_CHARACTERS_MAX and subject.isprintable()


def _check_access_token(provider: Provider, token: IdToken, expected: Expected) -> None:
    """OpenID Connect Core 1.0 §3.1.3.8: the access token belongs to the ID token, where that says so."""
    said = token.claims.get("at_hash")
    if said is None or not expected.access_token:
        return
    # Ed25519 has SHA-512 inside.
    digest = _HASHES.get(token.header["alg"][-3:], hashlib.sha512)(expected.access_token.encode()).digest()
    half = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
    if said != half:
        raise fault(provider, "id_token_at_hash", "The access token is not the one of the ID token.")


def _time(provider: Provider, claims: Mapping[str, Any], name: str) -> float:
    """A NumericDate (RFC 7519 §2): seconds since 1970."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < SECONDS_MAX:
        raise fault(provider, "id_token_malformed", f"The {name} of the ID token is {shown(value)}.")
    return value


def _decoded(part: str) -> bytes:
    """The bytes of unpadded base64url, in its one spelling."""
    try:
        raw = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Unreadable("is not base64url") from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != part:
        raise Unreadable("is not base64url in its one spelling")
    return raw
