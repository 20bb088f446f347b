"""Emptying: jobs that nobody shall do any more are ended, and those that ended long ago are deleted."""

from typing import Any

from sqlalchemy import (
    Integer,
    Select,
    Update,
    and_,
    bindparam,
    case,
    delete,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)

from admit.jobs.tables import attempts, jobs, lines, links
from admit.storage.transaction import Transaction

ROWS_BESIDE_MAX = 4
"""Units of rows: a job has some twenty attempts and links at most."""

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
COUNT_OF_PERSON = select(func.count()).select_from(_OF_PERSON.subquery())


def _end(which: Select[Any]) -> Update:
    """Ends jobs that nobody has failed at."""
    # Said again: on PostgreSQL, one that was chosen may have ended before it is locked.
    return (
        update(jobs)
        .where(tuple_(jobs.c.app_id, jobs.c.job_id).in_(which), jobs.c.finished_at.is_(None))
        .values(state="dead", payload="", detail=bindparam("sentence"), finished_at=bindparam("now"))
    )


_WITH_WORDS = (
    select(jobs.c.app_id, jobs.c.job_id)
    .where(
        jobs.c.app_id == bindparam("app"),
        jobs.c.subject == bindparam("of_subject"),
        jobs.c.finished_at.is_not(None),
        or_(jobs.c.payload != "", and_(jobs.c.failed_at.is_not(None), jobs.c.detail != "")),
    )
    .limit(_MOST)
)
FORGET = (
    update(jobs)
    .where(tuple_(jobs.c.app_id, jobs.c.job_id).in_(_WITH_WORDS))
    .values(payload="", detail=case((jobs.c.failed_at.is_(None), jobs.c.detail), else_=""))
)
CANCEL = (
    update(jobs)
    .where(jobs.c.app_id == bindparam("app"), jobs.c.job_id == bindparam("job"), jobs.c.finished_at.is_(None))
    .values(
        state=literal_column("'dead'"),
        fence=jobs.c.fence + literal_column("1"),
        detail=bindparam("sentence"),
        finished_at=bindparam("now"),
    )
)
EMPTY = _end(_IN_LANE)
DROP = _end(_OF_PERSON)

_FINISHED_LONG_AGO = (
    select(jobs.c.app_id, jobs.c.job_id)
    .where(jobs.c.finished_at.is_not(None), jobs.c.finished_at < bindparam("before"))
    .order_by(jobs.c.finished_at, jobs.c.app_id, jobs.c.job_id)
    .limit(_MOST)
)
_finished = _FINISHED_LONG_AGO.subquery("finished")
_THEIR_LINES = (
    select(lines.c.app_id, lines.c.position)
    .select_from(
        lines.join(_finished, (_finished.c.app_id == lines.c.app_id) & (_finished.c.job_id == lines.c.job_id))
    )
    .limit(_MOST)
)
PRUNE_LINES = delete(lines).where(tuple_(lines.c.app_id, lines.c.position).in_(_THEIR_LINES))
PRUNE_BESIDE = tuple(
    delete(of).where(tuple_(of.c.app_id, of.c.job_id).in_(_FINISHED_LONG_AGO)) for of in (attempts, links)
)
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


def cancel(tx: Transaction, app_id: str, job_id: str, sentence: str, now: int) -> None:
    """Ends one job, also one at work, which then cannot be settled. Its payload is kept."""
    tx.execute(CANCEL, {"app": app_id, "job": job_id, "sentence": sentence, "now": now})


def drop(tx: Transaction, app_id: str, subject: str, sentence: str, now: int, most: int) -> int:
    """Ends `most` unfinished jobs of a subject in whatever lane, unsent; returns how many there were."""
    parameters = {"app": app_id, "of_subject": subject, "sentence": sentence, "now": now, "most": most}
    return tx.execute(DROP, parameters).rowcount


def count(tx: Transaction, app_id: str, subject: str, most: int) -> int:
    """How many jobs of a subject `drop` would end; no more than `most` are counted."""
    parameters = {"app": app_id, "of_subject": subject, "most": most}
    return int(tx.execute(COUNT_OF_PERSON, parameters).scalar_one())


def forget(tx: Transaction, app_id: str, subject: str, most: int) -> int:
    """Empties what finished jobs of a subject were about, and in what words they failed, `most` jobs at once;
    says how many had something."""
    return tx.execute(FORGET, {"app": app_id, "of_subject": subject, "most": most}).rowcount


def prune(tx: Transaction, finished_before: int, most: int) -> int:
    """Deletes the oldest finished jobs with attempts, lines and links, `most` rows or jobs at once.

    Returns how many there were: `most` where there may be more.
    """
    which = {"before": finished_before, "most": most}
    if tx.execute(PRUNE_LINES, which).rowcount == most:
        return most
    for statement in PRUNE_BESIDE:
        tx.begin_unit(ROWS_BESIDE_MAX)
        tx.execute(statement, which)
    return tx.execute(PRUNE, which).rowcount
