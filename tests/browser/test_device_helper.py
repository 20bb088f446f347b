"""clients/js with the published addon in Chromium: logins that say which device they come from."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Browser, BrowserContext, Page, Response, Route, expect
from sqlalchemy import select

from admit.accounts.tables import devices, sessions
from tests.browser.app import App, opened
from tests.structure.source import ROOT

ADA = "ada@example.com"
BOB = "bob@example.com"
HELPER = ROOT / "clients/js"

REPLACED = ("LOCKED", "replaced")
LOGGED_OUT = ("LOCKED", "logged_out")
ENROLLED = ("ENROLLED", "")


@pytest.fixture(params=["app", "app_on_postgres"])
def notes(request: pytest.FixtureRequest) -> App:
    """The app, on each database in turn."""
    app: App = request.getfixturevalue(request.param)
    return app


async def tab_of(place: Browser | BrowserContext, app: App, path: str = "/device.html") -> Page:
    """A new tab with the page that tells its device; of a browser, in a new profile."""
    page = await place.new_page()
    page.set_default_timeout(20_000)
    await app.open(page, path)
    return page


async def sign_in(page: Page, app: App, email: str = ADA) -> str:
    """Signs in through the addon's dialogs, and returns what the page calls its device."""
    mails = len(app.installation.mails())
    await app.ask_for_code(page, email)
    while len(app.installation.mails()) == mails:
        await asyncio.sleep(0.05)  # another process writes the file
    await page.locator("input[name=otp]").fill(await app.code_for(email))
    await app.current_user(page, "user.isLoggedIn")
    return str(await page.evaluate("device().id"))


async def sign_out(page: Page, app: App, how: str = "db.cloud.logout()") -> None:
    await page.evaluate(how)
    await app.current_user(page, "!user.isLoggedIn")


def sessions_of(app: App) -> list[tuple[str, int, tuple[str, str]]]:
    """Device, ordinal, and state with its reason, of each session; the oldest first."""
    columns = sessions.c.device_id, sessions.c.ordinal, sessions.c.state, sessions.c.reason
    found = app.installation.rows(select(*columns).order_by(sessions.c.created_at))
    return [(device, ordinal, (state, reason)) for device, ordinal, state, reason in found]


async def test_a_device_is_the_same_after_reload_and_logout(notes: App, browser: Browser) -> None:
    page = await tab_of(browser, notes)
    device = await sign_in(page, notes)
    assert sessions_of(notes) == [(device, 1, ENROLLED)]

    await page.reload()
    await opened(page)
    assert await page.evaluate("device().id") == device
    assert (await notes.current_user(page))["userId"] == ADA

    await sign_out(page, notes)
    assert await sign_in(page, notes) == device
    assert sessions_of(notes) == [(device, 1, REPLACED), (device, 2, ENROLLED)]
    [(derived, label)] = notes.installation.rows(select(devices.c.derived, devices.c.label))
    assert (derived, label) == ("no", "Chrome on Linux")


async def test_a_second_profile_is_a_second_device_and_a_second_tab_is_not(
    notes: App, browser: Browser
) -> None:
    profile = await browser.new_context()
    first, again = await tab_of(profile, notes), await tab_of(profile, notes)
    elsewhere = await tab_of(browser, notes)
    here = await sign_in(first, notes)
    assert (await notes.current_user(again))["userId"] == ADA  # the tabs share the addon's login too
    assert await again.evaluate("device().id") == here
    there = await sign_in(elsewhere, notes)
    assert sessions_of(notes) == [(here, 1, ENROLLED), (there, 1, ENROLLED)]
    assert here != there


async def test_tabs_that_open_at_once_agree_on_the_device(app: App, browser: Browser) -> None:
    profile = await browser.new_context()
    tabs = await asyncio.gather(*(tab_of(profile, app) for _ in range(4)))
    await asyncio.gather(*(tab.evaluate("device()") for tab in tabs))
    assert len({await tab.evaluate("device().id") for tab in tabs}) == 1


async def test_another_person_on_the_same_device_has_sessions_of_their_own(
    app: App, browser: Browser
) -> None:
    page = await tab_of(browser, app)
    device = await sign_in(page, app)
    await sign_out(page, app)
    await sign_in(page, app, BOB)
    assert [(device, 1), (device, 1)] == [session[:2] for session in sessions_of(app)]


async def test_the_dialogs_of_the_addon_stay(app: App, browser: Browser) -> None:
    app.policy("reject")
    page = await tab_of(browser, app)
    await app.sign_in(page, "eve@example.com")
    await expect(page.get_by_text("There is no account for this address here.")).to_be_visible()
    await expect(page.locator("input[name=email]")).to_be_visible()


async def test_a_refresh_does_not_carry_the_device(app: App, browser: Browser) -> None:
    page = await tab_of(browser, app)
    await sign_in(page, app)
    await page.wait_for_timeout(5_500)  # the access token lives for five seconds
    response = await refresh(page, 200)
    assert '"device"' not in (response.request.post_data or "")


async def test_an_own_login_is_given_the_device(notes: App, browser: Browser) -> None:
    page = await tab_of(browser, notes, "/device.html?logins=own")
    await page.evaluate("void (window.login = db.cloud.login())")
    await answer(page, "email", ADA)
    code = await notes.code_for(ADA)
    await answer(page, "code", "00000000" if code != "00000000" else "11111111")
    await page.wait_for_function("asked.length === 3")
    await answer(page, "code", code)
    await page.evaluate("login")
    assert (await notes.current_user(page))["userId"] == ADA
    asked = await page.evaluate("asked")
    assert [why[:2] for why in asked] == [["email"], ["code", ADA], ["code", ADA]]
    assert "This code is not right" in asked[2][2]
    assert await page.evaluate("given.device.id") == await page.evaluate("device().id")
    assert sessions_of(notes) == [(await page.evaluate("device().id"), 1, ENROLLED)]


async def answer(page: Page, name: str, text: str) -> None:
    """Answers what `mailedCode` asks."""
    await page.wait_for_function("name => answers[name]", arg=name)
    await page.evaluate("([name, text]) => { answers[name](text); delete answers[name]; }", [name, text])


async def test_an_own_login_that_is_refused_shows_the_sentence_of_the_server(
    app: App, browser: Browser
) -> None:
    app.policy("reject")
    page = await tab_of(browser, app, "/device.html?logins=own")
    await page.evaluate(
        "void db.cloud.login({email: 'eve@example.com'}).catch(error => window.failed = error)"
    )
    await answer(page, "code", await app.code_for("eve@example.com"))
    await expect(page.get_by_text("There is no account for this address here.")).to_be_visible()
    await page.get_by_role("button", name="OK").click()
    await page.wait_for_function("window.failed")
    assert await page.evaluate("failed.name") == "TokenErrorResponseError"


async def test_the_logout_of_the_helper_ends_the_session_on_the_server(notes: App, browser: Browser) -> None:
    page = await tab_of(browser, notes)
    device = await sign_in(page, notes)
    token = await page.evaluate("db.cloud.currentUser.value.accessToken")
    assert await page.evaluate("logout()") is True
    await notes.current_user(page, "!user.isLoggedIn")
    assert sessions_of(notes) == [(device, 1, LOGGED_OUT)]
    headers = {"Authorization": f"Bearer {token}"}
    refused = await page.request.get(f"{notes.database_url}/token/validate", headers=headers)
    assert refused.status == 401
    await sign_in(page, notes)
    assert sessions_of(notes) == [(device, 1, LOGGED_OUT), (device, 2, ENROLLED)]


async def test_an_open_page_hears_that_its_session_was_locked(notes: App, browser: Browser) -> None:
    page = await tab_of(browser, notes)
    await sign_in(page, notes)
    await page.wait_for_function("db.cloud.webSocketStatus.value === 'connected'")
    await operate(notes, "lock")
    await page.wait_for_function("ended.length", timeout=5_000)
    assert await page.evaluate("ended") == ["session_locked"]
    await refresh(page, 401)
    assert await page.evaluate("ended") == ["session_locked"]  # once

    await page.evaluate("void db.cloud.login({email: 'ada@example.com'}).catch(() => {})")
    await expect(page.locator("input[name=otp]")).to_be_visible()
    assert (await notes.current_user(page))["userId"] == ADA

    await operate(notes, "unlock")
    await refresh(page, 200)
    await operate(notes, "re-authenticate")
    await refresh(page, 401)
    await page.wait_for_function("ended.length === 2")
    assert await page.evaluate("ended[1]") == "reauthentication_required"


async def refresh(page: Page, status: int) -> Response:
    """Lets the addon refresh its tokens, which it does again until the answer has `status`."""
    async with page.expect_response(
        lambda response: response.url.endswith("/notes/token") and response.status == status
    ) as refreshing:
        await page.evaluate("void db.cloud.sync({purpose: 'pull', wait: false})")
    return await refreshing.value


async def test_a_wiped_device_is_erased_and_says_so(notes: App, browser: Browser) -> None:
    page = await tab_of(browser, notes)
    await sign_in(page, notes)
    await page.evaluate("db.notes.add({written: 1})")
    await page.wait_for_function("db.cloud.webSocketStatus.value === 'connected'")
    assert "wipe_confirmed_at" not in await operate(notes, "wipe")
    async with page.expect_response(lambda response: response.url.endswith("/notes/wiped")) as confirming:
        await notes.current_user(page, "!user.isLoggedIn")
    assert (await confirming.value).status == 204
    assert await page.evaluate("db.notes.count()") == 0
    assert await page.evaluate("ended") == ["session_wiped"]
    [(state, confirmed)] = notes.installation.rows(select(sessions.c.state, sessions.c.wiped_at))
    assert state == "RESET"
    assert confirmed is not None


async def test_a_wipe_whose_erasure_fails_is_not_confirmed_and_is_tried_again(
    notes: App, browser: Browser
) -> None:
    page = await tab_of(browser, notes)
    await sign_in(page, notes)
    await page.evaluate("db.notes.add({written: 1})")
    await page.evaluate(ERASE_UNLESS_BUSY)
    await page.wait_for_function("db.cloud.webSocketStatus.value === 'connected'")
    await operate(notes, "wipe")
    await page.wait_for_function("ended.length")
    assert await page.evaluate("ended") == ["session_wiped"]
    assert (await notes.current_user(page))["userId"] == ADA  # or nobody would be told to wipe again
    confirmed = select(sessions.c.state, sessions.c.wiped_at)
    assert notes.installation.rows(confirmed) == [("RESET", None)]

    await page.evaluate("busy = false")
    page.set_default_timeout(60_000)  # after a refusal the addon pauses for 20 s and more
    async with page.expect_response(lambda response: response.url.endswith("/notes/wiped")) as confirming:
        await page.evaluate("void db.cloud.sync({purpose: 'pull', wait: false})")
        await notes.current_user(page, "!user.isLoggedIn")
    assert (await confirming.value).status == 204
    first, second, *more = await page.evaluate("kept")
    assert all(each == [1, True] for each in (first, second, *more))  # it is called while all is still there
    assert await page.evaluate("db.notes.count()") == 0
    assert await page.evaluate("ended") == ["session_wiped"]  # once
    [(_, confirmed_at)] = notes.installation.rows(confirmed)
    assert confirmed_at is not None


ERASE_UNLESS_BUSY = """() => {
  window.kept = [];
  window.busy = true;
  window.erase = async () => {
    kept.push([await db.notes.count(), db.cloud.currentUser.value.isLoggedIn]);
    if (busy) throw new Error("The disk is busy.");
  };
}"""


async def operate(app: App, verb: str) -> dict[str, Any]:
    """Does `verb` with the only session of Ada by the Sessions API."""
    headers = {"Authorization": f"Bearer {app.admit('token', 'create')['token']}"}
    url = f"{app.installation.url}/api/v4/notes/users/{ADA}/sessions"
    async with aiohttp.ClientSession(headers=headers) as http:
        async with http.get(url) as found:
            [session] = (await found.json())["objects"]
        async with http.post(f"{url}/{session['id']}/{verb}") as done:
            assert done.status == 200, await done.text()
            changed: dict[str, Any] = await done.json()
            return changed


async def test_a_link_signs_in_once_and_leaves_the_address(notes: App, browser: Browser) -> None:
    link = await link_for(notes)
    page = await tab_of(browser, notes, f"/device.html#x=1&{link}")
    await page.evaluate("db.cloud.login()")
    assert (await notes.current_user(page))["userId"] == ADA
    assert sessions_of(notes) == [(await page.evaluate("device().id"), 1, ENROLLED)]
    assert await page.evaluate("location.hash") == "#x=1"
    await sign_out(page, notes)
    await page.evaluate("void db.cloud.login().catch(() => {})")
    await expect(page.locator("input[name=email]")).to_be_visible()  # as ever

    late = await tab_of(browser, notes, f"/device.html#{link}")
    await late.evaluate("void db.cloud.login().catch(error => window.failed = error)")
    await expect(late.get_by_text("This link or code has been used.")).to_be_visible()
    assert await late.evaluate("location.hash") == ""


async def test_a_link_whose_answer_was_lost_still_signs_in(app: App, browser: Browser) -> None:
    page = await tab_of(browser, app, f"/device.html#{await link_for(app)}")
    lost: list[int] = []

    async def lose_the_first(route: Route) -> None:
        answer = await route.fetch()
        if lost:
            await route.fulfill(response=answer)
        else:
            lost.append(answer.status)
            await route.abort()

    await page.route("**/notes/token", lose_the_first)
    await page.evaluate("db.cloud.login()")
    assert (await app.current_user(page))["userId"] == ADA
    assert lost == [200]
    assert len(sessions_of(app)) == 1


async def link_for(app: App) -> str:
    """The fragment of a link for Ada, who was here before on another device."""
    app.admit("user", "import", "notes", str(people(app)))
    url = app.admit("enrollment", "create", "notes", ADA)["url"]
    return str(url).partition("#")[2]


def people(app: App) -> Path:
    path = app.installation.folder / "people.jsonl"
    path.write_text(json.dumps({"userId": ADA, "type": "prod"}))
    return path


async def test_without_local_storage_a_device_is_as_old_as_its_page(app: App, browser: Browser) -> None:
    page = await tab_of(browser, app)
    kept = await page.evaluate("device().id")
    await page.evaluate(FRAME, (HELPER / "device.js").read_text())
    [alone] = [frame for frame in page.frames if frame is not page.main_frame]
    await alone.wait_for_function("window.device")
    assert await alone.evaluate("try { localStorage.length } catch (error) { error.name }") == "SecurityError"
    first = await alone.evaluate("device().id")
    assert await alone.evaluate("device().id") == first != kept


FRAME = """module => {
  const frame = document.createElement('iframe');
  frame.sandbox = 'allow-scripts';  // no origin of its own, so no storage
  frame.srcdoc = `<script type="module">${module}; window.device = device</${'script'}>`;
  document.body.append(frame);
}"""


async def test_a_full_local_storage_keeps_nobody_out(app: App, browser: Browser) -> None:
    page = await tab_of(browser, app)
    await page.evaluate(FILL)
    assert await page.evaluate("localStorage.getItem('admit-device')") is None
    device = await sign_in(page, app)
    await sign_out(page, app)
    assert await sign_in(page, app) == device
    assert [session[:2] for session in sessions_of(app)] == [(device, 1), (device, 2)]


FILL = """() => {
  localStorage.clear();
  for (let size = 2 ** 23; size >= 1; size /= 2) {
    try { localStorage.setItem(`full-${size}`, '.'.repeat(size)); } catch { /* less, then */ }
  }
}"""


async def test_what_is_not_an_identifier_is_replaced(app: App, browser: Browser) -> None:
    page = await tab_of(browser, app)
    for broken in ("", "null", "key_of_somebody", "x" * 300):
        await page.evaluate("text => localStorage.setItem('admit-device', text)", broken)
        device = await page.evaluate("device().id")
        assert len(device) == 36
        assert await page.evaluate("localStorage.getItem('admit-device')") == device


def test_the_types_agree_with_those_of_the_addon() -> None:
    """check.ts also says what must not compile."""
    done = subprocess.run([HELPER / "node_modules/.bin/tsc"], cwd=HELPER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
