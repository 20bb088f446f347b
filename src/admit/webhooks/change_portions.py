"""Portions of the log that a change hook is told in one request: how far one reaches, and what it says.

Each time it is sent it is read again, so that nothing of people who are deleted meanwhile is sent any more.
"""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET
from msgspec.structs import replace
from sqlalchemy import bindparam, func, select

from admit.accounts import users
from admit.events import log, subscriptions
from admit.events.change_filters import passes
from admit.events.data_facts import DataChange, DataChanged
from admit.events.log import events
from admit.storage.transaction import Transaction
from admit.webhooks import change_hooks
from admit.webhooks.change_hooks import Portion

CHANGES_MAX = 500
BODY_BYTES_MAX = 1_000_000
"""Of the values. What stands in one event is never cut apart: a body has one event at least."""
READ_BYTES_MAX = 4_000_000
LOOKED_AT_MAX = 5_000
EVENTS_MAX = 1_000

_of_objects = (
    events.c.app_id == bindparam("app"),
    events.c.position > bindparam("after"),
    events.c.position <= bindparam("until"),
    events.c.type == DataChanged.event_type,
)
SIZES = (
    select(events.c.position, func.length(events.c.data).label("size"))
    .where(*_of_objects)
    .order_by(events.c.position)
    .limit(bindparam("limit"))
)
WITHIN = (
    select(events.c.position, events.c.uid, events.c.data).where(*_of_objects).order_by(events.c.position)
)

_encode = msgspec.json.Encoder().encode


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What a hook could be told next. `told_until`: from where it was looked. `anything`: there is something
    to tell in the portion; `more`: the log goes on behind it.
    """

    told_until: int
    portion: Portion
    anything: bool
    more: bool


def look(tx: Transaction, app_id: str, endpoint_id: str) -> Outlook | None:
    """How far the next portion reaches; None: the hook was removed."""
    told_until = change_hooks.told_until(tx, app_id, endpoint_id)
    subscription = subscriptions.find(tx, app_id, endpoint_id)
    if told_until is None or subscription is None:
        return None
    reach = log.reach(tx, app_id)
    start = max(told_until, reach.forgotten)
    until = min(start + LOOKED_AT_MAX, max(start, reach.position))
    whole = Portion(after=start, until=until, filters=subscription.filter.changes, missed=start - told_until)
    portion, anything = _cut(tx, app_id, whole)
    return Outlook(
        told_until=told_until,
        portion=portion,
        anything=anything,
        more=portion.until < reach.position,
    )


def changes_of(tx: Transaction, app_id: str, portion: Portion) -> list[DataChange] | None:
    """What a portion tells now; None: some of it is no longer kept."""
    if log.reach(tx, app_id).forgotten > portion.after:
        return None
    return [change for _, changes in _read(tx, app_id, portion) for change in changes]


def body(changes: Sequence[DataChange]) -> bytes:
    """What is sent: `{"changes": […]}`, as Dexie Cloud has it."""
    return _encode({"changes": [replace(each, properties=UNSET) for each in changes]})


def _cut(tx: Transaction, app_id: str, whole: Portion) -> tuple[Portion, bool]:
    """As much of a portion as makes one body, and whether there is anything in that."""
    which = {"app": app_id, "after": whole.after, "until": whole.until, "limit": EVENTS_MAX}
    sizes = tx.execute(SIZES, which).all()
    end, read = whole.until, 0
    for number, row in enumerate(sizes):
        read += row.size
        if number and read > READ_BYTES_MAX:
            end = sizes[number - 1].position
            break
    else:
        if len(sizes) == EVENTS_MAX:
            end = sizes[-1].position
    count = size = 0
    until = whole.after
    for position, changes in _read(tx, app_id, replace(whole, until=end)):
        count, size = count + len(changes), size + sum(map(_size, changes))
        if (count > CHANGES_MAX or size > BODY_BYTES_MAX) and count > len(changes):
            return replace(whole, until=until), True
        until = position
    return replace(whole, until=end), count > 0


def _read(tx: Transaction, app_id: str, portion: Portion) -> list[tuple[int, list[DataChange]]]:
    """The events of a portion, told by position, with those of their changes that are to be told."""
    rows = tx.execute(WITHIN, {"app": app_id, "after": portion.after, "until": portion.until}).all()
    here = users.by_uid(tx, {(app_id, row.uid) for row in rows if row.uid is not None})
    return [
        (row.position, [each for each in _changes(row.data) if passes(each, portion.filters)])
        for row in rows
        if row.uid is None or (app_id, row.uid) in here
    ]


def _changes(data: str) -> tuple[DataChange, ...]:
    return msgspec.json.decode(data, type=DataChanged).changes


def _size(change: DataChange) -> int:
    return sum(len(part) for part in (change.value, change.updates) if isinstance(part, msgspec.Raw))
