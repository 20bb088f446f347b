"""Refreshes: whether a session may go on, decided on its row, and the repeats that honest clients send."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace
from sqlalchemy import bindparam, select, update

from admit.accounts import active_days, former_keys
from admit.accounts.former_keys import FormerKey
from admit.accounts.keys import PublicKey
from admit.accounts.sessions import SESSION_COLUMNS, Session, session_of
from admit.accounts.tables import sessions, users
from admit.accounts.users import USER_COLUMNS, Key, User, by_uid, user_of
from admit.storage.lookups import Lookup
from admit.storage.rows import Change
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
KEEP_KEY = Change(
    sessions,
    (sessions.c.app_id, sessions.c.session_id),
    (sessions.c.public_key, sessions.c.key_thumbprint),
)


class Refresh(msgspec.Struct, frozen=True, kw_only=True):
    """A refresh with a signature of the key with this thumbprint; `time_stamp` is what was signed.

    `new_key`: what the session's key is to be from now on. The signature says nothing of it.
    """

    app_id: str
    session_id: str
    key_thumbprint: str
    time_stamp: int
    now: int
    new_key: PublicKey | None = None


class Accepted(msgspec.Struct, frozen=True):
    """The session goes on. The user may be expired or deactivated: their license tells."""

    user: User
    session: Session


class NotAccepted(msgspec.Struct, frozen=True):
    """The session does not go on; nothing was changed.

    unknown: no such session, or its user was deleted. ended: locked or wiped. other_key: the signature is not
    of this session's key. past_end: refresh_until is over. stale: too far behind the newest time stamp.
    used: a new key was asked for under a time stamp that had been accepted before.
    """

    reason: Literal["unknown", "ended", "other_key", "past_end", "stale", "used"]


def accept_refresh(tx: Transaction, items: Sequence[Refresh]) -> list[Accepted | NotAccepted]:
    """Decides each refresh, keeps its time stamp against replays and counts the user's active day.

    In list form. A deactivated user is accepted too: only the license in the answer reaches their client.
    """
    _hold_renewals(tx, items)
    found, people = _found(tx, items)
    current = dict(found)
    former = former_keys.of_others(tx, [(_key(item), item.key_thumbprint) for item in items], found)
    outcomes: list[Session | NotAccepted] = []
    for item in items:
        outcome = _decide(current.get(_key(item)), former.get(_key(item)), item)
        if isinstance(outcome, Session):
            if outcome.key_thumbprint != (before := current[_key(item)]).key_thumbprint:
                former[_key(item)] = FormerKey.of(before, until=item.now + REPEAT_MS)
            current[_key(item)] = outcome
        outcomes.append(outcome)
    # Users before sessions, as logins lock them: two processes must not wait for each other.
    counted = active_days.count_days(tx, _seen(items, outcomes, people))
    changed = [session for key, session in sorted(current.items()) if session is not found[key]]
    _keep_stamps(tx, changed)
    renewed = [each for each in changed if each.key_thumbprint != found[_key(each)].key_thumbprint]
    _keep_keys(tx, renewed, former)
    return [_answer(outcome, people | counted) for outcome in outcomes]


def _hold_renewals(tx: Transaction, items: Sequence[Refresh]) -> None:
    """Holds the users whose sessions get a new key: of two renewals at once one is first, on any process."""
    renewals = [_key(item) for item in items if item.new_key is not None]
    if renewals:
        rows = SESSIONS_WITH_USERS.rows(tx, renewals)
        by_uid(tx, {(user.app_id, user.uid) for user in map(user_of, rows)}, lock=True)


def _found(tx: Transaction, items: Sequence[Refresh]) -> tuple[dict[Key, Session], dict[Key, User]]:
    """The sessions by (app_id, session_id), and their users by (app_id, uid)."""
    found: dict[Key, Session] = {}
    people: dict[Key, User] = {}
    for row in SESSIONS_WITH_USERS.rows(tx, map(_key, items)):
        user, session = user_of(row), session_of(row[len(USER_COLUMNS) :])
        found[session.app_id, session.session_id] = session
        people[user.app_id, user.uid] = user
    return found, people


def _decide(session: Session | None, former: FormerKey | None, item: Refresh) -> Session | NotAccepted:
    """The session as it goes on, or why it does not. Pure.

    The key before the last renewal may finish what it had begun: repeat its renewal, whose answer was lost,
    and refresh in another tab. It chooses no other key.
    """
    if session is None:
        return NotAccepted("unknown")
    if session.state != "ENROLLED":
        return NotAccepted("ended")
    is_former = former is not None and former.holds(item.key_thumbprint, item.now)
    if session.key_thumbprint != item.key_thumbprint and not is_former:
        return NotAccepted("other_key")
    if session.refresh_until <= item.now:
        return NotAccepted("past_end")
    if item.time_stamp < session.newest_stamp - REPEAT_MS:
        return NotAccepted("stale")
    is_new = item.time_stamp > session.newest_stamp
    if item.new_key is not None and item.new_key.thumbprint != session.key_thumbprint:
        if is_former:
            return NotAccepted("other_key")
        # A recorded request with a key added to it must not take the session over.
        if not is_new:
            return NotAccepted("used")
        session = replace(session, public_key=item.new_key.pem, key_thumbprint=item.new_key.thumbprint)
    return replace(session, newest_stamp=item.time_stamp) if is_new else session


def _seen(
    items: Sequence[Refresh], outcomes: Sequence[Session | NotAccepted], people: Mapping[Key, User]
) -> list[tuple[User, int]]:
    return [
        (people[outcome.app_id, outcome.uid], item.now)
        for item, outcome in zip(items, outcomes, strict=True)
        # An owner who looks at a person's data costs that person no day.
        if isinstance(outcome, Session) and outcome.actor is None
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


def _keep_keys(tx: Transaction, renewed: Sequence[Session], former: Mapping[Key, FormerKey]) -> None:
    rows = [(each.app_id, each.session_id, each.public_key, each.key_thumbprint) for each in renewed]
    tx.write(KEEP_KEY, rows)
    former_keys.keep(tx, [former[_key(each)] for each in renewed])


def _answer(outcome: Session | NotAccepted, people: Mapping[Key, User]) -> Accepted | NotAccepted:
    if isinstance(outcome, NotAccepted):
        return outcome
    user = people.get((outcome.app_id, outcome.uid))
    return NotAccepted("unknown") if user is None else Accepted(user, outcome)


def _key(item: Refresh | Session) -> Key:
    return item.app_id, item.session_id
