"""What events tell of the people of this room, their devices and sessions."""

from msgspec import UNSET

from admit.accounts.devices import Device
from admit.accounts.sessions import Opened, Session
from admit.accounts.users import User
from admit.clock import iso_date
from admit.events import catalog, log
from admit.events.catalog import (
    Data,
    DeviceEnrolled,
    SessionStarted,
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
    """Records that a session was opened, if `opened` is no renewal, and what led to it.

    `verdict`: the one that let the user in, in this very unit. A session of an owner who acts as the user is
    no enrollment of the user's.
    """
    if not opened.opened:
        return
    for data in _start(opened, sign_in, verdict):
        record(tx, opened.user, data, now)


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
        identifier=device.device_id, derived=device.derived, first_seen=iso_date(device.first_seen_at)
    )


def session_of(session: Session) -> catalog.Session:
    """What is told of a session."""
    return catalog.Session(id=session.session_id, ordinal=session.ordinal)


def _start(opened: Opened, sign_in: SignIn, verdict: Verdict | None) -> list[Data]:
    user, device, session = person_of(opened.user), _device_opened(opened), session_of(opened.session)
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


def _device_opened(opened: Opened) -> catalog.Device:
    """The device that a login came from. Whether it was a first time is told of the user's own logins."""
    if opened.session.actor is not None:
        return device_of(opened.device)
    return catalog.Device(
        identifier=opened.device.device_id,
        derived=opened.device.derived,
        first_seen=iso_date(opened.device.first_seen_at),
        first_for_user=opened.first_for_user,
        first_for_device=opened.session.ordinal == 1,
    )
