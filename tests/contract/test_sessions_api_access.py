"""Who may use the Sessions API: operators and API clients, by HTTP Basic or a token; no person, ever."""

import base64

import pytest
from msgspec.structs import replace

from admit.accounts.clients import NewClient
from admit.signin.limits import Limit
from admit.web.app import OPERATIONS
from admit.web.operations import Operation
from tests.contract.served import ORIGIN, Answered, Served
from tests.contract.test_admin_api import operator_token

USERS = "/api/v4/notes/users"
LOCK = f"{USERS}/ada@example.com/lock"
CHALLENGES = ('Basic realm="Admit"', "Bearer")


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def bearer(token: str, scheme: str = "Bearer") -> dict[str, str]:
    return {"Authorization": f"{scheme} {token}"}


def by_client(client: NewClient) -> dict[str, str]:
    return basic(client.client_id, client.client_secret)


def is_refused(answer: Answered, code: str) -> bool:
    told = answer.headers.get("WWW-Authenticate", "")
    return (answer.status, answer.json["code"]) == (401, code) and all(each in told for each in CHALLENGES)


def is_forbidden(answer: Answered) -> bool:
    return (answer.status, answer.json["code"]) == (403, "insufficient_scope")


async def ask(served: Served, headers: dict[str, str], path: str = USERS, method: str = "GET") -> Answered:
    return await served.ask(method, path, headers=headers)


async def test_operator_comes_in_by_every_documented_way(served: Served) -> None:
    app = await served.app()
    token = await operator_token(served, "sessions:read", app="notes")
    for headers in (
        bearer(token),
        bearer(token, "Token"),
        bearer(token, "bearer"),
        basic("notes", token),
        basic(app.app_id, token),
        served.command(),
    ):
        assert (await ask(served, headers)).status == 200, headers
        assert (await ask(served, headers, f"/api/v4/{app.app_id}/users")).status == 200, headers


async def test_api_client_comes_in_by_its_secret_with_its_scopes(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": "ada@example.com", "type": "prod"})
    reader = by_client(await served.client(app, ["GLOBAL_READ"]))
    writer = by_client(await served.client(app, ["GLOBAL_WRITE"]))
    assert (await ask(served, reader)).status == 200
    assert (await ask(served, writer, LOCK, "POST")).status == 200
    assert is_forbidden(await ask(served, reader, LOCK, "POST"))
    assert is_forbidden(await ask(served, writer))
    assert is_forbidden(await ask(served, by_client(await served.client(app, ["ACCESS_DB", "IMPERSONATE"]))))


async def test_who_makes_links_for_a_person_may_speak_for_them(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": "ada@example.com", "type": "prod"})
    path = f"{USERS}/ada@example.com/authentication-token"
    writer = by_client(await served.client(app, ["GLOBAL_READ", "GLOBAL_WRITE"]))
    assert is_forbidden(await ask(served, writer, path, "POST"))
    assert (await ask(served, writer, f"{path}s")).json["objects"] == []
    assert is_forbidden(await ask(served, by_client(await served.client(app, ["IMPERSONATE"])), path, "POST"))
    both = by_client(await served.client(app, ["GLOBAL_WRITE", "IMPERSONATE"]))
    assert (await ask(served, both, path, "POST")).status == 201
    operator = bearer(await operator_token(served, "sessions:write", app="notes"))
    assert (await ask(served, operator, path, "POST")).status == 201


async def test_without_a_credential_both_ways_in_are_told(door: Served) -> None:
    await door.app()
    for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": "Negotiate abc"}):
        answer = await ask(door, headers)
        assert is_refused(answer, "unauthorized"), answer.body
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="Admit", charset="UTF-8", Bearer'


async def test_wrong_credentials_are_refused_alike_whether_or_not_something_is_there(door: Served) -> None:
    app = await door.app()
    client = await door.client(app)
    wrong = [
        basic(client.client_id, "acs_wrong"),
        basic("cli_nobody", client.client_secret),
        basic("cli_nobody", "é\u20ac"),
        basic("", client.client_secret),
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic " + base64.b64encode(b"\xff\xfe:x").decode()},
        {"Authorization": "Basic " + base64.b64encode(b"no colon").decode()},
    ]
    for headers in wrong:
        assert is_refused(await ask(door, headers), "invalid_client"), headers
    here, nowhere = [await ask(door, wrong[0], f"/api/v4/{name}/users") for name in ("notes", "no-such-app")]
    assert (here.status, here.body) == (nowhere.status, nowhere.body)


async def test_wrong_operator_tokens_are_refused(door: Served) -> None:
    await door.app()
    token = await operator_token(door, "sessions:read")
    for wrong in ("adm_wrong", token + "x", "", "adm_command_1_2.3"):
        for headers in (bearer(wrong or "x"), basic("notes", wrong or "adm_")):
            assert is_refused(await ask(door, headers), "invalid_token"), headers
    answer = await ask(door, bearer("adm_wrong"))
    assert answer.headers["WWW-Authenticate"].endswith('Bearer error="invalid_token"')


async def test_user_name_before_an_operator_token_is_the_app_asked_for(door: Served) -> None:
    await door.app()
    await door.app("plans")
    token = await operator_token(door, "sessions:read")
    assert is_refused(await ask(door, basic("plans", token)), "unauthorized")
    assert (await ask(door, basic("plans", token), "/api/v4/plans/users")).status == 200


async def test_revoked_credentials_end_at_once(served: Served) -> None:
    app = await served.app()
    client = await served.client(app)
    made = await served.ask(
        "POST",
        "/api/tokens",
        headers=served.command(),
        json={"label": "script", "scopes": ["sessions:read"], "app": "notes"},
    )
    assert (await ask(served, by_client(client))).status == 200
    for path in (f"tokens/{made.json['token_id']}", f"apps/notes/clients/{client.client_id}"):
        ended = await served.ask("DELETE", f"/api/{path}", headers=served.command())
        assert ended.status == 204, ended.body
    assert is_refused(await ask(served, bearer(made.json["token"])), "invalid_token")
    assert is_refused(await ask(served, by_client(client)), "invalid_client")


async def test_token_of_another_app_or_without_the_scope_is_forbidden(door: Served) -> None:
    await door.app()
    await door.app("plans")
    elsewhere = await operator_token(door, "sessions:read", "sessions:write", app="plans")
    for path in (USERS, "/api/v4/no-such-app/users", "/api/v4/app_no_such/users"):
        assert is_forbidden(await ask(door, bearer(elsewhere), path))
    assert is_forbidden(await ask(door, basic("notes", elsewhere)))
    reading = await operator_token(door, "sessions:read", "users:write", "apps:write")
    assert (await ask(door, bearer(reading))).status == 200
    assert is_forbidden(await ask(door, bearer(reading), LOCK, "POST"))
    others = await operator_token(door, "users:read", "users:write", "sessions:write")
    assert is_forbidden(await ask(door, bearer(others)))


async def test_app_that_is_not_there_is_told_to_who_may_see_all(door: Served) -> None:
    token = await operator_token(door, "sessions:read")
    answer = await ask(door, bearer(token), "/api/v4/no-such-app/users")
    assert (answer.status, answer.json["code"]) == (404, "app_not_found")


def _operations() -> list[Operation]:
    return [operation for operation in OPERATIONS if operation.path.startswith("/api/v4/")]


def test_every_operation_asks_for_one_scope() -> None:
    assert len(_operations()) > 14
    for operation in _operations():
        assert operation.access == "operator_or_client"
        of_objects = operation.path.endswith(".json")
        thing = "data" if of_objects else "sessions"
        assert operation.scopes == (f"{thing}:read" if operation.method == "GET" else f"{thing}:write",)


@pytest.mark.parametrize("operation", _operations(), ids=lambda each: f"{each.method} {each.path}")
async def test_no_person_and_no_access_token_comes_in_anywhere(door: Served, operation: Operation) -> None:
    app = await door.app()
    await door.write(app, {"userId": "ada@example.com", "type": "prod"})
    client = await door.client(app)
    path = operation.path
    for name in ("app", "user_id", "session_id", "token_id"):
        path = path.replace(f"{{{name}}}", {"app": "notes", "user_id": "ada@example.com"}.get(name, "x"))
    every = ("ACCESS_DB", "GLOBAL_READ", "GLOBAL_WRITE", "MANAGE_DB")
    tokens = [
        door.token(app),
        door.token(app, scopes=every),
        door.token(app, client.client_id, every, client_id=client.client_id, client_since=2**52),
        door.token(app, act={"sub": "owner@example.com"}),
    ]
    for token in tokens:
        for headers in (bearer(token), bearer(token, "Token")):
            assert is_refused(await ask(door, headers, path, operation.method), "invalid_token")
        for name in ("notes", client.client_id, "ada@example.com"):
            assert is_refused(await ask(door, basic(name, token), path, operation.method), "invalid_client")
    assert is_refused(await ask(door, {}, path, operation.method), "unauthorized")


async def test_page_cannot_use_a_password_that_a_browser_keeps(door: Served) -> None:
    app = await door.app()
    await door.write(app, {"userId": "ada@example.com", "type": "prod"})
    by_basic = by_client(await door.client(app))
    for origin in (ORIGIN, "null", "https://evil.example"):
        answer = await ask(door, by_basic | {"Origin": origin}, LOCK, "POST")
        assert is_forbidden(answer)
        assert "Access-Control-Allow-Origin" not in answer.headers
    shown = await ask(door, by_basic, f"{USERS}/ada@example.com")
    assert not shown.json["locked"]
    assert (await ask(door, door.command() | {"Origin": ORIGIN}, LOCK, "POST")).status == 200


async def test_api_clients_are_limited_as_elsewhere_and_operators_are_not(door: Served) -> None:
    app = await door.app()
    client = await door.client(app)
    most = 5
    door.gateway.limits = replace(door.gateway.limits, reads_prod=Limit(most, 86_400))
    for _ in range(most):
        answer = await ask(door, by_client(client), f"{USERS}/nobody")
        assert answer.status == 404
    refused = await ask(door, by_client(client))
    assert (refused.status, refused.json["code"]) == (429, "rate_limited")
    assert int(refused.headers["Retry-After"]) > 0
    claims = {"client_id": client.client_id, "client_since": 2**52}
    with_token = door.bearer(app, client.client_id, ("ACCESS_DB", "GLOBAL_READ"), **claims)
    assert (await ask(door, with_token, "/notes/users")).status == 429
    for _ in range(most + 1):
        assert (await ask(door, door.command(), f"{USERS}/nobody")).status == 404


async def test_answers_tell_api_clients_how_they_stand(door: Served) -> None:
    app = await door.app()
    answer = await ask(door, by_client(await door.client(app)))
    assert (answer.headers["Ratelimit-Limit"], answer.headers["Ratelimit-Remaining"]) == ("200", "199")
