"""/export and /import: however many users there are, and whatever somebody sends."""

import gzip
import json
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import ClientError
from sqlalchemy import select

from admit.accounts import user_pages
from admit.accounts.apps import App
from admit.accounts.tables import users
from admit.accounts.user_pages import Page, Query
from admit.storage.transaction import Transaction
from admit.web import imports, incoming, transfer_api
from tests.contract.served import Answered, Served

SCOPES = ("ACCESS_DB", "GLOBAL_READ", "GLOBAL_WRITE")


@pytest.fixture
async def app(served: Served) -> App:
    return await served.app()


def line(user_id: str, **data: object) -> str:
    return json.dumps({"realm": "$users", "table": "$users", "id": user_id, "data": {"type": "eval"} | data})


async def send(
    served: Served, app: App, body: bytes, *, path: str = "/stream", packed: bool = True
) -> Answered:
    headers = served.bearer(app, scopes=SCOPES)
    if packed:
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body)
    return await served.ask("POST", f"/{app.name}/import{path}", headers=headers, data=body)


async def ids(served: Served, app: App) -> list[str]:
    query = select(users.c.user_id).where(users.c.app_id == app.app_id).order_by(users.c.user_id)
    return await served.gateway.db.read(lambda tx: list(tx.execute(query).scalars()))


async def export(served: Served, app: App) -> list[dict[str, Any]]:
    answer = await served.ask("GET", f"/{app.name}/export/stream", headers=served.bearer(app, scopes=SCOPES))
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/x-ndjson")
    return [json.loads(each) for each in answer.body.splitlines()]


async def test_every_user_is_exported_once_over_many_pages(
    served: Served, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer_api, "EXPORT_PAGE", 3)
    names = [f"u{number}" for number in range(10)]
    demo = [f"d{number}@demo.local" for number in range(7)]
    await served.write(app, *({"userId": each, "type": "eval"} for each in names))
    await served.write(app, *({"userId": each, "type": "demo"} for each in demo))
    lines = await export(served, app)
    assert lines[:2] == [
        {"type": "schema", "tables": {}, "sealed": False},
        {"type": "roles", "roles": {}},
    ]
    assert sorted(lines[2]["users"]) == demo
    assert [each["id"] for each in lines[3:]] == names
    assert {(each["realm"], each["table"]) for each in lines[3:]} == {("$users", "$users")}


async def test_data_that_was_written_over_several_lines_is_exported_on_one(served: Served, app: App) -> None:
    body = b'[{"userId":"ada","type":"eval","data":{\r\n  "a": "x\\ny",\n  "b": 1\n}}]'
    headers = served.bearer(app, scopes=SCOPES)
    assert (await served.ask("POST", "/notes/users", headers=headers, data=body)).status == 200
    ada = (await export(served, app))[-1]["data"]
    assert ada["data"] == {"a": "x\ny", "b": 1}


async def test_an_export_that_breaks_off_is_not_taken_for_a_whole_one(
    served: Served, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer_api, "EXPORT_PAGE", 2)
    await served.write(app, *({"userId": f"u{number}", "type": "eval"} for number in range(5)))
    real, pages = user_pages.page, []

    def page(tx: Transaction, app_id: str, query: Query) -> Page:
        pages.append(query)
        if len(pages) == 3:  # the page of demo users, one of the others, and this one
            raise OSError("the disk has gone")
        return real(tx, app_id, query)

    monkeypatch.setattr(user_pages, "page", page)
    with pytest.raises(ClientError):
        await export(served, app)


async def test_an_import_is_written_page_by_page_and_may_come_again(
    served: Served, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "PAGE", 2)
    lines = [line("a"), line("b"), line("c"), line("d", type="nonsense"), line("e")]
    answer = await send(served, app, "\n".join(lines).encode())
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")
    assert answer.json["message"].startswith("Line 4: Entry 1: The type of a user is")
    assert "2 users before it are in" in answer.json["message"]
    assert await ids(served, app) == ["a", "b"]
    lines[3] = line("d")
    again = await send(served, app, "\n".join(lines).encode())
    assert again.json == {
        "ok": True,
        "users": 5,
        "created": 3,
        "changed": 0,
        "objects": 0,
        "written": 0,
    }
    assert await ids(served, app) == ["a", "b", "c", "d", "e"]


async def test_what_stands_before_a_line_that_cannot_be_read_is_in(served: Served, app: App) -> None:
    answer = await send(served, app, f"{line('a')}\n\n{{broken\n{line('b')}".encode())
    assert answer.json["message"].startswith("Line 3: The body is not JSON")
    assert "1 users before it are in" in answer.json["message"]
    assert await ids(served, app) == ["a"]


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ('{"realm":"rlm1","table":"products","id":"p1","data":{}}', "realms_not_built"),
        ('{"realm":"rlm-public","table":"members","id":"m1","data":{}}', "realms_not_built"),
        ('{"realm":"rlm-public","table":"$x","id":"p1","data":{}}', "invalid_request"),
        ('{"realm":"rlm-public","table":"t","id":7,"data":{}}', "invalid_request"),
        ('{"realm":"rlm-public","table":"t","id":"p","data":[]}', "invalid_request"),
        ('{"realm":"rlm-public","table":"t","id":"p","data":{"id":"q"}}', "invalid_request"),
        ('{"realm":"rlm-public","table":"t","id":"p","data":{"__proto__":1}}', "invalid_request"),
        ('{"type":"schema","tables":{"products":{"primaryKey":"[id"}}}', "invalid_request"),
        ('{"type":"roles","roles":{"manager":{}}}', "realms_not_built"),
        ('{"type":"surprise"}', "invalid_request"),
        ('{"realm":"$users","table":"$users","id":7,"data":{}}', "invalid_request"),
        ('{"realm":"$users","table":"$users","id":"a","data":{"userId":"b"}}', "invalid_request"),
        (
            '{"realm":"$users","table":"$users","id":"a","data":{"type":"eval","admin":true}}',
            "invalid_request",
        ),
        ('{"realm":"$users","table":"$users","id":"a\\u0000","data":{"type":"eval"}}', "invalid_request"),
    ],
)
async def test_a_line_about_anything_else_is_refused(served: Served, app: App, told: str, code: str) -> None:
    answer = await send(served, app, told.encode())
    assert answer.json["code"] == code
    assert answer.status == (501 if code == "realms_not_built" else 400)
    assert await ids(served, app) == []


async def test_half_a_body_is_noticed(served: Served, app: App) -> None:
    headers = served.bearer(app, scopes=SCOPES) | {"Content-Encoding": "gzip"}
    whole = gzip.compress(line("a").encode())
    for body in (whole[:-9], b"", b"no gzip", whole + whole):
        answer = await served.ask("POST", "/notes/import/stream", headers=headers, data=body)
        assert (answer.status, answer.json["code"]) == (400, "invalid_request"), body
    assert (await send(served, app, b"", packed=False)).json["users"] == 0
    brotli = headers | {"Content-Encoding": "br"}
    assert (await served.ask("POST", "/notes/import/stream", headers=brotli, data=b"")).status == 400


async def test_a_small_body_cannot_unpack_into_our_memory(
    served: Served, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "LINE_BYTES_MAX", 200_000)
    monkeypatch.setattr(transfer_api, "FILE_BYTES_MAX", 200_000)
    for path in ("/stream", ""):
        answer = await send(served, app, b" " * 50_000_000, path=path)
        assert (answer.status, answer.json["code"]) == (413, "too_large")
    monkeypatch.setattr(incoming, "IMPORT_BYTES_MAX", 1_000_000)
    answer = await send(served, app, b"\n" * 50_000_000)
    assert (answer.status, answer.json["code"]) == (413, "too_large")


@pytest.mark.parametrize("scopes", [("ACCESS_DB",), ("GLOBAL_READ", "GLOBAL_WRITE"), ("MANAGE_DB",)])
async def test_scopes_decide(served: Served, app: App, scopes: Sequence[str]) -> None:
    headers = served.bearer(app, scopes=scopes)
    for method, path in (("GET", "export/stream"), ("POST", "import/stream"), ("POST", "import")):
        assert (await served.ask(method, f"/notes/{path}", headers=headers)).status == 403
        assert (await served.ask(method, f"/notes/{path}")).status == 401


def row(realm: str, key: str, table: str = "products", **data: object) -> str:
    return json.dumps({"realm": realm, "table": table, "id": key, "data": data})


async def rows(served: Served, app: App) -> dict[tuple[str, str, str], Any]:
    lines = [each for each in await export(served, app) if each.get("table", "$users") != "$users"]
    return {(each["realm"], each["table"], each["id"]): each["data"] for each in lines}


async def test_rows_come_in_with_people_and_go_out_as_they_were(served: Served, app: App) -> None:
    date = {"$t": "Date", "v": "2026-01-01T00:00:00.000Z"}
    tables = {"products": "@id, price", "pairs": {"primaryKey": "[a+b]"}, "members": "@id"}
    lines = [
        json.dumps({"type": "schema", "tables": tables}),
        json.dumps({"type": "demoUsers", "users": {"alice@demo.local": {}}}),
        line("ada@example.com"),
        row("rlm-public", "p1", price=1, made=date),
        row("ada@example.com", "p2", text="a\u0000b\n"),
        row("alice@demo.local", "p2"),
        row("ada@example.com", '["x",1]', "pairs", a="x", b=1),
    ]
    answer = await send(served, app, "\n".join(lines).encode())
    assert (answer.json["users"], answer.json["objects"], answer.json["written"]) == (2, 4, 4)
    told = await rows(served, app)
    ada = {"realmId": "ada@example.com", "owner": "ada@example.com"}
    alice = {"realmId": "alice@demo.local", "owner": "alice@demo.local"}
    assert told == {
        ("rlm-public", "products", "p1"): {"id": "p1", "realmId": "rlm-public", "price": 1, "made": date},
        ("ada@example.com", "products", "p2"): {"id": "p2", "text": "a\u0000b\n"} | ada,
        ("alice@demo.local", "products", "p2"): {"id": "p2"} | alice,
        ("ada@example.com", "pairs", '["x",1]'): {"a": "x", "b": 1} | ada,
    }
    assert (await export(served, app))[0]["tables"] == {
        "pairs": {"primaryKey": "[a+b]", "idPrefix": "", "generatedGlobalId": False},
        "products": {"primaryKey": "id", "idPrefix": "", "generatedGlobalId": True},
    }
    headers = served.bearer(app, scopes=SCOPES)
    whole = await served.ask("GET", f"/{app.name}/export/stream", headers=headers)
    again = await send(served, app, whole.body)
    assert (again.json["created"], again.json["changed"], again.json["written"]) == (0, 0, 0)
    other = await served.app("other")
    moved = await send(served, other, whole.body)
    assert (moved.status, await rows(served, other)) == (200, told)


async def test_an_export_may_be_of_one_table_or_of_one_realm(served: Served, app: App) -> None:
    told = [line("ada"), row("ada", "p1"), row("rlm-public", "p2"), row("ada", "n", "news")]
    assert (await send(served, app, "\n".join(told).encode())).status == 200
    headers = served.bearer(app, scopes=SCOPES)

    async def exported(query: str) -> list[str]:
        answer = await served.ask("GET", f"/{app.name}/export/stream?{query}", headers=headers)
        lines = [json.loads(each) for each in answer.body.splitlines()]
        return sorted(each["id"] for each in lines if "id" in each)

    assert await exported("table=products") == ["p1", "p2"]
    assert await exported("realmId=ada") == ["n", "p1"]
    assert await exported("realmId=ada&table=products") == ["p1"]
    assert await exported("table=%24users") == ["ada"]
    answer = await served.ask("GET", f"/{app.name}/export/stream?realmId=rlm1", headers=headers)
    assert (answer.status, answer.json["code"]) == (501, "realms_not_built")
    answer = await served.ask("GET", f"/{app.name}/export/stream?realmId=bob", headers=headers)
    assert (answer.status, answer.json["code"]) == (404, "realm_not_found")


async def test_rows_before_one_that_stops_are_in_and_may_come_again(
    served: Served, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "PAGE", 2)
    told = [row("rlm-public", f"p{number}", n=number) for number in range(5)]
    told[3] = row("nobody", "p3", n=3)
    answer = await send(served, app, "\n".join(told).encode())
    assert (answer.status, answer.json["code"]) == (404, "realm_not_found")
    assert answer.json["message"].startswith("Line 4: There is no such realm.")
    assert answer.json["message"].endswith("0 users and 2 rows before it are in; they may come again.")
    assert len(await rows(served, app)) == 2
    told[3] = row("rlm-public", "p3", n=3)
    again = await send(served, app, "\n".join(told).encode())
    assert (again.json["objects"], again.json["written"]) == (5, 3)


async def test_a_page_of_rows_is_taken_whole_or_not_at_all(served: Served, app: App) -> None:
    await send(served, app, row("rlm-public", "p", n=1).encode())
    told = [line("ada"), row("ada", "a"), row("ada", "p"), row("ada", "z")]
    answer = await send(served, app, "\n".join(told).encode())
    assert (answer.status, answer.json["code"]) == (409, "object_exists")
    assert answer.json["message"].startswith("Line 3: The realm rlm-public has an object")
    assert len(await rows(served, app)) == 1


async def test_large_rows_are_written_in_small_pages(
    served: Served, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "PAGE_BYTES", 250_000)
    told = [row("rlm-public", f"p{number}", text="x" * 100_000) for number in range(7)]
    answer = await send(served, app, "\n".join(told).encode())
    assert (answer.json["objects"], len(await rows(served, app))) == (7, 7)
    told.append(row("rlm-public", "p9", text="x" * 1_000_001))
    answer = await send(served, app, "\n".join(told).encode())
    assert (answer.status, answer.json["message"][:8]) == (400, "Line 8: ")


async def test_a_table_or_a_realm_is_cleared_and_nothing_else(served: Served, app: App) -> None:
    products = [row("ada", f"p{number}") for number in range(3)]
    told = [line("ada"), line("bob"), *products, row("bob", "p1"), row("ada", "n", "news")]
    await send(served, app, "\n".join(told).encode())
    headers = served.bearer(app, scopes=("GLOBAL_WRITE",))

    async def clear(what: str, body: dict[str, str], held: dict[str, str] = headers) -> Answered:
        return await served.ask("POST", f"/{app.name}/clear-{what}", headers=held, json=body)

    assert (await clear("realm", {"realmId": "bob"})).json["deletedCount"] == 1
    cleared = await clear("table", {"table": "products"})
    assert cleared.json == {"message": "The table products is empty.", "deletedCount": 3}
    assert [key for _, _, key in await rows(served, app)] == ["n"]
    assert (await clear("table", {"table": "products"})).json["deletedCount"] == 0
    assert (await clear("table", {"table": "$users"})).status == 400
    assert (await clear("realm", {"realmId": "rlm1"})).json["code"] == "realms_not_built"
    reads = served.bearer(app, scopes=("ACCESS_DB", "GLOBAL_READ"))
    assert (await clear("table", {"table": "news"}, reads)).status == 403
    assert await ids(served, app) == ["ada", "bob"]
