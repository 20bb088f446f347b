"""Backfill: what an endpoint is told of those who lived here before it was made.

Nothing of it is in the log. So a delivery encloses what it tells, and has an id from which that can be made
once more.
"""

import hashlib
from collections.abc import Sequence

import msgspec
from msgspec import UNSET
from sqlalchemy import bindparam, select

from admit.accounts import facts, people_walk
from admit.accounts.devices import DERIVED_PREFIX
from admit.accounts.people_walk import Of, Resident
from admit.events.catalog import Data, DeviceEnrolled, SessionStarted, UserEnrolled
from admit.events.log import Reach, events
from admit.events.subscriptions import Fact
from admit.storage.transaction import Transaction
from admit.webhooks.campaigns import CLOCKS_APART_MS, TYPE_OF, Place
from admit.webhooks.delivery import Enclosed

EVENTS_LOOKED_AT_MAX = 500

TOLD_SINCE = (
    select(events.c.data)
    .where(
        events.c.app_id == bindparam("app"),
        events.c.uid == bindparam("of_uid"),
        events.c.position > bindparam("after"),
        events.c.type == bindparam("of_type"),
    )
    .order_by(events.c.position)
    .limit(EVENTS_LOOKED_AT_MAX)
)


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One row as an endpoint is told of it."""

    delivery_id: str
    fact: Fact
    payload: str


def told(place: Place, of: Of, resident: Resident) -> Told:
    """What the endpoint is told of `resident`."""
    happened_at, data = _happened_at(of, resident), _data(of, resident)
    text = msgspec.json.encode(data)
    enclosed = Enclosed(
        event_id=f"evt_backfill_{_name(of, resident)}",
        type=TYPE_OF[of],
        occurred_at=happened_at,
        data=msgspec.Raw(text),
        backfill=True,
    )
    return Told(
        delivery_id=f"dlv_{of}_{place.endpoint_id[-12:]}_{_name(of, resident)}",
        fact=Fact(TYPE_OF[of], resident.user.uid, 0, happened_at, text.decode()),
        payload=msgspec.json.encode(enclosed).decode(),
    )


def rows_of(delivery_id: str) -> Of | None:
    """Of what rows a delivery tells; None: it is not of a backfill."""
    match delivery_id.split("_", 2)[1]:
        case "user" | "device" | "session" as of:
            return of
        case _:
            return None


def once_more(tx: Transaction, place: Place, delivery_id: str, uid: str) -> str | None:
    """The payload of a delivery of a backfill, as things are now; None: the row is gone."""
    of, name = rows_of(delivery_id), delivery_id.split("_", 3)[3]
    match of:
        case "user":
            resident = people_walk.user(tx, place.app_id, uid)
        case "device":
            device_id = _device_named(tx, place.app_id, uid, name)
            resident = None if device_id is None else people_walk.device(tx, place.app_id, uid, device_id)
        case "session":
            resident = people_walk.session(tx, place.app_id, name)
        case None:
            return None
    return None if resident is None else told(place, of, resident).payload


def lived_here_before(
    tx: Transaction, place: Place, reach: Reach, of: Of, residents: Sequence[Resident]
) -> list[Resident]:
    """Those of whom the endpoint was not told when they came: they were here before it was made.

    Times tell that of nearly all. Where they are so close that clocks could be wrong, the log does.
    """
    return [each for each in residents if _was_here(tx, place, reach, of, each)]


def _was_here(tx: Transaction, place: Place, reach: Reach, of: Of, resident: Resident) -> bool:
    happened_at = _happened_at(of, resident)
    close = abs(happened_at - place.created_at) <= CLOCKS_APART_MS
    if not close or reach.forgotten > place.told_from:
        return happened_at < place.created_at
    which = {
        "app": place.app_id,
        "of_uid": resident.user.uid,
        "after": place.told_from,
        "of_type": TYPE_OF[of],
    }
    mark = _mark(of, resident)
    return not any(mark in data for data in tx.execute(TOLD_SINCE, which).scalars())


def _happened_at(of: Of, resident: Resident) -> int:
    match of:
        case "user":
            return resident.user.created_at
        case "device":
            assert resident.device is not None
            return resident.device.first_seen_at
        case "session":
            assert resident.session is not None
            return resident.session.created_at


def _data(of: Of, resident: Resident) -> Data:
    user = facts.person_of(resident.user)
    if of == "user":
        return UserEnrolled(user=user)
    assert resident.device is not None
    assert resident.session is not None
    device = facts.device_of(resident.device)
    session = facts.session_of(resident.session)
    if of == "device":
        return DeviceEnrolled(user=user, device=device, session=session)
    actor = UNSET if resident.session.actor is None else resident.session.actor
    return SessionStarted(user=user, device=device, session=session, actor=actor)


def _name(of: Of, resident: Resident) -> str:
    """The row, in letters that ids may have."""
    match of:
        case "user":
            return resident.user.uid
        case "device":
            assert resident.device is not None
            return _device_name(resident.user.uid, resident.device.device_id, resident.device.derived)
        case "session":
            assert resident.session is not None
            return resident.session.session_id


def _device_name(uid: str, device_id: str, derived: bool) -> str:
    """Ids outlive whom they tell of, and an identifier that a client chose may say who that was."""
    told = device_id if derived else hashlib.sha256(f"{uid} {device_id}".encode()).hexdigest()[:32]
    return f"{uid}_{told}"


def _device_named(tx: Transaction, app_id: str, uid: str, name: str) -> str | None:
    """The device of the user with that name; None: it is gone."""
    told = name.removeprefix(f"{uid}_")
    if told.startswith(DERIVED_PREFIX):
        return told
    chosen = people_walk.chosen_device_ids(tx, app_id, uid)
    return next((each for each in chosen if _device_name(uid, each, derived=False) == name), None)


def _mark(of: Of, resident: Resident) -> str:
    """What stands in the data of the event that told of the row."""
    match of:
        case "user":
            return ""
        case "device":
            assert resident.device is not None
            return _member("identifier", resident.device.device_id)
        case "session":
            assert resident.session is not None
            return _member("id", resident.session.session_id)


def _member(name: str, value: str) -> str:
    return f'"{name}":{msgspec.json.encode(value).decode()}'
