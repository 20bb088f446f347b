"""Fixtures of the browser tests: Chromium, a page with the published addon, and a server behind it."""

import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.async_api import Browser, Page, async_playwright

from tests.browser.app import App
from tests.installation import Installation

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
MODULES = EXAMPLES / "first-login/page/node_modules"
CHROMIUM = "/usr/bin/chromium"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PAGE = (
    '<!doctype html><meta charset="utf-8"><title>A page</title><link rel=icon href=data:,><body>'
    '<script src="{script}"></script>'
)
SCRIPTS = {"page.js": "index.html", "device_page.js": "device.html", "sync_page.js": "sync.html"}
EXAMPLE = EXAMPLES / "enrollment-workaround/page"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="session")
def page_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a page with Dexie and the addon, bundled of npm's packages; below it, `device.html`, and
    the page of an example, `workaround/`."""
    folder = tmp_path_factory.mktemp("page")
    _bundle(folder, *(HERE / script for script in SCRIPTS))
    for script, page in SCRIPTS.items():
        (folder / page).write_text(PAGE.format(script=script))
    _bundle(folder / "workaround/dist", EXAMPLE / "app.js")
    shutil.copy(EXAMPLE / "index.html", folder / "workaround")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def _bundle(folder: Path, *scripts: Path) -> None:
    [esbuild] = MODULES.glob("@esbuild/*/bin/esbuild")
    command: list[str | Path] = [esbuild, *scripts, "--bundle", f"--outdir={folder}", "--log-level=warning"]
    subprocess.run(command, env={"NODE_PATH": str(MODULES)}, check=True)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium, headless, with an empty profile."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        await browser.close()


@pytest.fixture
async def page(browser: Browser) -> Page:
    """A tab."""
    page = await browser.new_page()
    page.set_default_timeout(20_000)
    return page


@pytest.fixture
def app(sqlite_url: str, tmp_path: Path, page_url: str) -> Iterator[App]:
    """An app that is served, with the page among its origins. Its access tokens live for five seconds."""
    yield from served(sqlite_url, tmp_path, page_url, {"ADMIT_ACCESS_TOKEN_SECONDS": "5"})


@pytest.fixture
def app_on_postgres(postgres_url: str, tmp_path: Path, page_url: str) -> Iterator[App]:
    """The same on PostgreSQL."""
    yield from served(postgres_url, tmp_path, page_url, {"ADMIT_ACCESS_TOKEN_SECONDS": "5"})


def served(database_url: str, folder: Path, page_url: str, settings: dict[str, str]) -> Iterator[App]:
    """The app "notes", served until the generator ends, with the page among its origins."""
    installation = Installation(folder, database_url, settings)
    installation.admit("app", "create", "notes", "--owner", "owner@example.com")
    installation.admit("origin", "add", "notes", page_url)
    with installation.serving():
        yield App(installation, page_url)
