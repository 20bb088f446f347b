"""Starting runs that somebody asks for: now or later, in a task's own lane or in a named queue."""

import re

import msgspec
from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects.postgresql import insert

from admit import clock
from admit.errors import Conflict
from admit.jobs import lanes, links, queue
from admit.jobs.lanes import Limits
from admit.jobs.links import Link
from admit.storage.rows import Insertion
from admit.storage.transaction import Transaction
from admit.task.payloads import Schedule
from admit.tasks import run_orders
from admit.tasks.registrations import KIND
from admit.tasks.run_orders import Owed, OwedCall, task_of
from admit.tasks.tables import queues

QUEUE_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
RUN_ID = re.compile(r"run_[0-9a-f]{40}")
QUEUE_PREFIX = "que"
QUEUES_MAX = 1_000
"""Of an app: each is a lane that all workers look at, for good."""

ADD_QUEUE = Insertion(insert(queues).on_conflict_do_nothing())
FIND_QUEUE = select(queues.c.lane).where(
    queues.c.app_id == bindparam("app"), queues.c.name == bindparam("of_name")
)
COUNT_QUEUES = select(func.count()).select_from(queues).where(queues.c.app_id == bindparam("app"))


def call(
    tx: Transaction,
    app_id: str,
    task_id: str,
    parameters: bytes,
    *,
    now: int,
    due_at: int | None = None,
    queue: str = "",
    by: str = "",
    run_id: str | None = None,
) -> str:
    """Calls a task, and returns the id of its run. `parameters` is a JSON object. Otherwise as `start`."""
    owed = OwedCall(task_id=task_id, parameters=msgspec.Raw(parameters), by=by)
    return start(tx, app_id, task_id, owed, now=now, due_at=due_at, queue=queue, run_id=run_id)


def start(
    tx: Transaction,
    app_id: str,
    task_id: str,
    owed: Owed,
    *,
    now: int,
    due_at: int | None = None,
    queue: str = "",
    run_id: str | None = None,
) -> str:
    """Leaves a run to the workers, not before `due_at` (None: at once), and returns its id.

    Runs in a named `queue` never overlap, whatever tasks they are of; "" is the task's own lane. A `run_id`
    that the app has already changes nothing, so that asking twice is asking once. Raises Conflict where
    QUEUES_MAX queues have names already, and this is another.
    """
    run_id = run_id or clock.new_id("run")
    lane = _lane_of(tx, app_id, queue, now) if queue else task_id
    _enqueue(tx, app_id, run_id, lane, owed, now, due_at)
    abouts = [task_of(owed, task_id)] if queue else []
    by = "" if isinstance(owed, Schedule) else getattr(owed, "by", "")
    if by.startswith("run_"):
        abouts.append(by)
    links.add(tx, [Link(app_id, about, now, run_id) for about in abouts])
    return run_id


def is_queue(lane: str) -> bool:
    """Whether a lane is that of a named queue."""
    return lane.startswith(f"{QUEUE_PREFIX}_")


def _enqueue(
    tx: Transaction, app_id: str, run_id: str, lane: str, owed: Owed, now: int, due_at: int | None
) -> None:
    queue.enqueue(
        tx,
        app_id=app_id,
        kind=KIND,
        payload=run_orders.encode(owed),
        now=now,
        due_at=due_at,
        job_id=run_id,
        lane=lane,
    )


def _lane_of(tx: Transaction, app_id: str, name: str, now: int) -> str:
    """The lane of a named queue, which is made when it is first named. Raises Conflict."""
    this = {"app": app_id, "of_name": name}
    known: str | None = tx.execute(FIND_QUEUE, this).scalar_one_or_none()
    if known is not None:
        return known
    if tx.execute(COUNT_QUEUES, {"app": app_id}).scalar_one() >= QUEUES_MAX:
        raise Conflict(f"An app has at most {QUEUES_MAX:,} named queues, and {name} would be one more.")
    lane = clock.new_id(QUEUE_PREFIX)
    if tx.count_written(ADD_QUEUE, [(app_id, name, lane, now)]):
        lanes.open_lane(tx, app_id, KIND, lane, Limits(at_once_max=1), closed=False)
        return lane
    # Another process was first.
    first: str = tx.execute(FIND_QUEUE, this).scalar_one()
    return first
