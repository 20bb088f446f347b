"""Standard Webhooks 1.0.0: how a receiver knows that a request is ours. Pure.

A secret is shared with the receiver (`whsec_`, HMAC-SHA256) or kept from it (`whsk_`, Ed25519, of which the
receiver has the public half, `whpk_`).

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence
from functools import lru_cache

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from admit import clock

PREFIX = "whsec_"
PRIVATE_PREFIX = "whsk_"
PUBLIC_PREFIX = "whpk_"
KEY_BYTES_MIN = 24
KEY_BYTES_MAX = 64
SECRET_BYTES = 32
SEED_BYTES = 32
KEYS_REMEMBERED_MAX = 1_024


class PublicJwk(msgspec.Struct, frozen=True, tag_field="kty", tag="OKP"):
    """A public key in a published key set: RFC 8037 §2. `kid` is its RFC 7638 thumbprint."""

    kid: str
    x: str
    crv: str = "Ed25519"
    use: str = "sig"


def new_secret() -> str:
    """A signing secret as receivers' libraries expect it: 32 random bytes in base64 behind `whsec_`."""
    return PREFIX + base64.b64encode(clock.random_bytes(SECRET_BYTES)).decode()


def new_private_key() -> str:
    """An Ed25519 key behind `whsk_`, as senders of Standard Webhooks exchange them: its seed and then its
    public key, in base64."""
    seed = clock.random_bytes(SEED_BYTES)
    return PRIVATE_PREFIX + base64.b64encode(seed + _public_bytes(seed)).decode()


def public_key_of(private_key: str) -> str:
    """What receivers verify the signatures of a `whsk_` with: `whpk_`. Raises ValueError."""
    return PUBLIC_PREFIX + base64.b64encode(_public_bytes(_seed(private_key))).decode()


def jwk_of(private_key: str) -> PublicJwk:
    """The public key of a `whsk_` for a key set. Raises ValueError."""
    x = _base64url(_public_bytes(_seed(private_key)))
    # RFC 7638 §3: the required members of the kind (RFC 8037 §2), in lexicographic order, without spaces.
    required = f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'.encode()
    return PublicJwk(kid=_base64url(hashlib.sha256(required).digest()), x=x)


def headers(secrets: Sequence[str], message_id: str, timestamp_seconds: int, body: bytes) -> dict[str, str]:
    """The headers that sign `body`, once with each of `secrets`, so that a secret can be exchanged.

    `secrets` are `whsec_` and `whsk_`, mixed as you like. `message_id` stays the same over all attempts;
    `timestamp_seconds` is the time of this one. Receivers refuse what is more than five minutes off, so an
    event's own time would spoil every late attempt. Raises ValueError.
    """
    if not secrets:
        raise ValueError("a request cannot be signed without a secret")
    if not message_id or "." in message_id or not message_id.isascii() or not message_id.isprintable():
        raise ValueError("a message id is not empty, ASCII and without a dot")
    signed = f"{message_id}.{timestamp_seconds}.".encode() + body
    # One space, neither comma nor two: a verifier in use raises on an empty element and loses both keys.
    signatures = " ".join(_signer(secret)(signed) for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_seconds),
        "webhook-signature": signatures,
    }


Signer = Callable[[bytes], str]
"""Returns one element of `webhook-signature` for the bytes that it is given."""


@lru_cache(KEYS_REMEMBERED_MAX)
def _signer(secret: str) -> Signer:
    return _asymmetric(secret) if secret.startswith(PRIVATE_PREFIX) else _symmetric(secret)


def _symmetric(secret: str) -> Signer:
    key = _decoded(secret.removeprefix(PREFIX))
    if not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
        # Without the value: it is a secret even when it is broken.
        raise ValueError(f"a signing secret is {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes in base64")
    keyed = hmac.new(key, digestmod="sha256")

    def sign(signed: bytes) -> str:
        mac = keyed.copy()
        mac.update(signed)
        return "v1," + base64.b64encode(mac.digest()).decode()

    return sign


def _asymmetric(private_key: str) -> Signer:
    key = Ed25519PrivateKey.from_private_bytes(_seed(private_key))

    def sign(signed: bytes) -> str:
        return "v1a," + base64.b64encode(key.sign(signed)).decode()

    return sign


def _seed(private_key: str) -> bytes:
    """The 32 bytes that an Ed25519 key is made of (RFC 8032 §5.1.5). The public half may be left away."""
    key = _decoded(private_key.removeprefix(PRIVATE_PREFIX))
    seed, public = key[:SEED_BYTES], key[SEED_BYTES:]
    if len(seed) != SEED_BYTES or public not in (b"", _public_bytes(seed)):
        raise ValueError("a private signing key is an Ed25519 seed and its public key, 64 bytes in base64")
    return seed


def _public_bytes(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def _decoded(text: str) -> bytes:
    """What `text` holds, or nothing when it is no base64."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
