"""Jobs that no worker works off: whoever needs the outcome at once does the work, and it is kept like the
others. One that was claimed and never finished is taken up by a worker when its lease has ended."""

from typing import Any

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from admit.jobs.queue import Job, storable
from admit.jobs.tables import jobs
from admit.storage.rows import Insertion
from admit.storage.transaction import Transaction

_this = (jobs.c.app_id == bindparam("app"), jobs.c.job_id == bindparam("job"))
_add = insert(jobs)
_OUTCOME = ("subject", "state", "attempts", "fence", "detail", "finished_at", "failed_at", "tried_at")

ADD = Insertion(_add.on_conflict_do_nothing())
PUT = Insertion(
    _add.on_conflict_do_update(
        index_elements=["app_id", "job_id"], set_={name: _add.excluded[name] for name in _OUTCOME}
    )
)
FIND = select(jobs.c.payload, jobs.c.state, jobs.c.detail).where(*_this, jobs.c.kind == bindparam("of_kind"))
KEEP = update(jobs).where(*_this).values(payload=bindparam("kept"))
FORGET = delete(jobs).where(*_this, jobs.c.fence == bindparam("of_fence"))


def begin(tx: Transaction, job: Job) -> bool:
    """Writes a job that is begun at this moment, claimed until its lease ends. False: there is one of this
    id."""
    return tx.count_written(ADD, [_row(job, "claimed", "", None)]) == 1


def finish(tx: Transaction, job: Job, state: str, detail: str, now: int, *, final: bool) -> None:
    """Writes a job that has ended, `done` or `dead`. One of this id that is known becomes what this one is
    where that is `final`, and stays as it is otherwise."""
    tx.write(PUT if final else ADD, [_row(job, state, detail, now)])


def find(tx: Transaction, app_id: str, kind: str, job_id: str) -> Any:
    """Payload, state and detail of a job; None: there is none of this id."""
    return tx.execute(FIND, {"app": app_id, "job": job_id, "of_kind": kind}).one_or_none()


def keep(tx: Transaction, app_id: str, job_id: str, payload: str) -> None:
    """Gives a job another payload, to be kept."""
    tx.execute(KEEP, {"app": app_id, "job": job_id, "kept": payload})


def forget(tx: Transaction, job: Job) -> None:
    """Takes back a job that was not begun after all."""
    tx.execute(FORGET, {"app": job.app_id, "job": job.job_id, "of_fence": job.fence})


def _row(job: Job, state: str, detail: str, finished_at: int | None) -> tuple[object, ...]:
    """In the order of the columns."""
    return (
        job.app_id,
        job.job_id,
        job.kind,
        job.lane,
        job.subject,
        0,  # turn
        job.sequence,
        job.payload,
        state,
        job.lease_until,
        1,  # again
        job.attempts,
        0,  # earlier
        job.fence,
        finished_at or 0,  # tried_at
        "no",  # out_of_order
        storable(detail),
        job.created_at,
        finished_at,
        finished_at if state == "dead" else None,
    )
