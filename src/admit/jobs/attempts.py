"""Attempts: each try of a job that somebody may want to look at, with what came back."""

from dataclasses import dataclass

import msgspec
from msgspec.structs import replace
from sqlalchemy import Integer, bindparam, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from admit.jobs import hours
from admit.jobs.hours import Tried
from admit.jobs.queue import DETAIL_CHARACTERS_MAX, storable
from admit.jobs.tables import attempts, jobs
from admit.storage.rows import Insertion
from admit.storage.transaction import Finisher, Transaction

REPLY_CHARACTERS_MAX = 16_384
HEADERS_CHARACTERS_MAX = 4_096
"""Of the answer, as JSON. Longer ones are left out, the last first."""

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
        or_(attempts.c.reply != "", attempts.c.headers != "", attempts.c.detail != ""),
    )
    .limit(_MOST)
)
ERASE_REPLIES = (
    update(attempts)
    .where(tuple_(attempts.c.app_id, attempts.c.job_id, attempts.c.attempt).in_(_WITH_WORDS))
    .values(reply="", headers="", detail="")
)


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try. `attempt` is 1 on the first; `status` is that of the answer, None where there was none.

    `outcome` is a word for programs (ok, http_503, timeout, dns …), `detail` a sentence for people, `reply`
    the beginning of what was answered, `headers` those in front of it.
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
    headers: dict[str, str] = {}


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
    rows = tx.execute(OF_JOB, {"app": app_id, "job": job_id}).mappings()
    return [Attempt(**{**row, "headers": _headers(row["headers"])}) for row in rows]


def erase_replies(tx: Transaction, app_id: str, subject: str, most: int) -> int:
    """Empties what was answered about a subject, and the sentence that may quote it, `most` attempts at once;
    says how many had something."""
    for noted in tx.deferred(_NOTE):
        if (noted.attempt.app_id, noted.subject) == (app_id, subject):
            noted.attempt = replace(noted.attempt, reply="", headers={}, detail="")
    return tx.execute(ERASE_REPLIES, {"app": app_id, "of_subject": subject, "most": most}).rowcount


def _note(tx: Transaction, noted: list[_Noted]) -> None:
    tx.write(NOTE, [_row(each.attempt) for each in noted])
    hours.count(tx, (_tried(each.attempt) for each in noted))


def _tried(attempt: Attempt) -> Tried:
    return Tried(
        attempt.app_id,
        attempt.job_id,
        attempt.lane,
        attempt.started_at,
        attempt.duration_ms,
        attempt.outcome,
    )


def _headers(text: str) -> dict[str, str]:
    return msgspec.json.decode(text, type=dict[str, str]) if text else {}


def _headers_text(headers: dict[str, str]) -> str:
    """As many of them as fit."""
    kept = {name: storable(value, HEADERS_CHARACTERS_MAX) for name, value in headers.items()}
    while kept:
        text = msgspec.json.encode(kept).decode()
        if len(text) <= HEADERS_CHARACTERS_MAX:
            return text
        kept.popitem()
    return ""


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
        _headers_text(attempt.headers),
        storable(attempt.reply, REPLY_CHARACTERS_MAX),
    )


_NOTE = Finisher(rank=60, run=_note)
