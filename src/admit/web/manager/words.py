"""How values are written on pages: times, durations, numbers, sizes. Pure; times are UTC milliseconds."""

from datetime import UTC, datetime

from markupsafe import Markup

from admit.clock import DAY_MS

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
RELATIVE_DAYS_MAX = 7
_KILO = 1_000


def number(value: int) -> str:
    """`12,408`."""
    return f"{value:,}"


def duration(ms: float) -> str:
    """`91 ms`, `5.0 s`, `3 min 20 s`, `5 h 20 min`, `12 days`."""
    if ms < SECOND_MS:
        return f"{round(ms)} ms"
    if ms < MINUTE_MS:
        return f"{ms / SECOND_MS:.1f} s"
    if ms < HOUR_MS:
        return _two(int(ms), MINUTE_MS, "min", SECOND_MS, "s")
    if ms < 2 * DAY_MS:
        return _two(int(ms), HOUR_MS, "h", MINUTE_MS, "min")
    return f"{int(ms) // DAY_MS} days"


def size(count: int) -> str:
    """`85 bytes`, `1.2 kB`, `3.4 MB`."""
    if count < _KILO:
        return "1 byte" if count == 1 else f"{count} bytes"
    if count < _KILO**2:
        return f"{count / _KILO:.1f} kB"
    return f"{count / _KILO**2:.1f} MB"


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 person`, `12,408 people`."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def full_time(ms: int) -> str:
    """`18 Mar 2026, 14:32 UTC`."""
    at = _at(ms)
    return f"{at.day} {at:%b %Y, %H:%M} UTC"


def day(ms: int) -> str:
    """`18 Mar 2026`."""
    at = _at(ms)
    return f"{at.day} {at:%b %Y}"


def moment(ms: int, now: int) -> Markup:
    """A `<time>`: `14:32:07` today, else the full form. Its title has the full form to the second."""
    at = _at(ms)
    shown = f"{at:%H:%M:%S}" if at.date() == _at(now).date() else full_time(ms)
    return _time(ms, shown)


def ago(ms: int, now: int) -> Markup:
    """A `<time>`: `6 min ago`, `in 3 h` within a week, else as `moment`."""
    apart = abs(now - ms)
    if apart > RELATIVE_DAYS_MAX * DAY_MS:
        return moment(ms, now)
    if apart < MINUTE_MS:
        return _time(ms, "now" if ms <= now else "in less than a minute")
    amount = _roughly(apart)
    return _time(ms, f"{amount} ago" if ms <= now else f"in {amount}")


def _time(ms: int, shown: str) -> Markup:
    at = _at(ms)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        f"{at:%Y-%m-%dT%H:%M:%S}.{ms % SECOND_MS:03}Z",
        f"{at.day} {at:%b %Y, %H:%M:%S} UTC",
        shown,
    )


def _roughly(ms: int) -> str:
    if ms < HOUR_MS:
        return f"{ms // MINUTE_MS} min"
    if ms < DAY_MS:
        return f"{ms // HOUR_MS} h"
    return counted(ms // DAY_MS, "day")


def _two(ms: int, big: int, big_name: str, small: int, small_name: str) -> str:
    rest = ms % big // small
    whole = f"{ms // big} {big_name}"
    return f"{whole} {rest} {small_name}" if rest else whole


def _at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / SECOND_MS, UTC)
