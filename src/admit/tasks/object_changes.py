"""What a run wants to be different in the app's tables, written as everybody else's writes are."""

from collections.abc import Mapping, Sequence
from typing import assert_never

from admit.accounts.apps import App
from admit.data import object_pages, object_writing, realms, table_settings, writing
from admit.data.authors import Author
from admit.data.object_writing import Undone, Want, Wanted
from admit.data.realms import Realm
from admit.data.table_settings import TableSetting
from admit.errors import InvalidRequest
from admit.storage.transaction import Transaction
from admit.task.wire import DeleteObject, PutObject
from admit.tasks.object_rows import as_stored, version_of
from admit.tasks.refusals import ChangesRefused, Overtaken

ObjectChange = PutObject | DeleteObject

TASK = Author(uid=None, user_id="", may_write_public=True)


def apply(tx: Transaction, app: App, changes: Sequence[ObjectChange], *, now: int) -> None:
    """Writes objects. Raises Overtaken and ChangesRefused: then the transaction is not to be committed."""
    writing.lock(tx, {(app.app_id, each.realm) for each in changes}, make=True)
    homes = realms.named(tx, app.app_id, {each.realm for each in changes})
    _check(tx, app, changes, homes)
    known = table_settings.of_names(tx, app.app_id, {each.table for each in changes})
    wants = [_want(each, homes[each.realm], known, now) for each in changes]
    wanted = Wanted(app_id=app.app_id, author=TASK, wants=wants, atomic=True, now=now)
    try:
        outcomes = object_writing.write(tx, wanted)
    except Undone as undone:
        outcomes = undone.outcomes
    for change, outcome in zip(changes, outcomes, strict=True):
        if outcome == "gone":
            raise Overtaken(f"{change.realm_id} has been deleted since the run has read them.")
        if object_writing.has_failed(outcome) and outcome != "not_tried":
            raise ChangesRefused(f"{_name(change)} cannot be written: {_SENTENCES.get(outcome, outcome)}.")
    tx.begin_unit()


_SENTENCES = {
    "public": "rlm-public has an object with its key",
    "unkeepable": "it is what no object can be",
}


def _check(tx: Transaction, app: App, changes: Sequence[ObjectChange], homes: Mapping[str, Realm]) -> None:
    places = [(each.table, each.realm, each.key) for each in changes]
    if len(set(places)) < len(places):
        raise ChangesRefused("A run changes an object once.")
    rows = object_pages.of_keys(tx, app.app_id, places)
    for change, place in zip(changes, places, strict=True):
        home = homes.get(change.realm)
        version = version_of(rows.get(place))
        if home is None or home.realm_id != change.realm_id or version != change.version:
            raise Overtaken(f"{_name(change)} has changed since the run has read it.")


def _want(change: ObjectChange, realm: Realm, known: Mapping[str, TableSetting], now: int) -> Want:
    match change:
        case PutObject(table=table, key=key, value=value):
            setting = known.get(table, TableSetting(name=table))
            try:
                made = as_stored(setting, realm, key, value, now)
            except InvalidRequest as error:
                raise ChangesRefused(f"{_name(change)} cannot be written: {error.message}") from error
            return Want(method="put", realm=realm, table=table, key=made.key, value=made.value)
        case DeleteObject(table=table, key=key):
            return Want(method="delete", realm=realm, table=table, key=key)
        case _:
            assert_never(change)


def _name(change: ObjectChange) -> str:
    return f"The object {change.key!r} of {change.table} in the realm {change.realm_id}"
