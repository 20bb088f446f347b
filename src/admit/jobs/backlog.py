"""The backlog of a lane: how many of its jobs are not finished, since when, and when one is tried next.

What is said costs the same however long the backlog is.
"""

import msgspec
from sqlalchemy import bindparam, func, select

from admit.jobs.tables import jobs
from admit.storage.transaction import Transaction

COUNTED_MAX = 10_000
LOOKED_AT_MAX = 200

_unfinished = (
    jobs.c.kind == bindparam("of_kind"),
    jobs.c.lane == bindparam("of_lane"),
    jobs.c.finished_at.is_(None),
)
COUNT = select(func.count()).select_from(
    select(jobs.c.due_at).where(*_unfinished).limit(bindparam("most")).subquery()
)
FIRST_DUE = (
    select(jobs.c.created_at, jobs.c.due_at, jobs.c.state)
    .where(*_unfinished, jobs.c.again == bindparam("again"))
    .order_by(jobs.c.due_at)
    .limit(bindparam("most"))
)


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What waits in a lane, or is at work. `waiting`: COUNTED_MAX stands for as many or more.

    `oldest_at`: when the oldest was made (UTC ms). Where very many were tried before, it is the oldest of
    those that are due first, and `sure` is False: there may be an older one. `next_at`: when the next one may
    begin; None: none waits for a time.
    """

    waiting: int = 0
    oldest_at: int | None = None
    sure: bool = True
    next_at: int | None = None


NOTHING = Backlog()


def of_lane(tx: Transaction, kind: str, lane: str) -> Backlog:
    """The backlog of a lane, whose jobs are of `kind`."""
    which = {"of_kind": kind, "of_lane": lane}
    waiting = tx.execute(COUNT, which | {"most": COUNTED_MAX}).scalar_one()
    if not waiting:
        return NOTHING
    # Jobs are made in the order in which they are due, until they have failed once.
    fresh = tx.execute(FIRST_DUE, which | {"again": 0, "most": 1}).all()
    tried = tx.execute(FIRST_DUE, which | {"again": 1, "most": LOOKED_AT_MAX}).all()
    rows = [*fresh, *tried]
    return Backlog(
        waiting=waiting,
        oldest_at=min((row.created_at for row in rows), default=None),
        sure=len(tried) < LOOKED_AT_MAX,
        next_at=min((row.due_at for row in rows if row.state == "waiting"), default=None),
    )
