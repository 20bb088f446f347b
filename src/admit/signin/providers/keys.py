"""The public keys of a provider (RFC 7517): which of them may speak for it. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from admit.accounts.providers import Provider
from admit.signin.providers.faults import KEYS, fault

KEYS_MAX = 100
RSA_BITS_MIN = 2048
RSA_BITS_MAX = 8192

_KINDS: Mapping[Any, type[RSAKey] | type[ECKey] | type[OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}


class ProviderKey(msgspec.Struct, frozen=True):
    """A key that signs ID tokens. `issuer`: whose alone, where Microsoft says so; it may have {tenantid}."""

    kid: str | None
    key: RSAKey | ECKey | OKPKey
    issuer: str = ""


def read_keys(provider: Provider, document: Mapping[str, Any]) -> tuple[ProviderKey, ...]:
    """The keys in `document` that sign. What is not understood is passed over (RFC 7517 §5).

    Never a symmetric one: who can check with it can sign with it. Raises ProviderFault where none is left.
    """
    listed = document.get("keys")
    if not isinstance(listed, list):
        raise fault(provider, KEYS, 'The key set has no list "keys".')
    keys = tuple(key for each in listed[:KEYS_MAX] if (key := _key(each)) is not None)
    if not keys:
        raise fault(provider, KEYS, f"None of the {len(listed)} keys in the key set can check a signature.")
    return keys


def _key(jwk: Any) -> ProviderKey | None:
    if not isinstance(jwk, dict) or (kind := _KINDS.get(_hashable(jwk.get("kty")))) is None:
        return None
    kid, issuer = jwk.get("kid"), jwk.get("issuer", "")
    if not isinstance(kid, str | None) or not isinstance(issuer, str) or not _signs(jwk):
        return None
    try:
        key = kind.import_key(jwk)
        if isinstance(key, RSAKey) and not RSA_BITS_MIN <= key.raw_value.key_size <= RSA_BITS_MAX:
            return None
        if isinstance(key, OKPKey) and key.curve_name != "Ed25519":
            return None
    except (JoseError, ValueError, TypeError, KeyError, Warning):
        return None
    return ProviderKey(kid, key, issuer)


def _signs(jwk: Mapping[str, Any]) -> bool:
    """Whether the key is for signatures, and public: a private one that is published belongs to everybody."""
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("use", "sig") == "sig"
        and "d" not in jwk
        and isinstance(operations, list)
        and "verify" in operations
        and isinstance(jwk.get("alg", ""), str)
    )


def _hashable(value: Any) -> Any:
    return value if isinstance(value, str) else None
