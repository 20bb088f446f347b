"""When to try again, and when to let it be. Pure."""

import msgspec

from admit.clock import HOUR_MS, MINUTE_MS, SECOND_MS

JITTER = 0.2


class Schedule(msgspec.Struct, frozen=True):
    """The pauses between attempts. After the last pause there is one more attempt, and then an end."""

    delays_ms: tuple[int, ...]

    @property
    def attempts_max(self) -> int:
        return len(self.delays_ms) + 1


MAIL = Schedule(tuple(s * SECOND_MS for s in (2, 5, 15, 45, 120, 300, 300)))
"""Somebody sits and waits for it; a greylisting server wants to see it again after some minutes."""

STANDARD = Schedule(
    tuple(s * SECOND_MS for s in (2, 10, 60))
    + tuple(m * MINUTE_MS for m in (5, 30))
    + tuple(h * HOUR_MS for h in (2, 6, 12, 24))
)


def delay_ms(schedule: Schedule, attempt: int, dice: float) -> int | None:
    """The pause after the `attempt`-th attempt (1 is the first); None when that was the last.

    `dice` is from 0 to 1 and spreads the pause by JITTER to both sides, so that what failed together does
    not come back together.
    """
    if attempt >= schedule.attempts_max:
        return None
    return round(schedule.delays_ms[attempt - 1] * (1 - JITTER + 2 * JITTER * dice))
