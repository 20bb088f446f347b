"""/api/apps/{app}/name, /names and /hosts: where an app is reached. For programs and for the commands."""

import msgspec
from starlette.responses import Response

from admit.accounts import addresses
from admit.accounts.addresses import HostTaken, parse_mapped_host
from admit.accounts.app_settings import parse_app_name
from admit.accounts.apps import App, NameTaken
from admit.errors import Conflict, NotFound
from admit.storage.transaction import Transaction
from admit.web.admin_api import view_of
from admit.web.admin_types import AppView, Host, HostsView, NewName
from admit.web.bearer import issuer_of
from admit.web.hosts import own_host
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app, permitted_in_app
from admit.web.operator_sso import require_owner


class HostQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which host."""

    host: str


class NameQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which former name."""

    name: str


async def rename_app(call: Call) -> Response:
    """Gives the app another name. The former one goes on leading to it until it is released."""
    app, token = await permitted_in_app(call)
    name, now = parse_app_name((await call.json(NewName)).name), call.gateway.clock()
    await require_owner(call.gateway, token, app, becomes=name)

    def rename(tx: Transaction) -> NameTaken | None:
        return addresses.rename_app(tx, app.app_id, name, now)

    if await call.gateway.db.write(rename) is not None:
        raise Conflict(
            f"Another app bears the name {name!r}, or answers to it still. Choose another.", code="name_taken"
        )
    return call.answer(view_of(call.gateway, await _current(call, app)))


async def release_name(call: Call) -> Response:
    """Stops the app from answering to a former name."""
    app, token = await permitted_in_app(call)
    name, now = call.query(NameQuery).name, call.gateway.clock()
    await require_owner(call.gateway, token, app)
    if not await call.gateway.db.write(lambda tx: addresses.release_name(tx, app.app_id, name, now)):
        raise NotFound(f"{name[:80]!r} is not a former name of {app.name}.")
    return call.answer(view_of(call.gateway, await _current(call, app)))


async def list_hosts(call: Call) -> Response:
    """The hosts whose root leads to the app."""
    return call.answer(_hosts_of(call, await permitted_app(call)))


async def add_host(call: Call) -> Response:
    """Makes the root of a host lead to the app."""
    app = await permitted_app(call)
    host, now = parse_mapped_host((await call.json(Host)).host), call.gateway.clock()
    if host == own_host(call.gateway.settings):
        raise Conflict(f"{host} is the host of PUBLIC_URL, which the server needs for itself.")

    def add(tx: Transaction) -> bool | HostTaken:
        return addresses.add_host(tx, app.app_id, host, now)

    if isinstance(await call.gateway.db.write(add), HostTaken):
        raise Conflict(f"{host} leads to another app. Remove it there first.", code="host_taken")
    return call.answer(_hosts_of(call, await _current(call, app)))


async def remove_host(call: Call) -> Response:
    """Ends a host of the app."""
    app = await permitted_app(call)
    host, now = parse_mapped_host(call.query(HostQuery).host), call.gateway.clock()
    if not await call.gateway.db.write(lambda tx: addresses.remove_host(tx, app.app_id, host, now)):
        raise NotFound(f"{host} did not lead to {app.name}.")
    return call.answer(_hosts_of(call, await _current(call, app)))


async def _current(call: Call, app: App) -> App:
    """The app after a change, whatever its name is now."""
    return await call.gateway.directory.app_by_id(app.app_id)


def _hosts_of(call: Call, app: App) -> HostsView:
    return HostsView(hosts=list(app.hosts), database_url=issuer_of(call.gateway, app))


OPERATIONS = (
    admin(
        "PUT",
        "/apps/{app}/name",
        rename_app,
        "Renames an app",
        "apps:write",
        body=NewName,
        answer=AppView,
        codes=("name_taken", "conflict"),
    ),
    admin(
        "DELETE",
        "/apps/{app}/names",
        release_name,
        "Releases a former name",
        "apps:write",
        query=NameQuery,
        answer=AppView,
    ),
    admin("GET", "/apps/{app}/hosts", list_hosts, "Lists hosts", "apps:read", answer=HostsView),
    admin(
        "POST",
        "/apps/{app}/hosts",
        add_host,
        "Maps a host to an app",
        "apps:write",
        body=Host,
        answer=HostsView,
        codes=("host_taken", "conflict"),
    ),
    admin(
        "DELETE",
        "/apps/{app}/hosts",
        remove_host,
        "Ends the mapping of a host",
        "apps:write",
        query=HostQuery,
        answer=HostsView,
    ),
)
