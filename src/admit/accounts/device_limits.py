"""How many devices a user may have enrolled at once, and what becomes of one too many."""

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import select

from admit.accounts.app_settings import AppSettings, WhenDevicesFull
from admit.accounts.devices import DEVICE_COLUMNS, Device, device_of
from admit.accounts.sessions import SESSION_COLUMNS, Session, session_of
from admit.accounts.tables import devices, sessions
from admit.accounts.users import Key, User
from admit.storage.lookups import Lookup
from admit.storage.transaction import Transaction

# Sessions of owners who act as the user are nobody's devices.
ENROLLED = Lookup(
    select(*DEVICE_COLUMNS, *SESSION_COLUMNS)
    .join_from(
        sessions,
        devices,
        (devices.c.app_id == sessions.c.app_id)
        & (devices.c.uid == sessions.c.uid)
        & (devices.c.device_id == sessions.c.device_id),
    )
    .where(sessions.c.state == "ENROLLED", sessions.c.actor.is_(None)),
    (sessions.c.app_id, sessions.c.uid),
)


class Limit(msgspec.Struct, frozen=True):
    """`most` devices of a user may be enrolled at once. `when_full`: the next one is refused, or it is let in
    and those not heard of for longest are locked. Derived devices count only if `counts_derived`."""

    most: int
    when_full: WhenDevicesFull
    counts_derived: bool

    def counts(self, device: Device) -> bool:
        """Whether `device` is one of those that are counted."""
        return self.counts_derived or not device.derived


class Full(msgspec.Struct, frozen=True):
    """One more device would be too many, and is refused."""

    devices_max: int


Enrolled = tuple[Device, Session]
"""A device, and the session that is enrolled on it."""


def limit_of(settings: AppSettings, user: User) -> Limit | None:
    """The limit that holds for `user`; None: there is none. Visitors of a demo share one user."""
    most = settings.devices_max if user.devices_max is None else user.devices_max
    if not most or user.type == "demo":
        return None
    return Limit(most, settings.when_devices_full, settings.count_derived_devices)


def enrolled_on(tx: Transaction, people: Iterable[Key]) -> dict[Key, list[Enrolled]]:
    """Where each of `people`, (app_id, uid), is enrolled."""
    found: dict[Key, list[Enrolled]] = {}
    for row in ENROLLED.rows(tx, people):
        device = device_of(row)
        found.setdefault((device.app_id, device.uid), []).append(
            (device, session_of(row[len(DEVICE_COLUMNS) :]))
        )
    return found


def make_room(
    limit: Limit, newcomer: Device, enrolled: Sequence[Enrolled], now: int
) -> Full | Sequence[Enrolled]:
    """What has to be locked, first what was not heard of for longest, before `newcomer` may enroll. Pure."""
    if not limit.counts(newcomer):
        return ()
    others = [
        (device, session)
        for device, session in enrolled
        if limit.counts(device) and device.device_id != newcomer.device_id and session.refresh_until > now
    ]
    too_many = len(others) + 1 - limit.most
    if too_many <= 0:
        return ()
    if limit.when_full == "refuse":
        return Full(limit.most)
    return sorted(others, key=lambda each: (each[1].connected_at, each[1].session_id))[:too_many]
