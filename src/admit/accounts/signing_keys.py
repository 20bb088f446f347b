"""Keys that sign access tokens: made, sealed, rotated by time, destroyed when their last token has ended."""

import msgspec
from joserfc.jwk import ECKey
from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert  # compiles for SQLite alike

from admit import clock
from admit.accounts.tables import signing_keys
from admit.clock import HOUR_MS
from admit.errors import ConfigError
from admit.storage.sealing import KeyRing, SealBroken
from admit.storage.transaction import Transaction

SIGNS_FOR_MS = 90 * clock.DAY_MS
PUBLISHED_AHEAD_MS = HOUR_MS
TOKEN_SECONDS_MAX = 30 * 86_400
"""No access token lives longer, so that it is known when the last one of a key has ended."""

KEYS = select(signing_keys).order_by(signing_keys.c.generation)
ADD_KEY = (
    insert(signing_keys)
    .on_conflict_do_nothing(index_elements=["generation"])
    .returning(signing_keys.c.key_id)
)
RETIRE_PREDECESSOR = (
    update(signing_keys)
    .where(signing_keys.c.generation == bindparam("predecessor"), signing_keys.c.published_until.is_(None))
    .values(published_until=bindparam("until"))
)
DESTROY_ENDED = delete(signing_keys).where(signing_keys.c.published_until <= bindparam("now"))


class SigningKey(msgspec.Struct, frozen=True, kw_only=True):
    """An ES256 key and when it signs. `published_until`: when its last token has ended; None: the newest."""

    key_id: str
    generation: int
    private: ECKey
    signs_from: int
    published_until: int | None

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id!r}, generation={self.generation})"


def load_keys(tx: Transaction, ring: KeyRing) -> tuple[SigningKey, ...]:
    """All keys, oldest first. Raises ConfigError where SECRET_KEY does not open them.

    The public half comes out of the seal with the private one, so that nobody who can write to the table
    alone can make us trust a key.
    """
    return tuple(
        SigningKey(
            key_id=row.key_id,
            generation=row.generation,
            private=_open(ring, row.key_id, row.sealed),
            signs_from=row.signs_from,
            published_until=row.published_until,
        )
        for row in tx.execute(KEYS).all()
    )


def tend_keys(tx: Transaction, ring: KeyRing, now: int) -> tuple[SigningKey, ...]:
    """Makes the first key or the next one where it is due, destroys ended ones, and returns all that remain.

    Any number of processes may do this at once: of all keys made for one generation, one is kept.
    """
    if tx.execute(DESTROY_ENDED, {"now": now}).rowcount:
        tx.signal("keys", "")
    newest = max(load_keys(tx, ring), key=lambda key: key.generation, default=None)
    if newest is None:
        _add(tx, ring, generation=1, signs_from=now, now=now)
    elif now >= next_key_due_at(newest):
        signs_from = now + PUBLISHED_AHEAD_MS
        if _add(tx, ring, generation=newest.generation + 1, signs_from=signs_from, now=now):
            until = signs_from + TOKEN_SECONDS_MAX * 1_000 + HOUR_MS
            tx.execute(RETIRE_PREDECESSOR, {"predecessor": newest.generation, "until": until})
    return load_keys(tx, ring)


def next_key_due_at(newest: SigningKey) -> int:
    """When the successor of `newest` must be made, so that it is published before it signs."""
    return newest.signs_from + SIGNS_FOR_MS - PUBLISHED_AHEAD_MS


def key_that_signs(keys: tuple[SigningKey, ...], now: int) -> SigningKey:
    """The newest key whose time has come, else the first of all. `keys` are oldest first."""
    return next((key for key in reversed(keys) if key.signs_from <= now), keys[0])


def _add(tx: Transaction, ring: KeyRing, *, generation: int, signs_from: int, now: int) -> bool:
    key_id = clock.new_id("key")
    private = ECKey.generate_key("P-256", private=True).as_pem(private=True).decode()
    row = {
        "key_id": key_id,
        "generation": generation,
        "sealed": ring.seal(private, place_of_signing_key(key_id)),
        "created_at": now,
        "signs_from": signs_from,
        "published_until": None,
    }
    added = tx.execute(ADD_KEY, row).one_or_none() is not None
    if added:
        tx.signal("keys", "")
    return added


def _open(ring: KeyRing, key_id: str, sealed: str) -> ECKey:
    try:
        private = ring.unseal(sealed, place_of_signing_key(key_id))
    except SealBroken as error:
        raise ConfigError(
            "SECRET_KEY does not open the signing keys of this database. Give the key that the database was "
            "made with; after a change of keys name the new and the old one: SECRET_KEY=new,old"
        ) from error
    return ECKey.import_key(private, {"kid": key_id, "use": "sig", "alg": "ES256"})


def place_of_signing_key(key_id: str) -> str:
    """Where a signing key is sealed for."""
    return f"signing_keys.sealed//{key_id}"
