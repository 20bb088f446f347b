"""What operators type and read: durations, lists, moments. Pure."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime

# What a terminal would obey or hide: control characters, line breaks, marks that turn the direction of text.
# Names and messages come from strangers.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)\s*([a-z]*)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def parse_duration(text: str) -> float:
    """Seconds of `5s`, `1500ms`, `2.5s`, `30m`, `12h` or `90d`. Raises ValueError."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None or match[2] not in _SECONDS:
        raise ValueError(f"{text!r} is not a duration such as 5s, 1500ms or 30m.")
    return round(float(match[1]) * _SECONDS[match[2]], 3)


def duration(seconds: float) -> str:
    """`seconds` as `parse_duration` reads it."""
    if seconds != int(seconds):
        return f"{round(seconds * 1_000)}ms"
    for unit in ("d", "h", "m"):
        if seconds >= _SECONDS[unit] and seconds % _SECONDS[unit] == 0:
            return f"{int(seconds / _SECONDS[unit])}{unit}"
    return f"{int(seconds)}s"


def parse_list(text: str) -> tuple[str, ...]:
    """The parts of `a,b c`, in order, each once."""
    return tuple(dict.fromkeys(part for part in re.split(r"[,\s]+", text) if part))


def moment(at_ms: int | None) -> str:
    """`at_ms` in UTC as `2026-05-01T08:30:00Z`; "" for None."""
    if at_ms is None:
        return ""
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_the_second(at: str | None) -> str:
    """The ISO 8601 time `at`, in UTC, as `moment` writes it; "" for None."""
    return "" if at is None else at.removesuffix("Z").partition(".")[0] + "Z"


def listed(parts: Iterable[str], *, none: str = "") -> str:
    """`parts` with commas between them, or `none`."""
    return ", ".join(parts) or none


def shown(text: str) -> str:
    r"""`text` on one line and without power over the terminal: `\u001b` for an escape character."""
    return _UNSAFE.sub(_escaped, text)


def shown_json(text: str) -> str:
    """The JSON `text` without power over the terminal, and still the same JSON."""
    return _UNSAFE_IN_JSON.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
