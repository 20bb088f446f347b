"""An app in memory: what a task reads of it, and what becomes of it when the task's writes are applied."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from admit.task.contexts import Context
from admit.task.moments import ms_of
from admit.task.people import KnownDevice, KnownSession, User, session_of, user_of
from admit.task.rows import matches, moved_to, new_row, with_entry, with_lock
from admit.task.synced import TableObject
from admit.task.wire import (
    Change,
    DeleteObject,
    DeviceRow,
    DevicesOf,
    FindObject,
    FindSession,
    FindUser,
    LockUser,
    MoveSession,
    PageOfObjects,
    PageOfUsers,
    PlaceObject,
    PutObject,
    Question,
    SessionRow,
    SessionsOf,
    UserRow,
    UsersFound,
    WriteUser,
)
from admit.testing.residents import user as somebody
from admit.testing.synced import Synced


class App:
    """The people of an app. `users` are users, or userIds; `devices` are by the userId of whose they are.

    `tables`: objects by table and key, each with its `realmId`. Keys are at `id`, and are made for objects
    without one.
    """

    def __init__(
        self,
        users: Iterable[User | str] = (),
        *,
        devices: Mapping[str, Sequence[KnownDevice]] | None = None,
        sessions: Iterable[KnownSession] = (),
        tables: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
        id: str = "app_test",
        name: str = "notes",
    ) -> None:
        self.id = id
        self.name = name
        everybody = (somebody(each) if isinstance(each, str) else each for each in users)
        self._users = {each.user_id: _user_row(each) for each in everybody}
        self._devices = {user_id: tuple(map(_device_row, some)) for user_id, some in (devices or {}).items()}
        self._sessions = {each.id: _session_row(each) for each in sessions}
        self._synced = Synced(tables or {})
        self._version = 1

    @property
    def users(self) -> list[User]:
        """Everybody, in the order in which they came."""
        return [user_of(row) for row in self._users.values()]

    @property
    def sessions(self) -> list[KnownSession]:
        """Every session."""
        return [session_of(row) for row in self._sessions.values()]

    def user(self, user_id: str) -> User:
        """The user with this userId. Raises KeyError."""
        return user_of(self._users[user_id])

    def session(self, session_id: str) -> KnownSession:
        """The session with this id. Raises KeyError."""
        return session_of(self._sessions[session_id])

    def objects(self, table: str) -> list[TableObject]:
        """The objects of a table, in the order of realm and key."""
        return self._synced.of(table)

    def apply(self, context: Context) -> None:
        """Carries out what a task has written, as the server does once its run has ended well.

        Raises AssertionError where what it has read does not stand any more: the server would run it again.
        """
        now = ms_of(context.run.now)
        for change in context.changes:
            self._check(change)
        self._version += 1
        for change in context.changes:
            self._apply(change, now)

    def answer(self, question: Question) -> Any:
        """What the server would answer."""
        match question:
            case FindUser(user_id=user_id):
                return self._users.get(user_id)
            case PageOfUsers():
                return self._page(question)
            case DevicesOf(user_id=user_id):
                return self._devices.get(user_id, ())
            case SessionsOf(user_id=user_id):
                return tuple(row for row in self._sessions.values() if row.user_id == user_id)
            case FindSession(session_id=session_id):
                return self._sessions.get(session_id)
            case FindObject():
                return self._synced.find(question)
            case PlaceObject():
                return self._synced.place(question)
            case PageOfObjects():
                return self._synced.page(question)
        raise AssertionError(f"An app does not answer {type(question).__name__}.")

    def _page(self, page: PageOfUsers) -> UsersFound:
        found = [row for row in self._users.values() if matches(row, page.search, page.type, page.active)]
        start = int(page.after or 0)
        stop = start + page.limit
        return UsersFound(tuple(found[start:stop]), str(stop) if stop < len(found) else "")

    def _check(self, change: Change) -> None:
        match change:
            case MoveSession(session_id=session_id):
                stands = _version_of(self._sessions.get(session_id)) == change.version
            case WriteUser(user_id=user_id) | LockUser(user_id=user_id):
                stands = _version_of(self._users.get(user_id)) == change.version
            case PutObject() | DeleteObject():
                stands = self._synced.check(change)
        if not stands:
            raise AssertionError("What the task has read was changed meanwhile: its run would be a conflict.")

    def _apply(self, change: Change, now: int) -> None:
        version = str(self._version)
        match change:
            case MoveSession(session_id=session_id, move=move):
                self._sessions[session_id] = replace(
                    moved_to(self._sessions[session_id], move), version=version
                )
            case LockUser(user_id=user_id, locked=locked):
                self._users[user_id] = replace(with_lock(self._users[user_id], locked, now), version=version)
                self._move_sessions_of(user_id, locked, version)
            case WriteUser(user_id=user_id, entry=entry):
                row = self._users.get(user_id) or replace(new_row(user_id, now), uid=f"usr_{user_id}")
                written = with_entry(row, msgspec.json.decode(entry), now)
                self._users[user_id] = replace(written, version=version)
            case PutObject() | DeleteObject():
                self._synced.apply(change, version)

    def _move_sessions_of(self, user_id: str, locked: bool, version: str) -> None:
        if not locked:
            return
        for row in [each for each in self._sessions.values() if each.user_id == user_id]:
            if row.state == "ENROLLED":
                self._sessions[row.session_id] = replace(row, state="LOCKED", version=version)


def _version_of(row: UserRow | SessionRow | None) -> str:
    return "" if row is None else row.version


def _user_row(user: User) -> UserRow:
    return UserRow(
        uid=user.uid,
        user_id=user.user_id,
        email=user.email,
        email_verified=user.email_verified,
        name=user.name,
        type=user.type,
        data=None if user.data is None else msgspec.json.encode(user.data),
        created_at=ms_of(user.created_at),
        updated_at=ms_of(user.updated_at),
        last_login_at=_maybe_ms(user.last_login_at),
        valid_until=_maybe_ms(user.valid_until),
        eval_days_left=user.eval_days_left,
        deactivated_at=_maybe_ms(user.deactivated_at),
        locked_at=_maybe_ms(user.locked_at),
        way_in=user.way_in,
        version="1",
    )


def _device_row(device: KnownDevice) -> DeviceRow:
    return DeviceRow(
        identifier=device.identifier,
        derived=device.derived,
        label=device.label,
        platform=device.platform,
        first_seen=ms_of(device.first_seen),
        last_seen=ms_of(device.last_seen),
    )


def _session_row(session: KnownSession) -> SessionRow:
    return SessionRow(
        session_id=session.id,
        user_id=session.user_id,
        device=session.device,
        ordinal=session.ordinal,
        state=session.state,
        created_at=ms_of(session.created_at),
        last_authenticated_at=ms_of(session.last_authenticated_at),
        last_connected_at=_maybe_ms(session.last_connected_at),
        signed_out_at=_maybe_ms(session.signed_out_at),
        version="1",
    )


def _maybe_ms(moment: datetime | None) -> int | None:
    return None if moment is None else ms_of(moment)
