"""Apps at hosts of their own and under former names: the whole contract answers there, and nothing else."""

from typing import Any

import aiohttp
import msgspec
import pytest

from admit.accounts.apps import App
from tests.contract.served import ORIGIN, Answered, Served, serving
from tests.contract.signin_desk import device

HOST = "auth.example.com"
AT_HOST = {"Host": HOST}
ADA = "ada@example.com"


async def manage(served: Served, method: str, path: str, body: object = None, **query: str) -> Answered:
    data = None if body is None else msgspec.json.encode(body)
    return await served.ask(method, f"/api/apps/{path}", data=data, params=query, headers=served.command())


async def mapped(served: Served, host: str = HOST) -> App:
    """An app at the root of HOST."""
    app = await served.app()
    assert (await manage(served, "POST", "notes/hosts", {"host": host})).status == 200
    return await served.gateway.directory.app_by_id(app.app_id)


async def sign_in(
    served: Served, app: App, path: str = "/token", headers: dict[str, str] = AT_HOST
) -> dict[str, Any]:
    """A login that a backend vouches for, with the key of a device."""
    client = await served.client(app)
    body = {
        "grant_type": "client_credentials",
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "scopes": ["ACCESS_DB"],
        "claims": {"sub": ADA, "email": ADA},
        "public_key": device().public_key.pem,
    }
    answer = await served.ask("POST", path, json=body, headers=headers)
    assert answer.status == 200, answer.body
    tokens: dict[str, Any] = answer.json
    return tokens


async def refresh(served: Served, tokens: dict[str, Any], path: str, headers: dict[str, str]) -> Answered:
    token, time_stamp = tokens["refreshToken"], served.hands()
    body = {
        "grant_type": "refresh_token",
        "refresh_token": token,
        "scopes": ["ACCESS_DB"],
        "signing_algorithm": "RSASSA-PKCS1-v1_5",
        "time_stamp": time_stamp,
        "signature": device().sign(f"{token}{time_stamp}"),
    }
    return await served.ask("POST", path, json=body, headers=headers)


async def claims_of(served: Served, tokens: dict[str, Any], path: str, headers: dict[str, str]) -> Any:
    bearer = {"Authorization": f"Bearer {tokens['accessToken']}"}
    answer = await served.ask("GET", path, headers=headers | bearer)
    assert answer.status == 200, answer.body
    return answer.json["claims"]


async def test_root_of_a_mapped_host_is_the_app(served: Served) -> None:
    app = await mapped(served)
    tokens = await sign_in(served, app)
    claims = await claims_of(served, tokens, "/token/validate", AT_HOST)
    assert (claims["iss"], claims["aud"], claims["sub"]) == (f"http://{HOST}", app.app_id, ADA)
    assert (await refresh(served, tokens, "/token", AT_HOST)).status == 200
    keys = await served.ask("GET", "/.well-known/jwks.json", headers=AT_HOST)
    assert keys.json["keys"]
    assert (await served.ask("GET", "/auth-providers", headers=AT_HOST)).status == 200
    synced = await served.ask("POST", "/sync", data=b"{}", headers=AT_HOST | {"Origin": ORIGIN})
    assert (synced.status, synced.json["dbId"]) == (200, app.app_id)
    program = served.bearer(app, "x", ("ACCESS_DB", "GLOBAL_READ"))
    people = await served.ask("GET", "/users", headers=AT_HOST | program)
    assert [user["userId"] for user in people.json["data"]] == [ADA]


async def test_pages_may_call_a_mapped_host_as_they_may_call_the_app(door: Served) -> None:
    await mapped(door)
    asks = AT_HOST | {"Access-Control-Request-Method": "POST"}
    for path, credentials in (("/sync", "true"), ("/token", None)):
        answer = await door.ask("OPTIONS", path, headers=asks | {"Origin": ORIGIN})
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert answer.headers.get("Access-Control-Allow-Credentials") == credentials
    other = await door.ask("OPTIONS", "/sync", headers=asks | {"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in other.headers


async def test_socket_of_a_mapped_host_belongs_to_the_app(door: Served) -> None:
    app = await mapped(door)
    await door.write(app, {"userId": ADA, "type": "prod"})
    for path in ("/changes", "//changes"):
        async with door.http.ws_connect(
            door.url + path, params={"v": "3", "token": door.token(app)}, origin=ORIGIN, headers=AT_HOST
        ) as socket:
            await socket.send_json({"type": "ping"})
            assert await socket.receive_json(timeout=5) == {"type": "pong"}
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await door.http.ws_connect(door.url + "/changes", origin="https://evil.example", headers=AT_HOST)
    assert caught.value.status == 403


async def test_app_answers_below_public_url_too(door: Served) -> None:
    app = await mapped(door)
    tokens = await sign_in(door, app, "/notes/token", {})
    assert (await claims_of(door, tokens, "/notes/token/validate", {}))["iss"] == f"http://{HOST}"


async def test_admin_api_and_other_apps_are_not_to_be_had_at_a_mapped_host(door: Served) -> None:
    await mapped(door)
    await door.app("plans")
    for path in (
        "/api/apps",
        "/api/tokens",
        "/openapi.json",
        "/inbox",
        "/plans/auth-providers",
        "/notes/token",
    ):
        answer = await door.ask("GET", path, headers=AT_HOST | door.command())
        assert answer.status in (404, 405), path
    assert (await door.ask("GET", "/healthz", headers=AT_HOST)).status == 200


@pytest.mark.parametrize("host", ["AUTH.Example.COM", "auth.example.com.", "auth.example.com:443"])
async def test_host_is_known_in_every_spelling_of_a_client(door: Served, host: str) -> None:
    await mapped(door)
    assert (await door.ask("GET", "/auth-providers", headers={"Host": host})).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "x.auth.example.com",
        "auth.example.com.evil.example",
        "auth.example.com:8080",
        "auth.example.com, auth.example.com",
        "auth.example.com@evil.example",
        "auth.example.com/",
        "[::1]",
        "%61uth.example.com",
        "\xe4uth.example.com",
        "",
    ],
)
async def test_only_the_exact_host_leads_to_the_app(door: Served, host: str) -> None:
    await mapped(door)
    answer = await door.ask("GET", "/auth-providers", headers={"Host": host})
    assert answer.status in (400, 404)


async def test_forwarded_host_of_a_stranger_is_not_believed(door: Served) -> None:
    await mapped(door)
    headers = {"X-Forwarded-Host": HOST}
    assert (await door.ask("GET", "/auth-providers", headers=headers)).status == 404


async def test_forwarded_host_of_a_trusted_proxy_counts(served_sqlite_url: str) -> None:
    async with serving(served_sqlite_url, trusted_proxies="127.0.0.1") as server:
        await mapped(server)
        for told, status in ((HOST, 200), (f"evil.example, {HOST}", 200), (f"{HOST}, evil.example", 404)):
            answer = await server.ask("GET", "/auth-providers", headers={"X-Forwarded-Host": told})
            assert answer.status == status, told
        # What the proxy says counts alone: the Host is the one by which the proxy reaches the server.
        headers = AT_HOST | {"X-Forwarded-Host": "login.example.com"}
        assert (await server.ask("GET", "/auth-providers", headers=headers)).status == 404


async def test_no_answer_is_made_of_what_a_host_header_says(door: Served) -> None:
    app = await door.app()
    tokens = await sign_in(door, app, "/notes/token", {"Host": "evil.example"})
    claims = await claims_of(door, tokens, "/notes/token/validate", {"Host": "evil.example"})
    assert claims["iss"] == f"{door.gateway.settings.public_url}/notes"
    shown = await door.ask("GET", "/api/apps/notes", headers=door.command() | {"Host": "evil.example"})
    assert b"evil" not in shown.body


async def test_tokens_outlive_every_change_of_address(served: Served) -> None:
    app = await served.app()
    public_url = served.gateway.settings.public_url
    first = await sign_in(served, app, "/notes/token", {})
    program = served.bearer(app, "x", ("ACCESS_DB", "GLOBAL_READ"))

    renamed = await manage(served, "PUT", "notes/name", {"name": "journal"})
    assert renamed.json["database_url"] == f"{public_url}/journal"
    assert renamed.json["former_names"] == ["notes"]
    await manage(served, "POST", "journal/hosts", {"host": HOST})

    for path, headers in (("/journal", {}), ("/notes", {}), ("", AT_HOST)):
        claims = await claims_of(served, first, f"{path}/token/validate", headers)
        assert claims["iss"] == f"{public_url}/notes"
        again = await refresh(served, first, f"{path}/token", headers)
        assert again.status == 200
        new = await claims_of(served, again.json, f"{path}/token/validate", headers)
        assert new["iss"] == f"http://{HOST}"
        assert (await served.ask("GET", f"{path}/users", headers=headers | program)).status == 200
        await sign_in(served, app, f"{path}/token", headers)


async def test_former_name_is_kept_for_the_app_until_it_is_released(served: Served) -> None:
    app = await served.app()
    tokens = await sign_in(served, app, "/notes/token", {})
    await manage(served, "PUT", "notes/name", {"name": "journal"})
    taken = await served.ask(
        "POST", "/api/apps", json={"name": "notes", "owner": "eve@example.com"}, headers=served.command()
    )
    assert (taken.status, taken.json["code"]) == (409, "name_taken")
    page = await served.ask("POST", "/notes/sync", data=b"{}", headers={"Origin": ORIGIN})
    assert page.headers["Access-Control-Allow-Origin"] == ORIGIN

    assert (await manage(served, "DELETE", "journal/names", name="journal")).status == 404
    released = await manage(served, "DELETE", "journal/names", name="notes")
    assert (released.status, released.json["former_names"]) == (200, [])
    assert (await served.ask("GET", "/notes/auth-providers")).json["code"] == "app_not_found"

    stranger = await served.app("notes")
    bearer = {"Authorization": f"Bearer {tokens['accessToken']}"}
    for path, status in (("/notes/token/validate", 401), ("/journal/token/validate", 200)):
        assert (await served.ask("GET", path, headers=bearer)).status == status
    assert (await refresh(served, tokens, "/notes/token", {})).status == 401
    assert stranger.app_id != app.app_id


async def test_host_that_was_removed_is_out_at_once_and_may_lead_elsewhere(served: Served) -> None:
    app = await mapped(served)
    await served.app("plans")
    taken = await manage(served, "POST", "plans/hosts", {"host": HOST})
    assert (taken.status, taken.json["code"]) == (409, "host_taken")
    assert (await manage(served, "DELETE", "plans/hosts", host=HOST)).status == 404
    tokens = await sign_in(served, app)
    assert (await manage(served, "DELETE", "notes/hosts", host=HOST)).json["hosts"] == []
    assert (await served.ask("GET", "/auth-providers", headers=AT_HOST)).status == 404

    assert (await manage(served, "POST", "plans/hosts", {"host": HOST})).status == 200
    bearer = {"Authorization": f"Bearer {tokens['accessToken']}"}
    assert (await served.ask("GET", "/token/validate", headers=AT_HOST | bearer)).status == 401
    assert (await refresh(served, tokens, "/token", AT_HOST)).status == 401


async def test_host_of_the_server_itself_is_for_no_app(door: Served) -> None:
    await door.app()
    own = door.gateway.settings.public_url.removeprefix("http://")
    refused = await manage(door, "POST", "notes/hosts", {"host": own})
    assert (refused.status, "PUBLIC_URL" in refused.json["message"]) == (409, True)
    assert (await manage(door, "POST", "notes/hosts", {"host": "127.0.0.1"})).status == 400


async def test_second_server_knows_the_host(served_postgres_url: str) -> None:
    async with serving(served_postgres_url) as one, serving(served_postgres_url) as other:
        app = await mapped(one)
        # Without waiting for a signal: what was never looked at is looked at now.
        tokens = await sign_in(other, app)
        assert (await claims_of(one, tokens, "/token/validate", AT_HOST))["iss"] == f"http://{HOST}"
