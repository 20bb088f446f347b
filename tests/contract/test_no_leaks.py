"""What comes in is not told on: not in logs, not in answers, not to whoever a header names."""

import asyncio
import logging

import aiohttp
import msgspec
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from admit.web.app import OPERATIONS
from admit.web.token_api import GRANTS
from tests.contract.served import ORIGIN, Served

CANARY = "canary-5d1e0b7a"


async def test_nothing_that_a_stranger_sends_reaches_the_log(
    door: Served, caplog: pytest.LogCaptureFixture
) -> None:
    await door.app()
    fields = (
        "email",
        "otp",
        "otp_id",
        "client_secret",
        "refresh_token",
        "enrollment_token",
        "signature",
        "public_key",
        "token",
        "code",
        "code_verifier",
        "state",
        "nonce",
        "subject_token",
        "actor_token",
        "provider",
        "error",
    )
    bodies = [dict.fromkeys(fields, CANARY) | {"grant_type": grant} for grant in (*GRANTS, CANARY)]
    headers = {
        "Origin": ORIGIN,
        "User-Agent": CANARY,
        "Referer": CANARY,
        "Cookie": CANARY,
        "X-Request-Id": CANARY,
    }
    with caplog.at_level(logging.DEBUG), capture_logs() as lines:
        for operation in OPERATIONS:
            path = operation.path.replace("{app}", "notes")
            for name in ("user_id", "client_id", "token_id", "provider"):
                path = path.replace(f"{{{name}}}", CANARY)
            for body in bodies if operation.method == "POST" else bodies[:1]:
                for authorization in (f"Bearer {CANARY}", f"Basic {CANARY}", CANARY):
                    await door.ask(
                        operation.method,
                        path,
                        headers=headers | {"Authorization": authorization},
                        params=dict.fromkeys(("token", "search", "state", "code", "iss", "error"), CANARY),
                        json=body,
                    )
    told = str(lines) + "".join(
        record.getMessage() for record in caplog.records if record.name.startswith(("uvicorn", "admit"))
    )
    assert CANARY not in told
    assert len([line for line in lines if line["event"] == "request"]) > len(OPERATIONS)
    assert not [line for line in lines if line["event"] == "request.failed"]


async def test_no_header_of_the_request_decides_where_we_are(door: Served) -> None:
    app = await door.app()
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
    for method, path, extra in (
        ("GET", "/openapi.json", {}),
        ("GET", "/api/apps/notes", door.command()),
        ("GET", "/notes/token/validate", door.bearer(app)),
        ("POST", "/notes/sync", {}),
        ("GET", "//evil.example/", {}),
        ("GET", "/notes//evil.example", {}),
        ("GET", "/inbox", {}),
    ):
        answer = await door.ask(
            method,
            path,
            headers=headers | extra,
            data=b"{}" if method == "POST" else None,
            allow_redirects=False,
        )
        assert b"evil.example" not in answer.body
        assert "Location" not in answer.headers
        assert not 300 <= answer.status < 400


async def test_answers_to_refused_tokens_do_not_say_whether_anybody_lives_here(door: Served) -> None:
    app, other = await door.app(), await door.app("plans")
    await door.write(app, {"userId": "ada@example.com", "type": "prod"})
    for headers in ({}, door.bearer(other), door.bearer(app, "bob@example.com")):
        known = await door.ask("GET", "/notes/users/ada@example.com", headers=headers)
        unknown = await door.ask("GET", "/notes/users/nobody@example.com", headers=headers)
        assert (known.status, known.body) == (unknown.status, unknown.body)
        known = await door.ask("DELETE", "/notes/users/ada@example.com", headers=headers)
        unknown = await door.ask("DELETE", "/notes/users/nobody@example.com", headers=headers)
        assert (known.status, known.body) == (unknown.status, unknown.body)


async def test_hook_may_ask_us_while_we_ask_it(served: Served) -> None:
    """The door holds no transaction open while the web hook decides."""
    app = await served.app()
    client = await served.client(app)
    reader = served.bearer(app, "program", ("ACCESS_DB", "GLOBAL_READ", "GLOBAL_WRITE"))
    seen: list[int] = []

    async def decide(request: web.Request) -> web.Response:
        body = await request.json()
        async with aiohttp.ClientSession(headers=reader) as http:
            for method, path, data in (
                ("GET", f"/notes/users/{body['userId']}", None),
                ("POST", "/notes/users", b'[{"userId": "somebody@example.com", "type": "eval"}]'),
                ("GET", "/readyz", None),
            ):
                async with http.request(method, served.url + path, data=data) as answer:
                    seen.append(answer.status)
        return web.json_response({"ok": True, "action": "prod", "userData": {"plan": "gold"}})

    hook = web.Application()
    hook.router.add_post("/decide", decide)
    runner = web.AppRunner(hook)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        policy = {"kind": "webhook", "url": f"http://127.0.0.1:{port}/decide"}
        put = await served.ask("PUT", "/api/apps/notes/policy", headers=served.command(), json=policy)
        assert put.status == 200
        async with asyncio.timeout(10):
            login = await served.ask(
                "POST",
                "/notes/token",
                data=msgspec.json.encode(
                    {
                        "grant_type": "client_credentials",
                        "client_id": client.client_id,
                        "client_secret": client.client_secret,
                        "scopes": ["ACCESS_DB"],
                        "claims": {"sub": "ada", "email": "ada@example.com"},
                    }
                ),
            )
    finally:
        await runner.cleanup()
    assert seen == [404, 200, 200]
    assert (login.status, login.json["data"]) == (200, {"plan": "gold"})
