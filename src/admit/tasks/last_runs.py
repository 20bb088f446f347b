"""The last run of each of many tasks, in three statements, however many runs there are."""

from collections.abc import Iterable

from sqlalchemy import Integer, bindparam, select

from admit.jobs import links, planned
from admit.jobs.tables import jobs
from admit.storage.lookups import Lookup
from admit.storage.transaction import Transaction
from admit.tasks import run_pages
from admit.tasks.registrations import KIND
from admit.tasks.run_pages import Run

LOOKED_AT_MAX = 10
"""Of the newest runs of a task. Where all of them wait, one of these is the last."""

NEWEST = Lookup(
    select(jobs.c.lane, jobs.c.job_id)
    .where(jobs.c.kind == KIND)
    .order_by(jobs.c.created_at.desc(), jobs.c.job_id.desc()),
    (jobs.c.app_id, jobs.c.lane),
    each_max=bindparam("most", type_=Integer),
)


def of_tasks(tx: Transaction, app_id: str, task_ids: Iterable[str]) -> dict[str, Run]:
    """The last run of each task by its id: the newest that has begun, or else that waits. A time that is only
    planned is none."""
    asked = list(task_ids)
    found = [row.job_id for row in NEWEST.rows(tx, [(app_id, each) for each in asked], most=LOOKED_AT_MAX)]
    # Those in named queues are linked to their task.
    found += [job_id for _, job_id in links.newest(tx, app_id, asked, LOOKED_AT_MAX)]
    last: dict[str, Run] = {}
    for run in sorted(run_pages.each(tx, app_id, found).values(), key=_importance):
        if not _only_planned(run):
            last[run.task_id] = run
    return {task_id: last[task_id] for task_id in asked if task_id in last}


def _importance(run: Run) -> tuple[bool, int, str]:
    return bool(run.attempts or run.finished_at), run.created_at, run.run_id


def _only_planned(run: Run) -> bool:
    planned_for = planned.moment_of(run.task_id, run.run_id)
    return planned_for is not None and not run.attempts and run.finished_at is None
