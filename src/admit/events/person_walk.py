"""The events of one person, the newest first, at a cost that does not grow with how many there are."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import bindparam, func, select

from admit.events.feed import FOR_EVERYBODY
from admit.events.log import events
from admit.storage.transaction import Transaction

SCANNED_MAX = 2_000
"""Changes of data, which are not told to everybody, may be most of what somebody does."""

_OF_PERSON = (
    select(events.c.position, events.c.type, events.c.occurred_at)
    .where(
        events.c.app_id == bindparam("app"),
        events.c.uid == bindparam("uid"),
        events.c.position < bindparam("before"),
    )
    .order_by(events.c.position.desc())
)
_scanned = _OF_PERSON.limit(bindparam("scanned")).subquery()
NEWEST = (
    select(_scanned.c.position, _scanned.c.occurred_at)
    .where(_scanned.c.type.in_(sorted(FOR_EVERYBODY)))
    .order_by(_scanned.c.position.desc())
    .limit(bindparam("limit"))
)
EDGE = _OF_PERSON.offset(bindparam("scanned") - 1).limit(1)
COUNT = select(func.count()).select_from(
    select(events.c.position)
    .where(events.c.app_id == bindparam("app"), events.c.uid == bindparam("uid"))
    .limit(bindparam("most"))
    .subquery()
)


class Walked(msgspec.Struct, frozen=True):
    """Positions with their times (UTC ms), the newest first. `edge`: where the walk stopped though there may
    be more behind it; None: it found as many as were asked for, or the end."""

    found: Sequence[tuple[int, int]]
    edge: tuple[int, int] | None


def walk(tx: Transaction, app_id: str, uid: str, before: int, limit: int) -> Walked:
    """The events of a person before a position, `limit` at most, of the types that everybody is told."""
    which = {"app": app_id, "uid": uid, "before": before, "scanned": SCANNED_MAX}
    found = [(row.position, row.occurred_at) for row in tx.execute(NEWEST, which | {"limit": limit})]
    if len(found) == limit:
        return Walked(found, None)
    edge = tx.execute(EDGE, which).one_or_none()
    return Walked(found, None if edge is None else (edge.position, edge.occurred_at))


def count(tx: Transaction, app_id: str, uid: str, most: int) -> int:
    """How many events tell of a person; no more than `most` are counted."""
    return int(tx.execute(COUNT, {"app": app_id, "uid": uid, "most": most}).scalar_one())
