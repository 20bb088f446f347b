"""Takes the pictures of docs/manager: every page of the Manager in both themes, with invented data.

uv run python -m tests.browser.pictures [FOLDER]
"""

import asyncio
import base64
import re
import sys
import tempfile
from pathlib import Path
from typing import Literal

from playwright.async_api import Page, async_playwright

from tests.browser.conftest import CHROMIUM, QUIET
from tests.browser.furnished import Furnished, furnished
from tests.browser.test_manager_pages import pages_of, tab

FOLDER = Path(__file__).parents[2] / "docs" / "manager"
SETTLED_MS = 300
QUALITY = 80
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def main(folder: Path) -> None:
    """Pictures of all pages; those that no page has any more are deleted."""
    folder.mkdir(parents=True, exist_ok=True)
    former = set(folder.glob("*.webp"))
    with (
        tempfile.TemporaryDirectory() as place,
        furnished(Path(place), f"sqlite:///{place}/admit.db") as house,
    ):
        taken = asyncio.run(take(folder, house))
    for picture in former - taken:
        picture.unlink()


async def take(folder: Path, house: Furnished) -> set[Path]:
    """Takes all pictures, and says which."""
    taken: set[Path] = set()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        for theme in THEMES:
            async with tab(browser, house, theme=theme) as opened:
                for pattern, path in pages_of(house).items():
                    await opened.visit(path)
                    await opened.page.wait_for_timeout(SETTLED_MS)
                    taken.add(await picture_of(opened.page, folder / f"{name_of(pattern)}-{theme}.webp"))
            async with tab(browser, house, theme=theme, signed_in=False) as opened:
                for name, path in house.outside.items():
                    await opened.visit(path)
                    taken.add(await picture_of(opened.page, folder / f"house-{name}-{theme}.webp"))
        await browser.close()
    return taken


async def picture_of(page: Page, file: Path) -> Path:
    """What the window shows, as WebP: a third of what PNG takes."""
    session = await page.context.new_cdp_session(page)
    taken = await session.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
    await asyncio.to_thread(file.write_bytes, base64.b64decode(taken["data"]))
    await session.detach()
    return file


def name_of(pattern: str) -> str:
    """`policy-ledger` for `/apps/{app}/policy/ledger`, `house-changes` for `/changes`."""
    in_app = pattern.removeprefix("/apps/{app}")
    words = re.sub(r"[{}]", "", in_app).strip("/").replace("/", "-")
    return (words or "overview") if in_app != pattern else f"house-{words}"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
