"""Users, devices and sessions as tasks see them: values, made of the rows that the server shows."""

from datetime import datetime
from typing import Any, Literal

import msgspec

from admit.task.moments import maybe_moment_of, moment_of
from admit.task.wire import DeviceRow, SessionRow, UserRow

SessionState = Literal["ENROLLED", "LOCKED", "RESET"]


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person of the app. `email` and `name` are "" while unknown; `valid_until` is None for no end,
    `last_login_at` None for somebody who has never signed in. `way_in`: by which they first came."""

    uid: str
    user_id: str
    email: str
    email_verified: bool
    name: str
    type: str
    data: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime
    last_login_at: datetime | None
    valid_until: datetime | None
    eval_days_left: int
    deactivated_at: datetime | None
    locked_at: datetime | None
    way_in: str

    @property
    def active(self) -> bool:
        """Whether they are neither deactivated nor locked."""
        return self.deactivated_at is None and self.locked_at is None


class KnownDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device of a user. `derived`: the client sent no identifier, so it is made from its key."""

    identifier: str
    derived: bool
    label: str
    platform: str
    first_seen: datetime
    last_seen: datetime

    @property
    def deviceIdentifier(self) -> str:
        """The same as `identifier`, as JourneyApps calls it."""
        return self.identifier


class KnownSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session of a user. `device` is the identifier of it; `ordinal` 1 is the first of them both."""

    id: str
    user_id: str
    device: str
    ordinal: int
    state: str
    created_at: datetime
    last_authenticated_at: datetime
    last_connected_at: datetime | None
    signed_out_at: datetime | None


def user_of(row: UserRow) -> User:
    """The user that a row shows. Its data is a copy: to change it changes nobody."""
    return User(
        uid=row.uid,
        user_id=row.user_id,
        email=row.email,
        email_verified=row.email_verified,
        name=row.name,
        type=row.type,
        data=None if row.data is None else msgspec.json.decode(row.data),
        created_at=moment_of(row.created_at),
        updated_at=moment_of(row.updated_at),
        last_login_at=maybe_moment_of(row.last_login_at),
        valid_until=maybe_moment_of(row.valid_until),
        eval_days_left=row.eval_days_left,
        deactivated_at=maybe_moment_of(row.deactivated_at),
        locked_at=maybe_moment_of(row.locked_at),
        way_in=row.way_in,
    )


def device_of(row: DeviceRow) -> KnownDevice:
    """The device that a row shows."""
    return KnownDevice(
        identifier=row.identifier,
        derived=row.derived,
        label=row.label,
        platform=row.platform,
        first_seen=moment_of(row.first_seen),
        last_seen=moment_of(row.last_seen),
    )


def session_of(row: SessionRow) -> KnownSession:
    """The session that a row shows."""
    return KnownSession(
        id=row.session_id,
        user_id=row.user_id,
        device=row.device,
        ordinal=row.ordinal,
        state=row.state,
        created_at=moment_of(row.created_at),
        last_authenticated_at=moment_of(row.last_authenticated_at),
        last_connected_at=maybe_moment_of(row.last_connected_at),
        signed_out_at=maybe_moment_of(row.signed_out_at),
    )
