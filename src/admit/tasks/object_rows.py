"""Objects as tasks see them: read for them, and placed where they would be written."""

from collections.abc import Sequence
from contextlib import aclosing
from functools import partial
from typing import assert_never

import msgspec

from admit.accounts.apps import App
from admit.data import new_objects, object_pages, object_walk, realms, table_settings
from admit.data.merging import NOT_SUPPORTED
from admit.data.new_objects import NewObject, NoKey, OtherKey
from admit.data.object_pages import Row
from admit.data.realms import PUBLIC, PUBLIC_REALM, Realm
from admit.data.table_settings import TableSetting
from admit.data.values import fault_of_key, fault_of_object, fault_of_table, read_json
from admit.errors import Conflict, InvalidRequest, NotFound
from admit.signin.proof import user_id_as_known
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from admit.task.wire import FindObject, ObjectRow, ObjectsFound, PageOfObjects, Placed, PlaceObject

OBJECTS_MAX = 1_000
PAGE_BYTES_MAX = 4_000_000
WALKED_MAX = 5_000
"""Of a page, with the places of objects that were deleted."""


def find(tx: Transaction, app: App, asked: FindObject) -> ObjectRow | None:
    """The object and its place. Raises InvalidRequest, NotFound and Conflict."""
    _check_table(asked.table)
    if asked.realm_id:
        realm = realm_of(tx, app, asked.realm_id)
        return _at(tx, app, asked.table, realm, new_objects.kept_key(asked.key, realm))
    kept = new_objects.kept_key(asked.key, PUBLIC_REALM)
    rows = object_pages.wherever(tx, app.app_id, [(asked.table, kept)])[asked.table, kept]
    if len(rows) > 1:
        raise Conflict(f"Several realms have an object {kept!r} in {asked.table}. Say which one.")
    shown = _shown(tx, app, rows)
    return shown[0] if shown else None


def place(tx: Transaction, app: App, asked: PlaceObject, now: int) -> Placed:
    """Where an object would be put. Raises InvalidRequest, NotFound and Conflict."""
    _check_table(asked.table)
    realm = realm_of(tx, app, asked.realm_id)
    known = table_settings.of_names(tx, app.app_id, [asked.table])
    setting = known.get(asked.table, TableSetting(name=asked.table))
    made = as_stored(setting, realm, asked.key or None, asked.value, now)
    before = _at(tx, app, asked.table, realm, made.key)
    if realm.realm != PUBLIC and (asked.table, PUBLIC, made.key) in object_pages.of_keys(
        tx, app.app_id, [(asked.table, PUBLIC, made.key)]
    ):
        raise Conflict(f"The realm {PUBLIC} has an object {made.key!r} in {asked.table}.")
    return Placed(before, msgspec.json.encode(made.value))


def as_stored(setting: TableSetting, realm: Realm, key: str | None, value: bytes, now: int) -> NewObject:
    """What a task wants to put, as it is stored. Raises InvalidRequest."""
    read = read_json(value)
    if (fault := fault_of_object(read)) is not None:
        raise InvalidRequest(fault)
    match new_objects.new_object(setting, realm, read, key=key, at_ms=now):
        case NoKey():
            raise InvalidRequest(
                f"The object has no key at {setting.primary_key or 'all'!r}, and the table {setting.name} "
                "makes none."
            )
        case OtherKey():
            raise InvalidRequest(f"The object carries another key than {key!r}.")
        case NewObject() as made:
            fault = fault_of_key(made.key) or fault_of_object(made.value)
            if fault is not None:
                raise InvalidRequest(fault)
            return made
        case other:
            assert_never(other)


def realm_of(tx: Transaction, app: App, realm_id: str) -> Realm:
    """The realm that tasks call so. Raises NotFound."""
    spelt = realm_id if realm_id == PUBLIC else user_id_as_known(app, realm_id)
    found = realms.by_id(tx, app.app_id, [spelt])
    if spelt not in found:
        raise NotFound(f"There is no user {spelt!r}, so there is no such realm.", code="user_not_found")
    return found[spelt]


async def page(db: Database, app: App, asked: PageOfObjects) -> ObjectsFound:
    """A page of a table, as many objects as a message may well have. Raises InvalidRequest and NotFound."""
    _check_table(asked.table)
    realm = await db.read(partial(realm_of, app=app, realm_id=asked.realm_id)) if asked.realm_id else None
    after = asked.after
    if realm is not None and after is not None:
        after = realm.realm, new_objects.kept_key(after[1], realm)
    most = max(1, min(asked.limit, OBJECTS_MAX))
    rows: list[Row] = []
    size, walked, stored = 0, 0, None if realm is None else realm.realm
    last: tuple[str, str] | None = None
    async with aclosing(object_walk.walk(db, app.app_id, asked.table, stored, after)) as pages:
        async for found in pages:
            for row in found.rows:
                rows.append(row)
                size += len(row.value or "")
                if len(rows) == most or size >= PAGE_BYTES_MAX:
                    last = row.place
                    break
            walked += found.walked
            if last is None and walked >= WALKED_MAX:
                last = found.after
            if last is not None:
                break
    shown = await db.read(partial(_shown, app=app, rows=rows))
    return ObjectsFound(tuple(shown), last, "" if realm is None else realm.realm_id)


def version_of(row: Row | None) -> str:
    """What changes with every change of the object."""
    return "" if row is None else str(row.revision)


def _check_table(name: str) -> None:
    if (fault := fault_of_table(name)) is not None:
        raise InvalidRequest(fault)
    if name in NOT_SUPPORTED:
        raise InvalidRequest(f"This server does not keep the table {name}: nobody shares realms here.")


def _at(tx: Transaction, app: App, table: str, realm: Realm, key: str) -> ObjectRow:
    row = object_pages.of_keys(tx, app.app_id, [(table, realm.realm, key)]).get((table, realm.realm, key))
    return ObjectRow(
        table=table,
        realm=realm.realm,
        realm_id=realm.realm_id,
        key=key,
        version=version_of(row),
        value=None if row is None or row.value is None else row.value.encode(),
    )


def _shown(tx: Transaction, app: App, rows: Sequence[Row]) -> list[ObjectRow]:
    """Without those of people who have just been deleted."""
    known = realms.named(tx, app.app_id, {row.realm for row in rows})
    return [
        ObjectRow(
            table=row.table,
            realm=row.realm,
            realm_id=known[row.realm].realm_id,
            key=row.key,
            version=version_of(row),
            value=(row.value or "").encode(),
        )
        for row in rows
        if row.realm in known
    ]
