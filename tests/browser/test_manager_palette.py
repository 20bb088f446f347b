"""The palette and the live rows in Chromium, by keyboard alone."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.app import App
from tests.browser.test_manager_journeys import Mouse, desk, heading, set_up

CSV = "userId,type\nada@example.com,prod\nbob@example.com,eval\n"


@pytest.fixture
async def at_home(app: App, browser: Browser) -> AsyncIterator[Page]:
    """The overview of the app, in the tab of its first operator."""
    async with desk(browser, app) as page:
        await set_up(app, page, Mouse())
        yield page


def people(app: App, folder: Path) -> None:
    """Ada and Bob, of a file."""
    file = folder / "people.csv"
    file.write_text(CSV)
    app.admit("user", "import", "notes", str(file))


async def test_palette_leads_to_people_and_pages_by_keyboard(app: App, at_home: Page, tmp_path: Path) -> None:
    page = at_home
    people(app, tmp_path)
    finder = page.get_by_role("combobox", name="Find a person, event or page")
    await page.keyboard.press("Control+k")
    await page.keyboard.type("zzz")
    await expect(page.get_by_role("dialog").get_by_text("Nothing is found.")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(finder).to_be_hidden()

    await page.keyboard.press("Control+k")
    await expect(finder).to_have_value("")
    await page.keyboard.type("ada")
    hit = page.get_by_role("option", name="ada@example.com")
    await expect(hit).to_have_attribute("aria-selected", "true")
    assert await finder.get_attribute("aria-activedescendant") == await hit.get_attribute("id")
    await expect(page.get_by_role("dialog").get_by_text("1 result.")).to_be_attached()
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/people/ada%40example.com")

    await page.keyboard.press("Control+k")
    await page.keyboard.type("over")
    await page.keyboard.press("ArrowUp")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await heading(page, "Overview")


async def test_first_people_are_counted_and_come_in_when_asked(
    app: App, at_home: Page, tmp_path: Path
) -> None:
    page = at_home
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    people(app, tmp_path)
    more = page.get_by_role("button", name="Show 2 newer events")
    await expect(more).to_be_visible()
    await expect(page.get_by_text("Nothing has happened yet.")).to_be_visible()
    await more.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("link", name="user.enrolled")).to_have_count(2)
    await expect(page.get_by_role("link", name="user.enrolled").first).to_be_focused()
    await expect(page.get_by_text("Nothing has happened yet.")).to_be_hidden()
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_role("link", name="user.enrolled").nth(1)).to_be_focused()


async def test_side_counts_what_needs_attention(app: App, at_home: Page, tmp_path: Path) -> None:
    page = at_home
    people(app, tmp_path)
    app.admit("app", "seats", "notes", "1")
    await page.evaluate("sessionStorage.clear()")
    await page.reload()
    settings = page.get_by_role("navigation", name="notes").get_by_role("link", name=re.compile("^Settings"))
    await expect(settings).to_have_text("Settings1 needs attention")
