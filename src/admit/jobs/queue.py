"""The queue: jobs are enqueued with the fact that asks for them, claimed for a time, and settled once.

They wait in lanes, so that what is slow for one does not hold up another. A claim is a lease. It grows the
fence, so that a worker that was thought dead cannot settle what another one has claimed since.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import select

from admit import clock
from admit.errors import TooLarge
from admit.jobs import order
from admit.jobs.order import TOPIC, Moved, NewJob, topic_key
from admit.jobs.tables import jobs
from admit.storage.lookups import Lookup
from admit.storage.rows import Change
from admit.storage.transaction import Transaction, Unit

PAYLOAD_CHARACTERS_MAX = 1_000_000
DETAIL_CHARACTERS_MAX = 500
SURVEYED_MS = 60_000
"""Workers look over everything at least that often: what is due later need not be told."""

HELD = Lookup(
    select(jobs.c.app_id, jobs.c.job_id, jobs.c.fence).where(jobs.c.state == "claimed"),
    (jobs.c.app_id, jobs.c.job_id),
    lock=True,
)
SETTLE = Change(
    jobs,
    (jobs.c.app_id, jobs.c.job_id),
    (
        jobs.c.state,
        jobs.c.due_at,
        jobs.c.attempts,
        jobs.c.tried_at,
        jobs.c.detail,
        jobs.c.finished_at,
        jobs.c.failed_at,
    ),
)
RENEW = Change(jobs, (jobs.c.app_id, jobs.c.job_id), (jobs.c.due_at,))
SAY_WHOSE = Change(jobs, (jobs.c.app_id, jobs.c.job_id), (jobs.c.subject,))
CHANGE_PAYLOAD = Change(jobs, (jobs.c.app_id, jobs.c.job_id), (jobs.c.payload,))


class Job(msgspec.Struct, frozen=True):
    """A claimed job. `attempts` is 1 on the first try; `lease_until` is when others may claim it again.
    `earlier` of the attempts were before somebody asked for another try.

    `sequence` is the position of the event that it tells, 0 for none; `out_of_order`: it has passed an
    earlier job of its subject.
    """

    app_id: str
    job_id: str
    kind: str
    lane: str
    subject: str | None
    sequence: int
    payload: str
    attempts: int
    fence: int
    out_of_order: bool
    lease_until: int
    created_at: int
    earlier: int = 0

    @property
    def tries(self) -> int:
        """Which try of its schedule this is: who asks for another try begins the schedule anew."""
        return self.attempts - self.earlier


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What shall become of a claimed job: `waiting` again until `due_at`, `done`, or `dead`.

    `forgiven`: the attempt does not count. `unit` is committed together with the settlement, or not at all.
    """

    job: Job
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
    lane: str = "",
    subject: str | None = None,
    sequence: int = 0,
) -> str:
    """Leaves work to the workers, not before `due_at` (None: at once), and returns the job's id.

    A `job_id` that the app has already changes nothing, so that asking twice is asking once. A job with a
    `subject` is due only when the earlier ones of that subject in its lane have ended.
    """
    if len(payload) > PAYLOAD_CHARACTERS_MAX:
        raise TooLarge(f"The payload of a job has more than {PAYLOAD_CHARACTERS_MAX} characters.")
    job_id = job_id or clock.new_id("job")
    job = NewJob(
        app_id=app_id,
        job_id=job_id,
        kind=kind,
        payload=payload,
        now=now,
        due_at=now if due_at is None else due_at,
        lane=lane,
        subject=subject,
        sequence=sequence,
    )
    order.add(tx, job)
    if job.due_at - now < SURVEYED_MS:
        tx.signal(TOPIC, topic_key(kind, lane))
    return job_id


def settle(tx: Transaction, items: list[Settlement]) -> list[bool]:
    """Settles claimed jobs. False: it is no longer this claim's to settle; nothing was changed for it."""
    keys = [(item.job.app_id, item.job.job_id) for item in items]
    held = {(row.app_id, row.job_id): row.fence for row in HELD.rows(tx, keys)}
    # `pop`: of twins in one list, the first settles.
    mine = [held.pop(key, None) == item.job.fence for key, item in zip(keys, items, strict=True)]
    settled = [item for item, is_mine in zip(items, mine, strict=True) if is_mine]
    tx.write(SETTLE, [_settled(item) for item in settled])
    erased = [item.job for item in settled if item.erase_payload and item.job.payload]
    tx.write(CHANGE_PAYLOAD, [(job.app_id, job.job_id, "") for job in erased])
    for item in settled:
        if item.unit is not None:
            item.unit(tx)
    order.moved(
        tx,
        [
            Moved((item.job.app_id, item.job.lane, item.job.subject), item.now)
            for item in settled
            if item.job.subject is not None
        ],
    )
    return mine


def renew(tx: Transaction, held: Sequence[Job], until: int) -> list[bool]:
    """Extends leases that have not passed to others. False: it is no longer this claim's."""
    keys = [(job.app_id, job.job_id) for job in held]
    fences = {(row.app_id, row.job_id): row.fence for row in HELD.rows(tx, keys)}
    mine = [fences.get(key) == job.fence for key, job in zip(keys, held, strict=True)]
    tx.write(RENEW, [(*key, until) for key, is_mine in zip(keys, mine, strict=True) if is_mine])
    return mine


def holds(tx: Transaction, job: Job) -> bool:
    """Whether a claimed job is still this claim's, which it is then until the transaction ends."""
    return [row.fence for row in HELD.rows(tx, [(job.app_id, job.job_id)])] == [job.fence]


def give_payload(tx: Transaction, job: Job, payload: str) -> None:
    """Gives a job that this claim `holds` its payload, which it keeps for its next attempts."""
    tx.write(CHANGE_PAYLOAD, [(job.app_id, job.job_id, payload)])


def say_whose(tx: Transaction, subjects: Sequence[tuple[Job, str]]) -> None:
    """Gives claimed jobs a subject: from now on later jobs of that subject in their lane wait for them, and
    they end with it."""
    tx.write(SAY_WHOSE, sorted((job.app_id, job.job_id, subject) for job, subject in subjects))


def storable(sentence: str, characters_max: int = DETAIL_CHARACTERS_MAX) -> str:
    """What other servers said, cut off, so that it can be stored: PostgreSQL takes neither NUL nor half
    characters."""
    text = sentence[:characters_max]
    if not text.isascii():
        text = text.encode(errors="replace").decode()
    return text.replace("\x00", "�")


def _settled(item: Settlement) -> tuple[object, ...]:
    """A row for SETTLE."""
    finished = None if item.state == "waiting" else item.now
    return (
        item.job.app_id,
        item.job.job_id,
        item.state,
        item.due_at,
        item.job.attempts - int(item.forgiven),
        item.now,
        storable(item.detail),
        finished,
        finished if item.state == "dead" else None,
    )
