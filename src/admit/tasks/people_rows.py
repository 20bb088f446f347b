"""People as tasks see them. The version of a row is a digest of what stands in it. Pure."""

from hashlib import blake2b
from typing import Any

import msgspec
from msgspec.structs import replace

from admit.accounts.devices import Device
from admit.accounts.session_pages import ListedSession
from admit.accounts.sessions import Session
from admit.accounts.users import NEVER, User
from admit.task.wire import DeviceRow, SessionRow, UserRow

_encode = msgspec.msgpack.Encoder().encode


def user_row(user: User) -> UserRow:
    """A user."""
    row = UserRow(
        uid=user.uid,
        user_id=user.user_id,
        email=user.email,
        email_verified=user.email_verified,
        name=user.name,
        type=user.type,
        data=None if user.data is None else bytes(user.data),
        created_at=user.created_at,
        updated_at=user.updated_at,
        last_login_at=user.last_login_at or None,
        valid_until=None if user.valid_until == NEVER else user.valid_until,
        eval_days_left=user.eval_days_left,
        deactivated_at=user.deactivated_at,
        locked_at=user.locked_at,
        way_in=user.way_in,
        version="",
    )
    return replace(row, version=_digest(row))


def device_row(device: Device) -> DeviceRow:
    """A device of a user."""
    return DeviceRow(
        identifier=device.device_id,
        derived=device.derived,
        label=device.label,
        platform=device.about.platform,
        first_seen=device.first_seen_at,
        last_seen=device.last_seen_at,
    )


def listed_row(session: ListedSession) -> SessionRow:
    """A session in a list."""
    return _session_row(session, session.user_id, session.device.device_id)


def held_row(session: Session, user_id: str) -> SessionRow:
    """A session of the user with this userId."""
    return _session_row(session, user_id, session.device_id)


def _session_row(session: Session | ListedSession, user_id: str, device: str) -> SessionRow:
    row = SessionRow(
        session_id=session.session_id,
        user_id=user_id,
        device=device,
        ordinal=session.ordinal,
        state=session.state,
        created_at=session.created_at,
        last_authenticated_at=session.authenticated_at,
        last_connected_at=session.connected_at or None,
        signed_out_at=session.signed_out_at,
        version="",
    )
    return replace(row, version=_digest(row))


def _digest(row: Any) -> str:
    return blake2b(_encode(row), digest_size=12).hexdigest()
