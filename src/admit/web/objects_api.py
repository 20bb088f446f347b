"""/api/v4/{app}/objects and /batch.json: objects for programs, as JourneyApps has them (docs/compat.md)."""

from typing import Any

import msgspec
from starlette.responses import Response

from admit.data.authors import Author
from admit.data.values import read_json
from admit.errors import InvalidRequest
from admit.web import object_batches, object_types, row_changes, row_lists
from admit.web.errors import status_of
from admit.web.object_batches import Asked, Done, Verb
from admit.web.object_types import (
    BatchAnswer,
    BatchOperation,
    BatchRequest,
    BatchResult,
    Fault,
    Object,
    Objects,
    ObjectsWanted,
    ObjectWanted,
)
from admit.web.operations import PROBLEM_CHARACTERS_MAX, Call, Handler, Method, Operation, read_body
from admit.web.row_access import find_realms
from admit.web.rows_api import BODY_BYTES_MAX
from admit.web.sessions_access import Admitted, admitted

CREATED = 201


async def list_objects(call: Call) -> Response:
    """A page of the objects of a table."""
    let_in, query = await admitted(call), call.query(ObjectsWanted)
    table, db, app = call.param("model"), call.gateway.db, let_in.app
    row_changes.check_table(table)
    realm = None if query.realm_id is None else (await find_realms(db, app, {query.realm_id}))[query.realm_id]
    page = await row_lists.read_page(
        db,
        app.app_id,
        table,
        None if realm is None else realm.realm,
        None if query.after is None else row_lists.read_key(query.after),
        query.limit,
        row_lists.conditions_of(call, object_types.NAMES),
    )
    shown = Objects(
        count=len(page.rows),
        more=page.paging_key is not None,
        next=page.paging_key,
        objects=[object_types.shown(row) for row in page.rows],
    )
    return call.answer(shown, headers=let_in.headers)


async def get_object(call: Call) -> Response:
    """One object."""
    let_in, realm_id = await admitted(call), call.query(ObjectWanted).realm_id
    db, app = call.gateway.db, let_in.app
    realm = None if realm_id is None else (await find_realms(db, app, {realm_id}))[realm_id]
    row = await row_changes.find(db, app, call.param("model"), call.param("id"), realm)
    return call.answer(object_types.shown(row), headers=let_in.headers)


async def post_object(call: Call) -> Response:
    """Makes an object; there must be none with its key."""
    return await _one(call, "post")


async def put_object(call: Call) -> Response:
    """Puts a whole object, whether there is one or not."""
    return await _one(call, "put")


async def patch_object(call: Call) -> Response:
    """Changes some properties of an object."""
    return await _one(call, "patch")


async def delete_object(call: Call) -> Response:
    """Deletes an object."""
    let_in = await admitted(call)
    asked = Asked(
        verb="delete",
        table=call.param("model"),
        key=call.param("id"),
        realm_id=call.query(ObjectWanted).realm_id,
        value={},
    )
    await object_batches.do(call.gateway, let_in.app, author_of(let_in), [asked], atomic=True)
    return Response(status_code=204, headers=dict(let_in.headers))


async def batch_objects(call: Call) -> Response:
    """Does many operations in order, with a result for each; or all of them or none."""
    let_in = await admitted(call)
    request = _read(await read_body(call.request, BODY_BYTES_MAX))
    done = await object_batches.do(
        call.gateway,
        let_in.app,
        author_of(let_in),
        [_asked(each) for each in request.operations],
        atomic=request.atomic,
        stops=request.stop_on_error,
    )
    results = [_result(told, each) for told, each in zip(request.operations, done, strict=True)]
    failed = sum(each.error is not None for each in results)
    return call.answer(BatchAnswer(operations=results, failed=failed), headers=let_in.headers)


def author_of(let_in: Admitted) -> Author:
    """A program of the app, or an operator: nobody who lives there."""
    client_id = None if let_in.client is None else let_in.client.client_id
    return Author(uid=None, user_id="", client_id=client_id, may_write_public=True)


async def _one(call: Call, verb: Verb) -> Response:
    let_in = await admitted(call)
    given = read_json(await read_body(call.request, BODY_BYTES_MAX))
    if not isinstance(given, dict):
        raise InvalidRequest("The body is an object.")
    table = call.param("model")
    if given.get("type", table) != table:
        raise InvalidRequest(f"Here the type of an object is its table, {table!r}. Use /all for other types.")
    key = call.param("id") if "id" in call.request.path_params else None
    if key is not None and given.get("id", key) != key:
        raise InvalidRequest("The object carries another id than its address.")
    realm_id = call.query(ObjectWanted).realm_id
    asked = _asked(BatchOperation(verb, {"realmId": realm_id, "id": key, **given, "type": table}))
    author = author_of(let_in)
    [done] = await object_batches.do(call.gateway, let_in.app, author, [asked], atomic=True)
    assert done.want is not None, "without an error it was done"
    row = await row_changes.find(call.gateway.db, let_in.app, table, done.want.key, done.want.realm)
    return call.answer(object_types.shown(row), headers=let_in.headers)


def _read(body: bytes) -> BatchRequest:
    try:
        return msgspec.convert(read_json(body), BatchRequest)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The body is not as it should be: {error}"[:PROBLEM_CHARACTERS_MAX]) from None


def _asked(operation: BatchOperation) -> Asked:
    told: dict[str, Any] = dict(operation.object)
    table, key, realm_id = told.pop("type", None), told.pop("id", None), told.pop("realmId", None)
    told.pop("updated_at", None)
    if not isinstance(table, str):
        raise InvalidRequest("Every object says its type: the name of its table.")
    if not isinstance(key, str | None) or not isinstance(realm_id, str | None):
        raise InvalidRequest("The id and the realmId of an object are texts.")
    return Asked(verb=operation.method, table=table, key=key, realm_id=realm_id, value=told)


def _result(told: BatchOperation, done: Done) -> BatchResult:
    if done.error is not None:
        fault = Fault(done.error.code, done.error.message)
        named: Object = {name: told.object[name] for name in ("type", "id", "realmId") if name in told.object}
        return BatchResult(method=told.method, status=status_of(done.error), object=named, error=fault)
    assert done.want is not None, "without an error it was done"
    which: Object = {"type": done.want.table, "id": done.want.key, "realmId": done.want.realm.realm_id}
    return BatchResult(method=told.method, status=CREATED if told.method == "post" else 200, object=which)


_WRITTEN = (
    "invalid_request",
    "too_large",
    "key_missing",
    "object_exists",
    "object_not_found",
    "several_realms",
    "realm_not_found",
    "realms_not_built",
)


def _operation(
    method: Method, path: str, handler: Handler, summary: str, codes: tuple[str, ...], **more: Any
) -> Operation:
    return Operation(
        method=method,
        path=f"/api/v4/{{app}}/{path}",
        handler=handler,
        summary=summary,
        access="operator_or_client",
        scopes=("data:read" if method == "GET" else "data:write",),
        body_bytes_max=BODY_BYTES_MAX,
        codes=codes,
        **more,
    )


_TABLE, _OBJECT = "objects/{model}.json", "objects/{model}/{id}.json"
_WHICH = ("object_not_found", "several_realms", "realm_not_found", "realms_not_built")
OPERATIONS = (
    _operation(
        "POST",
        "batch.json",
        batch_objects,
        "Does up to 1,000 operations on objects, with a result for each, or all or none",
        _WRITTEN,
        body=BatchRequest,
        answer=BatchAnswer,
    ),
    _operation(
        "GET",
        _TABLE,
        list_objects,
        "Lists objects of a table, page by page",
        ("realm_not_found", "realms_not_built"),
        query=ObjectsWanted,
        answer=Objects,
    ),
    _operation(
        "POST",
        _TABLE,
        post_object,
        "Makes an object",
        _WRITTEN,
        query=ObjectWanted,
        body=Object,
        status=CREATED,
        answer=Object,
    ),
    _operation("GET", _OBJECT, get_object, "Shows an object", _WHICH, query=ObjectWanted, answer=Object),
    _operation(
        "PUT",
        _OBJECT,
        put_object,
        "Puts a whole object",
        _WRITTEN,
        query=ObjectWanted,
        body=Object,
        answer=Object,
    ),
    _operation(
        "PATCH",
        _OBJECT,
        patch_object,
        "Changes some properties of an object",
        _WRITTEN,
        query=ObjectWanted,
        body=Object,
        answer=Object,
    ),
    _operation("DELETE", _OBJECT, delete_object, "Deletes an object", _WHICH, query=ObjectWanted),
)
