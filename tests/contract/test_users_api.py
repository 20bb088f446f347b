"""/users: what the app's own programs do with its people, as the contract has it."""

import asyncio
import base64
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from yarl import URL

from admit.accounts import sessions
from admit.accounts.apps import App
from admit.events import log
from admit.storage.transaction import Transaction
from tests.contract.served import Answered, Served

READER = ("ACCESS_DB", "GLOBAL_READ")
WRITER = ("ACCESS_DB", "GLOBAL_READ", "GLOBAL_WRITE")


@pytest.fixture
async def app(served: Served) -> App:
    return await served.app()


@pytest.fixture
async def home(door: Served) -> App:
    """The app of a server on SQLite, for what the database has no part in."""
    return await door.app()


async def get(served: Served, app: App, path: str = "", **query: object) -> Answered:
    headers = served.bearer(app, "program", READER)
    return await served.ask("GET", f"/{app.name}/users{path}", headers=headers, params=query)


async def post(served: Served, app: App, body: object) -> Answered:
    headers = served.bearer(app, "program", WRITER)
    return await served.ask("POST", f"/{app.name}/users", headers=headers, data=msgspec.json.encode(body))


async def recorded(served: Served, app: App) -> list[str]:
    """The types of the events of the app, in their order."""

    def read(tx: Transaction) -> list[str]:
        rows = tx.execute(
            log.events.select().where(log.events.c.app_id == app.app_id).order_by(log.events.c.position)
        )
        return [row.type for row in rows]

    return await served.gateway.db.read(read)


async def test_new_user_looks_as_documented(served: Served, app: App) -> None:
    data = {"email": "david@example.com", "displayName": "David", "deep": {"a": [1, None, "ü"]}}
    made = await post(
        served, app, [{"userId": "david@example.com", "type": "eval", "evalDaysLeft": 30, "data": data}]
    )
    assert (made.status, made.json) == (200, {"ok": True})
    shown = (await get(served, app, "/david@example.com")).json
    assert shown.pop("created") == shown.pop("updated")
    assert shown == {
        "userId": "david@example.com",
        "lastLogin": None,
        "type": "eval",
        "evalDaysLeft": 30,
        "maxAllowedEvalDaysLeft": 30,
        "deactivated": None,
        "data": data,
    }
    assert (await get(served, app)).json["data"][0]["userId"] == "david@example.com"
    assert await recorded(served, app) == ["user.enrolled"]


async def test_an_address_is_one_user_however_it_is_spelled(served: Served, app: App) -> None:
    await post(served, app, [{"userId": "Ada@Example.COM", "type": "eval"}])
    await post(served, app, [{"userId": "ADA@example.com", "type": "prod"}])
    assert [user["userId"] for user in (await get(served, app)).json["data"]] == ["ada@example.com"]
    assert (await get(served, app, "/Ada@Example.com")).json["type"] == "prod"
    headers = served.bearer(app, "program", WRITER)
    gone = await served.ask("DELETE", f"/{app.name}/users/ADA@EXAMPLE.COM", headers=headers)
    assert (gone.status, (await get(served, app)).json["data"]) == (200, [])


async def test_dates_are_iso_8601_in_utc(served: Served, app: App) -> None:
    await post(
        served,
        app,
        [
            {
                "userId": "a@example.com",
                "type": "prod",
                "validUntil": "2031-02-03T04:05:06.789+02:00",
                "deactivated": True,
            }
        ],
    )
    shown = (await get(served, app, "/a@example.com")).json
    assert shown["validUntil"] == "2031-02-03T02:05:06.789Z"
    for name in ("created", "updated", "deactivated"):
        assert shown[name].endswith("Z")
        assert len(shown[name]) == len("2023-10-27T22:10:29.922Z")


async def test_update_changes_what_it_names_and_replaces_data(served: Served, app: App) -> None:
    await post(served, app, [{"userId": "a@example.com", "type": "eval", "data": {"a": 1, "b": 2}}])
    await post(served, app, [{"userId": "a@example.com", "data": {"c": 3}}])
    await post(served, app, [{"userId": "a@example.com", "type": "prod", "validUntil": "2031-01-01"}])
    shown = (await get(served, app, "/a@example.com")).json
    assert (shown["type"], shown["data"], shown["validUntil"]) == (
        "prod",
        {"c": 3},
        "2031-01-01T00:00:00.000Z",
    )
    await post(served, app, [{"userId": "a@example.com", "validUntil": None, "data": None}])
    shown = (await get(served, app, "/a@example.com")).json
    assert "validUntil" not in shown
    assert shown["data"] is None


async def test_deactivation_takes_true_or_a_date_and_is_lifted_by_null_or_false(
    served: Served, app: App
) -> None:
    await post(served, app, [{"userId": "a@example.com", "type": "prod"}])
    for wish, is_deactivated in (
        (True, True),
        (None, False),
        ("2024-01-02T03:04:05.000Z", True),
        (False, False),
    ):
        await post(served, app, [{"userId": "a@example.com", "deactivated": wish}])
        assert bool((await get(served, app, "/a@example.com")).json["deactivated"]) is is_deactivated


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"userId": "new@example.com"}, "To create it, give its type"),
        ({"userId": "new@example.com", "type": "admin"}, "type of a user is eval or prod"),
        ({"userId": "", "type": "prod"}, "A userId is not empty"),
        ({"userId": "x" * 300, "type": "prod"}, "at most 255 characters"),
        ({"userId": "new@example.com", "type": "prod", "email": "x@example.com"}, "unknown field `email`"),
        ({"userId": "new@example.com", "type": "prod", "created": "2020-01-01"}, "unknown field `created`"),
        ({"userId": "new@example.com", "type": "prod", "uid": "usr_1"}, "unknown field `uid`"),
        ({"userId": "new@example.com", "type": "prod", "validUntil": "soon"}, "validUntil is a date"),
        ({"userId": "new@example.com", "type": "prod", "validUntil": 1}, "Expected"),
        ({"userId": "new@example.com", "type": "prod", "evalDaysLeft": -1}, "evalDaysLeft is a number"),
        ({"userId": "new@example.com", "type": "prod", "evalDaysLeft": 10**30}, "evalDaysLeft is a number"),
        ({"userId": "new@example.com", "type": "prod", "evalDaysLeft": 1.5}, "Expected `int`"),
        ({"userId": "new@example.com", "type": "prod", "data": [1]}, "data is a JSON object"),
        ({"userId": "new@example.com", "type": "prod", "data": {"x": "y" * 20_000}}, "more than 16384 bytes"),
        ({"userId": 1, "type": "prod"}, "Expected `str`"),
        ({"type": "prod"}, "missing required field `userId`"),
        ("new@example.com", "Expected `object`"),
    ],
)
async def test_one_wrong_entry_stops_all_of_them(
    served: Served, app: App, entry: object, problem: str
) -> None:
    await post(served, app, [{"userId": "old@example.com", "type": "eval", "data": {"a": 1}}])
    before = (await get(served, app)).json
    changes = [
        {"userId": "old@example.com", "type": "prod", "data": {"a": 2}},
        {"userId": "other@example.com", "type": "prod"},
        entry,
    ]
    answer = await post(served, app, changes)
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")
    assert problem in answer.json["message"]
    assert (await get(served, app)).json == before
    assert await recorded(served, app) == ["user.enrolled"]


async def test_body_is_an_array_of_at_most_a_thousand(served: Served, app: App) -> None:
    assert (await post(served, app, {"userId": "a@example.com", "type": "prod"})).status == 400
    many = [{"userId": f"u{number}@example.com", "type": "prod"} for number in range(1_001)]
    answer = await post(served, app, many)
    assert (answer.status, answer.json["code"]) == (413, "too_large")
    assert (await post(served, app, many[:1_000])).status == 200
    assert (await post(served, app, [])).json == {"ok": True}


async def test_each_created_user_has_one_row_in_the_ledger(served: Served, app: App) -> None:
    await post(
        served,
        app,
        [{"userId": "a@example.com", "type": "prod"}, {"userId": "b@example.com", "type": "eval"}],
    )
    await post(served, app, [{"userId": "a@example.com", "type": "eval"}])
    listed = await served.ask("GET", "/api/apps/notes/admissions", headers=served.command())
    rows = {
        (row["user_id"], row["verdict"], row["method"], row["reason"]) for row in listed.json["admissions"]
    }
    assert rows == {
        ("a@example.com", "prod", "api", "Created by the API client program."),
        ("b@example.com", "eval", "api", "Created by the API client program."),
    }


@pytest.mark.parametrize(
    ("method", "path", "scopes", "status"),
    [
        ("GET", "", None, 401),
        ("GET", "", ("ACCESS_DB",), 403),
        ("GET", "", ("GLOBAL_READ",), 403),
        ("GET", "", ("ACCESS_DB", "GLOBAL_WRITE"), 403),
        ("GET", "", READER, 200),
        ("GET", "/ada@example.com", ("ACCESS_DB",), 403),
        ("GET", "/ada@example.com", READER, 200),
        ("POST", "", None, 401),
        ("POST", "", READER, 403),
        ("POST", "", ("ACCESS_DB", "GLOBAL_WRITE"), 200),
        ("DELETE", "/ada@example.com", None, 401),
        ("DELETE", "/ada@example.com", READER, 403),
        ("DELETE", "/ada@example.com", ("ACCESS_DB", "GLOBAL_WRITE"), 200),
    ],
)
async def test_scopes_decide(
    door: Served, home: App, method: str, path: str, scopes: tuple[str, ...] | None, status: int
) -> None:
    await door.write(home, {"userId": "ada@example.com", "type": "prod"})
    headers = {} if scopes is None else door.bearer(home, "program", scopes)
    answer = await door.ask(
        method, f"/notes/users{path}", headers=headers, data=b"[]" if method == "POST" else None
    )
    assert answer.status == status
    if status == 403:
        assert answer.json["code"] == "insufficient_scope"


async def test_token_of_another_app_reaches_nobody(door: Served, home: App) -> None:
    other = await door.app("plans")
    await door.write(home, {"userId": "ada@example.com", "type": "prod"})
    headers = door.bearer(other, "program", WRITER)
    for method, path in (
        ("GET", ""),
        ("GET", "/ada@example.com"),
        ("POST", ""),
        ("DELETE", "/ada@example.com"),
    ):
        answer = await door.ask(method, f"/notes/users{path}", headers=headers, data=b"[]")
        assert (answer.status, answer.json["code"]) == (401, "invalid_token")


async def test_anybody_may_delete_themselves_and_nobody_else(served: Served, app: App) -> None:
    await served.write(
        app, *({"userId": each, "type": "prod"} for each in ("ada@example.com", "bob@example.com"))
    )
    ada = served.bearer(app, "ada@example.com")
    assert (await served.ask("DELETE", "/notes/users/bob@example.com", headers=ada)).status == 403
    answer = await served.ask("DELETE", "/notes/users/ada@example.com", headers=ada)
    assert (answer.status, answer.json) == (200, {"ok": True})
    assert (await get(served, app, "/ada@example.com")).json["code"] == "user_not_found"
    assert (await get(served, app, "/bob@example.com")).status == 200
    assert "user.deleted" in await recorded(served, app)
    assert (await served.ask("DELETE", "/notes/users/ada@example.com", headers=ada)).status == 401


async def test_deactivated_user_does_not_delete_themselves(served: Served, app: App) -> None:
    await served.write(app, {"userId": "ada@example.com", "type": "prod", "deactivated": True})
    answer = await served.ask("DELETE", "/notes/users/ada@example.com", headers=served.bearer(app))
    assert (answer.status, answer.json["code"]) == (401, "invalid_token")


async def test_session_that_has_ended_deletes_nobody(served: Served, app: App) -> None:
    await served.write(app, {"userId": "ada@example.com", "type": "prod"})
    headers = served.bearer(app, sid="ses_gone")
    assert await served.gateway.db.read(lambda tx: sessions.find(tx, app.app_id, "ses_gone")) is None
    assert (await served.ask("DELETE", "/notes/users/ada@example.com", headers=headers)).status == 401
    assert (await get(served, app, "/ada@example.com")).status == 200


@pytest.mark.parametrize(
    "user_id",
    ["auth0|12", "https://idp.example/a//b", "a b", "ü@example.com", "100%25", "a/b", "..", "a?b#c"],
)
async def test_user_ids_of_any_shape_have_an_address(door: Served, home: App, user_id: str) -> None:
    await door.write(home, {"userId": user_id, "type": "prod"})
    url = URL(f"{door.url}/notes/users/{quote(user_id, safe='')}", encoded=True)
    headers = door.bearer(home, "program", WRITER)
    if user_id == "..":
        return  # no client sends this as it is
    async with door.http.get(url, headers=headers) as answer:
        assert (await answer.json())["userId"] == user_id
    async with door.http.delete(url, headers=headers) as answer:
        assert answer.status == 200


async def people(served: Served, app: App) -> None:
    await served.write(
        app,
        *(
            {
                "userId": f"u{number}@example.com",
                "type": "prod" if number % 3 else "eval",
                "evalDaysLeft": number % 4,
                "validUntil": f"20{30 + number % 5}-01-01",
                "deactivated": number % 5 == 0,
                "data": {"displayName": f"Name{number % 7} Family"},
            }
            for number in range(25)
        ),
    )


@pytest.mark.parametrize("desc", [False, True])
@pytest.mark.parametrize(
    "sort",
    ["created", "validUntil", "updated", "evalDaysLeft", "lastLogin", "userId", "type", "displayName"],
)
async def test_pages_in_every_order_hold_everybody_once(
    served: Served, app: App, sort: str, desc: bool
) -> None:
    await people(served, app)
    found: list[str] = []
    query: dict[str, Any] = {"sort": sort, "limit": 4} | ({"desc": "true"} if desc else {})
    while True:
        page = (await get(served, app, **query)).json
        found += [user["userId"] for user in page["data"]]
        assert page["hasMore"] is ("pagingKey" in page)
        if not page["hasMore"]:
            break
        query["pagingKey"] = page["pagingKey"]
    assert sorted(found) == sorted(f"u{number}@example.com" for number in range(25))
    bare: dict[str, Any] = {"desc": ""} if desc else {}
    everybody = (await get(served, app, sort=sort, **bare)).json["data"]
    assert [user["userId"] for user in everybody] == found


async def test_paging_key_is_the_documented_one(served: Served, app: App) -> None:
    await served.write(
        app, *({"userId": f"{name}@demo.local", "type": "demo"} for name in ("alice", "bob", "cy"))
    )
    page = (await get(served, app, sort="userId", limit=1)).json
    assert msgspec.json.decode(base64.b64decode(page["pagingKey"])) == [
        "alice@demo.local",
        "alice@demo.local",
    ]
    documented = "WyJhbGljZUBkZW1vLmxvY2FsIiwiYWxpY2VAZGVtby5sb2NhbCJd"
    assert (await get(served, app, limit=1, pagingKey=documented)).json["data"][0][
        "userId"
    ] == "bob@demo.local"


@pytest.mark.parametrize("key", ["", "x", "W10=", "WzFd", base64.b64encode(b'[1,"a"]').decode(), "A" * 5_000])
async def test_paging_key_that_is_none_is_refused(door: Served, home: App, key: str) -> None:
    answer = await get(door, home, sort="userId", pagingKey=key)
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")


async def test_filters_and_search(served: Served, app: App) -> None:
    await people(served, app)

    async def names(**query: Any) -> set[str]:
        return {user["userId"].partition("@")[0] for user in (await get(served, app, **query)).json["data"]}

    assert await names(search="u1") == {"u1", *(f"u{number}" for number in range(10, 20))}
    assert await names(search="NAME3") == {"u3", "u10", "u17", "u24"}
    assert await names(search="name3 fam") == {"u3", "u10", "u17", "u24"}
    assert await names(search="%") == set()
    assert await names(search="ame3") == set()
    assert await names(active="false") == {"u0", "u5", "u10", "u15", "u20"}
    assert len(await names(active="true")) == 20
    assert await names(type="eval", active="false") == {"u0", "u15"}


async def test_users_that_come_meanwhile_neither_repeat_nor_hide_others(served: Served, app: App) -> None:
    await people(served, app)
    first = (await get(served, app, limit=10)).json
    await served.write(app, {"userId": "a-newcomer@example.com", "type": "prod"})
    rest = (await get(served, app, pagingKey=first["pagingKey"])).json
    both = [user["userId"] for user in first["data"] + rest["data"]]
    assert sorted(both) == sorted(f"u{number}@example.com" for number in range(25))


async def test_rivals_who_create_one_user_create_it_once(served: Served, app: App) -> None:
    entry = [{"userId": "a@example.com", "type": "prod"}]
    answers = await asyncio.gather(*(post(served, app, entry) for _ in range(10)))
    assert {answer.status for answer in answers} <= {200, 409}
    assert (await recorded(served, app)).count("user.enrolled") == 1
