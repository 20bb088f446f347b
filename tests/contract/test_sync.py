"""POST /sync: who may, what clients settle with, and that days are counted."""

import asyncio
import threading
from typing import Any

import msgspec
import pytest

from admit.web import large_bodies, sync_requests
from tests.contract.served import Served
from tests.contract.sync_desk import ADA, UNDEFINED, Device, sync

SCHEMA = {"todos": {"generatedGlobalId": True, "idPrefix": "tdo", "primaryKey": "id"}, "logs": {}}
FIRST: dict[str, Any] = {
    "v": 3,
    "clientIdentity": "qZ2h",
    "schema": SCHEMA,
    "baseRevs": [],
    "changes": [],
    "y": [],
    "dxcv": "4.4.14",
}
AFTER_LOGIN = FIRST | {"lastPull": {"serverRevision": "1", "realms": ["rlm-public"], "inviteRealms": []}}
FILLED = FIRST | {"lastPull": {"serverRevision": "1", "realms": ["rlm-public", ADA], "inviteRealms": []}}
MUT = {"type": "insert", "keys": ["tdo1"], "values": [{"title": "milk"}], "txid": "t1", "opNo": 1, "rev": 1}
PUSHING = {"changes": [{"table": "todos", "muts": [MUT]}]}


async def test_anonymous_client_settles_in_the_public_realm(served: Served) -> None:
    app = await served.app()
    answer = await sync(served, FIRST)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    told = answer.json
    revision = told.pop("serverRevision")
    assert told == {
        "dbId": app.app_id,
        "realms": ["rlm-public"],
        "inviteRealms": [],
        "schema": SCHEMA,
        "changes": [],
        "rejections": [],
    }
    assert (await sync(served, FIRST)).json["serverRevision"] == revision


async def test_user_settles_in_the_own_realm_too(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": ADA, "type": "prod"})
    answer = await sync(served, AFTER_LOGIN, served.bearer(app))
    assert (answer.json["realms"], answer.json["changes"]) == (["rlm-public", ADA], [])


async def test_what_javascript_calls_undefined_is_absent(door: Served) -> None:
    app = await door.app()
    await door.write(app, {"userId": ADA, "type": "prod"})
    absent = {"dbID": UNDEFINED, "lastPull": UNDEFINED, "y": UNDEFINED, "dxcv": UNDEFINED}
    mut = MUT | {"criteria": UNDEFINED, "changeSpec": UNDEFINED, "changeSpecs": UNDEFINED}
    body = FIRST | absent | {"changes": [{"table": "todos", "muts": [mut]}]}
    answer = await sync(door, body, door.bearer(app))
    assert (answer.status, answer.json["rejections"]) == (200, [])


async def test_changes_of_strangers_are_refused_loudly_and_never_dropped(door: Served) -> None:
    await door.app()
    answer = await sync(door, FIRST | PUSHING)
    assert (answer.status, answer.json["code"]) == (401, "unauthorized")


@pytest.mark.parametrize("kind", ["u-c", "what-comes-next", [], {}, None, 1, ["sv"]])
async def test_changes_of_shared_texts_are_refused_loudly(door: Served, kind: Any) -> None:
    app = await door.app()
    await door.write(app, {"userId": ADA, "type": "prod"})
    answer = await sync(door, FIRST | {"y": [{"type": kind}]}, door.bearer(app))
    assert (answer.status, answer.json["code"]) == (501, "yjs_not_built")
    assert (await sync(door, FIRST | {"y": [{"type": kind}]})).status == 401


async def test_tables_without_changes_and_questions_about_texts_are_no_changes(door: Served) -> None:
    await door.app()
    quiet = {
        "changes": [{"table": "todos", "muts": []}],
        "y": [{"type": "sv", "sv": {"$t": "Uint8Array", "v": ""}}],
    }
    assert (await sync(door, FIRST | quiet)).status == 200


async def test_schema_comes_back_as_it_went(door: Served) -> None:
    await door.app()
    schema = b'{"a\xc3\xa9": {"x": 1e100, "y": [null, {"$t": "undefined"}], "z": 1180591620717411303424}}'
    answer = await sync(door, b'{"schema": ' + schema + b"}")
    assert b'"schema":' + schema in answer.body


async def test_first_sync_of_a_day_counts_it_once(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": ADA, "type": "eval", "evalDaysLeft": 3})
    headers = served.bearer(app, scopes=("ACCESS_DB", "GLOBAL_READ"), seconds=86_400 * 30)
    left = []
    for _ in range(3):
        await asyncio.gather(*(sync(served, AFTER_LOGIN, headers) for _ in range(5)))
        shown = await served.ask("GET", f"/notes/users/{ADA}", headers=headers)
        left.append(shown.json["evalDaysLeft"])
        served.hands.move(days=1)
    assert left == [3, 2, 1]


async def test_anonymous_sync_counts_no_day(door: Served) -> None:
    app = await door.app()
    await door.write(app, {"userId": ADA, "type": "eval", "evalDaysLeft": 3})
    door.hands.move(days=1)
    await sync(door, FIRST)
    headers = door.bearer(app, scopes=("ACCESS_DB", "GLOBAL_READ"))
    assert (await door.ask("GET", f"/notes/users/{ADA}", headers=headers)).json["evalDaysLeft"] == 3


async def test_evaluation_ends_on_the_day_that_uses_it_up(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": ADA, "type": "eval", "evalDaysLeft": 1})
    headers = served.bearer(app, seconds=86_400 * 30)
    assert (await sync(served, FILLED, headers)).status == 200
    served.hands.move(days=1)
    answer = await sync(served, FILLED, headers)
    assert (answer.status, answer.json["code"]) == (403, "license_expired")


async def test_expired_user_may_fill_an_empty_device_and_no_more(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": ADA, "type": "prod"})
    ada = Device(served, app)
    ada.put("todos", "tdo1", {"title": "milk"})
    await ada.sync()
    await served.write(app, {"userId": ADA, "validUntil": "2020-01-01"})
    for body in (FIRST, AFTER_LOGIN):
        answer = await sync(served, body, ada.headers)
        assert (answer.status, len(answer.json["changes"])) == (200, 1)
    for body in (FILLED, FIRST | PUSHING, AFTER_LOGIN | PUSHING):
        refused = await sync(served, body, ada.headers)
        assert (refused.status, refused.json["code"]) == (403, "license_expired")
    assert (await sync(served, FIRST, ada.headers)).json == (await sync(served, FIRST, ada.headers)).json


@pytest.mark.parametrize("body", [FIRST, AFTER_LOGIN, FIRST | PUSHING])
async def test_deactivated_user_is_kept_out(served: Served, body: dict[str, Any]) -> None:
    app = await served.app()
    await served.write(app, {"userId": ADA, "type": "prod", "deactivated": True})
    answer = await sync(served, body, served.bearer(app))
    assert (answer.status, answer.json["code"]) == (403, "license_deactivated")


async def test_deleted_user_is_told_so(served: Served) -> None:
    app = await served.app()
    answer = await sync(served, FIRST, served.bearer(app))
    assert (answer.status, answer.json["code"]) == (403, "user_not_found")


async def test_token_of_another_app_or_time_is_not_taken_for_anonymous(door: Served) -> None:
    app, other = await door.app(), await door.app("plans")
    await door.write(app, {"userId": ADA, "type": "prod"})
    expired = door.bearer(app, seconds=60)
    door.hands.move(seconds=61)
    for headers in (door.bearer(other), expired, {"Authorization": "Bearer x.y.z"}):
        answer = await sync(door, FIRST, headers)
        assert (answer.status, answer.json["code"]) == (401, "invalid_token")
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert (await sync(door, FIRST, {"Authorization": "Basic YTpi"})).status == 400


async def test_token_without_access_to_data_does_not_sync(door: Served) -> None:
    app = await door.app()
    await door.write(app, {"userId": ADA, "type": "prod"})
    answer = await sync(door, FIRST, door.bearer(app, scopes=("GLOBAL_READ",)))
    assert (answer.status, answer.json["code"]) == (403, "insufficient_scope")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"changes": 1}', "Expected `array`, got `int` - at `$.changes`"),
        (b'{"y": [{"type": "\xff"}]}', "not UTF-8"),
        (b'{"y": ' + b"[" * 100_000, ""),
        (b'{"y": [' + b'{"a":' * 50_000, "nested too deeply"),
        (b'{"y": NaN}', "NaN"),
        (b'{"y": 1e999}', "beyond all bounds"),
        (b'{"y": [], "y": []}', "named twice"),
        (b'{"clientIdentity": "a\\u0000b"}', "clientIdentity"),
        (b'{"changes": [null]}', "changes"),
        (b'{"changes": [{"table": "t"}]}', "muts"),
        (b'{"changes": [{"muts": []}]}', "table"),
    ],
)
async def test_what_cannot_be_read_is_refused_with_a_reason(door: Served, body: bytes, sentence: str) -> None:
    await door.app()
    answer = await sync(door, body)
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")
    assert sentence in answer.json["message"]
    assert len(answer.json["message"]) <= 300


@pytest.mark.parametrize(
    "change",
    [
        {"type": "replace"},
        {"keys": [1]},
        {"keys": "tdo1"},
        {"txid": None},
        {"txid": ""},
        {"txid": "a\0b"},
        {"txid": "x" * 201},
        {"values": []},
        {"values": [{}, {}]},
        {"rev": "1"},
        {"opNo": -1},
        {"type": "update", "changeSpecs": []},
        {"type": "update", "keys": ["a", "b", "c"], "changeSpecs": [{}, {}]},
        {"type": "modify", "criteria": {"index": "n", "range": {}}},
        {"type": "modify", "changeSpec": {"n": 1}, "criteria": {"index": 1, "range": {}}},
        {"type": "delete", "criteria": {"index": "n"}},
        {"type": "delete", "criteria": "all"},
    ],
)
async def test_operations_that_no_addon_sends_are_refused_as_a_whole(
    served: Served, change: dict[str, Any]
) -> None:
    app = await served.app()
    await served.write(app, {"userId": ADA, "type": "prod"})
    odd = {name: value for name, value in (MUT | change).items() if value is not None}
    body = FIRST | {"changes": [{"table": "todos", "muts": [MUT, odd]}]}
    answer = await sync(served, body, served.bearer(app))
    assert (answer.status, answer.json["code"]) == (400, "invalid_request"), answer.json
    assert (await sync(served, FIRST, served.bearer(app))).json["changes"] == []


async def test_a_request_over_its_limit_is_refused_and_nothing_of_it_is_stored(door: Served) -> None:
    app = await door.app()
    await door.write(app, {"userId": ADA, "type": "prod"})
    large = msgspec.json.encode(FIRST | PUSHING | {"pad": "x" * 16_000_000})
    assert (await sync(door, large, door.bearer(app))).status == 413
    assert (await sync(door, FIRST, door.bearer(app))).json["changes"] == []
    assert (await sync(door, FIRST | {"pad": "x" * 262_144})).status == 413


async def test_large_requests_are_read_a_few_at_a_time(door: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    app = await door.app()
    await door.write(app, {"userId": ADA, "type": "prod"})
    monkeypatch.setattr(large_bodies, "WAIT_SECONDS_MAX", 0.3)
    let_go, honest = threading.Event(), sync_requests.read

    def slow(body: bytes) -> Any:
        let_go.wait(timeout=30)
        return honest(body)

    monkeypatch.setattr(sync_requests, "read", slow)
    large = msgspec.json.encode(FILLED | {"pad": "x" * 15_900_000})
    asked = [asyncio.create_task(sync(door, large, door.bearer(app))) for _ in range(3)]
    try:
        (refused,), under_way = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        answer = refused.result()
        assert (answer.status, answer.json["code"]) == (503, "temporarily_unavailable")
        assert answer.headers["Retry-After"] == "5"
    finally:
        let_go.set()
    assert [each.status for each in await asyncio.gather(*under_way)] == [200, 200]
    assert (await sync(door, large, door.bearer(app))).status == 200
