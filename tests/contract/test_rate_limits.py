"""Rate limits as clients meet them: the figures of the contract, headers that the addon reads, 429."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest

from admit import clock
from admit.accounts.apps import App
from admit.operators import tokens
from admit.signin.limits import Limits
from admit.storage.sealing import KeyRing
from tests.contract.served import ORIGIN, SECRET_KEY, Answered, Served, serving
from tests.contract.test_server_processes import program, until

FEW = """
tokens_per_user = {count = 3, window_seconds = 86400}
syncs_eval = {count = 2, window_seconds = 86400}
syncs_prod = {count = 4, window_seconds = 86400}
reads_prod = {count = 2, window_seconds = 86400}
writes_prod = {count = 1, window_seconds = 86400}
writes_eval = {count = 1, window_seconds = 86400}
"""
GLOBAL = ("ACCESS_DB", "GLOBAL_READ", "GLOBAL_WRITE")


@pytest.fixture
async def few(served_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    """A server that allows very little, on each kind of database in turn."""
    path = tmp_path / "limits.toml"
    path.write_text(FEW)
    async with serving(served_url, rate_limits=str(path)) as running:
        yield running


async def sync(served: Served, headers: dict[str, str] | None = None) -> Answered:
    return await served.ask("POST", "/notes/sync", data=b"{}", headers={"Origin": ORIGIN} | (headers or {}))


async def client_token(served: Served, app: App, **claims: object) -> Answered:
    client = await served.client(app)
    return await served.ask("POST", "/notes/token", json=credentials(client) | claims)


def credentials(client: object) -> dict[str, object]:
    return {
        "grant_type": "client_credentials",
        "client_id": client.client_id,  # type: ignore[attr-defined]
        "client_secret": client.client_secret,  # type: ignore[attr-defined]
        "scopes": ["ACCESS_DB"],
    }


def test_figures_are_those_of_the_contract() -> None:
    limits = Limits()
    figures = {
        name: (limit.count, limit.window_seconds)
        for name in ("tokens_per_user", "syncs_eval", "syncs_prod", "reads_eval", "reads_prod")
        if (limit := getattr(limits, name)) is not None
    }
    assert figures == {
        "tokens_per_user": (100, 3_600),
        "syncs_eval": (50, 300),
        "syncs_prod": (200, 300),
        "reads_eval": (200, 900),
        "reads_prod": (200, 60),
    }
    for reads, writes in ((limits.reads_eval, limits.writes_eval), (limits.reads_prod, limits.writes_prod)):
        assert reads is not None
        assert writes is not None
        assert (reads.count, reads.window_seconds) == (2 * writes.count, writes.window_seconds)


async def test_every_sync_tells_how_often_it_may_come(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": "ada@example.com", "type": "prod"})
    await served.write(app, {"userId": "bob@example.com", "type": "eval"})
    told = []
    for user in ("ada@example.com", "ada@example.com", "bob@example.com", None):
        answer = await sync(served, served.bearer(app, user) if user else None)
        assert answer.status == 200
        assert "Ratelimit-Remaining" in answer.headers["Access-Control-Expose-Headers"]
        assert 0 < int(answer.headers["Ratelimit-Reset"]) <= 300
        told.append((answer.headers["Ratelimit-Limit"], answer.headers["Ratelimit-Remaining"]))
    assert told == [("200", "199"), ("200", "198"), ("50", "49"), ("50", "49")]


async def test_sync_too_many_is_429_that_pages_can_read(few: Served) -> None:
    app = await few.app()
    await few.write(app, {"userId": "ada@example.com", "type": "prod"})
    statuses = [(await sync(few, few.bearer(app))).status for _ in range(5)]
    assert statuses == [200, 200, 200, 200, 429]
    refused = await sync(few, few.bearer(app))
    assert refused.json["code"] == "rate_limited"
    assert refused.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Retry-After" in refused.headers["Access-Control-Expose-Headers"]
    assert refused.headers["Retry-After"] == refused.headers["Ratelimit-Reset"]
    assert refused.headers["Ratelimit-Remaining"] == "0"
    assert refused.headers["Retry-After"] in refused.json["message"]


async def test_user_who_becomes_prod_goes_on_at_once(few: Served) -> None:
    app = await few.app()
    await few.write(app, {"userId": "ada@example.com", "type": "eval"})
    assert [(await sync(few, few.bearer(app))).status for _ in range(3)] == [200, 200, 429]
    await few.write(app, {"userId": "ada@example.com", "type": "prod"})
    assert [(await sync(few, few.bearer(app))).status for _ in range(3)] == [200, 200, 429]


async def test_strangers_are_counted_by_address_and_nobody_can_hide_behind_a_header(few: Served) -> None:
    await few.app()
    statuses = [(await sync(few, {"X-Forwarded-For": f"192.0.2.{number}"})).status for number in range(4)]
    assert statuses == [200, 200, 429, 429]


async def test_behind_a_trusted_proxy_each_address_has_its_own_count(
    served_sqlite_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "limits.toml"
    path.write_text(FEW)
    async with serving(served_sqlite_url, rate_limits=str(path), trusted_proxies="127.0.0.1") as server:
        await server.app()
        for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1"):
            headers = {"X-Forwarded-For": address}
            assert [(await sync(server, headers)).status for _ in range(3)] == [200, 200, 429]
        assert (await sync(server, {"X-Forwarded-For": "2001:db8::2"})).status == 429


async def test_tokens_are_limited_for_the_person_whichever_client_asks(few: Served) -> None:
    app = await few.app()
    claims = {"sub": "ada@example.com", "email": "ada@example.com"}
    answers = [await client_token(few, app, claims=claims) for _ in range(4)]
    assert [each.status for each in answers] == [200, 200, 200, 429]
    assert answers[-1].json["error"] == answers[-1].json["code"] == "rate_limited"
    assert int(answers[-1].headers["Retry-After"]) > 0
    other = await client_token(few, app, claims={"sub": "bob@example.com", "email": "bob@example.com"})
    assert other.status == 200


async def test_tokens_of_a_client_for_itself_are_limited_too(few: Served) -> None:
    app = await few.app()
    client = await few.client(app)
    statuses = [(await few.ask("POST", "/notes/token", json=credentials(client))).status for _ in range(4)]
    assert statuses == [200, 200, 200, 429]


async def test_stranger_cannot_use_up_the_tokens_of_somebody_else(few: Served) -> None:
    app = await few.app()
    for _ in range(10):
        wrong = {"grant_type": "client_credentials", "client_id": "x", "client_secret": "y"}
        await few.ask("POST", "/notes/token", json=wrong | {"claims": {"sub": "ada@example.com"}})
        code = {"grant_type": "otp", "email": "ada@example.com", "scopes": ["ACCESS_DB"]}
        await few.ask("POST", "/notes/token", json=code)
        await few.ask("POST", "/notes/token", json=code | {"otp": "12345678", "otp_id": "otp_x"})
    assert (await client_token(few, app, claims={"sub": "ada@example.com"})).status == 200


async def test_reads_and_writes_are_counted_apart(few: Served) -> None:
    app = await few.app()
    program = few.bearer(app, "a-program", GLOBAL)
    reads = [await few.ask("GET", "/notes/users", headers=program) for _ in range(3)]
    assert [each.status for each in reads] == [200, 200, 429]
    assert [each.headers["Ratelimit-Remaining"] for each in reads] == ["1", "0", "0"]
    user = msgspec.json.encode([{"userId": "ada@example.com", "type": "eval"}])
    writes = [await few.ask("POST", "/notes/users", headers=program, data=user) for _ in range(2)]
    assert [each.status for each in writes] == [200, 429]


async def test_limits_can_be_lifted(served_sqlite_url: str) -> None:
    async with serving(served_sqlite_url, rate_limits="off") as server:
        await server.app()
        answers = [await sync(server) for _ in range(60)]
        assert {each.status for each in answers} == {200}
        assert "Ratelimit-Limit" not in answers[0].headers
        assert Limits.off() == server.gateway.limits
        assert not any(msgspec.structs.asdict(Limits.off()).values())


async def test_two_servers_share_the_count_of_a_user(served_postgres_url: str, tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text("syncs_eval = {count = 40, window_seconds = 86400}")
    async with (
        serving(served_postgres_url, rate_limits=str(path)) as one,
        serving(served_postgres_url, rate_limits=str(path)) as other,
    ):
        app = await one.app()
        await one.write(app, {"userId": "ada@example.com", "type": "eval"})
        headers = one.bearer(app)
        statuses = [(await sync(server, headers)).status for _ in range(40) for server in (one, other)]
        assert 40 <= statuses.count(200) <= 40 + 2 * 3
        assert statuses[-2:] == [429, 429]


async def test_two_processes_of_one_server_share_the_count_of_an_address(
    served_postgres_url: str, tmp_path: Path
) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text("syncs_eval = {count = 40, window_seconds = 86400}")
    environ = {
        "ADMIT_DATABASE_URL": served_postgres_url,
        "ADMIT_WORKERS": "2",
        "ADMIT_RATE_LIMITS": str(limits),
    }
    async with program(tmp_path, environ) as server, aiohttp.ClientSession() as http:
        await until(lambda: len(server.logged("server.started")) == 2)
        token = tokens.short_lived(KeyRing.parse(SECRET_KEY), clock.now())
        headers = {"Authorization": f"Bearer {token}"}
        app = {"name": "notes", "owner": "owner@example.com"}
        async with http.post(f"{server.address}/api/apps", json=app, headers=headers) as made:
            assert made.status == 200

        async def sync_once() -> int:
            # Each on a connection of its own, so that both processes are asked.
            close = {"Connection": "close"}
            async with http.post(f"{server.address}/notes/sync", data=b"{}", headers=close) as answer:
                return answer.status

        statuses = await asyncio.gather(*(sync_once() for _ in range(120)))
        assert 40 <= statuses.count(200) <= 40 + 2 * 3
        assert statuses.count(429) == 120 - statuses.count(200)
