"""Hours: how many attempts a lane has seen in each hour and how they ended, so that nobody counts rows.

They are counted together with the attempts, once per commit. On PostgreSQL an hour is spread over a few rows,
so that commits which settle jobs of one lane seldom wait for each other.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterable

import msgspec
from sqlalchemy import BigInteger, Integer, bindparam, cast, delete, func, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from admit.clock import DAY_MS, HOUR_MS
from admit.jobs.tables import hours
from admit.storage.rows import Insertion
from admit.storage.transaction import Transaction

KEPT_MS = 8 * DAY_MS
SLOTS = 8
ACCEPTED = "ok"
"""The outcome of an attempt that did what it was for."""

_add = insert(hours)
COUNT = Insertion(
    _add.on_conflict_do_update(
        index_elements=["app_id", "lane", "hour", "slot"],
        set_={name: hours.c[name] + _add.excluded[name] for name in ("accepted", "failed", "duration_ms")},
    )
)
OF_LANE = (
    select(
        hours.c.hour,
        *(
            cast(func.sum(hours.c[name]), BigInteger).label(name)
            for name in ("accepted", "failed", "duration_ms")
        ),
    )
    .where(
        hours.c.app_id == bindparam("app"),
        hours.c.lane == bindparam("of_lane"),
        hours.c.hour >= bindparam("since"),
    )
    .group_by(hours.c.hour)
    .order_by(hours.c.hour)
)
_KEY = (hours.c.app_id, hours.c.lane, hours.c.hour, hours.c.slot)
_OLD = (
    select(*_KEY)
    .where(hours.c.hour < bindparam("before"))
    .order_by(hours.c.hour)
    .limit(bindparam("most", type_=Integer, literal_execute=True))
)
PRUNE = delete(hours).where(tuple_(*_KEY).in_(_OLD))


class Tried(msgspec.Struct, frozen=True):
    """One attempt of a job in a lane, as it is counted."""

    app_id: str
    job_id: str
    lane: str
    started_at: int
    duration_ms: int
    outcome: str


class Hour(msgspec.Struct, frozen=True):
    """One hour of a lane, which began at `hour` (UTC ms). `duration_ms`: of all its attempts together."""

    hour: int
    accepted: int
    failed: int
    duration_ms: int


def count(tx: Transaction, tried: Iterable[Tried]) -> None:
    """Counts all attempts of a commit."""
    found: defaultdict[tuple[str, str, int], list[int]] = defaultdict(lambda: [0, 0, 0])
    slot = None
    for each in tried:
        if slot is None:
            slot = zlib.crc32(each.job_id.encode()) % SLOTS if tx.dialect != "sqlite" else 0
        sums = found[each.app_id, each.lane, each.started_at - each.started_at % HOUR_MS]
        sums[0 if each.outcome == ACCEPTED else 1] += 1
        sums[2] += each.duration_ms
    # In the order of the key: two commits with several lanes must not wait for each other in a ring.
    tx.write(COUNT, [(*key, slot, *found[key]) for key in sorted(found)])


def of_lane(tx: Transaction, app_id: str, lane: str, since: int) -> list[Hour]:
    """The hours of a lane that saw an attempt, the oldest first, from that of `since` (UTC ms) on."""
    which = {"app": app_id, "of_lane": lane, "since": since - since % HOUR_MS}
    rows = tx.execute(OF_LANE, which)
    return [Hour(row.hour, row.accepted, row.failed, row.duration_ms) for row in rows]


def prune(tx: Transaction, now: int, rows_max: int) -> int:
    """Forgets at most `rows_max` rows of hours long ago; returns how many it were."""
    return tx.execute(PRUNE, {"before": now - KEPT_MS, "most": rows_max}).rowcount
