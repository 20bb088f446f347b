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
from admit.web import transfer_api
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
    monkeypatch.setattr(transfer_api, "IMPORT_PAGE", 2)
    lines = [line("a"), line("b"), line("c"), line("d", type="nonsense"), line("e")]
    answer = await send(served, app, "\n".join(lines).encode())
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")
    assert answer.json["message"].startswith("Line 4: Entry 1: The type of a user is")
    assert "2 users before it are in" in answer.json["message"]
    assert await ids(served, app) == ["a", "b"]
    lines[3] = line("d")
    again = await send(served, app, "\n".join(lines).encode())
    assert again.json == {"ok": True, "users": 5, "created": 3, "changed": 0}
    assert await ids(served, app) == ["a", "b", "c", "d", "e"]


async def test_what_stands_before_a_line_that_cannot_be_read_is_in(served: Served, app: App) -> None:
    answer = await send(served, app, f"{line('a')}\n\n{{broken\n{line('b')}".encode())
    assert answer.json["message"].startswith("Line 3: The body is not JSON")
    assert "1 users before it are in" in answer.json["message"]
    assert await ids(served, app) == ["a"]


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ('{"realm":"rlm1","table":"products","id":"p1","data":{}}', "tables_not_built"),
        ('{"type":"schema","tables":{"products":"@id"}}', "tables_not_built"),
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
    assert answer.status == (400 if code == "invalid_request" else 501)
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
    monkeypatch.setattr(transfer_api, "LINE_BYTES_MAX", 200_000)
    monkeypatch.setattr(transfer_api, "FILE_BYTES_MAX", 200_000)
    for path in ("/stream", ""):
        answer = await send(served, app, b" " * 50_000_000, path=path)
        assert (answer.status, answer.json["code"]) == (413, "too_large")
    monkeypatch.setattr(transfer_api, "IMPORT_BYTES_MAX", 1_000_000)
    answer = await send(served, app, b"\n" * 50_000_000)
    assert (answer.status, answer.json["code"]) == (413, "too_large")


@pytest.mark.parametrize("scopes", [("ACCESS_DB",), ("GLOBAL_READ", "GLOBAL_WRITE"), ("MANAGE_DB",)])
async def test_scopes_decide(served: Served, app: App, scopes: Sequence[str]) -> None:
    headers = served.bearer(app, scopes=scopes)
    for method, path in (("GET", "export/stream"), ("POST", "import/stream"), ("POST", "import")):
        assert (await served.ask(method, f"/notes/{path}", headers=headers)).status == 403
        assert (await served.ask(method, f"/notes/{path}")).status == 401
