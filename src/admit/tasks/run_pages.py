"""Looking at runs. A run is a row of `jobs`, whose lane is its task, or a named queue.

A page costs the same however many runs there are: it follows an index, and looks at SCANNED_MAX rows.
"""

from collections.abc import Iterable, Mapping
from heapq import nlargest
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Select, bindparam, select, tuple_

from admit.events import log
from admit.events.log import Recorded
from admit.jobs import attempts, links
from admit.jobs.attempts import Attempt
from admit.jobs.links import Key as Key
from admit.jobs.tables import jobs
from admit.storage.lookups import Lookup
from admit.storage.transaction import Transaction
from admit.task.payloads import Schedule
from admit.tasks import run_orders
from admit.tasks.registrations import KIND
from admit.tasks.run_orders import OwedCall, OwedEvent, OwedHook, task_of
from admit.tasks.tables import queues, tasks

PAGE_MAX = 200
SCANNED_MAX = 2_000
NEWEST: Key = (1 << 62, "~")
"""Behind all keys."""

State = Literal["waiting", "blocked", "running", "done", "failed", "cancelled"]

_OF_KIND = {"decides": "decision", "http": "request"}
"""What runs of a task are about, where they no longer say it because their person is gone."""
_IS_RUN = jobs.c.kind == KIND
_APP = jobs.c.app_id == bindparam("app")


def names_of_lanes(tx: Transaction, app_id: str) -> dict[str, str]:
    """The name of the task or the queue whose runs are in each lane."""
    return _names(tx, NAMES, app_id) | _names(tx, QUEUES, app_id)


def _walk(moment: ColumnElement[Any], *which: ColumnElement[bool]) -> Select[Any]:
    """The keys of runs before one, the newest first, with what tells their states."""
    key = tuple_(moment, jobs.c.job_id)
    return (
        select(moment.label("moment"), jobs.c.job_id, jobs.c.state, jobs.c.failed_at)
        .where(_APP, *which, key < tuple_(bindparam("moment"), bindparam("job")))
        .order_by(moment.desc(), jobs.c.job_id.desc())
        .limit(bindparam("limit"))
    )


_LANE = jobs.c.lane == bindparam("of_lane")
OF_LANE = _walk(jobs.c.created_at, _LANE)
FAILED_OF_LANE = _walk(jobs.c.failed_at, _LANE, jobs.c.failed_at.is_not(None))
OF_PERSON = _walk(jobs.c.created_at, jobs.c.subject == bindparam("uid"), jobs.c.subject.is_not(None), _IS_RUN)
NAMES = select(tasks.c.task_id, tasks.c.name).where(tasks.c.app_id == bindparam("app"))
KINDS = select(tasks.c.task_id, tasks.c.kind).where(tasks.c.app_id == bindparam("app"))
QUEUES = select(queues.c.lane, queues.c.name).where(queues.c.app_id == bindparam("app"))
EACH = Lookup(
    select(
        jobs.c.app_id,
        jobs.c.job_id,
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
        jobs.c.failed_at,
    ).where(_IS_RUN),
    (jobs.c.app_id, jobs.c.job_id),
)


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs: of a task, of a person, in a state, about something (`jobs.links`); "" or None: any. Those
    made `since` (UTC ms), `before` a key."""

    task_id: str = ""
    uid: str = ""
    state: State | None = None
    about: str = ""
    since: int = 0
    before: Key = NEWEST
    limit: int = PAGE_MAX


class _Found(msgspec.Struct, frozen=True):
    """The key of a run that may fit. `state` None: it is not known yet."""

    key: Key
    state: State | None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `task` is the name, `kind` what it is about: event, call, schedule, request or decision.

    `event` None: it is about none, or about one that is no longer kept. `parameters`: of a call;
    `scheduled_at`: the time by the clock that it is for. `due_at` (UTC ms): when it begins, or is tried
    again; None: it is not, or not before an earlier one of the person.
    """

    app_id: str
    run_id: str
    task_id: str
    task: str
    state: State
    kind: str
    event: Recorded | None
    parameters: msgspec.Raw | None
    scheduled_at: int | None
    by: str
    queue: str
    uid: str | None
    attempts: int
    due_at: int | None
    out_of_order: bool
    detail: str
    created_at: int
    finished_at: int | None


class Page(msgspec.Struct, frozen=True):
    """Some runs, the newest first. `before`: what to ask for next; None: there is nothing older.

    A page may be short, or empty, and have more behind it, where few fit.
    """

    runs: list[Run]
    before: Key | None


class History(msgspec.Struct, frozen=True):
    """A run with its attempts, the first one first, and what it is found by."""

    run: Run
    attempts: list[Attempt]
    abouts: list[str]


def page(tx: Transaction, app_id: str, query: Query) -> Page:
    """The next runs that `query` asks for. Failed ones are in the order in which they failed, where neither a
    person is asked for nor what they are about."""
    limit = (query.limit if _all_fit(query) else SCANNED_MAX) + 1
    found = [each for each in _keys(tx, app_id, query, limit) if each.key[0] >= query.since]
    looked_at = found[: limit - 1]
    fitting = [each.key for each in looked_at if query.state in (None, each.state) or each.state is None]
    last = looked_at[-1].key if looked_at else None
    chosen: list[Run] = []
    for start in range(0, len(fitting), query.limit):
        keys = fitting[start : start + query.limit]
        runs = _runs(tx, app_id, [run_id for _, run_id in keys])
        for key in keys:
            run = runs.get(key[1])
            if run is not None and _fits(run, query):
                chosen.append(run)
                if len(chosen) == query.limit:
                    return Page(chosen, key if key != found[-1].key else None)
    return Page(chosen, last if last is not None and last != found[-1].key else None)


def show(tx: Transaction, app_id: str, run_id: str) -> History | None:
    """One run with its attempts; None: there is none of this id."""
    run = _runs(tx, app_id, [run_id]).get(run_id)
    if run is None:
        return None
    return History(run, attempts.of_job(tx, app_id, run_id), links.of_job(tx, app_id, run_id))


def each(tx: Transaction, app_id: str, ids: Iterable[str]) -> dict[str, Run]:
    """The runs of these ids that there are, by id."""
    return _runs(tx, app_id, ids)


def state_of(row: Any) -> State:
    """The state of a run by the columns of its job: what has ended without having failed was cancelled."""
    match row.state:
        case "waiting" | "blocked" as state:
            return state  # type: ignore[no-any-return]
        case "claimed":
            return "running"
        case "done":
            return "done"
        case _:
            return "cancelled" if row.failed_at is None else "failed"


def _keys(tx: Transaction, app_id: str, query: Query, limit: int) -> list[_Found]:
    moment, job = query.before
    which = {"app": app_id, "moment": moment, "job": job, "limit": limit}
    if query.about:
        return _linked(tx, app_id, query.about, query.before, limit)
    if query.uid:
        return _found(tx, OF_PERSON, which | {"uid": query.uid})
    if query.state == "failed":
        lanes = [query.task_id] if query.task_id else list(_names(tx, NAMES, app_id))
        return _merged(tx, FAILED_OF_LANE, which, [*lanes, *_names(tx, QUEUES, app_id)], limit)
    if query.task_id:
        # Those in named queues are linked to it.
        own = _found(tx, OF_LANE, which | {"of_lane": query.task_id})
        known = {each.key for each in own}
        linked = _linked(tx, app_id, query.task_id, query.before, limit)
        return nlargest(limit, own + [each for each in linked if each.key not in known], key=_key_of)
    return _merged(tx, OF_LANE, which, [*_names(tx, NAMES, app_id), *_names(tx, QUEUES, app_id)], limit)


def _merged(
    tx: Transaction, statement: Select[Any], which: dict[str, Any], lanes: Iterable[str], limit: int
) -> list[_Found]:
    """The newest of several lanes."""
    keys: list[_Found] = []
    for lane in lanes:
        keys = nlargest(limit, keys + _found(tx, statement, which | {"of_lane": lane}), key=_key_of)
    return keys


def _found(tx: Transaction, statement: Select[Any], which: Mapping[str, object]) -> list[_Found]:
    return [_Found((row.moment, row.job_id), state_of(row)) for row in tx.execute(statement, which)]


def _linked(tx: Transaction, app_id: str, about: str, before: Key, limit: int) -> list[_Found]:
    return [_Found(key, None) for key in links.find(tx, app_id, about, before, limit)]


def _key_of(found: _Found) -> Key:
    return found.key


def _names(tx: Transaction, statement: Select[Any], app_id: str) -> dict[str, str]:
    return dict(tuple(row) for row in tx.execute(statement, {"app": app_id}))


def _all_fit(query: Query) -> bool:
    chosen = [bool(query.about), bool(query.uid), bool(query.task_id)]
    if query.state == "failed":
        return not any(chosen) and not query.since
    return query.state is None and sum(chosen) <= 1


def _fits(run: Run, query: Query) -> bool:
    return (
        query.state in (None, run.state)
        and query.task_id in ("", run.task_id)
        and query.uid in ("", run.uid)
        and run.created_at >= query.since
    )


def _runs(tx: Transaction, app_id: str, ids: Iterable[str]) -> dict[str, Run]:
    rows = EACH.rows(tx, [(app_id, run_id) for run_id in ids])
    if not rows:
        return {}
    places = {(app_id, place) for row in rows if (place := _place_of(row))}
    events = log.find_each(tx, places)
    names, named_queues = _names(tx, NAMES, app_id), _names(tx, QUEUES, app_id)
    erased = any(not row.payload and not row.sequence for row in rows)
    kinds = _names(tx, KINDS, app_id) if erased else {}
    return {row.job_id: _run(row, events, names, named_queues, kinds) for row in rows}


def _run(
    row: Any,
    events: Mapping[tuple[str, int], Recorded],
    names: Mapping[str, str],
    named_queues: Mapping[str, str],
    kinds: Mapping[str, str],
) -> Run:
    owed = run_orders.decode(row.payload)
    task_id = row.lane if owed is None else task_of(owed, row.lane)
    state = state_of(row)
    kind = run_orders.kind_of(owed)
    if owed is None and not row.sequence:
        kind = _OF_KIND.get(kinds.get(task_id, ""), kind)
    return Run(
        app_id=row.app_id,
        run_id=row.job_id,
        task_id=task_id,
        task=names.get(task_id, ""),
        state=state,
        kind=kind,
        event=events.get((row.app_id, _place_of(row))),
        parameters=owed.parameters if isinstance(owed, OwedCall) else None,
        scheduled_at=owed.scheduled_at if isinstance(owed, Schedule) else None,
        by=owed.by if isinstance(owed, OwedCall | OwedEvent | OwedHook) else "",
        queue=named_queues.get(row.lane, ""),
        uid=row.subject,
        attempts=row.attempts,
        due_at=row.due_at if state == "waiting" else None,
        out_of_order=row.out_of_order == "yes",
        detail=row.detail,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


def _place_of(row: Any) -> int:
    """The position of the event that it is about; 0: of none."""
    owed = run_orders.decode(row.payload)
    sequence: int = owed.sequence if isinstance(owed, OwedEvent) else row.sequence
    return sequence
