"""What events tell of the people of this room, their devices and sessions."""

from typing import assert_never

from msgspec import UNSET
from msgspec.structs import replace

from admit.accounts.devices import Device
from admit.accounts.session_opening import NoSession, Opened
from admit.accounts.sessions import Session
from admit.accounts.users import User
from admit.clock import iso_date
from admit.events import catalog, log
from admit.events.catalog import (
    Data,
    DeviceEnrolled,
    DeviceRefused,
    RefusedDevice,
    SessionEnded,
    SessionLocked,
    SessionStarted,
    SessionUnlocked,
    SessionWipeConfirmed,
    SessionWiped,
    SignIn,
    UserEnrolled,
    UserImpersonated,
    Verdict,
)
from admit.events.log import Event
from admit.storage.transaction import Transaction


def record(tx: Transaction, user: User, data: Data, now: int) -> None:
    """Records a fact about `user`."""
    log.record(tx, Event(app_id=user.app_id, uid=user.uid, occurred_at=now, data=data))


def record_start(
    tx: Transaction, opened: Opened, sign_in: SignIn, now: int, *, verdict: Verdict | None = None
) -> None:
    """Records that a session was opened, or unlocked, what led to it, and what it has ended. Other renewals
    are no news.

    `verdict`: the one that let the user in, in this very unit. A session of an owner who acts as the user is
    no enrollment of the user's.
    """
    for closed in opened.closed:
        record_state(tx, opened.user, closed.device, closed.session, now)
    if opened.unlocked:
        record_state(tx, opened.user, opened.device, opened.session, now)
    if not opened.opened:
        return
    for data in _start(opened, sign_in, verdict):
        record(tx, opened.user, data, now)


def record_refusal(tx: Transaction, refused: NoSession, sign_in: SignIn, now: int) -> None:
    """Records that a user was refused on one more device, if that is why they got no session."""
    if refused.reason != "device_limit":
        return
    assert refused.user is not None
    assert refused.device is not None
    device = RefusedDevice(identifier=refused.device.device_id, derived=refused.device.derived)
    data = DeviceRefused(
        user=person_of(refused.user), device=device, sign_in=sign_in, devices_max=refused.devices_max
    )
    record(tx, refused.user, data, now)


def record_state(tx: Transaction, user: User, device: Device, session: Session, now: int) -> None:
    """Records what a session has just become: locked, unlocked, wiped or ended."""
    record(tx, user, _state(user, device, session), now)


def record_wiped(tx: Transaction, user: User, device: Device, session: Session, now: int) -> None:
    """Records that a wiped device says to have erased what it held."""
    data = SessionWipeConfirmed(user=person_of(user), device=device_of(device), session=session_of(session))
    record(tx, user, data, now)


def person_of(user: User) -> catalog.Person:
    """All that is told of a user who lives here."""
    return catalog.Person(
        uid=user.uid,
        user_id=user.user_id,
        type=user.type,
        email=user.email or UNSET,
        name=user.name or UNSET,
        data=UNSET if user.data is None else user.data,
    )


def device_of(device: Device) -> catalog.Device:
    """What is told of a device wherever no login is told."""
    return catalog.Device(
        identifier=device.device_id,
        derived=device.derived,
        first_seen=iso_date(device.first_seen_at),
        platform=device.about.platform or UNSET,
    )


def session_of(session: Session) -> catalog.Session:
    """What is told of a session."""
    return catalog.Session(id=session.session_id, ordinal=session.ordinal)


def _start(opened: Opened, sign_in: SignIn, verdict: Verdict | None) -> list[Data]:
    user, device = person_of(opened.user), _device_opened(opened)
    session = replace(session_of(opened.session), previous=opened.previous or UNSET)
    if (actor := opened.session.actor) is not None:
        return [
            UserImpersonated(user=user, device=device, session=session, sign_in=sign_in, actor=actor),
            SessionStarted(user=user, device=device, session=session, sign_in=sign_in, actor=actor),
        ]
    login: list[Data] = [
        DeviceEnrolled(user=user, device=device, session=session, sign_in=sign_in),
        SessionStarted(user=user, device=device, session=session, sign_in=sign_in),
    ]
    if verdict is None:
        return login
    return [
        UserEnrolled(user=user, device=device, session=session, sign_in=sign_in, verdict=verdict),
        *login,
    ]


def _state(user: User, device: Device, session: Session) -> Data:
    person, where, which = person_of(user), device_of(device), session_of(session)
    match session.reason:
        case "":
            return SessionUnlocked(user=person, device=where, session=which)
        case "wiped":
            return SessionWiped(user=person, device=where, session=which)
        case "locked" | "user_locked" | "device_limit" | "reauthenticate" as lock:
            return SessionLocked(user=person, device=where, session=which, reason=lock)
        case "logged_out" | "replaced" | "expired" | "inactive" as end:
            return SessionEnded(user=person, device=where, session=which, reason=end)
        case _:
            assert_never(session.reason)


def _device_opened(opened: Opened) -> catalog.Device:
    """The device that a login came from. Whether it was a first time is told of the user's own logins."""
    device = device_of(opened.device)
    if opened.session.actor is not None:
        return device
    return replace(
        device,
        first_for_user=opened.first_for_user,
        first_for_device=opened.session.ordinal == 1,
        key_changed=True if opened.key_changed else UNSET,
    )
