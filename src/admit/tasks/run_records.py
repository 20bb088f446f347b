"""Records of runs that are executed at once, outside of the queue: they are jobs like the others."""

import msgspec

from admit.jobs import attempts, lines, links, outside
from admit.jobs.attempts import Attempt
from admit.jobs.lines import NewLine, Spoken
from admit.jobs.links import Link
from admit.jobs.queue import Job
from admit.storage.transaction import Transaction
from admit.tasks import run_orders
from admit.tasks.registrations import KIND
from admit.tasks.run_orders import Owed


class FinishedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that has come to its end. `subject` is the uid of whom it is about: with them it is erased.

    `final`: what is here of it from before is not what came of it. Otherwise a run that is known stays as it
    is; attempts and lines are added to it either way.
    """

    app_id: str
    run_id: str
    task_id: str
    owed: Owed
    subject: str | None
    state: str
    detail: str
    created_at: int
    now: int
    attempts: tuple[Attempt, ...]
    lines: tuple[NewLine, ...] = ()
    abouts: tuple[str, ...] = ()
    final: bool = True


def finished(tx: Transaction, run: FinishedRun) -> None:
    """Writes a run that has ended, with its attempts and lines."""
    job = _job(run)
    outside.finish(tx, job, run.state, run.detail, run.now, final=run.final)
    for attempt in run.attempts:
        attempts.note(tx, attempt, run.subject)
    numbered = (msgspec.structs.replace(line, number=place) for place, line in enumerate(run.lines, 1))
    lines.note(tx, Spoken(job=job, lane=run.task_id, said=tuple(numbered)))
    links.add(tx, [Link(run.app_id, about, run.created_at, run.run_id) for about in run.abouts])


def keep_answer(tx: Transaction, app_id: str, run_id: str, owed: Owed) -> None:
    """Keeps what came of a run, for whoever asks the same again."""
    outside.keep(tx, app_id, run_id, run_orders.encode(owed))


def _job(run: FinishedRun) -> Job:
    """The job that the run would have been. Its fence tells the lines of one settlement from another's."""
    number = run.attempts[-1].attempt if run.attempts else 0
    return Job(
        app_id=run.app_id,
        job_id=run.run_id,
        kind=KIND,
        lane=run.task_id,
        subject=run.subject,
        sequence=0,
        payload=run_orders.encode(run.owed),
        attempts=number,
        fence=number,
        out_of_order=False,
        lease_until=run.now,
        created_at=run.created_at,
    )
