"""Change sets: what a run wants to be different, applied with its completion or not at all.

A row that has changed since the run has read it is a conflict: then nothing is applied, and the run is made
anew on what is there now.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from admit.accounts import session_states, sessions, users
from admit.accounts.apps import App
from admit.accounts.session_states import More, NotMoved
from admit.accounts.sessions import Session
from admit.accounts.user_changes import CHANGES_MAX, Rejected, Written
from admit.accounts.user_edits import UserChange
from admit.accounts.users import User
from admit.errors import Conflict
from admit.signin.proof import user_id_as_known
from admit.storage.transaction import Transaction
from admit.task.wire import Change, DeleteObject, LockUser, MoveSession, PutObject, WriteUser
from admit.tasks import object_changes
from admit.tasks.people_rows import held_row, user_row
from admit.tasks.refusals import ChangesRefused, Overtaken

_MOVES = {
    "lock": session_states.lock,
    "unlock": session_states.unlock,
    "wipe": session_states.wipe,
    "reauthenticate": session_states.reauthenticate,
}
_Change = TypeVar("_Change", WriteUser, LockUser)


class WriteUsers(Protocol):
    """Creates and changes users with what the ledger keeps of it: all of them, or none."""

    def __call__(
        self, tx: Transaction, app: App, changes: Sequence[UserChange], *, who: str, now: int
    ) -> Written | Rejected: ...


class _Held(msgspec.Struct, frozen=True):
    """What a change set is about, held until the transaction ends: users by userId, sessions by id."""

    people: dict[str, User]
    sessions: dict[str, Session]
    owners: dict[str, User]


def apply(
    tx: Transaction, app: App, changes: Sequence[Change], write_users: WriteUsers, *, who: str, now: int
) -> None:
    """Makes `changes`. Raises Overtaken and ChangesRefused: then the transaction is not to be committed."""
    if len(changes) > CHANGES_MAX:
        raise ChangesRefused(f"A run makes at most {CHANGES_MAX:,} changes.")
    writes = [_spelled(app, each) for each in changes if isinstance(each, WriteUser)]
    locks = [_spelled(app, each) for each in changes if isinstance(each, LockUser)]
    moves = [each for each in changes if isinstance(each, MoveSession)]
    held = _hold(tx, app.app_id, [*writes, *locks], moves)
    _check(held, [*writes, *locks], moves)
    people = dict(held.people)
    if writes:
        people |= _write(tx, app, writes, write_users, who, now)
    for lock in locks:
        _lock(tx, people, lock, now)
    for move in moves:
        moved = _MOVES[move.move](tx, app.app_id, move.session_id, now)
        if isinstance(moved, NotMoved):
            raise ChangesRefused(session_states.refusal_of(moved).message)
    if in_tables := [each for each in changes if isinstance(each, PutObject | DeleteObject)]:
        object_changes.apply(tx, app, in_tables, now=now)


def _spelled(app: App, change: _Change) -> _Change:
    """The change with its userId as sign-in spells it."""
    return replace(change, user_id=user_id_as_known(app, change.user_id))


def _hold(
    tx: Transaction, app_id: str, of_users: Iterable[WriteUser | LockUser], moves: Iterable[MoveSession]
) -> _Held:
    """Users first and in the order of their uids, as everybody does it, then sessions."""
    asked = {(app_id, each.user_id) for each in of_users if users.fault_of_user_id(each.user_id) is None}
    keys = [(app_id, each.session_id) for each in moves]
    owners = {(app_id, each.uid) for each in sessions.find_each(tx, keys) if each is not None}
    named = {(app_id, user.uid) for user in users.by_user_id(tx, asked).values()}
    people = users.by_uid(tx, named | owners, lock=True).values()
    return _Held(
        people={user.user_id: user for user in people},
        sessions={each.session_id: each for each in sessions.hold(tx, keys)},
        owners={user.uid: user for user in people},
    )


def _check(held: _Held, of_users: Iterable[WriteUser | LockUser], moves: Iterable[MoveSession]) -> None:
    for change in of_users:
        user = held.people.get(change.user_id)
        if (user_row(user).version if user else "") != change.version:
            raise Overtaken(f"The user {change.user_id} has changed since the run has read them.")
    for move in moves:
        session = held.sessions.get(move.session_id)
        owner = held.owners.get(session.uid) if session else None
        if session is None or owner is None or held_row(session, owner.user_id).version != move.version:
            raise Overtaken(f"The session {move.session_id} has changed since the run has read it.")


def _write(
    tx: Transaction,
    app: App,
    writes: Sequence[WriteUser],
    write_users: WriteUsers,
    who: str,
    now: int,
) -> Mapping[str, User]:
    """Writes users; returns those who are new or different, by userId."""
    try:
        entries = [
            replace(msgspec.json.decode(each.entry, type=UserChange), user_id=each.user_id) for each in writes
        ]
    except msgspec.DecodeError as error:
        raise ChangesRefused(f"A user cannot be written so: {error}.") from error
    try:
        written = write_users(tx, app, entries, who=who, now=now)
    except Conflict as error:
        raise Overtaken(error.message) from error
    if isinstance(written, Rejected):
        whom = "" if written.index is None else f"{writes[written.index].user_id}: "
        raise ChangesRefused(whom + written.sentence)
    different = [*(each.user for each in written.created), *written.changed]
    return {user.user_id: user for user in different}


def _lock(tx: Transaction, people: Mapping[str, User], change: LockUser, now: int) -> None:
    user = people.get(change.user_id)
    if user is None:
        raise ChangesRefused(f"There is no user {change.user_id}.")
    if change.locked:
        done = session_states.lock_user_slice(tx, user.app_id, user.uid, now)
        while isinstance(done, More):
            tx.begin_unit()
            done = session_states.lock_user_slice(tx, user.app_id, user.uid, now, after=done.after)
        return
    while isinstance(session_states.unlock_user_slice(tx, user.app_id, user.uid, now), More):
        tx.begin_unit()
