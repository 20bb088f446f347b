"""/api/apps/{app}/tables and …/objects: what people keep, for operators."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import msgspec
from starlette.responses import Response

from admit.accounts.apps import App
from admit.data import object_pages, object_walk, table_settings
from admit.data.authors import Author
from admit.data.object_pages import Row
from admit.data.object_writing import Want
from admit.data.realms import PUBLIC, Realm, named
from admit.data.table_settings import TableSetting
from admit.data.values import read_json
from admit.errors import InvalidRequest, NotFound
from admit.gateway import Gateway
from admit.web import object_batches, row_changes, row_lists
from admit.web.admin_types import PAGE_SIZE, PageSize, Text
from admit.web.object_batches import Asked
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app
from admit.web.row_access import find_realms

OBJECT_BODY_BYTES_MAX = 2_000_000
OPERATOR = Author(uid=None, user_id="", may_write_public=True)


class TableView(msgspec.Struct, frozen=True, kw_only=True):
    """A table. `known`: a client or an operator has told of it; else `primary_key` is what is assumed."""

    name: str
    primary_key: str
    id_prefix: str
    generated: bool
    known: bool


class TableChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be known of a table; what is left out stays as it is."""

    primary_key: str | None = None
    id_prefix: str | None = None
    generated: bool | None = None


class ObjectsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which objects: of one realm, behind a page. Any other name is a property and what it is."""

    realm_id: Text | None = None
    after: Text | None = None
    limit: PageSize = PAGE_SIZE


NAMES = frozenset(ObjectsQuery.__struct_fields__)


class ObjectQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In which realm, where several have the key or none has."""

    realm_id: Text | None = None


class CountQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which objects to count, and from where on. `rows`: at how many to look at most in this call."""

    realm_id: Text | None = None
    after: Text | None = None
    rows: Annotated[int, msgspec.Meta(ge=1, le=object_pages.COUNTED_ROWS_MAX)] = object_pages.COUNTED_ROWS_MAX


class ObjectView(msgspec.Struct, frozen=True, kw_only=True):
    """An object as it is stored. `revision`: of its realm, when it was changed."""

    realm_id: str
    table: str
    key: str
    value: msgspec.Raw
    revision: int
    changed_at: int


class ObjectPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some objects in the order of realm and key. `after` leads to the next page; None: there is none."""

    objects: list[ObjectView]
    after: str | None


class ObjectCount(msgspec.Struct, frozen=True, kw_only=True):
    """So many objects up to `after`; None: up to the end."""

    objects: int
    after: str | None


class ObjectPut(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An object to put. `realm_id` may be left out where one realm has the object already."""

    value: msgspec.Raw
    realm_id: Text | None = None


async def list_tables(call: Call) -> Response:
    """All tables that are known, or that have had objects."""
    app, db = await permitted_app(call), call.gateway.db
    known = await db.read(partial(table_settings.of_app, app_id=app.app_id))
    views = {each.name: _table(each, known=True) for each in known}
    async for name in object_walk.tables(db, app.app_id):
        views.setdefault(name, _table(TableSetting(name=name), known=False))
    return call.answer([views[name] for name in sorted(views)])


async def show_table(call: Call) -> Response:
    """One table."""
    app, name = await permitted_app(call), call.param("table")
    known = await call.gateway.db.read(partial(table_settings.of_names, app_id=app.app_id, names=[name]))
    if name not in known:
        raise NotFound("No client and no operator has told of this table.", code="table_not_found")
    return call.answer(_table(known[name], known=True))


async def set_table(call: Call) -> Response:
    """Tells of a table, or corrects what is known of it."""
    app, name, change = await permitted_app(call), call.param("table"), await call.json(TableChange)
    setting = (await row_changes.settings_of(call.gateway.db, app, {name}))[name]
    wanted = msgspec.structs.replace(
        setting, **{key: value for key, value in msgspec.structs.asdict(change).items() if value is not None}
    )
    table_settings.check(wanted)
    put = partial(table_settings.put, app_id=app.app_id, settings=[wanted], now=call.gateway.clock())
    if (refused := await call.gateway.db.write(put)) is not None:
        raise refused
    return call.answer(_table(wanted, known=True))


async def list_objects_of_table(call: Call) -> Response:
    """A page of the objects of a table."""
    app, query, table = await permitted_app(call), call.query(ObjectsQuery), call.param("table")
    realm = await _realm(call, app, query.realm_id)
    page = await row_lists.read_page(
        call.gateway.db,
        app.app_id,
        table,
        None if realm is None else realm.realm,
        None if query.after is None else row_lists.read_key(query.after),
        query.limit,
        row_lists.conditions_of(call, NAMES),
    )
    views = await _views(call.gateway, app, page.rows)
    return call.answer(ObjectPage(objects=views, after=page.paging_key))


async def count_objects_of_table(call: Call) -> Response:
    """How many objects a table has, a piece of it a call."""
    app, query, table = await permitted_app(call), call.query(CountQuery), call.param("table")
    realm = await _realm(call, app, query.realm_id)
    counted = await call.gateway.db.read(
        partial(
            object_pages.count,
            app_id=app.app_id,
            table=table,
            realm=None if realm is None else realm.realm,
            after=None if query.after is None else row_lists.read_key(query.after),
            rows_max=query.rows,
        )
    )
    after = None if counted.after is None else row_lists.write_key(counted.after)
    return call.answer(ObjectCount(objects=counted.objects, after=after))


async def show_object(call: Call) -> Response:
    """One object."""
    app = await permitted_app(call)
    realm = await _realm(call, app, call.query(ObjectQuery).realm_id)
    row = await row_changes.find(call.gateway.db, app, call.param("table"), call.param("key"), realm)
    return call.answer(await _view(call.gateway, app, row))


async def add_object(call: Call) -> Response:
    """Puts an object that carries its key, or is given one."""
    return await _put(call, None)


async def set_object(call: Call) -> Response:
    """Puts an object under a key."""
    return await _put(call, call.param("key"))


async def remove_object(call: Call) -> Response:
    """Deletes an object, which clients hear of."""
    app = await permitted_app(call)
    await _do(call, app, "delete", call.param("key"), call.query(ObjectQuery).realm_id, b"{}")
    return call.done()


async def _put(call: Call, key: str | None) -> Response:
    app, body = await permitted_app(call), await call.json(ObjectPut)
    done = await _do(call, app, "put", key, body.realm_id, bytes(body.value))
    row = await row_changes.find(call.gateway.db, app, call.param("table"), done.key, done.realm)
    return call.answer(await _view(call.gateway, app, row))


async def _do(
    call: Call, app: App, verb: object_batches.Verb, key: str | None, realm_id: str | None, value: bytes
) -> Want:
    given = read_json(value)
    if not isinstance(given, dict):
        raise InvalidRequest("An object is a JSON object.")
    asked = Asked(verb=verb, table=call.param("table"), key=key, realm_id=realm_id, value=given)
    [done] = await object_batches.do(call.gateway, app, OPERATOR, [asked], atomic=True)
    assert done.want is not None, "without an error it was done"
    return done.want


async def _realm(call: Call, app: App, realm_id: str | None) -> Realm | None:
    if realm_id is None:
        return None
    return (await find_realms(call.gateway.db, app, {realm_id}))[realm_id]


async def _view(gateway: Gateway, app: App, row: Row) -> ObjectView:
    views = await _views(gateway, app, [row])
    if not views:
        raise row_changes.no_such_object()
    return views[0]


async def _views(gateway: Gateway, app: App, rows: Sequence[Row]) -> list[ObjectView]:
    """What is shown of the rows, without those of people who are being deleted."""
    kept_in = {row.realm for row in rows}
    realms = await gateway.db.read(partial(named, app_id=app.app_id, realms=kept_in))
    return [
        ObjectView(
            realm_id=realms[row.realm].realm_id,
            table=row.table,
            key=row.key,
            value=msgspec.Raw(row.value or "{}"),
            revision=row.revision,
            changed_at=row.changed_at,
        )
        for row in rows
        if row.realm in realms
    ]


def _table(setting: TableSetting, *, known: bool) -> TableView:
    return TableView(
        name=setting.name,
        primary_key=setting.primary_key,
        id_prefix=setting.id_prefix,
        generated=setting.generated,
        known=known,
    )


_TABLES, _TABLE = "/apps/{app}/tables", "/apps/{app}/tables/{table}"
_OBJECTS, _OBJECT = "/apps/{app}/objects/{table}", "/apps/{app}/objects/{table}/{key}"
_REALM_CODES = ("realm_not_found", "realms_not_built")
_PUT_CODES = (*_REALM_CODES, "invalid_request", "too_large", "key_missing", "object_exists", "several_realms")
_WHICH_CODES = (*_REALM_CODES, "object_not_found", "several_realms")
READ, WRITE = "data:read", "data:write"
OPERATIONS = (
    admin("GET", _TABLES, list_tables, "Lists tables", READ, answer=list[TableView]),
    admin("GET", _TABLE, show_table, "Shows a table", READ, answer=TableView, codes=("table_not_found",)),
    admin(
        "PUT",
        _TABLE,
        set_table,
        "Tells where the keys of a table are, and whether they are made",
        WRITE,
        body=TableChange,
        answer=TableView,
        codes=("invalid_request", "conflict", "realms_not_built"),
    ),
    admin(
        "GET",
        _OBJECTS,
        list_objects_of_table,
        f"Lists objects of a table, of a person or of {PUBLIC}, page by page",
        READ,
        query=ObjectsQuery,
        answer=ObjectPage,
        codes=_REALM_CODES,
    ),
    admin(
        "GET",
        "/apps/{app}/object-counts/{table}",
        count_objects_of_table,
        "Counts objects of a table, a piece of it a call",
        READ,
        query=CountQuery,
        answer=ObjectCount,
        codes=_REALM_CODES,
    ),
    admin(
        "POST",
        _OBJECTS,
        add_object,
        "Puts an object that carries its key, or is given one",
        WRITE,
        body=ObjectPut,
        answer=ObjectView,
        codes=_PUT_CODES,
        body_bytes_max=OBJECT_BODY_BYTES_MAX,
    ),
    admin(
        "GET",
        _OBJECT,
        show_object,
        "Shows an object",
        READ,
        query=ObjectQuery,
        answer=ObjectView,
        codes=_WHICH_CODES,
    ),
    admin(
        "PUT",
        _OBJECT,
        set_object,
        "Puts an object under a key",
        WRITE,
        body=ObjectPut,
        answer=ObjectView,
        codes=_PUT_CODES,
        body_bytes_max=OBJECT_BODY_BYTES_MAX,
    ),
    admin(
        "DELETE", _OBJECT, remove_object, "Deletes an object", WRITE, query=ObjectQuery, codes=_WHICH_CODES
    ),
)
