"""What browsers and we tell each other about passkeys (WebAuthn Level 3): options and answers. Pure."""

import binascii
import ipaddress
import json
from typing import Any
from urllib.parse import urlsplit

import msgspec
import webauthn
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from admit.errors import InvalidRequest

CREDENTIAL_CHARACTERS_MAX = 20_000
CREDENTIAL_ID_BYTES_MAX = 1_023  # WebAuthn §4, Credential ID
SERVICE = "Admit"
REFUSED = "The passkey could not be used. Try again, or use another way."


class RelyingParty(msgspec.Struct, frozen=True):
    """Who we are to authenticators: the host of PUBLIC_URL, and the origin of its pages."""

    rp_id: str
    origin: str

    @classmethod
    def of(cls, public_url: str) -> "RelyingParty":
        """That of PUBLIC_URL."""
        parts = urlsplit(public_url)
        return cls(parts.hostname or "", f"{parts.scheme}://{parts.netloc}")

    @property
    def usable(self) -> bool:
        """Whether browsers know passkeys there: never at an IP address. WebAuthn §5.1.3, effective domain."""
        try:
            ipaddress.ip_address(self.rp_id)
        except ValueError:
            return bool(self.rp_id)
        return False


class Holder(msgspec.Struct, frozen=True):
    """Whose passkey is made, and the credential ids of those that they have."""

    operator_id: str
    email: str
    name: str
    credential_ids: tuple[str, ...] = ()


class NewPasskey(msgspec.Struct, frozen=True):
    """A passkey as an authenticator has made it."""

    credential_id: str
    public_key: str
    sign_count: int


class KnownPasskey(msgspec.Struct, frozen=True, kw_only=True):
    """A passkey that is kept."""

    passkey_id: str
    operator_id: str
    credential_id: str
    public_key: str
    sign_count: int


def options_to_make(party: RelyingParty, holder: Holder, challenge: str) -> str:
    """What navigator.credentials.create is given, as JSON: a discoverable passkey that verifies its user."""
    options = webauthn.generate_registration_options(
        rp_id=party.rp_id,
        rp_name=SERVICE,
        user_id=holder.operator_id.encode(),
        user_name=holder.email,
        user_display_name=holder.name or holder.email,
        challenge=base64url_to_bytes(challenge),
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=[
            PublicKeyCredentialDescriptor(id=base64url_to_bytes(each)) for each in holder.credential_ids
        ],
    )
    return webauthn.options_to_json(options)


def options_to_use(party: RelyingParty, challenge: str) -> str:
    """What navigator.credentials.get is given, as JSON: any passkey of ours, which verifies its user."""
    options = webauthn.generate_authentication_options(
        rp_id=party.rp_id,
        challenge=base64url_to_bytes(challenge),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return webauthn.options_to_json(options)


def challenge_in(credential: str) -> str:
    """The challenge that `credential`, JSON of a PublicKeyCredential, answers. Raises InvalidRequest."""
    try:
        data = _decoded(credential)["response"]["clientDataJSON"]
        challenge = json.loads(base64url_to_bytes(data))["challenge"]
        return bytes_to_base64url(base64url_to_bytes(challenge))
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error, RecursionError):
        raise InvalidRequest(REFUSED) from None


def credential_id_in(credential: str) -> str:
    """The id of the passkey that `credential` comes from. Raises InvalidRequest."""
    try:
        found = bytes_to_base64url(base64url_to_bytes(_decoded(credential)["id"]))
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error, RecursionError):
        raise InvalidRequest(REFUSED) from None
    return found


def made(party: RelyingParty, credential: str, challenge: str) -> NewPasskey:
    """The passkey that was made in answer to `challenge`. Raises InvalidRequest."""
    try:
        verified = webauthn.verify_registration_response(
            credential=_decoded(credential),
            expected_challenge=base64url_to_bytes(challenge),
            expected_rp_id=party.rp_id,
            expected_origin=party.origin,
            require_user_verification=True,
        )
    except Exception:  # the library raises what its parsers raise, of what a stranger has sent
        raise InvalidRequest(REFUSED) from None
    if len(verified.credential_id) > CREDENTIAL_ID_BYTES_MAX:
        raise InvalidRequest(REFUSED)
    return NewPasskey(
        credential_id=bytes_to_base64url(verified.credential_id),
        public_key=bytes_to_base64url(verified.credential_public_key),
        sign_count=verified.sign_count,
    )


def used(party: RelyingParty, credential: str, challenge: str, known: KnownPasskey) -> int:
    """The new sign count of `known`, which has answered `challenge`.

    Raises InvalidRequest, also where the count does not grow: then there are two of it. WebAuthn §6.1.1.
    """
    try:
        verified = webauthn.verify_authentication_response(
            credential=_decoded(credential),
            expected_challenge=base64url_to_bytes(challenge),
            expected_rp_id=party.rp_id,
            expected_origin=party.origin,
            credential_public_key=base64url_to_bytes(known.public_key),
            credential_current_sign_count=known.sign_count,
            require_user_verification=True,
        )
    except Exception:  # as above
        raise InvalidRequest(REFUSED) from None
    return verified.new_sign_count


def _decoded(credential: str) -> dict[str, Any]:
    if len(credential) > CREDENTIAL_CHARACTERS_MAX:
        raise ValueError("longer than any credential")
    decoded = json.loads(credential)
    if not isinstance(decoded, dict):
        raise TypeError("no object")
    return decoded
