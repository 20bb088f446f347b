"""/clients and /whitelist: what managers of an app do with the published `dexie-cloud` command.

The shapes are those that the command, version 3.0.7, sends and expects (docs/compat.md).
"""

from typing import Annotated

import msgspec
import structlog
from starlette.responses import Response

from admit.accounts import apps, client_handover, clients
from admit.accounts.apps import App, Client, ClientState
from admit.accounts.client_handover import CONNECT_CLIENT, NOBODY_HERE, OWNER_SCOPES, Replacement
from admit.accounts.domains import parse_owner
from admit.accounts.origins import parse_origin
from admit.clock import DAY_MS, iso_date
from admit.errors import Conflict, Forbidden, InvalidRequest, NotFound
from admit.storage.transaction import Transaction
from admit.web.bearer import bearer, require
from admit.web.operations import Call, Operation

OLD_CLIENT_DAYS = 7
OLD_CLIENT_DAYS_MAX = 90

log = structlog.get_logger("admit.web")

Flag = Annotated[bool | str | None, msgspec.Meta(description="true or the text `true`.")]


class Connect(msgspec.Struct, frozen=True, rename="camel"):
    """`require_unverified`: only a client that was authorized for this address and waits for its owner."""

    require_unverified: bool = False


class ClientKeys(msgspec.Struct, frozen=True, rename="camel"):
    """A client with its secret, which is told this once."""

    client_id: str
    client_secret: str


class ClientLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One API client. `waiting`: its owner has not connected yet. Dates are ISO 8601 in UTC."""

    client_id: str
    email: str | None
    scopes: list[str]
    state: ClientState
    created: str
    expires: str | None


class NewClient(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A client for the owner of `email`, who fetches it by a mailed code, or a service account."""

    email: str
    scopes: list[str] | None = None
    service_account: bool = False


class ClientAdded(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The client is there; a service account's secret is told this once."""

    ok: bool
    client_id: str
    client_secret: str | None = None


class WhichClients(msgspec.Struct, frozen=True, kw_only=True):
    """One client, or everything that belongs to an address."""

    client_id: str | None = None
    email: str | None = None


class ClientsDeleted(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How many clients were revoked."""

    ok: bool
    num_clients: int


class Rotation(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Which client to replace, None: the one that asks; and for how long the former goes on, in days."""

    client_id: str | None = None
    old_client_expiry_days: Annotated[float, msgspec.Meta(gt=0, le=OLD_CLIENT_DAYS_MAX)] = OLD_CLIENT_DAYS


class Rotated(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The new client, and until when the former one goes on."""

    client_id: str
    client_secret: str
    old_client_id: str
    old_client_expires_at: str


class OriginChange(msgspec.Struct, frozen=True, kw_only=True):
    """An origin to add, or to delete; none: all are listed."""

    origin: str | None = None
    delete: Flag = None
    force: Flag = None


async def connect_client(call: Call) -> Response:
    """Hands an API client to whoever has proven, by a mailed code, to manage the app."""
    app = await call.app()
    claims = await bearer(call, app)
    require(claims, CONNECT_CLIENT)
    body, gateway, now = await call.json(Connect), call.gateway, call.gateway.clock()

    def hand_over(tx: Transaction) -> clients.NewClient | client_handover.NotConnected:
        return client_handover.connect(
            tx, gateway.ring, app.app_id, claims.email, now, only_waiting=body.require_unverified
        )

    made = await gateway.db.write(hand_over)
    match made:
        case "nobody_here":
            raise Forbidden(NOBODY_HERE, code="not_an_owner")
        case "nothing_waits":
            raise Conflict(
                "No client waits for this address. Make one first, with the key you still have: "
                "dexie-cloud authorize EMAIL. Owners of the app can also run: dexie-cloud connect",
                code="nothing_to_connect",
            )
    log.info("client.connected", app_id=app.app_id, client_id=made.client_id)
    return call.answer(ClientKeys(made.client_id, made.client_secret))


async def show_clients(call: Call) -> Response:
    """The API clients, the oldest first."""
    app, _ = await managed(call)
    now = call.gateway.clock()
    listed = sorted(app.clients.values(), key=lambda each: (each.created_at, each.client_id))
    return call.answer([_line(each, now) for each in listed])


async def authorize_client(call: Call) -> Response:
    """Adds a client with at most the scopes of the client that asks."""
    app, manager = await managed(call)
    body, gateway, now = await call.json(NewClient), call.gateway, call.gateway.clock()
    email = parse_owner(body.email)
    scopes = clients.parse_scopes(OWNER_SCOPES if body.scopes is None else body.scopes)
    _within(manager, scopes)

    def add(tx: Transaction) -> ClientAdded:
        if not body.service_account:
            client_id = client_handover.authorize(tx, app.app_id, email, scopes, now)
            return ClientAdded(ok=True, client_id=client_id)
        made = clients.create_client(tx, gateway.ring, app.app_id, scopes, email, now)
        return ClientAdded(ok=True, client_id=made.client_id, client_secret=made.client_secret)

    added = await gateway.db.write(add)
    log.info("client.added", app_id=app.app_id, client_id=added.client_id, by=manager.client_id)
    return call.answer(added)


async def unauthorize_clients(call: Call) -> Response:
    """Revokes a client, or takes everything from an address: its clients, and that it owns the app."""
    app, manager = await managed(call)
    body, now = await call.json(WhichClients), call.gateway.clock()
    if (body.client_id is None) == (body.email is None):
        raise InvalidRequest("Name either a client_id or an email.")
    if body.client_id is not None:
        one = body.client_id
        revoked: int | None = int(
            await call.gateway.db.write(lambda tx: clients.revoke_client(tx, app.app_id, one, now))
        )
    else:
        email = parse_owner(body.email or "")
        revoked = await call.gateway.db.write(
            lambda tx: client_handover.unauthorize(tx, app.app_id, email, now)
        )
    if revoked is None:
        raise Conflict("This is the only owner of the app. Add another owner first.")
    log.info("client.revoked", app_id=app.app_id, count=revoked, by=manager.client_id)
    return call.answer(ClientsDeleted(ok=True, num_clients=revoked))


async def replace_client(call: Call) -> Response:
    """Puts a new client in the place of another, which goes on for some days."""
    app, manager = await managed(call)
    body, gateway, now = await call.json(Rotation), call.gateway, call.gateway.clock()
    former = app.clients.get(body.client_id or manager.client_id)
    if former is None:
        raise _no_client()
    _within(manager, former.scopes)
    ends_at = now + round(body.old_client_expiry_days * DAY_MS)

    def replace(tx: Transaction) -> Replacement | None:
        return client_handover.replace(tx, gateway.ring, app.app_id, former.client_id, now, ends_at=ends_at)

    replacement = await gateway.db.write(replace)
    if replacement is None:
        raise _no_client()
    made = replacement.client
    log.info("client.replaced", app_id=app.app_id, client_id=former.client_id, new_client_id=made.client_id)
    return call.answer(
        Rotated(
            client_id=made.client_id,
            client_secret=made.client_secret,
            old_client_id=former.client_id,
            old_client_expires_at=iso_date(replacement.former_ends_at),
        )
    )


async def change_whitelist(call: Call) -> Response:
    """Lists the allowed origins; or adds or deletes one, and answers how many it were."""
    app, _ = await managed(call)
    body, now = await call.json(OriginChange), call.gateway.clock()
    db = call.gateway.db
    if body.origin is None:
        if _is_set(body.delete):
            raise InvalidRequest("Name the origin to delete.")
        return call.answer(sorted(app.origins))
    if _is_set(body.delete):
        old = parse_origin(body.origin, force=True)
        return call.answer(int(await db.write(lambda tx: apps.remove_origin(tx, app.app_id, old, now))))
    new = parse_origin(body.origin, force=_is_set(body.force))
    return call.answer(int(await db.write(lambda tx: apps.add_origin(tx, app.app_id, new, now, force=True))))


async def managed(call: Call) -> tuple[App, Client]:
    """The app and the API client that manages it. Raises Forbidden."""
    app = await call.app()
    claims = await bearer(call, app)
    require(claims, "MANAGE_DB")
    if claims.client_id is None:
        raise Forbidden("Only API clients manage an app.")
    return app, app.clients[claims.client_id]


def _within(manager: Client, scopes: frozenset[str]) -> None:
    """Raises Forbidden where `manager` would pass on more than it may do itself."""
    if beyond := sorted(scopes - manager.scopes):
        raise Forbidden(f"Your own client lacks the scope {beyond[0]}, so it cannot pass it on.")


def _line(client: Client, now: int) -> ClientLine:
    return ClientLine(
        client_id=client.client_id,
        email=client.owner,
        scopes=sorted(client.scopes),
        state=client.state(now),
        created=iso_date(client.created_at),
        expires=None if client.expires_at is None else iso_date(client.expires_at),
    )


def _is_set(flag: bool | str | None) -> bool:
    return flag is True or flag == "true"


def _no_client() -> NotFound:
    return NotFound(
        "There is no such client in this app, or its owner has not connected yet.", code="client_not_found"
    )


_MANAGE = ("MANAGE_DB",)
OPERATIONS = (
    Operation(
        method="POST",
        path="/{app}/clients/connect",
        handler=connect_client,
        summary="Hands an API client to who has proven to manage the app",
        access="person",
        scopes=(CONNECT_CLIENT,),
        body=Connect,
        answer=ClientKeys,
        codes=("not_an_owner", "nothing_to_connect"),
    ),
    Operation(
        method="GET",
        path="/{app}/clients",
        handler=show_clients,
        summary="Lists the API clients, as the dexie-cloud command shows them",
        access="person",
        scopes=_MANAGE,
        answer=list[ClientLine],
    ),
    Operation(
        method="POST",
        path="/{app}/clients/add",
        handler=authorize_client,
        summary="Adds an API client, for its owner to connect or with its secret",
        access="person",
        scopes=_MANAGE,
        body=NewClient,
        answer=ClientAdded,
    ),
    Operation(
        method="POST",
        path="/{app}/clients/delete",
        handler=unauthorize_clients,
        summary="Revokes a client, or everything that belongs to an address",
        access="person",
        scopes=_MANAGE,
        body=WhichClients,
        answer=ClientsDeleted,
        codes=("conflict",),
    ),
    Operation(
        method="POST",
        path="/{app}/clients/rotate",
        handler=replace_client,
        summary="Puts a new client in the place of another, which goes on for some days",
        access="person",
        scopes=_MANAGE,
        body=Rotation,
        answer=Rotated,
        codes=("client_not_found",),
    ),
    Operation(
        method="POST",
        path="/{app}/whitelist",
        handler=change_whitelist,
        summary="Lists, adds or deletes allowed origins, as the dexie-cloud command does",
        access="person",
        scopes=_MANAGE,
        body=OriginChange,
        answer=list[str] | int,
    ),
)
