"""Sessions: one enrollment of a user on a device, renewed by every login under the same key."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec.structs import replace
from sqlalchemy import bindparam, exists, func, select
from sqlalchemy.dialects.postgresql import insert

from admit import clock
from admit.accounts import devices, users
from admit.accounts.devices import Device
from admit.accounts.keys import PublicKey
from admit.accounts.tables import devices as devices_table
from admit.accounts.tables import sessions
from admit.accounts.tables import users as users_table
from admit.accounts.users import Key, User
from admit.storage.lookups import Lookup
from admit.storage.rows import Change, Insertion
from admit.storage.transaction import Transaction

State = Literal["ENROLLED", "LOCKED", "RESET"]


class Session(msgspec.Struct, frozen=True):
    """One enrollment; the fields are the columns of the table. `ordinal` counts those of a user on a device.

    `public_key` is the PEM whose owner may refresh until `refresh_until`. `client_id` is the API client that
    vouched for the user, if one did, `actor` the owner who signed in as the user, if one did. `newest_stamp`
    is the newest `time_stamp` of an accepted refresh.
    """

    app_id: str
    session_id: str
    uid: str
    device_id: str
    ordinal: int
    state: State
    public_key: str
    key_thumbprint: str
    client_id: str | None
    actor: str | None
    scopes: str
    created_at: int
    authenticated_at: int
    signed_out_at: int | None
    refresh_until: int
    newest_stamp: int


class OpenSession(msgspec.Struct, frozen=True, kw_only=True):
    """A login that is due a session. `newcomer`: `user` was created in this very unit.

    `actor`: an owner, by email, who signs in as the user. It is no login of the user's.
    """

    user: User
    newcomer: bool
    device_id: str
    derived: bool
    public_key: PublicKey
    client_id: str | None
    scopes: tuple[str, ...]
    refresh_until: int
    now: int
    actor: str | None = None


class Opened(msgspec.Struct, frozen=True):
    """A login has its session. `opened`: this one was opened by it, not renewed.

    `first_for_user`: it was opened, and is the first of the user's own on any device.
    """

    user: User
    session: Session
    device: Device
    opened: bool
    first_for_user: bool


class NoSession(msgspec.Struct, frozen=True):
    """A login gets no session, because meanwhile the user was deactivated or deleted."""

    reason: Literal["deactivated", "deleted"]


SESSION_COLUMNS = tuple(sessions.c[name] for name in Session.__struct_fields__)

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
RENEW = Change(
    sessions,
    (sessions.c.app_id, sessions.c.session_id),
    (sessions.c.client_id, sessions.c.scopes, sessions.c.authenticated_at, sessions.c.refresh_until),
)
TOUCH_LOGIN = Change(users_table, (users_table.c.app_id, users_table.c.uid), (users_table.c.last_login_at,))
FIND_EACH = Lookup(select(*SESSION_COLUMNS), (sessions.c.app_id, sessions.c.session_id))
FIND = select(*SESSION_COLUMNS).where(
    sessions.c.app_id == bindparam("app"), sessions.c.session_id == bindparam("session")
)
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

    The newest session of a user's device is renewed where it is ENROLLED under the same key; anything else
    opens the next. Twins in one list share what the first of them gets. The lock on the user keeps every
    other process out until this one commits, so that twins there renew what was opened here. Callers
    record what was opened (`facts.record_start`), behind the facts that led to it.
    """
    residents = _lock_residents(tx, items)
    welcome = [item for item in items if _refusal(item, residents) is None]
    _touch_logins(tx, [item for item in welcome if not item.newcomer and item.actor is None])
    devices.register(tx, [_device_of(item) for item in welcome])
    newest = _newest(tx, {_place_of(item) for item in welcome if not item.newcomer})
    enrolled = _enrolled_before(tx, welcome, newest)

    opened: dict[str, Session] = {}
    renewed: dict[str, Session] = {}
    results: list[Opened | NoSession] = []
    for item in items:
        if (refusal := _refusal(item, residents)) is not None:
            results.append(refusal)
            continue
        device, session = newest.get(_place_of(item)) or (_device_of(item), None)
        if is_new := session is None or not _may_renew(session, item):
            session = _next_session(item, session)
            opened[session.session_id] = session
        else:
            session = _renewal(session, item)
            (opened if session.session_id in opened else renewed)[session.session_id] = session
        newest[_place_of(item)] = device, session
        is_first = is_new and item.actor is None and _key(item.user) not in enrolled
        if is_first:
            enrolled.add(_key(item.user))
        results.append(Opened(_user_of(item, residents), session, device, is_new, is_first))
    _write(tx, opened.values(), renewed.values())
    return results


def find(tx: Transaction, app_id: str, session_id: str) -> Session | None:
    """The session, whatever its state; None if there is none, or its user was deleted."""
    row = tx.execute(FIND, {"app": app_id, "session": session_id}).one_or_none()
    return None if row is None else session_of(row)


def find_each(tx: Transaction, keys: list[Key]) -> list[Session | None]:
    """The sessions of (app_id, session_id), as `find` has them. List form."""
    found = {(row[0], row[1]): session_of(row) for row in FIND_EACH.rows(tx, keys)}
    return [found.get(key) for key in keys]


def session_of(row: Sequence[Any]) -> Session:
    """The session in a row of SESSION_COLUMNS."""
    return Session(*row)


def _lock_residents(tx: Transaction, items: Sequence[OpenSession]) -> dict[Key, User]:
    keys = {_key(item.user) for item in items if not item.newcomer}
    return users.by_uid(tx, keys, lock=True) if keys else {}


def _user_of(item: OpenSession, residents: Mapping[Key, User]) -> User:
    user = item.user if item.newcomer else residents[_key(item.user)]
    return replace(user, last_login_at=item.now) if item.actor is None else user


def _refusal(item: OpenSession, residents: Mapping[Key, User]) -> NoSession | None:
    user = item.user if item.newcomer else residents.get(_key(item.user))
    if user is None:
        return NoSession("deleted")
    return None if user.deactivated_at is None else NoSession("deactivated")


def _touch_logins(tx: Transaction, items: Sequence[OpenSession]) -> None:
    logins = {_key(item.user): item.now for item in items}
    tx.write(TOUCH_LOGIN, [(*key, now) for key, now in logins.items()])


def _newest(tx: Transaction, places: Iterable[_Place]) -> dict[_Place, tuple[Device, Session | None]]:
    found: dict[_Place, tuple[Device, Session | None]] = {}
    for row in NEWEST.rows(tx, places):
        device = devices.device_of(row)
        rest = row[len(devices.DEVICE_COLUMNS) :]
        # Without a session yet, the outer join leaves nothing but NULLs.
        session = None if rest[0] is None else session_of(rest)
        found[device.app_id, device.uid, device.device_id] = device, session
    return found


def _enrolled_before(
    tx: Transaction, items: Iterable[OpenSession], newest: Mapping[_Place, tuple[Device, Session | None]]
) -> set[Key]:
    """Who of those who may be about to enroll has done so before, on some device."""
    known: set[Key] = set()
    asked: set[Key] = set()
    for item in items:
        if item.newcomer or item.actor is not None:
            continue
        _, session = newest[_place_of(item)]
        (asked if session is None or session.actor is not None else known).add(_key(item.user))
    return known | {(row.app_id, row.uid) for row in ENROLLED_BEFORE.rows(tx, asked - known)}


def _key(user: User) -> Key:
    return user.app_id, user.uid


def _place_of(item: OpenSession) -> _Place:
    return item.user.app_id, item.user.uid, item.device_id


def _device_of(item: OpenSession) -> Device:
    return Device(
        app_id=item.user.app_id,
        uid=item.user.uid,
        device_id=item.device_id,
        derived=item.derived,
        key_thumbprint=item.public_key.thumbprint,
        first_seen_at=item.now,
        last_seen_at=item.now,
    )


def _may_renew(session: Session, item: OpenSession) -> bool:
    return (
        session.state == "ENROLLED"
        and session.key_thumbprint == item.public_key.thumbprint
        and session.actor == item.actor
    )


def _next_session(item: OpenSession, newest: Session | None) -> Session:
    return Session(
        app_id=item.user.app_id,
        session_id=clock.new_id("ses"),
        uid=item.user.uid,
        device_id=item.device_id,
        ordinal=1 if newest is None else newest.ordinal + 1,
        state="ENROLLED",
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
    )


def _renewal(session: Session, item: OpenSession) -> Session:
    return replace(
        session,
        client_id=item.client_id,
        scopes=" ".join(item.scopes),
        authenticated_at=item.now,
        refresh_until=item.refresh_until,
    )


def _write(tx: Transaction, opened: Collection[Session], renewed: Collection[Session]) -> None:
    tx.write(OPEN, [msgspec.structs.astuple(session) for session in opened])
    tx.write(
        RENEW,
        [
            (
                session.app_id,
                session.session_id,
                session.client_id,
                session.scopes,
                session.authenticated_at,
                session.refresh_until,
            )
            for session in renewed
        ],
    )
