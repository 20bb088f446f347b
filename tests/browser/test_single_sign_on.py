"""Sign-ins through npm's oidc-provider with the published addon in Chromium, as people click them."""

import re
from urllib.parse import quote

from playwright.async_api import Browser, Page, Route

from admit.web.bearer import issuer_of
from tests.browser.app import App, opened
from tests.contract.served import serving
from tests.identity_provider import IdentityProvider
from tests.receiver import PROD, always, receiving

BUTTON = "Continue with Example ID"
ADA = "ada@example.com"


async def choose_provider(page: Page) -> None:
    """Asks for a login, and clicks the provider's button in the addon's dialog."""
    await page.evaluate("void window.db.cloud.login().catch(() => {})")
    await page.get_by_role("button", name=BUTTON).click()


async def choose_person(page: Page, name: str = "Ada Lovelace") -> None:
    """Is somebody at the provider."""
    await page.get_by_role("button", name=name).click()


async def test_the_dialogs_button_leads_to_the_provider_and_back(
    app: App, page: Page, identity_provider: IdentityProvider
) -> None:
    app.trusts(identity_provider)
    await app.open(page)
    await choose_provider(page)
    await page.get_by_text("to go on to Notes").wait_for()
    await choose_person(page)
    user = await app.current_user(page)
    assert (user["userId"], user["email"], user["name"]) == (ADA, ADA, "Ada Lovelace")
    assert user["license"]["type"] == "eval"
    await page.wait_for_function("!location.search.includes('dxc-auth')")
    assert app.installation.mails() == []


async def test_the_same_on_postgres(
    app_on_postgres: App, page: Page, identity_provider: IdentityProvider
) -> None:
    await test_the_dialogs_button_leads_to_the_provider_and_back(app_on_postgres, page, identity_provider)


async def test_login_with_a_provider_asks_nothing_and_keeps_the_place(
    app: App, page: Page, identity_provider: IdentityProvider
) -> None:
    app.trusts(identity_provider)
    await app.open(page, "/?chapter=7#verse-3")
    await page.evaluate("void window.db.cloud.login({provider: 'company'}).catch(() => {})")
    await choose_person(page)
    assert (await app.current_user(page))["userId"] == ADA
    await page.wait_for_url("**chapter=7**#verse-3")
    await page.wait_for_function("!location.search.includes('dxc-auth')")


async def test_a_provider_that_posts_its_answer_leads_back_too(
    app: App, page: Page, identity_provider: IdentityProvider
) -> None:
    app.trusts(identity_provider, "--response-mode", "form_post")
    await app.open(page)
    await choose_provider(page)
    async with page.expect_request(lambda sent: sent.method == "POST" and "/callback/" in sent.url):
        await choose_person(page)
    assert (await app.current_user(page))["userId"] == ADA


async def test_who_came_by_mailed_code_comes_back_by_the_button_as_the_same_person(
    app: App, page: Page, identity_provider: IdentityProvider
) -> None:
    async with receiving(always(**PROD)) as receiver:
        app.policy("webhook", receiver.url)
        app.trusts(identity_provider)
        await app.open(page)
        await page.evaluate("void window.db.cloud.login().catch(() => {})")
        await page.get_by_role("button", name="Continue with email").click()
        await page.locator("input[name=email]").fill(ADA)
        await page.locator("input[name=email]").press("Enter")
        await page.locator("input[name=otp]").fill(await app.code_for(ADA))
        before = await app.current_user(page)
        await page.evaluate("window.db.cloud.logout()")

        await choose_provider(page)
        await choose_person(page)
        after = await app.current_user(page)
        assert len(receiver.calls) == 1
    assert (after["userId"], after["data"]) == (before["userId"], before["data"]) == (ADA, PROD["userData"])
    assert len(app.admit("user", "list", "notes")) == 1


async def test_who_is_refused_reads_why_in_the_dialog_and_may_come_in_another_way(
    app: App, page: Page, identity_provider: IdentityProvider
) -> None:
    app.trusts(identity_provider)
    app.policy("reject", "--for", "company")
    await app.open(page)
    await choose_provider(page)
    await choose_person(page)
    await page.get_by_text("There is no account for this address here.").wait_for()
    assert not await page.evaluate("window.current().isLoggedIn")
    await page.get_by_role("button", name="Continue with email").click()
    await page.locator("input[name=email]").fill(ADA)
    await page.locator("input[name=email]").press("Enter")
    await page.locator("input[name=otp]").fill(await app.code_for(ADA))
    assert (await app.current_user(page))["userId"] == ADA


async def test_emails_that_are_not_believed_lead_to_nobody_and_the_dialog_says_why(
    app: App, page: Page, identity_provider: IdentityProvider
) -> None:
    app.trusts(identity_provider)
    await app.open(page)
    identity_provider.knows(email_verified=False)
    await choose_provider(page)
    await choose_person(page)
    await page.get_by_text("Example ID has not verified your email address.").wait_for()
    identity_provider.knows(email="ada@elsewhere.org")
    await page.get_by_role("button", name=BUTTON).click()
    await choose_person(page)
    await page.get_by_text("is not accepted here for addresses at elsewhere.org").wait_for()
    assert app.admit("user", "list", "notes") == []


async def test_who_cancels_at_the_provider_is_told_and_can_begin_again(
    app: App, page: Page, identity_provider: IdentityProvider
) -> None:
    app.trusts(identity_provider)
    await app.open(page)
    await choose_provider(page)
    await page.get_by_role("button", name="Cancel").click()
    await page.get_by_text("access_denied").wait_for()
    await page.locator(".dexie-dialog button").first.click()
    await opened(page)
    assert "dxc-auth" not in page.url
    await choose_provider(page)
    await choose_person(page)
    assert (await app.current_user(page))["userId"] == ADA


async def test_a_code_that_was_used_lets_nobody_else_in_and_ends_what_it_had_opened(
    app: App, page: Page, browser: Browser, identity_provider: IdentityProvider
) -> None:
    app.trusts(identity_provider)
    await app.open(page)
    await choose_provider(page)
    async with page.expect_request(re.compile("dxc-auth=")) as landing:
        await choose_person(page)
    await app.current_user(page)

    thief = await browser.new_page()
    await thief.goto((await landing.value).url)
    await thief.get_by_text("has expired or was used").wait_for()
    await thief.get_by_role("button", name=BUTTON).wait_for()
    [session] = app.admit("session", "list", "notes", "--user", ADA)
    assert (session["state"], session["reason"]) == ("LOCKED", "reauthenticate")


async def test_a_code_that_has_expired_asks_to_begin_again(
    sqlite_url: str, page: Page, page_url: str, identity_provider: IdentityProvider
) -> None:
    async with serving(sqlite_url) as served:
        app = await served.app(origins=[page_url])
        database_url = issuer_of(served.gateway, app)
        client = identity_provider.register(f"{database_url}/oauth/callback/company")
        provider: dict[str, object] = {"type": "oidc", "name": "company", "display_name": "Example ID"}
        provider |= {"issuer": identity_provider.issuer, "trusted_domains": ["example.com"]}
        provider |= {"client_id": client.client_id, "client_secret": client.client_secret}
        path = f"/api/apps/{app.name}/providers"
        added = await served.ask("POST", path, json=provider, headers=served.command())
        assert added.status == 200, added.body

        async def arrive_late(route: Route) -> None:
            served.hands.move(seconds=61)
            await route.continue_()

        await page.route(f"{database_url}/token", arrive_late, times=1)
        await page.goto(f"{page_url}/?databaseUrl={quote(database_url, safe='')}")
        await opened(page)
        await choose_provider(page)
        await choose_person(page)
        await page.get_by_text("has expired or was used").wait_for()
        await page.get_by_role("button", name=BUTTON).click()
        await choose_person(page)
        await page.wait_for_function("window.current?.().isLoggedIn")
