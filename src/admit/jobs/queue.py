"""The queue: jobs are enqueued with the fact that asks for them, claimed for a time, and settled once.

A claim is a lease. It grows the fence, so that a worker that was thought dead cannot settle what another one
has claimed since.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import Integer, bindparam, case, delete, literal_column, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from admit import clock
from admit.errors import TooLarge
from admit.jobs.tables import jobs
from admit.storage.lookups import Lookup
from admit.storage.rows import Insertion
from admit.storage.transaction import Finisher, Transaction, Unit

TOPIC = "jobs"
PAYLOAD_CHARACTERS_MAX = 1_000_000
DETAIL_CHARACTERS_MAX = 500

# SQLite reads PostgreSQL's ON CONFLICT just as well.
ADD_JOBS = Insertion(insert(jobs).on_conflict_do_nothing())

NEXT_DUE = (
    select(jobs.c.due_at)
    .where(jobs.c.finished_at.is_(None), jobs.c.kind == bindparam("kind"))
    .order_by(jobs.c.due_at)
    .limit(literal_column("1"))
)

# Written into the statement, so that PostgreSQL plans for few rows also when it no longer looks at values.
_MOST = bindparam("most", type_=Integer, literal_execute=True)

# As a CTE it is evaluated once: inside of IN, PostgreSQL may run it again and claim more than the limit.
# FOR UPDATE SKIP LOCKED is for PostgreSQL, where other processes claim at the same time; SQLite, which has
# one writer, has no such words, and SQLAlchemy leaves them out.
_DUE = (
    select(jobs.c.app_id, jobs.c.job_id)
    .where(
        jobs.c.finished_at.is_(None),
        jobs.c.kind == bindparam("of_kind"),
        jobs.c.due_at <= bindparam("now"),
    )
    .order_by(jobs.c.due_at)
    .limit(_MOST)
    .with_for_update(skip_locked=True)
    .cte("due")
)
CLAIM_DUE = (
    update(jobs)
    .where(jobs.c.app_id == _DUE.c.app_id, jobs.c.job_id == _DUE.c.job_id)
    .values(
        state="claimed",
        due_at=bindparam("lease_until"),
        attempts=jobs.c.attempts + literal_column("1"),
        fence=jobs.c.fence + literal_column("1"),
    )
    .returning(
        jobs.c.app_id,
        jobs.c.job_id,
        jobs.c.kind,
        jobs.c.payload,
        jobs.c.attempts,
        jobs.c.fence,
        jobs.c.due_at,
        jobs.c.created_at,
    )
)

HELD = Lookup(
    select(jobs.c.app_id, jobs.c.job_id, jobs.c.fence).where(jobs.c.state == "claimed"),
    (jobs.c.app_id, jobs.c.job_id),
    lock=True,
)
SETTLE = (
    update(jobs)
    .where(jobs.c.app_id == bindparam("app"), jobs.c.job_id == bindparam("job"))
    .values(
        state=bindparam("new_state"),
        due_at=bindparam("due"),
        attempts=jobs.c.attempts - bindparam("forgiven", type_=Integer),
        detail=bindparam("sentence"),
        finished_at=bindparam("finished"),
        payload=case((bindparam("erase", type_=Integer) == literal_column("1"), ""), else_=jobs.c.payload),
    )
)

_ABANDONED = (
    select(jobs.c.app_id, jobs.c.job_id)
    .where(
        jobs.c.finished_at.is_(None),
        jobs.c.state == "claimed",
        jobs.c.due_at > bindparam("now"),
    )
    .limit(_MOST)
)
RELEASE_ABANDONED = (
    update(jobs).where(tuple_(jobs.c.app_id, jobs.c.job_id).in_(_ABANDONED)).values(due_at=bindparam("now"))
)

_FINISHED_LONG_AGO = (
    select(jobs.c.app_id, jobs.c.job_id)
    .where(jobs.c.finished_at.is_not(None), jobs.c.finished_at < bindparam("before"))
    .order_by(jobs.c.finished_at)
    .limit(_MOST)
)
PRUNE = delete(jobs).where(tuple_(jobs.c.app_id, jobs.c.job_id).in_(_FINISHED_LONG_AGO))


class Job(msgspec.Struct, frozen=True):
    """A claimed job. `attempts` is 1 on the first try; `lease_until` is when others may claim it again."""

    app_id: str
    job_id: str
    kind: str
    payload: str
    attempts: int
    fence: int
    lease_until: int
    created_at: int


class Wanted(msgspec.Struct, frozen=True):
    """How many jobs of one kind a worker can begin now, and for how long it needs each."""

    kind: str
    most: int
    lease_ms: int


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What shall become of a claimed job: `waiting` again until `due_at`, `done`, or `dead`.

    `forgiven`: the attempt does not count. `unit` is committed together with the settlement, or not at all.
    """

    app_id: str
    job_id: str
    fence: int
    state: Literal["waiting", "done", "dead"]
    detail: str
    now: int
    due_at: int = 0
    erase_payload: bool = False
    forgiven: bool = False
    unit: Unit[Any] | None = None


def enqueue(
    tx: Transaction,
    *,
    app_id: str,
    kind: str,
    payload: str,
    now: int,
    due_at: int | None = None,
    job_id: str | None = None,
) -> str:
    """Leaves work to the workers, not before `due_at` (None: at once), and returns the job's id.

    A `job_id` that the app has already changes nothing, so that asking twice is asking once.
    """
    if len(payload) > PAYLOAD_CHARACTERS_MAX:
        raise TooLarge(f"The payload of a job has more than {PAYLOAD_CHARACTERS_MAX} characters.")
    job_id = job_id or clock.new_id("job")
    due_at = now if due_at is None else due_at
    # In the order of the columns.
    tx.defer(_ADD, (app_id, job_id, kind, payload, "waiting", due_at, 0, 0, "", now, None))
    tx.signal(TOPIC, kind)
    return job_id


def next_due(tx: Transaction, kinds: Sequence[str]) -> int | None:
    """When the next job of `kinds` is due, or the next lease ends; None when there are no jobs."""
    found = [tx.execute(NEXT_DUE, {"kind": kind}).scalar_one_or_none() for kind in kinds]
    return min((due for due in found if due is not None), default=None)


def claim(tx: Transaction, wanted: Sequence[Wanted], now: int) -> list[Job]:
    """Claims due jobs, the longest due first, among them those whose lease has ended.

    Each kind has its own share: a flood of one does not hold up the others.
    """
    claimed: list[Job] = []
    for each in wanted:
        parameters = {
            "of_kind": each.kind,
            "now": now,
            "most": each.most,
            "lease_until": now + each.lease_ms,
        }
        claimed += [Job(*tuple(row)) for row in tx.execute(CLAIM_DUE, parameters)]
    return claimed


def settle(tx: Transaction, items: list[Settlement]) -> list[bool]:
    """Settles claimed jobs. False: it is no longer this claim's to settle; nothing was changed for it."""
    keys = [(item.app_id, item.job_id) for item in items]
    held = {(row.app_id, row.job_id): row.fence for row in HELD.rows(tx, keys)}
    # `pop`: of twins in one list, the first settles.
    mine = [held.pop(key, None) == item.fence for key, item in zip(keys, items, strict=True)]
    settled = [item for item, is_mine in zip(items, mine, strict=True) if is_mine]
    if settled:
        tx.execute(SETTLE, [_settled(item) for item in settled])
    for item in settled:
        if item.unit is not None:
            item.unit(tx)
    return mine


def release_abandoned(tx: Transaction, now: int, most: int) -> int:
    """Ends all leases. Only for a process that knows that no other is at work; returns how many ended."""
    return tx.execute(RELEASE_ABANDONED, {"now": now, "most": most}).rowcount


def prune(tx: Transaction, finished_before: int, most: int) -> int:
    """Deletes the oldest finished jobs, `most` at once; returns how many there were."""
    return tx.execute(PRUNE, {"before": finished_before, "most": most}).rowcount


def _add(tx: Transaction, rows: list[tuple[object, ...]]) -> None:
    tx.write(ADD_JOBS, rows)


_ADD = Finisher(rank=50, run=_add)


def _settled(item: Settlement) -> dict[str, object]:
    return {
        "app": item.app_id,
        "job": item.job_id,
        "new_state": item.state,
        "due": item.due_at,
        "forgiven": int(item.forgiven),
        "sentence": _storable(item.detail),
        "finished": None if item.state == "waiting" else item.now,
        "erase": int(item.erase_payload),
    }


def _storable(sentence: str) -> str:
    """Details may quote other servers, and PostgreSQL takes neither NUL nor half characters."""
    text = sentence[:DETAIL_CHARACTERS_MAX].encode(errors="replace").decode()
    return text.replace("\x00", "�")
