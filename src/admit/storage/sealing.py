"""Secrets at rest: sealed where they must be read again, digested where they are only compared.

Every key is derived from SECRET_KEY for one purpose alone (HKDF, RFC 5869), so that no key is used twice.
"""

import base64
import binascii
import hmac
from functools import lru_cache
from typing import Self

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from admit.clock import random_bytes
from admit.errors import AdmitError, ConfigError

KEY_CHARACTERS_MIN = 32
NONCE_BYTES = 12
KEY_ID_BYTES = 4
VERSION = "s1"


class SealBroken(AdmitError):
    """A sealed value was made with an unknown key, was changed, or stands where it was not put."""

    code = "seal_broken"


class KeyRing(msgspec.Struct, frozen=True):
    """The secret keys of this installation, newest first. The newest seals; every one of them unseals."""

    keys: tuple[bytes, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `key1,key2,…`, newest first. Raises ConfigError when a key is too short or there is none."""
        keys = [key.strip() for key in text.split(",")]
        if any(len(key) < KEY_CHARACTERS_MIN for key in keys):
            raise ConfigError(
                f"SECRET_KEY needs at least {KEY_CHARACTERS_MIN} characters in each of its keys, which are "
                "separated by commas, newest first. Make one with: openssl rand -base64 48"
            )
        if len(set(keys)) < len(keys):
            raise ConfigError("SECRET_KEY names the same key twice. Name each key once, newest first.")
        return cls(tuple(key.encode() for key in keys))

    def __repr__(self) -> str:
        return f"KeyRing({len(self.keys)} keys)"

    def seal(self, plain: str, place: str) -> str:
        """Encrypts `plain` for `place` (`table.column/app_id/row`), where alone it can be unsealed."""
        key = self.keys[0]
        nonce = random_bytes(NONCE_BYTES)
        sealed = _cipher(key).encrypt(nonce, plain.encode(), place.encode())
        return f"{VERSION}.{_key_id(key)}.{_encode(nonce + sealed)}"

    def unseal(self, sealed: str, place: str) -> str:
        """Returns what was sealed for `place`. Raises SealBroken."""
        version, _, rest = sealed.partition(".")
        key_id, _, body = rest.partition(".")
        key = next((key for key in self.keys if _key_id(key) == key_id), None)
        if version != VERSION or key is None:
            raise SealBroken(
                f"The sealed value at {place} was made with a key that SECRET_KEY does not name. "
                "Add the former key behind the present one, separated by a comma."
            )
        try:
            raw = _decode(body)
            return _cipher(key).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], place.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise SealBroken(
                f"The sealed value at {place} was changed or put there from elsewhere."
            ) from error

    @property
    def mark(self) -> str:
        """What the values begin with that the newest key has sealed."""
        return f"{VERSION}.{_key_id(self.keys[0])}."

    def digest(self, purpose: str, value: str) -> str:
        """A keyed digest of `value` for `purpose`, under the newest key: 43 characters of base64url."""
        return _encode(_mac(self.keys[0], purpose, value.encode()))

    def digests(self, purpose: str, value: str) -> tuple[str, ...]:
        """The digests of `value` under every key, newest first: for look-ups after a change of keys."""
        return tuple(_encode(_mac(key, purpose, value.encode())) for key in self.keys)

    def matches(self, purpose: str, value: str, digest: str) -> bool:
        """Whether `digest` was made of `value` under any key. Takes the same time for every digest."""
        given = digest.encode()
        return any(
            [hmac.compare_digest(each.encode(), given) for each in self.digests(purpose, value)]  # noqa: C419
        )

    def mac(self, purpose: str, message: bytes) -> bytes:
        """HMAC-SHA256 of `message` under the newest key for `purpose`."""
        return _mac(self.keys[0], purpose, message)

    def verify_mac(self, purpose: str, message: bytes, mac: bytes) -> bool:
        """Whether `mac` was made of `message` under any key. Takes the same time for every mac."""
        return any(
            [hmac.compare_digest(_mac(key, purpose, message), mac) for key in self.keys]  # noqa: C419
        )


@lru_cache(maxsize=256)
def _derive(key: bytes, purpose: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"admit/{purpose}".encode()).derive(key)


@lru_cache(maxsize=16)
def _cipher(key: bytes) -> AESGCM:
    return AESGCM(_derive(key, "seal"))


@lru_cache(maxsize=16)
def _key_id(key: bytes) -> str:
    """Tells which key sealed a value and nothing about the key."""
    return _encode(_derive(key, "key-id")[:KEY_ID_BYTES])


def _mac(key: bytes, purpose: str, message: bytes) -> bytes:
    mac = _keyed(key, purpose).copy()
    mac.update(message)
    return mac.digest()


@lru_cache(maxsize=256)
def _keyed(key: bytes, purpose: str) -> hmac.HMAC:
    """A MAC before its message. A copy of it is cheaper than a new one, and keeps hold of the interpreter."""
    return hmac.new(_derive(key, f"mac/{purpose}"), digestmod="sha256")


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
