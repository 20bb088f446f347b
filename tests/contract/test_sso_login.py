"""GET /oauth/login: to the provider, with everything that the way back is bound to."""

from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import func, select

from admit.signin.sso_attempts import challenge_of
from admit.signin.tables import sign_in_codes
from tests.contract.served import ORIGIN, Answered, Served
from tests.contract.sso_desk import PAGE, Desk, asked, at_https, refused_page, sso_desk, told
from tests.hostile_provider import saying

EVIL = "https://evil.example/"
LOGIN = "/notes/oauth/login/house"


@pytest.fixture
async def desk(served_url: str) -> AsyncIterator[Desk]:
    async with sso_desk(served_url) as made:
        yield made


@pytest.fixture
async def front(served_sqlite_url: str) -> AsyncIterator[Desk]:
    """For what the database has no part in."""
    async with sso_desk(served_sqlite_url) as made:
        yield made


async def test_browser_is_sent_to_the_provider_with_state_nonce_and_pkce(desk: Desk) -> None:
    answer = await desk.begin(desk.browser())
    assert answer.status == 302
    assert answer.headers["Location"].startswith(f"{desk.op.base}/authorize?")
    sent = asked(answer)
    assert sent["redirect_uri"] == f"{desk.served.gateway.settings.public_url}/notes/oauth/callback/house"
    assert sent["code_challenge_method"] == "S256"
    assert min(len(sent["state"]), len(sent["nonce"]), len(sent["code_challenge"])) == 43
    assert len({sent["state"], sent["nonce"], sent["code_challenge"]}) == 3
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


async def test_nothing_is_stored_before_somebody_comes_back(desk: Desk) -> None:
    for _ in range(3):
        await desk.begin(desk.browser())
    count = select(func.count()).select_from(sign_in_codes)
    assert await desk.served.gateway.db.read(lambda tx: tx.execute(count).scalar_one()) == 0


@pytest.mark.parametrize(
    "page",
    [
        "",
        EVIL,
        "//evil.example/",
        "/\\evil.example",
        "https://app.example.com.evil.example/",
        "https://app.example.com@evil.example/",
        "https://app.example.com\\.evil.example/",
        "https://app.example.com:8443/",
        "http://app.example.com/",
        "javascript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        f"{ORIGIN}/\r\nSet-Cookie: a=b",
    ],
)
async def test_page_that_is_not_the_apps_is_never_led_to(front: Desk, page: str) -> None:
    browser = front.browser()
    answer = await front.begin(browser, page)
    assert refused_page(answer)
    assert answer.status == 400
    assert browser.cookies == {}


async def test_no_host_header_decides_where_the_browser_goes(front: Desk) -> None:
    public = front.served.gateway.settings.public_url
    for headers in ({"Host": "evil.example"}, {"X-Forwarded-Host": "evil.example"}):
        browser = front.browser()
        answer = await browser.get(f"{LOGIN}?redirect_uri={ORIGIN}/", **headers)
        if answer.headers["Location"].startswith(public):  # it came to another name of ours
            assert browser.cookies == {}
            answer = await browser.get(answer.headers["Location"], **headers)
        assert answer.headers["Location"].startswith(f"{front.op.base}/authorize?")
        assert asked(answer)["redirect_uri"] == f"{public}/notes/oauth/callback/house"
        assert "evil" not in str(answer.headers)


async def test_cookie_is_set_where_the_callback_will_be(front: Desk) -> None:
    """Whoever comes by another name of this server would find no cookie at the callback."""
    browser = front.browser()
    there = f"http://127.0.0.1:{urlsplit(front.served.url).port}"
    answer = await browser.get(f"{there}{LOGIN}?redirect_uri={ORIGIN}/start?a=b%26c")
    assert answer.headers["Location"].startswith(front.served.gateway.settings.public_url + LOGIN)
    assert browser.cookies == {}
    answer = await browser.get(answer.headers["Location"])
    assert len(browser.cookies) == 1
    assert told(await browser.get(await front.sent_back(answer)))["code"]


async def test_address_of_an_app_with_a_host_is_that_host(served_sqlite_url: str, tmp_path: Path) -> None:
    async with sso_desk(served_sqlite_url, **at_https(tmp_path)) as desk:
        await desk.served.ask(
            "POST",
            "/api/apps/notes/hosts",
            headers=desk.served.command(),
            json={"host": "auth.example.com"},
        )
        browser = desk.browser()
        answer = await desk.begin(browser)
        there = answer.headers["Location"]
        assert there.startswith("https://auth.example.com/oauth/login/house?")
        answer = await browser.get(there)
        assert asked(answer)["redirect_uri"] == "https://auth.example.com/oauth/callback/house"
        assert told(await browser.get(await desk.sent_back(answer)))["code"]


async def test_unknown_providers_and_apps_have_a_page_that_says_so(front: Desk) -> None:
    for path in ("/notes/oauth/login/nobody", "/nothing/oauth/login/house", "/notes/oauth/callback/nobody"):
        assert refused_page(await front.browser().get(f"{path}?redirect_uri={ORIGIN}/"))


async def test_provider_that_does_not_answer_is_told_at_the_page(front: Desk) -> None:
    front.op.answers["/.well-known/openid-configuration"] = saying("no", 500)
    browser = front.browser()
    answer = await front.begin(browser)
    assert "does not answer" in told(answer)["error"] or "cannot be used" in told(answer)["error"]
    assert answer.headers["Location"].endswith("#top")
    assert browser.cookies == {}


@pytest.mark.parametrize(
    "asked",
    [
        {"code_challenge": challenge_of("v"), "code_challenge_method": "plain"},
        {"code_challenge": challenge_of("v")},
        {"code_challenge_method": "S256"},
        {"code_challenge": "short", "code_challenge_method": "S256"},
    ],
)
async def test_pkce_of_the_client_is_s256_or_nothing(front: Desk, asked: dict[str, str]) -> None:
    assert refused_page(await front.begin(front.browser(), **asked))


async def test_cookie_is_for_this_browser_and_nobody_reads_it(front: Desk) -> None:
    browser = front.browser()
    state = asked(await front.begin(browser))["state"]
    [line] = browser.set_cookies
    [(name, morsel)] = SimpleCookie(line).items()
    assert name == f"admit-sso-{state[:16]}"
    assert (morsel["path"], morsel["max-age"], morsel["samesite"]) == ("/", "600", "Lax")
    assert morsel["httponly"]
    assert not morsel["domain"]
    assert not morsel["secure"]
    assert state not in morsel.value
    assert PAGE not in line


async def test_cookie_belongs_to_one_host_where_there_is_https(
    served_sqlite_url: str, tmp_path: Path
) -> None:
    async with sso_desk(served_sqlite_url, **at_https(tmp_path)) as desk:
        browser = desk.browser()
        answer = await desk.begin(browser)
        [line] = browser.set_cookies
        assert line.startswith("__Host-admit-sso-")
        assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(line.split("; "))
        assert "Domain" not in line
        assert told(await browser.get(await desk.sent_back(answer)))["code"]
        assert browser.cookies == {}


async def test_five_tabs_may_sign_in_at_once_and_the_sixth_takes_the_place_of_the_first(front: Desk) -> None:
    browser = front.browser()
    callbacks = [await front.sent_back(await front.begin(browser)) for _ in range(6)]
    assert len(browser.cookies) == 5
    assert refused_page(await browser.get(callbacks[0]))
    for callback in callbacks[1:]:
        assert told(await browser.get(callback))["code"]
    assert browser.cookies == {}


async def test_cookies_stay_below_what_proxies_take(front: Desk) -> None:
    browser = front.browser()
    long_page = f"{ORIGIN}/?q={'a' * 1_950}"
    for _ in range(4):
        answer = await front.begin(browser, long_page)
    assert sum(len(name) + len(value) + 3 for name, value in browser.cookies.items()) < 6_500
    assert told(await browser.get(await front.sent_back(answer)))["code"]


async def test_providers_are_shown_as_the_addon_knows_them(desk: Desk) -> None:
    await desk.put(desk.op.github(icon_url="https://app.example.com/cat.svg"))
    await desk.put(desk.op.oauth2(scopes=("profile",)))
    shown = await desk.served.ask("GET", "/notes/auth-providers")
    assert shown.json == {
        "providers": [
            {
                "type": "custom-oauth2",
                "name": "house",
                "displayName": "House",
                "scopes": ["openid", "email", "profile"],
            },
            {
                "type": "github",
                "name": "github",
                "displayName": "GitHub",
                "iconUrl": "https://app.example.com/cat.svg",
                "scopes": ["read:user", "user:email"],
            },
            {"type": "custom-oauth2", "name": "plain", "displayName": "House", "scopes": ["profile"]},
        ],
        "otpEnabled": True,
    }
    assert b"s3cret" not in shown.body


async def test_app_without_mailed_codes_sends_none_and_takes_none(desk: Desk) -> None:
    served = desk.served
    first = await desk.post({"grant_type": "otp", "email": "bob@example.com", "scopes": ["ACCESS_DB"]})
    await desk.change(mailed_codes=False)
    assert (await served.ask("GET", "/notes/auth-providers")).json["otpEnabled"] is False
    step_1 = {"grant_type": "otp", "email": "eve@example.com", "scopes": ["ACCESS_DB"]}
    step_2 = {"grant_type": "otp", "otp_id": first.json["otp_id"], "otp": "12345678", "scopes": ["ACCESS_DB"]}
    for body in (step_1, step_2):
        refused = await desk.post(body)
        assert (refused.status, refused.json["code"]) == (403, "MAILED_CODES_OFF")
    assert (await connected(served)).json["type"] == "otp-sent"
    assert [each.mail.to for each in served.mails if each.mail.to == "eve@example.com"] == []


async def connected(served: Served) -> Answered:
    """The owner's command, which is no sign-in of a person."""
    body = {"grant_type": "otp", "email": "owner@example.com", "scopes": ["CONNECT_CLIENT"]}
    return await served.ask("POST", "/notes/token", json=body)
