"""Finding an event by its id, for people who have one in front of them."""

from sqlalchemy import bindparam, select

from admit.events import log
from admit.events.log import RECORDED_COLUMNS, Recorded, events
from admit.storage.transaction import Transaction

SCANNED_MAX = 200_000
"""How many of the newest events are looked at: ids have no index of their own."""

BY_ID = select(*RECORDED_COLUMNS).where(
    events.c.app_id == bindparam("app"),
    events.c.position > bindparam("after"),
    events.c.event_id == bindparam("event"),
)


def find(tx: Transaction, app_id: str, event_id: str) -> Recorded | None:
    """The event of this id; None: it is not among those that are kept, or too old."""
    after = max(0, log.reach(tx, app_id).position - SCANNED_MAX)
    row = tx.execute(BY_ID, {"app": app_id, "after": after, "event": event_id}).one_or_none()
    return None if row is None else Recorded(*tuple(row))
