"""First logins with the published dexie-cloud-addon in Chromium, through its own dialogs."""

import asyncio
import time

from playwright.async_api import Page, expect

from tests.browser.app import App
from tests.receiver import PROD, always, receiving


async def test_a_stranger_signs_in_by_mailed_code_and_gets_the_data_of_the_hook(app: App, page: Page) -> None:
    await first_login_with_hook(app, page)


async def test_the_same_on_postgres(app_on_postgres: App, page: Page) -> None:
    await first_login_with_hook(app_on_postgres, page)


async def first_login_with_hook(app: App, page: Page) -> None:
    async with receiving(always(**PROD)) as receiver:
        app.policy("webhook", receiver.url)
        await app.open(page)
        await app.sign_in(page, "ada@example.com")
        user = await app.current_user(page)
    assert user["userId"] == "ada@example.com"
    assert user["email"] == "ada@example.com"
    assert user["name"] == "Ada Example"
    assert user["data"] == PROD["userData"]
    assert (user["license"]["type"], user["license"]["status"]) == ("prod", "ok")
    assert [call.json for call in receiver.calls] == [
        {"userId": "ada@example.com", "email": "ada@example.com"}
    ]


async def test_an_evaluating_user_sees_the_days_that_are_left(app: App, page: Page) -> None:
    await app.open(page)
    await app.sign_in(page, "ada@example.com")
    user = await app.current_user(page)
    assert user["license"]["type"] == "eval"
    assert user["license"]["evalDaysLeft"] == 30
    assert user["data"] == {}


async def test_who_is_rejected_reads_why_and_may_try_another_address(app: App, page: Page) -> None:
    app.policy("reject")
    await app.open(page)
    await app.sign_in(page, "eve@example.com")
    await expect(page.get_by_text("There is no account for this address here.")).to_be_visible()
    await expect(page.locator("input[name=email]")).to_be_visible()
    assert not await page.evaluate("window.current().isLoggedIn")


async def test_a_hook_that_is_down_keeps_people_out_without_telling_them_internals(
    app: App, page: Page
) -> None:
    async with receiving(always(**PROD)) as receiver:
        url = receiver.url
    app.policy("webhook", url)
    await app.open(page)
    await app.sign_in(page, "ada@example.com")
    await expect(page.get_by_text("could not decide about new people")).to_be_visible()
    assert "127.0.0.1" not in await page.locator("body").inner_text()


async def test_a_wrong_code_asks_again_and_the_right_one_still_works(app: App, page: Page) -> None:
    await app.open(page)
    await app.ask_for_code(page, "ada@example.com")
    right = await app.code_for("ada@example.com")
    await page.locator("input[name=otp]").fill("00000000" if right != "00000000" else "11111111")
    await expect(page.get_by_text("This code is not right")).to_be_visible()
    await page.locator("input[name=otp]").fill(right)
    assert (await app.current_user(page))["userId"] == "ada@example.com"


async def test_a_deactivated_user_cannot_sign_in_again(app: App, page: Page) -> None:
    await app.open(page)
    await app.sign_in(page, "ada@example.com")
    await app.current_user(page)
    await page.evaluate("window.db.cloud.logout()")
    await app.current_user(page, "!user.isLoggedIn")
    app.admit("user", "deactivate", "notes", "ada@example.com", "--yes")
    await app.sign_in(page, "ada@example.com")
    await expect(page.get_by_text("This account is deactivated.")).to_be_visible()


async def test_a_session_goes_on_after_its_access_token_has_ended(app: App, page: Page) -> None:
    await app.open(page)
    await app.sign_in(page, "ada@example.com")
    await app.current_user(page)
    await asyncio.sleep(5.5)
    async with page.expect_response(lambda response: response.url.endswith("/notes/token")) as refreshing:
        await page.evaluate("void window.db.cloud.sync({purpose: 'pull', wait: false})")
    response = await refreshing.value
    assert response.status == 200
    assert '"grant_type":"refresh_token"' in (response.request.post_data or "")
    assert (await app.current_user(page))["userId"] == "ada@example.com"


async def test_a_refresh_signed_by_another_key_is_refused(app: App, page: Page) -> None:
    await app.open(page)
    await app.sign_in(page, "ada@example.com")
    await app.current_user(page)
    status, body = await page.evaluate(STOLEN_REFRESH, app.database_url)
    assert status == 401
    assert "not that of the key" in body


STOLEN_REFRESH = """async (databaseUrl) => {
  const {refreshToken} = await window.db.table('$logins').toCollection().filter(u => u.isLoggedIn).first();
  const key = await crypto.subtle.generateKey(
    {name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength: 2048,
     publicExponent: new Uint8Array([1, 0, 1])},
    false, ['sign', 'verify']);
  const time_stamp = Date.now();
  const signed = await crypto.subtle.sign(
    'RSASSA-PKCS1-v1_5', key.privateKey, new TextEncoder().encode(refreshToken + time_stamp));
  const response = await fetch(databaseUrl + '/token', {
    method: 'POST', headers: {'Content-Type': 'application/json'},
    body: JSON.stringify({
      grant_type: 'refresh_token', refresh_token: refreshToken, scopes: ['ACCESS_DB'], time_stamp,
      signing_algorithm: 'RSASSA-PKCS1-v1_5', signature: btoa(String.fromCharCode(...new Uint8Array(signed))),
    })});
  return [response.status, await response.text()];
}"""


async def test_a_change_of_the_user_reaches_the_open_page_at_once(app: App, page: Page) -> None:
    await app.open(page)
    await app.sign_in(page, "ada@example.com")
    await app.current_user(page)
    await page.wait_for_function("window.db.cloud.webSocketStatus.value === 'connected'")
    app.admit("user", "deactivate", "notes", "ada@example.com", "--yes")
    started = time.monotonic()
    user = await app.current_user(page, "user.license && user.license.status === 'deactivated'")
    assert user["license"]["status"] == "deactivated"
    assert time.monotonic() - started < 5


async def test_logout_settles_and_another_person_can_sign_in(app: App, page: Page) -> None:
    await app.open(page)
    await app.sign_in(page, "ada@example.com")
    await app.current_user(page)
    async with asyncio.timeout(20):
        await page.evaluate("window.db.cloud.logout()")
    await app.sign_in(page, "bob@example.com")
    user = await app.current_user(page, "user.userId === 'bob@example.com'")
    assert user["email"] == "bob@example.com"
