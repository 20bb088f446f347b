"""People, devices and sessions for tests, with good defaults."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from admit.task.people import KnownDevice, KnownSession, SessionState, User
from admit.testing.clocks import NOON


def user(
    user_id: str = "ada@example.com",
    *,
    type: str = "prod",
    name: str = "",
    email: str | None = None,
    email_verified: bool = True,
    data: Mapping[str, Any] | None = None,
    created_at: datetime = NOON,
    last_login_at: datetime | None = NOON,
    valid_until: datetime | None = None,
    eval_days_left: int = 0,
    deactivated_at: datetime | None = None,
    locked_at: datetime | None = None,
    way_in: str = "email_code",
) -> User:
    """Somebody who lives in the app. `email` is the userId, where that looks like one."""
    return User(
        uid=f"usr_{user_id}",
        user_id=user_id,
        email=(user_id if "@" in user_id else "") if email is None else email,
        email_verified=email_verified,
        name=name,
        type=type,
        data=None if data is None else dict(data),
        created_at=created_at,
        updated_at=created_at,
        last_login_at=last_login_at,
        valid_until=valid_until,
        eval_days_left=eval_days_left,
        deactivated_at=deactivated_at,
        locked_at=locked_at,
        way_in=way_in,
    )


def device(
    identifier: str = "device-1",
    *,
    derived: bool = False,
    label: str = "",
    platform: str = "",
    first_seen: datetime = NOON,
    last_seen: datetime = NOON,
) -> KnownDevice:
    """A device of somebody."""
    return KnownDevice(
        identifier=identifier,
        derived=derived,
        label=label,
        platform=platform,
        first_seen=first_seen,
        last_seen=last_seen,
    )


def session(
    id: str = "ses_1",
    *,
    user_id: str = "ada@example.com",
    device: str = "device-1",
    ordinal: int = 1,
    state: SessionState = "ENROLLED",
    created_at: datetime = NOON,
    last_authenticated_at: datetime = NOON,
    last_connected_at: datetime | None = NOON,
    signed_out_at: datetime | None = None,
) -> KnownSession:
    """A session of somebody on a device."""
    return KnownSession(
        id=id,
        user_id=user_id,
        device=device,
        ordinal=ordinal,
        state=state,
        created_at=created_at,
        last_authenticated_at=last_authenticated_at,
        last_connected_at=last_connected_at,
        signed_out_at=signed_out_at,
    )
