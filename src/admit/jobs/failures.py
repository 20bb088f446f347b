"""Failures: how many jobs were given up lately, counted as far as anybody wants to know."""

import msgspec
from sqlalchemy import BigInteger, bindparam, func, select

from admit.jobs.tables import jobs, lanes
from admit.storage.transaction import Transaction

COUNTED_MAX = 100
"""So many in a lane stand for as many or more."""

_since = jobs.c.failed_at >= bindparam("since", type_=BigInteger)
_of_kind = jobs.c.kind == bindparam("of_kind")
_of_lane = (
    select(jobs.c.failed_at)
    .where(jobs.c.app_id == lanes.c.app_id, jobs.c.lane == lanes.c.lane, _of_kind, _since)
    .limit(COUNTED_MAX)
    .correlate(lanes)
    .subquery()
)
_number = select(func.count()).select_from(_of_lane).correlate(lanes).scalar_subquery()
IN_LANES = select(lanes.c.lane, _number.label("number")).where(
    lanes.c.app_id == bindparam("app"), lanes.c.kind == bindparam("of_kind")
)
OUTSIDE_LANES = (
    select(jobs.c.failed_at, jobs.c.detail)
    .where(jobs.c.app_id == bindparam("app"), jobs.c.lane == "", _of_kind, _since)
    .order_by(jobs.c.failed_at.desc())
    .limit(COUNTED_MAX)
)


class Failed(msgspec.Struct, frozen=True):
    """`number` jobs were given up, COUNTED_MAX standing for as many or more; the last one at `last_at` (UTC
    ms), with `detail`."""

    number: int
    last_at: int
    detail: str


def in_lanes(tx: Transaction, app_id: str, kind: str, since: int) -> dict[str, int]:
    """How many jobs of each lane of the kind were given up since a time (UTC ms), where there were any."""
    rows = tx.execute(IN_LANES, {"app": app_id, "of_kind": kind, "since": since})
    return {row.lane: row.number for row in rows if row.number}


def outside_lanes(tx: Transaction, app_id: str, kind: str, since: int) -> Failed | None:
    """The jobs of a kind without lanes that were given up since a time (UTC ms); None: there were none."""
    rows = tx.execute(OUTSIDE_LANES, {"app": app_id, "of_kind": kind, "since": since}).all()
    return Failed(len(rows), rows[0].failed_at, rows[0].detail) if rows else None
