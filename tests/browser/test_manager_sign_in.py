"""Operators in Chromium: the first start, passkeys of a virtual authenticator, passwords without scripts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, Page, expect

from tests.contract.operator_desk import OWNER, PASSWORD, first_link, invited
from tests.contract.served import Served, serving

AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@pytest.fixture
async def served(sqlite_url: str) -> AsyncIterator[Served]:
    """A server, which browsers know as localhost."""
    async with serving(sqlite_url, migrate="auto") as running:
        yield running


@asynccontextmanager
async def tab_at(browser: Browser, served: Served, *, scripts: bool = True) -> AsyncIterator[Page]:
    """A tab of a new profile; what its console complains of fails the test."""
    context = await browser.new_context(
        base_url=served.gateway.settings.public_url, java_script_enabled=scripts
    )
    page = await context.new_page()
    page.set_default_timeout(10_000)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if "Content Security" in line.text else None)
    yield page
    await context.close()
    assert wrong == []


async def with_authenticator(page: Page) -> None:
    """Gives the tab an authenticator that verifies its user (CDP, domain WebAuthn)."""
    session = await page.context.new_cdp_session(page)
    await session.send("WebAuthn.enable")
    await session.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})


async def sign_out(page: Page) -> None:
    """By the menu of the operator."""
    await page.locator("button[popovertarget=operator]").click()
    await page.get_by_role("button", name="Sign out", exact=True).click()
    await expect(page.get_by_role("heading", name="Sign in to Admit")).to_be_visible()


async def test_first_owner_sets_up_a_passkey_and_comes_back_by_it(browser: Browser, served: Served) -> None:
    async with tab_at(browser, served) as page:
        await with_authenticator(page)
        await page.goto(await first_link(served))
        await page.get_by_label("Your name").fill("Noor Haddad")
        await page.get_by_label("Email").fill(OWNER)
        await page.get_by_role("button", name="Set up with a passkey").click()
        await page.wait_for_url("**/manager/apps")

        await page.goto("/manager/account")
        await expect(page.get_by_role("button", name="Remove First passkey")).to_be_visible()
        await sign_out(page)
        await page.goto("/manager/account")
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await page.wait_for_url("**/manager/account")
        await expect(page.get_by_role("heading", name="Your account")).to_be_visible()


async def test_invited_operator_comes_in_by_a_password_without_scripts(
    browser: Browser, served: Served
) -> None:
    path = await invited(served, "bob@example.com", "read-only")
    async with tab_at(browser, served, scripts=False) as page:
        await page.goto(path)
        assert await page.get_by_role("button", name="Set up with a passkey").count() == 0
        await page.get_by_label("Your name").fill("Bob")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Set up with a password").click()
        await page.wait_for_url("**/manager/apps")
        await page.goto("/manager/account")
        await expect(page.get_by_text("bob@example.com, read-only.")).to_be_visible()

        await page.goto(path)
        await expect(page.get_by_role("heading", name="This link opens no more")).to_be_visible()

        await page.context.clear_cookies()
        await page.goto("/manager/account")
        await page.get_by_label("Email").fill("bob@example.com")
        await page.get_by_label("Password").fill("wrong wrong wrong")
        await page.get_by_role("button", name="Sign in with the password").click()
        await expect(page.get_by_text("That did not let you in.")).to_be_visible()
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in with the password").click()
        await page.wait_for_url("**/manager/account")


async def test_owner_adds_a_passkey_after_a_fresh_sign_in_and_invites(
    browser: Browser, served: Served
) -> None:
    async with tab_at(browser, served) as page:
        await with_authenticator(page)
        await page.goto(await first_link(served))
        await page.get_by_label("Your name").fill("Noor Haddad")
        await page.get_by_label("Email").fill(OWNER)
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Set up with a password").click()
        await page.wait_for_url("**/manager/apps")

        served.hands.move(seconds=700)
        await page.goto("/manager/account")
        await page.get_by_label("Name of the new passkey").fill("Work laptop")
        await page.get_by_role("button", name="Add a passkey").click()
        await expect(page.get_by_text("Sign in once more to change what lets you in")).to_be_visible()
        await page.get_by_role("link", name="Sign in once more").click()
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in with the password").click()
        await page.wait_for_url("**/manager/account")
        await page.get_by_label("Name of the new passkey").fill("Work laptop")
        await page.get_by_role("button", name="Add a passkey").click()
        await expect(page.get_by_role("button", name="Remove Work laptop")).to_be_visible()

        await page.goto("/manager/operators")
        await page.get_by_role("button", name="Invite an operator").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Email").fill("bob@example.com")
        await dialog.get_by_label("Role").select_option("support")
        await dialog.get_by_role("button", name="Make the link").click()
        await expect(page.get_by_role("heading", name="Give this link to bob@example.com")).to_be_visible()
        link = await page.locator("section code", has_text="/manager/set-up/").inner_text()

    async with tab_at(browser, served) as page:
        await with_authenticator(page)
        await page.goto(link)
        await page.get_by_label("Your name").fill("Bob")
        await page.get_by_role("button", name="Set up with a passkey").click()
        await page.wait_for_url("**/manager/apps")
        await page.goto("/manager/operators")
        await expect(page.get_by_role("heading", name="Your role does not reach so far")).to_be_visible()
