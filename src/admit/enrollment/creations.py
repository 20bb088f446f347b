"""Users whom the operator's programs create: nobody is asked, but the ledger remembers who let them in."""

from collections.abc import Sequence

from sqlalchemy import insert

from admit.accounts.apps import App
from admit.accounts.user_changes import Created, Rejected, Written, write_many
from admit.accounts.user_edits import UserChange
from admit.enrollment.tables import admissions
from admit.storage.transaction import Transaction

METHOD = "api"
POLICY = "api"

ADD_SETTLED = insert(admissions)


def write_users(
    tx: Transaction, app: App, changes: Sequence[UserChange], *, who: str, now: int
) -> Written | Rejected:
    """Makes `changes`, all or none, and keeps one settled row for each user created. `who` is the reason."""
    outcome = write_many(tx, app.app_id, changes, eval_days=app.settings.eval_days, now=now)
    if isinstance(outcome, Written) and outcome.created:
        tx.execute(ADD_SETTLED, [_row(app, created, who, now) for created in outcome.created])
    return outcome


def _row(app: App, created: Created, who: str, now: int) -> dict[str, object]:
    return {
        "app_id": app.app_id,
        "admission_id": created.admission_id,
        "user_id": created.user.user_id,
        "method": METHOD,
        "policy": POLICY,
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
