"""RSA keys that sign what endpoints of the format journeyapps are sent: of an app, made at first use.

The public halves are published beside the Ed25519 keys of endpoints. As those, they change when an operator
says so: receivers may have pinned the one that they know.
"""

import base64
import hashlib
from functools import cached_property

import msgspec
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from sqlalchemy import bindparam, delete, insert, select, update

from admit import clock
from admit.clock import DAY_MS, MINUTE_MS
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction
from admit.webhooks.endpoints import TOPIC
from admit.webhooks.sealed import place_of_journey_key
from admit.webhooks.tables import journey_keys

BITS = 2_048
EXPONENT = 65_537
PUBLISHED_AHEAD_MS = 10 * MINUTE_MS
"""Twice as long as receivers may keep the key set: whoever looks finds a key before it signs."""
PUBLISHED_AFTER_MS = DAY_MS
"""How long what a former key has signed can still be verified."""

_of_app = journey_keys.c.app_id == bindparam("app")
KEYS = select(journey_keys).where(_of_app).order_by(journey_keys.c.signs_from, journey_keys.c.key_id)
ADD = insert(journey_keys)
RETIRE = (
    update(journey_keys)
    .where(_of_app, journey_keys.c.published_until.is_(None))
    .values(published_until=bindparam("until"))
)
DESTROY_ENDED = delete(journey_keys).where(_of_app, journey_keys.c.published_until <= bindparam("now"))


class RsaJwk(msgspec.Struct, frozen=True, kw_only=True, tag_field="kty", tag="RSA"):
    """A public key as RFC 7517 and RFC 7518 §6.3 have it. `pem` is the same, as JourneyApps gives it out."""

    kid: str
    n: str
    e: str
    pem: str
    alg: str = "RS256"
    use: str = "sig"


class JourneyKey:
    """A key and when it signs (UTC ms). `published_until` None: the newest."""

    def __init__(self, private: RSAPrivateKey, signs_from: int, published_until: int | None) -> None:
        self._private = private
        self.signs_from = signs_from
        self.published_until = published_until

    def sign(self, body: bytes) -> str:
        """The signature of `body` (RSASSA-PKCS1-v1_5 with SHA-256, RFC 8017 §8.2) in base64."""
        return base64.b64encode(self._private.sign(body, PKCS1v15(), SHA256())).decode()

    @cached_property
    def public(self) -> RsaJwk:
        """Its public half."""
        key = self._private.public_key()
        numbers = key.public_numbers()
        n, e = _number(numbers.n), _number(numbers.e)
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        # RFC 7638 §3: the required members in lexicographic order, without spaces.
        required = f'{{"e":"{e}","kty":"RSA","n":"{n}"}}'.encode()
        return RsaJwk(kid=_base64url(hashlib.sha256(required).digest()), n=n, e=e, pem=pem)

    def is_published_at(self, now: int) -> bool:
        """Whether what it has signed may still come."""
        return self.published_until is None or now < self.published_until


def new_private_key() -> str:
    """A key that nobody has had before, as base64 of PKCS #8. It takes some 100 ms: not in a unit."""
    key = generate_private_key(EXPONENT, BITS)
    return base64.b64encode(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).decode()


def load(tx: Transaction, ring: KeyRing, app_id: str) -> list[JourneyKey]:
    """The keys of the app, the oldest first. Raises SealBroken."""
    return [
        JourneyKey(
            _private_key(ring.unseal(row.sealed, place_of_journey_key(app_id, row.key_id))),
            row.signs_from,
            row.published_until,
        )
        for row in tx.execute(KEYS, {"app": app_id})
    ]


def has_key(tx: Transaction, app_id: str) -> bool:
    """Whether the app has a key."""
    return tx.execute(KEYS, {"app": app_id}).first() is not None


def add_first(tx: Transaction, ring: KeyRing, app_id: str, private: str, now: int) -> None:
    """Makes `private` the key of an app that has none. Of two at once one is kept."""
    tx.hold([f"journey_keys/{app_id}"])
    if not has_key(tx, app_id):
        _add(tx, ring, app_id, private, signs_from=now, now=now)


def rotate(tx: Transaction, ring: KeyRing, app_id: str, private: str, now: int) -> None:
    """Makes `private` the key of the app: it is published now, and signs from PUBLISHED_AHEAD_MS on.

    The former ones are published for PUBLISHED_AFTER_MS behind that.
    """
    tx.hold([f"journey_keys/{app_id}"])
    tx.execute(DESTROY_ENDED, {"app": app_id, "now": now})
    signs_from = now + PUBLISHED_AHEAD_MS if has_key(tx, app_id) else now
    tx.execute(RETIRE, {"app": app_id, "until": signs_from + PUBLISHED_AFTER_MS})
    _add(tx, ring, app_id, private, signs_from=signs_from, now=now)


def key_that_signs(keys: list[JourneyKey], now: int) -> JourneyKey | None:
    """The newest key whose time has come; None: there is none."""
    return next((each for each in reversed(keys) if each.signs_from <= now), None)


def _add(tx: Transaction, ring: KeyRing, app_id: str, private: str, *, signs_from: int, now: int) -> None:
    key_id = clock.new_id("jky")
    row = {
        "app_id": app_id,
        "key_id": key_id,
        "sealed": ring.seal(private, place_of_journey_key(app_id, key_id)),
        "created_at": now,
        "signs_from": signs_from,
        "published_until": None,
    }
    tx.execute(ADD, row)
    tx.signal(TOPIC, "")


def _private_key(text: str) -> RSAPrivateKey:
    key = load_der_private_key(base64.b64decode(text), None)
    assert isinstance(key, RSAPrivateKey)
    return key


def _number(number: int) -> str:
    """RFC 7518 §2: Base64urlUInt."""
    return _base64url(number.to_bytes((number.bit_length() + 7) // 8))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
