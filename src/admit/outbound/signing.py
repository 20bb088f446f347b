"""Standard Webhooks 1.0.0: how a receiver knows that a request is ours. Pure.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hmac
from collections.abc import Sequence
from functools import lru_cache

from admit import clock

PREFIX = "whsec_"
KEY_BYTES_MIN = 24
KEY_BYTES_MAX = 64


def new_secret() -> str:
    """A signing secret as receivers' libraries expect it: 32 random bytes in base64 behind `whsec_`."""
    key = base64.urlsafe_b64decode(clock.new_secret() + "=")
    return PREFIX + base64.b64encode(key).decode()


def headers(secrets: Sequence[str], message_id: str, timestamp_seconds: int, body: bytes) -> dict[str, str]:
    """The headers that sign `body`, once with each of `secrets`, so that a secret can be exchanged.

    `message_id` stays the same over all attempts; `timestamp_seconds` is the time of this one. Receivers
    refuse what is more than five minutes off, so an event's own time would spoil every late attempt.
    """
    if not secrets:
        raise ValueError("a request cannot be signed without a secret")
    if not message_id or "." in message_id or not message_id.isascii() or not message_id.isprintable():
        raise ValueError("a message id is not empty, ASCII and without a dot")
    signed = f"{message_id}.{timestamp_seconds}.".encode() + body
    # One space, neither comma nor two: a verifier in use raises on an empty element and loses both keys.
    signatures = " ".join("v1," + _signature(secret, signed) for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_seconds),
        "webhook-signature": signatures,
    }


def _signature(secret: str, signed: bytes) -> str:
    mac = _keyed(secret).copy()
    mac.update(signed)
    return base64.b64encode(mac.digest()).decode()


@lru_cache(maxsize=1_024)
def _keyed(secret: str) -> hmac.HMAC:
    return hmac.new(_key(secret), digestmod="sha256")


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX:
        # Without the value: it is a secret even when it is broken.
        raise ValueError(f"a signing secret is {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes in base64")
    return key
