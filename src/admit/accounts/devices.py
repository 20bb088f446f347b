"""Devices: what a user signs in from, kept since it was first seen.

An identifier is what the client says: no proof of hardware, and without a meaning across users.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec
from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert

from admit.accounts.keys import PublicKey
from admit.accounts.tables import devices
from admit.errors import InvalidRequest
from admit.storage.rows import Insertion
from admit.storage.transaction import Transaction

DEVICE_ID_CHARACTERS_MAX = 200
LABEL_CHARACTERS_MAX = 200
ABOUT_CHARACTERS_MAX = 100
DERIVED_PREFIX = "key_"

Detail = Annotated[str, msgspec.Meta(max_length=ABOUT_CHARACTERS_MAX)]


class About(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a client tells of what it runs on; "" is not known. `bundle_id` and `app_version` are the app's.

    JourneyApps has `platform`, `bundle_id` and `app_version` as its container, `runtime_version` as its
    runtime.
    """

    platform: Detail = ""
    model: Detail = ""
    bundle_id: Detail = ""
    app_version: Detail = ""
    runtime_version: Detail = ""


class DeviceSent(About, frozen=True, kw_only=True, omit_defaults=True):
    """The device that a client sends with a grant. Without `id` it is the one of its public key."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=DEVICE_ID_CHARACTERS_MAX)] | None = None
    label: Annotated[str, msgspec.Meta(max_length=LABEL_CHARACTERS_MAX)] = ""

    @property
    def about(self) -> About:
        """What it tells besides the identifier and the label."""
        return About(**{name: getattr(self, name) for name in About.__struct_fields__})


NOT_SENT = DeviceSent()


class Device(msgspec.Struct, frozen=True):
    """A device of one user; the fields are the columns of the table.

    `derived`: the client sent no identifier, so it is the one of its public key. `label` is "" while unknown.
    `key_thumbprint` is that of the last login.
    """

    app_id: str
    uid: str
    device_id: str
    derived: bool
    key_thumbprint: str
    label: str
    about: About
    first_seen_at: int
    last_seen_at: int


DEVICE_COLUMNS = tuple(devices.c[name] for name in Device.__struct_fields__)

_add = insert(devices)
REGISTER = Insertion(
    _add.on_conflict_do_update(
        index_elements=["app_id", "uid", "device_id"],
        set_={name: _add.excluded[name] for name in ("key_thumbprint", "label", "about", "last_seen_at")},
    )
)

PEOPLE_ON = (
    select(devices.c.uid)
    .where(devices.c.app_id == bindparam("app"), devices.c.device_id == bindparam("device"))
    .order_by(devices.c.uid)
    .limit(bindparam("most"))
)

_encode = msgspec.json.Encoder().encode
_decode_about = msgspec.json.Decoder(About).decode


def check(sent: DeviceSent) -> DeviceSent:
    """`sent`, where it may name a device. Raises InvalidRequest.

    Identifiers that begin as derived ones do are ours to make.
    """
    if sent.id is not None and sent.id.startswith(DERIVED_PREFIX):
        raise InvalidRequest(f"device.id cannot begin with {DERIVED_PREFIX}: such ids are made from keys.")
    for name in DeviceSent.__struct_fields__:
        if not (getattr(sent, name) or "").isprintable():
            raise InvalidRequest(f"device.{name} is one line of printable characters.")
    return sent


def identify(sent: DeviceSent, key: PublicKey) -> tuple[str, bool]:
    """The identifier of the device at the door, and whether it is derived from its key."""
    return (f"{DERIVED_PREFIX}{key.thumbprint}", True) if sent.id is None else (sent.id, False)


def register(tx: Transaction, seen: Iterable[Device]) -> None:
    """Writes the devices of logins, which for a known one say already what it keeps.

    Their users are locked, or new in this transaction, so that no device outlives a deleted user.
    """
    rows = {(device.app_id, device.uid, device.device_id): _row_of(device) for device in seen}
    tx.write(REGISTER, [rows[key] for key in sorted(rows)])


def device_of(row: Sequence[Any]) -> Device:
    """The device in a row that begins with DEVICE_COLUMNS."""
    app_id, uid, device_id, derived, thumbprint, label, about, *rest = row[: len(DEVICE_COLUMNS)]
    return Device(app_id, uid, device_id, derived == "yes", thumbprint, label, _decode_about(about), *rest)


def _row_of(device: Device) -> tuple[Any, ...]:
    return (
        device.app_id,
        device.uid,
        device.device_id,
        "yes" if device.derived else "no",
        device.key_thumbprint,
        device.label,
        _encode(device.about).decode(),
        device.first_seen_at,
        device.last_seen_at,
    )


def people_on(tx: Transaction, app_id: str, device_id: str, most: int) -> list[str]:
    """The uids of at most so many who have signed in from the device of this identifier."""
    which = {"app": app_id, "device": device_id, "most": most}
    return list(tx.execute(PEOPLE_ON, which).scalars())
