"""/api/apps/{app}/policy: the rule for unknown people, and for those who come by one of the ways in."""

import msgspec
from starlette.responses import Response

from admit.accounts import app_providers, apps, policies, provider_changes
from admit.accounts.app_settings import PolicySetting, check_policy
from admit.accounts.apps import App
from admit.errors import InvalidRequest, NotFound
from admit.gateway import Gateway
from admit.storage.transaction import Transaction
from admit.task.declarations import Decides
from admit.web.admin_types import NewPolicy, PolicyView
from admit.web.operations import Call
from admit.web.operator_access import SEES_SECRETS, admin, permitted_app, permitted_in_app
from admit.web.ways_in import ALWAYS, WayIn, parse_way_in


class PolicyQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of which way in (`for`), and whether to tell the secret that signs the calls of a web hook.

    Without the scope secrets:read it is not told.
    """

    way_in: WayIn = msgspec.field(default="", name="for")
    secret: bool = False


class WayQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which way in (`for`); "": all that have no rule of their own."""

    way_in: WayIn = msgspec.field(default="", name="for")


async def show_policy(call: Call) -> Response:
    """The rule in force."""
    query = call.query(PolicyQuery)
    app, holder = await permitted_in_app(call)
    shows_secret = query.secret and SEES_SECRETS in holder.scopes
    return call.answer(_view(app, _way_of(app, query.way_in), app.hook_secret if shows_secret else None))


async def set_policy(call: Call) -> Response:
    """Puts a rule in force; it holds from the next sign-in."""
    app = await permitted_app(call)
    way_in = _way_of(app, call.query(WayQuery).way_in)
    setting = check_policy(await call.json(NewPolicy))
    check_reachable(call.gateway, app, setting)
    if way_in:
        await _set_for(call.gateway, app, way_in, setting)
    else:
        now = call.gateway.clock()
        await call.gateway.db.write(lambda tx: policies.set_policy(tx, app.app_id, setting, now))
    return call.answer(_view(await call.gateway.directory.app(app.name), way_in))


async def unset_policy(call: Call) -> Response:
    """Lets the rule of the app hold for a way in again."""
    app = await permitted_app(call)
    way_in = _way_of(app, call.query(WayQuery).way_in)
    if not way_in:
        raise InvalidRequest("Of which way in? Give it as `for`: the app itself always has a policy.")
    if way_in not in app.policies:
        raise NotFound(f"{way_in} has no policy of its own in {app.name}.")
    await _set_for(call.gateway, app, way_in, None)
    return call.answer(_view(await call.gateway.directory.app(app.name), way_in))


async def rotate_hook_secret(call: Call) -> Response:
    """Makes a new secret for the calls of a web hook. For a day they are signed with the former one too."""
    app = await permitted_app(call)
    gateway, now = call.gateway, call.gateway.clock()
    secret = await gateway.db.write(lambda tx: apps.rotate_hook_secret(tx, gateway.ring, app.app_id, now))
    return call.answer(_view(await gateway.directory.app(app.name), "", secret))


def check_reachable(gateway: Gateway, app: App, setting: PolicySetting) -> None:
    """Raises InvalidRequest where whom `setting` asks can be seen not to be there, or not to be allowed."""
    if setting.kind == "webhook" and (refusal := gateway.egress.url_refusal(setting.url)):
        raise InvalidRequest(refusal)
    if setting.kind == "task":
        _check_task(gateway, app, setting.task)


def _way_of(app: App, text: str) -> str:
    return parse_way_in(app, text) if text else ""


def _check_task(gateway: Gateway, app: App, name: str) -> None:
    """Raises InvalidRequest where this server knows the tasks of the app, and none of them decides so."""
    registry = gateway.registry
    if registry is None or not registry.knows(app.app_id):
        return
    deciders = sorted(
        task.declaration.name
        for task in registry.of_app(app.app_id)
        if isinstance(task.declaration.trigger, Decides)
    )
    if name in deciders:
        return
    if registry.find(app.app_id, name):
        raise InvalidRequest(f"The task {name} of {app.name} does not decide: it lacks @task.decides.")
    those = f"Those that decide: {', '.join(deciders)}." if deciders else "It has none that decides."
    raise InvalidRequest(f"{app.name} has no task {name}. {those}")


async def _set_for(gateway: Gateway, app: App, way_in: str, setting: PolicySetting | None) -> None:
    """Raises NotFound where the provider was removed a moment ago."""
    now = gateway.clock()

    def write(tx: Transaction) -> bool:
        apps.mark_changed(tx, app.app_id, now)
        stays = way_in in ALWAYS or way_in in app_providers.providers_in(tx, gateway.ring, app.app_id)
        if stays:
            policies.set_policy_for(tx, app.app_id, way_in, setting, now)
        return stays

    if not await gateway.db.write(write):
        raise provider_changes.not_found(way_in)


def _view(app: App, way_in: str, secret: str | None = None) -> PolicyView:
    return PolicyView(
        policy=app.policy_for(way_in),
        version=app.policy_version,
        way_in=way_in,
        own=not way_in or way_in in app.policies,
        policies=dict(app.policies),
        hook_secret=secret,
    )


OPERATIONS = (
    admin(
        "GET",
        "/apps/{app}/policy",
        show_policy,
        "Shows the rule for unknown people",
        "apps:read",
        query=PolicyQuery,
        answer=PolicyView,
    ),
    admin(
        "PUT",
        "/apps/{app}/policy",
        set_policy,
        "Puts a rule in force",
        "apps:write",
        query=WayQuery,
        body=NewPolicy,
        answer=PolicyView,
    ),
    admin(
        "DELETE",
        "/apps/{app}/policy",
        unset_policy,
        "Takes a way in the rule of its own",
        "apps:write",
        query=WayQuery,
        answer=PolicyView,
    ),
    admin(
        "POST",
        "/apps/{app}/policy/secret",
        rotate_hook_secret,
        "Makes a new secret for the calls of a web hook",
        "apps:write",
        shows_secret=True,
        answer=PolicyView,
    ),
)
