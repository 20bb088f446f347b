"""One timeline out of several: decisions, events, and jobs, each in an order of its own. Pure.

Each source goes on behind its own place, so that nothing is skipped or told twice, also where the times of
one are not quite in its order: an event takes its place in the log when it is committed, a moment after it
happened.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Literal

import msgspec

from admit.errors import InvalidRequest

KEY_CHARACTERS_MAX = 500

Source = Literal["decisions", "events", "jobs", "changes"]
SOURCES: tuple[Source, ...] = ("jobs", "events", "decisions", "changes")
"""What comes of something is newer than what it came of, in the same millisecond too."""

Kind = Literal["decision", "event", "delivery", "run", "change"]
Place = tuple[int, str]
"""In its source: a time (UTC ms) and an id, or the position of an event and "". What is older lies behind."""

NEWEST: Place = (2**62, "~")


class Entry(msgspec.Struct, frozen=True):
    """What happened `at` a time (UTC ms). `kind` None: nothing did, the source looked no further."""

    at: int
    kind: Kind | None
    id: str
    place: Place


class Places(msgspec.Struct, frozen=True):
    """How far each source has come."""

    decisions: Place = NEWEST
    events: Place = NEWEST
    jobs: Place = NEWEST
    changes: Place = NEWEST

    @property
    def key(self) -> str:
        """The places as callers keep them."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).rstrip(b"=").decode()

    @classmethod
    def of(cls, key: str) -> "Places":
        """What `key` stands for. Raises InvalidRequest."""
        try:
            if len(key) > KEY_CHARACTERS_MAX:
                raise ValueError
            raw = base64.b64decode(
                key.encode("ascii") + b"=" * (-len(key) % 4), altchars=b"-_", validate=True
            )
            places = msgspec.json.decode(raw, type=cls)
        except (ValueError, binascii.Error, msgspec.MsgspecError):
            raise InvalidRequest("before is not what an earlier page has given.") from None
        if any(not 0 <= at <= NEWEST[0] or "\0" in id_ for at, id_ in msgspec.structs.astuple(places)):
            raise InvalidRequest("before is not what an earlier page has given.")
        return places


class Page(msgspec.Struct, frozen=True):
    """Entries, the newest first. `before` leads to the next; None: these were all."""

    entries: list[Entry]
    before: Places | None


def merge(sources: Mapping[Source, Sequence[Entry]], begin: Places, limit: int) -> Page:
    """The first `limit` entries of all `sources`, each of which was asked for one more behind `begin`.

    An entry without a kind ends the page: what lies behind it in its source may be newer than what others
    have.
    """
    heads = [(-own[0].at, SOURCES.index(name), 0) for name, own in sources.items() if own]
    heapify(heads)
    entries: list[Entry] = []
    places: dict[str, Place] = msgspec.structs.asdict(begin)
    while heads and len(entries) < limit:
        _, rank, index = heappop(heads)
        name = SOURCES[rank]
        entry = sources[name][index]
        places[name] = entry.place
        if entry.kind is None:
            return Page(entries, Places(**places))
        entries.append(entry)
        if index + 1 < len(sources[name]):
            heappush(heads, (-sources[name][index + 1].at, rank, index + 1))
    return Page(entries, Places(**places) if heads else None)
