"""Planned jobs: work for a moment to come, whose id says which, so that planning twice is planning once.

They may be taken back until they are claimed.
"""

from sqlalchemy import bindparam, delete, select

from admit.jobs import order
from admit.jobs.order import TOPIC, NewJob, topic_key
from admit.jobs.queue import SURVEYED_MS, Job
from admit.jobs.tables import jobs
from admit.storage.transaction import Transaction

_waiting = (
    jobs.c.app_id == bindparam("app"),
    jobs.c.kind == bindparam("of_kind"),
    jobs.c.lane == bindparam("of_lane"),
    jobs.c.finished_at.is_(None),
    jobs.c.again == 0,
    jobs.c.job_id > bindparam("first"),
    jobs.c.job_id < bindparam("last"),
)
WAITING = select(jobs.c.job_id).where(*_waiting)
TAKE_BACK = delete(jobs).where(*_waiting)


def plan(tx: Transaction, app_id: str, kind: str, lane: str, at: int, payload: str, now: int) -> bool:
    """Has a job of `lane` wait until `at` (UTC ms). False: that of this moment has begun, or was ended."""
    job = NewJob(
        app_id=app_id,
        job_id=job_id_of(lane, at),
        kind=kind,
        payload=payload,
        now=now,
        due_at=at,
        lane=lane,
    )
    if not order.add_at_once(tx, job):
        return at in moments(tx, app_id, kind, lane)
    if at - now < SURVEYED_MS:
        tx.signal(TOPIC, topic_key(kind, lane))
    return True


def moments(tx: Transaction, app_id: str, kind: str, lane: str) -> list[int]:
    """The moments that are planned in a lane and have not begun, the first one first."""
    found = tx.execute(WAITING, _which(app_id, kind, lane)).scalars()
    return sorted(moment for each in found if (moment := moment_of(lane, each)) is not None)


def take_back(tx: Transaction, app_id: str, kind: str, lane: str) -> int:
    """Forgets what is planned in a lane and has not begun; returns how many there were."""
    return tx.execute(TAKE_BACK, _which(app_id, kind, lane)).rowcount


def moment_of(lane: str, job_id: str) -> int | None:
    """The moment that a job was planned for; None: it was not planned."""
    head, dot, tail = job_id.rpartition(".")
    return int(tail) if dot and head == lane and tail.isascii() and tail.isdigit() else None


def is_planned(job: Job) -> bool:
    """Whether a job was planned."""
    return moment_of(job.lane, job.job_id) is not None


def job_id_of(lane: str, at: int) -> str:
    """The id of the job that is planned for a moment. Other ids have no dot."""
    return f"{lane}.{at}"


def _which(app_id: str, kind: str, lane: str) -> dict[str, str]:
    # What begins with the lane and a dot: / is the character behind the dot.
    return {"app": app_id, "of_kind": kind, "of_lane": lane, "first": f"{lane}.", "last": f"{lane}/"}
