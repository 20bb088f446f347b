"""What a run has read and what it writes: rows are kept as they were first read, and changes lie over them.

A row that was read once stays as it was for the run, whatever others do meanwhile; each change carries the
version of the row that the task has read, so that the server can see whether it still stands. There is one
change for each user's properties, one for their lock, one for each session. Objects: object_snapshot.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from admit.task.pending import Pending
from admit.task.rows import matches, moved_to, new_row, with_entry, with_lock
from admit.task.stage import Stage
from admit.task.wire import (
    Change,
    DeviceRow,
    DevicesOf,
    FindSession,
    FindUser,
    LockUser,
    Move,
    MoveSession,
    PageOfUsers,
    SessionRow,
    SessionsOf,
    UserRow,
    UsersFound,
    WriteUser,
)

PAGE_USERS = 100

_NOBODY: dict[str, Any] = {}


class Snapshot:
    """The people of the app as one run sees them."""

    __slots__ = (
        "_devices",
        "_pending",
        "_sessions",
        "_sessions_of",
        "_stage",
        "_users",
    )

    def __init__(self, stage: Stage, pending: Pending) -> None:
        self._stage = stage
        self._pending = pending
        self._users: dict[str, UserRow | None] = {}
        self._devices: dict[str, tuple[DeviceRow, ...]] = {}
        self._sessions: dict[str, SessionRow | None] = {}
        self._sessions_of: dict[str, tuple[str, ...]] = {}

    # Reading

    def user(self, user_id: str) -> UserRow | None:
        """The user with this userId, as the task has left them."""
        if user_id not in self._users:
            found = msgspec.convert(self._stage.ask(FindUser(user_id)), UserRow | None)
            # A userId may be spelt in several ways; what was read under another stays as it was.
            self._users[user_id] = None if found is None else self._users.setdefault(found.user_id, found)
        return self._overlaid(user_id, self._users[user_id])

    def users(self, search: str, type: str, active: bool | None) -> Iterator[UserRow]:
        """Everybody who matches now, as the task has left them. Those whom it has made come last."""
        told: set[str] = set()
        after = ""
        while True:
            page = PageOfUsers(search=search, type=type, active=active, limit=PAGE_USERS, after=after)
            found = msgspec.convert(self._stage.ask(page), UsersFound)
            for row in found.users:
                kept = self._overlaid(row.user_id, self._users.setdefault(row.user_id, row))
                if kept is None or kept.user_id in told:
                    continue
                if ("user", kept.user_id) not in self._pending or matches(kept, search, type, active):
                    told.add(kept.user_id)
                    yield kept
            if not (after := found.after):
                break
        for user_id in self._pending.users():
            changed = self.user(user_id)
            if changed is not None and user_id not in told and matches(changed, search, type, active):
                told.add(user_id)
                yield changed

    def devices(self, user_id: str) -> tuple[DeviceRow, ...]:
        """The devices of a user."""
        if user_id not in self._devices:
            found = self._stage.ask(DevicesOf(user_id))
            self._devices[user_id] = msgspec.convert(found, tuple[DeviceRow, ...])
        return self._devices[user_id]

    def session(self, session_id: str) -> SessionRow | None:
        """The session, as the task has left it."""
        if session_id not in self._sessions:
            found = self._stage.ask(FindSession(session_id))
            self._sessions[session_id] = msgspec.convert(found, SessionRow | None)
        row = self._sessions[session_id]
        return None if row is None else self._moved(row)

    def sessions(self, user_id: str, state: str) -> Iterator[SessionRow]:
        """The sessions of a user, as the task has left them. `state` "" means any."""
        if user_id not in self._sessions_of:
            rows = msgspec.convert(self._stage.ask(SessionsOf(user_id)), tuple[SessionRow, ...])
            for row in rows:
                self._sessions.setdefault(row.session_id, row)
            self._sessions_of[user_id] = tuple(row.session_id for row in rows)
        for session_id in self._sessions_of[user_id]:
            known = self.session(session_id)
            if known is not None and state in ("", known.state):
                yield known

    # Writing

    def write_user(self, user_id: str, entry: dict[str, Any], *, new: bool = False) -> UserRow:
        """Merges `entry`, some members of one of POST /users, into what is written of the user.

        Raises LookupError where there is no such user, or where there is one already and `new`.
        """
        row = self._held(user_id, new)
        user_id = user_id if row is None else row.user_id
        before = self._pending.get(("user", user_id))
        written = _members_of(before) | {"userId": user_id} | entry
        version = "" if row is None else row.version
        self._pending.add(("user", user_id), WriteUser(user_id, version, msgspec.json.encode(written)))
        after = self.user(user_id)
        if after is None:
            raise LookupError(f"There is no user {user_id!r}.")
        return after

    def lock_user(self, user_id: str, locked: bool) -> UserRow:
        """Locks the user out of every device, or lets them in again. Raises LookupError."""
        row = self._held(user_id, new=False)
        if row is None:
            raise LookupError(f"There is no user {user_id!r}.")
        self._pending.add(("lock", row.user_id), LockUser(row.user_id, row.version, locked))
        return self.user(row.user_id) or row

    def move_session(self, session_id: str, move: Move) -> SessionRow:
        """Locks, unlocks, wipes or re-authenticates a session. Raises LookupError; ValueError once wiped."""
        self._pending.check()
        row = self.session(session_id)
        if row is None:
            raise LookupError(f"There is no session {session_id!r}.")
        if row.state == "RESET" and move != "wipe":
            raise ValueError(f"The session {session_id!r} was wiped, and is over.")
        self._pending.add(("session", session_id), MoveSession(session_id, row.version, move))
        return self._moved(row)

    def _held(self, user_id: str, new: bool) -> UserRow | None:
        self._pending.check()
        row = self.user(user_id)
        if new and row is not None:
            raise LookupError(f"There is a user {user_id!r} already.")
        if not new and row is None:
            raise LookupError(f"There is no user {user_id!r}.")
        return row

    # Overlaying

    def _overlaid(self, user_id: str, row: UserRow | None) -> UserRow | None:
        """`row` with what the task writes of this user; None and nothing written: nobody."""
        key = user_id if row is None else row.user_id
        if (entry := _members_of(self._pending.get(("user", key)))) is not _NOBODY:
            row = with_entry(row or new_row(key, self._stage.now()), entry, self._stage.now())
        lock = self._pending.get(("lock", key))
        if row is not None and isinstance(lock, LockUser):
            row = with_lock(row, lock.locked, self._stage.now())
        return row

    def _moved(self, row: SessionRow) -> SessionRow:
        change = self._pending.get(("session", row.session_id))
        if isinstance(change, MoveSession):
            return moved_to(row, change.move)
        lock = self._pending.get(("lock", row.user_id))
        if isinstance(lock, LockUser) and lock.locked and row.state == "ENROLLED":
            return replace(row, state="LOCKED")
        return row


def _members_of(change: Change | None) -> dict[str, Any]:
    if not isinstance(change, WriteUser):
        return _NOBODY
    members: dict[str, Any] = msgspec.json.decode(change.entry)
    return members
