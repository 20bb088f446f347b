"""Schedules: of each task that runs by the clock one job waits for the next time. Whoever claims it plans the
one after, in the same transaction: so there is always exactly one, however many servers there are.

A time that was missed is run once, late; the next is in the future again.
"""

from collections.abc import Sequence

import msgspec
import structlog
from sqlalchemy import select

from admit.jobs import planned
from admit.jobs.queue import Job
from admit.storage.lookups import Lookup
from admit.storage.transaction import Transaction
from admit.task.declarations import Declaration, Every
from admit.task.payloads import Payload, Schedule
from admit.tasks import timetable
from admit.tasks.tables import tasks
from admit.tasks.timetable import CannotTell

KIND = "run"
PASSED_OVER_MAX = 100
"""Times that lie ahead and were cancelled, in a row."""

log = structlog.get_logger("admit.tasks")

# Locked: who declares the task anew at this moment must see what we plan, or be seen.
LIVE = Lookup(
    select(tasks.c.app_id, tasks.c.task_id, tasks.c.declaration).where(
        tasks.c.kind == "every", tasks.c.gone_at.is_(None)
    ),
    (tasks.c.app_id, tasks.c.task_id),
    lock=True,
)


def follow(tx: Transaction, claimed: Sequence[Job], now: int) -> None:
    """Plans what comes after those of `claimed` that were planned and begin for the first time, or end before
    they have begun. The caller claims or ends them in this transaction."""
    begun = {
        (job.app_id, job.lane): moment
        for job in sorted(claimed, key=lambda each: each.job_id)
        if job.attempts <= 1 and (moment := planned.moment_of(job.lane, job.job_id)) is not None
    }
    for row in LIVE.rows(tx, begun):
        try:
            every = msgspec.json.decode(row.declaration, type=Declaration).trigger
            if isinstance(every, Every):
                _plan(tx, row.app_id, row.task_id, every, max(begun[row.app_id, row.task_id], now), now)
        except (msgspec.DecodeError, CannotTell) as error:
            # Of another version of Admit, or of a zone that is not known here: nobody else pays for it.
            log.error("task.not_planned", app_id=row.app_id, task_id=row.task_id, cause=str(error))


def begin(tx: Transaction, app_id: str, task_id: str, every: Every, now: int) -> None:
    """Plans the next time of a task, instead of what was planned before."""
    planned.take_back(tx, app_id, KIND, task_id)
    _plan(tx, app_id, task_id, every, now, now)


def keep_going(tx: Transaction, app_id: str, task_id: str, every: Every, now: int) -> None:
    """Plans the next time of a task where nothing is planned."""
    if not planned.moments(tx, app_id, KIND, task_id):
        _plan(tx, app_id, task_id, every, now, now)


def end(tx: Transaction, app_id: str, task_id: str) -> None:
    """Takes back what is planned."""
    planned.take_back(tx, app_id, KIND, task_id)


def next_of(tx: Transaction, app_id: str, task_id: str) -> int | None:
    """When a task is next due by the clock (UTC ms); None: never."""
    return min(planned.moments(tx, app_id, KIND, task_id), default=None)


def _plan(tx: Transaction, app_id: str, task_id: str, every: Every, after: int, now: int) -> None:
    """Plans the first time behind `after` that was neither begun nor cancelled."""
    at = after
    for _ in range(PASSED_OVER_MAX):
        at = timetable.next_after(every.cron, every.timezone, at)
        payload: Payload = Schedule(scheduled_at=at)
        if planned.plan(tx, app_id, KIND, task_id, at, msgspec.json.encode(payload).decode(), now):
            return
