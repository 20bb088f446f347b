"""What becomes of a session after it was opened: locked, unlocked, wiped, ended, one or all of a user's.

Each change is one unit with its event and its signal, and done twice it is done once.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, assert_never

import msgspec
from msgspec.structs import replace
from sqlalchemy import Select, bindparam, exists, select, tuple_, update

from admit.accounts import facts, sessions, users
from admit.accounts.session_moves import device_of, hold_user, hold_with_user, move, move_one, owner_of
from admit.accounts.session_standing import is_over
from admit.accounts.sessions import Session
from admit.accounts.tables import sessions as sessions_table
from admit.accounts.tables import users as users_table
from admit.accounts.users import Key, User
from admit.errors import Conflict, NotFound
from admit.events.catalog import UserLocked, UserUnlocked
from admit.storage.database import Database
from admit.storage.transaction import Transaction

SLICE_SESSIONS = 500

CONFIRM = (
    update(sessions_table)
    .where(
        sessions_table.c.app_id == bindparam("of_app"),
        sessions_table.c.session_id == bindparam("of_session"),
    )
    .values(wiped_at=bindparam("at"), newest_stamp=bindparam("stamp"))
)
LATER = select(
    exists().where(
        sessions_table.c.app_id == bindparam("app"),
        sessions_table.c.uid == bindparam("uid"),
        sessions_table.c.device_id == bindparam("device"),
        sessions_table.c.ordinal > bindparam("ordinal"),
        sessions_table.c.actor.is_not_distinct_from(bindparam("actor")),
    )
)
MARK_LOCKED = (
    update(users_table)
    .where(users_table.c.app_id == bindparam("of_app"), users_table.c.uid == bindparam("of_uid"))
    .values(locked_at=bindparam("at"))
)
_AGE = sessions_table.c.created_at, sessions_table.c.session_id
# In the order of the index of a user's sessions; in any other, the plan might read all sessions of the app.
_SOME = (
    select(sessions_table.c.app_id, *_AGE)
    .where(sessions_table.c.app_id == bindparam("app"), sessions_table.c.uid == bindparam("uid"))
    .order_by(*_AGE)
    .limit(SLICE_SESSIONS)
)
SOME_ENROLLED = _SOME.where(
    tuple_(*_AGE) > tuple_(bindparam("after_created"), bindparam("after_session")),
    sessions_table.c.state == "ENROLLED",
    sessions_table.c.actor.is_(None),
)
SOME_LOCKED_WITH_USER = _SOME.where(sessions_table.c.reason == "user_locked")


class NotMoved(msgspec.Struct, frozen=True):
    """Why a session did not become what was asked for. Nothing was changed; `refusal_of` says it in words."""

    reason: Literal["session_not_found", "session_over", "user_locked"]


After = tuple[int, str]
"""created_at and session_id of the last session that was done."""


class More(msgspec.Struct, frozen=True):
    """Some of the user's many sessions are done; go on behind `after`."""

    after: After


class Done(msgspec.Struct, frozen=True):
    """It is done for all sessions of the user."""


class Unknown(msgspec.Struct, frozen=True):
    """There is no such user."""


Slice = More | Done | Unknown


# One session, by an operator


def lock(tx: Transaction, app_id: str, session_id: str, now: int) -> Session | NotMoved:
    """Locks a session until it is unlocked.

    One that is locked with its user, or for the limit of devices, is from now on locked by itself.
    """
    return _lock_for(tx, app_id, session_id, now, "locked")


def reauthenticate(tx: Transaction, app_id: str, session_id: str, now: int) -> Session | NotMoved:
    """Locks a session until its person has proven anew who they are."""
    return _lock_for(tx, app_id, session_id, now, "reauthenticate")


def unlock(tx: Transaction, app_id: str, session_id: str, now: int) -> Session | NotMoved:
    """Lets a locked session go on, unless its device has been enrolled anew since, or its user is locked."""
    if (found := hold_with_user(tx, app_id, session_id)) is None:
        return NotMoved("session_not_found")
    user, session = found
    if session.state == "ENROLLED":
        return session
    if is_over(session):
        return NotMoved("session_over")
    if user.locked_at is not None:
        return NotMoved("user_locked")
    if _is_followed(tx, session):
        return NotMoved("session_over")
    return move_one(tx, user, session, "ENROLLED", "", now)


def wipe(tx: Transaction, app_id: str, session_id: str, now: int) -> Session | NotMoved:
    """Ends a session for good, whatever its state: its device is to erase what it holds."""
    if (found := hold_with_user(tx, app_id, session_id)) is None:
        return NotMoved("session_not_found")
    user, session = found
    return session if session.state == "RESET" else move_one(tx, user, session, "RESET", "wiped", now)


def refusal_of(refused: NotMoved) -> NotFound | Conflict:
    """The error that tells why nothing was changed. Raised outside of the unit: inside, others would pay."""
    match refused.reason:
        case "session_not_found":
            return NotFound("There is no such session in this app.", code="session_not_found")
        case "session_over":
            return Conflict(
                "This session is over, or its device has been enrolled anew since.", code="session_over"
            )
        case "user_locked":
            return Conflict("The user of this session is locked. Unlock the user.", code="user_locked")
        case _:
            assert_never(refused.reason)


def _lock_for(
    tx: Transaction, app_id: str, session_id: str, now: int, reason: Literal["locked", "reauthenticate"]
) -> Session | NotMoved:
    if (found := hold_with_user(tx, app_id, session_id)) is None:
        return NotMoved("session_not_found")
    user, session = found
    if session.reason == reason:
        return session
    return (
        NotMoved("session_over") if is_over(session) else move_one(tx, user, session, "LOCKED", reason, now)
    )


# One session, by its device


def sign_out(
    tx: Transaction, app_id: str, session_id: str, now: int, *, time_stamp: int
) -> Literal["done", "used"]:
    """The device leaves: its session has ended, unless it had already, or there is none.

    `time_stamp`: what the device has signed. used: it was accepted before, so that a recorded refresh ends
    nothing.
    """
    found = hold_with_user(tx, app_id, session_id)
    if found is None or is_over(found[1]):
        return "done"
    user, session = found
    if _was_accepted(session, time_stamp):
        return "used"
    move_one(tx, user, session, "LOCKED", "logged_out", now)
    return "done"


def confirm_wipe(
    tx: Transaction, app_id: str, session_id: str, now: int, *, time_stamp: int
) -> Literal["confirmed", "not_wiped", "used"]:
    """The device says that it has erased what it held. Told once; said again, it changes nothing.

    `time_stamp` and used: as for `sign_out`.
    """
    found = hold_with_user(tx, app_id, session_id)
    if found is None or found[1].state != "RESET":
        return "not_wiped"
    user, session = found
    if session.wiped_at is not None:
        return "confirmed"
    if _was_accepted(session, time_stamp):
        return "used"
    tx.execute(CONFIRM, {"of_app": app_id, "of_session": session_id, "at": now, "stamp": time_stamp})
    facts.record_wiped(tx, user, device_of(tx, session), session, now)
    return "confirmed"


# One session or many, by time or by anybody


def end(
    tx: Transaction,
    app_id: str,
    session_id: str,
    now: int,
    reason: Literal["logged_out", "expired", "inactive"],
) -> bool:
    """Ends a session, which then goes on never more. False: it was over, or there is none."""
    return end_each(tx, [(app_id, session_id)], now, reason, lambda session: not is_over(session)) == 1


def end_each(
    tx: Transaction,
    keys: Sequence[Key],
    now: int,
    reason: Literal["logged_out", "expired", "inactive"],
    is_due: Callable[[Session], bool],
) -> int:
    """Ends those of the sessions (app_id, session_id) that are due, once they are held; says how many.

    At most SLICE_SESSIONS in one unit.
    """
    found = [session for session in sessions.find_each(tx, list(keys)) if session is not None]
    people = users.by_uid(tx, {(session.app_id, session.uid) for session in found}, lock=True)
    due = [session for session in sessions.hold(tx, keys) if owner_of(session) in people and is_due(session)]
    return len(move(tx, people, due, "LOCKED", reason, now))


# All sessions of a user


async def lock_user(db: Database, app_id: str, uid: str, now: int) -> None:
    """Locks a user out of every device. Raises NotFound (user_not_found).

    The user is locked first, which keeps them out everywhere; their sessions follow slice by slice, so that
    others pass. Whoever was interrupted can simply call again.
    """
    after: After | None = None
    while True:
        unit = partial(lock_user_slice, app_id=app_id, uid=uid, now=now, after=after)
        match await db.write(unit, patient=True):
            case More(after=after):
                continue
            case Done():
                return
            case Unknown():
                raise _no_such_user()


async def unlock_user(db: Database, app_id: str, uid: str, now: int) -> None:
    """Gives back what `lock_user` took, and only that. Raises NotFound (user_not_found).

    The user comes last, so that nobody enrolls anew on a device whose session is about to go on.
    """
    while True:
        match await db.write(partial(unlock_user_slice, app_id=app_id, uid=uid, now=now), patient=True):
            case More():
                continue
            case Done():
                return
            case Unknown():
                raise _no_such_user()


def lock_user_slice(tx: Transaction, app_id: str, uid: str, now: int, *, after: After | None = None) -> Slice:
    """Locks the user, and a slice of the sessions behind `after`: no session of an owner who acts as them."""
    user = hold_user(tx, app_id, uid)
    if user is None:
        return Unknown()
    if user.locked_at is None:
        if after:
            return Done()  # somebody has unlocked them meanwhile
        user = _mark_locked(tx, user, now)
        facts.record(tx, user, UserLocked(user=facts.person_of(user)), now)
    created, session_id = after or (0, "")
    keys, slice_ = _slice(tx, SOME_ENROLLED, user, after_created=created, after_session=session_id)
    move(tx, {(app_id, uid): user}, sessions.hold(tx, keys), "LOCKED", "user_locked", now)
    return slice_


def unlock_user_slice(tx: Transaction, app_id: str, uid: str, now: int) -> Slice:
    """Lets a slice of the user's sessions go on; where no more are left, also the user."""
    user = hold_user(tx, app_id, uid)
    if user is None:
        return Unknown()
    if user.locked_at is None:
        return Done()
    keys, slice_ = _slice(tx, SOME_LOCKED_WITH_USER, user)
    move(tx, {(app_id, uid): user}, sessions.hold(tx, keys), "ENROLLED", "", now)
    if isinstance(slice_, More):
        return slice_
    user = _mark_locked(tx, user, None)
    facts.record(tx, user, UserUnlocked(user=facts.person_of(user)), now)
    return Done()


# Parts


def _slice(
    tx: Transaction, some: Select[Any], user: User, **behind: int | str
) -> tuple[list[Key], More | Done]:
    """The keys of some sessions of the user, and whether there are more."""
    rows = tx.execute(some, {"app": user.app_id, "uid": user.uid, **behind}).all()
    keys = [(row.app_id, row.session_id) for row in rows]
    if len(rows) < SLICE_SESSIONS:
        return keys, Done()
    return keys, More((rows[-1].created_at, rows[-1].session_id))


def _was_accepted(session: Session, time_stamp: int) -> bool:
    """Whether a refresh may have been signed with this time, so that somebody may have recorded it."""
    return time_stamp <= session.newest_stamp


def _is_followed(tx: Transaction, session: Session) -> bool:
    """Whether there is a later session of the same person on the device."""
    whose = {
        "app": session.app_id,
        "uid": session.uid,
        "device": session.device_id,
        "ordinal": session.ordinal,
        "actor": session.actor,
    }
    return bool(tx.execute(LATER, whose).scalar_one())


def _mark_locked(tx: Transaction, user: User, at: int | None) -> User:
    tx.execute(MARK_LOCKED, {"of_app": user.app_id, "of_uid": user.uid, "at": at})
    tx.signal("user", user.key)
    return replace(user, locked_at=at)


def _no_such_user() -> NotFound:
    return NotFound("There is no such user in this app.", code="user_not_found")
