"""A walk past everybody who lives in an app, their devices or their sessions, in the order of the keys.

However many there are, a page reads as many rows as it was asked for.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, assert_never

import msgspec
from sqlalchemy import Integer, Select, Text, bindparam, func, select, tuple_

from admit.accounts import sessions, users
from admit.accounts.devices import DEVICE_COLUMNS, Device, device_of
from admit.accounts.sessions import SESSION_COLUMNS, Session, session_of
from admit.accounts.tables import devices as devices_table
from admit.accounts.tables import sessions as sessions_table
from admit.accounts.tables import users as users_table
from admit.accounts.users import User
from admit.storage.database import Database
from admit.storage.lookups import Lookup
from admit.storage.transaction import Transaction

COUNTED_AT_ONCE = 50_000

Of = Literal["user", "device", "session"]

Key = tuple[str | int, ...]
"""Where a row stands: uid; uid and device_id; uid, device_id and ordinal. () is before all."""

_APP = bindparam("app", type_=Text)
# Written into the statement, so that PostgreSQL plans for few rows also when it no longer looks at values.
_MOST = bindparam("most", type_=Integer, literal_execute=True)
_BEFORE_LAST = bindparam("before_last", type_=Integer, literal_execute=True)

_user_key = (users_table.c.uid,)
_device_key = (devices_table.c.uid, devices_table.c.device_id)
_session_key = (sessions_table.c.uid, sessions_table.c.device_id, sessions_table.c.ordinal)


def _first(key: Sequence[Any], *columns: Any) -> Select[Any]:
    """Rows in the order of `key`."""
    return select(*columns).where(key[0].table.c.app_id == _APP).order_by(*key)


def _next(key: Sequence[Any], *columns: Any) -> Select[Any]:
    """Rows in the order of `key`, from behind one."""
    last = [bindparam(f"last_{place}", type_=each.type) for place, each in enumerate(key)]
    return _first(key, *columns).where(key[0] > last[0] if len(key) == 1 else tuple_(*key) > tuple_(*last))


def _count(rows: Select[Any]) -> Select[Any]:
    return select(func.count()).select_from(rows.limit(_MOST).subquery())


FIRST_USERS = _first(_user_key, *_user_key).limit(_MOST)
NEXT_USERS = _next(_user_key, *_user_key).limit(_MOST)
FIRST_DEVICES = _first(_device_key, *DEVICE_COLUMNS).limit(_MOST)
NEXT_DEVICES = _next(_device_key, *DEVICE_COLUMNS).limit(_MOST)
FIRST_SESSIONS = _first(_session_key, *SESSION_COLUMNS).limit(_MOST)
NEXT_SESSIONS = _next(_session_key, *SESSION_COLUMNS).limit(_MOST)

CHOSEN_DEVICE_IDS = select(devices_table.c.device_id).where(
    devices_table.c.app_id == _APP,
    devices_table.c.uid == bindparam("of_uid"),
    devices_table.c.derived == "no",
)

COUNT_FIRST_USERS = _count(_first(_user_key, *_user_key))
COUNT_NEXT_USERS = _count(_next(_user_key, *_user_key))
COUNT_FIRST_DEVICES = _count(_first(_device_key, *_device_key))
COUNT_NEXT_DEVICES = _count(_next(_device_key, *_device_key))
COUNT_FIRST_SESSIONS = _count(_first(_session_key, *_session_key))
COUNT_NEXT_SESSIONS = _count(_next(_session_key, *_session_key))

END_OF_FIRST_USERS = _first(_user_key, *_user_key).offset(_BEFORE_LAST).limit(1)
END_OF_NEXT_USERS = _next(_user_key, *_user_key).offset(_BEFORE_LAST).limit(1)
END_OF_FIRST_DEVICES = _first(_device_key, *_device_key).offset(_BEFORE_LAST).limit(1)
END_OF_NEXT_DEVICES = _next(_device_key, *_device_key).offset(_BEFORE_LAST).limit(1)
END_OF_FIRST_SESSIONS = _first(_session_key, *_session_key).offset(_BEFORE_LAST).limit(1)
END_OF_NEXT_SESSIONS = _next(_session_key, *_session_key).offset(_BEFORE_LAST).limit(1)

DEVICES = Lookup(
    select(*DEVICE_COLUMNS), (devices_table.c.app_id, devices_table.c.uid, devices_table.c.device_id)
)

_own = sessions_table.alias()
# Where only an owner who acted as the user has been, the user has no device.
NEWEST_SESSIONS = Lookup(
    select(*SESSION_COLUMNS).where(
        sessions_table.c.ordinal
        == select(func.max(_own.c.ordinal))
        .where(
            _own.c.app_id == sessions_table.c.app_id,
            _own.c.uid == sessions_table.c.uid,
            _own.c.device_id == sessions_table.c.device_id,
            _own.c.actor.is_(None),
        )
        .scalar_subquery()
    ),
    (sessions_table.c.app_id, sessions_table.c.uid, sessions_table.c.device_id),
)

_WALKS: dict[Of, tuple[Select[Any], Select[Any]]] = {
    "user": (FIRST_USERS, NEXT_USERS),
    "device": (FIRST_DEVICES, NEXT_DEVICES),
    "session": (FIRST_SESSIONS, NEXT_SESSIONS),
}
_COUNTS: dict[Of, tuple[Select[Any], Select[Any]]] = {
    "user": (COUNT_FIRST_USERS, COUNT_NEXT_USERS),
    "device": (COUNT_FIRST_DEVICES, COUNT_NEXT_DEVICES),
    "session": (COUNT_FIRST_SESSIONS, COUNT_NEXT_SESSIONS),
}
_ENDS: dict[Of, tuple[Select[Any], Select[Any]]] = {
    "user": (END_OF_FIRST_USERS, END_OF_NEXT_USERS),
    "device": (END_OF_FIRST_DEVICES, END_OF_NEXT_DEVICES),
    "session": (END_OF_FIRST_SESSIONS, END_OF_NEXT_SESSIONS),
}


class Resident(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody at one stop of the walk: with a device and the newest session of their own on it, with a
    session and its device, or with neither."""

    user: User
    device: Device | None = None
    session: Session | None = None


class Stop(msgspec.Struct, frozen=True):
    """One row of the walk. `resident` None: nobody who could be told of, such as of a session that ended."""

    key: Key
    resident: Resident | None


def page(tx: Transaction, app_id: str, of: Of, after: Key, most: int) -> list[Stop]:
    """The next `most` rows behind `after`.

    The people are locked until the transaction ends, so that nobody is told of who is being deleted; whoever
    is gone meanwhile is nobody, and so is, of sessions, what is not ENROLLED.
    """
    first, following = _WALKS[of]
    rows = tx.execute(following if after else first, _parameters(app_id, after) | {"most": most}).all()
    keys: list[Key]
    found: dict[Key, Resident]
    match of:
        case "user":
            keys = [(row[0],) for row in rows]
            found = {(each.user.uid,): each for each in _people(tx, app_id, [row[0] for row in rows])}
        case "device":
            visited = [device_of(row) for row in rows]
            keys = [(each.uid, each.device_id) for each in visited]
            found = {_device_of(each): each for each in _devices(tx, app_id, visited)}
        case "session":
            opened = [session_of(row) for row in rows]
            keys = [(each.uid, each.device_id, each.ordinal) for each in opened]
            found = {_session_of(each): each for each in _sessions(tx, app_id, opened)}
        case _:
            assert_never(of)
    return [Stop(key, found.get(key)) for key in keys]


def user(tx: Transaction, app_id: str, uid: str) -> Resident | None:
    """The stop of a user; None: nobody, any more. Locked as by `page`."""
    return _one(_people(tx, app_id, [uid]))


def device(tx: Transaction, app_id: str, uid: str, device_id: str) -> Resident | None:
    """The stop of a device; None: as for `user`."""
    found = [device_of(row) for row in DEVICES.rows(tx, [(app_id, uid, device_id)])]
    return _one(_devices(tx, app_id, found))


def chosen_device_ids(tx: Transaction, app_id: str, uid: str) -> list[str]:
    """The identifiers of all devices of a user, but those that are derived, which may be many more."""
    return list(tx.execute(CHOSEN_DEVICE_IDS, {"app": app_id, "of_uid": uid}).scalars())


def session(tx: Transaction, app_id: str, session_id: str) -> Resident | None:
    """The stop of a session that is ENROLLED; None: as for `user`."""
    found = [session_of(row) for row in sessions.FIND_EACH.rows(tx, [(app_id, session_id)])]
    return _one(_sessions(tx, app_id, found))


async def count(db: Database, app_id: str, of: Of) -> int:
    """How many rows a walk comes by. Counted in the index, a piece at a time, apart from the writer."""
    total = 0
    after: Key | None = ()
    while after is not None:
        counted, after = await db.read(partial(_count_some, app_id=app_id, of=of, after=after))
        total += counted
    return total


def _count_some(tx: Transaction, app_id: str, of: Of, after: Key) -> tuple[int, Key | None]:
    """How many rows the next piece has, and where it ends; None: that was the last one."""
    which, place = _parameters(app_id, after), int(bool(after))
    end = tx.execute(_ENDS[of][place], which | {"before_last": COUNTED_AT_ONCE - 1}).one_or_none()
    if end is not None:
        return COUNTED_AT_ONCE, tuple(end)
    counted: int = tx.execute(_COUNTS[of][place], which | {"most": COUNTED_AT_ONCE}).scalar_one()
    return counted, None


def _parameters(app_id: str, after: Key) -> dict[str, Any]:
    return {"app": app_id} | {f"last_{place}": each for place, each in enumerate(after)}


def _people(tx: Transaction, app_id: str, uids: Sequence[str]) -> list[Resident]:
    return [Resident(user=each) for each in _locked(tx, app_id, uids).values()]


def _devices(tx: Transaction, app_id: str, found: Sequence[Device]) -> list[Resident]:
    people = _locked(tx, app_id, [each.uid for each in found])
    keys = [(app_id, each.uid, each.device_id) for each in found]
    newest = {(each.uid, each.device_id): each for each in map(session_of, NEWEST_SESSIONS.rows(tx, keys))}
    return [
        Resident(user=people[each.uid], device=each, session=newest[each.uid, each.device_id])
        for each in found
        if each.uid in people and (each.uid, each.device_id) in newest
    ]


def _sessions(tx: Transaction, app_id: str, found: Sequence[Session]) -> list[Resident]:
    people = _locked(tx, app_id, [each.uid for each in found])
    keys = [(app_id, each.uid, each.device_id) for each in found]
    known = {(each.uid, each.device_id): each for each in map(device_of, DEVICES.rows(tx, keys))}
    return [
        Resident(user=people[each.uid], device=known[each.uid, each.device_id], session=each)
        for each in found
        if each.state == "ENROLLED" and each.uid in people and (each.uid, each.device_id) in known
    ]


def _device_of(resident: Resident) -> Key:
    assert resident.device is not None
    return resident.user.uid, resident.device.device_id


def _session_of(resident: Resident) -> Key:
    assert resident.session is not None
    return resident.session.uid, resident.session.device_id, resident.session.ordinal


def _locked(tx: Transaction, app_id: str, uids: Sequence[str]) -> dict[str, User]:
    found = users.by_uid(tx, [(app_id, uid) for uid in uids], lock=True)
    return {each.uid: each for each in found.values()}


def _one(found: Sequence[Resident]) -> Resident | None:
    return found[0] if found else None
