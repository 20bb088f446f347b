"""The app's users, devices, sessions and tables, for tasks.

Writes are kept until the run has ended, and are committed together with its completion, or not at all.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal

from msgspec import UNSET, UnsetType

from admit.task.moments import moment_of, ms_of
from admit.task.object_snapshot import ObjectSnapshot
from admit.task.people import (
    KnownDevice,
    KnownSession,
    SessionState,
    User,
    device_of,
    session_of,
    user_of,
)
from admit.task.snapshot import Snapshot
from admit.task.synced import Table
from admit.task.verdicts import checked_data

USER_ID_CHARACTERS_MAX = 255
EVAL_DAYS_MAX = 36_500

UserType = Literal["eval", "prod", "demo"]
Who = User | str
"""A user, or a userId."""


class Users:
    """The people of the app. Whoever was read once stays as they were for the run, but for its own writes.

    Writing raises LookupError where there is no such user, ValueError for what no user can be, and
    PermissionError in a decision.
    """

    __slots__ = ("_snapshot",)

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def get(self, user_id: str) -> User | None:
        """The user with this userId, or None."""
        row = self._snapshot.user(user_id)
        return None if row is None else user_of(row)

    def find(
        self, search: str = "", *, type: UserType | Literal[""] = "", active: bool | None = None
    ) -> Iterator[User]:
        """Everybody whose userId, email or name has words that begin with those of `search`.

        Read by the page while it is walked through. `active`: True, or False for those who are deactivated.
        """
        return map(user_of, self._snapshot.users(search, type, active))

    def create(
        self,
        user_id: str,
        *,
        type: UserType,
        data: Mapping[str, Any] | None = None,
        valid_until: datetime | None = None,
        eval_days_left: int | None = None,
    ) -> User:
        """Creates a user without a sign-in. Raises LookupError where there is one already."""
        if not 0 < len(user_id) <= USER_ID_CHARACTERS_MAX:
            raise ValueError(f"A userId has 1 to {USER_ID_CHARACTERS_MAX} characters.")
        entry = _entry(
            type,
            UNSET if data is None else data,
            UNSET if valid_until is None else valid_until,
            UNSET if eval_days_left is None else eval_days_left,
        )
        return user_of(self._snapshot.write_user(user_id, entry, new=True))

    def update(
        self,
        user: Who,
        *,
        type: UserType | UnsetType = UNSET,
        data: Mapping[str, Any] | UnsetType | None = UNSET,
        valid_until: datetime | UnsetType | None = UNSET,
        eval_days_left: int | UnsetType = UNSET,
    ) -> User:
        """Changes what is given. `data` takes the place of the former; its displayName is the user's name.

        None means no data, and no end.
        """
        entry = _entry(type, data, valid_until, eval_days_left)
        return user_of(self._snapshot.write_user(_id_of(user), entry))

    def deactivate(self, user: Who) -> User:
        """Closes the door to the user."""
        return user_of(self._snapshot.write_user(_id_of(user), {"deactivated": True}))

    def reactivate(self, user: Who) -> User:
        """Opens the door to the user again."""
        return user_of(self._snapshot.write_user(_id_of(user), {"deactivated": False}))

    def lock(self, user: Who) -> User:
        """Locks the user out of every device: open sessions are locked with them."""
        return user_of(self._snapshot.lock_user(_id_of(user), True))

    def unlock(self, user: Who) -> User:
        """Lets a locked user in again. Sessions show it only once the run is committed."""
        return user_of(self._snapshot.lock_user(_id_of(user), False))


class Devices:
    """The devices of users."""

    __slots__ = ("_snapshot",)

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def of(self, user: Who) -> list[KnownDevice]:
        """The devices of a user, the newest first, at most 1,000."""
        return [device_of(row) for row in self._snapshot.devices(_id_of(user))]


class Sessions:
    """The sessions of users. Moving one raises LookupError where there is none, and ValueError where it was
    wiped."""

    __slots__ = ("_snapshot",)

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def of(self, user: Who, *, state: SessionState | Literal[""] = "") -> list[KnownSession]:
        """The sessions of a user, the newest first, at most 1,000; those in `state`, where it is given."""
        return [session_of(row) for row in self._snapshot.sessions(_id_of(user), state)]

    def get(self, session_id: str) -> KnownSession | None:
        """The session, or None."""
        row = self._snapshot.session(session_id)
        return None if row is None else session_of(row)

    def lock(self, session: KnownSession | str) -> KnownSession:
        """Refuses the device until the session is unlocked, or its person signs in again."""
        return session_of(self._snapshot.move_session(_session_id_of(session), "lock"))

    def unlock(self, session: KnownSession | str) -> KnownSession:
        """Lets a locked session go on."""
        return session_of(self._snapshot.move_session(_session_id_of(session), "unlock"))

    def wipe(self, session: KnownSession | str) -> KnownSession:
        """Ends the session for good: its device is to erase what it holds."""
        return session_of(self._snapshot.move_session(_session_id_of(session), "wipe"))

    def reauthenticate(self, session: KnownSession | str) -> KnownSession:
        """Locks the session until its person has proven anew who they are."""
        return session_of(self._snapshot.move_session(_session_id_of(session), "reauthenticate"))


class Db:
    """The app: its users, devices and sessions, and the tables that it syncs."""

    __slots__ = ("_objects", "devices", "sessions", "users")

    def __init__(self, snapshot: Snapshot, objects: ObjectSnapshot) -> None:
        self._objects = objects
        self.users = Users(snapshot)
        self.devices = Devices(snapshot)
        self.sessions = Sessions(snapshot)

    def table(self, name: str) -> Table:
        """The table of this name."""
        return Table(self._objects, name)


def _entry(
    type: UserType | UnsetType,
    data: Mapping[str, Any] | UnsetType | None,
    valid_until: datetime | UnsetType | None,
    eval_days_left: int | UnsetType,
) -> dict[str, Any]:
    """The members of an entry of POST /users. Raises ValueError."""
    entry: dict[str, Any] = {}
    if type is not UNSET:
        if type not in ("eval", "prod", "demo"):
            raise ValueError(f"The type of a user is eval or prod, not {type!r}.")
        entry["type"] = type
    if data is not UNSET:
        entry["data"] = None if data is None else checked_data(data)
    if valid_until is not UNSET:
        entry["validUntil"] = None if valid_until is None else moment_of(ms_of(valid_until)).isoformat()
    if eval_days_left is not UNSET:
        if not isinstance(eval_days_left, int) or not 0 <= eval_days_left <= EVAL_DAYS_MAX:
            raise ValueError(f"eval_days_left is a number from 0 to {EVAL_DAYS_MAX:,}.")
        entry["evalDaysLeft"] = eval_days_left
    return entry


def _id_of(user: Who) -> str:
    return user.user_id if isinstance(user, User) else user


def _session_id_of(session: KnownSession | str) -> str:
    return session.id if isinstance(session, KnownSession) else session
