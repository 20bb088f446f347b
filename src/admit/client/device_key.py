"""The key of this device: it signs refreshes, and never leaves the machine. contracts/dexie-cloud.md §2."""

import base64
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

RSA_BITS = 2_048
RSA_EXPONENT = 65_537
SIGNING_ALGORITHM: Final = "RSASSA-PKCS1-v1_5"


def new_private_key() -> str:
    """A fresh RSA key in PEM (PKCS #8). Takes a tenth of a second."""
    key = generate_private_key(RSA_EXPONENT, RSA_BITS)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class DeviceKey:
    """A private key from its PEM. Raises ValueError for anything that is not an RSA key."""

    def __init__(self, pem: str) -> None:
        key = load_pem_private_key(pem.encode(), None)
        if not isinstance(key, RSAPrivateKey):
            raise ValueError("not an RSA key")
        self._key = key

    @property
    def public_pem(self) -> str:
        """The public half, as a server wants it: SubjectPublicKeyInfo in PEM."""
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def sign(self, message: str) -> str:
        """RSASSA-PKCS1-v1_5 with SHA-256 over `message` in UTF-8, in standard padded base64."""
        signature = self._key.sign(message.encode(), padding.PKCS1v15(), hashes.SHA256())
        return base64.b64encode(signature).decode()
