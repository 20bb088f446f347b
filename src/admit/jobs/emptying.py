"""Emptying: jobs that nobody shall do any more are ended, and those that ended long ago are deleted."""

from typing import Any

from sqlalchemy import Integer, Select, Update, bindparam, delete, select, tuple_, update

from admit.jobs.tables import attempts, jobs
from admit.storage.transaction import Transaction

_MOST = bindparam("most", type_=Integer, literal_execute=True)

_IN_LANE = (
    select(jobs.c.app_id, jobs.c.job_id)
    .where(
        jobs.c.finished_at.is_(None),
        jobs.c.kind == bindparam("of_kind"),
        jobs.c.lane == bindparam("of_lane"),
    )
    .limit(_MOST)
)
_OF_PERSON = (
    select(jobs.c.app_id, jobs.c.job_id)
    .where(
        jobs.c.app_id == bindparam("app"),
        jobs.c.subject == bindparam("of_subject"),
        jobs.c.finished_at.is_(None),
    )
    .order_by(jobs.c.lane, jobs.c.turn)
    .limit(_MOST)
)


def _end(which: Select[Any]) -> Update:
    """Ends jobs that nobody has failed at."""
    # Said again: on PostgreSQL, one that was chosen may have ended before it is locked.
    return (
        update(jobs)
        .where(tuple_(jobs.c.app_id, jobs.c.job_id).in_(which), jobs.c.finished_at.is_(None))
        .values(state="dead", payload="", detail=bindparam("sentence"), finished_at=bindparam("now"))
    )


EMPTY = _end(_IN_LANE)
DROP = _end(_OF_PERSON)

_FINISHED_LONG_AGO = (
    select(jobs.c.app_id, jobs.c.job_id)
    .where(jobs.c.finished_at.is_not(None), jobs.c.finished_at < bindparam("before"))
    .order_by(jobs.c.finished_at, jobs.c.app_id, jobs.c.job_id)
    .limit(_MOST)
)
PRUNE_ATTEMPTS = delete(attempts).where(tuple_(attempts.c.app_id, attempts.c.job_id).in_(_FINISHED_LONG_AGO))
# Said again: one that was chosen may have been given another try before it is locked.
PRUNE = delete(jobs).where(
    tuple_(jobs.c.app_id, jobs.c.job_id).in_(_FINISHED_LONG_AGO),
    jobs.c.finished_at.is_not(None),
    jobs.c.finished_at < bindparam("before"),
)


def empty(tx: Transaction, kind: str, lane: str, sentence: str, now: int, most: int) -> int:
    """Ends `most` unfinished jobs of a lane, also those at work; returns how many it has ended.

    Until it returns 0 there may be more. Ask for them in a unit of its own, so that others pass.
    """
    parameters = {"of_kind": kind, "of_lane": lane, "sentence": sentence, "now": now, "most": most}
    return tx.execute(EMPTY, parameters).rowcount


def drop(tx: Transaction, app_id: str, subject: str, sentence: str, now: int, most: int) -> int:
    """Ends `most` unfinished jobs of a subject in whatever lane, unsent; returns how many there were."""
    parameters = {"app": app_id, "of_subject": subject, "sentence": sentence, "now": now, "most": most}
    return tx.execute(DROP, parameters).rowcount


def prune(tx: Transaction, finished_before: int, most: int) -> int:
    """Deletes the oldest finished jobs with their attempts, `most` at once; returns how many there were."""
    which = {"before": finished_before, "most": most}
    tx.execute(PRUNE_ATTEMPTS, which)
    return tx.execute(PRUNE, which).rowcount
