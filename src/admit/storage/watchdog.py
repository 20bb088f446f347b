"""The watchdog: one thread that interrupts statements which do not come back in time.

The writer is one thread, so a statement that never returns would stop everyone.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

LOOK_SECONDS = 0.25
NEVER = float("inf")


class Guard:
    """How long the work on one connection may last before it is interrupted."""

    __slots__ = ("_until", "grace_seconds", "interrupt")

    def __init__(self, interrupt: Callable[[], None], grace_seconds: float) -> None:
        self.interrupt = interrupt
        self.grace_seconds = grace_seconds
        self._until = NEVER

    def hold(self, deadline: float) -> None:
        """Interrupts what runs at `deadline`, a `time.monotonic()`, and the grace of this connection."""
        self._until = deadline + self.grace_seconds

    def release(self) -> None:
        """Says that the work is over."""
        self._until = NEVER

    def look(self, now: float) -> None:
        """Interrupts the work, once, when its time is over."""
        if now > self._until:
            self._until = NEVER
            with suppress(Exception):  # the connection was closed meanwhile: nothing runs on it
                self.interrupt()


class Watchdog:
    """Looks at its guards four times a second."""

    def __init__(self) -> None:
        self._guards: set[Guard] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="admit-watchdog", daemon=True)
        self._thread.start()

    def guard(self, interrupt: Callable[[], None], *, grace_seconds: float) -> Guard:
        """A new guard. `interrupt` is called on the watchdog's thread, never once `forget` has returned."""
        guard = Guard(interrupt, grace_seconds)
        with self._lock:
            self._guards.add(guard)
        return guard

    def forget(self, guard: Guard) -> None:
        """Ends a guard, before its connection is closed."""
        with self._lock:
            self._guards.discard(guard)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            now = time.monotonic()
            with self._lock:
                for guard in self._guards:
                    guard.look(now)
