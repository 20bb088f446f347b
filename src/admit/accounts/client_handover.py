"""Clients that people fetch for themselves: authorised by a manager, connected by a mailed code, replaced.

So the `dexie-cloud` command has it. Whoever is to fetch a client proves the mailbox, and nobody else is told
its secret. A manager passes on no more than the manager's own client may do.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec
from sqlalchemy import bindparam, case, select, update

from admit.accounts.apps import App, mark_changed, remove_owner
from admit.accounts.clients import NewClient, add_without_secret, give_secret, parse_scopes
from admit.accounts.tables import clients, owners
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction

OWNER_SCOPES = frozenset(
    {"ACCESS_DB", "IMPERSONATE", "MANAGE_DB", "DELETE_DB", "GLOBAL_READ", "GLOBAL_WRITE"}
)
"""What the command asks for, and what an owner's client may do."""
CONNECT_CLIENT = "CONNECT_CLIENT"
"""The scope of a token by which somebody fetches a client. A mailed code earns it, for minutes."""

NOBODY_HERE = (
    "This address neither owns the app nor waits to be connected. "
    "Who manages the app can authorize it: dexie-cloud authorize EMAIL"
)

_LIVE = (clients.c.app_id == bindparam("app"), clients.c.revoked_at.is_(None))
_OWNED = (*_LIVE, clients.c.owner == bindparam("email"))

WAITING_CLIENT = (
    select(clients.c.client_id)
    .where(*_OWNED, clients.c.secret_digest == "")
    .order_by(clients.c.created_at.desc(), clients.c.client_id.desc())
    .limit(1)
)
IS_OWNER = select(owners.c.email).where(
    owners.c.app_id == bindparam("app"), owners.c.email == bindparam("email")
)
SCOPES_AND_OWNER = select(clients.c.scopes, clients.c.owner).where(
    *_LIVE, clients.c.client_id == bindparam("client"), clients.c.secret_digest != ""
)
END_CLIENT = (
    update(clients)
    .where(*_LIVE, clients.c.client_id == bindparam("client"))
    .values(
        expires_at=case(
            (clients.c.expires_at < bindparam("ends_at"), clients.c.expires_at), else_=bindparam("ends_at")
        )
    )
    .returning(clients.c.expires_at)
)
REVOKE_OWNED = update(clients).where(*_OWNED).values(revoked_at=bindparam("now"))

NotConnected = Literal["nobody_here", "nothing_waits"]
"""nobody_here: neither an owner nor authorised. nothing_waits: no client waits for this address."""


class Replacement(msgspec.Struct, frozen=True):
    """A client in the place of another, which ends at `former_ends_at` (UTC ms)."""

    client: NewClient
    former_ends_at: int


def authorize(tx: Transaction, app_id: str, email: str, scopes: Iterable[str], now: int) -> str:
    """Adds a client that waits until the owner of `email` connects, and returns its id.

    `email` is normalised. Raises NotFound, Conflict above CLIENTS_MAX, InvalidRequest as `parse_scopes` does.
    """
    wanted = parse_scopes(scopes)
    mark_changed(tx, app_id, now)
    return add_without_secret(tx, app_id, wanted, email, now)


def connect(
    tx: Transaction, ring: KeyRing, app_id: str, email: str, now: int, *, only_waiting: bool
) -> NewClient | NotConnected:
    """Hands a client to whoever has proven `email`: the newest that waits for them, or an owner's own.

    `only_waiting`: an owner does not get another one either. Raises NotFound, Conflict above CLIENTS_MAX.
    """
    mark_changed(tx, app_id, now)
    who = {"app": app_id, "email": email}
    client_id = tx.execute(WAITING_CLIENT, who).scalar_one_or_none()
    if client_id is None:
        if tx.execute(IS_OWNER, who).one_or_none() is None:
            return "nobody_here"
        if only_waiting:
            return "nothing_waits"
        client_id = add_without_secret(tx, app_id, OWNER_SCOPES, email, now)
    made = give_secret(tx, ring, app_id, client_id, now)
    assert made is not None
    return made


def replace(
    tx: Transaction, ring: KeyRing, app_id: str, client_id: str, now: int, *, ends_at: int
) -> Replacement | None:
    """Makes a client with the owner and scopes of another, which goes on until `ends_at`, or ends before.

    None: there is no such client, or it has no secret yet. Raises NotFound, Conflict above CLIENTS_MAX.
    """
    mark_changed(tx, app_id, now)
    former = tx.execute(SCOPES_AND_OWNER, {"app": app_id, "client": client_id}).one_or_none()
    if former is None:
        return None
    new_id = add_without_secret(tx, app_id, frozenset(former.scopes.split()), former.owner, now)
    made = give_secret(tx, ring, app_id, new_id, now)
    assert made is not None
    ended = tx.execute(END_CLIENT, {"app": app_id, "client": client_id, "ends_at": ends_at})
    return Replacement(made, ended.scalar_one())


def unauthorize(tx: Transaction, app_id: str, email: str, now: int) -> int | None:
    """Ends every client of `email`, and that it owns the app; returns how many clients it were.

    None, and nothing is changed: it is the only owner. Raises NotFound.
    """
    mark_changed(tx, app_id, now)
    who = {"app": app_id, "email": email}
    is_owner = tx.execute(IS_OWNER, who).one_or_none() is not None
    if is_owner and not remove_owner(tx, app_id, email, now):
        return None
    return tx.execute(REVOKE_OWNED, who | {"now": now}).rowcount


def may_connect(app: App, email: str) -> bool:
    """Whether the owner of `email` has a client to fetch: as an owner of the app, or one that waits."""
    waiting = {client.owner for client in app.clients.values() if not client.secret_digest}
    return email in app.owners or email in waiting
