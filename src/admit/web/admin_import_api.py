"""/api/apps/{app}/user-imports: many people at once, each for itself, tried out or for good."""

from typing import Literal

from msgspec.structs import replace
from starlette.responses import Response

from admit.accounts.apps import App
from admit.accounts.user_changes import Plan, Rejected, Written, plan
from admit.accounts.user_edits import UserChange
from admit.enrollment.creations import import_users, in_one_spelling, write_among_rivals
from admit.gateway import Gateway
from admit.storage.transaction import Transaction
from admit.web.admin_types import RefusedEntry, UserImport, UserImported
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app
from admit.web.users_api import USERS_BYTES_MAX

Becomes = Literal["created", "changed", "unchanged", "refused"]


async def import_app_users(call: Call) -> Response:
    """Creates and changes people. An entry that is wrong keeps nobody else out."""
    app, body = await permitted_app(call), await call.json(UserImport)
    done = await (_try_out if body.dry_run else _carry_out)(call.gateway, app, body.users)
    return call.answer(done)


async def _try_out(gateway: Gateway, app: App, changes: list[UserChange]) -> UserImported:
    now, spelled = gateway.clock(), in_one_spelling(app, changes)

    def find(tx: Transaction) -> Plan:
        return plan(tx, app.app_id, spelled, eval_days=app.settings.eval_days, now=now, source="import")

    planned = await gateway.db.read(find)
    done = _outcome(app, changes, len(planned.newcomers), len(planned.changed), planned.rejected)
    return replace(done, becomes=_becomes(planned, spelled))


def _becomes(planned: Plan, changes: list[UserChange]) -> list[Becomes]:
    """What would become of each entry. Several of one person are told alike."""
    refused = {each.index for each in planned.rejected}
    created = {user.user_id for user in planned.newcomers}
    changed = {user.user_id for user in planned.changed}
    told: list[Becomes] = []
    for index, change in enumerate(changes):
        if index in refused:
            told.append("refused")
        elif change.user_id in created:
            told.append("created")
        else:
            told.append("changed" if change.user_id in changed else "unchanged")
    return told


async def _carry_out(gateway: Gateway, app: App, changes: list[UserChange]) -> UserImported:
    now = gateway.clock()

    def write(tx: Transaction) -> tuple[Written, list[Rejected]]:
        return import_users(tx, app, changes, who="an import", now=now)

    written, rejected = await write_among_rivals(gateway.db, write)
    return _outcome(app, changes, len(written.created), len(written.changed), rejected)


def _outcome(
    app: App, changes: list[UserChange], created: int, changed: int, rejected: list[Rejected]
) -> UserImported:
    refused = [
        RefusedEntry(index=each.index, code=each.code, message=each.sentence)
        for each in rejected
        if each.index is not None
    ]
    return UserImported(
        app_id=app.app_id,
        created=created,
        changed=changed,
        unchanged=len(changes) - len(refused) - created - changed,
        refused=refused,
    )


OPERATIONS = (
    admin(
        "POST",
        "/apps/{app}/user-imports",
        import_app_users,
        "Creates and changes people, each for itself",
        "users:write",
        body=UserImport,
        body_bytes_max=USERS_BYTES_MAX,
        answer=UserImported,
        codes=("conflict",),
    ),
)
