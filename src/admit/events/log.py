"""The log: events take their position under their app's row lock, last thing before the commit.

So the feed is a total order in which nothing appears behind a cursor that was already handed out.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Index, PrimaryKeyConstraint, Table, bindparam, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from admit import clock
from admit.events.catalog import Data
from admit.storage.rows import Change, Insertion
from admit.storage.schema import metadata, moment, number, text
from admit.storage.transaction import Finisher, Transaction

PERSONAL = ("email", "name")
"""The members of events that say who somebody is, besides the userId, which nobody could do without."""

logs = Table(
    "event_logs",
    metadata,
    text("app_id", primary_key=True),
    number("position"),  # of the newest event
    text("epoch"),  # changes when the log was restored from a copy
)

events = Table(
    "events",
    metadata,
    text("app_id"),
    number("position"),
    text("event_id"),
    text("type"),
    text("uid", nullable=True),
    moment("occurred_at"),
    text("data"),  # JSON
    PrimaryKeyConstraint("app_id", "position"),
    Index(None, "app_id", "uid", "position"),
)

TAKE_POSITIONS = (
    update(logs)
    .where(logs.c.app_id == bindparam("app"))
    .values(position=logs.c.position + bindparam("count"))
    .returning(logs.c.position)
)
ADD_EVENTS = Insertion(insert(events))
START_LOG = insert(logs)
HEAD = select(logs.c.epoch, logs.c.position).where(logs.c.app_id == bindparam("app"))
EVENTS_AFTER = (
    select(
        events.c.position,
        events.c.event_id,
        events.c.type,
        events.c.uid,
        events.c.occurred_at,
        events.c.data,
    )
    .where(events.c.app_id == bindparam("app"), events.c.position > bindparam("after"))
    .order_by(events.c.position)
    .limit(bindparam("limit"))
)


# Inside a text of JSON these quotation marks would be escaped.
NOT_YET_ERASED = (
    select(events.c.app_id, events.c.position, events.c.data)
    .where(
        events.c.app_id == bindparam("app"),
        events.c.uid == bindparam("uid"),
        or_(
            *(
                events.c.data.contains(f'"{member}":"') & ~events.c.data.contains(f'"{member}":""')
                for member in PERSONAL
            )
        ),
    )
    .limit(bindparam("limit"))
)
ERASE = Change(events, (events.c.app_id, events.c.position), (events.c.data,))


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A fact that is about to be committed."""

    app_id: str
    type: str
    uid: str | None
    occurred_at: int
    data: Data
    event_id: str = msgspec.field(default_factory=lambda: clock.new_id("evt"))


class Recorded(msgspec.Struct, frozen=True):
    """A fact that was committed, at its place in the total order of its app. `data` is JSON as stored."""

    position: int
    event_id: str
    type: str
    uid: str | None
    occurred_at: int
    data: msgspec.Raw


class Head(msgspec.Struct, frozen=True):
    """Where a log ends. Positions compare within one `epoch`, which changes when a copy was restored."""

    epoch: str
    position: int


def start(tx: Transaction, app_id: str) -> None:
    """Opens the log of a new app."""
    tx.execute(START_LOG, {"app_id": app_id, "position": 0, "epoch": clock.new_id("epo")})


def record(tx: Transaction, event: Event) -> None:
    """Commits `event` with the transaction of its fact; it takes its position last."""
    tx.defer(_TAKE_PLACES, event)


def head(tx: Transaction, app_id: str) -> Head | None:
    """Where the log of the app ends now; None when there is no such app."""
    row = tx.execute(HEAD, {"app": app_id}).one_or_none()
    return None if row is None else Head(row.epoch, row.position)


def after(tx: Transaction, app_id: str, position: int, limit: int) -> list[Recorded]:
    """The next events behind `position`, at most `limit`, in order and without a gap.

    Whoever goes on behind the last position they were given never misses an event. 0 is the beginning.
    """
    rows = tx.execute(EVENTS_AFTER, {"app": app_id, "after": position, "limit": limit})
    return [_recorded(row) for row in rows]


def erase(tx: Transaction, app_id: str, uid: str, limit: int) -> int:
    """Takes email and name out of at most `limit` events of somebody, where they are. Says of how many."""
    rows = tx.execute(NOT_YET_ERASED, {"app": app_id, "uid": uid, "limit": limit}).all()
    tx.write(ERASE, [(app_id, row.position, _without_person(row.data)) for row in rows])
    return len(rows)


def _without_person(data: str) -> str:
    members = msgspec.json.decode(data, type=dict[str, Any])
    return msgspec.json.encode(members | {name: "" for name in PERSONAL if name in members}).decode()


def _recorded(row: Sequence[Any]) -> Recorded:
    position, event_id, type_, uid, occurred_at, data = row
    return Recorded(position, event_id, type_, uid, occurred_at, msgspec.Raw(data))


def _take_places(tx: Transaction, recorded: list[Event]) -> None:
    by_app: defaultdict[str, list[Event]] = defaultdict(list)
    for event in recorded:
        by_app[event.app_id].append(event)
    rows = []
    for app_id in sorted(by_app):
        news = by_app[app_id]
        last = tx.execute(TAKE_POSITIONS, {"app": app_id, "count": len(news)}).scalar_one()
        rows += [_row(event, position) for position, event in enumerate(news, last - len(news) + 1)]
    tx.write(ADD_EVENTS, rows)


def _row(event: Event, position: int) -> tuple[object, ...]:
    data = msgspec.json.encode(event.data).decode()
    return event.app_id, position, event.event_id, event.type, event.uid, event.occurred_at, data


_TAKE_PLACES = Finisher(rank=100, run=_take_places)
