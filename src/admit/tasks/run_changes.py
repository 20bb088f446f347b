"""What operators do with a run: cancel it, or ask for another try."""

from typing import Any, Literal

from sqlalchemy import bindparam, select

from admit.accounts import users
from admit.errors import Conflict
from admit.events import log
from admit.events.catalog import UserDeleted
from admit.jobs import emptying, order, revival
from admit.jobs.order import TOPIC as JOBS_TOPIC
from admit.jobs.order import Moved, topic_key
from admit.jobs.queue import Job
from admit.jobs.revival import Revival
from admit.jobs.tables import jobs
from admit.storage.lookups import Lookup
from admit.storage.transaction import Transaction
from admit.tasks import run_orders, schedules
from admit.tasks.registrations import KIND
from admit.tasks.run_orders import OwedDecision, OwedEvent, OwedHook, OwedRequest, task_of
from admit.tasks.run_pages import state_of
from admit.tasks.tables import tasks

TOPIC = "runs"
"""Of the signal that a run, its key app_id/run_id, is not to go on."""

LOCK = Lookup(
    select(
        *(jobs.c[name] for name in (*Job.__struct_fields__[:9], "created_at", "state", "failed_at"))
    ).where(jobs.c.kind == KIND),
    (jobs.c.app_id, jobs.c.job_id),
    lock=True,
)
IS_LIVE = select(tasks.c.task_id).where(
    tasks.c.app_id == bindparam("app"), tasks.c.task_id == bindparam("task"), tasks.c.gone_at.is_(None)
)


def cancel(
    tx: Transaction, app_id: str, run_id: str, now: int, *, by: str
) -> Conflict | Literal["cancelled", "unknown"]:
    """Ends a run that has not ended. Of one that is under way nothing is applied, and its process is ended.

    What has left the house by then cannot be taken back. `by` is who asks, for the record.
    """
    held = LOCK.rows(tx, [(app_id, run_id)])
    if not held:
        return "unknown"
    [row] = held
    if state_of(row) not in ("waiting", "blocked", "running"):
        return Conflict("This run has ended. There is nothing to cancel.", code="run_over")
    sentence = f"Cancelled by {by}."
    emptying.cancel(tx, app_id, run_id, sentence, now)
    if row.subject is not None:
        order.moved(tx, [Moved((app_id, row.lane, row.subject), now)])
    if row.state == "claimed":
        tx.signal(TOPIC, f"{app_id}/{run_id}")
    if row.attempts == 0:
        schedules.follow(tx, [_job(row)], now)
    tx.signal(JOBS_TOPIC, topic_key(KIND, row.lane))
    return "cancelled"


def retry(tx: Transaction, app_id: str, run_id: str, now: int) -> Conflict | Literal["due", "unknown"]:
    """Makes a run due: one that waits for its time is brought forward, one that has ended is made again under
    the same id, behind what else waits of the person.

    Its attempts stay, and its schedule begins anew.
    """
    held = LOCK.rows(tx, [(app_id, run_id)])
    if not held:
        return "unknown"
    [row] = held
    match state_of(row):
        case "waiting":
            revival.bring_forward(tx, app_id, run_id, now)
            return "due"
        case "blocked":
            return Conflict(
                "It waits for an earlier run of the same person. Retry that one.", code="run_blocked"
            )
        case "running":
            return Conflict("It is running at this moment. Look again in a while.", code="run_busy")
        case _:
            refused = _refusal(tx, app_id, row)
            if refused is None:
                again = Revival(app_id=app_id, job_id=run_id, payload=row.payload, now=now)
                revival.revive(tx, [again])
            return refused or "due"


def _refusal(tx: Transaction, app_id: str, row: Any) -> Conflict | None:
    """Why a run that has ended cannot be made again."""
    owed = run_orders.decode(row.payload)
    if isinstance(owed, OwedRequest | OwedDecision):
        return Conflict(
            "Somebody has waited for its answer, and is gone. Ask anew.", code="run_not_repeatable"
        )
    task_id = row.lane if owed is None else task_of(owed, row.lane)
    if tx.execute(IS_LIVE, {"app": app_id, "task": task_id}).one_or_none() is None:
        return Conflict("The code no longer declares the task of this run.", code="task_gone")
    place = owed.sequence if isinstance(owed, OwedEvent) else row.sequence
    if owed is None or isinstance(owed, OwedEvent | OwedHook):
        event = log.find_each(tx, [(app_id, place)]).get((app_id, place))
        gone = row.subject is not None and not users.by_uid(tx, [(app_id, row.subject)])
        if event is None or (gone and event.type != UserDeleted.event_type):
            return Conflict("What it was about is no longer kept.", code="run_lost")
    return None


def _job(row: Any) -> Job:
    fields = {name: getattr(row, name) for name in Job.__struct_fields__[:9]}
    return Job(**fields, out_of_order=False, lease_until=0, created_at=row.created_at)
