"""Keys before the last renewal, which hold for a minute on: for a lost answer, and for another tab."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Self

import msgspec
from sqlalchemy import bindparam, delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from admit.accounts.sessions import Session
from admit.accounts.tables import former_keys
from admit.accounts.users import Key
from admit.storage.lookups import Lookup
from admit.storage.rows import Insertion
from admit.storage.transaction import Transaction

FIND_FORMER = Lookup(select(former_keys), (former_keys.c.app_id, former_keys.c.session_id))
_keep = insert(former_keys)
KEEP_FORMER = Insertion(
    _keep.on_conflict_do_update(
        index_elements=["app_id", "session_id"],
        set_={name: _keep.excluded[name] for name in ("public_key", "key_thumbprint", "until")},
    )
)
_KEY = tuple_(former_keys.c.app_id, former_keys.c.session_id)
PRUNE_FORMER = delete(former_keys).where(
    _KEY.in_(
        select(former_keys.c.app_id, former_keys.c.session_id)
        .where(former_keys.c.until <= bindparam("now"))
        .limit(bindparam("most"))
    )
)


class FormerKey(msgspec.Struct, frozen=True):
    """The key that a session had until its last renewal; the fields are the columns of the table."""

    app_id: str
    session_id: str
    uid: str
    public_key: str
    key_thumbprint: str
    until: int

    @classmethod
    def of(cls, session: Session, *, until: int) -> Self:
        """The present key of `session`, which is about to get another."""
        return cls(
            session.app_id,
            session.session_id,
            session.uid,
            session.public_key,
            session.key_thumbprint,
            until,
        )

    def holds(self, thumbprint: str, now: int) -> bool:
        """Whether the key with this thumbprint is this one, and still good for something."""
        return self.key_thumbprint == thumbprint and now < self.until


def find(tx: Transaction, app_id: str, session_id: str) -> FormerKey | None:
    """The key that the session had before its last renewal; None where there was none, or long ago."""
    return next((FormerKey(*row) for row in FIND_FORMER.rows(tx, [(app_id, session_id)])), None)


def of_others(
    tx: Transaction, signers: Iterable[tuple[Key, str]], found: Mapping[Key, Session]
) -> dict[Key, FormerKey]:
    """The former keys of sessions for which one of `signers` is not the thumbprint of the present key."""
    keys = {key for key, signer in signers if key in found and found[key].key_thumbprint != signer}
    return {(row.app_id, row.session_id): FormerKey(*row) for row in FIND_FORMER.rows(tx, keys)}


def keep(tx: Transaction, keys: Sequence[FormerKey]) -> None:
    """Keeps the keys of sessions that have got another. Of each session one is known, the last."""
    tx.write(KEEP_FORMER, [msgspec.structs.astuple(key) for key in keys])


def prune(tx: Transaction, now: int, rows_max: int) -> int:
    """Forgets at most `rows_max` keys that have ended; returns how many it were."""
    return tx.execute(PRUNE_FORMER, {"now": now, "most": rows_max}).rowcount
