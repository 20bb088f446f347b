"""The directory: snapshots that are never older than what the caller has done, and never many."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest

from admit.accounts import directory as module
from admit.accounts.apps import App, PolicySetting, add_origin, create_app
from admit.accounts.directory import GOOD_SECONDS, Directory
from admit.accounts.policies import set_policy
from admit.errors import NotFound, StorageUnavailable
from admit.storage.database import Database
from admit.storage.sealing import KeyRing

NOW = 1_800_000_000_000


class Time:
    """A monotonic clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


class Wire:
    """Stands between directory and database: counts reads, holds back answers, cuts the line."""

    def __init__(self, database: Database) -> None:
        self.signals = database.signals
        self.reads = 0
        self.cut = False
        self.gate: asyncio.Event | None = None
        self.held = asyncio.Event()
        self._database = database

    async def read(self, query: Callable[..., Any]) -> Any:
        self.reads += 1
        if self.cut:
            raise StorageUnavailable("The database does not answer.")
        answer = await self._database.read(query)
        if self.gate is not None:
            self.held.set()
            await self.gate.wait()
        return answer


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def wire(database: Database) -> Wire:
    return Wire(database)


@pytest.fixture
async def directory(wire: Wire, ring: KeyRing, time: Time) -> AsyncIterator[Directory]:
    directory = Directory(wire, ring, monotonic=time)  # type: ignore[arg-type]
    yield directory
    directory.close()


async def create(database: Database, ring: KeyRing, name: str = "demo") -> App:
    app = await database.write(
        lambda tx: create_app(tx, ring, name=name, owner="o@example.com", user_ids="email", now=NOW)
    )
    assert isinstance(app, App)
    return app


def policy(number: int) -> PolicySetting:
    return PolicySetting(kind="webhook", url=f"https://example.com/{number}")


async def test_known_app_costs_no_question(
    database: Database, ring: KeyRing, directory: Directory, wire: Wire
) -> None:
    app = await create(database, ring)
    assert await directory.app("demo") == app
    reads = wire.reads

    assert await directory.app("demo") is directory.cached("demo")
    assert (await directory.app_by_id(app.app_id)).name == "demo"
    assert wire.reads == reads


async def test_own_change_is_visible_right_after_it_was_awaited(
    database: Database, ring: KeyRing, directory: Directory
) -> None:
    app = await create(database, ring)
    stop = asyncio.Event()

    async def ask_all_the_time() -> None:
        while not stop.is_set():
            await directory.app("demo")
            await asyncio.sleep(0)

    others = [asyncio.create_task(ask_all_the_time()) for _ in range(3)]
    for number in range(30):
        await database.write(partial(set_policy, app_id=app.app_id, setting=policy(number), now=NOW))
        assert (await directory.app("demo")).policy == policy(number)
    stop.set()
    await asyncio.gather(*others)


async def test_own_new_app_is_visible_right_after_it_was_awaited(
    database: Database, ring: KeyRing, directory: Directory
) -> None:
    for name in ("a", "b", "c"):
        with pytest.raises(NotFound) as caught:
            await directory.app(name)
        assert caught.value.code == "app_not_found"
        assert await create(database, ring, name) == await directory.app(name)


async def test_answer_that_was_read_before_a_change_is_not_kept(
    database: Database, ring: KeyRing, directory: Directory, wire: Wire
) -> None:
    app = await create(database, ring)
    with pytest.raises(NotFound):
        await directory.app("nobody")
    wire.gate = asyncio.Event()
    async with asyncio.timeout(10):
        early = asyncio.create_task(directory.app("demo"))
        await wire.held.wait()

        await database.write(lambda tx: set_policy(tx, app.app_id, policy(1), NOW))
        gate, wire.gate = wire.gate, None
        late = await directory.app("demo")
        gate.set()

        assert late.policy == policy(1)
        assert (await early).policy == app.policy
        assert (await directory.app("demo")).policy == policy(1)


async def test_look_that_began_before_a_new_app_does_not_hide_it(
    database: Database, ring: KeyRing, directory: Directory, wire: Wire
) -> None:
    wire.gate = asyncio.Event()
    async with asyncio.timeout(10):
        early = asyncio.create_task(directory.app("demo"))
        await wire.held.wait()

        app = await create(database, ring)
        gate, wire.gate = wire.gate, None
        assert await directory.app("demo") == app
        gate.set()

        assert await early == app


async def test_names_nobody_bears_cost_neither_questions_nor_memory(
    database: Database, ring: KeyRing, directory: Directory, wire: Wire
) -> None:
    await create(database, ring)
    for number in range(2_000):
        with pytest.raises(NotFound):
            await directory.app(f"guess-{number}")
    assert wire.reads <= 2
    assert directory._snapshots == {}
    assert set(directory._listed.ids) == {"demo"}


async def test_a_crowd_before_a_cold_directory_asks_once(
    database: Database, ring: KeyRing, directory: Directory, wire: Wire
) -> None:
    app = await create(database, ring)
    assert await asyncio.gather(*(directory.app("demo") for _ in range(100))) == [app] * 100
    assert wire.reads <= 4  # stamp, list, one app, and one look for whoever came in between


async def test_whoever_hangs_up_does_not_hang_up_for_others(
    database: Database, ring: KeyRing, directory: Directory, wire: Wire
) -> None:
    app = await create(database, ring)
    wire.gate = asyncio.Event()
    first, second = (asyncio.create_task(directory.app("demo")) for _ in range(2))
    await wire.held.wait()
    first.cancel()
    wire.gate.set()
    assert await second == app


async def test_change_without_a_signal_is_seen_after_ten_seconds(
    database: Database, ring: KeyRing, directory: Directory, time: Time
) -> None:
    app = await create(database, ring)
    await directory.app("demo")
    directory._end_subscription()
    await database.write(lambda tx: set_policy(tx, app.app_id, policy(1), NOW))
    await database.write(lambda tx: add_origin(tx, app.app_id, "https://example.com", NOW))
    await create(database, ring, "late")

    time.seconds += GOOD_SECONDS - 0.01
    assert (await directory.app("demo")).policy == app.policy

    time.seconds += 0.01
    assert directory.cached("demo") is None
    assert (await directory.app("demo")).origins == {"https://example.com"}
    assert (await directory.app("late")).name == "late"
    directory._end_subscription = lambda: None


async def test_missed_signals_cost_one_look_and_drop_only_what_has_changed(
    database: Database, ring: KeyRing, directory: Directory, wire: Wire
) -> None:
    for name in ("a", "b", "c"):
        await create(database, ring, name)
        await directory.app(name)
    wire.reads = 0

    directory._heard(None)
    for name in ("a", "b", "c"):
        await directory.app(name)

    assert wire.reads == 1


async def test_silent_database_leaves_the_last_snapshots(
    database: Database,
    ring: KeyRing,
    directory: Directory,
    wire: Wire,
    time: Time,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = await create(database, ring)
    await directory.app("demo")
    monkeypatch.setattr(module, "LOOK_SECONDS_MAX", 0.01)
    monkeypatch.setattr(module, "LOOK_AGAIN_SECONDS", 0.001)
    wire.cut = True
    time.seconds += 3_600

    assert await directory.app("demo") == app
    with pytest.raises(StorageUnavailable):
        await directory.app("may-be-new")

    directory._end_subscription()
    await database.write(lambda tx: set_policy(tx, app.app_id, policy(1), NOW))
    wire.cut = False
    assert directory._looking is not None
    await directory._looking
    assert (await directory.app("demo")).policy == policy(1)
    directory._end_subscription = lambda: None


async def test_database_that_never_answers_delays_only_the_first_to_ask(
    database: Database,
    ring: KeyRing,
    directory: Directory,
    wire: Wire,
    time: Time,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = await create(database, ring)
    await directory.app("demo")
    monkeypatch.setattr(module, "LOOK_SECONDS_MAX", 0.05)
    wire.gate = asyncio.Event()
    time.seconds += 3_600
    await directory.app("demo")

    monkeypatch.setattr(module, "LOOK_SECONDS_MAX", 3_600)
    for _ in range(100):
        assert await directory.app("demo") == app
    wire.gate.set()


async def test_directory_that_never_saw_the_database_says_so(
    directory: Directory, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS_MAX", 0.01)
    wire.cut = True
    with pytest.raises(StorageUnavailable):
        await directory.app("demo")


async def test_more_apps_than_a_page_and_than_fit(
    database: Database, ring: KeyRing, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE_APPS", 2)
    monkeypatch.setattr(module, "SNAPSHOTS_MAX", 3)
    names = ["a", "b", "c", "d", "e"]
    for name in names:
        await create(database, ring, name)

    assert [(await directory.app(name)).name for name in names] == names
    assert len(directory._snapshots) == 3
    assert (await directory.app("a")).name == "a"


async def test_other_process_hears_of_a_new_app_and_of_its_changes(postgres_url: str, ring: KeyRing) -> None:
    here, there = Database(postgres_url), Database(postgres_url)
    for each in (here, there):
        each.signals.attach(asyncio.get_running_loop())
    directory = Directory(there, ring)
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    there.signals.subscribe("app", heard.put_nowait)
    try:
        async with asyncio.timeout(10):
            while await heard.get() is not None:  # listening has begun
                pass
            with pytest.raises(NotFound):
                await directory.app("demo")
            app = await create(here, ring)
            assert await heard.get() == app.app_id
            assert await directory.app("demo") == app
            await here.write(lambda tx: set_policy(tx, app.app_id, policy(1), NOW))
            assert await heard.get() == app.app_id
            assert (await directory.app("demo")).policy == policy(1)
    finally:
        directory.close()
        here.close()
        there.close()
