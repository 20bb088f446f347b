"""/all, /my and /public: rows of tables by REST, as Dexie Cloud documents it (docs/compat.md)."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.responses import Response

from admit.data import object_writing
from admit.data.authors import Author
from admit.data.object_writing import OBJECTS_MAX, Outcome, Want
from admit.data.realms import PUBLIC, PUBLIC_REALM, Realm
from admit.data.values import read_json
from admit.errors import AdmitError, InvalidRequest, TooLarge
from admit.signin.proof import user_id_as_known
from admit.web import row_changes, row_lists
from admit.web.operations import Call, Method, Operation, read_body
from admit.web.row_access import Visit, Where, enter, find_realms, not_your_realm
from admit.web.row_changes import Placed
from admit.web.row_lists import RowsQuery
from admit.web.users_api import Ok

BODY_BYTES_MAX = 16_000_000

Rows = dict[str, Any] | list[dict[str, Any]]


async def read_rows(call: Call, where: Where) -> Response:
    """The rows of a table."""
    visit = await enter(call, where)
    table = call.param("table")
    row_changes.check_table(table)
    realm = await _realm(call, visit, call.query(RowsQuery).realm_id)
    return await row_lists.answer(call, visit, table, realm)


async def read_row(call: Call, where: Where) -> Response:
    """One row."""
    visit = await enter(call, where)
    realm = await _realm(call, visit, call.query(RowsQuery).realm_id)
    row = await row_changes.find(call.gateway.db, visit.app, call.param("table"), call.param("key"), realm)
    return Response(row.value or "", media_type="application/json", headers=dict(visit.headers))


async def write_rows(call: Call, where: Where) -> Response:
    """Puts rows, all of them or none, and answers them as they are stored."""
    visit = await enter(call, where)
    given = read_json(await read_body(call.request, BODY_BYTES_MAX))
    objects = given if isinstance(given, list) else [given]
    if not all(isinstance(each, dict) for each in objects):
        raise InvalidRequest("The body is an object or an array of objects.")
    if len(objects) > OBJECTS_MAX:
        raise TooLarge(f"At most {OBJECTS_MAX} objects can be written at once.")
    key = call.param("key") if "key" in call.request.path_params else None
    if key is not None and given is objects:
        raise InvalidRequest("An address with a key takes one object.")
    wants = await _wants(call, visit, objects, key)
    outcomes = await row_changes.write(call.gateway, visit.app, _author(visit), wants, atomic=True)
    _raise_first(outcomes, several=given is objects)
    values = [each.value for each in wants]
    return call.answer(values if given is objects else values[0], headers=visit.headers)


async def delete_row(call: Call, where: Where) -> Response:
    """Deletes one row."""
    visit = await enter(call, where)
    table, key = call.param("table"), call.param("key")
    realm = await _realm(call, visit, call.query(RowsQuery).realm_id)
    row = await row_changes.find(call.gateway.db, visit.app, table, key, realm)
    kept_in = await row_changes.realm_of(call.gateway.db, visit.app, row)
    want = Want(method="delete", realm=kept_in, table=table, key=row.key)
    outcomes = await row_changes.write(call.gateway, visit.app, _author(visit), [want], atomic=True)
    _raise_first(outcomes, several=False)
    return call.answer(Ok(), headers=visit.headers)


async def _realm(call: Call, visit: Visit, realm_id: str | None) -> Realm | None:
    """The one realm that is asked for; None: all. Raises Forbidden for one that the door does not lead to."""
    if realm_id is None:
        return visit.realm
    if realm_id == PUBLIC and call.operation.method == "GET":
        return PUBLIC_REALM
    return (await _realms(call, visit, {realm_id}))[realm_id]


async def _realms(call: Call, visit: Visit, realm_ids: set[str]) -> dict[str, Realm]:
    """The realms that are called so, which the door must lead to."""
    if visit.realm is None:
        return await find_realms(call.gateway.db, visit.app, realm_ids)
    if any(user_id_as_known(visit.app, each) != visit.realm.realm_id for each in realm_ids):
        raise not_your_realm()
    return dict.fromkeys(realm_ids, visit.realm)


async def _wants(call: Call, visit: Visit, objects: list[dict[str, Any]], key: str | None) -> list[Want]:
    """The operations that put `objects`. Raises with the place of the first that cannot be put."""
    name, db = call.param("table"), call.gateway.db
    settings = await row_changes.settings_of(db, visit.app, {name})
    asked = call.query(RowsQuery).realm_id or (visit.realm.realm_id if visit.realm else None)
    realm_ids = [_realm_id(each.get("realmId", asked)) for each in objects]
    realms = await _realms(call, visit, set(realm_ids))
    now = call.gateway.clock()
    wants = []
    for place, (value, realm_id) in enumerate(zip(objects, realm_ids, strict=True)):
        try:
            placed = Placed(settings[name], realms[realm_id], value, key)
            wants.append(row_changes.to_put(placed, now + place))
        except InvalidRequest as error:
            raise _placed(error, place if len(objects) > 1 else None) from None
    return wants


def _realm_id(given: object) -> str:
    if not isinstance(given, str):
        raise InvalidRequest(f"Say the realmId: a userId, or {PUBLIC}.")
    return given


def _author(visit: Visit) -> Author:
    assert visit.author is not None, "nobody writes without a token"
    return visit.author


def _raise_first(outcomes: Sequence[Outcome], *, several: bool) -> None:
    """Raises what the first failed operation means, rather than what became of others because of it."""
    failed = [(place, each) for place, each in enumerate(outcomes) if object_writing.has_failed(each)]
    for place, outcome in sorted(failed, key=lambda each: each[1] == "not_tried"):
        raise _placed(row_changes.error_of(outcome), place if several else None)


def _placed(error: AdmitError, place: int | None) -> AdmitError:
    if place is None:
        return error
    return type(error)(f"Object {place}: {error.message}", code=error.code)


_TOLD: dict[Where, str] = {
    "all": "of every realm",
    "my": "of the person who asks",
    "public": "of the public realm",
}
_READ: dict[Where, tuple[str, ...]] = {
    "all": ("ACCESS_DB", "GLOBAL_READ"),
    "my": ("ACCESS_DB",),
    "public": (),
}
_WRITE: dict[Where, tuple[str, ...]] = {
    "all": ("ACCESS_DB", "GLOBAL_WRITE"),
    "my": ("ACCESS_DB",),
    "public": ("ACCESS_DB", "GLOBAL_WRITE"),
}
_CODES = (
    "invalid_request",
    "realm_not_found",
    "realm_not_reached",
    "realms_not_built",
    "rate_limited",
)
_OF_PERSON = ("not_a_person", "license_deactivated", "license_expired", "user_not_found")
_ROW_CODES = (*_CODES, row_changes.OBJECT_NOT_FOUND, row_changes.SEVERAL_REALMS)
_WRITE_CODES = (*_CODES, "too_large", "key_missing", "object_exists", "user_not_found")

Door = Callable[[Call, Where], Awaitable[Response]]


def _operation(
    method: Method,
    where: Where,
    path: str,
    door: Door,
    summary: str,
    codes: tuple[str, ...],
    *,
    body: Any = None,
    answer: Any,
) -> Operation:
    async def handle(call: Call) -> Response:
        return await door(call, where)

    verb, noun = door.__name__.split("_")
    handle.__name__ = f"{verb}_{where}_{noun}" + ("_by_key" if body is not None and "{key}" in path else "")
    scopes = (_READ if method == "GET" else _WRITE)[where]
    return Operation(
        method=method,
        path=f"/{{app}}/{where}/{path}",
        handler=handle,
        summary=f"{summary} {_TOLD[where]}",
        access="person" if scopes else "person_or_open",
        scopes=scopes,
        query=RowsQuery,
        body=body,
        body_media_types=("application/json", "application/tson"),
        body_bytes_max=BODY_BYTES_MAX,
        answer=answer,
        codes=(*codes, *(_OF_PERSON if where == "my" else ())),
    )


def _operations(where: Where) -> tuple[Operation, ...]:
    row = "{table}/{key}"
    one, many = dict[str, Any], list[dict[str, Any]]
    return (
        _operation("GET", where, "{table}", read_rows, "Lists rows", _CODES, answer=many),
        _operation("POST", where, "{table}", write_rows, "Puts rows", _WRITE_CODES, body=Rows, answer=Rows),
        _operation("GET", where, row, read_row, "Shows a row", _ROW_CODES, answer=one),
        _operation("POST", where, row, write_rows, "Puts a row", _WRITE_CODES, body=one, answer=one),
        _operation("DELETE", where, row, delete_row, "Deletes a row", _ROW_CODES, answer=Ok),
    )


OPERATIONS = (*_operations("all"), *_operations("my"), *_operations("public"))
