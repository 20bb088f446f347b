"""The order of jobs: in one lane, a later job of the same subject waits for the earlier one, and nobody else.

A job that waits is blocked: it is not due, so no claim walks past it. Where the one before it cannot be done
within BLOCKED_MS, it passes, marked as out of order. Who is blocked is decided last thing before the commit,
one transaction after the other, or a job that has just ended could leave behind one that waits for it.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import func, literal_column, select
from sqlalchemy.dialects.postgresql import insert

from admit.clock import HOUR_MS
from admit.jobs.tables import jobs
from admit.storage.lookups import Lookup
from admit.storage.rows import Change, Insertion
from admit.storage.transaction import Finisher, Transaction

TOPIC = "jobs"
"""Of the signal that a lane, its key, has something to do."""
BLOCKED_MS = HOUR_MS
FAR = 1 << 62
"""Later than anything: whoever is blocked behind a blocked job gets a time when that one has gone."""

# SQLite reads PostgreSQL's ON CONFLICT just as well.
ADD_JOBS = Insertion(insert(jobs).on_conflict_do_nothing())

_unfinished = jobs.alias()
_key = (jobs.c.app_id, jobs.c.lane, jobs.c.subject)
# The lane is no column here, so that PostgreSQL never looks by an index of lanes: while a table is young, one
# that fits is as good to it as another, and reads all that waits in the lane.
_by_subject = (jobs.c.app_id, jobs.c.lane.concat(""), jobs.c.subject)


def _edge(edge: Any, *which: Any) -> Any:
    """The first or last turn among the unfinished jobs of the same subject and lane."""
    same = (mine == getattr(_unfinished.c, mine.name) for mine in _key)
    return select(edge(_unfinished.c.turn)).where(*same, _unfinished.c.finished_at.is_(None), *which)


LAST = Lookup(
    select(*_key, jobs.c.turn, jobs.c.state).where(
        jobs.c.finished_at.is_(None), jobs.c.turn == _edge(func.max).scalar_subquery()
    ),
    _by_subject,
)
FIRST_BLOCKED = Lookup(
    select(*_key, jobs.c.job_id, jobs.c.kind, jobs.c.due_at, jobs.c.created_at, jobs.c.turn).where(
        jobs.c.finished_at.is_(None),
        jobs.c.state == "blocked",
        jobs.c.turn == _edge(func.min, _unfinished.c.state == "blocked").scalar_subquery(),
    ),
    _by_subject,
)
FIRST_ACTIVE = Lookup(
    select(*_key, jobs.c.turn).where(
        jobs.c.finished_at.is_(None),
        jobs.c.state != "blocked",
        jobs.c.turn == _edge(func.min, _unfinished.c.state != "blocked").scalar_subquery(),
    ),
    _by_subject,
)
# Whoever was blocked may have been claimed since it was read, by another process whose commit we waited for.
FREE = Change(
    jobs,
    (jobs.c.app_id, jobs.c.job_id),
    (jobs.c.state, jobs.c.due_at),
    only=(jobs.c.state == literal_column("'blocked'"), jobs.c.finished_at.is_(None)),
)

Place = tuple[str, str, str]
"""Whose jobs wait for each other: app_id, lane, subject."""


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be enqueued. `subject`: it waits for the earlier jobs of this subject in its lane.

    `sequence` is the position of the event that it tells, 0 for none. `due_at` and `now` are UTC ms.
    """

    app_id: str
    job_id: str
    kind: str
    payload: str
    now: int
    due_at: int
    lane: str = ""
    subject: str | None = None
    sequence: int = 0


class Moved(msgspec.Struct, frozen=True):
    """A job of `place` was settled at `now`: who waits behind it may be next."""

    place: Place
    now: int


class Tails:
    """The last unfinished job of each of `places`, as more jobs are put behind them."""

    def __init__(self, tx: Transaction, places: Iterable[Place]) -> None:
        self._last: dict[Place, tuple[int, str]] = {
            (row.app_id, row.lane, row.subject): (row.turn, row.state) for row in LAST.rows(tx, places)
        }

    def put(self, place: Place, due_at: int, now: int) -> tuple[str, int, int]:
        """State, due time and turn of the next job of `place`, which may begin at `due_at` if nobody is
        before it."""
        turn, before = self._last.get(place, (0, None))
        state = "waiting" if before is None else "blocked"
        self._last[place] = turn + 1, state
        if before is not None:
            due_at = FAR if before == "blocked" else now + BLOCKED_MS
        return state, due_at, turn + 1


def add(tx: Transaction, job: NewJob) -> None:
    """Writes a job with this transaction. One whose `job_id` the app has already changes nothing."""
    tx.defer(_ADD if job.subject is None else _KEEP_ORDER, job)


def add_at_once(tx: Transaction, job: NewJob) -> bool:
    """As `add`, for one without a subject: units that come behind this one in its commit find it.

    False: the app has one of this `job_id` already.
    """
    return tx.count_written(ADD_JOBS, [_row(job, "waiting", job.due_at, 0)]) > 0


def moved(tx: Transaction, moves: Iterable[Moved]) -> None:
    """Lets those that are blocked behind settled jobs go on, in this transaction."""
    for move in moves:
        tx.defer(_KEEP_ORDER, move)


def topic_key(kind: str, lane: str) -> str:
    """What a signal says about new jobs."""
    return f"{kind}/{lane}" if lane else kind


def _add(tx: Transaction, added: list[NewJob]) -> None:
    tx.write(ADD_JOBS, [_row(job, "waiting", job.due_at, 0) for job in added])


def _keep_order(tx: Transaction, items: list[NewJob | Moved]) -> None:
    added = [item for item in items if isinstance(item, NewJob)]
    moves = {item.place: item.now for item in items if isinstance(item, Moved)}
    apps = {job.app_id for job in added} | {place[0] for place in moves}
    tx.hold(f"order of {app_id}" for app_id in apps)
    _enqueue(tx, added)
    _unblock(tx, moves)


def _enqueue(tx: Transaction, added: Sequence[NewJob]) -> None:
    tails = Tails(tx, {_place(job) for job in added})
    tx.write(ADD_JOBS, [_row(job, *tails.put(_place(job), job.due_at, job.now)) for job in added])


def _unblock(tx: Transaction, moves: dict[Place, int]) -> None:
    blocked = FIRST_BLOCKED.rows(tx, moves)
    if not blocked:
        return
    places = [(row.app_id, row.lane, row.subject) for row in blocked]
    active = {(row.app_id, row.lane, row.subject): row.turn for row in FIRST_ACTIVE.rows(tx, places)}
    changes = []
    for row, place in zip(blocked, places, strict=True):
        now = moves[place]
        if active.get(place, FAR) > row.turn:
            changes.append((row.app_id, row.job_id, "waiting", now))
            tx.signal(TOPIC, topic_key(row.kind, row.lane))
        elif row.due_at == FAR:
            changes.append((row.app_id, row.job_id, "blocked", max(now, row.created_at + BLOCKED_MS)))
    tx.write(FREE, sorted(changes))


def _place(job: NewJob) -> Place:
    return job.app_id, job.lane, job.subject or ""


def _row(job: NewJob, state: str, due_at: int, turn: int) -> tuple[object, ...]:
    """In the order of the columns."""
    return (
        job.app_id,
        job.job_id,
        job.kind,
        job.lane,
        job.subject,
        turn,
        job.sequence,
        job.payload,
        state,
        due_at,
        0,  # again
        0,  # attempts
        0,  # earlier
        0,  # fence
        0,  # tried_at
        "no",  # out_of_order
        "",  # detail
        job.now,
        None,
        None,
    )


_ADD = Finisher(rank=50, run=_add)
# Behind the events, which are what most of these jobs tell of.
_KEEP_ORDER = Finisher(rank=110, run=_keep_order)
