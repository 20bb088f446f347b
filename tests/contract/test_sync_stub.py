"""POST /sync: clients settle, days are counted, and no change is ever dropped."""

import asyncio
from typing import Any

import msgspec
import pytest

from tests.contract.served import ORIGIN, Answered, Served

TSON = {"Content-Type": "application/tson", "Origin": ORIGIN}
SCHEMA = {"todos": {"generatedGlobalId": True, "idPrefix": "tdo", "primaryKey": "@id"}, "logs": {}}
FIRST: dict[str, Any] = {
    "v": 3,
    "clientIdentity": "qZ2h",
    "schema": SCHEMA,
    "baseRevs": [],
    "changes": [],
    "y": [],
    "dxcv": "4.4.14",
}
AFTER_LOGIN = FIRST | {
    "lastPull": {"serverRevision": "1", "realms": ["rlm-public"], "inviteRealms": []},
}
CHANGE = {"table": "todos", "muts": [{"type": "insert", "keys": ["tdo1"], "values": [{"title": "milk"}]}]}


async def sync(served: Served, body: object, headers: dict[str, str] | None = None) -> Answered:
    return await served.ask(
        "POST", "/notes/sync", data=msgspec.json.encode(body), headers=TSON | (headers or {})
    )


async def test_anonymous_client_settles_in_the_public_realm(served: Served) -> None:
    app = await served.app()
    answer = await sync(served, FIRST)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json == {
        "serverRevision": "1",
        "dbId": app.app_id,
        "realms": ["rlm-public"],
        "inviteRealms": [],
        "schema": SCHEMA,
        "changes": [],
        "rejections": [],
    }


async def test_user_settles_in_the_own_realm_too(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": "ada@example.com", "type": "prod"})
    answer = await sync(served, AFTER_LOGIN, served.bearer(app))
    assert answer.json["realms"] == ["rlm-public", "ada@example.com"]


@pytest.mark.parametrize("authorised", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        {"changes": [CHANGE]},
        {"changes": [{"table": "todos", "muts": []}, CHANGE]},
        {"changes": [{"table": "todos"}]},
        {"changes": [{"table": "todos", "mutations": []}]},
        {"changes": [None]},
        {"y": [{"type": "u-c", "table": "docs", "prop": "body", "k": "1", "u": "", "i": 1}]},
        {"y": [{"type": "what-comes-next"}]},
        {"y": [{}]},
    ],
)
async def test_changes_are_refused_loudly_and_never_dropped(
    door: Served, body: dict[str, Any], authorised: bool
) -> None:
    app = await door.app()
    await door.write(app, {"userId": "ada@example.com", "type": "prod"})
    answer = await sync(door, FIRST | body, door.bearer(app) if authorised else None)
    assert (answer.status, answer.json["code"]) == (403, "sync_not_available")
    assert "unsyncedTables" in answer.json["message"]


async def test_tables_without_changes_and_questions_about_texts_are_no_changes(door: Served) -> None:
    await door.app()
    quiet = {
        "changes": [{"table": "todos", "muts": []}],
        "y": [{"type": "sv", "sv": {"$t": "Uint8Array", "v": ""}}],
    }
    assert (await sync(door, FIRST | quiet)).status == 200


async def test_schema_comes_back_as_it_went(door: Served) -> None:
    await door.app()
    schema = {"a\u00e9": {"x": 1e100, "y": [None, {"$t": "undefined"}], "z": 2**70}}
    assert (await sync(door, FIRST | {"schema": schema})).json["schema"] == schema


async def test_first_sync_of_a_day_counts_it_once(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": "ada@example.com", "type": "eval", "evalDaysLeft": 3})
    headers = served.bearer(app, scopes=("ACCESS_DB", "GLOBAL_READ"), seconds=86_400 * 30)
    left = []
    for _ in range(3):
        await asyncio.gather(*(sync(served, AFTER_LOGIN, headers) for _ in range(5)))
        shown = await served.ask("GET", "/notes/users/ada@example.com", headers=headers)
        left.append(shown.json["evalDaysLeft"])
        served.hands.move(days=1)
    assert left == [3, 2, 1]


async def test_anonymous_sync_counts_no_day(door: Served) -> None:
    app = await door.app()
    await door.write(app, {"userId": "ada@example.com", "type": "eval", "evalDaysLeft": 3})
    door.hands.move(days=1)
    await sync(door, FIRST)
    headers = door.bearer(app, scopes=("ACCESS_DB", "GLOBAL_READ"))
    assert (await door.ask("GET", "/notes/users/ada@example.com", headers=headers)).json["evalDaysLeft"] == 3


async def test_evaluation_ends_on_the_day_that_uses_it_up(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": "ada@example.com", "type": "eval", "evalDaysLeft": 1})
    headers = served.bearer(app, seconds=86_400 * 30)
    had = AFTER_LOGIN | {"lastPull": {"serverRevision": "1", "realms": ["rlm-public", "ada@example.com"]}}
    assert (await sync(served, had, headers)).status == 200
    served.hands.move(days=1)
    answer = await sync(served, had, headers)
    assert (answer.status, answer.json["code"]) == (403, "license_expired")


async def test_expired_user_may_fill_an_empty_device_and_no_more(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": "ada@example.com", "type": "prod", "validUntil": "2020-01-01"})
    headers = served.bearer(app)
    filled = AFTER_LOGIN | {"lastPull": {"serverRevision": "1", "realms": ["rlm-public", "ada@example.com"]}}
    assert (await sync(served, FIRST, headers)).status == 200
    assert (await sync(served, AFTER_LOGIN, headers)).status == 200
    assert (await sync(served, filled, headers)).json["code"] == "license_expired"
    pushing = await sync(served, FIRST | {"changes": [CHANGE]}, headers)
    assert (pushing.status, pushing.json["code"]) == (403, "sync_not_available")


@pytest.mark.parametrize("body", [FIRST, AFTER_LOGIN])
async def test_deactivated_user_is_kept_out(served: Served, body: dict[str, Any]) -> None:
    app = await served.app()
    await served.write(app, {"userId": "ada@example.com", "type": "prod", "deactivated": True})
    answer = await sync(served, body, served.bearer(app))
    assert (answer.status, answer.json["code"]) == (403, "license_deactivated")


async def test_deleted_user_is_told_so(served: Served) -> None:
    app = await served.app()
    answer = await sync(served, FIRST, served.bearer(app))
    assert (answer.status, answer.json["code"]) == (403, "user_not_found")


async def test_token_of_another_app_or_time_is_not_taken_for_anonymous(door: Served) -> None:
    app, other = await door.app(), await door.app("plans")
    await door.write(app, {"userId": "ada@example.com", "type": "prod"})
    expired = door.bearer(app, seconds=60)
    door.hands.move(seconds=61)
    for headers in (door.bearer(other), expired, {"Authorization": "Bearer x.y.z"}):
        answer = await sync(door, FIRST, headers)
        assert (answer.status, answer.json["code"]) == (401, "invalid_token")
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert (await sync(door, FIRST, {"Authorization": "Basic YTpi"})).status == 400


async def test_token_without_access_to_data_does_not_sync(door: Served) -> None:
    app = await door.app()
    await door.write(app, {"userId": "ada@example.com", "type": "prod"})
    answer = await sync(door, FIRST, door.bearer(app, scopes=("GLOBAL_READ",)))
    assert (answer.status, answer.json["code"]) == (403, "insufficient_scope")
