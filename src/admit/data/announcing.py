"""Announcing: what was written becomes events, where somebody wants to hear of it.

An app in which nobody does pays nothing but the look at its row of `data_apps`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET
from msgspec.structs import replace
from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert

from admit.data import model_hooks
from admit.data.changed import PUBLIC as PUBLIC
from admit.data.changed import Changed as Changed
from admit.data.tables import data_apps
from admit.events import log, subscriptions
from admit.events.data_facts import DataChange, DataChanged
from admit.events.log import Event
from admit.storage.transaction import Transaction

EVENT_CHANGES_MAX = 100
EVENT_BYTES_MAX = 1_000_000
"""Of the values of an event. One that is larger has an event to itself."""

TELLS = select(data_apps.c.tells).where(data_apps.c.app_id == bindparam("app"))
_set = insert(data_apps)
SET_TELLS = _set.on_conflict_do_update(index_elements=["app_id"], set_={"tells": _set.excluded.tells})

_encode = msgspec.json.Encoder().encode


class Listening(msgspec.Struct, frozen=True):
    """What an app wants to hear of: `tells`, its changes as events; `model_version`, 0 where it has no data
    model, whose hooks may fire."""

    tells: bool = False
    model_version: int = 0


def announce(tx: Transaction, changes: Sequence[Changed], listening: Mapping[str, Listening]) -> None:
    """Records what was written as events, in the unit that writes it, and lets the hooks of models fire.

    `listening`: by app, as read in this unit. An app that is not in it wants to hear of nothing.
    """
    nobody = Listening()
    _record(tx, [each for each in changes if listening.get(each.app_id, nobody).tells])
    model_hooks.fire(tx, changes, {app_id: each.model_version for app_id, each in listening.items()})


def watch(tx: Transaction, app_id: str) -> None:
    """Notes whether the changes of an app are told to anybody, paused or not.

    For whoever has changed its subscriptions in this unit, and holds its log (`log.audience_changes`).
    """
    tells = "yes" if subscriptions.anybody_names(tx, app_id, DataChanged.event_type) else "no"
    if tells != (tx.execute(TELLS, {"app": app_id}).scalar_one_or_none() or "no"):
        tx.execute(SET_TELLS, {"app_id": app_id, "tells": tells, "model_version": 0})


def _record(tx: Transaction, changes: Iterable[Changed]) -> None:
    by_realm: defaultdict[tuple[str, str], list[Changed]] = defaultdict(list)
    for each in changes:
        by_realm[each.app_id, each.realm].append(each)
    for (app_id, realm), of_realm in by_realm.items():
        uid = None if realm == PUBLIC else realm
        for piece in _pieces([_told(each) for each in of_realm]):
            data = DataChanged(changes=piece)
            log.record(tx, Event(app_id=app_id, uid=uid, occurred_at=of_realm[-1].now, data=data))


def _pieces(changes: Iterable[DataChange]) -> Iterable[tuple[DataChange, ...]]:
    """`changes` in their order, as many together as one event holds."""
    piece: list[DataChange] = []
    size = 0
    for each in changes:
        bytes_ = _size(each)
        if piece and (len(piece) == EVENT_CHANGES_MAX or size + bytes_ > EVENT_BYTES_MAX):
            yield tuple(piece)
            piece, size = [], 0
        piece.append(each)
        size += bytes_
    if piece:
        yield tuple(piece)


def _told(each: Changed) -> DataChange:
    told = DataChange(type=each.type, realm_id=each.realm_id, table=each.table, key=each.key)
    match each.type:
        case "delete":
            return told
        case "upsert":
            return _with_value(told, each)
        case "update":
            updates = msgspec.Raw(_encode(each.updates))
            # Paths can overwrite each other: what came of them is never larger than an object may be.
            if len(updates) > EVENT_BYTES_MAX:
                return _with_value(replace(told, type="upsert"), each)
            return replace(told, updates=updates)


def _with_value(told: DataChange, each: Changed) -> DataChange:
    assert each.value is not None
    properties = UNSET if each.before is None else _differing(each.before, each.value)
    return replace(told, value=msgspec.Raw(_encode(each.value)), properties=properties)


def _differing(before: Mapping[str, Any], value: Mapping[str, Any]) -> tuple[str, ...]:
    """The properties in which two states of an object differ. In JSON 1 is not true, and 1 is not 1.0."""
    missing = object()
    names = dict.fromkeys([*before, *value])
    return tuple(
        name
        for name in names
        if (old := before.get(name, missing)) is missing
        or (new := value.get(name, missing)) is missing
        or _encode(old) != _encode(new)
    )


def _size(each: DataChange) -> int:
    return sum(len(part) for part in (each.value, each.updates) if isinstance(part, msgspec.Raw))
