"""Pace: how many jobs of a lane may be at work at once, learnt from what became of those before. Pure."""

from typing import Protocol

AT_ONCE_START = 4
AT_ONCE_MAX = 32
FAILURES_TO_REST = 5
"""So many failures in a row are no longer about one job: the lane rests between attempts."""
REST_MS_MIN = 1_000
REST_MS_MAX = 60_000
ASKED_REST_MS_MAX = 3_600_000
"""Who asks us to wait longer is asked again after an hour."""


class Pace(Protocol):
    """What decides how many jobs of a lane are at work at once."""

    def at_once(self, now: int) -> int:
        """How many may be at work at `now` (UTC ms)."""

    def may_begin_at(self) -> int:
        """When the next may begin (UTC ms)."""

    def recovering_since(self) -> int | None:
        """Who has failed before then (UTC ms) need not wait any longer; None: all wait for their time."""

    def in_trouble(self) -> bool:
        """Whether what fails is no longer about single jobs, or was so until a moment ago."""

    def succeeded(self, now: int) -> None:
        """Hears that a job has come to an end."""

    def failed(self, now: int, rest_ms: int) -> None:
        """Hears that a job has failed; whoever failed it asks for a rest of `rest_ms`."""

    def caught_up(self) -> None:
        """Hears that none is left that waits after a failure."""


class Steady:
    """Always as many at once."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once

    def at_once(self, now: int) -> int:
        return self._at_once

    def may_begin_at(self) -> int:
        return 0

    def recovering_since(self) -> int | None:
        return None

    def in_trouble(self) -> bool:
        return False

    def succeeded(self, now: int) -> None:
        """It changes nothing."""

    def failed(self, now: int, rest_ms: int) -> None:
        """It changes nothing."""

    def caught_up(self) -> None:
        """It changes nothing."""


class Adaptive:
    """From AT_ONCE_START up to AT_ONCE_MAX while all goes well, down to one when nothing does.

    After FAILURES_TO_REST failures in a row the lane rests, longer and longer, and is then tried
    with one job.
    When one succeeds, those that wait after a failure are taken up early, beside the fresh ones and again
    from AT_ONCE_START on, so that who has just come back is not run over.
    """

    def __init__(self) -> None:
        self._window = float(AT_ONCE_START)
        self._failures = 0
        self._resting_until = 0
        self._recovering_since: int | None = None

    def at_once(self, now: int) -> int:
        return 0 if now < self._resting_until else int(self._window)

    def may_begin_at(self) -> int:
        return self._resting_until

    def recovering_since(self) -> int | None:
        return self._recovering_since

    def in_trouble(self) -> bool:
        return self._failures >= FAILURES_TO_REST or self._recovering_since is not None

    def succeeded(self, now: int) -> None:
        if self._failures >= FAILURES_TO_REST:
            self._recovering_since = now
            self._resting_until = 0
            self._window = AT_ONCE_START
        self._failures = 0
        self._window = min(AT_ONCE_MAX, self._window + 1 / 4)

    def failed(self, now: int, rest_ms: int) -> None:
        self._window = max(1.0, self._window / 2)
        rest = min(rest_ms, ASKED_REST_MS_MAX)
        if now >= self._resting_until:  # what was at work when the rest began says nothing new
            self._failures += 1
            if (beyond := self._failures - FAILURES_TO_REST) >= 0:
                self._recovering_since = None
                rest = max(rest, min(REST_MS_MAX, REST_MS_MIN << min(beyond, 16)))
        self._resting_until = max(self._resting_until, now + rest)

    def caught_up(self) -> None:
        self._recovering_since = None
