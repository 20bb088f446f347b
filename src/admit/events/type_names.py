"""Names of event types as people type them."""

from difflib import get_close_matches

from admit.errors import InvalidRequest
from admit.events.catalog import TYPES

SHOWN_CHARACTERS = 80
LIKENESS_MIN = 0.8
"""As difflib measures it. Below it, created would be taken for deleted."""
SUGGESTED_MAX = 2


def check(text: str) -> str:
    """`text`, where it is the name of a type. Raises InvalidRequest (event_type_unknown)."""
    if text not in TYPES:
        raise unknown(text)
    return text


def unknown(text: str) -> InvalidRequest:
    """The complaint about `text`, which names no type of event, with the names that may have been meant."""
    shown = text[:SHOWN_CHARACTERS]
    near = [each for each in TYPES if each.endswith(f".{shown}")]
    near = near or get_close_matches(shown.lower(), TYPES, n=SUGGESTED_MAX, cutoff=LIKENESS_MIN)
    meant = f"Is {' or '.join(map(repr, near))} meant? " if near else ""
    return InvalidRequest(
        f"{shown!r} is not a type of event. {meant}/schemas lists the types.", code="event_type_unknown"
    )
