"""A whole server for tests: a gateway and uvicorn on a free loopback port, in the loop of the test."""

import asyncio
import itertools
import shutil
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import ClientResponse, ClientSession

from admit import clock
from admit.accounts import apps, clients
from admit.accounts.apps import App, NameTaken
from admit.accounts.clients import NewClient
from admit.accounts.user_changes import Written
from admit.accounts.user_edits import UserChange
from admit.config import Settings
from admit.enrollment.creations import write_users
from admit.gateway import Gateway
from admit.operators import tokens
from admit.outbound.mail import InboxMailer, ReceivedMail
from admit.storage.migrate import migrate
from admit.storage.transaction import Transaction
from admit.web.app import Application, create_app
from admit.web.bearer import issuer_of
from admit.web.changes import Hub
from admit.web.server import DRAIN_SECONDS_MAX, Server, config_for
from tests.postgres import Cluster

SECRET_KEY = "the-secret-key-of-served-tests-0123456789"
ORIGIN = "https://app.example.com"
TEMPLATE = "admit_migrated"

_numbers = itertools.count(1)


class Hands:
    """A clock that the test moves: real time, plus what was added."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def __call__(self) -> int:
        return clock.now() + self.ahead_ms

    def move(self, *, seconds: float = 0, days: float = 0) -> None:
        """Moves time forward."""
        self.ahead_ms += round(seconds * 1_000 + days * clock.DAY_MS)


@dataclass
class Served:
    """A running server, and what a test does with it most."""

    gateway: Gateway
    url: str
    http: ClientSession
    hands: Hands
    application: Application

    @property
    def hub(self) -> Hub:
        """The open sockets."""
        return self.application.hub

    @property
    def mails(self) -> list[ReceivedMail]:
        """What has been mailed, the newest last."""
        assert isinstance(self.gateway.mailer, InboxMailer)
        return list(self.gateway.mailer.mails)

    async def app(self, name: str = "notes", *, origins: Sequence[str] = (ORIGIN,)) -> App:
        """Makes an app that pages of `origins` may call."""
        made = await self.gateway.db.write(
            lambda tx: apps.create_app(
                tx,
                self.gateway.ring,
                name=name,
                owner="owner@example.com",
                user_ids="email",
                now=self.hands(),
            )
        )
        assert not isinstance(made, NameTaken)
        for origin in origins:
            await self.gateway.db.write(partial(self._allow, made.app_id, origin))
        return await self.gateway.directory.app(name)

    def _allow(self, app_id: str, origin: str, tx: Transaction) -> None:
        apps.add_origin(tx, app_id, origin, self.hands(), force=True)

    async def client(self, app: App, scopes: Sequence[str] = tuple(clients.SCOPES)) -> NewClient:
        """Makes an API client."""
        return await self.gateway.db.write(
            lambda tx: clients.create_client(
                tx, self.gateway.ring, app.app_id, scopes, "owner@example.com", self.hands()
            )
        )

    async def write(self, app: App, *changes: Mapping[str, object]) -> Written:
        """Creates and changes users as POST /users does."""
        read = msgspec.json.decode(msgspec.json.encode(changes), type=list[UserChange])
        outcome = await self.gateway.db.write(
            lambda tx: write_users(tx, app, read, who="a test", now=self.hands())
        )
        assert isinstance(outcome, Written), outcome
        return outcome

    def token(
        self,
        app: App,
        sub: str = "ada@example.com",
        scopes: Sequence[str] = ("ACCESS_DB",),
        *,
        seconds: int | None = None,
        **claims: object,
    ) -> str:
        """An access token, as a sign-in would have given it."""
        minted = self.gateway.mint.access(
            app_id=app.app_id,
            issuer=issuer_of(self.gateway, app),
            claims={"sub": sub, "scopes": tuple(scopes), "license": "ok", **claims},
            expires_in_seconds=seconds,
        )
        return minted.token

    def bearer(self, app: App, *arguments: Any, **options: Any) -> dict[str, str]:
        """The header with `token`."""
        return {"Authorization": f"Bearer {self.token(app, *arguments, **options)}"}

    def command(self) -> dict[str, str]:
        """The header of a command on this machine, which may do everything in the admin API."""
        token = tokens.short_lived(self.gateway.ring, self.hands())
        return {"Authorization": f"Bearer {token}"}

    async def ask(self, method: str, path: str, **options: Any) -> "Answered":
        """Sends a request and reads the whole answer."""
        async with self.http.request(method, self.url + path, **options) as response:
            return await Answered.read(response)


@dataclass
class Answered:
    """An answer that has been read."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    async def read(cls, response: ClientResponse) -> "Answered":
        return cls(response.status, response.headers.copy(), await response.read())

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


def settings_for(url: str, listener: socket.socket, **changes: str) -> Settings:
    """The settings of a server in a test; `changes` by field name."""
    given = {
        "database_url": url,
        "secret_key": SECRET_KEY,
        "port": str(listener.getsockname()[1]),
        "egress_allow": "127.0.0.1",
        "migrate": "manual",
    }
    return Settings.load({}, given | changes)


class _Prompt(Server):
    """Ends when the last of its connections has; uvicorn's gives them a tenth of a second in any case."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listening in (*self.servers, *(sockets or ())):
            listening.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        async with asyncio.timeout(DRAIN_SECONDS_MAX):
            while self.server_state.connections or self.server_state.tasks:
                await asyncio.sleep(0.001)
        await self.lifespan.shutdown()


@asynccontextmanager
async def serving(url: str, *, hands: Hands | None = None, **changes: str) -> AsyncIterator[Served]:
    """Serves the database at `url` until the block ends."""
    hands = hands or Hands()
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    gateway = await Gateway.open(settings_for(url, listener, **changes), serve_address=address, clock=hands)
    try:
        started = asyncio.Event()
        application = create_app(gateway)
        server = _Prompt(config_for(application), started.set, gateway.end_waits)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await asyncio.wait({task, asyncio.create_task(started.wait())}, return_when=asyncio.FIRST_COMPLETED)
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            yield Served(gateway, address, http, hands, application)
        server.stop()
        await task
    finally:
        await gateway.close()


@pytest.fixture(scope="session")
def migrated_postgres(postgres_cluster: Cluster) -> str:
    """The name of a migrated PostgreSQL database, to be copied."""
    migrate(postgres_cluster.create_database(TEMPLATE))
    return TEMPLATE


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "admit.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def served_postgres_url(postgres_cluster: Cluster, migrated_postgres: str) -> Iterator[str]:
    """A fresh, migrated PostgreSQL database."""
    name = f"served_{next(_numbers)}"
    yield postgres_cluster.create_database(name, migrated_postgres)
    postgres_cluster.drop_database(name)


@pytest.fixture
def served_sqlite_url(migrated_sqlite: Path, tmp_path: Path) -> str:
    """A fresh, migrated SQLite file."""
    path = tmp_path / "admit.db"
    shutil.copy(migrated_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgres"])
def served_url(request: pytest.FixtureRequest) -> str:
    """A fresh, migrated database of each kind in turn."""
    url: str = request.getfixturevalue(f"served_{request.param}_url")
    return url


@pytest.fixture
async def served(served_url: str) -> AsyncIterator[Served]:
    """A server on each kind of database in turn."""
    async with serving(served_url) as running:
        yield running


@pytest.fixture
async def door(served_sqlite_url: str) -> AsyncIterator[Served]:
    """A server on SQLite, for what the database has no part in."""
    async with serving(served_sqlite_url) as running:
        yield running
