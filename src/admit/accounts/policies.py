"""The rules for people unknown to an app at rest: one for all, and those of ways in that have their own."""

import msgspec
from sqlalchemy import bindparam, select, update

from admit.accounts.app_settings import PolicySetting, check_policy
from admit.accounts.apps import mark_changed, policies_of
from admit.accounts.tables import apps
from admit.errors import NotFound
from admit.storage.transaction import Transaction

SET_POLICY = (
    update(apps)
    .where(apps.c.app_id == bindparam("app"), apps.c.policy != bindparam("new_policy"))
    .values(
        policy=bindparam("new_policy"),
        policy_version=apps.c.policy_version + 1,
        version=apps.c.version + 1,
        changed_at=bindparam("now"),
    )
    .returning(apps.c.policy_version)
)
SET_POLICIES = (
    update(apps)
    .where(apps.c.app_id == bindparam("app"))
    .values(policies=bindparam("new_policies"), policy_version=apps.c.policy_version + 1)
    .returning(apps.c.policy_version)
)
POLICIES = select(apps.c.policies).where(apps.c.app_id == bindparam("app"))
POLICY_VERSION = select(apps.c.policy_version).where(apps.c.app_id == bindparam("app"))


def set_policy(tx: Transaction, app_id: str, setting: PolicySetting, now: int) -> int:
    """Puts the policy in force. Returns its version, which stays when nothing changes. Raises NotFound.

    Raises InvalidRequest for what `check_policy` refuses: doors ask it first.
    """
    new = {"app": app_id, "new_policy": msgspec.json.encode(check_policy(setting)).decode(), "now": now}
    if row := tx.execute(SET_POLICY, new).one_or_none():
        tx.signal("app", app_id)
        return int(row.policy_version)
    version = tx.execute(POLICY_VERSION, {"app": app_id}).scalar_one_or_none()
    if version is None:
        raise NotFound("There is no such app.", code="app_not_found")
    return int(version)


def set_policy_for(tx: Transaction, app_id: str, way_in: str, setting: PolicySetting | None, now: int) -> int:
    """Gives a way in a policy of its own, or with None the app's again. Returns the version of the policies.

    Raises NotFound, and InvalidRequest for what `check_policy` refuses: doors ask it first.
    """
    mark_changed(tx, app_id, now)
    before = policies_of(tx.execute(POLICIES, {"app": app_id}).scalar_one())
    after = {way: policy for way, policy in before.items() if way != way_in}
    if setting is not None:
        after[way_in] = check_policy(setting)
    if after == before:
        return int(tx.execute(POLICY_VERSION, {"app": app_id}).scalar_one())
    new = msgspec.json.encode(after).decode()
    return int(tx.execute(SET_POLICIES, {"app": app_id, "new_policies": new}).scalar_one())
