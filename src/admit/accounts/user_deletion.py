"""Deleting a user: everything about them goes, and who comes back later is somebody new."""

from collections.abc import Callable
from enum import Enum
from functools import partial

from sqlalchemy import ColumnElement, Table, bindparam, delete, select, tuple_

from admit.accounts import facts, seats, users
from admit.accounts.tables import (
    devices,
    enrollment_token_uses,
    enrollment_tokens,
    former_keys,
    identities,
    sessions,
    user_words,
)
from admit.accounts.tables import users as users_table
from admit.accounts.users import User
from admit.events import log, subscriptions
from admit.events.catalog import Person, UserDeleted
from admit.jobs import attempts, emptying, lines, links
from admit.storage.database import Database
from admit.storage.transaction import Transaction

SLICE_ROWS = 1_000
UNITS = 4  # fourteen kinds of rows, a slice of each
OF_THEIR_JOBS = (emptying.forget, attempts.erase_replies, lines.erase, links.erase)
Eraser = Callable[[Transaction, User], int]
"""Erases what another room keeps of a person, SLICE_ROWS of a kind at most; returns the most of any kind."""

DROPPED = "The person was deleted before this was delivered."


def _of_user(table: Table) -> ColumnElement[bool]:
    return (table.c.app_id == bindparam("app")) & (table.c.uid == bindparam("uid"))


SOME_SESSIONS = delete(sessions).where(
    _of_user(sessions),
    sessions.c.session_id.in_(select(sessions.c.session_id).where(_of_user(sessions)).limit(SLICE_ROWS)),
)
SOME_DEVICES = delete(devices).where(
    _of_user(devices),
    devices.c.device_id.in_(select(devices.c.device_id).where(_of_user(devices)).limit(SLICE_ROWS)),
)
SOME_TOKENS = delete(enrollment_tokens).where(
    _of_user(enrollment_tokens),
    enrollment_tokens.c.token_id.in_(
        select(enrollment_tokens.c.token_id).where(_of_user(enrollment_tokens)).limit(SLICE_ROWS)
    ),
)
_use = tuple_(enrollment_token_uses.c.token_id, enrollment_token_uses.c.key_thumbprint)
SOME_TOKEN_USES = delete(enrollment_token_uses).where(
    _of_user(enrollment_token_uses),
    _use.in_(
        select(enrollment_token_uses.c.token_id, enrollment_token_uses.c.key_thumbprint)
        .where(_of_user(enrollment_token_uses))
        .limit(SLICE_ROWS)
    ),
)
SOME_OF_EACH = (SOME_DEVICES, SOME_TOKENS, SOME_TOKEN_USES)
WORDS = delete(user_words).where(_of_user(user_words))
FORMER_KEYS = delete(former_keys).where(_of_user(former_keys))
IDENTITIES = delete(identities).where(_of_user(identities))
USER = delete(users_table).where(_of_user(users_table))


class Deletion(Enum):
    """What came of one try to delete a user."""

    DELETED = "deleted"
    UNKNOWN = "unknown"
    MORE = "more"
    """Some of their many sessions are gone; try again for the rest and the user."""


def nothing(tx: Transaction, user: User) -> int:
    """The eraser of rooms that keep nothing."""
    return 0


async def delete_user(
    db: Database, app_id: str, user_id: str, now: int, *, elsewhere: Eraser = nothing
) -> bool:
    """Deletes a user with everything about them here and `elsewhere`. False: there is no such user.

    Years of logins are deleted slice by slice, so that others pass; the user goes with the last one. Whoever
    was interrupted has lost sessions at most, and can simply be deleted again.
    """
    unit = partial(delete_slice, app_id=app_id, user_id=user_id, now=now, elsewhere=elsewhere)
    while True:
        match await db.write(unit, patient=True):
            case Deletion.MORE:
                continue
            case outcome:
                return outcome is Deletion.DELETED


def delete_slice(
    tx: Transaction, app_id: str, user_id: str, now: int, elsewhere: Eraser = nothing
) -> Deletion:
    """Deletes the user, or a slice of what they have where that is more than SLICE_ROWS of a kind.

    Events that others have yet to read stay in their places; they name nobody any more but the userId. What
    no endpoint has been told yet, none is told any more, and what was answered about them is erased.
    """
    tx.begin_unit(UNITS)
    # The lock keeps logins out, which would leave a session behind.
    user = users.by_user_id(tx, [(app_id, user_id)], lock=True).get((app_id, user_id))
    if user is None:
        return Deletion.UNKNOWN
    whose = {"app": app_id, "uid": user.uid}
    if tx.execute(SOME_SESSIONS, whose).rowcount == SLICE_ROWS:
        return Deletion.MORE  # no session is left without its device
    gone = [tx.execute(statement, whose).rowcount for statement in SOME_OF_EACH]
    gone.append(log.erase(tx, app_id, user.uid, SLICE_ROWS))
    gone.append(emptying.drop(tx, app_id, user.uid, DROPPED, now, SLICE_ROWS))
    gone += [erase(tx, app_id, user.uid, SLICE_ROWS) for erase in OF_THEIR_JOBS]
    gone.append(elsewhere(tx, user))
    if max(gone) == SLICE_ROWS:
        return Deletion.MORE
    for statement in (FORMER_KEYS, WORDS, IDENTITIES, USER):
        tx.execute(statement, whose)
    subscriptions.forget_person(tx, app_id, user.uid)
    seats.move(tx, app_id, user.way_in, -int(user.holds_seat))
    nobody = Person(uid=user.uid, user_id=user_id, type=user.type)
    facts.record(tx, user, UserDeleted(user=nobody), now)
    tx.signal("user", user.key)
    return Deletion.DELETED
