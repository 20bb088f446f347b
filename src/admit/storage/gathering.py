"""Gathering: behind a commit of several the writer rests until as many wait again, for as long as it took.

A commit has a price of its own: the disk, and statements that cost about the same for one row as for ten.
Were units that come one by one committed as fast as can be, each commit would have a few of them, at several
times the price, and the event loop, which is to answer their callers, would share the interpreter with it.
Callers who were answered together come back together: once as many are here again, nobody else is waited for.
Nor is anybody where a unit waits that shares its statements with no other, or is one of many that a worker of
ours has begun: whoever settles jobs begins others then.
"""

import threading
import time
from collections.abc import Sized

GATHER_SECONDS_MAX = 0.004


class Gathering:
    """How long one thread rests between two batches. All of it is called while `lock` is held."""

    def __init__(self, lock: "threading.RLock", waiting: Sized) -> None:
        self._enough = threading.Condition(lock)
        self._waiting = waiting
        self._units = 0
        self._at_once = False
        self._began_at = 0.0
        self._rested_at = 0.0

    def begin(self, units: int) -> None:
        """A batch of `units` begins."""
        self._units = units
        self._at_once = False
        self._began_at = time.monotonic()

    def end(self) -> None:
        """The batch has ended."""
        now = time.monotonic()
        self._rested_at = now + min(now - self._began_at, GATHER_SECONDS_MAX)

    def came(self, *, at_once: bool) -> None:
        """Another unit is waiting. `at_once`: it gains nothing by others, and is not to wait for them."""
        self._at_once |= at_once
        if self._is_over():
            self._enough.notify()

    def wait(self) -> None:
        """Waits until as many wait as were in the last batch, or the rest is over."""
        left = self._rested_at - time.monotonic()
        if left > 0:
            self._enough.wait_for(self._is_over, left)

    def _is_over(self) -> bool:
        return self._at_once or len(self._waiting) >= self._units
