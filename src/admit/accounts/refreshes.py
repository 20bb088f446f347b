"""Refreshes: whether a session may go on, decided on its row, and the repeats that honest clients send."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace
from sqlalchemy import bindparam, case, update

from admit.accounts import active_days, former_keys
from admit.accounts.former_keys import FormerKey
from admit.accounts.keys import PublicKey
from admit.accounts.session_standing import End, end_of, tenants_by_key
from admit.accounts.sessions import Session
from admit.accounts.tables import sessions
from admit.accounts.users import Key, User, by_uid
from admit.storage.rows import Change
from admit.storage.transaction import Transaction

REPEAT_MS = 60_000
"""How far behind the newest accepted time a request may lie: two tabs send the same one, and clocks jump."""

# Two processes may accept at once, and one may end the session meanwhile; neither time goes back.
KEEP_STAMP = (
    update(sessions)
    .where(
        sessions.c.app_id == bindparam("of_app"),
        sessions.c.session_id == bindparam("of_session"),
        sessions.c.state == "ENROLLED",
        sessions.c.newest_stamp < bindparam("stamp"),
    )
    .values(
        newest_stamp=bindparam("stamp"),
        connected_at=case(
            (sessions.c.connected_at < bindparam("heard"), bindparam("heard")), else_=sessions.c.connected_at
        ),
    )
)
KEEP_KEY = Change(
    sessions,
    (sessions.c.app_id, sessions.c.session_id),
    (sessions.c.public_key, sessions.c.key_thumbprint),
)


class Refresh(msgspec.Struct, frozen=True, kw_only=True):
    """A refresh with a signature of the key with this thumbprint; `time_stamp` is what was signed.

    `new_key`: what the session's key is to be from now on. The signature says nothing of it.
    `session_idle_days`: the app's setting.
    """

    app_id: str
    session_id: str
    key_thumbprint: str
    time_stamp: int
    now: int
    new_key: PublicKey | None = None
    session_idle_days: int = 0


class Accepted(msgspec.Struct, frozen=True):
    """The session goes on. The user may be expired or deactivated: their license tells."""

    user: User
    session: Session


Reason = End | Literal["unknown", "other_key", "stale", "used"]


class NotAccepted(msgspec.Struct, frozen=True):
    """The session does not go on; nothing was changed.

    unknown: no such session, or its user was deleted. One of `End`: it was locked, wiped or has ended.
    other_key: the signature is not of this session's key. stale: too far behind the newest time stamp.
    used: a new key was asked for under a time stamp that had been accepted before.
    """

    reason: Reason


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
        outcome = _decide(current.get(_key(item)), people, former.get(_key(item)), item)
        if isinstance(outcome, Session):
            if outcome.key_thumbprint != (before := current[_key(item)]).key_thumbprint:
                former[_key(item)] = FormerKey.of(before, until=item.now + REPEAT_MS)
            current[_key(item)] = outcome
        outcomes.append(outcome)
    # Users before sessions, as logins lock them: two processes must not wait for each other.
    counted = active_days.count_days(tx, _seen(items, outcomes, people))
    changed = [session for key, session in sorted(current.items()) if session is not found[key]]
    overtaken = {} if _keep_stamps(tx, changed) else _ends_meanwhile(tx, items)
    renewed = [each for each in changed if each.key_thumbprint != found[_key(each)].key_thumbprint]
    _keep_keys(tx, renewed, former)
    people |= counted
    return [
        outcome
        if isinstance(outcome, NotAccepted)
        else overtaken.get(_key(outcome)) or _answer(outcome, people)
        for outcome in outcomes
    ]


def _hold_renewals(tx: Transaction, items: Sequence[Refresh]) -> None:
    """Holds the users whose sessions get a new key: of two renewals at once one is first, on any process."""
    renewals = [_key(item) for item in items if item.new_key is not None]
    if renewals:
        tenants = tenants_by_key(tx, renewals).values()
        by_uid(tx, {(tenant.user.app_id, tenant.user.uid) for tenant in tenants}, lock=True)


def _found(tx: Transaction, items: Sequence[Refresh]) -> tuple[dict[Key, Session], dict[Key, User]]:
    """The sessions by (app_id, session_id), and their users by (app_id, uid)."""
    tenants = tenants_by_key(tx, [_key(item) for item in items])
    found = {key: tenant.session for key, tenant in tenants.items()}
    return found, {(tenant.user.app_id, tenant.user.uid): tenant.user for tenant in tenants.values()}


def _decide(
    session: Session | None, people: Mapping[Key, User], former: FormerKey | None, item: Refresh
) -> Session | NotAccepted:
    """The session as it goes on, or why it does not. Pure.

    The key before the last renewal may finish what it had begun: repeat its renewal, whose answer was lost,
    and refresh in another tab. It chooses no other key.
    """
    if session is None:
        return NotAccepted("unknown")
    user = people[session.app_id, session.uid]
    if (end := end_of(session, user, now=item.now, idle_days=item.session_idle_days)) is not None:
        return NotAccepted(end)
    is_former = former is not None and former.holds(item.key_thumbprint, item.now)
    if session.key_thumbprint != item.key_thumbprint and not is_former:
        return NotAccepted("other_key")
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
    if not is_new:
        return session
    return replace(session, newest_stamp=item.time_stamp, connected_at=max(session.connected_at, item.now))


def _seen(
    items: Sequence[Refresh], outcomes: Sequence[Session | NotAccepted], people: Mapping[Key, User]
) -> list[tuple[User, int]]:
    return [
        (people[outcome.app_id, outcome.uid], item.now)
        for item, outcome in zip(items, outcomes, strict=True)
        # An owner who looks at a person's data costs that person no day.
        if isinstance(outcome, Session) and outcome.actor is None
    ]


def _keep_stamps(tx: Transaction, newer: Sequence[Session]) -> bool:
    """Writes what the sessions have accepted. False: another process has changed some of them meanwhile."""
    if not newer:
        return True
    rows = [
        {
            "of_app": each.app_id,
            "of_session": each.session_id,
            "stamp": each.newest_stamp,
            "heard": each.connected_at,
        }
        for each in newer
    ]
    return tx.execute(KEEP_STAMP, rows).rowcount == len(rows)


def _ends_meanwhile(tx: Transaction, items: Sequence[Refresh]) -> dict[Key, NotAccepted]:
    """Which sessions of `items` do not go on, now that who had changed them meanwhile has committed."""
    tenants = tenants_by_key(tx, [_key(item) for item in items])
    ends: dict[Key, NotAccepted] = {}
    for item in items:
        key = _key(item)
        if (tenant := tenants.get(key)) is None:
            ends[key] = NotAccepted("unknown")
        elif end := end_of(tenant.session, tenant.user, now=item.now, idle_days=item.session_idle_days):
            ends[key] = NotAccepted(end)
    return ends


def _keep_keys(tx: Transaction, renewed: Sequence[Session], former: Mapping[Key, FormerKey]) -> None:
    rows = [(each.app_id, each.session_id, each.public_key, each.key_thumbprint) for each in renewed]
    tx.write(KEEP_KEY, rows)
    former_keys.keep(tx, [former[_key(each)] for each in renewed])


def _answer(outcome: Session, people: Mapping[Key, User]) -> Accepted | NotAccepted:
    user = people.get((outcome.app_id, outcome.uid))
    return NotAccepted("unknown") if user is None else Accepted(user, outcome)


def _key(item: Refresh | Session) -> Key:
    return item.app_id, item.session_id
