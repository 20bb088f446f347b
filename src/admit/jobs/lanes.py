"""Lanes: jobs of one kind that wait apart from the others, such as the deliveries of one endpoint.

A lane can be closed, and it can have limits. Limits hold over all processes, because one worker at a time
serves a lane that has any.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import BigInteger, bindparam, delete, func, insert, literal_column, select, update

from admit.jobs.order import BLOCKED_MS, FAR, TOPIC, topic_key
from admit.jobs.tables import lanes
from admit.storage.lookups import Lookup
from admit.storage.rows import Change
from admit.storage.transaction import Transaction

HELD_MS = 45_000
"""How long a lane with limits waits for a worker that has died."""
MINUTE_US = 60_000_000
BURST_SECONDS = 1
"""What was not begun in the last second may be begun late; more than that is not caught up."""

OPEN = insert(lanes)
CHANGE = (
    update(lanes)
    .where(lanes.c.lane == bindparam("of_lane"))
    .values(
        closed=bindparam("is_closed"),
        opened_at=func.coalesce(bindparam("opened", type_=BigInteger), lanes.c.opened_at),
        at_once_max=bindparam("at_once"),
        per_minute=bindparam("starts_per_minute"),
    )
)
REMOVE = delete(lanes).where(lanes.c.lane == bindparam("of_lane"))
TERMS = Lookup(
    select(
        lanes.c.lane,
        lanes.c.closed,
        lanes.c.at_once_max,
        lanes.c.per_minute,
        lanes.c.next_start_us,
        lanes.c.opened_at,
        lanes.c.holder,
        lanes.c.held_until,
    ),
    (lanes.c.lane,),
)
LOCK = Lookup(select(lanes.c.lane, lanes.c.holder, lanes.c.held_until), (lanes.c.lane,), lock=True)
HOLD = Change(lanes, (lanes.c.lane,), (lanes.c.holder, lanes.c.held_until))
HOLDS = select(lanes.c.lane).where(lanes.c.holder == bindparam("worker")).limit(literal_column("1"))
LET_GO = (
    update(lanes)
    .where(lanes.c.holder == bindparam("worker"))
    .values(holder=literal_column("''"), held_until=literal_column("0"))
)
LET_ALL_GO = (
    update(lanes)
    .where(lanes.c.holder != literal_column("''"))
    .values(holder=literal_column("''"), held_until=literal_column("0"))
)
KEEP = Change(lanes, (lanes.c.lane,), (lanes.c.next_start_us,))


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a lane takes: so many at once, so many beginnings in a minute. None: as many as it bears."""

    at_once_max: int | None = None
    per_minute: int | None = None


@dataclass
class Terms:
    """On which terms jobs of one lane may begin at `now`. What is begun is counted."""

    lane: str
    limits: Limits
    next_start_us: int
    opened_at: int
    now: int
    ask_again_at: int | None = None
    """When to ask again where nothing may begin now (UTC ms); None: not before a signal."""
    closed: bool = False
    begun: int = 0

    @property
    def may_pass(self) -> bool:
        """Whether whoever waited too long may pass who is before them: not for what piled up while the lane
        was closed, which goes in order."""
        return self.now - self.opened_at >= BLOCKED_MS

    def room(self, busy: int) -> int:
        """How many more may begin, beside those that are at work."""
        if self.closed:
            return 0
        rooms = [FAR]
        if self.limits.at_once_max is not None:
            rooms.append(self.limits.at_once_max - busy - self.begun)
            self.ask_again_at = self.now
        if self.limits.per_minute is not None:
            rooms.append((self._now_us - self._from_us) // self._interval_us + 1)
            self.ask_again_at = max(self.now, -(-self._from_us // 1_000))
        return max(0, min(rooms))

    def begin(self, count: int) -> None:
        """Counts `count` jobs that begin now."""
        self.begun += count
        if self.limits.per_minute is not None and count:
            self.next_start_us = self._from_us + count * self._interval_us

    @property
    def _now_us(self) -> int:
        return self.now * 1_000

    @property
    def _interval_us(self) -> int:
        assert self.limits.per_minute is not None
        return max(1, MINUTE_US // self.limits.per_minute)

    @property
    def _from_us(self) -> int:
        """Where the next beginning is counted from: an idle lane does not save up more than a burst."""
        # Never later than the next interval: a clock that was set back must not stop the lane.
        next_start_us = min(self.next_start_us, self._now_us + self._interval_us)
        return max(next_start_us, self._now_us - BURST_SECONDS * 1_000_000)


def open_lane(tx: Transaction, app_id: str, kind: str, lane: str, limits: Limits, *, closed: bool) -> None:
    """Makes a lane. Ids of lanes are unique over all apps."""
    row = {
        "lane": lane,
        "app_id": app_id,
        "kind": kind,
        "closed": "yes" if closed else "no",
        "at_once_max": limits.at_once_max,
        "per_minute": limits.per_minute,
        "next_start_us": 0,
        "opened_at": 0,
        "holder": "",
        "held_until": 0,
    }
    tx.execute(OPEN, row)


def change(
    tx: Transaction, kind: str, lane: str, limits: Limits, *, closed: bool, opened_at: int | None = None
) -> None:
    """Gives a lane other limits, closes it, or opens it again, at `opened_at`. What has begun goes on."""
    tx.execute(
        CHANGE,
        {
            "of_lane": lane,
            "is_closed": "yes" if closed else "no",
            "opened": opened_at,
            "at_once": limits.at_once_max,
            "starts_per_minute": limits.per_minute,
        },
    )
    tx.signal(TOPIC, topic_key(kind, lane))


def remove(tx: Transaction, lane: str) -> None:
    """Forgets a lane. Its jobs are the caller's to end."""
    tx.execute(REMOVE, {"of_lane": lane})


def terms_of(tx: Transaction, wanted: Sequence[str], worker: str, now: int) -> dict[str, Terms]:
    """The terms of lanes for `worker`, which holds those with limits from now on, where no other does."""
    found = {row.lane: row for row in TERMS.rows(tx, {(lane,) for lane in wanted})}
    terms = {}
    for lane in wanted:
        row = found.get(lane)
        if row is None or row.closed == "yes":
            terms[lane] = Terms(lane, Limits(), 0, 0, now, closed=True)
        else:
            limits = Limits(at_once_max=row.at_once_max, per_minute=row.per_minute)
            terms[lane] = Terms(lane, limits, row.next_start_us, row.opened_at, now)
    limited = [each for each in terms.values() if not each.closed and each.limits != Limits()]
    if limited:
        _hold(tx, limited, worker, now)
    return terms


def hold_on(tx: Transaction, worker: str, wanted: Iterable[str], now: int) -> None:
    """Keeps the lanes with limits among `wanted` that `worker` holds."""
    rows = LOCK.rows(tx, [(lane,) for lane in wanted])
    tx.write(HOLD, sorted((row.lane, worker, now + HELD_MS) for row in rows if row.holder == worker))


def holds_any(tx: Transaction, worker: str) -> bool:
    """Whether `worker` holds a lane."""
    return tx.execute(HOLDS, {"worker": worker}).one_or_none() is not None


def let_go(tx: Transaction, worker: str) -> None:
    """Leaves the lanes that `worker` holds to others."""
    tx.execute(LET_GO, {"worker": worker})


def let_all_go(tx: Transaction) -> None:
    """Takes all lanes from their holders. Only for a process that knows that no other is at work."""
    tx.execute(LET_ALL_GO)


def _hold(tx: Transaction, limited: Iterable[Terms], worker: str, now: int) -> None:
    by_lane = {each.lane: each for each in limited}
    held = []
    for row in LOCK.rows(tx, [(lane,) for lane in by_lane]):
        if row.holder in ("", worker) or row.held_until <= now:
            held.append((row.lane, worker, now + HELD_MS))
        else:
            by_lane[row.lane].closed = True
            by_lane[row.lane].ask_again_at = row.held_until
    tx.write(HOLD, sorted(held))


def keep(tx: Transaction, terms: Iterable[Terms]) -> None:
    """Remembers when the next job of each lane may begin, where that is limited."""
    rows = [
        (each.lane, each.next_start_us) for each in terms if each.begun and each.limits.per_minute is not None
    ]
    tx.write(KEEP, sorted(rows))
