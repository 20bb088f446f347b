"""Verifies the Ed25519 signatures (`v1a`) of Standard Webhooks, which the published library does not."""

import base64
import json
import time
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import WebhookVerificationError

SECONDS_OFF_MAX = 300


class PublicKeyWebhook:
    """Stands in for `standardwebhooks.Webhook` where there is a public key (`whpk_…`) and no secret."""

    def __init__(self, public_key: str) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key.removeprefix("whpk_")))

    def verify(self, body: bytes, headers: Mapping[str, str]) -> Any:
        """What `body` says. Raises WebhookVerificationError."""
        given = {name.lower(): value for name, value in headers.items()}
        sent_at = given.get("webhook-timestamp", "")
        if not sent_at.isdecimal() or abs(time.time() - int(sent_at)) > SECONDS_OFF_MAX:
            raise WebhookVerificationError("webhook-timestamp is missing or more than five minutes off")
        signed = f"{given.get('webhook-id')}.{sent_at}.".encode() + body
        for signature in given.get("webhook-signature", "").split():
            version, _, value = signature.partition(",")
            if version == "v1a" and self._has_signed(signed, value):
                return json.loads(body)
        raise WebhookVerificationError("No signature is of this key")

    def _has_signed(self, signed: bytes, signature: str) -> bool:
        try:
            self._key.verify(base64.b64decode(signature, validate=True), signed)
        except (InvalidSignature, ValueError):
            return False
        return True
