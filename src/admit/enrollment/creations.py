"""Users whom the operator's programs create: nobody is asked, but the ledger remembers who let them in."""

from collections.abc import Sequence
from contextlib import suppress
from typing import TypeVar

from msgspec.structs import replace
from sqlalchemy import insert

from admit.accounts.apps import App
from admit.accounts.user_changes import Created, Rejected, Source, Written, carry_out, plan, write_many
from admit.accounts.user_edits import UserChange
from admit.enrollment.tables import admissions
from admit.errors import Conflict
from admit.signin.proof import user_id_as_known
from admit.storage.database import Database
from admit.storage.transaction import Transaction, Unit

METHOD = "api"
TRIES_MAX = 3

ADD_SETTLED = insert(admissions)

T = TypeVar("T")


def write_users(
    tx: Transaction,
    app: App,
    changes: Sequence[UserChange],
    *,
    who: str,
    now: int,
    source: Source = "api",
) -> Written | Rejected:
    """Makes `changes`, all or none, and keeps one settled row for each user created. `who` is the reason."""
    outcome = write_many(
        tx,
        app.app_id,
        in_one_spelling(app, changes),
        eval_days=app.settings.eval_days,
        now=now,
        source=source,
    )
    if isinstance(outcome, Written):
        _remember(tx, app, outcome.created, who, source, now)
    return outcome


def import_users(
    tx: Transaction, app: App, changes: Sequence[UserChange], *, who: str, now: int
) -> tuple[Written, list[Rejected]]:
    """Makes those of `changes`, CHANGES_MAX at most, that can be made, and says why the others cannot."""
    spelled = in_one_spelling(app, changes)
    planned = plan(
        tx, app.app_id, spelled, eval_days=app.settings.eval_days, now=now, source="import", lock=True
    )
    written = carry_out(tx, planned, now, "import")
    _remember(tx, app, written.created, who, "import", now)
    return written, planned.rejected


async def write_among_rivals(db: Database, unit: Unit[T]) -> T:
    """Runs `unit`, which writes users, and again where somebody else has created one of them meanwhile.

    By then that one is known, and is changed. Raises Conflict after TRIES_MAX.
    """
    for _ in range(TRIES_MAX - 1):
        with suppress(Conflict):
            return await db.write(unit, patient=True)
    return await db.write(unit, patient=True)


def in_one_spelling(app: App, changes: Sequence[UserChange]) -> list[UserChange]:
    """`changes` with their userIds as sign-in spells them, or `Ada@Example.com` would never meet her code."""
    return [replace(change, user_id=user_id_as_known(app, change.user_id)) for change in changes]


def _remember(
    tx: Transaction, app: App, created: Sequence[Created], who: str, source: Source, now: int
) -> None:
    if created:
        tx.execute(ADD_SETTLED, [_row(app, each, who, source, now) for each in created])


def _row(app: App, created: Created, who: str, source: Source, now: int) -> dict[str, object]:
    return {
        "app_id": app.app_id,
        "admission_id": created.admission_id,
        "user_id": created.user.user_id,
        "method": METHOD,
        "way_in": source,
        "claims": "",
        "policy": source,
        "policy_version": app.policy_version,
        "input_digest": "",
        "fence": 0,
        "lease_until": 0,
        "opened_at": now,
        "settled_at": now,
        "verdict": created.user.type,
        "code": "",
        "message": "",
        "reason": f"Created by {who}.",
        "late": "",
        "attempts": 0,
        "latency_ms": 0,
        "uid": created.user.uid,
    }
