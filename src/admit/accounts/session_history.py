"""What a login has to know of the past: the newest session of a device, and whether its user is new."""

from collections.abc import Iterable

from sqlalchemy import exists, func, select

from admit.accounts import devices
from admit.accounts.devices import Device
from admit.accounts.sessions import SESSION_COLUMNS, Session, session_of
from admit.accounts.tables import devices as devices_table
from admit.accounts.tables import sessions as sessions_table
from admit.accounts.tables import users as users_table
from admit.accounts.users import Key
from admit.storage.lookups import Lookup
from admit.storage.transaction import Transaction

_earlier = sessions_table.alias()
NEWEST = Lookup(
    select(*devices.DEVICE_COLUMNS, *SESSION_COLUMNS)
    .select_from(devices_table)
    .outerjoin(
        sessions_table,
        (sessions_table.c.app_id == devices_table.c.app_id)
        & (sessions_table.c.uid == devices_table.c.uid)
        & (sessions_table.c.device_id == devices_table.c.device_id)
        & (
            sessions_table.c.ordinal
            == select(func.max(_earlier.c.ordinal))
            .where(
                _earlier.c.app_id == devices_table.c.app_id,
                _earlier.c.uid == devices_table.c.uid,
                _earlier.c.device_id == devices_table.c.device_id,
            )
            .scalar_subquery()
        ),
    ),
    (devices_table.c.app_id, devices_table.c.uid, devices_table.c.device_id),
)
# Sessions of owners who acted as them count for nobody.
ENROLLED_BEFORE = Lookup(
    select(users_table.c.app_id, users_table.c.uid).where(
        exists().where(
            sessions_table.c.app_id == users_table.c.app_id,
            sessions_table.c.uid == users_table.c.uid,
            sessions_table.c.actor.is_(None),
        )
    ),
    (users_table.c.app_id, users_table.c.uid),
)

Place = tuple[str, str, str]
"""A user's device: app_id, uid, device_id. Its newest session is the one that a login may renew."""

History = dict[Place, tuple[Device | None, Session | None]]
"""By place, what is known of the device, and its newest session."""


def newest_on(tx: Transaction, places: Iterable[Place]) -> History:
    """The devices that were seen before, with the newest session of each that has one."""
    found: History = {}
    for row in NEWEST.rows(tx, places):
        device = devices.device_of(row)
        rest = row[len(devices.DEVICE_COLUMNS) :]
        # Without a session yet, the outer join leaves nothing but NULLs.
        session = None if rest[0] is None else session_of(rest)
        found[device.app_id, device.uid, device.device_id] = device, session
    return found


def enrolled_before(tx: Transaction, people: Iterable[Key]) -> set[Key]:
    """Who of `people` has had a session of their own, on whatever device."""
    return {(row.app_id, row.uid) for row in ENROLLED_BEFORE.rows(tx, people)}
