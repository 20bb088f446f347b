"""Requests counted in memory, so that a request costs no write, and exchanged with the other processes.

How exact it is. A window is counted by every process for itself. Once a caller has made a tenth of what the
limit allows at one process, that process adds the tenth to a row that all processes share, waits for the sum,
and goes on from there; only then does the next request of that caller pass. So no process ever keeps more
than a tenth less one to itself, and `n` processes together let at most `count + n * (count // 10 - 1)`
through; one process, exactly `count`. A process that starts anew has lost what it had not shared.
"""

import asyncio

import msgspec
import structlog

from admit.clock import Clock
from admit.errors import StorageUnavailable
from admit.signin.limits import Limit, More, Want, count_more, row_of
from admit.storage.database import Database
from admit.storage.sealing import KeyRing

SHARE = 10
CALLERS_MAX = 200_000
"""Of how many callers a process keeps count in the windows of one length, about 20 MB. Where there are more,
those are forgotten who have not asked for longest; what they had told all processes still counts."""

log = structlog.get_logger("admit.signin")


class Standing(msgspec.Struct, frozen=True):
    """How a caller stands in the present window, after this request. `reset_seconds`: until it ends."""

    passed: bool
    limit: int
    remaining: int
    reset_seconds: int


class _Generation:
    """Counts of callers. A key is one caller.

    `counts`: requests that passed, as far as this process knows; `told`: how many of them all processes know.
    """

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.told: dict[int, int] = {}


class _Window:
    """The counts of the windows of one length that end together.

    Callers are kept in two generations. When the younger has no place left, the elder is forgotten: those who
    have not asked for longest, all at once, so that no request pays for looking through them.
    """

    def __init__(self, ends_at: int) -> None:
        self.ends_at = ends_at
        self.telling: dict[int, asyncio.Task[None]] = {}
        self._younger = _Generation()
        self._elder = _Generation()

    def find(self, key: int) -> tuple[int, int]:
        """What was counted, and how much of it was told."""
        generation = self._younger if key in self._younger.counts else self._elder
        return generation.counts.get(key, 0), generation.told.get(key, 0)

    def keep(self, key: int, count: int, told: int) -> None:
        if key not in self._younger.counts and len(self._younger.counts) >= CALLERS_MAX // 2:
            self._elder, self._younger = self._younger, _Generation()
        self._younger.counts[key] = count
        if told:
            self._younger.told[key] = told

    @property
    def callers(self) -> int:
        """How many callers are known, some perhaps twice."""
        return len(self._younger.counts) + len(self._elder.counts)


class Meter:
    """Counts what callers ask for, against limits."""

    def __init__(self, db: Database, ring: KeyRing, clock: Clock) -> None:
        self._db = db
        self._ring = ring
        self._clock = clock
        self._windows: dict[int, _Window] = {}

    async def take(self, app_id: str, what: str, who: str, limit: Limit) -> Standing:
        """One more of `what` by `who`, if `limit` allows. What is refused is not counted.

        While the database does not answer, every process counts by itself.
        """
        now = self._clock()
        window = self._window_at(now, limit.window_seconds * 1_000)
        key = hash((app_id, what, who))  # keyed by the process at random, so that nobody can aim at another
        while (telling := window.telling.get(key)) is not None:
            await asyncio.shield(telling)
        count, told = window.find(key)
        if count >= limit.count:
            return _standing(limit, count + 1, window, now)
        count += 1
        window.keep(key, count, told)
        untold = count - told
        if untold >= max(1, limit.count // SHARE):
            row = row_of(self._ring, app_id, Want(f"{what}:{who}", limit), window.ends_at - 1)
            telling = asyncio.create_task(self._tell(window, key, More(row, untold)))
            window.telling[key] = telling
            await asyncio.shield(telling)
            count, _ = window.find(key)
        return _standing(limit, count, window, now)

    def _window_at(self, now: int, length_ms: int) -> _Window:
        window = self._windows.get(length_ms)
        if window is None or window.ends_at <= now:
            window = self._windows[length_ms] = _Window((now // length_ms + 1) * length_ms)
        return window

    async def _tell(self, window: _Window, key: int, more: More) -> None:
        """Shares what was counted here, and learns what was counted elsewhere."""
        try:
            total = await self._db.write_together(count_more, more)
        except StorageUnavailable:
            log.warning("meter.not_shared")
        else:
            count, _ = window.find(key)
            window.keep(key, max(total, count), max(total, count))
        finally:
            del window.telling[key]


def _standing(limit: Limit, count: int, window: _Window, now: int) -> Standing:
    return Standing(
        passed=count <= limit.count,
        limit=limit.count,
        remaining=max(0, limit.count - count),
        reset_seconds=max(1, (window.ends_at - now + 999) // 1_000),
    )
