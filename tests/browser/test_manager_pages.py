"""Every page of the Manager in Chromium: accessible in both themes, whole on a phone, light, and readable
without scripts.

axe-core checks WCAG 2.2 AA, level A and AA of all versions, and its own best practices.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import axe_playwright_python  # type: ignore[import-untyped]
import pytest
from playwright.async_api import Browser, Page, Response

from admit.web.manager import routes
from tests.browser.furnished import NO_PAGES, Furnished, furnished

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
BYTES_MAX = 150_000
WIDE = 1_360
LAYOUT_SHIFT = """() => new Promise(done => {
  let sum = 0
  const count = list => list.getEntries().forEach(entry => (sum += entry.value))
  new PerformanceObserver(count).observe({ type: "layout-shift", buffered: true })
  setTimeout(() => done(sum), 300)
})"""
PHONE = 390

PARTS = frozenset(
    {
        "/app-menu",
        "/apps/{app}/badges",
        "/apps/{app}/campaigns/{campaign}",
        "/apps/{app}/jump",
        "/apps/{app}/live",
        "/apps/{app}/events/live",
        "/apps/{app}/sign-in/mail-texts/frame",
        "/apps/{app}/people-export",
        "/apps/{app}/policy/ledger/export",
    }
)
"""Streams, downloads and parts of pages. The links of some are followed; nobody reads them as a page."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Furnished]:
    """A furnished house on SQLite."""
    folder = tmp_path_factory.mktemp("house")
    with furnished(folder, f"sqlite:///{folder}/admit.db") as house:
        yield house


@dataclass
class Tab:
    """A tab of an operator, and what went wrong or came over the wire while it was used."""

    page: Page
    errors: list[str] = field(default_factory=list)
    size: int = 0

    async def visit(self, url: str) -> None:
        """Opens a page, and forgets what was noted of the last one."""
        self.errors.clear()
        self.size = 0
        await self.page.goto(url, wait_until="load")
        await asyncio.sleep(0.05)


@asynccontextmanager
async def tab(
    browser: Browser,
    house: Furnished,
    *,
    theme: Literal["light", "dark"] = "light",
    width: int = WIDE,
    scripts: bool = True,
    axe: bool = False,
    signed_in: bool = True,
) -> AsyncIterator[Tab]:
    """A tab in a browser that has never been here. `axe`: the content policy lets the checker in."""
    context = await browser.new_context(
        base_url=house.installation.url,
        color_scheme=theme,
        viewport={"width": width, "height": 900},
        java_script_enabled=scripts,
        bypass_csp=axe,
    )
    name, value = house.cookie
    if signed_in:
        await context.add_cookies([{"name": name, "value": value, "url": house.installation.url}])
    if axe:
        await context.add_init_script(AXE)
    opened = Tab(await context.new_page())
    opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
    opened.page.on("console", lambda line: opened.errors.append(line.text) if line.type == "error" else None)

    def weigh(response: Response) -> None:
        opened.size += int(response.headers.get("content-length", 0))

    opened.page.on("response", weigh)
    yield opened
    await context.close()


def pages_of(house: Furnished) -> dict[str, str]:
    """The pages that people look at."""
    return {pattern: path for pattern, path in house.pages.items() if pattern not in PARTS}


def test_links_lead_to_every_page(house: Furnished) -> None:
    told = {each.path for each in routes.PAGES if each.method == "GET"}
    assert told - set(house.pages) - PARTS == NO_PAGES


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_no_page_has_a_violation(
    house: Furnished, browser: Browser, theme: Literal["light", "dark"]
) -> None:
    found: dict[str, list[str]] = {}
    async with tab(browser, house, theme=theme, axe=True) as opened:
        for pattern, path in pages_of(house).items():
            await opened.visit(path)
            violations = await violations_on(opened.page)
            if violations:
                found[pattern] = violations
    assert found == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_ways_in_have_no_violation_and_fit_a_phone(
    house: Furnished, browser: Browser, theme: Literal["light", "dark"]
) -> None:
    async with tab(browser, house, theme=theme, width=PHONE, axe=True, signed_in=False) as opened:
        for path in house.outside.values():
            await opened.visit(path)
            assert await opened.page.locator("h1").count() == 1
            assert await violations_on(opened.page) == []
            assert await opened.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
            assert opened.errors == []


async def test_violation_would_be_found(house: Furnished, browser: Browser) -> None:
    async with tab(browser, house, axe=True) as opened:
        await opened.visit("/manager/apps")
        await opened.page.evaluate("document.querySelector('h1').outerHTML = '<img src=data:,>'")
        assert any(each.startswith("image-alt") for each in await violations_on(opened.page))


async def violations_on(page: Page) -> list[str]:
    """What axe complains of: the rule, and where."""
    found: dict[str, Any] = await page.evaluate("rules => axe.run(document, {runOnly: rules})", RULES)
    return [
        f"{each['id']}: {' | '.join(node['html'][:120] for node in each['nodes'][:3])}"
        for each in found["violations"]
    ]


@pytest.mark.parametrize("width", [WIDE, PHONE])
async def test_no_page_is_wider_than_the_screen(house: Furnished, browser: Browser, width: int) -> None:
    wider: dict[str, int] = {}
    async with tab(browser, house, width=width) as opened:
        for pattern, path in pages_of(house).items():
            await opened.visit(path)
            beyond = await opened.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            if beyond > 0:
                wider[pattern] = beyond
    assert wider == {}


async def test_no_page_weighs_more_than_150_kb_with_all_that_it_loads(
    house: Furnished, browser: Browser
) -> None:
    heavy: dict[str, int] = {}
    wrong: dict[str, list[str]] = {}
    async with tab(browser, house) as opened:
        network = await opened.page.context.new_cdp_session(opened.page)
        await network.send("Network.setCacheDisabled", {"cacheDisabled": True})
        for pattern, path in pages_of(house).items():
            await opened.visit(path)
            if opened.size > BYTES_MAX:
                heavy[pattern] = opened.size
            if opened.errors:
                wrong[pattern] = list(opened.errors)
    assert heavy == {}
    assert wrong == {}


async def test_nothing_moves_after_a_page_is_shown(house: Furnished, browser: Browser) -> None:
    """Cumulative Layout Shift: what comes later has its place from the beginning. Layout Instability §3."""
    moved: dict[str, float] = {}
    async with tab(browser, house) as opened:
        for pattern, path in pages_of(house).items():
            await opened.visit(path)
            shift = await opened.page.evaluate(LAYOUT_SHIFT)
            if shift > 0.001:
                moved[pattern] = shift
    assert moved == {}


async def test_every_page_says_the_same_without_scripts(house: Furnished, browser: Browser) -> None:
    other: dict[str, tuple[str, str]] = {}
    async with tab(browser, house) as with_scripts, tab(browser, house, scripts=False) as without:
        for pattern, path in pages_of(house).items():
            await with_scripts.visit(path)
            await without.visit(path)
            headings = [
                " · ".join(await each.page.locator("h1, main h2:visible, main th:visible").all_inner_texts())
                for each in (with_scripts, without)
            ]
            if headings[0] != headings[1] or not headings[0]:
                other[pattern] = (headings[0], headings[1])
    assert other == {}
