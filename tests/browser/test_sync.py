"""Synced tables of the published addon in Chromium: devices of one person converge, others see nothing."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Route

from tests.browser.app import App
from tests.browser.conftest import served
from tests.installation import Installation

ADA, BOB = "ada@example.com", "bob@example.com"
SECONDS_MAX = 20.0
SETTINGS = {"ADMIT_RATE_LIMITS": "off"}
# Errors of Dexie do not say in their text what they are.
TOLD = """async (it) => {{
  const failed = (error) => {{ throw new Error(error.name + ': ' + error.message); }};
  return await (async () => ({script}))().catch(failed);
}}"""


@dataclass
class Device:
    """A browser profile with the page open. `complaints`: what its console says of errors."""

    app: App
    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)
    forgiven: tuple[str, ...] = ("net::ERR", "WebSocket", "Failed to fetch")

    async def open(self, path: str = "/sync.html") -> "Device":
        """Opens or reloads the page."""
        await self.app.open(self.page, path)
        return self

    async def sign_in(self, email: str) -> "Device":
        """Signs in, with the code of a mail of its own, and pulls what there is."""
        mails = self.app.installation.mails
        before = len(mails())
        await self.app.ask_for_code(self.page, email)
        async with asyncio.timeout(SECONDS_MAX):
            while len(mails()) == before:
                await self.page.wait_for_timeout(20)  # another process writes the file
        await self.page.locator("input[name=otp]").fill(mails()[-1]["otp"])
        await self.app.current_user(self.page)
        await self.pull()
        return self

    async def do(self, script: str, argument: Any = None) -> Any:
        """What the expression, in JavaScript, comes to, where `it` is the argument. It must not take long."""
        async with asyncio.timeout(SECONDS_MAX):
            return await self.page.evaluate(TOLD.format(script=script), argument)

    async def pull(self) -> None:
        """Syncs and waits for it."""
        await self.do("db.cloud.sync({purpose: 'pull', wait: true})")

    async def table(self, name: str = "notes") -> list[dict[str, Any]]:
        """What the table holds, by key."""
        return list(json.loads(await self.do("dump(it)", name)))

    async def count(self, name: str) -> int:
        """How many objects the table holds."""
        return int(await self.do("db.table(it).count()", name))

    def forgives(self, complaint: str) -> None:
        """Lets the console say so."""
        self.forgiven += (complaint,)

    async def holds(self, expected: list[dict[str, Any]], table: str = "notes") -> None:
        """Waits until the table holds `expected`, and nothing waits to be sent."""
        await self.until(self.table, table, expected)
        await self.until(self.do, "waiting()", 0)

    async def until(self, ask: Callable[[str], Awaitable[Any]], what: str, expected: Any) -> None:
        found: Any = None
        try:
            async with asyncio.timeout(SECONDS_MAX):
                while (found := await ask(what)) != expected:
                    await self.page.wait_for_timeout(20)
        except TimeoutError:
            raise AssertionError(f"{found!r} is not {expected!r}; {self.complaints}") from None


Devices = Callable[[], Awaitable[Device]]


@pytest.fixture
def app(sqlite_url: str, tmp_path: Path, page_url: str) -> Iterator[App]:
    """An app that is served, with the page among its origins."""
    yield from served(sqlite_url, tmp_path, page_url, SETTINGS)


@pytest.fixture
def app_on_postgres(postgres_url: str, tmp_path: Path, page_url: str) -> Iterator[App]:
    """The same on PostgreSQL."""
    yield from served(postgres_url, tmp_path, page_url, SETTINGS)


@asynccontextmanager
async def devices(browser: Browser, app: App) -> AsyncIterator[Devices]:
    """Makes devices with the page open. At the end none may have complained of anything but the network."""
    made: list[Device] = []

    async def device() -> Device:
        context = await browser.new_context()
        page = await context.new_page()
        page.set_default_timeout(SECONDS_MAX * 1000)
        fresh = Device(app, context, page)
        page.on("console", lambda message: _note(fresh, message))
        page.on("pageerror", lambda error: fresh.complaints.append(str(error)))
        made.append(fresh)
        return await fresh.open()

    yield device
    for each in made:
        assert [said for said in each.complaints if not any(word in said for word in each.forgiven)] == []
        await each.context.close()


def _note(device: Device, message: ConsoleMessage) -> None:
    if message.type in ("error", "warning"):
        device.complaints.append(message.text)


async def test_devices_of_a_person_converge_without_a_reload_and_strangers_see_nothing(
    app: App, browser: Browser
) -> None:
    async with devices(browser, app) as device:
        phone, laptop, other, stranger = [await device() for _ in range(4)]
        for each, email in ((phone, ADA), (laptop, ADA), (other, BOB)):
            await each.sign_in(email)
        await phone.do(
            "db.notes.bulkAdd([{id: 'nts1', tag: 'a', n: 1, at: {x: 1, y: 1}}, {id: 'nts2', n: 2}])"
        )
        await laptop.holds(
            [{"id": "nts1", "tag": "a", "n": 1, "at": {"x": 1, "y": 1}}, {"id": "nts2", "n": 2}]
        )
        await laptop.do("db.notes.update('nts1', {'at.y': 2, n: dexie.add(10)})")
        await laptop.do("db.notes.delete('nts2')")
        await phone.holds([{"id": "nts1", "tag": "a", "n": 11, "at": {"x": 1, "y": 2}}])
        await phone.do("db.notes.put({id: 'nts3', n: 3})")
        await laptop.holds(
            [{"id": "nts1", "tag": "a", "n": 11, "at": {"x": 1, "y": 2}}, {"id": "nts3", "n": 3}]
        )
        for each in (other, stranger):
            await each.pull()
            assert await each.table() == []


async def test_the_same_on_postgres(app_on_postgres: App, browser: Browser) -> None:
    await test_devices_of_a_person_converge_without_a_reload_and_strangers_see_nothing(
        app_on_postgres, browser
    )


async def test_devices_that_were_offline_merge_what_both_have_changed(app: App, browser: Browser) -> None:
    async with devices(browser, app) as device:
        phone, laptop = [await (await device()).sign_in(ADA) for _ in range(2)]
        await phone.do(
            "db.notes.bulkAdd([{id: 'nts1', n: 1, at: {x: 1}, tags: ['a', 'b'], name: 'old/1'},"
            " {id: 'nts2', n: 2}, {id: 'nts3', n: 3}])"
        )
        await laptop.until(laptop.count, "notes", 3)
        for each in (phone, laptop):
            await each.context.set_offline(True)
        await phone.do(
            "db.notes.update('nts1', {'at.x': 2, n: dexie.add(10), name: dexie.replacePrefix('old', 'new')})"
        )
        await laptop.do("db.notes.update('nts1', {'at.y': 3, n: dexie.add(100), tags: dexie.remove(['a'])})")
        await phone.do("db.notes.delete('nts2')")
        await laptop.do("db.notes.put({id: 'nts2', n: 22})")  # deletion wins over a change of the same object
        await phone.do("db.notes.update('nts3', {n: 33})")
        await laptop.do("db.notes.where('n').above(2).modify({tag: 'high'})")
        await phone.do("db.notes.add({id: 'nts4', n: 4})")
        for each in (phone, laptop):
            await each.context.set_offline(False)
        for each in (phone, laptop, phone):
            await each.open()  # the addon itself pauses for 20 s after it could reach nobody
            await each.pull()
        first = {
            "id": "nts1",
            "n": 111,
            "at": {"x": 2, "y": 3},
            "tags": ["b"],
            "name": "new/1",
            "tag": "high",
        }
        for each in (phone, laptop):
            await each.until(each.table, "notes", await phone.table())
        states = {one["id"]: one for one in await phone.table()}
        assert states["nts1"] == first
        assert "nts2" not in states
        assert states["nts3"] == {"id": "nts3", "n": 33, "tag": "high"}
        assert states["nts4"] in ({"id": "nts4", "n": 4}, {"id": "nts4", "n": 4, "tag": "high"})


async def test_a_change_whose_answer_was_lost_is_made_once(app: App, browser: Browser) -> None:
    async with devices(browser, app) as device:
        phone, laptop = [await (await device()).sign_in(ADA) for _ in range(2)]
        await phone.do("db.notes.add({id: 'nts1', n: 1})")
        await laptop.holds([{"id": "nts1", "n": 1}])
        lost: list[int] = []

        async def lose(route: Route) -> None:
            """The server has answered, and nobody hears it."""
            lost.append((await route.fetch()).status)
            await route.abort()

        await phone.page.route("**/notes/sync", lose, times=1)
        await phone.do("db.notes.update('nts1', {n: dexie.add(5)})")
        for each in (phone, laptop):
            await each.holds([{"id": "nts1", "n": 6}])
        assert lost[0] == 200


async def test_a_server_that_was_away_gets_what_was_written_meanwhile(
    sqlite_url: str, tmp_path: Path, page_url: str, browser: Browser
) -> None:
    app = App(Installation(tmp_path, sqlite_url, SETTINGS), page_url)
    app.admit("app", "create", "notes", "--owner", "owner@example.com")
    app.admit("origin", "add", "notes", page_url)
    async with devices(browser, app) as device:
        with app.installation.serving():
            phone, laptop = [await (await device()).sign_in(ADA) for _ in range(2)]
        await phone.do("db.notes.add({id: 'nts1', n: 1})")
        await laptop.do("db.notes.add({id: 'nts2', n: 2})")
        with app.installation.serving():
            for each in (phone, laptop, phone):
                await each.open()
                await each.pull()
            for each in (phone, laptop):
                await each.holds([{"id": "nts1", "n": 1}, {"id": "nts2", "n": 2}])


async def test_who_signs_in_next_on_a_device_sees_nothing_of_the_first(app: App, browser: Browser) -> None:
    async with devices(browser, app) as device:
        shared = await (await device()).sign_in(ADA)
        await shared.do("db.notes.add({id: 'nts1', n: 1})")
        await shared.do("db.settings.put({name: '#theme', value: 'dark'})")
        await shared.do("db.settings.put({name: 'plain', value: 'of ada'})")
        await shared.until(shared.do, "waiting()", 0)
        await shared.do("db.cloud.logout()")
        for table in ("notes", "settings"):
            assert await shared.table(table) == []
        await shared.sign_in(BOB)
        for table in ("notes", "settings"):
            assert await shared.table(table) == []
        await shared.do("db.settings.put({name: '#theme', value: 'light'})")
        await shared.do("db.settings.put({name: 'plain', value: 'of bob'})")
        await shared.until(shared.do, "waiting()", 0)
        await shared.do("db.cloud.logout()")
        await shared.sign_in(ADA)
        await shared.holds([{"id": "nts1", "n": 1}])
        mine = [{"name": "#theme", "value": "dark"}, {"name": "plain", "value": "of ada"}]
        await shared.holds(mine, "settings")


async def test_what_was_written_before_the_login_is_the_persons_then(app: App, browser: Browser) -> None:
    async with devices(browser, app) as device:
        phone, laptop = await device(), await (await device()).sign_in(ADA)
        await laptop.do("db.notes.add({id: 'nts1', n: 1})")
        await phone.do("db.notes.add({id: 'nts2', n: 2})")
        await phone.do("db.settings.put({name: '#theme', value: 'dark'})")
        await phone.do("db.pairs.put({left: 'a', right: 1, of: 'phone'})")
        await phone.do("db.drafts.add({text: 'mine alone'})")
        await phone.sign_in(ADA)
        for each in (phone, laptop):
            await each.holds([{"id": "nts1", "n": 1}, {"id": "nts2", "n": 2}])
            await each.holds([{"name": "#theme", "value": "dark"}], "settings")
            await each.holds([{"left": "a", "right": 1, "of": "phone"}], "pairs")
        assert (await phone.table("drafts"), await laptop.table("drafts")) == (
            [{"id": 1, "text": "mine alone"}],
            [],
        )


async def test_values_of_every_type_arrive_as_they_were(app: App, browser: Browser) -> None:
    async with devices(browser, app) as device:
        phone, laptop = [await (await device()).sign_in(ADA) for _ in range(2)]
        await phone.do(EVERY_TYPE)
        there = await phone.table()
        await laptop.holds(there)
        assert len(there[0]) == len(KINDS) + 1
        await phone.do("db.notes.update('nts1', {date: new Date(5), 'o.$n': 2})")
        await laptop.holds(await phone.table())


async def test_long_texts_and_binaries_stay_in_their_objects(app: App, browser: Browser) -> None:
    async with devices(browser, app) as device:
        phone, laptop = [await (await device()).sign_in(ADA) for _ in range(2)]
        phone.forgives("404 (Not Found)")  # the addon asks once whether there is a place for blobs
        await phone.do(
            "db.notes.add({id: 'nts1', text: 'x'.repeat(100_000), bytes: new Uint8Array(200_000).fill(7)})"
        )
        await laptop.holds(await phone.table())
        assert await laptop.do(
            "db.notes.get('nts1').then(({text, bytes}) => [text.length, bytes.length, bytes[9]])"
        ) == [
            100_000,
            200_000,
            7,
        ]


async def test_whole_tables_are_changed_and_cleared_also_where_a_device_knows_less(
    app: App, browser: Browser
) -> None:
    async with devices(browser, app) as device:
        phone, laptop = [await (await device()).sign_in(ADA) for _ in range(2)]
        await phone.do(
            "db.notes.bulkAdd(Array.from({length: 450}, (_, n) => ({id: 'nts' + n, n, tag: 'a'})))"
        )
        await laptop.until(laptop.count, "notes", 450)
        await phone.do("db.notes.where('n').between(100, 400).modify({tag: 'b', seen: dexie.add(1)})")
        await laptop.until(laptop.do, "db.notes.where('tag').equals('b').count()", 300)
        await laptop.do("db.notes.where(':id').anyOf('nts1', 'nts2', 'nts3').modify({tag: 'c'})")
        await phone.until(phone.do, "db.notes.where('tag').equals('c').count()", 3)
        await phone.until(phone.do, "db.notes.filter(({seen}) => seen === 1).count()", 300)
        await laptop.do("db.pairs.bulkPut([{left: 'a', right: 'b'}, {left: 'c', right: 'd', n: {$t: 'x'}}])")
        await phone.holds(
            [{"left": "a", "right": "b"}, {"left": "c", "right": "d", "n": {"$t": "x"}}], "pairs"
        )
        await phone.do("db.pairs.delete(['a', 'b'])")
        await laptop.holds([{"left": "c", "right": "d", "n": {"$t": "x"}}], "pairs")
        await laptop.do("db.notes.clear()")
        for each in (phone, laptop):
            await each.holds([])


async def test_what_this_server_does_not_take_is_rolled_back(app: App, browser: Browser) -> None:
    async with devices(browser, app) as device:
        phone = await (await device()).sign_in(ADA)
        await phone.do("db.notes.add({id: 'nts1', n: 1})")
        await phone.do("db.notes.add({id: 'nts2', text: Array.from({length: 90}, () => 'x'.repeat(30_000))})")
        await phone.do("db.realms.add({realmId: 'rlm1', name: 'ours'})")
        await phone.holds([{"id": "nts1", "n": 1}])
        await phone.holds([], "realms")
        await phone.do("db.notes.update('nts1', {n: 2})")
        await phone.holds([{"id": "nts1", "n": 2}])


# The addon cannot send a BigInt, and reads an array that holds undefined as an object.
KINDS = {
    "date": "new Date(1234567890123)",
    "never": "new Date(NaN)",
    "set": "new Set([1, 'a', new Date(0)])",
    "map": "new Map([['a', 1], [2, new Set([3])]])",
    "bytes": "new Uint8Array([1, 2, 255])",
    "floats": "new Float64Array([0.5, -1])",
    "buffer": "new Uint8Array([9, 8]).buffer",
    "nan": "NaN",
    "infinite": "-Infinity",
    "gone": "undefined",
    "nothing": "null",
    "text": "'\\u0000 \\ud83d\\ude00 \\u2028 \\\\ \\\"'",
    "o": "{'$n': 1, '$t': 'Date', 'a.b': {'$': []}, '': ''}",
    "list": "[1, [2, [3, null]], {}]",
}
EVERY_TYPE = f"db.notes.add({{id: 'nts1', {', '.join(f'{name}: {value}' for name, value in KINDS.items())}}})"
