"""Opening sessions: every login is given its own, renewed under the same key, else the next of its device."""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace
from sqlalchemy.dialects.postgresql import insert

from admit import clock
from admit.accounts import device_limits, devices, session_history, sessions, users
from admit.accounts.app_settings import AppSettings
from admit.accounts.device_limits import Enrolled, Full, Limit
from admit.accounts.devices import NOT_SENT, Device, DeviceSent
from admit.accounts.keys import PublicKey
from admit.accounts.session_history import Place
from admit.accounts.session_standing import goes_on
from admit.accounts.sessions import Reason, Session
from admit.accounts.tables import sessions as sessions_table
from admit.accounts.tables import users as users_table
from admit.accounts.users import Key, User
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

    `unlocked`: it was renewed, and had waited for that. `first_for_user`: it was opened, and is the first of
    the user's own on any device. `previous`: the session of this user on this device before it.
    `key_changed`: that one had another key, though the client says that it is the same device. `closed`:
    sessions that it has put an end to.
    """

    user: User
    session: Session
    device: Device
    opened: bool
    unlocked: bool = False
    first_for_user: bool = False
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


OPEN = Insertion(insert(sessions_table))
CHANGE = Change(
    sessions_table,
    (sessions_table.c.app_id, sessions_table.c.session_id),
    (
        sessions_table.c.state,
        sessions_table.c.reason,
        sessions_table.c.client_id,
        sessions_table.c.scopes,
        sessions_table.c.authenticated_at,
        sessions_table.c.signed_out_at,
        sessions_table.c.refresh_until,
        sessions_table.c.connected_at,
    ),
)
TOUCH_LOGIN = Change(users_table, (users_table.c.app_id, users_table.c.uid), (users_table.c.last_login_at,))


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
        self._newest = session_history.newest_on(tx, {_place_of(item) for item in items if not item.newcomer})
        self._enrolled_before = self._find_enrolled_before(tx, items)
        self._limits = self._find_limits(items)
        known = {key: limit for key, limit in self._limits.items() if key in self._residents}
        self._enrolled_on = device_limits.enrolled_on(tx, known)
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
        known, before = self._newest.get(_place_of(item), (None, None))
        device = _device_of(item, known)
        renewable = before if before is not None and _may_renew(before, item) else None
        closed: list[Closed] = []
        if renewable is None or renewable.state != "ENROLLED":
            room = self._make_room(item, user, device)
            if isinstance(room, Full):
                return NoSession("device_limit", user, device, room.devices_max)
            closed = [Closed(self._close(session, "device_limit", item.now), of) for of, session in room]
        if renewable is None:
            opened = self._open(item, user, device, before, closed)
        else:
            opened = self._renew(item, user, device, renewable, closed)
        self._note(item, opened)
        return opened

    def _renew(
        self, item: OpenSession, user: User, device: Device, before: Session, closed: list[Closed]
    ) -> Opened:
        session = self._keep(_renewal(before, item))
        return Opened(
            user=user,
            session=session,
            device=device,
            opened=False,
            unlocked=before.state != "ENROLLED",
            closed=tuple(closed),
        )

    def _open(
        self, item: OpenSession, user: User, device: Device, before: Session | None, closed: list[Closed]
    ) -> Opened:
        if before is not None and before.state == "ENROLLED" and before.actor == item.actor:
            closed.insert(0, Closed(self._close(before, _end_of(before, item), item.now), device))
        session = _next_session(item, before)
        self._opened[session.session_id] = session
        return Opened(
            user=user,
            session=session,
            device=device,
            opened=True,
            first_for_user=item.actor is None and self._first(user),
            previous=None if before is None else before.session_id,
            key_changed=before is not None and before.key_thumbprint != session.key_thumbprint,
            closed=tuple(closed),
        )

    def write(self, tx: Transaction) -> None:
        """Writes what was decided: users, devices, sessions."""
        tx.write(TOUCH_LOGIN, [(*key, now) for key, now in self._logins.items()])
        devices.register(tx, self._seen)
        tx.write(OPEN, [msgspec.structs.astuple(session) for session in self._opened.values()])
        changed = self._changed.values()
        if len(changed) > 1:
            sessions.hold(tx, [(session.app_id, session.session_id) for session in changed])
        tx.write(CHANGE, [_change_of(session) for session in changed])
        for session in changed:
            if session.state != "ENROLLED":
                tx.signal("session", session.key)

    def _user(self, item: OpenSession) -> User | None:
        user = item.user if item.newcomer else self._residents.get(_key(item.user))
        return user if user is None or item.actor is not None else replace(user, last_login_at=item.now)

    def _find_limits(self, items: Iterable[OpenSession]) -> dict[Key, Limit]:
        """The limits of those who sign in themselves."""
        limits: dict[Key, Limit] = {}
        for item in items:
            user = None if item.actor is not None else self._user(item)
            if user is not None and (limit := device_limits.limit_of(item.settings, user)) is not None:
                limits[_key(user)] = limit
        return limits

    def _make_room(self, item: OpenSession, user: User, device: Device) -> Full | Sequence[Enrolled]:
        limit = self._limits.get(_key(user))
        if limit is None or item.actor is not None:
            return ()
        enrolled = self._enrolled_on.get(_key(user), {})
        return device_limits.make_room(limit, device, enrolled.values(), item.now)

    def _first(self, user: User) -> bool:
        is_first = _key(user) not in self._enrolled_before
        self._enrolled_before.add(_key(user))
        return is_first

    def _close(self, session: Session, reason: Reason, now: int) -> Session:
        closed = replace(session, state="LOCKED", reason=reason, signed_out_at=now)
        self._enrolled_on.get((session.app_id, session.uid), {}).pop(session.session_id, None)
        place = session.app_id, session.uid, session.device_id
        if (newest := self._newest.get(place)) is not None:
            self._newest[place] = newest[0], closed
        return self._keep(closed)

    def _keep(self, session: Session) -> Session:
        written = self._opened if session.session_id in self._opened else self._changed
        written[session.session_id] = session
        return session

    def _note(self, item: OpenSession, opened: Opened) -> None:
        device, session = opened.device, opened.session
        self._newest[_place_of(item)] = device, session
        self._seen.append(device)
        if item.actor is not None:
            return
        key = _key(item.user)
        if not item.newcomer:
            self._logins[key] = item.now
        if (limit := self._limits.get(key)) is not None and limit.counts(device):
            self._enrolled_on.setdefault(key, {})[session.session_id] = device, session

    def _find_enrolled_before(self, tx: Transaction, items: Iterable[OpenSession]) -> set[Key]:
        """Who of those who may be about to enroll has done so before, on some device."""
        known: set[Key] = set()
        asked: set[Key] = set()
        for item in items:
            if item.newcomer or item.actor is not None:
                continue
            _, session = self._newest.get(_place_of(item), (None, None))
            (asked if session is None or session.actor is not None else known).add(_key(item.user))
        return known | session_history.enrolled_before(tx, asked - known)


def _refusal(user: User | None) -> NoSession | None:
    if user is None:
        return NoSession("deleted")
    if user.deactivated_at is not None:
        return NoSession("deactivated")
    return None if user.locked_at is None else NoSession("locked")


def _key(user: User) -> Key:
    return user.app_id, user.uid


def _place_of(item: OpenSession) -> Place:
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
    if session.key_thumbprint != item.public_key.thumbprint or session.actor != item.actor:
        return False
    return session.reason == "reauthenticate" or (session.state == "ENROLLED" and _goes_on(session, item))


def _goes_on(session: Session, item: OpenSession) -> bool:
    return goes_on(session, now=item.now, idle_days=item.settings.session_idle_days)


def _end_of(before: Session, item: OpenSession) -> Reason:
    """Why the session before ends: by itself, though nobody has told it yet, or in favour of the next."""
    if _goes_on(before, item):
        return "replaced"
    return "expired" if before.refresh_until <= item.now else "inactive"


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
