"""Names and hosts of apps: one app each, whoever claims them at once, and former ones stay with their app."""

import asyncio
from functools import partial

import pytest

from admit.accounts import addresses
from admit.accounts.addresses import FORMER_NAMES_MAX, HOSTS_MAX, HostTaken, parse_mapped_host
from admit.accounts.apps import App, NameTaken, create_app, load_app
from admit.accounts.directory import Directory
from admit.errors import Conflict, InvalidRequest, NotFound
from admit.storage.database import Database
from admit.storage.sealing import KeyRing

NOW = 1_800_000_000_000


async def create(database: Database, ring: KeyRing, name: str = "demo") -> App:
    made = await attempt(database, ring, name)
    assert isinstance(made, App)
    return made


async def attempt(database: Database, ring: KeyRing, name: str) -> App | NameTaken:
    return await database.write(
        lambda tx: create_app(tx, ring, name=name, owner="o@example.com", user_ids="email", now=NOW)
    )


async def rename(database: Database, app: App, name: str) -> NameTaken | None:
    return await database.write(partial(addresses.rename_app, app_id=app.app_id, name=name, now=NOW))


async def map_host(database: Database, app: App, host: str, now: int = NOW) -> bool | HostTaken:
    return await database.write(partial(addresses.add_host, app_id=app.app_id, host=host, now=now))


async def load(database: Database, ring: KeyRing, app: App) -> App:
    loaded = await database.read(lambda tx: load_app(tx, ring, app.app_id))
    assert loaded is not None
    return loaded


async def test_renamed_app_is_found_by_both_names(database: Database, ring: KeyRing) -> None:
    directory = Directory(database, ring)
    app = await create(database, ring)
    await directory.app("demo")
    assert await rename(database, app, "journal") is None
    for name in ("journal", "demo"):
        found = await directory.app(name)
        assert (found.app_id, found.name) == (app.app_id, "journal")
        assert found.former_names == {"demo"}
    assert found.version > app.version
    directory.close()


async def test_former_name_is_for_no_other_app_until_it_is_released(
    database: Database, ring: KeyRing
) -> None:
    """Clients that still use it would tell another app who they are."""
    app = await create(database, ring)
    await rename(database, app, "journal")
    other = await create(database, ring, "other")
    assert await attempt(database, ring, "demo") == NameTaken("demo")
    assert await rename(database, other, "demo") == NameTaken("demo")

    release = partial(addresses.release_name, app_id=app.app_id, now=NOW)
    assert await database.write(partial(release, name="journal")) is False
    assert await database.write(partial(release, name="other")) is False
    assert await database.write(partial(release, name="demo")) is True
    assert await database.write(partial(release, name="demo")) is False

    directory = Directory(database, ring)
    with pytest.raises(NotFound):
        await directory.app("demo")
    assert await rename(database, other, "demo") is None
    assert (await directory.app("demo")).app_id == other.app_id
    directory.close()


async def test_app_may_go_back_to_a_former_name(database: Database, ring: KeyRing) -> None:
    app = await create(database, ring)
    for name in ("journal", "demo", "demo"):
        assert await rename(database, app, name) is None
    assert (await load(database, ring, app)).former_names == {"journal"}


async def test_one_of_many_gets_the_name_that_all_claim_at_once(database: Database, ring: KeyRing) -> None:
    mine = [await create(database, ring, f"app-{number}") for number in range(5)]
    outcomes = await asyncio.gather(
        *(rename(database, app, "best") for app in mine), *(attempt(database, ring, "best") for _ in range(5))
    )
    assert outcomes.count(NameTaken("best")) == 9


async def test_two_processes_do_not_get_one_name_nor_one_host(postgres_url: str, ring: KeyRing) -> None:
    here, there = Database(postgres_url), Database(postgres_url)
    try:
        one, other = await create(here, ring, "one"), await create(there, ring, "other")
        for number in range(10):
            name, host = f"name-{number}", f"host-{number}.example.com"
            names = await asyncio.gather(rename(here, one, name), rename(there, other, name))
            assert sorted(map(repr, names)) == sorted(map(repr, (None, NameTaken(name))))
            hosts = await asyncio.gather(map_host(here, one, host), map_host(there, other, host))
            assert sorted(map(repr, hosts)) == sorted(map(repr, (True, HostTaken(host))))
    finally:
        here.close()
        there.close()


async def test_other_process_hears_of_a_new_name_and_of_a_new_host(postgres_url: str, ring: KeyRing) -> None:
    here, there = Database(postgres_url), Database(postgres_url)
    for each in (here, there):
        each.signals.attach(asyncio.get_running_loop())
    directory = Directory(there, ring)
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    there.signals.subscribe("app", heard.put_nowait)

    async def told(key: str) -> None:
        while await heard.get() != key:
            pass

    try:
        async with asyncio.timeout(20):
            while await heard.get() is not None:  # listening has begun
                pass
            app = await create(here, ring)
            await told(app.app_id)
            assert await directory.app("demo") == app
            await rename(here, app, "journal")
            await told(f"{app.app_id}/addresses")
            assert (await directory.app("journal")).name == "journal"
            assert await directory.name_at("auth.example.com") is None
            await map_host(here, app, "auth.example.com")
            await told(f"{app.app_id}/addresses")
            assert await directory.name_at("auth.example.com") == "journal"
            assert (await directory.app("journal")).hosts == ("auth.example.com",)
    finally:
        directory.close()
        here.close()
        there.close()


async def test_host_leads_to_one_app_and_the_first_is_its_address(database: Database, ring: KeyRing) -> None:
    app, other = await create(database, ring), await create(database, ring, "other")
    assert await map_host(database, app, "b.example.com", NOW) is True
    assert await map_host(database, app, "a.example.com", NOW + 1) is True
    assert await map_host(database, app, "B.example.com.") is False
    assert await map_host(database, other, "a.example.com") == HostTaken("a.example.com")
    assert (await load(database, ring, app)).hosts == ("b.example.com", "a.example.com")

    remove = partial(addresses.remove_host, now=NOW)
    assert await database.write(partial(remove, app_id=other.app_id, host="a.example.com")) is False
    assert await database.write(partial(remove, app_id=app.app_id, host="b.example.com")) is True
    assert (await load(database, ring, app)).hosts == ("a.example.com",)


async def test_addresses_of_an_app_have_a_limit(database: Database, ring: KeyRing) -> None:
    app = await create(database, ring)
    for number in range(FORMER_NAMES_MAX):
        await rename(database, app, f"name-{number}")
    with pytest.raises(Conflict, match="at most 20 former names"):
        await rename(database, app, "one-more")
    for number in range(HOSTS_MAX):
        await map_host(database, app, f"h{number}.example.com")
    with pytest.raises(Conflict, match="at most 20 hosts"):
        await map_host(database, app, "one-more.example.com")
    loaded = await load(database, ring, app)
    assert (loaded.name, len(loaded.former_names), len(loaded.hosts)) == ("name-19", 20, 20)


async def test_unknown_app_has_no_addresses(database: Database) -> None:
    for unit in (
        partial(addresses.rename_app, name="x"),
        partial(addresses.release_name, name="x"),
        partial(addresses.add_host, host="x.example.com"),
        partial(addresses.remove_host, host="x.example.com"),
    ):
        with pytest.raises(NotFound):
            await database.write(partial(unit, app_id="app_x", now=NOW))


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("auth.example.com", "auth.example.com"),
        ("  Auth.EXAMPLE.com. ", "auth.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("notes.localhost:8080", "notes.localhost:8080"),
        ("intranet", "intranet"),
        ("auth.example.com:08443", "auth.example.com:8443"),
    ],
)
def test_host_has_one_spelling(written: str, host: str) -> None:
    assert parse_mapped_host(written) == host


@pytest.mark.parametrize(
    "written",
    [
        "",
        "https://auth.example.com",
        "auth.example.com/",
        "*.example.com",
        "auth.example.com:443",
        "auth.example.com:80",
        "auth.example.com:0",
        "auth.example.com:65536",
        "auth.example.com:",
        "auth.example.com:x",
        "a b.example.com",
        "user@example.com",
        "127.0.0.1",
        "127.0.0.1:8080",
        "[::1]",
        "-a.example.com",
        "auth.example.com,evil.example",
        "auth_1.example.com",
    ],
)
def test_what_is_no_exact_host_is_refused(written: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_mapped_host(written)
