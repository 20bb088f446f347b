"""The log: events take their position under their app's row lock, last thing before the commit.

So the feed is a total order in which nothing appears behind a cursor that was already handed out.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec.structs import force_setattr
from sqlalchemy import (
    Index,
    PrimaryKeyConstraint,
    Table,
    Text,
    bindparam,
    case,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from admit import clock
from admit.events import subscriptions
from admit.events.catalog import Data
from admit.events.data_facts import DataChanged
from admit.events.object_facts import ObjectReady, ObjectUpdated
from admit.events.privacy import (
    OF_CHANGE,
    OF_CLIENT,
    OF_HOOK,
    OF_IDENTITY,
    PERSONAL,
    erased,
    impersonal,
)
from admit.events.subscriptions import Fact
from admit.storage.lookups import Lookup
from admit.storage.rows import Change, Insertion
from admit.storage.schema import metadata, moment, number, text
from admit.storage.transaction import Finisher, Transaction

TOPIC = "events"
"""Of the signal that an app, its key, has news."""

logs = Table(
    "event_logs",
    metadata,
    text("app_id", primary_key=True),
    number("position"),  # of the newest event
    text("epoch"),  # changes when the log was restored from a copy
    text("audience"),  # changes with the subscriptions of the app; "": nobody has ever subscribed
    number("forgotten"),  # the position of the newest event that is no longer kept
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
    Index(None, "app_id", "event_id"),
)

RECORDED_COLUMNS = (
    events.c.position,
    events.c.event_id,
    events.c.type,
    events.c.uid,
    events.c.occurred_at,
    events.c.data,
)
"""In the order of the fields of Recorded."""

TAKE_POSITIONS = (
    update(logs)
    .where(logs.c.app_id == bindparam("app"))
    .values(position=logs.c.position + bindparam("count"))
    .returning(logs.c.position, logs.c.audience)
)
CHANGE_AUDIENCE = (
    update(logs)
    .where(logs.c.app_id == bindparam("app"))
    .values(audience=bindparam("version"))
    .returning(logs.c.position)
)
ADD_EVENTS = Insertion(insert(events))
START_LOG = insert(logs)
HEAD = select(logs.c.epoch, logs.c.position).where(logs.c.app_id == bindparam("app"))
REACH = select(logs.c.position, logs.c.forgotten).where(logs.c.app_id == bindparam("app"))
HOLD = REACH.with_for_update()
_after = (
    select(*RECORDED_COLUMNS)
    .where(events.c.app_id == bindparam("app"), events.c.position > bindparam("after"))
    .order_by(events.c.position)
    .limit(bindparam("limit"))
)
EVENTS_AFTER = _after
# What objects hold is large: it is left where it is by those who want to know nothing of it.
_OF_HOOKS = (ObjectReady.event_type, ObjectUpdated.event_type)
_no_changes = events.c.type == DataChanged.event_type, literal('{"changes":[]}', Text)
_lean_data = case(
    _no_changes, (events.c.type.in_(_OF_HOOKS), literal("{}", Text)), else_=events.c.data
).label("data")
LEAN_EVENTS_AFTER = _after.with_only_columns(*RECORDED_COLUMNS[:-1], _lean_data)


FIND_EACH = Lookup(
    select(events.c.app_id, *RECORDED_COLUMNS),
    (events.c.app_id, events.c.position),
)

# Inside a text of JSON these quotation marks would be escaped, and no other member bears these names. Those
# in the operator's own data go with it.
_PARTS = (*PERSONAL, OF_IDENTITY, OF_CLIENT, OF_CHANGE, OF_HOOK)
_TO_ERASE = (*(f'"{member}":' for member in _PARTS), '"derived":false')
_BEFORE_OBJECT = f',"{OF_HOOK}":'
_BEFORE_OBJECT_MAX = 10_000
"""It is the last member of an event of a web hook, and may be large; in front of it there is little."""
_before_object = events.c.type.in_(_OF_HOOKS), func.substr(events.c.data, 1, _BEFORE_OBJECT_MAX)
_short_data = case(_no_changes, _before_object, else_=events.c.data)
NOT_YET_ERASED = (
    select(events.c.app_id, events.c.position, events.c.type, _short_data.label("data"))
    .where(
        events.c.app_id == bindparam("app"),
        events.c.uid == bindparam("uid"),
        or_(*(events.c.data.contains(each) for each in _TO_ERASE)),
    )
    .limit(bindparam("limit"))
)
ERASE = Change(events, (events.c.app_id, events.c.position), (events.c.data,))


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A fact that is about to be committed."""

    app_id: str
    uid: str | None
    occurred_at: int
    data: Data
    event_id: str = msgspec.field(default_factory=lambda: clock.new_id("evt"))

    @property
    def type(self) -> str:
        """The type of the event: it follows from what the event carries."""
        return self.data.event_type


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


class Reach(msgspec.Struct, frozen=True):
    """The positions of the newest event, and of the newest that is no longer kept."""

    position: int
    forgotten: int


def start(tx: Transaction, app_id: str) -> None:
    """Opens the log of a new app."""
    tx.execute(
        START_LOG,
        {"app_id": app_id, "position": 0, "epoch": clock.new_id("epo"), "audience": "", "forgotten": 0},
    )


def record(tx: Transaction, event: Event) -> None:
    """Commits `event` with the transaction of its fact; it takes its position last."""
    tx.defer(_TAKE_PLACES, event)


def audience_changes(tx: Transaction, app_id: str) -> int:
    """Says that subscriptions of the app change in this unit, and returns the position of the newest event.

    Until it is committed nobody records an event of the app, so that each event finds the subscriptions as
    they were before, or as they are then.
    """
    position: int = tx.execute(CHANGE_AUDIENCE, {"app": app_id, "version": clock.new_id("aud")}).scalar_one()
    return position


def reach(tx: Transaction, app_id: str, *, hold: bool = False) -> Reach:
    """From where to where the log of an app is kept.

    `hold`: until the transaction ends nobody else records an event of the app, or tells one.
    """
    row = tx.execute(HOLD if hold else REACH, {"app": app_id}).one()
    return Reach(row.position, row.forgotten)


def head(tx: Transaction, app_id: str) -> Head | None:
    """Where the log of the app ends now; None when there is no such app."""
    row = tx.execute(HEAD, {"app": app_id}).one_or_none()
    return None if row is None else Head(row.epoch, row.position)


def find_each(tx: Transaction, keys: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Recorded]:
    """The events of (app_id, position) that are kept. List form."""
    return {(row[0], row[1]): _recorded(row[1:]) for row in FIND_EACH.rows(tx, keys)}


def after(tx: Transaction, app_id: str, position: int, limit: int, *, lean: bool = False) -> list[Recorded]:
    """The next events behind `position`, at most `limit`, in order and without a gap.

    Whoever goes on behind the last position they were given never misses an event. 0 is the beginning.
    `lean`: events about objects do not hold them, which may be 1 MB in each.
    """
    statement = LEAN_EVENTS_AFTER if lean else EVENTS_AFTER
    rows = tx.execute(statement, {"app": app_id, "after": position, "limit": limit})
    return [_recorded(row) for row in rows]


def erase(tx: Transaction, app_id: str, uid: str, limit: int) -> int:
    """Takes what `privacy.erased` does out of at most `limit` events of the person. Says out of how many."""
    rows = tx.execute(NOT_YET_ERASED, {"app": app_id, "uid": uid, "limit": limit}).all()
    tx.write(ERASE, [(app_id, row.position, _erased(row)) for row in rows])
    # Units before ours in this transaction may have recorded something that has no place yet.
    for event in tx.deferred(_TAKE_PLACES):
        if (event.app_id, event.uid) == (app_id, uid):
            force_setattr(event, "data", impersonal(event.data))
    return len(rows)


def _erased(row: Any) -> str:
    text: str = row.data
    if row.type in _OF_HOOKS:
        head, found, _ = text.partition(_BEFORE_OBJECT)
        return head + "}" if found else text
    return erased(text.encode()).decode()


def _recorded(row: Sequence[Any]) -> Recorded:
    position, event_id, type_, uid, occurred_at, data = row
    return Recorded(position, event_id, type_, uid, occurred_at, msgspec.Raw(data))


def _take_places(tx: Transaction, recorded: list[Event]) -> None:
    by_app: defaultdict[str, list[Event]] = defaultdict(list)
    for event in recorded:
        by_app[event.app_id].append(event)
    apps = sorted(by_app)
    heads = tx.rows_of_each(
        [(TAKE_POSITIONS, {"app": app_id, "count": len(by_app[app_id])}) for app_id in apps]
    )
    rows = []
    for app_id, head in zip(apps, heads, strict=True):
        if not head:
            raise LookupError(f"The app {app_id} has no log, and its events would be lost.")
        ((last, audience),) = head
        news = by_app[app_id]
        placed = [_row(event, position) for position, event in enumerate(news, last - len(news) + 1)]
        if audience:
            _tell(tx, app_id, audience, placed)
        rows += placed
        tx.signal(TOPIC, app_id)
    tx.write(ADD_EVENTS, rows)


def _tell(tx: Transaction, app_id: str, version: str, placed: Sequence[tuple[Any, ...]]) -> None:
    """Leaves a job to everybody who wants to be told of one of the events."""
    audience = subscriptions.audience(tx, app_id, version)
    due = []
    for _, position, _, type_, uid, occurred_at, data in placed:
        if wanting := audience.of(type_):
            fact = Fact(type_, uid, position, occurred_at, data)
            due += [(each, fact) for each in wanting if subscriptions.wants(each, fact)]
    subscriptions.tell_each(tx, subscriptions.not_told_yet(tx, app_id, due))


def _row(event: Event, position: int) -> tuple[object, ...]:
    data = msgspec.json.encode(event.data).decode()
    return event.app_id, position, event.event_id, event.type, event.uid, event.occurred_at, data


_TAKE_PLACES = Finisher(rank=100, run=_take_places)
