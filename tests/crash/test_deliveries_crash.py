"""Servers and the database are killed under load: whatever was acknowledged arrives at every endpoint."""

import asyncio
import itertools
import json
import random
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from sqlalchemy import Select, create_engine, select
from standardwebhooks import Webhook

from admit import clock
from admit.accounts import apps, clients
from admit.accounts.apps import NameTaken
from admit.config import Settings
from admit.events.log import events
from admit.gateway import Gateway
from admit.jobs.pace import AT_ONCE_MAX
from admit.jobs.tables import jobs
from admit.operators import tokens
from admit.outbound import signing
from admit.storage.migrate import migrate
from admit.storage.sealing import KeyRing
from admit.webhooks import endpoints
from admit.webhooks.endpoint_settings import SettingsChange
from tests.crash import forked_server
from tests.installation import Installation, free_port
from tests.postgres import Cluster
from tests.receiver import Receiver, receiving

SEED = 1
KILLS = 3
ARRIVALS_MAX = 150
ARRIVALS_WHILE_PAUSED = 20
PEOPLE_AT_ONCE = 16
STEPS = 3
"""Of each person: an enrollment and two changes."""
TYPES = ("user.enrolled", "user.updated")
ENDPOINTS = 2
ANSWER_SECONDS_MAX = 0.02
UNDER_LOAD_SECONDS = 6.0
"""For an attempt, when the machine is busy. Without load nothing takes as long as CALM_SECONDS."""
CALM_SECONDS = 1.0
WAIT_SECONDS = 60.0
SECRET = signing.new_secret()


@dataclass
class Town:
    """An installation with an app whose events are told at two endpoints, and the far side of both."""

    installation: Installation
    client: clients.NewClient
    endpoint_ids: list[str]
    told: list[Receiver]
    at_work: list[int]
    """How many requests are being answered, in one cell."""

    @property
    def arrivals(self) -> int:
        return sum(len(each.calls) for each in self.told)

    async def rows(self, statement: Select[Any]) -> list[Any]:
        """Reads behind the servers' backs, in a thread: the receivers have requests to answer."""
        return await asyncio.to_thread(self._read, statement)

    def _read(self, statement: Select[Any]) -> list[Any]:
        url = self.installation.database_url
        if url.startswith("sqlite"):
            url = f"sqlite:///file:{url.removeprefix('sqlite:///')}?mode=ro&uri=true"
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.connect() as connection:
            found = list(connection.execute(statement))
        engine.dispose()
        return found

    async def claimed(self) -> int:
        """How many deliveries some server has claimed, dead or alive."""
        return len(await self.rows(select(jobs.c.job_id).where(DELIVERIES, jobs.c.state == "claimed")))

    async def until_arrivals(self, more: int, or_else: Callable[[], bool]) -> None:
        """Waits until `more` requests have come."""
        wanted = self.arrivals + more
        await until(lambda: self.arrivals >= wanted or or_else(), lambda: self.arrivals)

    async def until_in_the_middle(self, more: int) -> None:
        """Waits until `more` requests have come, and some are being answered."""
        wanted = self.arrivals + more
        await until(lambda: self.arrivals >= wanted and self.at_work[0] > 0, lambda: self.arrivals)

    async def all_done(self) -> None:
        """Waits until no job is unfinished."""
        unfinished = select(jobs.c.kind, jobs.c.state, jobs.c.attempts, jobs.c.detail).where(
            jobs.c.finished_at.is_(None)
        )
        give_up_at = time.monotonic() + WAIT_SECONDS
        while found := await self.rows(unfinished.limit(20)):
            assert time.monotonic() < give_up_at, found
            await asyncio.sleep(0.1)

    async def check(self, acknowledged: Sequence[tuple[str, int]], repeats_max: int) -> None:
        """Nothing that was acknowledged is missing anywhere, and nothing came that did not happen; repeats
        are the same, and each person's news came in order."""
        recorded = await self.rows(select(events).where(events.c.type.in_(TYPES)).order_by(events.c.position))
        facts = [json.loads(row.data)["user"] for row in recorded]
        assert set(acknowledged) <= {(user["user_id"], user["data"]["step"]) for user in facts}
        repeats = 0
        for told in self.told:
            first: dict[str, bytes] = {}
            places: defaultdict[str, list[int]] = defaultdict(list)
            for call in told.calls:
                data = verified(call)["data"]
                body = first.setdefault(call.headers["webhook-id"], call.body)
                assert body == call.body
                if body is call.body:
                    places[data["user"]["uid"]].append(int(data["sequence"]))
            assert first.keys() == {row.event_id for row in recorded}
            assert all(place == sorted(place) for place in places.values())
            repeats += len(told.calls) - len(first)
        assert repeats <= repeats_max
        ended = await self.rows(select(jobs.c.state, jobs.c.out_of_order).where(DELIVERIES))
        assert ended == [("done", "no")] * (len(recorded) * len(self.told))


DELIVERIES = jobs.c.kind == endpoints.KIND


@dataclass
class Load:
    """People are enrolled and changed at `urls`, by clients who ask again until somebody answers. Meanwhile
    an operator pauses the first endpoint and enables it again, over and over."""

    town: Town
    urls: Sequence[str]
    acknowledged: list[tuple[str, int]] = field(default_factory=list)
    _ending: bool = False
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Until the end of the block; who has been begun is finished."""
        async with aiohttp.ClientSession() as http:
            headers = await bearer(http, self.town)
            async with asyncio.TaskGroup() as group:
                for _ in range(PEOPLE_AT_ONCE):
                    group.create_task(self._enroll_people(http, headers))
                group.create_task(self._pause_now_and_then(http))
                try:
                    yield
                finally:
                    self._ending = True

    async def _enroll_people(self, http: aiohttp.ClientSession, headers: dict[str, str]) -> None:
        while not self._ending:
            person = f"p{next(self._numbers)}@example.com"
            for step in range(STEPS):
                await again_until_answered(partial(write, http, self.urls, headers, person, step))
                self.acknowledged.append((person, step))

    async def _pause_now_and_then(self, http: aiohttp.ClientSession) -> None:
        while not self._ending:
            for state in ("paused", "enabled"):
                await again_until_answered(partial(become, http, self.town, self.urls, state))
                await self.town.until_arrivals(ARRIVALS_WHILE_PAUSED, or_else=lambda: self._ending)


async def write(
    http: aiohttp.ClientSession, urls: Sequence[str], headers: dict[str, str], person: str, step: int
) -> bool:
    """Enrolls or changes a person, once. False: the server was not able to."""
    url = f"{random.choice(urls)}/notes/users"
    body = [{"userId": person, "type": "prod", "data": {"step": step}}]
    async with http.post(url, json=body, headers=headers) as response:
        assert response.status in (200, 503), await response.text()
        return response.status == 200


async def again_until_answered(ask: Callable[[], Awaitable[bool]]) -> None:
    """What clients do while nobody is there."""
    give_up_at = time.monotonic() + WAIT_SECONDS
    while True:
        with suppress(aiohttp.ClientError):
            if await ask():
                return
        assert time.monotonic() < give_up_at, "nobody answered"
        await asyncio.sleep(0.02)


async def bearer(http: aiohttp.ClientSession, town: Town) -> dict[str, str]:
    """The header with an access token, which outlives the server that gives it."""
    body = {
        "grant_type": "client_credentials",
        "client_id": town.client.client_id,
        "client_secret": town.client.client_secret,
        "scopes": ["ACCESS_DB", "GLOBAL_WRITE"],
    }
    async with http.post(f"{town.installation.url}/notes/token", json=body) as response:
        answer = await response.json()
        assert response.status == 200, answer
        return {"Authorization": f"Bearer {answer['accessToken']}"}


async def become(http: aiohttp.ClientSession, town: Town, urls: Sequence[str], state: str) -> bool:
    """Pauses or enables the first endpoint, once. False: the server was not able to."""
    base = random.choice(urls)
    url = f"{base}/api/apps/notes/endpoints/{town.endpoint_ids[0]}/state"
    ring = KeyRing.parse(town.installation.environment["ADMIT_SECRET_KEY"])
    headers = {"Authorization": f"Bearer {tokens.short_lived(ring, clock.now())}"}
    async with http.put(url, json={"state": state}, headers=headers) as response:
        assert response.status in (200, 503), await response.text()
        return response.status == 200


async def until(condition: Callable[[], bool], found: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < give_up_at, found()
        await asyncio.sleep(0.005)


def verified(call: Any) -> Any:
    """The body, if the published verifier takes it."""
    return Webhook(SECRET).verify(call.body, call.headers)


@asynccontextmanager
async def town_at(installation: Installation, endpoints_count: int = ENDPOINTS) -> AsyncIterator[Town]:
    """A town with nobody in it, and no server yet."""
    at_work = [0]
    dice = random.Random(SEED)

    async def answer(_request: web.Request) -> web.StreamResponse:
        at_work[0] += 1
        try:
            await asyncio.sleep(dice.uniform(0, ANSWER_SECONDS_MAX))
        finally:
            at_work[0] -= 1
        return web.Response()

    async with AsyncExitStack() as stack:
        told = [await stack.enter_async_context(receiving(answer)) for _ in range(endpoints_count)]
        # Closed before a server starts: a file belongs to one process.
        gateway = await Gateway.open(Settings.load(installation.environment), serve_address=None)
        try:
            town = await _found(gateway, installation, told, at_work)
        finally:
            await gateway.close()
        yield town


async def _found(
    gateway: Gateway, installation: Installation, told: list[Receiver], at_work: list[int]
) -> Town:
    db, ring, now = gateway.db, gateway.ring, clock.now()
    app = await db.write(
        partial(
            apps.create_app, ring=ring, name="notes", owner="owner@example.com", user_ids="email", now=now
        )
    )
    assert not isinstance(app, NameTaken)
    client = await db.write(
        lambda tx: clients.create_client(
            tx, ring, app.app_id, ("ACCESS_DB", "GLOBAL_WRITE"), "owner@example.com", now
        )
    )
    changes = [SettingsChange(url=each.url, events=TYPES, format="full") for each in told]
    ids = [
        await db.write(
            partial(endpoints.create, ring=ring, app_id=app.app_id, new=change, secret=SECRET, now=now)
        )
        for change in changes
    ]
    return Town(installation, client, ids, told, at_work)


@pytest.fixture
def installation(database_url: str, tmp_path: Path) -> Installation:
    return installed(tmp_path, database_url)


def installed(folder: Path, database_url: str) -> Installation:
    return Installation(folder, database_url, {"ADMIT_RATE_LIMITS": "off"})


@asynccontextmanager
async def server(installation: Installation, seconds: float, moment: str = "") -> AsyncIterator[BaseProcess]:
    """A server until the end of the block at the latest."""
    start = partial(forked_server.start, attempt_seconds_max=seconds, moment=moment)
    process = await asyncio.to_thread(start, installation)
    try:
        yield process
    finally:
        process.kill()
        process.join()


async def test_server_killed_at_any_moment_under_load_loses_nothing(installation: Installation) -> None:
    dice, in_flight = random.Random(SEED), 0
    async with town_at(installation) as town, AsyncExitStack() as stack:
        process = await stack.enter_async_context(server(installation, UNDER_LOAD_SECONDS))
        load = Load(town, [installation.url])
        async with load.going_on():
            for _ in range(KILLS):
                await town.until_in_the_middle(dice.randint(1, ARRIVALS_MAX))
                forked_server.kill(process)
                in_flight += await town.claimed()
                process = await stack.enter_async_context(server(installation, UNDER_LOAD_SECONDS))
        await town.all_done()
        forked_server.stop(process)

        assert 0 < in_flight <= KILLS * ENDPOINTS * AT_ONCE_MAX
        await town.check(load.acknowledged, repeats_max=in_flight)


async def test_one_of_two_servers_killed_under_load_loses_nothing(postgres_url: str, tmp_path: Path) -> None:
    here = installed(tmp_path, postgres_url)
    there = replace(here, port=free_port())
    dice, in_flight = random.Random(SEED), 0
    async with town_at(here) as town, AsyncExitStack() as stack:
        survivor = await stack.enter_async_context(server(here, UNDER_LOAD_SECONDS))
        mortal = await stack.enter_async_context(server(there, UNDER_LOAD_SECONDS))
        load = Load(town, [here.url, there.url])
        async with load.going_on():
            for _ in range(KILLS):
                await town.until_in_the_middle(dice.randint(1, ARRIVALS_MAX))
                forked_server.kill(mortal)
                in_flight += await town.claimed()
                mortal = await stack.enter_async_context(server(there, UNDER_LOAD_SECONDS))
        await town.all_done()
        for process in (survivor, mortal):
            forked_server.stop(process)

        assert 0 < in_flight <= KILLS * ENDPOINTS * AT_ONCE_MAX * 2
        await town.check(load.acknowledged, repeats_max=in_flight)


async def test_postgres_killed_under_load_loses_nothing(tmp_path: Path) -> None:
    with durable_cluster() as cluster:
        migrate(cluster.create_database("town"))
        installation = installed(tmp_path, cluster.url("town"))
        async with town_at(installation) as town, server(installation, UNDER_LOAD_SECONDS) as process:
            load = Load(town, [installation.url])
            async with load.going_on():
                await town.until_in_the_middle(ARRIVALS_MAX)
                await asyncio.to_thread(kill_and_restart, cluster)
                await town.until_in_the_middle(ARRIVALS_MAX)
            await town.all_done()
            forked_server.stop(process)

            await town.check(load.acknowledged, repeats_max=ENDPOINTS * AT_ONCE_MAX)


@contextmanager
def durable_cluster() -> Iterator[Cluster]:
    """A PostgreSQL that has on disk what it has answered for."""
    cluster = Cluster(durable=True)
    try:
        cluster.create()
        yield cluster
    finally:
        cluster.remove()


def kill_and_restart(cluster: Cluster) -> None:
    """Kills the postmaster. It starts again when the processes that it has left behind are gone, too."""
    cluster.stop(signal.SIGKILL)
    give_up_at = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return cluster.start()
        except RuntimeError:
            assert time.monotonic() < give_up_at


async def test_delivery_survives_a_death_at_each_of_its_steps(installation: Installation) -> None:
    """A server dies at the first moment, is started again, dies at the next one, and so on."""
    async with town_at(installation, endpoints_count=1) as town, aiohttp.ClientSession() as http:
        async with server(installation, CALM_SECONDS):
            headers = await bearer(http, town)
        for when in ("before", "after"):
            async with server(installation, CALM_SECONDS, f"{when}:record") as process:
                with pytest.raises(aiohttp.ClientError):
                    await write(http, [installation.url], headers, "ada@example.com", 0)
                died(process)
        for step in ("claim", "post", "delivered"):
            for when in ("before", "after"):
                async with server(installation, CALM_SECONDS, f"{when}:{step}") as process:
                    await asyncio.to_thread(process.join, WAIT_SECONDS)
                    died(process)
        async with server(installation, CALM_SECONDS):
            await write(http, [installation.url], headers, "bob@example.com", 0)
            await town.all_done()

        await town.check([("ada@example.com", 0), ("bob@example.com", 0)], repeats_max=2)
        # After `post`, before and after `delivered`: each time it had arrived, and only then.
        people = [verified(call)["data"]["user"]["user_id"] for call in town.told[0].calls]
        assert people == ["ada@example.com"] * 3 + ["bob@example.com"]


async def test_pause_and_what_was_missed_survive_a_death_at_each_step(installation: Installation) -> None:
    async with town_at(installation, endpoints_count=1) as town, aiohttp.ClientSession() as http:
        async with server(installation, CALM_SECONDS):
            headers = await bearer(http, town)
            await write(http, [installation.url], headers, "ada@example.com", 0)
            await town.all_done()
        for when in ("before", "after"):
            async with server(installation, CALM_SECONDS, f"{when}:stop") as process:
                with pytest.raises(aiohttp.ClientError):
                    await become(http, town, [installation.url], "paused")
                died(process)
        for when in ("before", "after"):
            async with server(installation, CALM_SECONDS, f"{when}:enable") as process:
                for person, step in itertools.product(("ada@example.com", "bob@example.com"), range(STEPS)):
                    await write(http, [installation.url], headers, person, step)
                with pytest.raises(aiohttp.ClientError):
                    await become(http, town, [installation.url], "enabled")
                died(process)
        assert town.arrivals == 1, "nothing was told meanwhile"
        for when in ("before", "after"):
            async with server(installation, CALM_SECONDS, f"{when}:catch up") as process:
                await asyncio.to_thread(process.join, WAIT_SECONDS)
                died(process)
        async with server(installation, CALM_SECONDS):
            await town.all_done()
            await write(http, [installation.url], headers, "eve@example.com", 0)
            await town.all_done()

        told = [(person, step) for person in ("ada@example.com", "bob@example.com") for step in range(STEPS)]
        await town.check([*told, ("eve@example.com", 0)], repeats_max=AT_ONCE_MAX)


def died(process: BaseProcess) -> None:
    """It has died where it was told to, and not since."""
    process.join(WAIT_SECONDS)
    assert process.exitcode == -signal.SIGKILL
