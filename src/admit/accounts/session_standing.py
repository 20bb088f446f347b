"""Whether a session goes on, and what its device is told where it does not."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import select

from admit.accounts.sessions import SESSION_COLUMNS, Session, session_of
from admit.accounts.tables import sessions, users
from admit.accounts.users import USER_COLUMNS, Key, User, user_of
from admit.clock import DAY_MS
from admit.storage.lookups import Lookup
from admit.storage.transaction import Transaction

End = Literal["session_locked", "session_wiped", "reauthentication_required", "session_ended"]
"""Why a session does not go on: the code that its device is answered with."""

SENTENCES: Mapping[End, str] = {
    "session_locked": "This device is locked. Ask the people who run this app.",
    "session_wiped": "This device was reset. Erase what this app has stored on it, then sign in again.",
    "reauthentication_required": "Sign in again to go on.",
    "session_ended": "This session has ended. Sign in again.",
}

RECLAIMABLE = frozenset({"locked", "user_locked", "device_limit", "reauthenticate"})
"""Reasons for which a session is LOCKED that can be taken back."""

SESSIONS_WITH_USERS = Lookup(
    select(*USER_COLUMNS, *SESSION_COLUMNS).join_from(
        sessions, users, (users.c.app_id == sessions.c.app_id) & (users.c.uid == sessions.c.uid)
    ),
    (sessions.c.app_id, sessions.c.session_id),
)


class Tenant(msgspec.Struct, frozen=True):
    """A session and whose it is, at one moment."""

    user: User
    session: Session


def end_of(session: Session, user: User, *, now: int, idle_days: int) -> End | None:
    """Why the session does not go on; None: it does. Pure.

    `idle_days`: after so many days without a sign of life it ends; 0 means never. Whose user is locked is
    held up whatever the row of the session says yet.
    """
    if session.state == "RESET":
        return "session_wiped"
    if is_over(session):
        return "session_ended"
    if user.locked_at is not None:
        return "session_locked"
    if session.state == "LOCKED":
        return "reauthentication_required" if session.reason == "reauthenticate" else "session_locked"
    return None if goes_on(session, now=now, idle_days=idle_days) else "session_ended"


def goes_on(session: Session, *, now: int, idle_days: int) -> bool:
    """Whether an ENROLLED session can still be refreshed, also where nobody has told its end yet. Pure."""
    return session.refresh_until > now and not is_idle(session.connected_at, now=now, idle_days=idle_days)


def is_over(session: Session) -> bool:
    """Whether the session can neither go on nor be made to. Pure."""
    return session.state != "ENROLLED" and session.reason not in RECLAIMABLE


def is_idle(connected_at: int, *, now: int, idle_days: int) -> bool:
    """Whether nothing was heard for `idle_days` and longer; 0 means that it does not matter. Pure."""
    return idle_days > 0 and connected_at + idle_days * DAY_MS <= now


def find_tenants(tx: Transaction, keys: list[Key]) -> list[Tenant | None]:
    """The sessions of (app_id, session_id) with their users; None: there is none any more. List form."""
    found = tenants_by_key(tx, keys)
    return [found.get(key) for key in keys]


def tenants_by_key(tx: Transaction, keys: Sequence[Key]) -> dict[Key, Tenant]:
    """Like `find_tenants`; who is unknown is absent."""
    return {
        (tenant.session.app_id, tenant.session.session_id): tenant
        for tenant in map(_tenant_of, SESSIONS_WITH_USERS.rows(tx, keys))
    }


def _tenant_of(row: Sequence[Any]) -> Tenant:
    return Tenant(user_of(row), session_of(row[len(USER_COLUMNS) :]))
