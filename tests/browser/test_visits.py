"""Demo users, owners who act, alerts and renewed keys, with the published addon in Chromium."""

from typing import Any

import aiohttp
from playwright.async_api import Page, expect

from tests.browser.app import App

ALICE = "alice@demo.local"
OWNER = "owner@example.com"
BOB = "bob@example.com"


async def create(app: App, user_id: str, type: str) -> None:
    """Makes a user by the admin API."""
    headers = {"Authorization": f"Bearer {app.admit('token', 'create')['token']}"}
    url = f"{app.installation.url}/api/apps/notes/users"
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(url, json=[{"userId": user_id, "type": type}]) as answer,
    ):
        assert answer.status == 200, await answer.text()


async def login_with(page: Page, email: str) -> None:
    """Types `email` into the addon's dialog."""
    await page.evaluate("void window.db.cloud.login().catch(() => {})")
    await page.locator("input[name=email]").fill(email)
    await page.locator("input[name=email]").press("Enter")


async def test_the_addon_signs_a_demo_user_in_by_itself(app: App, page: Page) -> None:
    await create(app, ALICE, "demo")
    await app.open(page)
    async with page.expect_response(lambda response: response.url.endswith("/notes/token")) as asking:
        await login_with(page, ALICE)
    assert '"grant_type":"demo"' in ((await asking.value).request.post_data or "")
    user = await app.current_user(page)
    assert (user["userId"], user["license"]) == (ALICE, {"type": "demo", "status": "ok"})
    assert app.installation.mails() == []


async def test_a_demo_user_that_nobody_made_is_refused_in_the_dialog(app: App, page: Page) -> None:
    await app.open(page)
    await login_with(page, ALICE)
    await expect(page.get_by_text("There is no demo user of this name here.")).to_be_visible()
    await expect(page.locator("input[name=email]")).to_be_visible()


async def test_an_owner_signs_in_as_somebody_else(app: App, page: Page) -> None:
    await create(app, BOB, "prod")
    await app.open(page)
    # The dialog is a field for one address, so an app that wants this brings the text along.
    await page.evaluate("email => void window.db.cloud.login({email}).catch(() => {})", f"{OWNER} as {BOB}")
    await page.locator("input[name=otp]").fill(await app.code_for(OWNER))
    user = await app.current_user(page)
    assert (user["userId"], user["claims"]["act"]) == (BOB, {"sub": OWNER})


async def test_a_login_waits_until_its_alerts_are_acknowledged(app: App, page: Page) -> None:
    app.admit("notice", "add", "notes", "Closed for repairs on Sunday.", "--warning")
    app.admit("notice", "before-end", "notes", "365")
    await app.open(page)
    await app.sign_in(page, "ada@example.com")
    await expect(page.get_by_text("Closed for repairs on Sunday.")).to_be_visible()
    await expect(page.get_by_text("Days of use that are left of your trial: 30.")).to_be_visible()
    assert not await page.evaluate("window.current().isLoggedIn")
    await page.get_by_role("button", name="Submit").click()
    assert (await app.current_user(page))["userId"] == "ada@example.com"


async def test_the_addon_keeps_its_session_when_its_key_is_renewed(app: App, page: Page) -> None:
    await app.open(page)
    await app.sign_in(page, "ada@example.com")
    await app.current_user(page)
    assert await page.evaluate(RENEWAL, app.database_url) == [200, 200]
    async with page.expect_response(lambda response: response.url.endswith("/notes/token")) as refreshing:
        await page.wait_for_timeout(5_500)  # the access token lives for five seconds
        await page.evaluate("void window.db.cloud.sync({purpose: 'pull', wait: false})")
    response: Any = await refreshing.value
    assert response.status == 200
    assert (await app.current_user(page))["userId"] == "ada@example.com"


RENEWAL = """async (databaseUrl) => {
  const login = await window.db.table('$logins').toCollection().filter(u => u.isLoggedIn).first();
  const algorithm = {name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength: 2048,
                     publicExponent: new Uint8Array([1, 0, 1])};
  const fresh = await crypto.subtle.generateKey(algorithm, false, ['sign', 'verify']);
  const spki = new Uint8Array(await crypto.subtle.exportKey('spki', fresh.publicKey));
  const base64 = btoa(String.fromCharCode(...spki)).match(/.{1,64}/g).join('\\n');
  const pem = '-----BEGIN PUBLIC KEY-----\\n' + base64 + '\\n-----END PUBLIC KEY-----';
  const refresh = async (key, more) => {
    const time_stamp = Date.now();
    const bytes = new TextEncoder().encode(login.refreshToken + time_stamp);
    const signed = new Uint8Array(await crypto.subtle.sign('RSASSA-PKCS1-v1_5', key, bytes));
    const response = await fetch(databaseUrl + '/token', {
      method: 'POST', headers: {'Content-Type': 'application/json'},
      body: JSON.stringify({
        grant_type: 'refresh_token', refresh_token: login.refreshToken, scopes: ['ACCESS_DB'], time_stamp,
        signing_algorithm: 'RSASSA-PKCS1-v1_5', signature: btoa(String.fromCharCode(...signed)), ...more,
      })});
    return response.status;
  };
  const renewed = await refresh(login.nonExportablePrivateKey, {public_key: pem});
  await window.db.table('$logins').update(
    login.claims.sub, {nonExportablePrivateKey: fresh.privateKey, publicKey: fresh.publicKey});
  return [renewed, await refresh(fresh.privateKey, {})];
}"""
