"""Sessions as they are stored: one enrollment of a user on a device."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import bindparam, select

from admit.accounts.tables import sessions
from admit.accounts.users import Key
from admit.storage.lookups import Lookup
from admit.storage.transaction import Transaction

State = Literal["ENROLLED", "LOCKED", "RESET"]
Reason = Literal[
    "",
    "locked",
    "user_locked",
    "device_limit",
    "reauthenticate",
    "wiped",
    "logged_out",
    "replaced",
    "expired",
    "inactive",
]
"""Why a session is not ENROLLED; "" while it is. The first four can be taken back, the others last."""


class Session(msgspec.Struct, frozen=True):
    """One enrollment; the fields are the columns of the table. `ordinal` counts those of a user on a device.

    `public_key` is the PEM whose owner may refresh until `refresh_until`. `client_id` is the API client that
    vouched for the user, if one did, `actor` the owner who signed in as the user, if one did. `newest_stamp`
    is the newest `time_stamp` of an accepted refresh. `signed_out_at` is when it last stopped being ENROLLED,
    and stays when it is ENROLLED again. `wiped_at`: when the device said that it has erased what it held.
    """

    app_id: str
    session_id: str
    uid: str
    device_id: str
    ordinal: int
    state: State
    reason: Reason
    public_key: str
    key_thumbprint: str
    client_id: str | None
    actor: str | None
    scopes: str
    created_at: int
    authenticated_at: int
    signed_out_at: int | None
    refresh_until: int
    newest_stamp: int
    connected_at: int
    wiped_at: int | None

    @property
    def key(self) -> str:
        """The key of the signal "session": who serves this session looks again."""
        return f"{self.app_id}/{self.session_id}"


SESSION_COLUMNS = tuple(sessions.c[name] for name in Session.__struct_fields__)

FIND_EACH = Lookup(select(*SESSION_COLUMNS), (sessions.c.app_id, sessions.c.session_id))
# Refreshes hold no user, but these rows in this order.
HOLD = Lookup(select(*SESSION_COLUMNS), (sessions.c.app_id, sessions.c.session_id), lock=True)
FIND = select(*SESSION_COLUMNS).where(
    sessions.c.app_id == bindparam("app"), sessions.c.session_id == bindparam("session")
)


def find(tx: Transaction, app_id: str, session_id: str) -> Session | None:
    """The session, whatever its state; None if there is none, or its user was deleted."""
    row = tx.execute(FIND, {"app": app_id, "session": session_id}).one_or_none()
    return None if row is None else session_of(row)


def find_each(tx: Transaction, keys: list[Key]) -> list[Session | None]:
    """The sessions of (app_id, session_id), as `find` has them. List form."""
    found = {(row[0], row[1]): session_of(row) for row in FIND_EACH.rows(tx, keys)}
    return [found.get(key) for key in keys]


def hold(tx: Transaction, keys: Iterable[Key]) -> list[Session]:
    """The sessions of (app_id, session_id) as they are, and stay until the transaction ends."""
    return [session_of(row) for row in HOLD.rows(tx, keys)]


def session_of(row: Sequence[Any]) -> Session:
    """The session in a row of SESSION_COLUMNS."""
    return Session(*row)
