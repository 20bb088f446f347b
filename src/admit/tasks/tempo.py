"""Tempo: how many runs of a task are claimed at once. Pure.

So many as may go on at once, and while they are quick more and more behind them: a claim and a settlement
have their price, which many share then. How many go on at the same time is the workshop's to say.
"""

from collections.abc import Callable

from admit.jobs.pace import Steady

CLAIMED_MAX = 256
QUICK_SECONDS = 0.5
"""From the claim to the end, with the wait for a process."""


class Tempo(Steady):
    """That of one lane. `at_once` says how many runs may go on."""

    def __init__(self, at_once: Callable[[], int]) -> None:
        super().__init__(1)
        self._may_go_on = at_once
        self._ahead = 0.0

    def at_once(self, now: int) -> int:
        """How many may be claimed: at most CLAIMED_MAX, but for a task that may have more at once."""
        at_once = self._may_go_on()
        return max(at_once, min(at_once + int(self._ahead), CLAIMED_MAX))

    def took(self, seconds: float) -> None:
        """Hears how long it took from the claim of a run to its end."""
        self._ahead = min(self._ahead + 1, CLAIMED_MAX) if seconds <= QUICK_SECONDS else self._ahead / 2
