"""Finding events for people: one by its id, and those before a place, the newest first.

A page costs the same however many events there are: it follows an index, and looks at SCANNED_MAX of them.
"""

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import islice
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, bindparam, select

from admit.events import feed
from admit.events.feed import FOR_EVERYBODY, LARGE_EVENTS_MAX, LOG, Place, Wanted
from admit.events.log import RECORDED_COLUMNS, Recorded, events
from admit.storage.transaction import Transaction

SCANNED_MAX = 2_000

_THIS_APP = events.c.app_id == bindparam("app")
_OF_PERSON = events.c.uid == bindparam("uid")
_BEFORE = (events.c.position > bindparam("after"), events.c.position <= bindparam("until"))

BY_ID = select(*RECORDED_COLUMNS).where(_THIS_APP, events.c.event_id == bindparam("event"))


def _back(*which: ColumnElement[bool]) -> Select[Any]:
    return (
        select(*RECORDED_COLUMNS)
        .where(_THIS_APP, *_BEFORE, events.c.type.in_(bindparam("types", expanding=True)), *which)
        .order_by(events.c.position.desc())
        .limit(bindparam("limit"))
    )


OF_ALL = _back()
OF_PERSON = _back(_OF_PERSON)
REACH_OF_PERSON = (
    select(events.c.position)
    .where(_THIS_APP, _OF_PERSON, *_BEFORE)
    .order_by(events.c.position.desc())
    .offset(bindparam("skip"))
    .limit(bindparam("limit"))
)


class OnDevice(msgspec.Struct, frozen=True):
    """Events about the device of this identifier, on which the people of `uids` have signed in."""

    identifier: str
    uids: Sequence[str]


class PageBack(msgspec.Struct, frozen=True):
    """Events before a place, the newest first; what to ask for next; and the place where the page begins.

    A page may be empty and have more before it, where few fit.
    """

    events: Sequence[Recorded]
    place: Place
    more: bool
    start: Place


def find(tx: Transaction, app_id: str, event_id: str) -> Recorded | None:
    """The event of this id; None: it is not among those that are kept."""
    row = tx.execute(BY_ID, {"app": app_id, "event": event_id}).one_or_none()
    return None if row is None else _recorded(row)


def page_before(tx: Transaction, wanted: Wanted, before: str, on: OnDevice | None = None) -> PageBack:
    """The page before `before`: a cursor, BEGINNING or LATEST. `on`: of those, what is about a device.

    Raises InvalidRequest and CursorExpired.
    """
    log = tx.execute(LOG, {"app": wanted.app_id}).one()
    until = feed.position_of(log, before)
    limit = wanted.limit if wanted.types <= FOR_EVERYBODY else min(wanted.limit, LARGE_EVENTS_MAX)
    whose = [wanted.uid] if on is None else [uid for uid in on.uids if wanted.uid in (None, uid)]
    walks = [_Walk(tx, wanted, uid, log.forgotten, until) for uid in whose]
    device = "" if on is None else on.identifier
    # Where a walk stops short, the others have not been looked at beyond it either.
    after = max((walk.after for walk in walks), default=log.forgotten)
    rows = merge(*(walk.rows(limit, device) for walk in walks), key=lambda row: -row.position)
    found = list(islice((row for row in rows if row.position > after), limit))
    page = feed.portion([_recorded(row) for row in found])
    if len(page) < len(found) or len(page) == limit:
        after = page[-1].position - 1
    return PageBack(page, Place(log.epoch, after), after > log.forgotten, Place(log.epoch, until))


class _Walk:
    """The events of one person, or of everybody (None), back from a position, as far as one page looks."""

    def __init__(self, tx: Transaction, wanted: Wanted, uid: str | None, forgotten: int, until: int) -> None:
        self._tx = tx
        self._which = {
            "app": wanted.app_id,
            "until": until,
            "types": sorted(wanted.types or FOR_EVERYBODY),
            **({} if uid is None else {"uid": uid}),
        }
        self._statement = OF_ALL if uid is None else OF_PERSON
        self.after = self._reach(uid, forgotten, until)

    def rows(self, limit: int, device: str) -> Iterator[Any]:
        """The rows that are wanted, the newest first. `device`: about this one alone; "": all."""
        which = self._which | {"after": self.after, "limit": SCANNED_MAX if device else limit}
        rows = self._tx.execute(self._statement, which).all()
        return iter([row for row in rows if not device or _is_about(row.data, device)])

    def _reach(self, uid: str | None, forgotten: int, until: int) -> int:
        """Behind which position to look. Positions have no gaps: so many positions are so many events."""
        if uid is None:
            return max(forgotten, until - SCANNED_MAX)
        which = {"app": self._which["app"], "uid": uid, "after": forgotten, "until": until}
        reached: int | None = self._tx.execute(
            REACH_OF_PERSON, which | {"skip": SCANNED_MAX, "limit": 1}
        ).scalar_one_or_none()
        return forgotten if reached is None else reached


class _Device(msgspec.Struct, frozen=True):
    identifier: str = ""


class _About(msgspec.Struct, frozen=True):
    device: _Device = _Device()


def _is_about(data: str, device: str) -> bool:
    return '"device":' in data and msgspec.json.decode(data, type=_About).device.identifier == device


def _recorded(row: Any) -> Recorded:
    position, event_id, type_, uid, occurred_at, data = row
    return Recorded(position, event_id, type_, uid, occurred_at, msgspec.Raw(data))
