"""API clients of an app: programs that hold a secret and may do what their scopes say."""

from collections.abc import Iterable

import msgspec
from sqlalchemy import bindparam, case, func, insert, select, update

from admit import clock
from admit.accounts.apps import Client, mark_changed
from admit.accounts.domains import parse_owner
from admit.accounts.tables import clients
from admit.errors import Conflict, InvalidRequest
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction

SCOPES = frozenset(
    {
        "ACCESS_DB",
        "IMPERSONATE",
        "MANAGE_DB",
        "GLOBAL_READ",
        "GLOBAL_WRITE",
        "DELETE_DB",
        "LOGIN",
        "CONNECT_CLIENT",
    }
)
CLIENTS_MAX = 200
SECRET_PREFIX = "acs_"  # noqa: S105  (so that scanners of leaked secrets know ours)

ADD_CLIENT = insert(clients)
COUNT_CLIENTS = (
    select(func.count())
    .select_from(clients)
    .where(clients.c.app_id == bindparam("app"), clients.c.revoked_at.is_(None))
)
REVOKE_CLIENT = (
    update(clients)
    .where(
        clients.c.app_id == bindparam("app"),
        clients.c.client_id == bindparam("client"),
        clients.c.revoked_at.is_(None),
    )
    .values(revoked_at=bindparam("now"))
)
CHANGE_SECRET = (
    update(clients)
    .where(
        clients.c.app_id == bindparam("app"),
        clients.c.client_id == bindparam("client"),
        clients.c.revoked_at.is_(None),
    )
    .values(
        secret_digest=bindparam("digest"),
        # Always later than before, whatever the clocks of two servers say: tokens are told apart by it.
        secret_changed_at=case(
            (
                (clients.c.secret_digest != "") & (clients.c.secret_changed_at >= bindparam("now")),
                clients.c.secret_changed_at + 1,
            ),
            else_=bindparam("now"),
        ),
    )
    .returning(clients.c.scopes)
)

_PURPOSE = "client-secret"
_NOBODY = "A" * 43
"""Stands for the digest of a client that does not exist: no secret has it."""


class NewClient(msgspec.Struct, frozen=True, kw_only=True):
    """A client right after its creation or rotation: the only moment in which its secret can be read."""

    client_id: str
    client_secret: str
    scopes: frozenset[str]

    def __repr__(self) -> str:
        return f"NewClient({self.client_id!r})"


def parse_scopes(scopes: Iterable[str]) -> frozenset[str]:
    """The scopes of a client. Raises InvalidRequest for one that we do not know, and for none at all."""
    wanted = frozenset(scopes)
    if unknown := sorted(wanted - SCOPES):
        raise InvalidRequest(f"{unknown[0][:40]!r} is not a scope. There are: {', '.join(sorted(SCOPES))}.")
    if not wanted:
        raise InvalidRequest("A client without scopes can do nothing. Give it one, such as ACCESS_DB.")
    return wanted


def create_client(
    tx: Transaction, ring: KeyRing, app_id: str, scopes: Iterable[str], owner: str | None, now: int
) -> NewClient:
    """Creates a client. `owner`: an email address, or None. Raises NotFound, Conflict above CLIENTS_MAX.

    Raises InvalidRequest for what `parse_scopes` and `parse_owner` refuse: doors ask them first.
    """
    wanted = parse_scopes(scopes)
    owner = parse_owner(owner) if owner is not None else None
    mark_changed(tx, app_id, now)
    client_id = add_without_secret(tx, app_id, wanted, owner, now)
    made = give_secret(tx, ring, app_id, client_id, now)
    assert made is not None
    return made


def add_without_secret(
    tx: Transaction, app_id: str, scopes: frozenset[str], owner: str | None, now: int
) -> str:
    """Adds a client that can do nothing until it is given a secret, and returns its id.

    For units that have marked the app as changed. Raises Conflict above CLIENTS_MAX.
    """
    if tx.execute(COUNT_CLIENTS, {"app": app_id}).scalar_one() >= CLIENTS_MAX:
        raise Conflict(f"An app has at most {CLIENTS_MAX} clients. Revoke one first.")
    client_id = clock.new_id("cli")
    row = {
        "app_id": app_id,
        "client_id": client_id,
        "secret_digest": "",
        "scopes": " ".join(sorted(scopes)),
        "owner": owner,
        "created_at": now,
        "secret_changed_at": now,
        "expires_at": None,
        "revoked_at": None,
    }
    tx.execute(ADD_CLIENT, row)
    return client_id


def rotate_client(tx: Transaction, ring: KeyRing, app_id: str, client_id: str, now: int) -> NewClient | None:
    """Gives the client a new secret; the former one ends at once. None: no such client. Raises NotFound."""
    mark_changed(tx, app_id, now)
    return give_secret(tx, ring, app_id, client_id, now)


def give_secret(tx: Transaction, ring: KeyRing, app_id: str, client_id: str, now: int) -> NewClient | None:
    """Gives the client a secret in the place of what it had. None: no such client.

    For units that have marked the app as changed.
    """
    secret = clock.new_secret(SECRET_PREFIX)
    digest = ring.digest(_PURPOSE, _bound(client_id, secret))
    which = {"app": app_id, "client": client_id, "digest": digest, "now": now}
    row = tx.execute(CHANGE_SECRET, which).one_or_none()
    if row is None:
        return None
    return NewClient(client_id=client_id, client_secret=secret, scopes=frozenset(row.scopes.split()))


def revoke_client(tx: Transaction, app_id: str, client_id: str, now: int) -> bool:
    """Ends the client and every token that carries its id. False: no such client. Raises NotFound."""
    mark_changed(tx, app_id, now)
    return tx.execute(REVOKE_CLIENT, {"app": app_id, "client": client_id, "now": now}).rowcount == 1


def check_secret(ring: KeyRing, client: Client | None, secret: str) -> bool:
    """Whether `secret` is the client's. Takes as long for no client at all, so that ids cannot be guessed."""
    if client is None:
        return ring.matches(_PURPOSE, _bound(_NOBODY, secret), _NOBODY) and False
    return ring.matches(_PURPOSE, _bound(client.client_id, secret), client.secret_digest)


def _bound(client_id: str, secret: str) -> str:
    """A digest holds for its own row only: copied to another client's it matches nothing."""
    return f"{client_id}/{secret}"
