"""Registrations: which tasks there are, in the database: what they are told of, their lanes, their schedules.

All that a declaration asks for is written in one unit. Events that are recorded at the same time find the
tasks as they were before, or as they are then.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from admit import clock
from admit.data import announcing
from admit.events import log, subscriptions
from admit.events.subscriptions import Equal, Filter, Subscription
from admit.jobs import emptying, lanes
from admit.jobs.lanes import Limits
from admit.storage.lookups import Lookup
from admit.storage.transaction import Transaction
from admit.task.declarations import Declaration, Every, Kind, On, kind_of
from admit.tasks import model_receivers, schedules
from admit.tasks.env import TOPIC
from admit.tasks.schedules import KIND as KIND
from admit.tasks.tables import tasks
from admit.tasks.tempo import CLAIMED_MAX

RELOAD = "reload:"
"""What keys of signals of TOPIC begin with that ask every server but one, whose id follows, to load."""
ENDED_AT_ONCE = 500
FORGOTTEN_TASKS_AT_ONCE = 20

_GONE = "The code no longer declares this task."

_this = (tasks.c.app_id == bindparam("app"), tasks.c.task_id == bindparam("task"))

OF_APP = select(tasks).where(tasks.c.app_id == bindparam("app")).order_by(tasks.c.name)
FIND = select(tasks).where(tasks.c.app_id == bindparam("app"), tasks.c.name == bindparam("of_name"))
LOCK = Lookup(
    select(tasks.c.app_id, tasks.c.task_id, tasks.c.gone_at), (tasks.c.app_id, tasks.c.task_id), lock=True
)
WITH_TASKS = (
    select(tasks.c.app_id, func.count().label("number"))
    .where(tasks.c.gone_at.is_(None))
    .group_by(tasks.c.app_id)
    .order_by(tasks.c.app_id)
)
ADD = insert(tasks)
DECLARE = (
    update(tasks)
    .where(*_this)
    .values(
        kind=bindparam("new_kind"),
        declaration=bindparam("new_declaration"),
        version=bindparam("new_version"),
        changed_at=bindparam("now"),
        gone_at=None,
    )
)
LOSE = update(tasks).where(*_this).values(gone_at=bindparam("now"))
PAUSE = update(tasks).where(*_this).values(paused=bindparam("is_paused"))
GONE_LONG_AGO = (
    select(tasks.c.app_id, tasks.c.task_id)
    .where(tasks.c.gone_at.is_not(None), tasks.c.gone_at < bindparam("before"))
    .order_by(tasks.c.app_id, tasks.c.task_id)
    .limit(bindparam("most"))
)
FORGET = delete(tasks).where(*_this, tasks.c.gone_at.is_not(None))


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """A task as the database knows it. `version` is that of the code which has declared it so.

    `paused`: its runs wait. `gone_at` (UTC ms): since when the code does not declare it; its runs are kept.
    """

    app_id: str
    task_id: str
    name: str
    declaration: Declaration
    version: str
    paused: bool
    created_at: int
    changed_at: int
    gone_at: int | None

    @property
    def kind(self) -> Kind:
        """What sets it off."""
        return kind_of(self.declaration.trigger)

    @property
    def live(self) -> bool:
        """Whether the code still declares it."""
        return self.gone_at is None


def register(
    tx: Transaction, app_id: str, version: str, declared: Sequence[Declaration], now: int
) -> list[Registered]:
    """Makes `declared`, which have been checked, the tasks of the app, and returns all it has or had.

    Where that is what they are already, nothing changes. A task that comes back is the one that it was.
    """
    tx.hold([f"tasks/{app_id}"])
    known = {each.name: each for each in of_app(tx, app_id)}
    wanted = {each.name: each for each in declared}
    told: dict[str, Subscription | None] = {}
    for name, declaration in sorted(wanted.items()):
        here = known.get(name)
        task_id = _declare(tx, app_id, here, declaration, version, now)
        before = subscription_of(app_id, here.task_id, here.declaration) if here and here.live else None
        after = subscription_of(app_id, task_id, declaration)
        if before != after:
            told[task_id] = after
    for name in sorted(known.keys() - wanted.keys()):
        if known[name].live:
            _lose(tx, known[name], now)
            if isinstance(known[name].declaration.trigger, On):
                told[known[name].task_id] = None
    _tell(tx, app_id, told)
    found = of_app(tx, app_id)
    _follow_model(tx, app_id, found)
    return found


def hear_of_model(tx: Transaction, app_id: str) -> list[Registered]:
    """Lets the hooks of the data model, as it is now, start the tasks of the app; returns those."""
    tx.hold([f"tasks/{app_id}"])
    found = of_app(tx, app_id)
    _follow_model(tx, app_id, found)
    return found


def _follow_model(tx: Transaction, app_id: str, registered: Sequence[Registered]) -> None:
    called = {each.name: each.task_id for each in registered if each.live and each.kind == "called"}
    model_receivers.follow(tx, app_id, called)


def of_app(tx: Transaction, app_id: str) -> list[Registered]:
    """The tasks of an app by name, those that are gone too."""
    return [_registered(row) for row in tx.execute(OF_APP, {"app": app_id})]


def apps_with_tasks(tx: Transaction) -> list[tuple[str, int]]:
    """The apps whose code declares tasks, and how many."""
    return [(row.app_id, row.number) for row in tx.execute(WITH_TASKS)]


def find(tx: Transaction, app_id: str, name: str) -> Registered | None:
    """The task of this name, also one that is gone; None: there never was one."""
    row = tx.execute(FIND, {"app": app_id, "of_name": name}).one_or_none()
    return None if row is None else _registered(row)


def set_paused(tx: Transaction, app_id: str, name: str, paused: bool, now: int) -> Registered | None:
    """Lets the runs of a task wait, or go on; it is told of events meanwhile. None: there is no such task."""
    tx.hold([f"tasks/{app_id}"])
    here = find(tx, app_id, name)
    if here is None or here.paused == paused:
        return here
    tx.execute(PAUSE, {"app": app_id, "task": here.task_id, "is_paused": _word(paused)})
    if here.live:
        opened_at = None if paused else now
        lanes.change(tx, KIND, here.task_id, limits_of(here.declaration), closed=paused, opened_at=opened_at)
    tx.signal(TOPIC, app_id)
    return find(tx, app_id, name)


def ask_reload(tx: Transaction, by: str = "") -> None:
    """Asks every server to load its folder again, but for the one that has the id `by`."""
    tx.signal(TOPIC, RELOAD + by)


def end_runs_of_gone(tx: Transaction, app_id: str, task_id: str, now: int) -> int:
    """Ends ENDED_AT_ONCE runs of a task that is gone, and returns how many there were. 0: there are no more,
    or the task has come back."""
    held = LOCK.rows(tx, [(app_id, task_id)])
    if not held or held[0].gone_at is None:
        return 0
    return emptying.empty(tx, KIND, task_id, _GONE, now, ENDED_AT_ONCE)


def prune(tx: Transaction, *, now: int, rows_max: int, kept_ms: int) -> int:
    """Forgets tasks that were gone before any run that is kept. `rows_max`: there is more to forget."""
    before = {"before": now - 2 * kept_ms, "most": FORGOTTEN_TASKS_AT_ONCE}
    for row in tx.execute(GONE_LONG_AGO, before).all():
        if subscriptions.forget_subscriber(tx, row.app_id, row.task_id, rows_max) == rows_max:
            return rows_max
        tx.execute(FORGET, {"app": row.app_id, "task": row.task_id})
    return 0


def subscription_of(app_id: str, task_id: str, declaration: Declaration) -> Subscription | None:
    """What a task is told of; None: of nothing."""
    on = declaration.trigger
    if not isinstance(on, On):
        return None
    return Subscription(
        app_id=app_id,
        subscriber_id=task_id,
        kind=KIND,
        types=on.types,
        filter=Filter(
            user_types=on.user_types,
            methods=on.methods,
            email_domains=on.email_domains,
            equals=tuple(Equal(tuple(path.split(".")), value) for path, value in on.equals),
        ),
        once=on.once,
    )


def limits_of(declaration: Declaration) -> Limits:
    """What the lane of a task takes. Runs by the clock never overlap.

    Of others more may be claimed than go on at once (`tempo`). A lane that has any limit is served by one
    server at a time, whose workshop holds to `at_once`.
    """
    return Limits(at_once_max=1 if isinstance(declaration.trigger, Every) else CLAIMED_MAX)


def _declare(
    tx: Transaction, app_id: str, here: Registered | None, declaration: Declaration, version: str, now: int
) -> str:
    """Writes the task, its lane and its schedule; returns its id."""
    if here is None:
        task_id = _add(tx, app_id, declaration, version, now)
        lanes.open_lane(tx, app_id, KIND, task_id, limits_of(declaration), closed=False)
    else:
        task_id = here.task_id
        _change(tx, here, declaration, version, now)
    before = here.declaration.trigger if here and here.live else None
    match declaration.trigger:
        case Every() as every if every == before:
            schedules.keep_going(tx, app_id, task_id, every, now)
        case Every() as every:
            schedules.begin(tx, app_id, task_id, every, now)
        case _ if isinstance(before, Every):
            schedules.end(tx, app_id, task_id)
    return task_id


def _add(tx: Transaction, app_id: str, declaration: Declaration, version: str, now: int) -> str:
    task_id = clock.new_id("tsk")
    row = {
        "app_id": app_id,
        "task_id": task_id,
        "name": declaration.name,
        "kind": kind_of(declaration.trigger),
        "declaration": msgspec.json.encode(declaration).decode(),
        "version": version,
        "paused": "no",
        "created_at": now,
        "changed_at": now,
        "gone_at": None,
    }
    tx.execute(ADD, row)
    tx.signal(TOPIC, app_id)
    return task_id


def _change(tx: Transaction, here: Registered, declaration: Declaration, version: str, now: int) -> None:
    if here.live and here.declaration == declaration and here.version == version:
        return
    limits = limits_of(declaration)
    if not here.live:
        lanes.open_lane(tx, here.app_id, KIND, here.task_id, limits, closed=here.paused)
    elif limits != limits_of(here.declaration):
        lanes.change(tx, KIND, here.task_id, limits, closed=here.paused)
    tx.execute(
        DECLARE,
        {
            "app": here.app_id,
            "task": here.task_id,
            "new_kind": kind_of(declaration.trigger),
            "new_declaration": msgspec.json.encode(declaration).decode(),
            "new_version": version,
            "now": now,
        },
    )
    tx.signal(TOPIC, here.app_id)


def _lose(tx: Transaction, here: Registered, now: int) -> None:
    lanes.remove(tx, here.task_id)
    tx.execute(LOSE, {"app": here.app_id, "task": here.task_id, "now": now})
    schedules.end(tx, here.app_id, here.task_id)
    tx.signal(TOPIC, here.app_id)


def _tell(tx: Transaction, app_id: str, told: Mapping[str, Subscription | None]) -> None:
    """Changes what tasks are told of, last: until the commit nobody else records an event of the app."""
    if not told:
        return
    log.audience_changes(tx, app_id)
    for task_id, subscription in told.items():
        if subscription is None:
            subscriptions.remove(tx, app_id, task_id)
        else:
            subscriptions.put(tx, subscription)
    announcing.watch(tx, app_id)


def _registered(row: Any) -> Registered:
    return Registered(
        app_id=row.app_id,
        task_id=row.task_id,
        name=row.name,
        declaration=msgspec.json.decode(row.declaration, type=Declaration),
        version=row.version,
        paused=row.paused == "yes",
        created_at=row.created_at,
        changed_at=row.changed_at,
        gone_at=row.gone_at,
    )


def _word(yes: bool) -> str:
    return "yes" if yes else "no"
