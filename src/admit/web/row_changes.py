"""Rows that a program wants written: from its request to operations, and from their outcomes to an error."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, assert_never

import msgspec

from admit.accounts.apps import App
from admit.data import new_objects, object_pages, object_writing, realms, table_settings
from admit.data.authors import Author
from admit.data.new_objects import NewObject, NoKey, OtherKey
from admit.data.object_writing import Outcome, Undone, Want, Wanted
from admit.data.realms import PUBLIC, PUBLIC_REALM, Realm
from admit.data.table_settings import TableSetting
from admit.data.values import fault_of_key, fault_of_object, fault_of_table
from admit.errors import AdmitError, Conflict, InvalidRequest, NotFound, Refused
from admit.gateway import Gateway
from admit.storage.database import Database
from admit.web.row_access import TABLES_OF_REALMS, no_such_realm

SEVERAL_REALMS = "several_realms"
OBJECT_NOT_FOUND = "object_not_found"


class Placed(msgspec.Struct, frozen=True):
    """An object from outside: in which table and realm, and under which key, None where it carries it."""

    table: TableSetting
    realm: Realm
    value: dict[str, Any]
    key: str | None = None


def check_table(name: str) -> None:
    """Raises InvalidRequest for a name that no table has, and NotBuilt for the tables of shared realms."""
    if name in TABLES_OF_REALMS:
        raise no_such_realm("rlm")
    if (fault := fault_of_table(name)) is not None:
        raise InvalidRequest(fault)


async def settings_of(db: Database, app: App, names: set[str]) -> dict[str, TableSetting]:
    """What is known of the tables, and what is assumed of others. Raises as `check_table` does."""
    for name in names:
        check_table(name)
    known = await db.read(partial(table_settings.of_names, app_id=app.app_id, names=names))
    return {name: known.get(name, TableSetting(name=name)) for name in names}


def to_put(placed: Placed, at_ms: int) -> Want:
    """The operation that puts the object. Raises InvalidRequest."""
    made = new_objects.new_object(placed.table, placed.realm, placed.value, key=placed.key, at_ms=at_ms)
    name = placed.table.name
    match made:
        case NoKey():
            raise InvalidRequest(
                f"The object has no key at {placed.table.primary_key or 'its address'!r}, and none is "
                f"made. `admit table set APP {name}` tells where it is, or that keys are made.",
                code="key_missing",
            )
        case OtherKey():
            raise InvalidRequest("The object carries another key than its address.")
        case NewObject(key=key, value=value):
            want = Want(method="put", realm=placed.realm, table=name, key=key, value=value)
            _check(want)
            return want
        case other:
            assert_never(other)


def to_patch(table: str, realm: Realm, key: str, changes: Mapping[str, Any]) -> Want:
    """The operation that changes some properties. Raises InvalidRequest."""
    for name in ("realmId", "owner"):
        if name in changes and changes[name] != realm.realm_id:
            raise InvalidRequest(f"{name} cannot be changed: put the object anew, and delete this one.")
    kept = new_objects.kept_key(key, realm)
    want = Want(method="patch", realm=realm, table=table, key=kept, value=dict(changes))
    _check(want)
    return want


def to_delete(table: str, realm: Realm, key: str) -> Want:
    """The operation that deletes an object."""
    return Want(method="delete", realm=realm, table=table, key=new_objects.kept_key(key, realm))


async def write(
    gateway: Gateway,
    app: App,
    author: Author,
    wants: Sequence[Want],
    *,
    atomic: bool,
    stops: bool = False,
    spares_unchanged: bool = False,
) -> list[Outcome]:
    """Does what is wanted, in one commit; one outcome for each."""
    if not wants:
        return []
    wanted = Wanted(
        app_id=app.app_id,
        author=author,
        wants=wants,
        atomic=atomic,
        stops=stops,
        spares_unchanged=spares_unchanged,
        now=gateway.clock(),
    )
    try:
        return await gateway.db.write(partial(object_writing.write, wanted=wanted))
    except Undone as undone:
        if atomic:
            return undone.outcomes
        return await _up_to_the_first(gateway, wanted, undone.outcomes)


async def _up_to_the_first(gateway: Gateway, wanted: Wanted, outcomes: list[Outcome]) -> list[Outcome]:
    """Does those before the first that has failed, which would have been done without it."""
    first = next(place for place, each in enumerate(outcomes) if each != "not_tried")
    before = msgspec.structs.replace(wanted, wants=wanted.wants[:first])
    done = await gateway.db.write(partial(object_writing.write, wanted=before)) if first else []
    rest: list[Outcome] = ["not_tried"] * (len(outcomes) - first - 1)
    return [*done, outcomes[first], *rest]


async def find(db: Database, app: App, table: str, key: str, realm: Realm | None) -> object_pages.Row:
    """The object `key` in `realm`, or in the only realm that has it. Raises NotFound and Conflict."""
    check_table(table)
    if realm is not None:
        place = (table, realm.realm, new_objects.kept_key(key, realm))
        found = await db.read(partial(object_pages.of_keys, app_id=app.app_id, wanted=[place]))
        if place not in found:
            raise no_such_object()
        return found[place]
    kept = new_objects.kept_key(key, PUBLIC_REALM)
    places = await db.read(partial(object_pages.wherever, app_id=app.app_id, wanted=[(table, kept)]))
    match places[table, kept]:
        case []:
            raise no_such_object()
        case [row]:
            return row
        case _:
            raise in_several_realms()


async def realm_of(db: Database, app: App, row: object_pages.Row) -> Realm:
    """The realm that `row` is in. Raises NotFound where its person has been deleted meanwhile."""
    found = await db.read(partial(realms.named, app_id=app.app_id, realms=[row.realm]))
    if row.realm not in found:
        raise no_such_object()
    return found[row.realm]


def error_of(outcome: Outcome) -> AdmitError:
    """What `outcome` means for who asked."""
    match outcome:
        case "missing":
            return no_such_object()
        case "taken":
            return Conflict("There is an object with this key already.", code="object_exists")
        case "public":
            return Conflict(f"The realm {PUBLIC} has an object with this key.", code="object_exists")
        case "gone":
            return Refused("This user does not exist any more.", code="user_not_found")
        case "unkeepable":
            return InvalidRequest("The object would become too large, or what no object can be.")
        case "not_tried":
            return Conflict("Not done, since another of these operations failed.", code="not_tried")
        case _:
            raise AssertionError(outcome)


def in_several_realms() -> Conflict:
    """For a key that says not enough."""
    return Conflict("Several realms have an object with this key. Say which: realmId.", code=SEVERAL_REALMS)


def no_such_object() -> NotFound:
    """For a key that nothing is kept under."""
    return NotFound("There is no such object.", code=OBJECT_NOT_FOUND)


def _check(want: Want) -> None:
    fault = fault_of_key(want.key) or fault_of_object(want.value)
    if fault is not None:
        raise InvalidRequest(fault)
