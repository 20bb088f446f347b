"""Which pages may read our answers, as their browsers will understand it."""

import io

import pytest

from tests.contract.served import ORIGIN, Answered, Served

ALLOW = "Access-Control-Allow-Origin"
CREDENTIALS = "Access-Control-Allow-Credentials"


async def preflight(door: Served, path: str, origin: str = ORIGIN) -> Answered:
    return await door.ask(
        "OPTIONS",
        path,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type",
        },
    )


async def test_preflight_of_an_allowed_origin_lets_the_addon_send_its_headers(door: Served) -> None:
    await door.app()
    answer = await preflight(door, "/notes/token")
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers[ALLOW] == ORIGIN
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Allow-Headers"] == (
        "Authorization, Content-Type, Idempotency-Key, X-Device-Id, X-Device-Label, X-Device-Platform"
    )
    assert "Origin" in answer.headers["Vary"]
    assert CREDENTIALS not in answer.headers


async def test_only_sync_allows_credentials(door: Served) -> None:
    await door.app()
    assert (await preflight(door, "/notes/sync")).headers[CREDENTIALS] == "true"
    synced = await door.ask("POST", "/notes/sync", headers={"Origin": ORIGIN}, data=b"{}")
    assert (synced.headers[ALLOW], synced.headers[CREDENTIALS]) == (ORIGIN, "true")
    users = await door.ask("GET", "/notes/users", headers={"Origin": ORIGIN})
    assert users.headers[ALLOW] == ORIGIN
    assert CREDENTIALS not in users.headers


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "https://app.example.com.evil.example",
        "https://app.example.com:444",
        "https://app.example.com/",
        "HTTPS://APP.EXAMPLE.COM",
        "http://app.example.com",
        "https://sub.app.example.com",
        "null",
        "*",
    ],
)
async def test_other_origins_get_no_cors_header_at_all(door: Served, origin: str) -> None:
    await door.app()
    for answer in (
        await preflight(door, "/notes/token", origin),
        await preflight(door, "/notes/sync", origin),
        await door.ask("POST", "/notes/sync", headers={"Origin": origin}, data=b"{}"),
    ):
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        assert answer.headers["Vary"] == "Origin"


async def test_null_is_nobody_even_where_it_was_added(door: Served) -> None:
    app = await door.app()
    assert "null" not in app.origins
    assert ALLOW not in (await preflight(door, "/notes/sync", "null")).headers


async def test_two_origin_headers_are_none(door: Served) -> None:
    await door.app()
    answer = await door.ask(
        "POST", "/notes/sync", headers=[("Origin", ORIGIN), ("Origin", "https://evil.example")], data=b"{}"
    )
    assert ALLOW not in answer.headers


async def test_errors_can_be_read_too(door: Served) -> None:
    await door.app()
    headers = {"Origin": ORIGIN}
    for answer, status in (
        (await door.ask("POST", "/notes/sync", headers=headers, data=b"{"), 400),
        (await door.ask("GET", "/notes/users", headers=headers), 401),
        (await door.ask("GET", "/notes/nothing", headers=headers), 404),
        (await door.ask("PUT", "/notes/sync", headers=headers), 405),
        (await door.ask("POST", "/notes/sync", headers=headers, data=io.BytesIO(b"x" * 300_000)), 413),
    ):
        assert (answer.status, answer.headers[ALLOW]) == (status, ORIGIN)


async def test_our_own_failure_can_be_read_too(door: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    await door.app()

    def broken(*_: object) -> None:
        raise RuntimeError("a secret of ours")

    monkeypatch.setattr("admit.web.sync_api.pull_of", broken)
    answer = await door.ask("POST", "/notes/sync", headers={"Origin": ORIGIN}, data=b"{}")
    assert (answer.status, answer.headers[ALLOW]) == (500, ORIGIN)
    assert answer.json == {"code": "internal_error", "message": "Internal error"}


async def test_addon_may_read_its_limits(door: Served) -> None:
    await door.app()
    answer = await door.ask("POST", "/notes/sync", headers={"Origin": ORIGIN}, data=b"{}")
    limits = "Ratelimit-Limit, Ratelimit-Remaining, Ratelimit-Reset"
    assert limits in answer.headers["Access-Control-Expose-Headers"]


async def test_origins_of_one_app_are_not_those_of_another(door: Served) -> None:
    await door.app("notes")
    await door.app("plans", origins=["https://plans.example.com"])
    assert ALLOW not in (await preflight(door, "/plans/token")).headers
    assert (await preflight(door, "/plans/token", "https://plans.example.com")).headers[ALLOW]


async def test_admin_api_is_for_no_page(door: Served) -> None:
    await door.app()
    for path in ("/api/apps", "/api/apps/notes", "/api/tokens", "/healthz"):
        assert ALLOW not in (await preflight(door, path)).headers
        assert ALLOW not in (await door.ask("GET", path, headers={"Origin": ORIGIN})).headers


async def test_origin_that_was_removed_is_out_at_once(door: Served) -> None:
    await door.app()
    await door.ask("DELETE", "/api/apps/notes/origins", params={"origin": ORIGIN}, headers=door.command())
    assert ALLOW not in (await preflight(door, "/notes/token")).headers
