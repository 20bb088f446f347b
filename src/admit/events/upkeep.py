"""The upkeep of logs: forgetting what is older than it is kept, and a new epoch after a restore."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Integer, bindparam, delete, select, update

from admit import clock
from admit.events.log import TOPIC, events, logs
from admit.storage.transaction import Transaction

LOGS_PAGE = 200

# Written into the statement, so that PostgreSQL plans for few rows also when it no longer looks at values.
_MOST = bindparam("most", type_=Integer, literal_execute=True)
_first_occurred_at = (
    select(events.c.occurred_at)
    .where(events.c.app_id == logs.c.app_id, events.c.position > logs.c.forgotten)
    .order_by(events.c.position)
    .limit(1)
    .scalar_subquery()
)
LOGS = (
    select(logs.c.app_id, _first_occurred_at.label("first_occurred_at"))
    .where(logs.c.app_id > bindparam("after"))
    .order_by(logs.c.app_id)
    .limit(_MOST)
)
APPS = select(logs.c.app_id).where(logs.c.app_id > bindparam("after")).order_by(logs.c.app_id).limit(_MOST)
FORGOTTEN = select(logs.c.forgotten).where(logs.c.app_id == bindparam("app"))
# Behind what was forgotten: PostgreSQL walks over deleted rows until they are vacuumed.
FIRST = (
    select(events.c.position, events.c.occurred_at)
    .where(events.c.app_id == bindparam("app"), events.c.position > bindparam("forgotten"))
    .order_by(events.c.position)
    .limit(_MOST)
)
DELETE = delete(events).where(
    events.c.app_id == bindparam("app"),
    events.c.position > bindparam("forgotten"),
    events.c.position <= bindparam("until"),
)
FORGET = (
    update(logs)
    .where(logs.c.app_id == bindparam("app"), logs.c.forgotten < bindparam("until"))
    .values(forgotten=bindparam("until"))
)
BEGIN_EPOCH = update(logs).where(logs.c.app_id == bindparam("app")).values(epoch=bindparam("epoch"))


class Logs(msgspec.Struct, frozen=True):
    """A page of logs: those that begin with something old, and the last one looked at; None: that was all."""

    old: list[str]
    last: str | None


def old_logs(tx: Transaction, after: str, before: int) -> Logs:
    """The next LOGS_PAGE logs behind the app `after`, those of them whose first event is from before `before`
    (UTC ms)."""
    rows = tx.execute(LOGS, {"after": after, "most": LOGS_PAGE}).all()
    old = [row.app_id for row in rows if row.first_occurred_at is not None and row.first_occurred_at < before]
    return Logs(old, rows[-1].app_id if len(rows) == LOGS_PAGE else None)


def prune(tx: Transaction, app_id: str, before: int, rows_max: int) -> int:
    """Deletes the oldest events of an app while they are from before `before` (UTC ms), `rows_max` at most.

    Says how many there were. Cursors into what is gone have expired from here on.
    """
    forgotten = tx.execute(FORGOTTEN, {"app": app_id}).scalar_one()
    rows = tx.execute(FIRST, {"app": app_id, "forgotten": forgotten, "most": rows_max}).all()
    old = _old_ones(rows, before)
    if old:
        until = rows[old - 1].position
        tx.execute(DELETE, {"app": app_id, "forgotten": forgotten, "until": until})
        tx.execute(FORGET, {"app": app_id, "until": until})
    return old


def begin_epoch(tx: Transaction, app_id: str) -> None:
    """Says that the log of the app was restored from a copy: every cursor that was handed out has expired."""
    tx.execute(BEGIN_EPOCH, {"app": app_id, "epoch": clock.new_id("epo")})
    tx.signal(TOPIC, app_id)


def begin_epochs(tx: Transaction, after: str) -> list[str]:
    """`begin_epoch` for the next LOGS_PAGE apps behind `after`, which are returned; none: that was all."""
    app_ids = [row.app_id for row in tx.execute(APPS, {"after": after, "most": LOGS_PAGE})]
    for app_id in app_ids:
        begin_epoch(tx, app_id)
    return app_ids


def _old_ones(rows: Sequence[Any], before: int) -> int:
    """How many of the first rows are old. One with a wrong time keeps those behind it, for a while."""
    for count, row in enumerate(rows):
        if row.occurred_at >= before:
            return count
    return len(rows)
