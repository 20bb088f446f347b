"""What every door does with requests that cannot be answered, over TCP."""

import asyncio
import gzip
import logging
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from admit import errors
from admit.web import operations, protocol
from admit.web.errors import STATUS, answer_for, status_of
from tests.contract.served import ORIGIN, Served, serving

CANARY = "canary-9f2c7d"


async def raw(door: Served, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Sends bytes as they are, and returns all that comes back until the server hangs up or stays silent."""
    parts = urlsplit(door.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        async with asyncio.timeout(10):
            return await reader.read(65_536)
    finally:
        writer.close()


def test_every_error_has_a_status() -> None:
    expected = {
        errors.InvalidRequest: 400,
        errors.UnsupportedGrant: 400,
        errors.TooLarge: 413,
        errors.InvalidToken: 401,
        errors.InvalidOtp: 401,
        errors.InvalidGrant: 401,
        errors.InvalidClient: 401,
        errors.Forbidden: 403,
        errors.NotFound: 404,
        errors.Conflict: 409,
        errors.NotBuilt: 501,
        errors.ConfigError: 500,
    }
    assert {kind: status_of(kind("sentence")) for kind in expected} == expected
    assert status_of(errors.Refused("no", code="OUR_OWN_CODE")) == 403
    assert status_of(errors.RateLimited("slow", retry_after_seconds=7)) == 429
    assert status_of(errors.StorageUnavailable("away")) == 503
    assert set(STATUS.values()) <= {400, 401, 403, 404, 405, 408, 409, 410, 413, 429, 500, 501, 503, 504}


def test_error_without_a_meaning_outside_keeps_its_sentence_inside() -> None:
    answer = answer_for(errors.ConfigError(f"the password is {CANARY}"))
    assert CANARY.encode() not in bytes(answer.body)
    assert answer.status_code == 500


def test_errors_say_when_to_try_again_and_how_to_authenticate() -> None:
    assert answer_for(errors.RateLimited("", retry_after_seconds=7)).headers["Retry-After"] == "7"
    assert answer_for(errors.Unavailable("", retry_after_seconds=3)).headers["Retry-After"] == "3"
    assert "invalid_token" in answer_for(errors.InvalidToken("")).headers["WWW-Authenticate"]
    assert "insufficient_scope" in answer_for(errors.Forbidden("")).headers["WWW-Authenticate"]


async def test_unknown_addresses_and_apps_are_told_in_the_same_form(door: Served) -> None:
    nowhere = await door.ask("GET", "/nowhere")
    no_app = await door.ask("GET", "/nowhere/users", headers={"Authorization": "Bearer x"})
    assert (nowhere.status, nowhere.json["code"]) == (404, "not_found")
    assert (no_app.status, no_app.json["code"]) == (404, "app_not_found")


async def test_health_and_readiness(served: Served) -> None:
    assert (await served.ask("GET", "/healthz")).json == {"status": "ok"}
    assert (await served.ask("GET", "/readyz")).json == {"status": "ok"}


async def test_server_without_its_database_is_alive_but_not_ready(
    door: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise errors.StorageUnavailable("The database does not answer.")

    monkeypatch.setattr(door.gateway.db, "read", away)
    ready = await door.ask("GET", "/readyz")
    assert (ready.status, ready.json["code"]) == (503, "storage_unavailable")
    assert (await door.ask("GET", "/healthz")).status == 200


async def test_database_that_hangs_makes_the_server_unready_in_time(
    door: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(*_: object) -> None:
        await asyncio.sleep(1)

    monkeypatch.setattr(door.gateway.db, "read", hangs)
    monkeypatch.setattr("admit.web.health.DATABASE_SECONDS_MAX", 0.05)
    assert (await door.ask("GET", "/readyz")).status == 503


async def test_wrong_method_is_told_which_are_right(door: Served) -> None:
    await door.app()
    answer = await door.ask("PUT", "/notes/users")
    assert (answer.status, answer.json["code"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET, POST, OPTIONS"
    options = await door.ask("OPTIONS", "/notes/users")
    assert (options.status, options.headers["Allow"]) == (204, "GET, POST, OPTIONS")


async def test_head_has_the_headers_of_get_and_no_body(door: Served) -> None:
    answer = await door.ask("HEAD", "/healthz")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "15")


async def test_double_slashes_are_one(door: Served) -> None:
    await door.app()
    assert (await door.ask("POST", "//notes//sync", data=b"{}")).status == 200


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"name": 1}', "Expected `str`, got `int` - at `$.name`"),
        (b'{"pad": "\xff", "name": 1}', ""),
        (b'{"name": "\xff"}', "not UTF-8"),
        (b'{"name": "a\\u0000b"}', "U+0000"),
        (b'{"pad": ' + b"[" * 100_000, ""),
        (b'{"name": ' + b'{"a":' * 50_000, ""),
        (b'{"name": NaN}', "not JSON"),
        (gzip.compress(b"{}", mtime=0), "not JSON"),
    ],
)
async def test_malformed_body_is_told_apart_and_changes_nothing(
    door: Served, body: bytes, sentence: str
) -> None:
    answer = await door.ask("POST", "/api/apps", data=body, headers=door.command())
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")
    assert sentence in answer.json["message"]
    assert len(answer.json["message"]) <= 300


async def test_backslashes_before_u0000_do_not_hide_it(door: Served) -> None:
    async def ask(text: bytes) -> str:
        body = b'{"name": "%s", "owner": "owner@example.com"}' % text
        answer = await door.ask("POST", "/api/apps", data=body, headers=door.command())
        return str(answer.json["message"])

    assert "U+0000" not in await ask(b"\\\\u0000")
    assert "U+0000" in await ask(b"\\\\\\u0000")


async def test_large_body_is_refused_by_its_length_before_it_comes(door: Served) -> None:
    await door.app()
    head = b"POST /notes/sync HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
    assert b"413 " in (await raw(door, head))[:20]


async def test_large_body_is_refused_while_it_comes_in_chunks(door: Served) -> None:
    await door.app()
    sent = 0

    async def endless() -> object:
        nonlocal sent
        while True:
            sent += 65_536
            yield b" " * 65_536

    try:
        answer = await door.ask("POST", "/notes/token", data=endless())
    except OSError:  # the server hung up while we were still sending
        pass
    else:
        assert (answer.status, answer.json["code"]) == (413, "too_large")
    assert sent < 20_000_000


async def test_slow_body_ends_after_its_time(door: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    await door.app()
    monkeypatch.setattr(operations, "BODY_SECONDS_MAX", 0.2)
    head = b"POST /notes/sync HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    assert b"408 " in (await raw(door, head))[:20]


async def test_rest_of_an_answered_body_does_not_hold_the_connection(
    door: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "REST_SECONDS_MAX", 0.2)
    head = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    parts = urlsplit(door.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(head)
    async with asyncio.timeout(5):
        assert b"404 " in await reader.read(65_536)
        assert await reader.read(65_536) == b""
    writer.close()


async def test_slow_head_ends_after_its_time(door: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS_MAX", 0.2)
    assert await raw(door) == b""
    assert await raw(door, b"GET /healthz HTTP/1.1\r\nHost:", b" x", b"y", pause=0.05) == b""


async def test_endless_head_is_refused(door: Served) -> None:
    header = b"X-Filler: " + b"a" * 60_000 + b"\r\n"
    answer = await raw(door, b"GET /healthz HTTP/1.1\r\nHost: x\r\n", header, header, pause=0.05)
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_second_request_of_a_connection_is_served_like_the_first(door: Served) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = await raw(
        door, request, request, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", pause=0.1
    )
    assert answer.count(b"HTTP/1.1 200 OK") == 3


async def test_every_answer_is_marked_as_private_and_as_what_it_is(door: Served) -> None:
    await door.app()
    for answer in (
        await door.ask("POST", "/notes/sync", data=b"{}"),
        await door.ask("GET", "/nowhere"),
        await door.ask("GET", "/openapi.json"),
    ):
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Request-Id"].startswith("req_")
        assert "Server" not in answer.headers


async def test_log_has_one_line_a_request_with_its_id_and_no_query(door: Served) -> None:
    await door.app()
    with capture_logs() as lines:
        answer = await door.ask("GET", "/notes/users/ada@example.com", params={"token": CANARY})
    (line,) = [each for each in lines if each["event"] == "request"]
    assert (line["route"], line["app"], line["status"]) == ("/{app}/users/{user_id}", "notes", 401)
    assert line["code"] == "unauthorized"
    assert CANARY not in str(lines)
    assert "ada@example.com" not in str(line)
    assert answer.status == 401


async def test_cause_of_our_own_failure_goes_to_the_log_under_the_id_of_the_request(
    door: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await door.app()

    def broken(*_: object) -> None:
        raise RuntimeError("the cause")

    monkeypatch.setattr("admit.web.sync_api.pull_of", broken)
    with capture_logs() as lines:
        answer = await door.ask("POST", "/notes/sync", data=b"{}")
    assert answer.status == 500
    assert b"the cause" not in answer.body
    (failure,) = [each for each in lines if each["event"] == "request.failed"]
    assert str(failure["exc_info"]) == "the cause"


async def test_client_that_hangs_up_is_no_failure_of_ours(
    door: Served, caplog: pytest.LogCaptureFixture
) -> None:
    await door.app()
    parts = urlsplit(door.url)
    with capture_logs() as lines, caplog.at_level(logging.ERROR):
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(b"POST /notes/sync HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
        async with asyncio.timeout(5):
            while not [each for each in lines if each["event"] == "request"]:
                await asyncio.sleep(0.01)
    (line,) = [each for each in lines if each["event"] == "request"]
    assert (line["status"], line["log_level"]) == (499, "info")
    assert not caplog.records


async def test_forwarded_address_is_believed_from_trusted_proxies_only(
    served_sqlite_url: str, tmp_path: object
) -> None:
    headers = {"X-Forwarded-For": "203.0.113.9"}
    for trusted, expected in (("10.0.0.0/8", "127.0.0.1"), ("127.0.0.1", "203.0.113.9")):
        async with serving(served_sqlite_url, trusted_proxies=trusted) as door:
            with capture_logs() as lines:
                await door.ask("GET", "/openapi.json", headers=headers)
            assert [each["address"] for each in lines if each["event"] == "request"] == [expected]


@pytest.mark.parametrize("part", ["%ff", "a%00b", "%C3%28"])
async def test_path_that_is_no_text_is_refused(door: Served, part: str) -> None:
    app = await door.app()
    headers = door.bearer(app, scopes=("ACCESS_DB", "GLOBAL_READ"))
    from yarl import URL

    url = URL(f"{door.url}/notes/users/{part}", encoded=True)
    async with door.http.get(url, headers=headers) as response:
        assert response.status == 400


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "sort=password", "type=admin", "active=maybe", "desc=yes"]
)
async def test_query_out_of_range_is_refused(door: Served, query: str) -> None:
    app = await door.app()
    headers = door.bearer(app, scopes=("ACCESS_DB", "GLOBAL_READ"))
    answer = await door.ask("GET", f"/notes/users?{query}", headers=headers)
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("query", ["a=1&a=2", "limit=1&limit=1", "search=%ff", "search=a%00", "x=1"])
async def test_query_that_is_ambiguous_or_no_text_is_refused(door: Served, query: str) -> None:
    app = await door.app()
    headers = door.bearer(app, scopes=("ACCESS_DB", "GLOBAL_READ"))
    from yarl import URL

    async with door.http.get(URL(f"{door.url}/notes/users?{query}", encoded=True), headers=headers) as got:
        assert got.status == 400


async def test_origin_of_another_app_does_not_matter_to_a_program(door: Served) -> None:
    app = await door.app()
    answer = await door.ask(
        "POST", "/notes/sync", headers={"Origin": "https://evil.example"} | door.bearer(app), data=b"{}"
    )
    assert answer.status == 403  # not for its origin: there is no such user
    assert ORIGIN not in str(answer.headers)
