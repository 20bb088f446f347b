"""Opening sessions: every login is given its own, renewed under the same key, else the next of its device."""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace
from sqlalchemy import exists, func, select
from sqlalchemy.dialects.postgresql import insert

from admit import clock
from admit.accounts import device_limits, devices, users
from admit.accounts.app_settings import AppSettings
from admit.accounts.device_limits import Full
from admit.accounts.devices import NOT_SENT, Device, DeviceSent
from admit.accounts.keys import PublicKey
from admit.accounts.sessions import SESSION_COLUMNS, Reason, Session, session_of
from admit.accounts.tables import devices as devices_table
from admit.accounts.tables import sessions
from admit.accounts.tables import users as users_table
from admit.accounts.users import Key, User
from admit.storage.lookups import Lookup
from admit.storage.rows import Change, Insertion
from admit.storage.transaction import Transaction


class OpenSession(msgspec.Struct, frozen=True, kw_only=True):
    """A login that is due a session. `newcomer`: `user` was created in this very unit.

    `sent`: what the client says of its device. `actor`: an owner, by email, who signs in as the user. It is
    no login of the user's.
    """

    user: User
    newcomer: bool
    settings: AppSettings
    sent: DeviceSent = NOT_SENT
    public_key: PublicKey
    client_id: str | None
    scopes: tuple[str, ...]
    refresh_until: int
    now: int
    actor: str | None = None


class Closed(msgspec.Struct, frozen=True):
    """A session that a login has ended or locked, as it is now."""

    session: Session
    device: Device


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A login has its session. `opened`: this one was opened by it, not renewed.

    `first_for_user`: it was opened, and is the first of the user's own on any device. `previous`: the session
    of this user on this device before it. `key_changed`: that one had another key, though the client says
    that it is the same device. `closed`: sessions that it has put an end to.
    """

    user: User
    session: Session
    device: Device
    opened: bool
    first_for_user: bool
    previous: str | None = None
    key_changed: bool = False
    closed: tuple[Closed, ...] = ()


class NoSession(msgspec.Struct, frozen=True):
    """A login gets no session: meanwhile the user was deactivated, locked or deleted, or as many devices as
    allowed, `devices_max`, are enrolled already, and `device` is one more."""

    reason: Literal["deactivated", "locked", "deleted", "device_limit"]
    user: User | None = None
    device: Device | None = None
    devices_max: int = 0


_earlier = sessions.alias()
NEWEST = Lookup(
    select(*devices.DEVICE_COLUMNS, *SESSION_COLUMNS)
    .select_from(devices_table)
    .outerjoin(
        sessions,
        (sessions.c.app_id == devices_table.c.app_id)
        & (sessions.c.uid == devices_table.c.uid)
        & (sessions.c.device_id == devices_table.c.device_id)
        & (
            sessions.c.ordinal
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
OPEN = Insertion(insert(sessions))
CHANGE = Change(
    sessions,
    (sessions.c.app_id, sessions.c.session_id),
    (
        sessions.c.state,
        sessions.c.reason,
        sessions.c.client_id,
        sessions.c.scopes,
        sessions.c.authenticated_at,
        sessions.c.signed_out_at,
        sessions.c.refresh_until,
        sessions.c.connected_at,
    ),
)
TOUCH_LOGIN = Change(users_table, (users_table.c.app_id, users_table.c.uid), (users_table.c.last_login_at,))
# Sessions of owners who acted as them count for nobody.
ENROLLED_BEFORE = Lookup(
    select(users_table.c.app_id, users_table.c.uid).where(
        exists().where(
            sessions.c.app_id == users_table.c.app_id,
            sessions.c.uid == users_table.c.uid,
            sessions.c.actor.is_(None),
        )
    ),
    (users_table.c.app_id, users_table.c.uid),
)

_Place = tuple[str, str, str]
"""A user's device: app_id, uid, device_id. Its newest session is the one that a login may renew."""


def open_or_renew(tx: Transaction, items: Sequence[OpenSession]) -> list[Opened | NoSession]:
    """Gives each login its session, in list form.

    The newest session of a user's device is renewed where it is ENROLLED, or waits for its person to prove
    again who they are, under the same key; anything else opens the next, and ends what was ENROLLED there.
    Twins in one list share what the first of them gets. The lock on the user keeps every other process out
    until this one commits, so that twins there renew what was opened here, and no two devices take the last
    place. Callers record what was opened (`facts.record_start`), behind the facts that led to it, and who was
    refused (`facts.record_refusal`).
    """
    logins = _Logins(tx, items)
    results = [logins.decide(item) for item in items]
    logins.write(tx)
    return results


class _Logins:
    """The logins of one unit, decided one behind the other on what is stored, then written together."""

    def __init__(self, tx: Transaction, items: Sequence[OpenSession]) -> None:
        residents = {_key(item.user) for item in items if not item.newcomer}
        self._residents = users.by_uid(tx, residents, lock=True) if residents else {}
        self._newest = _newest(tx, {_place_of(item) for item in items if not item.newcomer})
        self._enrolled_before = self._find_enrolled_before(tx, items)
        self._enrolled_on = device_limits.enrolled_on(
            tx, {_key(user) for item in items if (user := self._limited(item)) is not None}
        )
        self._opened: dict[str, Session] = {}
        self._changed: dict[str, Session] = {}
        self._seen: list[Device] = []
        self._logins: dict[Key, int] = {}

    def decide(self, item: OpenSession) -> Opened | NoSession:
        """What becomes of a login, given those that were decided before."""
        user = self._user(item)
        if (refusal := _refusal(user)) is not None:
            return refusal
        assert user is not None
        place = _place_of(item)
        known, before = self._newest.get(place, (None, None))
        device = _device_of(item, known)
        if before is not None and _may_renew(before, item):
            session = self._keep(_renewal(before, item))
            opened = Opened(user=user, session=session, device=device, opened=False, first_for_user=False)
        else:
            too_many = self._too_many(item, user, device)
            if isinstance(too_many, Full):
                return NoSession("device_limit", user, device, too_many.devices_max)
            closed = [Closed(self._close(session, "device_limit", item.now), of) for of, session in too_many]
            if before is not None and before.state == "ENROLLED" and before.actor == item.actor:
                closed.insert(0, Closed(self._close(before, "replaced", item.now), device))
            session = _next_session(item, before)
            self._opened[session.session_id] = session
            opened = Opened(
                user=user,
                session=session,
                device=device,
                opened=True,
                first_for_user=item.actor is None and self._first(user),
                previous=None if before is None else before.session_id,
                key_changed=before is not None and before.key_thumbprint != session.key_thumbprint,
                closed=tuple(closed),
            )
        self._note(item, device, session)
        return opened

    def write(self, tx: Transaction) -> None:
        """Writes what was decided: users, devices, sessions."""
        tx.write(TOUCH_LOGIN, [(*key, now) for key, now in self._logins.items()])
        devices.register(tx, self._seen)
        tx.write(OPEN, [msgspec.structs.astuple(session) for session in self._opened.values()])
        tx.write(CHANGE, [_change_of(session) for session in self._changed.values()])
        for session in self._changed.values():
            if session.state != "ENROLLED":
                tx.signal("session", session.key)

    def _user(self, item: OpenSession) -> User | None:
        user = item.user if item.newcomer else self._residents.get(_key(item.user))
        return user if user is None or item.actor is not None else replace(user, last_login_at=item.now)

    def _limited(self, item: OpenSession) -> User | None:
        """The user of `item`, if there is a limit to the devices that they have enrolled already."""
        user = None if item.newcomer or item.actor is not None else self._residents.get(_key(item.user))
        return None if user is None or device_limits.limit_of(item.settings, user) is None else user

    def _too_many(
        self, item: OpenSession, user: User, device: Device
    ) -> Full | Sequence[device_limits.Enrolled]:
        limit = device_limits.limit_of(item.settings, user)
        if limit is None or item.actor is not None:
            return ()
        return device_limits.make_room(limit, device, self._enrolled_on.get(_key(user), ()), item.now)

    def _first(self, user: User) -> bool:
        is_first = _key(user) not in self._enrolled_before
        self._enrolled_before.add(_key(user))
        return is_first

    def _close(self, session: Session, reason: Reason, now: int) -> Session:
        closed = replace(session, state="LOCKED", reason=reason, signed_out_at=now)
        on = self._enrolled_on.get((session.app_id, session.uid), [])
        on[:] = [each for each in on if each[1].session_id != session.session_id]
        place = session.app_id, session.uid, session.device_id
        if (newest := self._newest.get(place)) is not None:
            self._newest[place] = newest[0], closed
        return self._keep(closed)

    def _keep(self, session: Session) -> Session:
        written = self._opened if session.session_id in self._opened else self._changed
        written[session.session_id] = session
        return session

    def _note(self, item: OpenSession, device: Device, session: Session) -> None:
        self._newest[_place_of(item)] = device, session
        self._seen.append(device)
        if item.actor is not None:
            return
        if not item.newcomer:
            self._logins[_key(item.user)] = item.now
        on = self._enrolled_on.setdefault(_key(item.user), [])
        on[:] = [each for each in on if each[0].device_id != device.device_id] + [(device, session)]

    def _find_enrolled_before(self, tx: Transaction, items: Iterable[OpenSession]) -> set[Key]:
        """Who of those who may be about to enroll has done so before, on some device."""
        known: set[Key] = set()
        asked: set[Key] = set()
        for item in items:
            if item.newcomer or item.actor is not None:
                continue
            _, session = self._newest.get(_place_of(item), (None, None))
            (asked if session is None or session.actor is not None else known).add(_key(item.user))
        return known | {(row.app_id, row.uid) for row in ENROLLED_BEFORE.rows(tx, asked - known)}


def _refusal(user: User | None) -> NoSession | None:
    if user is None:
        return NoSession("deleted")
    if user.deactivated_at is not None:
        return NoSession("deactivated")
    return None if user.locked_at is None else NoSession("locked")


def _newest(tx: Transaction, places: Iterable[_Place]) -> dict[_Place, tuple[Device | None, Session | None]]:
    found: dict[_Place, tuple[Device | None, Session | None]] = {}
    for row in NEWEST.rows(tx, places):
        device = devices.device_of(row)
        rest = row[len(devices.DEVICE_COLUMNS) :]
        # Without a session yet, the outer join leaves nothing but NULLs.
        session = None if rest[0] is None else session_of(rest)
        found[device.app_id, device.uid, device.device_id] = device, session
    return found


def _key(user: User) -> Key:
    return user.app_id, user.uid


def _place_of(item: OpenSession) -> _Place:
    return item.user.app_id, item.user.uid, devices.identify(item.sent, item.public_key)[0]


def _device_of(item: OpenSession, known: Device | None) -> Device:
    """The device as this login leaves it. What it is not told anew, `known` keeps."""
    device_id, derived = devices.identify(item.sent, item.public_key)
    about = item.sent.about
    if known is not None and about == NOT_SENT.about:
        about = known.about
    return Device(
        app_id=item.user.app_id,
        uid=item.user.uid,
        device_id=device_id,
        derived=derived,
        key_thumbprint=item.public_key.thumbprint,
        label=item.sent.label or (known.label if known else ""),
        about=about,
        first_seen_at=known.first_seen_at if known else item.now,
        last_seen_at=item.now,
    )


def _may_renew(session: Session, item: OpenSession) -> bool:
    return (
        (session.state == "ENROLLED" or session.reason == "reauthenticate")
        and session.key_thumbprint == item.public_key.thumbprint
        and session.actor == item.actor
    )


def _next_session(item: OpenSession, newest: Session | None) -> Session:
    return Session(
        app_id=item.user.app_id,
        session_id=clock.new_id("ses"),
        uid=item.user.uid,
        device_id=devices.identify(item.sent, item.public_key)[0],
        ordinal=1 if newest is None else newest.ordinal + 1,
        state="ENROLLED",
        reason="",
        public_key=item.public_key.pem,
        key_thumbprint=item.public_key.thumbprint,
        client_id=item.client_id,
        actor=item.actor,
        scopes=" ".join(item.scopes),
        created_at=item.now,
        authenticated_at=item.now,
        signed_out_at=None,
        refresh_until=item.refresh_until,
        newest_stamp=0,
        connected_at=item.now,
        wiped_at=None,
    )


def _renewal(session: Session, item: OpenSession) -> Session:
    return replace(
        session,
        state="ENROLLED",
        reason="",
        client_id=item.client_id,
        scopes=" ".join(item.scopes),
        authenticated_at=item.now,
        refresh_until=item.refresh_until,
        connected_at=max(session.connected_at, item.now),
    )


def _change_of(session: Session) -> tuple[object, ...]:
    """A row for CHANGE."""
    return (
        session.app_id,
        session.session_id,
        session.state,
        session.reason,
        session.client_id,
        session.scopes,
        session.authenticated_at,
        session.signed_out_at,
        session.refresh_until,
        session.connected_at,
    )
