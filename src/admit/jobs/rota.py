"""The rota: which lanes may begin jobs now, as far as this process has heard. The facts are in the database.

Whoever hears nothing of a lane misses only time: all lanes are looked over now and then.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from admit.jobs.claims import Claimed, Wanted
from admit.jobs.pace import Pace

JOBS_PER_CLAIM_MAX = 256
LANES_PER_CLAIM_MAX = 64
BEYOND = 3
TIMES_PER_LANE_MAX = 4
CONTENDED_MS = 50
"""Another process was first: it will have said what it left."""


def any_lane(_lane: str) -> bool:
    """Whether something may begin in a lane: always."""
    return True


Key = tuple[str, str]
"""A lane: kind of its jobs, name."""


@dataclass(frozen=True)
class Shift:
    """How jobs of one kind are begun: `at_once` over all lanes, each lane at its own `pace`.

    Beyond that, a lane in which nothing is at work may begin one job, up to BEYOND times as many in all: who
    is well does not wait until hundreds of others have stopped hanging. `serves`: in which lanes something
    may begin here; it may say otherwise later, when the lane is heard of again.
    """

    at_once: int
    lease_ms: int
    pace: Callable[[str], Pace]
    serves: Callable[[str], bool] = any_lane


@dataclass
class _Lane:
    """What is known of a lane: when its first job is due, of the fresh ones and of those tried before."""

    kind: str
    name: str
    pace: Pace
    fresh_due: int | None = None
    tried_due: int | None = None
    busy: int = 0
    at_once_max: int | None = None
    closed: bool = False
    tried_first: bool = False
    awaited_at: int | None = None

    @property
    def key(self) -> Key:
        return self.kind, self.name

    def due(self) -> int | None:
        """When something in it is due; at once for what need not wait after a failure."""
        if self.tried_due is not None and self.pace.recovering_since() is not None:
            return 0
        return min((due for due in (self.fresh_due, self.tried_due) if due is not None), default=None)

    def room(self, now: int) -> int:
        """How many more may begin. A lane is filled up in halves, not one by one: a claim has its price."""
        most = self.pace.at_once(now)
        if self.at_once_max is not None:
            most = min(most, self.at_once_max)
        room = most - self.busy
        return room if self.busy == 0 or room >= max(1, most // 2) else 0


class Rota:
    """Says what to claim. Used on the event loop only."""

    def __init__(self, shifts: Mapping[str, Shift]) -> None:
        self._shifts = dict(shifts)
        self._lanes: dict[Key, _Lane] = {}
        self._ready: dict[Key, None] = {}
        self._soon: list[tuple[int, Key]] = []
        self._busy: Counter[str] = Counter()

    def heard(self, topic_key: str, now: int) -> bool:
        """Hears of new jobs in a lane, or that it was opened; whether that concerns us."""
        kind, _, name = topic_key.partition("/")
        if kind not in self._shifts:
            return False
        lane = self._lane(kind, name)
        lane.fresh_due = now
        if lane.closed or lane.at_once_max is not None:
            lane.closed, lane.at_once_max, lane.tried_due = False, None, now
        self._arrange(lane, now)
        return True

    def surveyed(self, kind: str, name: str, fresh_due: int | None, tried_due: int | None, now: int) -> None:
        """Hears when the first jobs of a lane are due, from somebody who has looked."""
        if fresh_due is None and tried_due is None:
            return
        lane = self._lane(kind, name)
        lane.closed = False
        lane.fresh_due = _sooner(lane.fresh_due, fresh_due)
        lane.tried_due = _sooner(lane.tried_due, tried_due)
        self._arrange(lane, now)

    def wanted(self, now: int) -> list[Wanted]:
        """What to claim now, lane by lane; who was served last is last in line."""
        while self._soon and self._soon[0][0] <= now:
            at, key = heapq.heappop(self._soon)
            if self._lanes[key].awaited_at == at:
                self._lanes[key].awaited_at = None
                self._ready[key] = None
        wanted: list[Wanted] = []
        jobs_left, lanes_left = JOBS_PER_CLAIM_MAX, LANES_PER_CLAIM_MAX
        free = {kind: shift.at_once - self._busy[kind] for kind, shift in self._shifts.items()}
        for key in tuple(self._ready):
            if not jobs_left or not lanes_left:
                break
            lane = self._lanes[key]
            due = lane.due() if self._shifts[lane.kind].serves(lane.name) else None
            room = min(lane.room(now), jobs_left)
            if due is None or due > now or room <= 0:
                del self._ready[key]
                self._arrange(lane, now)
                continue
            if free[lane.kind] <= 0:
                if lane.busy or free[lane.kind] <= -self._shifts[lane.kind].at_once * (BEYOND - 1):
                    continue
                room = 1
            room = max(1, min(room, free[lane.kind]))
            del self._ready[key]
            wanted += self._share(lane, room, now)
            free[lane.kind] -= room
            jobs_left -= room
            lanes_left -= 1
        return wanted

    def claimed(self, wanted: Wanted, claimed: Claimed, now: int) -> None:
        """Hears what came of a claim."""
        lane = self._lane(wanted.kind, wanted.lane)
        next_due = claimed.next_due
        if not claimed.jobs and next_due is not None and claimed.at_once_max is None:
            next_due = max(next_due, now + CONTENDED_MS)
        if wanted.tried:
            lane.tried_due = _sooner(lane.tried_due, next_due)
            if wanted.failed_before is not None and len(claimed.jobs) < wanted.most:
                lane.pace.caught_up()
        else:
            lane.fresh_due = _sooner(lane.fresh_due, next_due)
        lane.closed, lane.at_once_max = claimed.closed, claimed.at_once_max
        lane.busy += len(claimed.jobs)
        self._busy[lane.kind] += len(claimed.jobs)
        self._arrange(lane, now)

    def unclaimed(self, wanted: Wanted, now: int) -> None:
        """Hears that the claim could not be made: it is to be tried again."""
        lane = self._lane(wanted.kind, wanted.lane)
        if wanted.tried:
            lane.tried_due = now
        else:
            lane.fresh_due = now
        self._arrange(lane, now)

    def succeeded(self, kind: str, name: str, now: int) -> None:
        """Hears that a job of the lane has come to an end."""
        self._lane(kind, name).pace.succeeded(now)

    def failed(self, kind: str, name: str, now: int, *, again_at: int | None, rest_ms: int) -> None:
        """Hears that a job of the lane has failed, and when it is due again, if it is."""
        lane = self._lane(kind, name)
        lane.tried_due = _sooner(lane.tried_due, again_at)
        lane.pace.failed(now, rest_ms)

    def put_back(self, kind: str, name: str, again_at: int) -> None:
        """Hears that a job of the lane is due again through no fault of the lane."""
        lane = self._lane(kind, name)
        lane.tried_due = _sooner(lane.tried_due, again_at)

    def ended(self, kind: str, name: str, now: int) -> bool:
        """Hears that a job is no longer at work; whether there may be more to claim."""
        lane = self._lane(kind, name)
        was_full = self._busy[kind] >= self._shifts[kind].at_once
        lane.busy -= 1
        self._busy[kind] -= 1
        return self._arrange(lane, now) or was_full

    def next_look(self) -> int | None:
        """When there may be something to claim that there is not now (UTC ms), as far as is known.

        Asked when nothing could be claimed: what is ready all the same waits for a place, and `ended` says
        when there is one.
        """
        return self._soon[0][0] if self._soon else None

    def _lane(self, kind: str, name: str) -> _Lane:
        lane = self._lanes.get((kind, name))
        if lane is None:
            lane = self._lanes[kind, name] = _Lane(kind, name, self._shifts[kind].pace(name))
        return lane

    def _arrange(self, lane: _Lane, now: int) -> bool:
        """Puts a lane where it is looked at when there is something to begin in it; whether that is news."""
        due = lane.due()
        if due is None or not self._shifts[lane.kind].serves(lane.name):
            return False
        at = max(due, lane.pace.may_begin_at())
        if at <= now:
            if lane.room(now) > 0:
                self._ready[lane.key] = None
                return True
        elif lane.awaited_at is None or at < lane.awaited_at:
            lane.awaited_at = at
            heapq.heappush(self._soon, (at, lane.key))
            self._tidy()
            return True
        return False

    def _tidy(self) -> None:
        """Drops the times that lanes no longer wait for, once they are the most."""
        if len(self._soon) > TIMES_PER_LANE_MAX * len(self._lanes):
            self._soon = [
                (at, key) for key, lane in self._lanes.items() if (at := lane.awaited_at) is not None
            ]
            heapq.heapify(self._soon)

    def _share(self, lane: _Lane, room: int, now: int) -> Iterator[Wanted]:
        """Half of the room for fresh jobs and half for those tried before, where there are both.

        What was known to be due is forgotten: the claim will tell, and what is heard meanwhile is news.
        """
        early = lane.pace.recovering_since()
        tried_due = lane.tried_due is not None and (early is not None or lane.tried_due <= now)
        fresh_due = lane.fresh_due is not None and lane.fresh_due <= now
        tried = 0
        if tried_due:
            tried = (room + lane.tried_first) // 2 if fresh_due else room
            lane.tried_first = not lane.tried_first
        lease_ms = self._shifts[lane.kind].lease_ms
        if tried:
            lane.tried_due = None
            yield Wanted(lane.kind, lane.name, True, tried, lease_ms, lane.busy, early)
        if room > tried:
            lane.fresh_due = None
            in_order = lane.pace.in_trouble()
            yield Wanted(lane.kind, lane.name, False, room - tried, lease_ms, lane.busy, in_order=in_order)


def _sooner(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)
