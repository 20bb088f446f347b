"""How many devices a user may have enrolled at once, and what becomes of one too many."""

from collections.abc import Collection, Mapping, Sequence

import msgspec
from sqlalchemy import Integer, bindparam, select

from admit.accounts.app_settings import DEVICES_MAX_MAX, AppSettings, WhenDevicesFull
from admit.accounts.devices import DEVICE_COLUMNS, Device, device_of
from admit.accounts.session_standing import goes_on
from admit.accounts.sessions import SESSION_COLUMNS, Session, session_of
from admit.accounts.tables import OWN_ENROLLED, devices, sessions
from admit.accounts.users import Key, User
from admit.storage.lookups import Lookup
from admit.storage.transaction import Transaction

LOCKED_AT_ONCE = 200
"""So many devices, at most, does one login lock: a limit may come long after the devices."""
LOOKED_AT = DEVICES_MAX_MAX + LOCKED_AT_ONCE
"""Of how many devices of a user it is looked at. Who has more has too many in any case."""

# Sessions of owners who act as the user are nobody's devices.
_ENROLLED = (
    select(*DEVICE_COLUMNS, *SESSION_COLUMNS)
    .join_from(
        sessions,
        devices,
        (devices.c.app_id == sessions.c.app_id)
        & (devices.c.uid == sessions.c.uid)
        & (devices.c.device_id == sessions.c.device_id),
    )
    .where(OWN_ENROLLED)
    .order_by(sessions.c.connected_at, sessions.c.session_id)
)
_USER = (sessions.c.app_id, sessions.c.uid)
_most = bindparam("most", type_=Integer)
ENROLLED = Lookup(_ENROLLED, _USER, each_max=_most)
ENROLLED_AS_SENT = Lookup(_ENROLLED.where(devices.c.derived == "no"), _USER, each_max=_most)


class Limit(msgspec.Struct, frozen=True):
    """`most` devices of a user may be enrolled at once. `when_full`: the next one is refused, or it is let in
    and those not heard of for longest are locked. Derived devices count only if `counts_derived`."""

    most: int
    when_full: WhenDevicesFull
    counts_derived: bool
    idle_days: int

    def counts(self, device: Device) -> bool:
        """Whether `device` is one of those that are counted."""
        return self.counts_derived or not device.derived

    def holds_place(self, session: Session, now: int) -> bool:
        """Whether an ENROLLED session still takes a place: nobody may have told its end yet."""
        return goes_on(session, now=now, idle_days=self.idle_days)


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
    return Limit(most, settings.when_devices_full, settings.count_derived_devices, settings.session_idle_days)


def enrolled_on(tx: Transaction, limits: Mapping[Key, Limit]) -> dict[Key, dict[str, Enrolled]]:
    """Where each of the users (app_id, uid) is enrolled on a device that counts, by session_id.

    At most LOOKED_AT of each, first what was not heard of for longest.
    """
    found: dict[Key, dict[str, Enrolled]] = {key: {} for key in limits}
    for lookup, derived in ((ENROLLED, True), (ENROLLED_AS_SENT, False)):
        people = [key for key, limit in limits.items() if limit.counts_derived is derived]
        for row in lookup.rows(tx, people, most=LOOKED_AT):
            device, session = device_of(row), session_of(row[len(DEVICE_COLUMNS) :])
            found[device.app_id, device.uid][session.session_id] = device, session
    return found


def make_room(
    limit: Limit, newcomer: Device, enrolled: Collection[Enrolled], now: int
) -> Full | Sequence[Enrolled]:
    """What has to be locked, first what was not heard of for longest, before `newcomer` may enroll. Pure.

    LOCKED_AT_ONCE at most; the next login locks the rest.
    """
    if not limit.counts(newcomer):
        return ()
    others = [
        (device, session)
        for device, session in enrolled
        if device.device_id != newcomer.device_id and limit.holds_place(session, now)
    ]
    too_many = len(others) + 1 - limit.most
    if too_many <= 0:
        return ()
    if limit.when_full == "refuse":
        return Full(limit.most)
    others.sort(key=lambda each: (each[1].connected_at, each[1].session_id))
    return others[: min(too_many, LOCKED_AT_ONCE)]
