"""A clock that stands still until a test moves it."""

from datetime import UTC, datetime, timedelta

from admit.task.moments import ms_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Clock:
    """Shows `now`, a datetime with a time zone; noon of New Year's Day 2026 where none is given."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def advance(self, time: timedelta | float) -> datetime:
        """Moves it on by a timedelta, or seconds, and returns what it shows then."""
        self.now += time if isinstance(time, timedelta) else timedelta(seconds=time)
        return self.now

    def ms(self) -> int:
        """What it shows, in UTC milliseconds since 1970."""
        return ms_of(self.now)
