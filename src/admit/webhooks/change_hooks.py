"""Change hooks: endpoints that are told of changed objects as Dexie Cloud tells them.

A change hook has one job at a time, which tells all changes that have come until it begins and leaves the
next one when it ends (`change_delivery`). So however long a receiver is away or slow, its changes come in
order and in few requests. `told_until` is behind what the jobs so far tell, as they were begun.
"""

from collections import defaultdict
from collections.abc import Sequence

import msgspec
from sqlalchemy import bindparam, delete, func, insert, select, update

from admit.events import log, subscriptions
from admit.events.change_filters import ChangeFilter
from admit.events.data_facts import DataChanged
from admit.events.log import events
from admit.events.subscriptions import GATHERED
from admit.jobs.tables import jobs
from admit.storage.transaction import Finisher, Transaction
from admit.webhooks.tables import change_hooks

KIND = GATHERED
LOOKED_AT_MAX = 1_000
"""So many positions are searched for a change before a job is left to do it."""
FAILED_MAX = 1_000

_this = (change_hooks.c.app_id == bindparam("app"), change_hooks.c.endpoint_id == bindparam("endpoint"))
BEGIN = insert(change_hooks)
FORGET = delete(change_hooks).where(*_this)
TOLD_UNTIL = select(change_hooks.c.told_until).where(*_this)
MOVE = (
    update(change_hooks)
    .where(*_this, change_hooks.c.told_until == bindparam("from_here"))
    .values(told_until=bindparam("to_there"))
)
REWIND = (
    update(change_hooks)
    .where(*_this, change_hooks.c.told_until > bindparam("position"))
    .values(told_until=bindparam("position"))
)
NEXT_CHANGE = select(func.min(events.c.position)).where(
    events.c.app_id == bindparam("app"),
    events.c.position > bindparam("after"),
    events.c.position <= bindparam("until"),
    events.c.type == DataChanged.event_type,
)
FAILED_SINCE = (
    select(jobs.c.payload)
    .where(
        jobs.c.app_id == bindparam("app"),
        jobs.c.lane == bindparam("endpoint"),
        jobs.c.failed_at.is_not(None),
        jobs.c.failed_at >= bindparam("since"),
        jobs.c.payload != "",
    )
    .order_by(jobs.c.failed_at)
    .limit(FAILED_MAX)
)


class Portion(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of a job that has begun: it tells the changes behind the position `after`, up to `until`,
    that `filters` let through. `missed`: so many events before it were no longer kept when it began."""

    after: int
    until: int
    filters: tuple[ChangeFilter, ...]
    missed: int = 0


class _Ended(msgspec.Struct, frozen=True):
    app_id: str
    endpoint_id: str
    now: int


def begin(tx: Transaction, app_id: str, endpoint_id: str, position: int) -> None:
    """Has a change hook told of what comes behind `position`."""
    tx.execute(BEGIN, {"app_id": app_id, "endpoint_id": endpoint_id, "told_until": position})


def told_until(tx: Transaction, app_id: str, endpoint_id: str) -> int | None:
    """The position behind which the jobs to come tell; None: it is no change hook, or was removed."""
    found: int | None = tx.execute(TOLD_UNTIL, {"app": app_id, "endpoint": endpoint_id}).scalar_one_or_none()
    return found


def move(tx: Transaction, app_id: str, endpoint_id: str, from_here: int, to_there: int) -> bool:
    """Says that a job tells what is between two positions. False: somebody else has moved it meanwhile."""
    which = {"app": app_id, "endpoint": endpoint_id, "from_here": from_here, "to_there": to_there}
    return tx.execute(MOVE, which).rowcount > 0


def rewind(tx: Transaction, app_id: str, endpoint_id: str, position: int, now: int) -> None:
    """Tells a hook once more all that was changed behind `position`, in order, before anything new."""
    tx.execute(REWIND, {"app": app_id, "endpoint": endpoint_id, "position": position})
    go_on(tx, app_id, endpoint_id, now)


def rewind_to_failed(tx: Transaction, app_id: str, endpoint_id: str, since: int, now: int) -> int | None:
    """As `rewind`, from the first of the changes whose job was given up since then (UTC ms). Returns the
    position behind which it begins; None: nothing was given up."""
    which = {"app": app_id, "endpoint": endpoint_id, "since": since}
    failed = tx.execute(FAILED_SINCE, which).scalars().all()
    if not failed:
        return None
    position = min(msgspec.json.decode(payload, type=Portion).after for payload in failed)
    rewind(tx, app_id, endpoint_id, position, now)
    return position


def forget(tx: Transaction, app_id: str, endpoint_id: str) -> None:
    """Forgets a hook that is removed."""
    tx.execute(FORGET, {"app": app_id, "endpoint": endpoint_id})


def go_on(tx: Transaction, app_id: str, endpoint_id: str, now: int) -> None:
    """Leaves a job where there is something to tell and none that does. Last thing before the commit: until
    then nobody else records an event of the app, so that what comes later leaves a job of its own."""
    tx.defer(_GO_ON, _Ended(app_id, endpoint_id, now))


def _go_on(tx: Transaction, ended: Sequence[_Ended]) -> None:
    by_app: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for each in ended:
        by_app[each.app_id][each.endpoint_id] = each.now
    for app_id in sorted(by_app):
        head = log.reach(tx, app_id, hold=True).position
        behind = {
            (app_id, endpoint_id): now
            for endpoint_id, now in by_app[app_id].items()
            if _is_live(tx, app_id, endpoint_id) and _is_behind(tx, app_id, endpoint_id, head)
        }
        subscriptions.rouse(tx, behind)


def _is_live(tx: Transaction, app_id: str, endpoint_id: str) -> bool:
    """Whether it is told at present. Who resumes one that is paused lets it go on."""
    subscription = subscriptions.find(tx, app_id, endpoint_id)
    return subscription is not None and subscription.live


def _is_behind(tx: Transaction, app_id: str, endpoint_id: str, head: int) -> bool:
    """Whether there may be a change that no job tells yet."""
    after = told_until(tx, app_id, endpoint_id)
    if after is None:
        return False
    until = min(head, after + LOOKED_AT_MAX)
    if until < head:
        return True
    return tx.execute(NEXT_CHANGE, {"app": app_id, "after": after, "until": until}).scalar_one() is not None


# Behind the events of this commit, which may have left a job already.
_GO_ON = Finisher(rank=105, run=_go_on)
