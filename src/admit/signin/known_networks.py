"""Where the owner of a mailbox has proved it before: there, strangers elsewhere cannot use up their turns.

What is known is kept as keyed digests only, so that the table says nothing about anyone.
"""

import msgspec
from sqlalchemy import bindparam, delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert  # its ON CONFLICT reads the same on SQLite

from admit import clock
from admit.signin.limits import Limit, Want, wants
from admit.signin.tables import known_networks
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction

KNOWN_DAYS = 90
PLACE_PURPOSE = "known-network"

REMEMBER = (
    insert(known_networks)
    .values(app_id=bindparam("app"), place=bindparam("digest"), until=bindparam("end"))
    .on_conflict_do_update(
        index_elements=[known_networks.c.app_id, known_networks.c.place],
        set_={"until": bindparam("end")},
    )
)
KNOWN = select(known_networks.c.until).where(
    known_networks.c.app_id == bindparam("app"),
    known_networks.c.place.in_(bindparam("digests", expanding=True)),
    known_networks.c.until > bindparam("now"),
)
_KEY = tuple_(known_networks.c.app_id, known_networks.c.place)
PRUNE_NETWORKS = delete(known_networks).where(
    _KEY.in_(
        select(known_networks.c.app_id, known_networks.c.place)
        .where(known_networks.c.until <= bindparam("now"))
        .limit(bindparam("most"))
    )
)


class Place(msgspec.Struct, frozen=True):
    """A mailbox of an app, as somebody in `network` asks for it; "": from an unknown network."""

    app_id: str
    mailbox: str
    network: str


def remember(tx: Transaction, ring: KeyRing, place: Place, now: int) -> None:
    """Keeps in mind for KNOWN_DAYS that whoever can read the mailbox has asked and answered from there."""
    if place.network:
        row = {"app": place.app_id, "digest": ring.digest(PLACE_PURPOSE, _text(place))}
        tx.execute(REMEMBER, row | {"end": now + KNOWN_DAYS * clock.DAY_MS})


def is_known(tx: Transaction, ring: KeyRing, place: Place, now: int) -> bool:
    """Whether `remember` was told of `place` less than KNOWN_DAYS ago."""
    if not place.network:
        return False
    which = {"app": place.app_id, "digests": ring.digests(PLACE_PURPOSE, _text(place)), "now": now}
    return tx.execute(KNOWN, which).first() is not None


def turns(
    tx: Transaction,
    ring: KeyRing,
    place: Place,
    what: str,
    *,
    here: Limit | None,
    everywhere: Limit | None,
    now: int,
) -> list[Want]:
    """One more of `what` about the mailbox: within `here` for this network, and within `everywhere` for all
    networks together that are not known. So one stranger leaves something to the others, and strangers
    together leave a known network alone.
    """
    common = "" if is_known(tx, ring, place, now) else place.mailbox
    return wants((f"{what}-here", _text(place) if place.network else "", here), (what, common, everywhere))


def prune(tx: Transaction, now: int, rows_max: int) -> int:
    """Forgets at most `rows_max` networks that are known no longer; returns how many it were."""
    return tx.execute(PRUNE_NETWORKS, {"now": now, "most": rows_max}).rowcount


def _text(place: Place) -> str:
    return f"{place.app_id} {place.network} {place.mailbox}"
