"""/all, /my and /public: who reads and writes which rows, and how lists go on."""

import asyncio
import json
from urllib.parse import quote, urlsplit

import pytest
from aiohttp import ClientError

from admit.data import object_pages, object_walk
from admit.data.object_pages import Page
from admit.web import row_lists
from tests.contract.row_desk import ADA, BOB, PUBLIC, READS, Desk, desk_at
from tests.contract.served import Answered, Served


@pytest.fixture
async def desk(served: Served) -> Desk:
    return await desk_at(served)


def told(answer: Answered) -> tuple[int, str]:
    return answer.status, answer.json.get("code", "")


async def test_rows_are_put_read_and_deleted_in_every_realm(desk: Desk) -> None:
    rows = [{"id": "t1", "realmId": ADA, "title": "one"}, {"id": "t2", "realmId": PUBLIC, "n": 2}]
    put = await desk.program("POST", "/all/todos", rows)
    assert (put.status, put.json) == (
        200,
        [
            {"id": "t1", "realmId": ADA, "title": "one", "owner": ADA},
            {"id": "t2", "realmId": PUBLIC, "n": 2},
        ],
    )
    assert (await desk.program("GET", "/all/todos/t1")).json == put.json[0]
    assert {row["id"] for row in (await desk.program("GET", "/all/todos")).json} == {"t1", "t2"}
    assert (await desk.program("GET", f"/all/todos?realmId={ADA}")).json == put.json[:1]
    assert (await desk.program("DELETE", "/all/todos/t1")).json == {"ok": True}
    assert told(await desk.program("GET", "/all/todos/t1")) == (404, "object_not_found")
    assert (await desk.program("DELETE", "/all/todos/t1")).status == 404
    assert (await desk.program("GET", "/all/todos")).json == put.json[1:]


async def test_a_person_reaches_their_own_rows_and_nobody_elses(desk: Desk) -> None:
    await desk.put("todos", {"id": "b", "realmId": BOB}, {"id": "p", "realmId": PUBLIC})
    put = await desk.person(ADA, "POST", "/my/todos", {"id": "a", "done": False})
    assert put.json == {"id": "a", "done": False, "realmId": ADA, "owner": ADA}
    assert (await desk.person(ADA, "GET", "/my/todos")).json == [put.json]
    assert (await desk.person(ADA, "GET", "/my/todos/b")).status == 404
    assert told(await desk.person(ADA, "GET", f"/my/todos?realmId={BOB}")) == (403, "realm_not_reached")
    for realm in (BOB, PUBLIC):
        answer = await desk.person(ADA, "POST", "/my/todos", {"id": "x", "realmId": realm})
        assert told(answer) == (403, "realm_not_reached"), realm
    assert (await desk.person(ADA, "DELETE", "/my/todos/b")).status == 404
    assert (await desk.person(ADA, "DELETE", f"/my/todos/p?realmId={PUBLIC}")).status == 403
    assert [row["id"] for row in (await desk.person(ADA, "GET", f"/my/todos?realmId={PUBLIC}")).json] == ["p"]
    assert (await desk.person(BOB, "GET", "/my/todos/b")).json["owner"] == BOB


async def test_two_people_may_have_the_same_key_which_programs_must_tell_apart(desk: Desk) -> None:
    await desk.put("todos", {"id": "t", "realmId": ADA, "n": 1}, {"id": "t", "realmId": BOB, "n": 2})
    assert told(await desk.program("GET", "/all/todos/t")) == (409, "several_realms")
    assert told(await desk.program("DELETE", "/all/todos/t")) == (409, "several_realms")
    assert (await desk.program("GET", f"/all/todos/t?realmId={BOB}")).json["n"] == 2
    assert (await desk.program("DELETE", f"/all/todos/t?realmId={BOB}")).status == 200
    assert (await desk.program("GET", "/all/todos/t")).json["n"] == 1


@pytest.mark.parametrize(
    ("method", "path", "scopes", "status"),
    [
        ("GET", "/all/todos", ("ACCESS_DB",), 403),
        ("GET", "/all/todos", ("GLOBAL_READ",), 403),
        ("GET", "/all/todos", READS, 200),
        ("POST", "/all/todos", READS, 403),
        ("DELETE", "/all/todos/t", READS, 403),
        ("GET", "/my/todos", ("GLOBAL_READ",), 403),
        ("GET", "/my/todos", ("ACCESS_DB",), 200),
        ("POST", "/public/todos", ("ACCESS_DB",), 403),
        ("POST", "/public/todos", ("ACCESS_DB", "GLOBAL_WRITE"), 200),
        ("DELETE", "/public/todos/t", READS, 403),
        ("GET", "/public/todos", (), 200),
    ],
)
async def test_scopes_decide(
    desk: Desk, method: str, path: str, scopes: tuple[str, ...], status: int
) -> None:
    body = {"id": "t"} if method == "POST" else None
    assert (await desk.person(ADA, method, path, body, scopes=scopes)).status == status


async def test_strangers_read_the_public_realm_and_nothing_else(desk: Desk) -> None:
    await desk.put("news", {"id": "p", "realmId": PUBLIC}, {"id": "a", "realmId": ADA})
    assert [row["id"] for row in (await desk.stranger("GET", "/public/news")).json] == ["p"]
    assert (await desk.stranger("GET", "/public/news/p")).json["realmId"] == PUBLIC
    assert (await desk.stranger("GET", "/public/news/a")).status == 404
    assert told(await desk.stranger("GET", f"/public/news?realmId={ADA}")) == (403, "realm_not_reached")
    for method, path in (
        ("POST", "/public/news"),
        ("DELETE", "/public/news/p"),
        ("GET", "/all/news"),
        ("POST", "/all/news"),
        ("GET", "/my/news"),
        ("POST", "/my/news"),
    ):
        assert (await desk.stranger(method, path, {"id": "x"})).status == 401, (method, path)


async def test_a_program_has_no_rows_of_its_own(desk: Desk) -> None:
    assert told(await desk.program("GET", "/my/todos")) == (403, "not_a_person")
    assert told(await desk.program("POST", "/all/todos", {"id": "t"})) == (400, "invalid_request")
    for realm, status, code in (("nobody", 404, "realm_not_found"), ("rlm1", 501, "realms_not_built")):
        answer = await desk.program("POST", "/all/todos", {"id": "t", "realmId": realm})
        assert told(answer) == (status, code)


async def test_whose_license_has_expired_reads_but_does_not_write(desk: Desk) -> None:
    await desk.person(BOB, "POST", "/my/todos", {"id": "t"})
    await desk.served.write(desk.app, {"userId": BOB, "type": "eval", "evalDaysLeft": 0})
    assert told(await desk.person(BOB, "POST", "/my/todos", {"id": "t2"})) == (403, "license_expired")
    assert told(await desk.person(BOB, "DELETE", "/my/todos/t")) == (403, "license_expired")
    assert len((await desk.person(BOB, "GET", "/my/todos")).json) == 1
    await desk.served.write(desk.app, {"userId": BOB, "deactivated": True})
    assert told(await desk.person(BOB, "GET", "/my/todos")) == (403, "license_deactivated")


async def test_a_list_goes_on_page_by_page_while_rows_come_and_go(desk: Desk) -> None:
    await desk.put("todos", *({"id": f"t{number}", "realmId": ADA} for number in range(7)))
    seen: list[str] = []
    path = "/all/todos?limit=3"
    while path:
        answer = await desk.program("GET", path)
        seen += [row["id"] for row in answer.json]
        await desk.put("todos", {"id": f"s{len(seen)}", "realmId": ADA})  # before where the list is
        await desk.program("DELETE", "/all/todos/t4")
        path = next_of(desk, answer)
    assert seen == ["t0", "t1", "t2", "t3", "t5", "t6"]
    assert told(await desk.program("GET", "/all/todos?pagingKey=nonsense")) == (400, "invalid_request")
    assert (await desk.program("GET", "/all/todos?limit=0")).status == 400


def next_of(desk: Desk, answer: Answered) -> str:
    """The path that the Link of the answer leads to, behind the name of the app; "" where it has none."""
    link = answer.headers.get("Link", "")
    assert not link or link.endswith('>; rel="next"')
    where = urlsplit(link.removeprefix("<").partition(">")[0])
    return f"{where.path}?{where.query}".removeprefix(f"/{desk.app.name}") if link else ""


async def test_a_whole_list_holds_every_row_however_many_pages_that_are(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_walk, "FIRST_ROWS", 2)
    monkeypatch.setattr(object_walk, "ROWS_MAX", 3)
    await desk.put("todos", *({"id": f"t{number}", "realmId": ADA} for number in range(11)))
    await desk.put("todos", {"id": "t0", "realmId": BOB})
    for number in (3, 4, 5, 6):
        await desk.program("DELETE", f"/all/todos/t{number}")
    whole = await desk.person(ADA, "GET", "/my/todos")
    assert [row["id"] for row in whole.json] == ["t0", "t1", "t10", "t2", "t7", "t8", "t9"]
    assert len((await desk.program("GET", "/all/todos")).json) == 8
    assert (await desk.program("GET", "/all/others")).json == []


async def test_a_list_that_breaks_off_is_not_taken_for_a_whole_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_walk, "FIRST_ROWS", 2)
    await desk.put("todos", *({"id": f"t{number}", "realmId": ADA} for number in range(5)))
    real, pages = object_pages.page, []

    def page(*given: object, **named: object) -> Page:
        pages.append(named)
        if len(pages) == 2:
            raise OSError("the disk has gone")
        return real(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(object_pages, "page", page)
    with pytest.raises(ClientError):
        await desk.program("GET", "/all/todos")


async def test_pieces_of_a_list_are_as_small_as_its_rows_are_large(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_walk, "FIRST_ROWS", 2)
    monkeypatch.setattr(object_walk, "PIECE_BYTES", 50_000)
    await desk.put("todos", *({"id": f"t{n:02}", "realmId": ADA, "x": "x" * 10_000} for n in range(20)))
    db, app_id = desk.served.gateway.db, desk.app.app_id
    sizes = [len(page.rows) async for page in object_walk.walk(db, app_id, "todos", None)]
    assert sum(sizes) == 20
    assert max(sizes) == 4
    limited = await desk.program("GET", "/all/todos?limit=20")
    monkeypatch.setattr(row_lists, "PAGE_BYTES_MAX", 25_000)
    assert (len(limited.json), len((await desk.program("GET", "/all/todos?limit=20")).json)) == (20, 3)


async def test_rows_are_found_by_what_their_properties_are(desk: Desk) -> None:
    when = {"$t": "Date", "v": "2026-02-04T08:26:10.761Z"}
    await desk.put(
        "todos",
        {"id": "a", "realmId": ADA, "done": True, "n": 1, "due": when, "at": {"city": "Oslo"}},
        {"id": "b", "realmId": ADA, "done": "true", "n": "1", "due": None},
        {"id": "c", "realmId": BOB, "done": False, "n": 1.0, "tags": ["x"]},
    )

    async def found(query: str) -> str:
        answer = await desk.program("GET", f"/all/todos?{query}")
        return "".join(row["id"] for row in sorted(answer.json, key=lambda row: row["id"]))

    assert await found("done=true") == "ab"
    assert await found("done=false") == "c"
    assert await found("n=1") == "abc"
    assert await found("n=1&done=true") == "ab"
    assert await found("due=null") == "b"
    assert await found(f"due={quote(json.dumps(when))}") == "a"
    assert await found(f"due={quote(str(when['v']))}") == "a"
    assert await found("at.city=Oslo") == "a"
    assert await found('tags=["x"]') == "c"
    assert await found("missing=1") == await found("done.x=1") == ""
    assert await found(f"realmId={BOB}&n=1") == "c"
    assert (await desk.program("GET", "/all/todos?" + "&".join(f"p{n}=1" for n in range(11)))).status == 400


async def test_a_filter_looks_at_so_many_rows_a_page_and_goes_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_walk, "FIRST_ROWS", 2)
    monkeypatch.setattr(object_walk, "ROWS_MAX", 2)
    monkeypatch.setattr(row_lists, "WALKED_ROWS_MAX", 4)
    await desk.put("todos", *({"id": f"t{number}", "realmId": ADA, "n": number} for number in range(9)))
    first = await desk.program("GET", "/all/todos?n=8&limit=5")
    assert first.json == []
    second = await desk.program("GET", next_of(desk, first))
    assert second.json == []
    third = await desk.program("GET", next_of(desk, second))
    assert [row["id"] for row in third.json] == ["t8"]
    assert "Link" not in third.headers


async def test_an_array_is_taken_whole_or_not_at_all(desk: Desk) -> None:
    await desk.put("todos", {"id": "p", "realmId": PUBLIC})
    rows = [{"id": "a", "realmId": ADA}, {"id": "p", "realmId": ADA}]
    answer = await desk.program("POST", "/all/todos", rows)
    assert (answer.status, answer.json["code"]) == (409, "object_exists")
    assert answer.json["message"].startswith("Object 1: The realm rlm-public has")
    many = [{"id": f"t{number}", "realmId": ADA} for number in range(1_001)]
    assert told(await desk.program("POST", "/all/todos", many)) == (413, "too_large")
    assert [row["id"] for row in (await desk.program("GET", "/all/todos")).json] == ["p"]
    assert len((await desk.program("POST", "/all/todos", many[:1_000])).json) == 1_000
    assert (await desk.program("POST", "/all/todos", [])).json == []


async def test_keys_are_made_where_the_table_makes_them(desk: Desk) -> None:
    answer = await desk.program("POST", "/all/todos", {"realmId": ADA, "title": "x"})
    assert told(answer) == (400, "key_missing")
    change = {"generated": True, "id_prefix": "tds"}
    command = desk.served.command()
    where = f"/api/apps/{desk.app.name}/tables/todos"
    assert (await desk.served.ask("PUT", where, headers=command, json=change)).status == 200
    rows = await desk.put("todos", *({"realmId": ADA, "n": number} for number in range(50)))
    keys = [row["id"] for row in rows]
    assert keys == sorted(set(keys))
    assert {(key[:3], key[-3:], len(key)) for key in keys} == {("tds", "com", 30)}
    assert (await desk.program("GET", f"/all/todos/{keys[7]}")).json["n"] == 7


async def test_keys_may_be_compound_nested_private_or_beside_the_object(desk: Desk) -> None:
    command, base = desk.served.command(), f"/api/apps/{desk.app.name}/tables"
    for table, path in (("pairs", "[a+b.c]"), ("nested", "meta.key"), ("bare", "")):
        answer = await desk.served.ask("PUT", f"{base}/{table}", headers=command, json={"primary_key": path})
        assert answer.status == 200, answer.body
    await desk.put("pairs", {"a": "x", "b": {"c": 1.0}, "realmId": ADA})
    spaced = quote('[ "x", 1 ]', safe="")
    assert (await desk.program("GET", f"/all/pairs/{spaced}")).json["a"] == "x"
    await desk.put("nested", {"meta": {"key": "k", "more": 1}, "realmId": ADA})
    assert (await desk.program("GET", "/all/nested/k")).json["meta"] == {"key": "k", "more": 1}
    put = await desk.person(ADA, "POST", "/my/bare/k1", {"n": 1})
    assert put.json == {"n": 1, "realmId": ADA, "owner": ADA}
    assert (await desk.person(ADA, "GET", "/my/bare/k1")).json == put.json
    put = await desk.person(ADA, "POST", "/my/settings", {"id": "#theme", "dark": True})
    assert put.json["id"] == f"#theme:{ADA}"
    assert (await desk.person(ADA, "GET", "/my/settings/%23theme")).json == put.json
    other = await desk.person(BOB, "POST", "/my/settings", {"id": "#theme", "dark": False})
    assert other.json["id"] == f"#theme:{BOB}"
    answer = await desk.person(ADA, "POST", "/my/todos/k2", {"id": "k3"})
    assert told(answer) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/my/todos", b'{"id":"t","__proto__":{"admin":true}}'),
        ("/my/todos", b'{"id":"t","a":1,"a":2}'),
        ("/my/todos", b'{"id":"t","n":NaN}'),
        ("/my/todos", b'{"id":"t","n":1e999}'),
        ("/my/todos", b'{"id":"t","x":"\\ud800"}'),
        ("/my/todos", b'{"id":"t\\u0000"}'),
        ("/my/todos", b'{"id":7}'),
        ("/my/todos", b'{"id":""}'),
        ("/my/todos", b'{"id":"[1]"}'),
        ("/my/todos", b'{"id":"' + b"k" * 501 + b'"}'),
        ("/my/todos", b'{"id":"t","x":' + b"[" * 70 + b"]" * 70 + b"}"),
        ("/my/todos", b"[" * 100_000),
        ("/my/todos", b'{"id":"t","x":"' + b"x" * 1_000_001 + b'"}'),
        ("/my/todos", b"[1]"),
        ("/my/todos", b'"text"'),
        ("/my/todos", b"\xff"),
        ("/my/todos", b""),
        ("/my/$users", b'{"id":"t"}'),
        ("/my/__proto__", b'{"id":"t"}'),
        ("/my/todos/k", b'[{"id":"k"}]'),
        ("/my/realms", b'{"id":"t"}'),
    ],
)
async def test_what_cannot_be_kept_is_refused_with_a_reason(desk: Desk, path: str, body: bytes) -> None:
    answer = await desk.person(ADA, "POST", path, body)
    assert answer.status in (400, 501), answer.body
    assert len(answer.json["message"]) > 10
    assert (await desk.person(ADA, "GET", "/my/todos")).json == []


async def test_calls_are_counted_as_the_contract_says(desk: Desk) -> None:
    limits = {
        ADA: ("200", "100"),
        BOB: ("200", "100"),
    }
    for who in limits:
        read = await desk.person(who, "GET", "/my/todos")
        write = await desk.person(who, "POST", "/my/todos", {"id": "t"})
        assert (read.headers["Ratelimit-Limit"], write.headers["Ratelimit-Limit"]) == limits[who], who
    assert "Ratelimit-Remaining" in (await desk.stranger("GET", "/public/todos")).headers
    assert "Ratelimit-Remaining" in (await desk.program("GET", "/all/todos")).headers


async def test_fifty_writes_of_one_row_at_once_leave_one_row(desk: Desk) -> None:
    answers = await asyncio.gather(
        *(desk.program("POST", "/all/todos", {"id": "t", "realmId": ADA, "n": n}) for n in range(50))
    )
    assert {answer.status for answer in answers} == {200}
    [row] = (await desk.program("GET", "/all/todos")).json
    assert row["n"] in range(50)
