"""Attempts: each try of a job that somebody may want to look at, with what came back."""

from dataclasses import dataclass

import msgspec
from msgspec.structs import replace
from sqlalchemy import Integer, bindparam, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from admit.jobs.queue import DETAIL_CHARACTERS_MAX, storable
from admit.jobs.tables import attempts, jobs
from admit.storage.rows import Insertion
from admit.storage.transaction import Finisher, Transaction

REPLY_CHARACTERS_MAX = 16_384

# An attempt that was settled twice, because the answer of a commit was lost, is the same.
NOTE = Insertion(insert(attempts).on_conflict_do_nothing())
OF_JOB = (
    select(attempts)
    .where(attempts.c.app_id == bindparam("app"), attempts.c.job_id == bindparam("job"))
    .order_by(attempts.c.attempt)
)
_MOST = bindparam("most", type_=Integer, literal_execute=True)
_WITH_WORDS = (
    select(attempts.c.app_id, attempts.c.job_id, attempts.c.attempt)
    .select_from(
        attempts.join(jobs, (jobs.c.app_id == attempts.c.app_id) & (jobs.c.job_id == attempts.c.job_id))
    )
    .where(
        jobs.c.app_id == bindparam("app"),
        jobs.c.subject == bindparam("of_subject"),
        or_(attempts.c.reply != "", attempts.c.detail != ""),
    )
    .limit(_MOST)
)
ERASE_REPLIES = (
    update(attempts)
    .where(tuple_(attempts.c.app_id, attempts.c.job_id, attempts.c.attempt).in_(_WITH_WORDS))
    .values(reply="", detail="")
)


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try. `attempt` is 1 on the first; `status` is that of the answer, None where there was none.

    `outcome` is a word for programs (ok, http_503, timeout, dns …), `detail` a sentence for people, `reply`
    the beginning of what was answered.
    """

    app_id: str
    job_id: str
    attempt: int
    lane: str
    started_at: int
    duration_ms: int
    outcome: str
    status: int | None
    address: str
    detail: str
    reply: str


@dataclass
class _Noted:
    """An attempt on its way into the transaction, of a job of `subject`."""

    attempt: Attempt
    subject: str | None


def note(tx: Transaction, attempt: Attempt, subject: str | None = None) -> None:
    """Writes an attempt with this transaction. `subject` is that of its job."""
    tx.defer(_NOTE, _Noted(attempt, subject))


def of_job(tx: Transaction, app_id: str, job_id: str) -> list[Attempt]:
    """The attempts of a job, the first one first."""
    return [Attempt(**row) for row in tx.execute(OF_JOB, {"app": app_id, "job": job_id}).mappings()]


def erase_replies(tx: Transaction, app_id: str, subject: str, most: int) -> int:
    """Empties what was answered about a subject, and the sentence that may quote it, `most` attempts at once;
    says how many had something."""
    for noted in tx.deferred(_NOTE):
        if (noted.attempt.app_id, noted.subject) == (app_id, subject):
            noted.attempt = replace(noted.attempt, reply="", detail="")
    return tx.execute(ERASE_REPLIES, {"app": app_id, "of_subject": subject, "most": most}).rowcount


def _note(tx: Transaction, noted: list[_Noted]) -> None:
    tx.write(NOTE, [_row(each.attempt) for each in noted])


def _row(attempt: Attempt) -> tuple[object, ...]:
    """In the order of the columns."""
    return (
        attempt.app_id,
        attempt.job_id,
        attempt.attempt,
        attempt.lane,
        attempt.started_at,
        attempt.duration_ms,
        attempt.outcome,
        attempt.status,
        attempt.address,
        storable(attempt.detail, DETAIL_CHARACTERS_MAX),
        storable(attempt.reply, REPLY_CHARACTERS_MAX),
    )


_NOTE = Finisher(rank=60, run=_note)
