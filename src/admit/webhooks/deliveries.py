"""Looking at deliveries, and asking for another try of one.

A delivery is a row of `jobs`, whose lane is its endpoint.

A page costs the same however many deliveries there are: it follows an index, and looks at SCANNED_MAX rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from heapq import nlargest
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Select, bindparam, or_, select, tuple_

from admit.accounts import users
from admit.accounts.people_walk import Of
from admit.errors import Conflict
from admit.events import log
from admit.events.catalog import UserDeleted
from admit.events.data_facts import DataChanged
from admit.events.log import Recorded
from admit.events.subscriptions import GATHERED
from admit.jobs import attempts, revival
from admit.jobs.attempts import Attempt
from admit.jobs.revival import Revival
from admit.jobs.tables import jobs
from admit.storage.lookups import Lookup
from admit.storage.transaction import Transaction
from admit.webhooks import backfill, campaigns
from admit.webhooks.campaigns import TYPE_OF, Place
from admit.webhooks.change_hooks import Portion
from admit.webhooks.delivery import Enclosed
from admit.webhooks.endpoints import KIND
from admit.webhooks.tables import endpoints

PAGE_MAX = 200
SCANNED_MAX = 2_000
NEWEST = (1 << 62, "~")
"""Behind all keys."""

State = Literal["waiting", "blocked", "sending", "delivered", "failed"]
Key = tuple[int, str]
"""When a delivery was made, or failed (UTC ms), and its id."""

_STATES: dict[str, State] = {
    "waiting": "waiting",
    "blocked": "blocked",
    "claimed": "sending",
    "done": "delivered",
    "dead": "failed",
}
_IS_DELIVERY = or_(jobs.c.kind == KIND, jobs.c.kind == GATHERED)
_APP = jobs.c.app_id == bindparam("app")
_LANE = jobs.c.lane == bindparam("endpoint")


def _walk(moment: ColumnElement[Any], *which: ColumnElement[bool]) -> Select[Any]:
    """The keys of deliveries before one, the newest first, with what they are chosen by."""
    return (
        select(moment.label("moment"), jobs.c.job_id, jobs.c.lane, jobs.c.state, jobs.c.subject)
        .where(_APP, *which, tuple_(moment, jobs.c.job_id) < tuple_(bindparam("moment"), bindparam("job")))
        .order_by(moment.desc(), jobs.c.job_id.desc())
        .limit(bindparam("limit"))
    )


OF_ENDPOINT = _walk(jobs.c.created_at, _LANE)
FAILED_OF_ENDPOINT = _walk(jobs.c.failed_at, _LANE, jobs.c.failed_at.is_not(None))
OF_PERSON = _walk(
    jobs.c.created_at, jobs.c.subject == bindparam("uid"), jobs.c.subject.is_not(None), _IS_DELIVERY
)
OF_EVENT = (
    select(jobs.c.job_id, jobs.c.sequence)
    .where(
        _APP,
        jobs.c.subject == bindparam("uid"),
        jobs.c.subject.is_not(None),
        jobs.c.created_at >= bindparam("moment"),
        _IS_DELIVERY,
    )
    .order_by(jobs.c.created_at, jobs.c.job_id)
    .limit(bindparam("limit"))
)
OF_EVENT_ABOUT_NOBODY = Lookup(
    select(jobs.c.job_id, jobs.c.sequence).where(_IS_DELIVERY),
    (jobs.c.app_id, jobs.c.lane, jobs.c.created_at),
)
ENDPOINTS = select(endpoints.c.endpoint_id).where(endpoints.c.app_id == bindparam("app"))
EACH = Lookup(
    select(
        jobs.c.app_id,
        jobs.c.job_id,
        jobs.c.kind,
        jobs.c.lane,
        jobs.c.subject,
        jobs.c.sequence,
        jobs.c.payload,
        jobs.c.state,
        jobs.c.due_at,
        jobs.c.attempts,
        jobs.c.out_of_order,
        jobs.c.detail,
        jobs.c.created_at,
        jobs.c.finished_at,
    ).where(_IS_DELIVERY),
    (jobs.c.app_id, jobs.c.job_id),
)
LOCK_EACH = Lookup(
    select(jobs.c.app_id, jobs.c.job_id).where(_IS_DELIVERY), (jobs.c.app_id, jobs.c.job_id), lock=True
)


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries: to an endpoint, of a person, in a state; "" or None: all. Those `before` a key."""

    endpoint_id: str = ""
    uid: str = ""
    state: State | None = None
    before: Key = NEWEST
    limit: int = PAGE_MAX


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event owed to one endpoint, or to a change hook all changes that had come when it was begun.

    `portion`: where those stand; None: it is not to a change hook, has not begun, or had nothing to tell.
    `event` None: what it told is no longer kept; then `type` is "", unless it was of a backfill. `due_at`:
    when it is tried next (UTC ms); None: it is not, or not before an earlier one of the person.
    """

    app_id: str
    delivery_id: str
    endpoint_id: str
    state: State
    type: str
    event: Recorded | None
    portion: Portion | None
    backfill: bool
    test: bool
    uid: str | None
    attempts: int
    due_at: int | None
    out_of_order: bool
    detail: str
    created_at: int
    finished_at: int | None


class Page(msgspec.Struct, frozen=True):
    """Some deliveries, the newest first. `before`: what to ask for next; None: there is nothing older.

    A page may be short, or empty, and have more behind it, where few fit.
    """

    deliveries: list[Delivery]
    before: Key | None


class History(msgspec.Struct, frozen=True):
    """A delivery with its attempts, the first one first."""

    delivery: Delivery
    attempts: list[Attempt]


def page(tx: Transaction, app_id: str, query: Query) -> Page:
    """The next deliveries that `query` asks for.

    Of all endpoints those that exist are meant; deliveries to one that was removed are found by its id, and
    by the person. Failed ones are in the order in which they failed, where no person is asked for.
    """
    rows = _rows(tx, app_id, query)
    chosen, last = [], None
    for row in rows[:SCANNED_MAX]:
        last = row
        if _fits(row, query):
            chosen.append(row)
            if len(chosen) == query.limit:
                break
    found = _deliveries(tx, app_id, [row.job_id for row in chosen])
    more = last is not None and last is not rows[-1]
    return Page(
        [found[row.job_id] for row in chosen if row.job_id in found],
        (last.moment, last.job_id) if more and last is not None else None,
    )


def of_event(tx: Transaction, app_id: str, event: Recorded) -> list[Delivery]:
    """The deliveries that tell an event, the first one first, also those of replays.

    Of an event about nobody those that were made as it happened. Change hooks tell many events in one, which
    is not among them.
    """
    # A delivery is made when what it tells happens, or later.
    if event.uid is not None:
        which = {"app": app_id, "uid": event.uid, "moment": event.occurred_at, "limit": SCANNED_MAX}
        rows = tx.execute(OF_EVENT, which).all()
    else:
        lanes = tx.execute(ENDPOINTS, {"app": app_id}).scalars().all()
        keys = [(app_id, endpoint_id, event.occurred_at) for endpoint_id in lanes]
        rows = OF_EVENT_ABOUT_NOBODY.rows(tx, keys)
    ids = [row.job_id for row in rows if row.sequence == event.position]
    found = _deliveries(tx, app_id, ids).values()
    return sorted(found, key=lambda each: (each.created_at, each.delivery_id))


def show(tx: Transaction, app_id: str, delivery_id: str) -> History | None:
    """One delivery with its attempts; None: there is none of this id."""
    found = _deliveries(tx, app_id, [delivery_id])
    if delivery_id not in found:
        return None
    return History(found[delivery_id], attempts.of_job(tx, app_id, delivery_id))


def each(tx: Transaction, app_id: str, ids: Iterable[str]) -> dict[str, Delivery]:
    """The deliveries of these ids that there are, by id."""
    return _deliveries(tx, app_id, ids)


def retry(tx: Transaction, app_id: str, delivery_id: str, now: int) -> Conflict | Literal["due", "unknown"]:
    """Makes a delivery due: one that waits for its time is brought forward, one that has ended is tried again
    behind what else waits of the person.

    Its attempts stay, and its schedule begins anew. Says `unknown` where there is none of this id.
    """
    rows = EACH.rows(tx, [(app_id, delivery_id)])
    if not rows:
        return "unknown"
    # The endpoint before the delivery: campaigns have this order, too.
    place = campaigns.lock(tx, app_id, rows[0].lane)
    if place is None:
        return Conflict("The endpoint of this delivery was removed.", code="endpoint_removed")
    LOCK_EACH.rows(tx, [(app_id, delivery_id)])
    [row] = EACH.rows(tx, [(app_id, delivery_id)])
    match _STATES[row.state]:
        case "waiting":
            revival.bring_forward(tx, app_id, delivery_id, now)
            return "due"
        case "blocked":
            return Conflict(
                "It waits for an earlier delivery of the same person to this endpoint. Retry that one.",
                code="delivery_blocked",
            )
        case "sending":
            return Conflict(
                "It is being delivered at this moment. Look again in a while.", code="delivery_busy"
            )
        case "delivered" | "failed":
            payload = _payload(tx, place, row)
            if payload is None:
                return Conflict("What it told is no longer kept.", code="delivery_gone")
            again = Revival(app_id=app_id, job_id=delivery_id, payload=payload, now=now)
            revival.revive(tx, [again])
            return "due"


def _payload(tx: Transaction, place: Place, row: Any) -> str | None:
    """With which payload one delivery can be tried again that has ended; None: not any more."""
    if row.kind != GATHERED:
        return payloads(tx, place, [(row.job_id, row.sequence, row.subject)])[row.job_id]
    portion = _portion(row)
    kept = portion is not None and log.reach(tx, place.app_id).forgotten <= portion.after
    return row.payload if kept else None


def _portion(row: Any) -> Portion | None:
    if row.kind != GATHERED or not row.payload:
        return None
    return msgspec.json.decode(row.payload, type=Portion)


def payloads(
    tx: Transaction, place: Place, ended: Sequence[tuple[str, int, str | None]]
) -> dict[str, str | None]:
    """With which payloads deliveries can be tried again that have ended, told by id, position and person.

    None: what they told is no longer kept, or the person was deleted since. What a backfill told is told as
    it is now.
    """
    uids = {(place.app_id, uid) for _, _, uid in ended if uid is not None}
    here = users.by_uid(tx, uids, lock=True)
    kept = log.find_each(tx, [(place.app_id, sequence) for _, sequence, _ in ended if sequence])
    found: dict[str, str | None] = {}
    for delivery_id, sequence, uid in ended:
        if sequence:
            event = kept.get((place.app_id, sequence))
            gone = uid is not None and (place.app_id, uid) not in here
            lost = event is None or (gone and event.type != UserDeleted.event_type)
            found[delivery_id] = None if lost else ""
        else:
            found[delivery_id] = None if uid is None else backfill.once_more(tx, place, delivery_id, uid)
    return found


def _rows(tx: Transaction, app_id: str, query: Query) -> Sequence[Any]:
    """Keys to choose from, one more than are looked at."""
    moment, job = query.before
    which = {"app": app_id, "moment": moment, "job": job}
    # Where every row fits, no more need be read than are shown.
    limit = (query.limit if _all_fit(query) else SCANNED_MAX) + 1
    if query.uid:
        return tx.execute(OF_PERSON, which | {"uid": query.uid, "limit": limit}).all()
    statement = FAILED_OF_ENDPOINT if query.state == "failed" else OF_ENDPOINT
    if query.endpoint_id:
        return tx.execute(statement, which | {"endpoint": query.endpoint_id, "limit": limit}).all()
    rows: list[Any] = []
    for endpoint_id in tx.execute(ENDPOINTS, {"app": app_id}).scalars().all():
        rows += tx.execute(statement, which | {"endpoint": endpoint_id, "limit": limit}).all()
        rows = nlargest(limit, rows, key=lambda row: (row.moment, row.job_id))
    return rows


def _all_fit(query: Query) -> bool:
    if query.uid:
        return not query.endpoint_id and query.state is None
    return query.state in (None, "failed")


def _fits(row: Any, query: Query) -> bool:
    return query.state in (None, _STATES[row.state]) and query.endpoint_id in ("", row.lane)


def _deliveries(tx: Transaction, app_id: str, ids: Iterable[str]) -> dict[str, Delivery]:
    rows = EACH.rows(tx, [(app_id, delivery_id) for delivery_id in ids])
    events = log.find_each(tx, [(app_id, row.sequence) for row in rows if row.sequence])
    return {row.job_id: _delivery(row, events) for row in rows}


def _delivery(row: Any, events: Mapping[tuple[str, int], Recorded]) -> Delivery:
    event, is_backfill, is_test = events.get((row.app_id, row.sequence)), False, False
    rows_of = None
    if not row.sequence and row.kind != GATHERED:
        rows_of = backfill.rows_of(row.job_id)
        is_backfill, is_test = rows_of is not None, rows_of is None
        if row.payload:
            own = msgspec.json.decode(row.payload, type=Enclosed)
            event = Recorded(0, own.event_id, own.type, row.subject, own.occurred_at, own.data)
    state = _STATES[row.state]
    return Delivery(
        app_id=row.app_id,
        delivery_id=row.job_id,
        endpoint_id=row.lane,
        state=state,
        type=_type(row, event, rows_of),
        event=event,
        portion=_portion(row),
        backfill=is_backfill,
        test=is_test,
        uid=row.subject,
        attempts=row.attempts,
        due_at=row.due_at if state == "waiting" else None,
        out_of_order=row.out_of_order == "yes",
        detail=row.detail,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


def _type(row: Any, event: Recorded | None, rows_of: Of | None) -> str:
    if row.kind == GATHERED:
        return DataChanged.event_type
    if event is not None:
        return event.type
    return TYPE_OF[rows_of] if rows_of is not None else ""
