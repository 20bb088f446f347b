"""The feed: an app's log in pages, for whoever follows it by a cursor.

A cursor is a place in one epoch of one log. Behind it nothing appears late, so that whoever goes on behind
the last one they were given misses nothing.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, bindparam, select

from admit.errors import CursorExpired, InvalidRequest
from admit.events.catalog import TYPES
from admit.events.log import RECORDED_COLUMNS, Recorded, events, logs
from admit.events.subscriptions import NOT_FOR_EVERYBODY
from admit.storage.transaction import Transaction

BEGINNING = "beginning"
LATEST = "latest"
PAGE_EVENTS_MAX = 1_000
PAGE_BYTES_MAX = 4_000_000
SCANNED_MAX = 5_000
LARGE_EVENTS_MAX = 16
"""On a page that may hold events of a type that is not for everybody: each can be of 1 MB."""
CURSOR_CHARACTERS_MAX = 200

FOR_EVERYBODY = frozenset(TYPES) - NOT_FOR_EVERYBODY

LOG = select(logs.c.epoch, logs.c.position, logs.c.forgotten).where(logs.c.app_id == bindparam("app"))


def _page(*which: ColumnElement[bool]) -> Select[Any]:
    """Events in a stretch of the log, the first ones first."""
    return (
        select(*RECORDED_COLUMNS)
        .where(
            events.c.app_id == bindparam("app"),
            events.c.position > bindparam("after"),
            events.c.position <= bindparam("until"),
            *which,
        )
        .order_by(events.c.position)
        .limit(bindparam("limit"))
    )


_OF_TYPES = events.c.type.in_(bindparam("types", expanding=True))
_OF_PERSON = events.c.uid == bindparam("uid")

_FOR_EVERYBODY = events.c.type.in_(sorted(FOR_EVERYBODY))

ALL = _page(_FOR_EVERYBODY)
OF_TYPES = _page(_OF_TYPES)
OF_PERSON = _page(_OF_PERSON, _FOR_EVERYBODY)
OF_PERSON_AND_TYPES = _page(_OF_PERSON, _OF_TYPES)
REACH_OF_PERSON = (
    select(events.c.position)
    .where(events.c.app_id == bindparam("app"), _OF_PERSON, events.c.position > bindparam("after"))
    .order_by(events.c.position)
    .offset(bindparam("skip"))
    .limit(bindparam("limit"))
)


class Place(msgspec.Struct, frozen=True):
    """Behind the event at `position`, 0 being the beginning, in one `epoch` of a log."""

    epoch: str
    position: int

    @property
    def cursor(self) -> str:
        """The place as programs keep it."""
        return base64.urlsafe_b64encode(f"{self.position}.{self.epoch}".encode()).rstrip(b"=").decode()

    @classmethod
    def of(cls, cursor: str) -> "Place":
        """What `cursor` stands for. Raises InvalidRequest."""
        try:
            if len(cursor) > CURSOR_CHARACTERS_MAX:
                raise ValueError
            padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
            text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
            position, _, epoch = text.partition(".")
            if not (position.isdigit() and len(position) < 19 and epoch and epoch.isprintable()):
                raise ValueError
        except (ValueError, binascii.Error):
            raise InvalidRequest(
                f"after is neither a cursor that the feed has given nor {BEGINNING} nor {LATEST}."
            ) from None
        return cls(epoch, int(position))


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Whose events, and which: of the person `uid` (None: everybody), of `types` (empty: all that are told to
    everybody), `limit` at most."""

    app_id: str
    types: frozenset[str] = frozenset()
    uid: str | None = None
    limit: int = PAGE_EVENTS_MAX

    def fits(self, event: Recorded) -> bool:
        """Whether `event` is one of them."""
        wanted = event.type in (self.types or FOR_EVERYBODY)
        return wanted and self.uid in (None, event.uid)


class Page(msgspec.Struct, frozen=True):
    """The next events, and the place behind what was looked at. `more`: there is something behind it already.

    A page may be empty and have more behind it: where few events fit, one page looks at SCANNED_MAX.
    """

    events: Sequence[Recorded]
    place: Place
    more: bool


def read(tx: Transaction, wanted: Wanted, after: str | Place) -> Page:
    """The page behind `after`: a cursor, a place, BEGINNING of what is kept, or LATEST, where nothing is yet.

    Raises InvalidRequest for what is no cursor and CursorExpired.
    """
    log = tx.execute(LOG, {"app": wanted.app_id}).one()
    start = position_of(log, after)
    until = _reach(tx, wanted, start, log.position)
    limit = wanted.limit if wanted.types <= FOR_EVERYBODY else min(wanted.limit, LARGE_EVENTS_MAX)
    found = tx.execute(
        _statement(wanted),
        {
            "app": wanted.app_id,
            "after": start,
            "until": until,
            "limit": limit,
            **({"types": sorted(wanted.types)} if wanted.types else {}),
            **({"uid": wanted.uid} if wanted.uid is not None else {}),
        },
    )
    rows = found.all()
    page = portion([_recorded(row) for row in rows])
    if len(page) < len(rows) or len(page) == limit:
        until = page[-1].position
    return Page(page, Place(log.epoch, until), more=until < log.position)


def position_of(log: Any, after: str | Place) -> int:
    """The position behind which `after` is: a cursor, a place, BEGINNING or LATEST of `log`, a row of LOG.

    Raises InvalidRequest for what is no cursor and CursorExpired.
    """
    if after == LATEST:
        return int(log.position)
    if after == BEGINNING:
        return int(log.forgotten)
    place = after if isinstance(after, Place) else Place.of(after)
    if place.epoch != log.epoch:
        raise CursorExpired(
            "The cursor is from before the log was restored from a copy, or from another app's. Read again "
            f"from the beginning (after={BEGINNING}); event ids tell what is known already."
        )
    if place.position < log.forgotten:
        raise CursorExpired(
            "Events behind the cursor are no longer kept. Read again from the beginning of those that are "
            f"(after={BEGINNING}), and look at the users for what was missed."
        )
    if place.position > log.position:
        raise CursorExpired(
            "The cursor is ahead of the log: the database was restored from a copy. Run "
            "`admit event restored --all`, then read again from the beginning "
            f"(after={BEGINNING})."
        )
    return place.position


def _reach(tx: Transaction, wanted: Wanted, start: int, head: int) -> int:
    """How far to look, so that one page does not look at too much.

    Positions have no gaps: so many positions are so many events. Without an end to the stretch, PostgreSQL
    sorts all the rest of a log that it has no statistics of yet (126 ms where 80,000 were left).
    """
    if wanted.uid is None:
        return min(start + (SCANNED_MAX if wanted.types else wanted.limit), head)
    if not wanted.types:
        return head
    which = {"app": wanted.app_id, "uid": wanted.uid, "after": start, "skip": SCANNED_MAX - 1, "limit": 1}
    reached: int | None = tx.execute(REACH_OF_PERSON, which).scalar_one_or_none()
    return head if reached is None else reached


def portion(found: list[Recorded]) -> list[Recorded]:
    """As many of the first ones as make a page of PAGE_BYTES_MAX, but one at least."""
    size = 0
    for count, event in enumerate(found):
        size += len(bytes(event.data))
        if size > PAGE_BYTES_MAX and count:
            return found[:count]
    return found


def _statement(wanted: Wanted) -> Select[Any]:
    match bool(wanted.types), wanted.uid is not None:
        case False, False:
            return ALL
        case True, False:
            return OF_TYPES
        case False, True:
            return OF_PERSON
        case _:
            return OF_PERSON_AND_TYPES


def _recorded(row: Any) -> Recorded:
    position, event_id, type_, uid, occurred_at, data = row
    return Recorded(position, event_id, type_, uid, occurred_at, msgspec.Raw(data))
