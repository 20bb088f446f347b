"""/api/apps: apps, their owners, origins, clients and settings. For programs and for the commands."""

from typing import Annotated

import msgspec
from starlette.responses import Response

from admit.accounts import apps, clients
from admit.accounts.app_settings import check_settings, parse_app_name
from admit.accounts.apps import APPS_PAGE, App, NameTaken
from admit.accounts.domains import parse_owner
from admit.accounts.enrollment_links import check_link
from admit.accounts.origins import parse_origin
from admit.errors import Conflict, NotFound
from admit.gateway import Gateway
from admit.signin import templates
from admit.storage.transaction import Transaction
from admit.web.admin_types import (
    AppView,
    ClientSecret,
    ClientView,
    NewApp,
    NewClient,
    NewSettings,
    Origin,
    OriginsView,
    Owner,
)
from admit.web.bearer import issuer_of
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted, permitted_app


class AppsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which apps: those behind the name `after`."""

    after: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=APPS_PAGE)] = APPS_PAGE


class OriginQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which origin."""

    origin: str


class OwnerQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which owner."""

    email: str


async def list_apps(call: Call) -> Response:
    """The apps in the order of their names."""
    await permitted(call)
    query = call.query(AppsQuery)

    def find(tx: Transaction) -> list[apps.AppSummary]:
        return apps.list_apps(tx, after=query.after, limit=query.limit)

    listed = await call.gateway.db.read(find)
    return call.answer([view_of(call.gateway, await _current(call.gateway, each.name)) for each in listed])


async def create_app(call: Call) -> Response:
    """Makes an app, which admits everybody on trial at first."""
    await permitted(call)
    body = await call.json(NewApp)
    name, owner = parse_app_name(body.name), parse_owner(body.owner)
    gateway, now = call.gateway, call.gateway.clock()

    def make(tx: Transaction) -> App | NameTaken:
        return apps.create_app(tx, gateway.ring, name=name, owner=owner, user_ids=body.user_ids, now=now)

    made = await gateway.db.write(make)
    if isinstance(made, NameTaken):
        raise Conflict(
            f"There is an app {name!r} already, or one that answers to its former name {name!r} still. "
            "Choose another name.",
            code="name_taken",
        )
    return call.answer(view_of(gateway, made))


async def show_app(call: Call) -> Response:
    """One app."""
    return call.answer(view_of(call.gateway, await permitted_app(call)))


async def add_owner(call: Call) -> Response:
    """Makes somebody an owner."""
    app = await permitted_app(call)
    email, now = parse_owner((await call.json(Owner)).email), call.gateway.clock()
    await call.gateway.db.write(lambda tx: apps.add_owner(tx, app.app_id, email, now))
    return call.answer(view_of(call.gateway, await _current(call.gateway, app.name)))


async def remove_owner(call: Call) -> Response:
    """Ends an ownership."""
    app = await permitted_app(call)
    email, now = parse_owner(call.query(OwnerQuery).email), call.gateway.clock()
    if not await call.gateway.db.write(lambda tx: apps.remove_owner(tx, app.app_id, email, now)):
        raise Conflict(f"{email} is not an owner, or is the only one. Add another first.")
    return call.answer(view_of(call.gateway, await _current(call.gateway, app.name)))


async def change_settings(call: Call) -> Response:
    """Replaces the settings of the app."""
    app = await permitted_app(call)
    settings = check_settings(await call.json(NewSettings))
    check_link(settings.enrollment_link, app.origins)
    if settings.mail_templates is not None:
        templates.check(settings.mail_templates)
    now = call.gateway.clock()
    await call.gateway.db.write(lambda tx: apps.set_settings(tx, app.app_id, settings, now))
    return call.answer(view_of(call.gateway, await _current(call.gateway, app.name)))


async def list_origins(call: Call) -> Response:
    """The origins whose pages may call."""
    return call.answer(_origins_of(await permitted_app(call)))


async def add_origin(call: Call) -> Response:
    """Lets the pages of an origin call."""
    app = await permitted_app(call)
    body, now = await call.json(Origin), call.gateway.clock()
    origin = parse_origin(body.origin, force=body.force)
    await call.gateway.db.write(lambda tx: apps.add_origin(tx, app.app_id, origin, now, force=True))
    return call.answer(_origins_of(await _current(call.gateway, app.name)))


async def remove_origin(call: Call) -> Response:
    """Stops the pages of an origin from calling."""
    app = await permitted_app(call)
    origin, now = parse_origin(call.query(OriginQuery).origin, force=True), call.gateway.clock()
    if not await call.gateway.db.write(lambda tx: apps.remove_origin(tx, app.app_id, origin, now)):
        raise NotFound(f"{origin} was not an allowed origin of {app.name}.")
    return call.answer(_origins_of(await _current(call.gateway, app.name)))


async def list_clients(call: Call) -> Response:
    """The API clients, without their secrets."""
    app, now = await permitted_app(call), call.gateway.clock()
    listed = sorted(app.clients.values(), key=lambda each: (each.created_at, each.client_id))
    return call.answer(
        [
            ClientView(
                client_id=each.client_id,
                scopes=sorted(each.scopes),
                owner=each.owner,
                state=each.state(now),
                created_at=each.created_at,
                secret_changed_at=each.secret_changed_at,
                expires_at=each.expires_at,
            )
            for each in listed
        ]
    )


async def create_client(call: Call) -> Response:
    """Makes an API client and tells its secret, this once."""
    app = await permitted_app(call)
    body, gateway, now = await call.json(NewClient), call.gateway, call.gateway.clock()
    scopes = clients.parse_scopes(clients.SCOPES if body.scopes is None else body.scopes)
    owner = None if body.owner is None else parse_owner(body.owner)

    def make(tx: Transaction) -> clients.NewClient:
        return clients.create_client(tx, gateway.ring, app.app_id, scopes, owner, now)

    return call.answer(_secret_of(gateway, app, await gateway.db.write(make), owner))


async def rotate_client(call: Call) -> Response:
    """Gives an API client a new secret and tells it, this once. The former one ends at once."""
    app = await permitted_app(call)
    gateway, client_id, now = call.gateway, call.param("client_id"), call.gateway.clock()
    known = app.clients.get(client_id)

    def rotate(tx: Transaction) -> clients.NewClient | None:
        return clients.rotate_client(tx, gateway.ring, app.app_id, client_id, now)

    made = await gateway.db.write(rotate)
    if made is None:
        raise _no_client(client_id)
    return call.answer(_secret_of(gateway, app, made, known.owner if known else None))


async def revoke_client(call: Call) -> Response:
    """Ends an API client with all that it has opened."""
    app = await permitted_app(call)
    client_id, now = call.param("client_id"), call.gateway.clock()
    if not await call.gateway.db.write(lambda tx: clients.revoke_client(tx, app.app_id, client_id, now)):
        raise _no_client(client_id)
    return call.done()


def view_of(gateway: Gateway, app: App) -> AppView:
    """`app` without its secrets."""
    return AppView(
        name=app.name,
        former_names=sorted(app.former_names),
        hosts=list(app.hosts),
        app_id=app.app_id,
        database_url=issuer_of(gateway, app),
        user_ids=app.user_ids,
        policy=app.policy,
        policy_version=app.policy_version,
        policies=dict(app.policies),
        settings=app.settings,
        owners=sorted(app.owners),
        origins=sorted(app.origins),
        clients=sorted(app.clients),
        providers=list(app.providers),
        created_at=app.created_at,
    )


async def _current(gateway: Gateway, name: str) -> App:
    """The app after a change."""
    return await gateway.directory.app(name)


def _origins_of(app: App) -> OriginsView:
    return OriginsView(origins=sorted(app.origins))


def _secret_of(gateway: Gateway, app: App, made: clients.NewClient, owner: str | None) -> ClientSecret:
    return ClientSecret(
        client_id=made.client_id,
        client_secret=made.client_secret,
        scopes=sorted(made.scopes),
        owner=owner,
        database_url=issuer_of(gateway, app),
    )


def _no_client(client_id: str) -> NotFound:
    return NotFound(f"There is no client {client_id[:80]!r} in this app.", code="client_not_found")


OPERATIONS = (
    admin("GET", "/apps", list_apps, "Lists the apps", "apps:read", query=AppsQuery, answer=list[AppView]),
    admin(
        "POST",
        "/apps",
        create_app,
        "Makes an app",
        "apps:write",
        body=NewApp,
        answer=AppView,
        codes=("name_taken",),
    ),
    admin("GET", "/apps/{app}", show_app, "Shows an app", "apps:read", answer=AppView),
    admin("POST", "/apps/{app}/owners", add_owner, "Adds an owner", "apps:write", body=Owner, answer=AppView),
    admin(
        "DELETE",
        "/apps/{app}/owners",
        remove_owner,
        "Removes an owner",
        "apps:write",
        query=OwnerQuery,
        answer=AppView,
        codes=("conflict",),
    ),
    admin(
        "PUT",
        "/apps/{app}/settings",
        change_settings,
        "Replaces the settings",
        "apps:write",
        body=NewSettings,
        answer=AppView,
    ),
    admin("GET", "/apps/{app}/origins", list_origins, "Lists origins", "apps:read", answer=OriginsView),
    admin(
        "POST",
        "/apps/{app}/origins",
        add_origin,
        "Allows an origin",
        "apps:write",
        body=Origin,
        answer=OriginsView,
    ),
    admin(
        "DELETE",
        "/apps/{app}/origins",
        remove_origin,
        "Disallows an origin",
        "apps:write",
        query=OriginQuery,
        answer=OriginsView,
    ),
    admin("GET", "/apps/{app}/clients", list_clients, "Lists clients", "apps:read", answer=list[ClientView]),
    admin(
        "POST",
        "/apps/{app}/clients",
        create_client,
        "Makes a client",
        "apps:write",
        shows_secret=True,
        body=NewClient,
        answer=ClientSecret,
    ),
    admin(
        "POST",
        "/apps/{app}/clients/{client_id}/secret",
        rotate_client,
        "Gives a client a new secret",
        "apps:write",
        shows_secret=True,
        answer=ClientSecret,
        codes=("client_not_found",),
    ),
    admin(
        "DELETE",
        "/apps/{app}/clients/{client_id}",
        revoke_client,
        "Revokes a client",
        "apps:write",
        codes=("client_not_found",),
    ),
)
