"""Spans of time as clients write them: `"1h"`, `"30 days"`, as the npm package vercel/ms reads them. Pure."""

import re

from admit.errors import InvalidRequest

SPAN_CHARACTERS_MAX = 100  # as vercel/ms

_SECOND = 1_000
_DAY = 86_400 * _SECOND
_UNIT_MS = {
    **dict.fromkeys(("", "milliseconds", "millisecond", "msecs", "msec", "ms"), 1),
    **dict.fromkeys(("seconds", "second", "secs", "sec", "s"), _SECOND),
    **dict.fromkeys(("minutes", "minute", "mins", "min", "m"), 60 * _SECOND),
    **dict.fromkeys(("hours", "hour", "hrs", "hr", "h"), 3_600 * _SECOND),
    **dict.fromkeys(("days", "day", "d"), _DAY),
    **dict.fromkeys(("weeks", "week", "w"), 7 * _DAY),
    **dict.fromkeys(("months", "month", "mo"), int(_DAY * 365.25 / 12)),
    **dict.fromkeys(("years", "year", "yrs", "yr", "y"), int(_DAY * 365.25)),
}
_SPAN = re.compile(r"(-?[0-9]*\.?[0-9]+) *([a-z]*)", re.ASCII)


def milliseconds(span: str | int) -> int:
    """The span in whole milliseconds; a number counts seconds, as in RFC 6749 §4.2.2 and in JWT libraries.

    It may be negative. Raises InvalidRequest.
    """
    if isinstance(span, int):
        return span * _SECOND
    found = _SPAN.fullmatch(span.strip().lower()) if len(span) <= SPAN_CHARACTERS_MAX else None
    unit_ms = _UNIT_MS.get(found[2]) if found else None
    if found is None or unit_ms is None:
        raise InvalidRequest(f"{span[:40]!r} is not a span of time. Write it like '30m', '1h' or '7 days'.")
    return round(float(found[1]) * unit_ms)
