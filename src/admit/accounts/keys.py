"""Public keys of devices: read strictly once, kept as one canonical text, and asked whether they signed."""

import base64
import binascii
import hashlib

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from admit.errors import InvalidRequest

RSA_BITS_MIN = 2048
RSA_BITS_MAX = 4096
RSA_EXPONENT = 65537
PEM_CHARACTERS_MAX = 2_000

_HEAD = "-----BEGIN PUBLIC KEY-----"
_TAIL = "-----END PUBLIC KEY-----"
_WHAT_WE_READ = (
    f"public_key must be one RSA key of {RSA_BITS_MIN} to {RSA_BITS_MAX} bits with exponent {RSA_EXPONENT}, "
    "in PEM (SubjectPublicKeyInfo)."
)


class PublicKey(msgspec.Struct, frozen=True):
    """A device's RSA public key.

    `pem`: SPKI PEM in its one canonical form. `thumbprint`: SHA-256 of its DER form, unpadded base64url.
    """

    pem: str
    thumbprint: str


def parse_public_key(pem: str) -> PublicKey:
    """Reads the PEM that a client sent, whatever its line lengths. Raises InvalidRequest."""
    try:
        key = load_der_public_key(_der_of(pem))
    except Exception as error:  # the parser raises a dozen kinds
        raise InvalidRequest(_WHAT_WE_READ) from error
    if not isinstance(key, RSAPublicKey) or not RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
        raise InvalidRequest(_WHAT_WE_READ)
    if key.public_numbers().e != RSA_EXPONENT:
        raise InvalidRequest(_WHAT_WE_READ)
    canonical = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(
        pem=_pem_of(canonical),
        thumbprint=base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode(),
    )


def verify_rsa(pem: str, message: bytes, signature: str) -> bool:
    """Whether `signature` (standard padded base64, RSASSA-PKCS1-v1_5 with SHA-256) is `pem`'s over `message`.

    `pem` comes from a `PublicKey`. A signature that cannot be read is False, never an error.
    """
    key = load_der_public_key(_der_of(pem))
    assert isinstance(key, RSAPublicKey)
    if len(signature) != _base64_length((key.key_size + 7) // 8):
        return False
    try:
        key.verify(base64.b64decode(signature, validate=True), message, padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def _pem_of(der: bytes) -> str:
    """One PEM block with lines of 64 characters. RFC 7468 §3."""
    text = base64.b64encode(der).decode()
    lines = (text[start : start + 64] for start in range(0, len(text), 64))
    return "\n".join((_HEAD, *lines, _TAIL, ""))


def _base64_length(size: int) -> int:
    return 4 * ((size + 2) // 3)


def _der_of(pem: str) -> bytes:
    """The bytes inside the one PEM block that `pem` consists of (RFC 7468 §2)."""
    text = pem.strip()
    if len(pem) > PEM_CHARACTERS_MAX or not (text.startswith(_HEAD) and text.endswith(_TAIL)):
        raise ValueError("not one PEM block")
    return base64.b64decode("".join(text[len(_HEAD) : -len(_TAIL)].split()), validate=True)
