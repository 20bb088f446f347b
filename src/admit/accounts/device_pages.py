"""Pages of the devices of a user, newest first, each with the newest session on it."""

import msgspec
from sqlalchemy import BigInteger, Text, and_, bindparam, func, select, tuple_

from admit.accounts.devices import DEVICE_COLUMNS, Device, device_of
from admit.accounts.people_walk import NEWEST_SESSIONS
from admit.accounts.session_pages import cursor_at, limits_of, read_cursor
from admit.accounts.sessions import Session, session_of
from admit.accounts.tables import devices
from admit.accounts.users import NEVER
from admit.storage.transaction import Transaction


class SeenDevice(msgspec.Struct, frozen=True):
    """A device, and the newest session of its user on it; None: only owners who acted as the user were."""

    device: Device
    newest: Session | None


class Page(msgspec.Struct, frozen=True):
    """Some devices, and how many there are in all. `next` leads on; None: that was all."""

    devices: list[SeenDevice]
    total: int
    next: str | None


_OF_USER = and_(
    devices.c.app_id == bindparam("app", type_=Text), devices.c.uid == bindparam("uid", type_=Text)
)
_BEHIND = tuple_(devices.c.first_seen_at, devices.c.device_id) < tuple_(
    bindparam("before_at", type_=BigInteger), bindparam("before_id", type_=Text)
)
PAGE = (
    select(*DEVICE_COLUMNS)
    .where(_OF_USER, _BEHIND)
    .order_by(devices.c.first_seen_at.desc(), devices.c.device_id.desc())
    .limit(bindparam("limit"))
    .offset(bindparam("skip"))
)
COUNT = select(func.count()).select_from(devices).where(_OF_USER)


def of_user(
    tx: Transaction, app_id: str, uid: str, *, limit: int, skip: int = 0, after: str | None = None
) -> Page:
    """The devices of a user, those first that were first seen last. Raises InvalidRequest.

    `after` is the `next` of another page, `skip` how many to pass over from there.
    """
    limits = limits_of(limit, skip, after)
    place: dict[str, object] = {"before_at": NEVER, "before_id": ""}
    if after is not None:
        position = read_cursor(after)
        place = {"before_at": position.value, "before_id": position.user_id}
    whose = {"app": app_id, "uid": uid}
    found = [device_of(row) for row in tx.execute(PAGE, whose | place | limits)]
    shown = found[:limit]
    keys = [(app_id, uid, each.device_id) for each in shown]
    newest = {each.device_id: each for each in map(session_of, NEWEST_SESSIONS.rows(tx, keys))}
    last = shown[-1] if len(found) > limit else None
    return Page(
        devices=[SeenDevice(each, newest.get(each.device_id)) for each in shown],
        total=tx.execute(COUNT, whose).scalar_one(),
        next=None if last is None else cursor_at(last.first_seen_at, last.device_id),
    )
