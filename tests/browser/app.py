"""An app under test, as its people and its operator see it."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from playwright.async_api import Page

from tests.identity_provider import IdentityProvider
from tests.installation import Installation

WAIT_SECONDS = 20.0


async def opened(page: Page) -> None:
    """Waits until the page's database is open: who asks for a login sooner may be told that it was closed."""
    await page.wait_for_function("document.body.dataset.open === 'yes'")


@dataclass
class App:
    """The app "notes" of an installation that is being served, and the page that uses it."""

    installation: Installation
    page_url: str
    _codes_read: dict[str, int] = field(default_factory=dict)

    @property
    def database_url(self) -> str:
        return f"{self.installation.url}/notes"

    def admit(self, *words: str, typed: str = "") -> Any:
        """Runs a command of the operator's, to which `typed` is typed."""
        return self.installation.admit(*words, typed=typed)

    def policy(self, *words: str) -> None:
        self.admit("policy", "set", "notes", *words)

    def trusts(self, provider: IdentityProvider, *options: str) -> None:
        """Adds the provider as "company", trusted for example.com."""
        client = provider.register(f"{self.database_url}/oauth/callback/company")
        options += ("--name", "company", "--issuer", provider.issuer, "--display-name", "Example ID")
        options += ("--client-id", client.client_id, "--trust-email", "example.com")
        self.admit("provider", "add", "notes", "oidc", *options, typed=client.client_secret)

    async def open(self, page: Page, path: str = "/") -> None:
        """Opens the page, as a stranger or as whoever this browser remembers."""
        address, sharp, fragment = f"{self.page_url}{path}".partition("#")
        mark = "&" if "?" in address else "?"
        address += f"{mark}databaseUrl={quote(self.database_url, safe='')}"
        await page.goto(f"{address}{sharp}{fragment}")
        await opened(page)

    async def sign_in(self, page: Page, email: str) -> None:
        """Types the email and the mailed code into the addon's own dialogs."""
        await self.ask_for_code(page, email)
        await page.locator("input[name=otp]").fill(await self.code_for(email))

    async def ask_for_code(self, page: Page, email: str) -> None:
        await page.evaluate("void window.db.cloud.login().catch(() => {})")
        await page.locator("input[name=email]").fill(email)
        await page.locator("input[name=email]").press("Enter")
        await page.locator("input[name=otp]").wait_for()

    async def code_for(self, email: str) -> str:
        """The code in the newest mail to `email`, once that is another mail than last time."""
        async with asyncio.timeout(WAIT_SECONDS):
            while len(codes := self._codes_for(email)) <= self._codes_read.get(email, 0):
                await asyncio.sleep(0.05)  # another process writes the file
        self._codes_read[email] = len(codes)
        return codes[-1]

    def _codes_for(self, email: str) -> list[str]:
        return [str(mail["otp"]) for mail in self.installation.mails() if mail["to"] == email]

    async def current_user(self, page: Page, condition: str = "user.isLoggedIn") -> dict[str, Any]:
        """`db.cloud.currentUser` once `condition`, in JavaScript, holds for it."""
        held = f"(() => {{ const user = window.current?.(); return user && ({condition}); }})()"
        await page.wait_for_function(held)  # on its way to a provider and back the page is another
        user: dict[str, Any] = json.loads(await page.evaluate("JSON.stringify(window.current())"))
        return user
