"""Devices: what a user signs in from, kept since it was first seen."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy.dialects.postgresql import insert

from admit.accounts.keys import PublicKey
from admit.accounts.tables import devices
from admit.storage.rows import Insertion
from admit.storage.transaction import Transaction

DEVICE_ID_CHARACTERS_MAX = 200


class Device(msgspec.Struct, frozen=True):
    """A device of one user. `derived`: the client sent no identifier, so it is the one of its public key."""

    app_id: str
    uid: str
    device_id: str
    derived: bool
    key_thumbprint: str
    first_seen_at: int
    last_seen_at: int


DEVICE_COLUMNS = tuple(devices.c[name] for name in Device.__struct_fields__)

_add = insert(devices)
REGISTER = Insertion(
    _add.on_conflict_do_update(
        index_elements=["app_id", "uid", "device_id"],
        set_={"key_thumbprint": _add.excluded.key_thumbprint, "last_seen_at": _add.excluded.last_seen_at},
    )
)


def identify(device_id: str | None, key: PublicKey) -> tuple[str, bool]:
    """The identifier of the device at the door, and whether it is derived from its key."""
    return (f"key_{key.thumbprint}", True) if device_id is None else (device_id, False)


def register(tx: Transaction, seen: Iterable[Device]) -> None:
    """Writes the devices of logins; one that is known keeps when it was first seen.

    Their users are locked, or new in this transaction, so that no device outlives a deleted user.
    """
    rows = {(device.app_id, device.uid, device.device_id): _row_of(device) for device in seen}
    tx.write(REGISTER, [rows[key] for key in sorted(rows)])


def device_of(row: Sequence[Any]) -> Device:
    """The device in a row that begins with DEVICE_COLUMNS."""
    app_id, uid, device_id, derived, *rest = row[: len(DEVICE_COLUMNS)]
    return Device(app_id, uid, device_id, derived == "yes", *rest)


def _row_of(device: Device) -> tuple[Any, ...]:
    app_id, uid, device_id, derived, *rest = msgspec.structs.astuple(device)
    return app_id, uid, device_id, "yes" if derived else "no", *rest
