"""A new operator in Chromium: from the link of the first start to a locked device, beside a real login."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Locator, Page, expect

from tests.browser.app import App
from tests.browser.furnished import PASSWORD, set_up_link
from tests.receiver import PROD, Receiver, always, receiving

ADA = "ada@example.com"
STEPS_MAX = 200
AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@asynccontextmanager
async def desk(browser: Browser, app: App, *, scripts: bool = True) -> AsyncIterator[Page]:
    """A tab of an operator's browser; what its console complains of fails the test."""
    context = await browser.new_context(base_url=app.installation.url, java_script_enabled=scripts)
    page = await context.new_page()
    page.set_default_timeout(20_000)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    yield page
    await context.close()
    assert complaints == []


class Mouse:
    """Points and clicks."""

    async def press(self, target: Locator) -> None:
        """A link or a button."""
        await target.click()

    async def choose(self, target: Locator) -> None:
        """A radio button or a box."""
        await target.check()

    async def write(self, target: Locator, text: str) -> None:
        """Into a field."""
        await target.fill(text)


class Keyboard(Mouse):
    """Has no mouse: goes by Tab and arrows, and sees where the focus is."""

    async def press(self, target: Locator) -> None:
        await self._reach(target, "node => node === document.activeElement")
        await target.page.keyboard.press("Enter")

    async def choose(self, target: Locator) -> None:
        keys = target.page.keyboard
        if await target.get_attribute("type") == "checkbox":
            await self._reach(target, "node => node === document.activeElement")
            return await keys.press("Space")
        await self._reach(target, "node => node.name === document.activeElement.name")
        for _ in range(STEPS_MAX):
            if await target.is_checked():
                return None
            await keys.press("ArrowDown")
        raise AssertionError(f"the arrows do not lead to {target}")

    async def write(self, target: Locator, text: str) -> None:
        await self._reach(target, "node => node === document.activeElement")
        await target.page.keyboard.press("Control+A")
        await target.page.keyboard.type(text)

    async def _reach(self, target: Locator, there: str) -> None:
        await target.wait_for()
        for _ in range(STEPS_MAX):
            if await target.evaluate(there):
                return
            await target.page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not lead to {target}")


async def heading(page: Page, name: str | re.Pattern[str]) -> None:
    """Waits for the page with this heading."""
    await expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()


async def test_new_operator_sets_up_watches_a_login_and_locks_the_device(
    app: App, page: Page, browser: Browser
) -> None:
    await the_whole_journey(app, page, browser, Mouse())


async def test_the_same_with_the_keyboard_alone(app: App, page: Page, browser: Browser) -> None:
    await the_whole_journey(app, page, browser, Keyboard())


async def test_the_same_on_postgres(app_on_postgres: App, page: Page, browser: Browser) -> None:
    await the_whole_journey(app_on_postgres, page, browser, Mouse())


async def the_whole_journey(app: App, addon: Page, browser: Browser, hand: Mouse) -> None:
    async with receiving(always(**PROD)) as receiver, desk(browser, app) as page:
        await set_up(app, page, hand)
        await choose_and_test_the_policy(page, receiver, hand)
        await add_a_web_hook(page, receiver, hand)
        await hand.press(page.get_by_role("link", name="Events", exact=True))
        await expect(page.get_by_text("Live", exact=True)).to_be_visible()

        await app.open(addon)
        await app.sign_in(addon, ADA)
        assert (await app.current_user(addon))["license"]["type"] == "prod"

        await let_the_events_in(page, hand)
        await open_its_delivery_and_retry_it(page, receiver, hand)
        await lock_the_device(page, hand)
    assert [each["state"] for each in app.admit("session", "list", "notes", "--user", ADA)] == ["LOCKED"]


async def set_up(app: App, page: Page, hand: Mouse) -> None:
    """By the link of the log, with a passkey; there is one app, and it opens."""
    session = await page.context.new_cdp_session(page)
    await session.send("WebAuthn.enable")
    await session.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
    await page.goto(set_up_link(app.installation))
    await hand.write(page.get_by_label("Your name"), "Noor Haddad")
    await hand.write(page.get_by_label("Email"), "noor@example.com")
    await hand.press(page.get_by_role("button", name="Set up with a passkey"))
    await heading(page, "notes is ready")


async def choose_and_test_the_policy(page: Page, receiver: Receiver, hand: Mouse) -> None:
    await hand.press(page.get_by_role("link", name="Policy for new users").first)
    await heading(page, "Policy for new users")
    await hand.choose(page.get_by_role("radio", name="Configure a web hook"))
    await hand.write(page.get_by_label("Address", exact=True), receiver.url)
    await hand.write(page.get_by_label("Ask about"), ADA)
    await hand.press(page.get_by_role("button", name="Ask", exact=True))
    await expect(page.get_by_text("Would be admitted as prod")).to_be_visible()
    assert [call.json["email"] for call in receiver.calls] == [ADA]
    receiver.calls.clear()
    await hand.press(page.get_by_role("button", name="Save as version"))
    await expect(page.get_by_role("radio", name="Configure a web hook")).to_be_checked()


async def add_a_web_hook(page: Page, receiver: Receiver, hand: Mouse) -> None:
    await hand.press(page.get_by_role("link", name="Web hooks", exact=True))
    await hand.press(page.get_by_role("link", name=re.compile("Add|New")).first)
    await hand.write(page.get_by_label("URL"), receiver.url)
    await hand.write(page.get_by_label("Description"), "CRM")
    await hand.choose(page.get_by_role("radio", name="Only some types"))
    await hand.choose(page.get_by_role("checkbox", name="user.enrolled"))
    await hand.press(page.get_by_role("button", name="Add the web hook"))
    await expect(page.locator("code.secret")).to_contain_text("whsec_")


async def let_the_events_in(page: Page, hand: Mouse) -> None:
    """Nothing moves before it is asked for; then the newest is there, and can be opened."""
    button = page.get_by_role("button", name=re.compile(r"Show \d+ newer events"))
    await expect(button).to_be_visible()
    await expect(page.get_by_role("link", name="user.enrolled")).to_have_count(0)
    await hand.press(button)
    await hand.press(page.get_by_role("link", name="user.enrolled").first)
    await heading(page, "user.enrolled")


async def open_its_delivery_and_retry_it(page: Page, receiver: Receiver, hand: Mouse) -> None:
    told = [call for call in receiver.calls if call.json.get("type") == "user.enrolled"]
    assert len(told) == 1
    await hand.press(page.get_by_role("link", name="CRM"))
    await heading(page, re.compile("user.enrolled to CRM"))
    await hand.press(page.get_by_role("button", name="Deliver again"))
    await expect(page.get_by_text("Attempt 2", exact=True)).to_be_visible()
    again = [call for call in receiver.calls if call.json.get("type") == "user.enrolled"]
    assert [each.headers["webhook-id"] for each in again] == [told[0].headers["webhook-id"]] * 2


async def lock_the_device(page: Page, hand: Mouse) -> None:
    await hand.press(page.get_by_role("link", name=ADA).first)
    await hand.press(page.get_by_role("button", name="Lock", exact=True))
    await expect(page.get_by_text("Locked", exact=True)).to_be_visible()
    await expect(page.get_by_role("button", name="Undo", exact=True)).to_be_visible()


async def test_keys_lead_to_pages_and_into_the_palette(app: App, browser: Browser) -> None:
    async with desk(browser, app) as page:
        await set_up(app, page, Mouse())
        await page.keyboard.press("g")
        await page.keyboard.press("p")
        await heading(page, "Policy for new users")
        await page.keyboard.press("Control+k")
        await page.keyboard.type("web h")
        await page.keyboard.press("Enter")
        await heading(page, "Web hooks")
        await page.keyboard.press("Control+k")
        await expect(page.get_by_role("dialog", name="Jump to")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog", name="Jump to")).to_be_hidden()


async def test_without_scripts_an_operator_comes_in_and_reads(app: App, browser: Browser) -> None:
    async with desk(browser, app, scripts=False) as page:
        await page.goto(set_up_link(app.installation))
        await page.get_by_label("Your name").fill("Noor Haddad")
        await page.get_by_label("Email").fill("noor@example.com")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Set up with a password").click()
        await heading(page, "notes is ready")
        for link in ("Policy for new users", "People", "Events", "Web hooks", "Tasks", "Data", "Settings"):
            await page.get_by_role("link", name=link, exact=True).first.click()
            await heading(page, link)
