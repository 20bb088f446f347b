"""/api/v4/{app}/batch.json and /objects: operations in order, each with its outcome, or all or none."""

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import pytest

from admit.operators import tokens
from admit.operators.tokens import NewToken
from tests.contract.row_desk import ADA, BOB, PUBLIC, Desk, desk_at
from tests.contract.served import Answered, Served


@pytest.fixture
async def desk(served: Served) -> Desk:
    return await desk_at(served)


async def ask(
    desk: Desk, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
) -> Answered:
    options: dict[str, Any] = {} if body is None else {"json": body}
    if isinstance(body, bytes):
        options = {"data": body}
    headers = desk.served.command() if headers is None else headers
    return await desk.served.ask(method, f"/api/v4/{desk.app.name}/{path}", headers=headers, **options)


def put(key: str, **properties: object) -> dict[str, object]:
    return op("put", key, realmId=ADA, **properties)


def op(method: str, key: str, **properties: object) -> dict[str, object]:
    return {"method": method, "object": {"type": "todos", "id": key, **properties}}


async def batch(desk: Desk, *operations: object, **options: object) -> Answered:
    return await ask(desk, "POST", "batch.json", {"operations": operations, **options})


async def ids(desk: Desk) -> list[str]:
    return [row["id"] for row in (await desk.program("GET", "/all/todos")).json]


def statuses(answer: Answered) -> list[int]:
    return [each["status"] for each in answer.json["operations"]]


async def test_operations_are_done_in_order_and_each_has_its_outcome(desk: Desk) -> None:
    answer = await batch(
        desk,
        put("a", n=1),
        op("patch", "a", n=2, title="x"),
        op("patch", "missing", n=1),
        op("post", "a", realmId=ADA),
        op("post", "b", realmId=PUBLIC),
        op("delete", "a"),
        put("a", n=3),
        op("delete", "nothing"),
        {"method": "put", "object": {"type": "todos", "id": "c"}},
        {"method": "put", "object": {"type": "realms", "id": "c", "realmId": ADA}},
        put("d", x="\ud83d\ude00"),
    )
    assert (answer.status, answer.json["failed"]) == (200, 5)
    assert statuses(answer) == [200, 200, 404, 409, 201, 200, 200, 404, 400, 501, 200]
    failed = [each["error"]["code"] for each in answer.json["operations"] if "error" in each]
    assert failed == [
        "object_not_found",
        "object_exists",
        "object_not_found",
        "invalid_request",
        "realms_not_built",
    ]
    assert answer.json["operations"][4]["object"] == {"type": "todos", "id": "b", "realmId": PUBLIC}
    assert sorted(await ids(desk)) == ["a", "b", "d"]
    assert (await desk.program("GET", "/all/todos/a")).json["n"] == 3


async def test_a_batch_that_stops_leaves_what_follows_the_error(desk: Desk) -> None:
    answer = await batch(
        desk, put("a"), op("patch", "missing", n=1), put("b"), {"method": "put", "object": {"type": "todos"}},
        stop_on_error=True,
    )  # fmt: skip
    assert statuses(answer) == [200, 404, 409, 409]
    assert [each["error"]["code"] for each in answer.json["operations"][2:]] == ["not_tried"] * 2
    assert await ids(desk) == ["a"]
    nameless = {"method": "put", "object": {"type": "todos"}}
    answer = await batch(desk, put("c"), op("patch", "c"), nameless, put("e"), stop_on_error=True)
    assert statuses(answer) == [200, 200, 400, 409]
    assert await ids(desk) == ["a", "c"]


@pytest.mark.parametrize(
    ("last", "status"),
    [
        (op("patch", "missing", n=1), 404),
        (op("post", "kept", realmId=ADA), 409),
        (op("put", "public", realmId=ADA), 409),
        (op("put", "x", realmId="nobody"), 404),
        (op("put", "x"), 400),
        (op("put", "x" * 501, realmId=ADA), 400),
    ],
)
async def test_all_or_none_is_none_when_one_fails(desk: Desk, last: dict[str, object], status: int) -> None:
    await batch(desk, put("there"), put("kept"), op("put", "public", realmId=PUBLIC))
    before = await ids(desk)
    answer = await batch(desk, put("a"), op("delete", "there"), put("there2"), last, put("b"), atomic=True)
    assert answer.status == status
    assert answer.json["message"].startswith("Operation 3: ")
    assert await ids(desk) == before
    answer = await batch(desk, put("a"), op("delete", "there"), put("b"), atomic=True)
    assert (answer.status, answer.json["failed"]) == (200, 0)
    assert sorted(await ids(desk)) == ["a", "b", "kept", "public"]


async def test_a_thousand_operations_are_one_batch_and_more_are_none(desk: Desk) -> None:
    many = [put(f"t{number:04}", n=number) for number in range(1_001)]
    answer = await batch(desk, *many)
    assert (answer.status, await ids(desk)) == (400, [])
    answer = await batch(desk, *many[:1_000], atomic=True)
    assert (answer.status, answer.json["failed"]) == (200, 0)
    assert len(await ids(desk)) == 1_000
    assert (await batch(desk)).json == {"operations": [], "failed": 0}


async def test_rivals_who_make_one_object_are_told_which_of_them_has(desk: Desk) -> None:
    answers = await asyncio.gather(*(batch(desk, op("post", "t", realmId=BOB, n=n)) for n in range(20)))
    made = [answer for answer in answers if statuses(answer) == [201]]
    assert len(made) == 1
    assert sorted(statuses(answer)[0] for answer in answers) == [201] + [409] * 19


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"operations":{}}',
        b'{"operations":[{"method":"steal","object":{"type":"todos"}}]}',
        b'{"operations":[{"method":"put"}]}',
        b'{"operations":[{"method":"put","object":{"id":"a"}}]}',
        b'{"operations":[{"method":"put","object":{"type":"todos","id":7}}]}',
        b'{"operations":[],"atomic":1}',
        b'{"operations":[],"more":1}',
    ],
)
async def test_what_is_no_batch_is_refused(desk: Desk, body: bytes) -> None:
    answer = await ask(desk, "POST", "batch.json", body)
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")


async def test_objects_are_made_read_changed_and_deleted_one_by_one(desk: Desk) -> None:
    made = await ask(desk, "POST", "objects/todos.json", {"id": "t/1", "realmId": ADA, "n": 1, "old": True})
    assert made.status == 201
    assert {"id": "t/1", "type": "todos", "n": 1, "realmId": ADA}.items() <= made.json.items()
    path = "objects/todos/t%2F1.json"
    assert (await ask(desk, "GET", path)).json == made.json
    patched = await ask(desk, "PATCH", path, {"n": 2})
    assert (patched.json["n"], patched.json["old"]) == (2, True)
    replaced = await ask(desk, "PUT", path, {"n": 3})
    assert (replaced.json["n"], "old" in replaced.json) == (3, False)
    assert (await ask(desk, "POST", "objects/todos.json", {"id": "t/1", "realmId": ADA})).status == 409
    assert (await ask(desk, "PATCH", "objects/todos/none.json", {"n": 2})).status == 404
    assert (await ask(desk, "PUT", "objects/todos/none.json", {"n": 2})).json["code"] == "invalid_request"
    assert (await ask(desk, "PUT", path, {"id": "other"})).status == 400
    assert (await ask(desk, "PATCH", path, {"type": "bugs"})).status == 400
    assert (await ask(desk, "PATCH", path, {"realmId": BOB})).status == 404
    assert (await ask(desk, "DELETE", path)).status == 204
    assert (await ask(desk, "DELETE", path)).status == 404


async def test_objects_are_listed_page_by_page(desk: Desk) -> None:
    await desk.put("todos", *({"id": f"t{n}", "realmId": ADA, "even": n % 2 == 0} for n in range(7)))
    seen: list[str] = []
    after = ""
    while True:
        page = (await ask(desk, "GET", f"objects/todos.json?limit=3{after}")).json
        assert (page["count"], page["more"]) == (len(page["objects"]), page["next"] is not None)
        seen += [each["id"] for each in page["objects"]]
        if not page["more"]:
            break
        after = f"&after={page['next']}"
    assert seen == [f"t{n}" for n in range(7)]
    even = (await ask(desk, "GET", "objects/todos.json?even=true")).json
    assert [each["id"] for each in even["objects"]] == ["t0", "t2", "t4", "t6"]
    assert (await ask(desk, "GET", f"objects/todos.json?realmId={BOB}")).json["objects"] == []


async def test_clients_and_operators_come_with_their_scopes_and_nobody_else(desk: Desk) -> None:
    reader = await desk.served.client(desk.app, ("ACCESS_DB", "GLOBAL_READ"))
    writer = await desk.served.client(desk.app)

    def basic(client_id: str, secret: str) -> dict[str, str]:
        return {"Authorization": "Basic " + b64encode(f"{client_id}:{secret}".encode()).decode()}

    reads, writes = (
        basic(reader.client_id, reader.client_secret),
        basic(writer.client_id, writer.client_secret),
    )
    body = {"operations": [put("a")]}
    assert (await ask(desk, "POST", "batch.json", body, reads)).status == 403
    assert (await ask(desk, "POST", "batch.json", body, writes)).json["failed"] == 0
    assert (await ask(desk, "GET", "objects/todos.json", None, reads)).json["count"] == 1
    assert (await ask(desk, "GET", "objects/todos.json", None, basic("cli_1", "x"))).status == 401
    assert (await ask(desk, "GET", "objects/todos.json", None, {})).status == 401
    person = desk.served.bearer(desk.app, ADA)
    assert (await ask(desk, "GET", "objects/todos.json", None, person)).status == 401
    new = NewToken(label="reads", app_id=desk.app.app_id, scopes=frozenset({"data:read"}), expires_at=None)
    token = await desk.served.gateway.db.write(
        lambda tx: tokens.create_token(tx, desk.served.gateway.ring, new, desk.served.hands())
    )
    held = {"Authorization": f"Bearer {token.token}"}
    assert (await ask(desk, "GET", "objects/todos/a.json", None, held)).status == 200
    assert (await ask(desk, "POST", "batch.json", body, held)).status == 403


async def test_a_patch_that_makes_of_an_object_what_cannot_be_kept_fails_alone(desk: Desk) -> None:
    big = "x" * 600_000
    await batch(desk, put("a", big=big), put("b"))
    wrong = [op("patch", "a", more=big), op("patch", "b", **{"x.__proto__.y": 1}), put("c", __proto__=1)]
    answer = await batch(desk, op("patch", "b", n=1), *wrong, op("patch", "b", m=1))
    assert statuses(answer) == [200, 400, 400, 400, 200]
    rows = {row["id"]: row for row in (await desk.program("GET", "/all/todos")).json}
    assert ("more" in rows["a"], rows["b"]["n"], rows["b"]["m"], "c" in rows) == (False, 1, 1, False)
    for each in wrong:
        answer = await batch(desk, op("patch", "b", n=2), put("d"), each, atomic=True)
        assert (answer.status, answer.json["message"][:13]) == (400, "Operation 2: ")
    rows = {row["id"]: row for row in (await desk.program("GET", "/all/todos")).json}
    assert (rows["b"]["n"], "d" in rows) == (1, False)
    answer = await batch(desk, put("e"), wrong[0], put("f"), stop_on_error=True)
    assert statuses(answer) == [200, 400, 409]
    assert {"e", "f"} & set(await ids(desk)) == {"e"}
