"""Sessions for tests that need many, written as logins would have left them."""

from collections.abc import Sequence

import msgspec

from admit.accounts import devices, session_opening
from admit.accounts.devices import About, Device
from admit.accounts.sessions import Session
from admit.accounts.users import User
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from tests.residents import NOW, day, key

PIECE = 500


def enrolled(user: User, number: int = 0, **changes: object) -> Session:
    """The `number`th session of `user`, on a device of its own unless `device_id` says otherwise."""
    session = Session(
        app_id=user.app_id,
        session_id=f"ses_{number:06d}_{user.uid}",
        uid=user.uid,
        device_id=f"device{number}",
        ordinal=number + 1,
        state="ENROLLED",
        reason="",
        public_key=key().pem,
        key_thumbprint=key().thumbprint,
        client_id=None,
        actor=None,
        scopes="ACCESS_DB",
        created_at=NOW,
        authenticated_at=NOW,
        signed_out_at=None,
        refresh_until=day(180),
        newest_stamp=0,
        connected_at=NOW,
        wiped_at=None,
    )
    return msgspec.structs.replace(session, **changes)


async def move_onto_devices(database: Database, sessions: Sequence[Session]) -> None:
    """Writes `sessions` and their devices."""
    for start in range(0, len(sessions), PIECE):
        piece = sessions[start : start + PIECE]

        def write(tx: Transaction, piece: Sequence[Session] = piece) -> None:
            devices.register(tx, map(_device_of, piece))
            tx.write(session_opening.OPEN, [msgspec.structs.astuple(session) for session in piece])

        await database.write(write)


def _device_of(session: Session) -> Device:
    return Device(
        app_id=session.app_id,
        uid=session.uid,
        device_id=session.device_id,
        derived=False,
        key_thumbprint=session.key_thumbprint,
        label="Ada's tablet",
        about=About(
            platform="android", model="Pixel", bundle_id="com.example", app_version="2.1", runtime_version="8"
        ),
        first_seen_at=session.created_at,
        last_seen_at=session.authenticated_at,
    )
