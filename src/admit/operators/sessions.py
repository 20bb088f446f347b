"""Sessions of operators: a cookie whose keyed digest is looked up at every request, so that an end holds."""

import base64
from typing import Any, Literal

import msgspec
from sqlalchemy import and_, bindparam, delete, insert, select, update

from admit import clock
from admit.clock import DAY_MS, HOUR_MS, MINUTE_MS
from admit.errors import Unauthorized
from admit.operators.people import HOUSE, PASSKEYS, Operator, operator_of
from admit.operators.roles import scopes_of
from admit.operators.tables import operator_sessions, operators
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction

IDLE_MS = 12 * HOUR_MS
LIFE_MS = 7 * DAY_MS
SEEN_EVERY_MS = MINUTE_MS
RECENT_MS = 10 * MINUTE_MS
"""How long ago operators may have proved who they are when they change what lets them in."""
COOKIE_CHARACTERS_MAX = 100
USER_AGENT_CHARACTERS_MAX = 200
SESSIONS_MAX = 500

COOKIE = "admit-operator"

Method = Literal["link", "passkey", "password", "sso"]

_SESSION = "operator-session"
_CSRF = "operator-csrf"

_LIVE = and_(
    operator_sessions.c.seen_at > bindparam("idle"), operator_sessions.c.created_at > bindparam("old")
)
ADD_SESSION = insert(operator_sessions)
FIND_SESSION = (
    select(
        operators,
        PASSKEYS,
        operator_sessions.c.session_id,
        operator_sessions.c.created_at.label("authenticated_at"),
        operator_sessions.c.seen_at,
    )
    .join(operator_sessions, operator_sessions.c.operator_id == operators.c.operator_id)
    .where(
        operator_sessions.c.digest.in_(bindparam("digests", expanding=True)),
        operators.c.deactivated_at.is_(None),
        _LIVE,
    )
)
IS_ALIVE = select(operator_sessions.c.session_id).where(
    operator_sessions.c.session_id == bindparam("session"), _LIVE
)
NOTE_SEEN = (
    update(operator_sessions)
    .where(
        operator_sessions.c.session_id == bindparam("session"), operator_sessions.c.seen_at < bindparam("now")
    )
    .values(seen_at=bindparam("now"))
)
_LISTED = (
    select(operator_sessions, operators.c.email)
    .join(operators, operators.c.operator_id == operator_sessions.c.operator_id)
    .where(_LIVE)
    .order_by(operator_sessions.c.seen_at.desc(), operator_sessions.c.session_id.desc())
    .limit(SESSIONS_MAX)
)
LIST_ALL = _LISTED
LIST_OF_OPERATOR = _LISTED.where(operator_sessions.c.operator_id == bindparam("operator"))
END_SESSION = delete(operator_sessions).where(operator_sessions.c.session_id == bindparam("session"))
PRUNE_SESSIONS = delete(operator_sessions).where(
    operator_sessions.c.session_id.in_(
        select(operator_sessions.c.session_id)
        .where(operator_sessions.c.seen_at <= bindparam("idle"))
        .limit(bindparam("most"))
    )
)


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks. `csrf` stands in each of their forms; `authenticated_at`: when they proved who they are."""

    operator: Operator
    session_id: str
    csrf: str
    scopes: frozenset[str]
    authenticated_at: int

    def recent(self, now: int) -> bool:
        """Whether that is recent enough to change what lets them in."""
        return now - self.authenticated_at <= RECENT_MS


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One browser in which an operator is signed in."""

    session_id: str
    operator_id: str
    email: str
    method: Method
    address: str
    user_agent: str
    created_at: int
    seen_at: int


def cookie_name(public_url: str) -> str:
    """The cookie's name: one that begins with __Host- stays with this host (RFC 6265bis §4.1.3)."""
    return f"__Host-{COOKIE}" if public_url.startswith("https:") else COOKIE


def open_session(
    tx: Transaction,
    ring: KeyRing,
    operator_id: str,
    *,
    method: Method,
    address: str,
    user_agent: str,
    now: int,
) -> str:
    """Opens a session and returns the value of its cookie: a new one, whatever the browser has brought."""
    cookie = clock.new_secret()
    tx.execute(
        ADD_SESSION,
        {
            "session_id": clock.new_id("ops"),
            "operator_id": operator_id,
            "digest": ring.digest(_SESSION, cookie),
            "method": method,
            "address": address,
            "user_agent": user_agent[:USER_AGENT_CHARACTERS_MAX],
            "created_at": now,
            "seen_at": now,
        },
    )
    return cookie


async def find_session(
    db: Database, ring: KeyRing, cookie: str, now: int, *, keep: bool = True
) -> SignedIn | None:
    """Who is signed in by `cookie` at `now`. None: unknown, ended, idle for too long, too old, sent away.

    Not `keep`: it is only looked at, such as by a page that nobody may sit in front of, and goes on idling.
    """
    if not cookie.isascii() or not 0 < len(cookie) <= COOKIE_CHARACTERS_MAX:
        return None
    wanted: dict[str, Any] = {"digests": ring.digests(_SESSION, cookie), **_since(now)}
    row = await db.read(lambda tx: tx.execute(FIND_SESSION, wanted).one_or_none())
    if row is None:
        return None
    if keep and now - row.seen_at >= SEEN_EVERY_MS:
        session_id = row.session_id
        await db.write(lambda tx: tx.execute(NOTE_SEEN, {"session": session_id, "now": now}).rowcount)
    operator = operator_of(row)
    return SignedIn(
        operator=operator,
        session_id=row.session_id,
        csrf=_csrf(ring, row.session_id),
        scopes=scopes_of(operator.role),
        authenticated_at=row.authenticated_at,
    )


def require_alive(tx: Transaction, session_id: str, now: int) -> None:
    """Raises Unauthorized where a session has ended while what it asked for was being prepared.

    Nobody is sent away until the unit is over.
    """
    tx.hold([HOUSE])
    if tx.execute(IS_ALIVE, {"session": session_id, **_since(now)}).first() is None:
        raise Unauthorized("You are signed out. Sign in and try again.")


def list_sessions(tx: Transaction, now: int, operator_id: str | None = None) -> list[Session]:
    """The sessions that live, of one operator or of all: those seen last come first."""
    if operator_id is None:
        rows = tx.execute(LIST_ALL, _since(now))
    else:
        rows = tx.execute(LIST_OF_OPERATOR, {"operator": operator_id, **_since(now)})
    return [Session(**{name: getattr(row, name) for name in Session.__struct_fields__}) for row in rows]


def end_session(tx: Transaction, session_id: str) -> bool:
    """Ends a session at once. False: there is none."""
    return tx.execute(END_SESSION, {"session": session_id}).rowcount == 1


def prune(tx: Transaction, now: int, rows_max: int) -> int:
    """Forgets at most `rows_max` sessions that nobody has used for too long; returns how many it were."""
    return tx.execute(PRUNE_SESSIONS, {"idle": now - IDLE_MS, "most": rows_max}).rowcount


def _csrf(ring: KeyRing, session_id: str) -> str:
    return base64.urlsafe_b64encode(ring.mac(_CSRF, session_id.encode())).rstrip(b"=").decode()


def _since(now: int) -> dict[str, int]:
    return {"idle": now - IDLE_MS, "old": now - LIFE_MS}
