"""Times: what travels are UTC milliseconds, what tasks see are datetimes with a time zone. Pure."""

from datetime import UTC, datetime


def moment_of(at_ms: int) -> datetime:
    """The time `at_ms`, UTC milliseconds since 1970."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC)


def maybe_moment_of(at_ms: int | None) -> datetime | None:
    """The same, where there may be none."""
    return None if at_ms is None else moment_of(at_ms)


def ms_of(moment: datetime) -> int:
    """UTC milliseconds of `moment`. Raises ValueError where it has no time zone."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone. Write datetime(…, tzinfo=UTC).")
    return round(moment.timestamp() * 1_000)
