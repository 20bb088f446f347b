"""Refreshes: whether a session may go on, decided on its row, and the repeats that honest clients send."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace
from sqlalchemy import bindparam, select, update

from admit.accounts import active_days
from admit.accounts.sessions import SESSION_COLUMNS, Session, session_of
from admit.accounts.tables import sessions, users
from admit.accounts.users import USER_COLUMNS, Key, User, user_of
from admit.storage.lookups import Lookup
from admit.storage.transaction import Transaction

REPEAT_MS = 60_000
"""How far behind the newest accepted time a request may lie: two tabs send the same one, and clocks jump."""

SESSIONS_WITH_USERS = Lookup(
    select(*USER_COLUMNS, *SESSION_COLUMNS).join_from(
        sessions, users, (users.c.app_id == sessions.c.app_id) & (users.c.uid == sessions.c.uid)
    ),
    (sessions.c.app_id, sessions.c.session_id),
)
# Two processes may accept at once; the stamp never goes back.
KEEP_STAMP = (
    update(sessions)
    .where(
        sessions.c.app_id == bindparam("of_app"),
        sessions.c.session_id == bindparam("of_session"),
        sessions.c.newest_stamp < bindparam("stamp"),
    )
    .values(newest_stamp=bindparam("stamp"))
)


class Refresh(msgspec.Struct, frozen=True, kw_only=True):
    """A refresh with a signature of the key with this thumbprint; `time_stamp` is what was signed."""

    app_id: str
    session_id: str
    key_thumbprint: str
    time_stamp: int
    now: int


class Accepted(msgspec.Struct, frozen=True):
    """The session goes on. The user may be expired or deactivated: their license tells."""

    user: User
    session: Session


class NotAccepted(msgspec.Struct, frozen=True):
    """The session does not go on; nothing was changed.

    unknown: no such session, or its user was deleted. ended: locked or wiped. other_key: the signature is not
    of this session's key. past_end: refresh_until is over. stale: too far behind the newest time stamp.
    """

    reason: Literal["unknown", "ended", "other_key", "past_end", "stale"]


def accept_refresh(tx: Transaction, items: Sequence[Refresh]) -> list[Accepted | NotAccepted]:
    """Decides each refresh, keeps its time stamp against replays and counts the user's active day.

    In list form. A deactivated user is accepted too: only the license in the answer reaches their client.
    """
    found, people = _found(tx, items)
    current = dict(found)
    outcomes: list[Session | NotAccepted] = []
    for item in items:
        outcome = _decide(current.get(_key(item)), item)
        if isinstance(outcome, Session):
            current[_key(item)] = outcome
        outcomes.append(outcome)
    # Users before sessions, as logins lock them: two processes must not wait for each other.
    counted = active_days.count_days(tx, _seen(items, outcomes, people))
    _keep_stamps(tx, [session for key, session in sorted(current.items()) if session is not found[key]])
    return [_answer(outcome, counted) for outcome in outcomes]


def _found(tx: Transaction, items: Sequence[Refresh]) -> tuple[dict[Key, Session], dict[Key, User]]:
    """The sessions by (app_id, session_id), and their users by (app_id, uid)."""
    found: dict[Key, Session] = {}
    people: dict[Key, User] = {}
    for row in SESSIONS_WITH_USERS.rows(tx, map(_key, items)):
        user, session = user_of(row), session_of(row[len(USER_COLUMNS) :])
        found[session.app_id, session.session_id] = session
        people[user.app_id, user.uid] = user
    return found, people


def _decide(session: Session | None, item: Refresh) -> Session | NotAccepted:
    """The session as it goes on, or why it does not. Pure."""
    if session is None:
        return NotAccepted("unknown")
    if session.state != "ENROLLED":
        return NotAccepted("ended")
    if session.key_thumbprint != item.key_thumbprint:
        return NotAccepted("other_key")
    if session.refresh_until <= item.now:
        return NotAccepted("past_end")
    if item.time_stamp < session.newest_stamp - REPEAT_MS:
        return NotAccepted("stale")
    if item.time_stamp <= session.newest_stamp:
        return session
    return replace(session, newest_stamp=item.time_stamp)


def _seen(
    items: Sequence[Refresh], outcomes: Sequence[Session | NotAccepted], people: Mapping[Key, User]
) -> list[tuple[User, int]]:
    return [
        (people[outcome.app_id, outcome.uid], item.now)
        for item, outcome in zip(items, outcomes, strict=True)
        if isinstance(outcome, Session)
    ]


def _keep_stamps(tx: Transaction, newer: Sequence[Session]) -> None:
    if newer:
        tx.execute(
            KEEP_STAMP,
            [
                {"of_app": each.app_id, "of_session": each.session_id, "stamp": each.newest_stamp}
                for each in newer
            ],
        )


def _answer(outcome: Session | NotAccepted, people: Mapping[Key, User]) -> Accepted | NotAccepted:
    if isinstance(outcome, NotAccepted):
        return outcome
    user = people.get((outcome.app_id, outcome.uid))
    return NotAccepted("unknown") if user is None else Accepted(user, outcome)


def _key(item: Refresh) -> Key:
    return item.app_id, item.session_id
