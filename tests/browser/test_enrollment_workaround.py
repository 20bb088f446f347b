"""examples/enrollment-workaround in Chromium: the workaround of the thread, and the event beside it."""

import asyncio
import re
import shlex
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.app import App
from tests.installation import Installation
from tests.structure.source import ROOT

EXAMPLE = ROOT / "examples/enrollment-workaround"
README = (EXAMPLE / "README.md").read_text()
SERVER, PAGE = "http://127.0.0.1:8080", "http://localhost:3000"
ADA = "ada@example.com"
EVENT, WORKAROUND = "the event has told it", "the workaround has heard of it"


@pytest.fixture(params=["sqlite_url", "postgres_url"])
def notes(request: pytest.FixtureRequest, tmp_path: Path, page_url: str) -> Iterator[App]:
    """The app of the example, prepared as its README tells."""
    settings = {"ADMIT_TASKS": str(EXAMPLE / "tasks"), "ADMIT_TASKS_RELOAD": "command"}
    installation = Installation(tmp_path, request.getfixturevalue(request.param), settings)
    here = {
        SERVER: f"http://127.0.0.1:{installation.port}",
        PAGE: page_url,
        "model.toml": str(EXAMPLE / "model.toml"),
    }
    for line in re.findall(r"^admit ((?!task logs|endpoint).+)$", README, re.MULTILINE):
        for word, instead in here.items():
            line = line.replace(word, instead)
        came = installation.admit(*shlex.split(line))
        if line.startswith("token create"):
            here["adm_…"] = came["token"]
    with installation.serving():
        yield App(installation, page_url)


async def tab_of(browser: Browser, app: App) -> Page:
    """The page of the example, in a new profile."""
    page = await browser.new_page()
    page.set_default_timeout(20_000)
    await page.goto(f"{app.page_url}/workaround/?databaseUrl={app.database_url}")
    await expect(page.get_by_text("Nobody is signed in.")).to_be_visible()
    return page


async def sign_in(page: Page, app: App) -> str:
    """Types Ada's email, where it is asked for, and the mailed code; returns the device."""
    mails = len(app.installation.mails())
    asked = await page.get_by_text("Nobody is signed in.").is_visible()
    await page.get_by_role("button", name="Sign in").click()
    if asked:
        await page.locator("input[name=email]").fill(ADA)
        await page.locator("input[name=email]").press("Enter")
    await page.locator("input[name=otp]").wait_for()
    async with asyncio.timeout(20):
        while len(app.installation.mails()) == mails:
            await asyncio.sleep(0.05)  # another process writes the file
    await page.locator("input[name=otp]").fill(await app.code_for(ADA))
    await expect(page.get_by_text(f"{ADA} is signed in.")).to_be_visible()
    await expect(page.locator("input[name=otp]")).to_have_count(0)
    return str(await page.evaluate("localStorage.getItem('admit-device')"))


async def sign_out(page: Page) -> None:
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_text("Nobody is signed in.")).to_be_visible()


@pytest.fixture
async def operator(notes: App) -> AsyncIterator[aiohttp.ClientSession]:
    """Who asks the admin API."""
    headers = {"Authorization": f"Bearer {notes.admit('token', 'create')['token']}"}
    async with aiohttp.ClientSession(f"{notes.installation.url}/api/apps/notes/", headers=headers) as http:
        yield http


async def said(operator: aiohttp.ClientSession, page: Page) -> Counter[tuple[str, str]]:
    """What the two have said, and of which device, once `page` has synced and every run has ended.

    What a login or an object causes is written in its own transaction, so that nothing comes later.
    """
    await page.evaluate("db.cloud.sync()")
    async with asyncio.timeout(60):
        while not all(run["state"] == "done" for run in (await asked(operator, "runs"))["runs"]):
            await asyncio.sleep(0.1)
    lines = (await asked(operator, "lines?after=beginning"))["lines"]
    assert {line["fields"]["user"] for line in lines} <= {ADA}
    return Counter((line["text"], line["fields"]["device"]) for line in lines)


async def asked(operator: aiohttp.ClientSession, where: str) -> Any:
    async with operator.get(where) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def test_both_tell_of_each_device_once(
    notes: App, browser: Browser, operator: aiohttp.ClientSession
) -> None:
    page = await tab_of(browser, notes)
    phone = await sign_in(page, notes)
    assert await said(operator, page) == Counter({(EVENT, phone): 1, (WORKAROUND, phone): 1})

    await page.reload()
    await expect(page.get_by_text(f"{ADA} is signed in.")).to_be_visible()
    assert await sign_in(page, notes) == phone
    assert await said(operator, page) == Counter({(EVENT, phone): 1, (WORKAROUND, phone): 1})

    other = await tab_of(browser, notes)
    laptop = await sign_in(other, notes)
    assert laptop != phone
    both = (EVENT, phone), (WORKAROUND, phone), (EVENT, laptop), (WORKAROUND, laptop)
    assert await said(operator, other) == Counter(both)
    await page.wait_for_function("async () => await db.registration.count() === 2")
    assert await said(operator, page) == Counter(both)


async def test_the_workaround_tells_again_once_its_marker_is_gone(
    notes: App, browser: Browser, operator: aiohttp.ClientSession
) -> None:
    page = await tab_of(browser, notes)
    phone = await sign_in(page, notes)
    await said(operator, page)
    await sign_out(page)
    assert await page.evaluate("db.local.count()") == 0
    assert await sign_in(page, notes) == phone
    assert await said(operator, page) == Counter({(EVENT, phone): 1, (WORKAROUND, phone): 2})


async def test_an_object_that_is_saved_again_is_ready_once(
    notes: App, browser: Browser, operator: aiohttp.ClientSession
) -> None:
    page = await tab_of(browser, notes)
    phone = await sign_in(page, notes)
    await page.evaluate("db.registration.toCollection().modify({device_id: 'another'})")
    assert await said(operator, page) == Counter({(EVENT, phone): 1, (WORKAROUND, phone): 1})
    runs = (await asked(operator, "runs?task=registered"))["runs"]
    assert len(runs) == 1


async def test_a_device_that_was_made_up_has_no_session_and_is_not_heard_of(
    notes: App, browser: Browser, operator: aiohttp.ClientSession
) -> None:
    page = await tab_of(browser, notes)
    phone = await sign_in(page, notes)
    await page.evaluate(f"db.registration.add({{user_id: '{ADA}', device_id: 'made up'}})")
    assert await said(operator, page) == Counter({(EVENT, phone): 1, (WORKAROUND, phone): 1})
    assert len((await asked(operator, "runs?task=registered"))["runs"]) == 2


def test_the_readme_counts_its_lines_right() -> None:
    def lines(text: str, comment: str) -> int:
        return sum(bool(line.strip()) and not line.startswith(comment) for line in text.splitlines())

    page = (EXAMPLE / "page/app.js").read_text()
    counted = {
        "page/app.js": lines(page.partition("// The workaround.")[2].partition("// Here it ends.")[0], "//")
        - 1,
        "model.toml": lines((EXAMPLE / "model.toml").read_text(), "#"),
        "tasks/notes/registered.py": lines((EXAMPLE / "tasks/notes/registered.py").read_text(), "#"),
        "tasks/notes/enrolled.py": lines((EXAMPLE / "tasks/notes/enrolled.py").read_text(), "#"),
    }
    told = re.findall(r"(\d+)(?: lines)? of \[[\w./]+\]\(([\w./]+)\)", README)
    assert {path: int(number) for number, path in told} == counted
