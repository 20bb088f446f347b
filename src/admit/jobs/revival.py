"""Another try for jobs: those that have ended become due again, and those that wait are brought forward.

Attempts are kept and counted on, while the schedule begins anew and workers take it for a fresh one. A job
that was finished comes behind the unfinished ones of its subject.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, literal_column, select, update

from admit.jobs.order import TOPIC, Place, Tails, topic_key
from admit.jobs.tables import jobs
from admit.storage.lookups import Lookup
from admit.storage.rows import Change
from admit.storage.transaction import Finisher, Transaction

_key = (jobs.c.app_id, jobs.c.job_id)

ENDED = Lookup(
    select(*_key, jobs.c.kind, jobs.c.lane, jobs.c.subject, jobs.c.attempts).where(
        jobs.c.finished_at.is_not(None)
    ),
    _key,
    lock=True,
)
REVIVE = Change(
    jobs,
    _key,
    (
        jobs.c.state,
        jobs.c.due_at,
        jobs.c.turn,
        jobs.c.payload,
        jobs.c.again,
        jobs.c.earlier,
        jobs.c.out_of_order,
        jobs.c.finished_at,
        jobs.c.failed_at,
    ),
)
# Zero rows: it does not wait, or not any more.
BRING_FORWARD = (
    update(jobs)
    .where(
        jobs.c.app_id == bindparam("app"),
        jobs.c.job_id == bindparam("job"),
        jobs.c.finished_at.is_(None),
        jobs.c.state == "waiting",
    )
    .values(due_at=bindparam("now"), again=literal_column("0"), earlier=jobs.c.attempts)
    .returning(jobs.c.kind, jobs.c.lane)
)


class Revival(msgspec.Struct, frozen=True, kw_only=True):
    """A job that has ended is to be tried again at `now`, with this payload."""

    app_id: str
    job_id: str
    payload: str
    now: int


def revive(tx: Transaction, revivals: Iterable[Revival]) -> None:
    """Makes jobs due again that have ended, in this order. What has not ended stays as it is."""
    for each in revivals:
        tx.defer(_REVIVE, each)


def bring_forward(tx: Transaction, app_id: str, job_id: str, now: int) -> bool:
    """Makes a job due that waits for its time. False: it does not."""
    row = tx.execute(BRING_FORWARD, {"app": app_id, "job": job_id, "now": now}).one_or_none()
    if row is None:
        return False
    tx.signal(TOPIC, topic_key(row.kind, row.lane))
    return True


def _revive(tx: Transaction, revivals: Sequence[Revival]) -> None:
    tx.hold(f"order of {each.app_id}" for each in revivals)
    by_key = {(each.app_id, each.job_id): each for each in revivals}
    ended = {(row.app_id, row.job_id): row for row in ENDED.rows(tx, by_key)}
    tails = Tails(tx, {_place(row) for row in ended.values() if row.subject is not None})
    rows = []
    for key, each in by_key.items():
        if (row := ended.get(key)) is None:
            continue
        place = "waiting", each.now, 0
        if row.subject is not None:
            place = tails.put(_place(row), each.now, each.now)
        rows.append((*key, *place, each.payload, 0, row.attempts, "no", None, None))
        tx.signal(TOPIC, topic_key(row.kind, row.lane))
    tx.write(REVIVE, rows)


def _place(row: Any) -> Place:
    return row.app_id, row.lane, row.subject or ""


# Behind the jobs that are new (`jobs.order`): it looks at who is last.
_REVIVE = Finisher(rank=111, run=_revive)
