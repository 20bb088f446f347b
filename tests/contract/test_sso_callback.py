"""/oauth/callback: who may come back, with whose answer, and where that leads."""

import asyncio
import base64
import hashlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from structlog.testing import capture_logs

from admit.accounts import apps
from admit.accounts.providers import Provider, ResponseMode
from admit.web.sign_in_pages import stopped_page
from tests.contract.served import ORIGIN, serving
from tests.contract.sso_desk import (
    PAGE,
    Browser,
    Desk,
    asked,
    at_https,
    desk_with,
    refused_page,
    sso_desk,
    told,
    without,
)
from tests.hostile_provider import hostile_provider, saying_json
from tests.identity_provider import IdentityProvider

XSS = "<script>alert(1)</script>"
MINUTE = 60


@pytest.fixture
async def desk(served_url: str) -> AsyncIterator[Desk]:
    async with sso_desk(served_url) as made:
        yield made


@pytest.fixture
async def front(served_sqlite_url: str) -> AsyncIterator[Desk]:
    """For what the database has no part in."""
    async with sso_desk(served_sqlite_url) as made:
        yield made


async def test_browser_comes_back_to_its_page_with_a_code(desk: Desk) -> None:
    browser = desk.browser()
    begun = await desk.begin(browser)
    answer = await browser.get(await desk.sent_back(begun))
    page = urlsplit(answer.headers["Location"])
    assert f"{page.scheme}://{page.netloc}{page.path}#{page.fragment}" == f"{ORIGIN}/notes/7#top"
    assert dict(parse_qsl(page.query))["tab"] == "2"
    said = told(answer)
    assert (said["provider"], said["state"]) == ("house", asked(begun)["state"])
    assert len(said["code"]) == 43
    assert browser.cookies == {}
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    form = desk.op.forms[0]
    assert form["redirect_uri"] == asked(begun)["redirect_uri"]
    assert form["code_verifier"]


async def test_old_mark_of_the_page_is_replaced(front: Desk) -> None:
    browser = front.browser()
    callback = await front.sent_back(await front.begin(browser, f"{ORIGIN}/?dxc-auth=old&a=1"))
    query = urlsplit((await browser.get(callback)).headers["Location"]).query
    assert query.startswith("a=1&dxc-auth=")
    assert "old" not in query


# State


async def test_nobody_comes_back_without_the_state_of_this_browser(desk: Desk) -> None:
    """Login CSRF at the callback: a link with the attacker's code and state."""
    attacker, victim = desk.browser(), desk.browser()
    link = await desk.sent_back(await desk.begin(attacker))
    assert refused_page(await victim.get(link))
    own = asked(await desk.begin(victim))["state"]
    assert refused_page(await victim.get(link))
    address, _, query = link.partition("?")
    without_state = {name: value for name, value in parse_qsl(query) if name != "state"}
    for state in (
        {"state": own[:16] + "x" * 27},
        {"state": own[:16]},
        {"state": "x" * 43},
        {"state": ""},
        {},
    ):
        assert refused_page(await victim.get(f"{address}?{urlencode(without_state | state)}"))
    assert desk.op.forms == []
    assert told(await attacker.get(link))["code"]


async def test_state_is_good_once(desk: Desk) -> None:
    """The cookie goes with the first answer; whoever kept a copy gets nothing new."""
    browser = desk.browser()
    link = await desk.sent_back(await desk.begin(browser))
    kept = dict(browser.cookies)
    code = told(await browser.get(link))["code"]
    assert refused_page(await browser.get(link))
    browser.cookies = dict(kept)
    assert told(await browser.get(link))["code"] == code  # it waits to be used, and is the same
    assert (await desk.exchange(code)).status == 200
    browser.cookies = dict(kept)
    assert "used already" in told(await browser.get(link))["error"]
    assert len(desk.op.forms) == 1


async def test_two_callbacks_at_once_lead_to_one_code(desk: Desk) -> None:
    browser = desk.browser()
    link = await desk.sent_back(await desk.begin(browser))
    twin = Browser(desk.served)
    twin.cookies = dict(browser.cookies)
    answers = await asyncio.gather(browser.get(link), twin.get(link))
    codes = {told(each)["code"] for each in answers}
    assert len(codes) == 1
    assert (await desk.exchange(codes.pop())).status == 200


async def test_cookie_of_another_provider_is_none(desk: Desk) -> None:
    await desk.put(without(desk.provider, name="annex"))
    browser = desk.browser()
    link = await desk.sent_back(await desk.begin(browser))
    assert refused_page(await browser.get(link.replace("/callback/house", "/callback/annex")))
    assert desk.op.forms == []


async def test_cookie_of_another_app_is_none(desk: Desk) -> None:
    other = await desk.served.app("plans")
    await desk.put(desk.provider, other)
    browser = desk.browser()
    link = await desk.sent_back(await desk.begin(browser))
    assert refused_page(await browser.get(link.replace("/notes/", "/plans/")))
    assert desk.op.forms == []


async def test_changed_cookie_is_none(front: Desk) -> None:
    browser = front.browser()
    link = await front.sent_back(await front.begin(browser))
    [(name, value)] = browser.cookies.items()
    for forged in (value[:-4] + "AAAA", "", "s1.x.y", "x" * 200):
        browser.cookies = {name: forged}
        assert refused_page(await browser.get(link))


async def test_ten_minutes_later_the_attempt_is_over(front: Desk) -> None:
    browser = front.browser()
    link = await front.sent_back(await front.begin(browser))
    front.served.hands.move(seconds=10 * MINUTE)
    assert refused_page(await browser.get(link))


# Whose answer


async def test_answer_of_another_provider_is_not_taken_for_this_ones(front: Desk) -> None:
    """RFC 9207: the mix-up, where the honest provider's answer comes to the callback of a bad one."""
    front.op.discovery["authorization_response_iss_parameter_supported"] = True
    await front.put(front.provider)
    browser = front.browser()
    link = await front.sent_back(await front.begin(browser))
    answer = await browser.get(f"{link}&iss={urlencode({'': 'https://honest.example'})[1:]}")
    assert "error" in told(answer)
    assert front.op.forms == []
    link = await front.sent_back(await front.begin(browser))
    assert "code" in told(await browser.get(f"{link}&{urlencode({'iss': front.op.base})}"))


async def test_code_of_another_provider_buys_nothing_here(front: Desk) -> None:
    """A and B are both the app's; B's code comes to the callback of A."""
    async with hostile_provider() as other:
        await front.put(other.provider(name="annex"))
        browser = front.browser()
        of_house = await front.sent_back(await front.begin(browser))
        for _ in range(3):
            of_annex = await front.sent_back(await front.begin(browser, provider="annex"))
        its_code = dict(parse_qsl(urlsplit(of_annex).query))["code"]
        mixed = dict(parse_qsl(urlsplit(of_house).query)) | {"code": its_code}
        assert its_code not in front.op.logins
        answer = await browser.get(f"{of_house.partition('?')[0]}?{urlencode(mixed)}")
        assert "error" in told(answer)


async def test_provider_that_was_changed_meanwhile_is_asked_nothing(desk: Desk) -> None:
    for change in ({"issuer": "https://evil.example"}, {"client_id": "x"}, {"trusted_domains": ("*",)}):
        browser = desk.browser()
        link = await desk.sent_back(await desk.begin(browser))
        await desk.put(without(desk.provider, **change))
        assert "has changed meanwhile" in told(await browser.get(link))["error"]
        await desk.put(desk.provider)
    browser = desk.browser()
    link = await desk.sent_back(await desk.begin(browser))
    await desk.remove()
    assert "has changed meanwhile" in told(await browser.get(link))["error"]
    assert desk.op.forms == []


async def test_new_secret_of_the_provider_disturbs_nobody(desk: Desk) -> None:
    browser = desk.browser()
    link = await desk.sent_back(await desk.begin(browser))
    await desk.put(without(desk.provider, display_name="New House", icon_url="https://x.example/i.svg"))
    assert told(await browser.get(link))["code"]


async def test_page_whose_origin_was_taken_off_the_list_is_not_led_to(desk: Desk) -> None:
    browser = desk.browser()
    link = await desk.sent_back(await desk.begin(browser))
    now = desk.served.hands()
    await desk.served.gateway.db.write(lambda tx: apps.remove_origin(tx, desk.app.app_id, ORIGIN, now))
    assert refused_page(await browser.get(link))


# Refusals


async def test_who_says_no_is_told_so_in_words_the_addon_knows(front: Desk) -> None:
    front.op.back = {"error": "access_denied", "error_description": XSS}
    said = await front.returned()
    assert said["error"] == "House did not sign you in, or you cancelled (access_denied)."
    assert "code" not in said


@pytest.mark.parametrize("error", ["server_error", XSS, "a" * 300, "é\u202e", "access_denied" + XSS])
async def test_words_of_the_provider_are_not_repeated(front: Desk, error: str) -> None:
    await front.put(without(front.provider, display_name="Bäckerei <b>"))
    front.op.back = {"error": error, "error_description": XSS, "error_uri": "https://evil.example"}
    said = (await front.returned())["error"]
    assert said.isascii()
    assert said.startswith("house could not sign you in")
    assert "<" not in said
    assert "evil" not in said


async def test_answer_without_a_code_is_none(front: Desk) -> None:
    front.op.back = {"code": ""}
    assert "did not say who you are" in (await front.returned())["error"]


async def test_fault_of_the_provider_is_told_at_the_page(front: Desk) -> None:
    front.op.answers["/token"] = saying_json({"error": "invalid_client", "error_description": XSS}, 401)
    browser = front.browser()
    callback = await front.sent_back(await front.begin(browser))
    with capture_logs() as lines:
        answer = await browser.get(callback)
    assert told(answer)["error"].isascii()
    assert XSS not in told(answer)["error"]
    assert browser.cookies == {}
    [line] = [each for each in lines if each["event"] == "sso.refused"]
    assert (line["code"], line["provider"]) == ("provider_refused", "house")


async def test_returns_from_one_network_are_limited_before_anybody_is_asked(
    served_url: str, tmp_path: Path
) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text("sso_callbacks_per_address = {count = 2, window_seconds = 3600}\n")
    async with sso_desk(served_url, rate_limits=str(limits)) as desk:
        for _ in range(2):
            assert "code" in await desk.returned()
        assert "Too many" in (await desk.returned())["error"]
        assert len(desk.op.forms) == 2
        assert "code" in await desk.returned(desk.browser("192.0.2.1"))


async def test_one_cookie_buys_five_questions_to_the_provider(desk: Desk) -> None:
    """Whoever keeps the cookie may come back with wrong codes for ten minutes, from anywhere."""
    into_window = desk.served.hands() / 1_000 % (10 * MINUTE)
    desk.served.hands.move(seconds=15 * MINUTE - into_window)  # so that one of ten minutes ends on the way
    browser = desk.browser()
    link = await desk.sent_back(await desk.begin(browser))
    kept = dict(browser.cookies)
    code = dict(parse_qsl(urlsplit(link).query))["code"]
    errors = []
    for count in range(20):
        desk.served.hands.move(seconds=29)
        browser.cookies, browser.address = dict(kept), f"203.0.113.{count}"
        errors.append(told(await browser.get(link.replace(code, f"wrong-{count}")))["error"])
    assert len(desk.op.forms) == 5
    assert all("too often" not in error for error in errors[:5])
    assert set(errors[5:]) == {"This sign-in was tried too often. Begin again."}
    assert "code" in await desk.returned()


def test_page_shows_text_and_runs_nothing() -> None:
    page = stopped_page(XSS, 400)
    assert XSS.encode() not in bytes(page.body)
    assert b"&lt;script&gt;" in bytes(page.body)
    style = bytes(page.body).partition(b"<style>")[2].partition(b"</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in page.headers["Content-Security-Policy"]


# Answers by a form


async def test_form_is_answered_by_a_get_which_brings_the_cookie(front: Desk) -> None:
    await front.put(without(front.provider, response_mode="form_post"))
    browser = front.browser()
    begun = await front.begin(browser)
    assert asked(begun)["response_mode"] == "form_post"
    sent = asked(begun)
    form = {
        "state": sent["state"],
        "code": front.op.code(redirect_uri=sent["redirect_uri"], nonce=sent["nonce"]),
        "user": '{"name":{"firstName":"<b>"}}',
    }
    answer = await browser.post(sent["redirect_uri"], form, with_cookies=False)
    assert answer.status == 303
    assert answer.headers["Location"].startswith(f"{sent['redirect_uri']}?")
    assert set(asked(answer)) == {"state", "code"}
    assert answer.headers["Cache-Control"] == "no-store"
    assert told(await browser.get(answer.headers["Location"]))["code"]


async def test_form_is_taken_only_where_it_was_asked_for(front: Desk) -> None:
    browser = front.browser()
    link = await front.sent_back(await front.begin(browser))
    address, _, query = link.partition("?")
    assert refused_page(await browser.post(address, dict(parse_qsl(query))))
    assert refused_page(await browser.post(address.replace("house", "nobody"), {"state": "x"}))


# A real provider


@pytest.mark.parametrize("response_mode", ["query", "form_post"])
async def test_certified_provider_is_understood(
    front: Desk, identity_provider: IdentityProvider, response_mode: ResponseMode
) -> None:
    """npm's oidc-provider, which its makers have certified."""
    await put_company(front, identity_provider, response_mode)
    browser = front.browser()
    way_back = await identity_provider.log_in(
        (await front.begin(browser, provider="company")).headers["Location"]
    )
    assert way_back.says["iss"] == identity_provider.issuer
    if way_back.form is None:
        answer = await browser.get(way_back.url)
    else:
        there = await browser.post(way_back.url, way_back.form, with_cookies=False)
        answer = await browser.get(there.headers["Location"])
    tokens = await front.exchange(told(answer)["code"])
    assert tokens.json["claims"]["sub"] == "ada@example.com"
    assert tokens.json["claims"]["name"] == "Ada Lovelace"


async def test_who_cancels_at_the_certified_provider_is_told_so(
    front: Desk, identity_provider: IdentityProvider
) -> None:
    await put_company(front, identity_provider, "query")
    browser = front.browser()
    begun = await front.begin(browser, provider="company")
    way_back = await identity_provider.cancel(begun.headers["Location"])
    assert "access_denied" in told(await browser.get(way_back.url))["error"]


# What is left behind


async def test_nothing_of_a_sign_in_is_lost_with_the_process(served_url: str, tmp_path: Path) -> None:
    """Neither a browser that is at the provider, nor a code that was given out."""
    settings = at_https(tmp_path) | {"trusted_proxies": "127.0.0.1"}
    async with hostile_provider() as op:
        async with desk_with(served_url, op, **at_https(tmp_path)) as desk:
            code = (await desk.returned())["code"]
            browser = desk.browser()
            link = await desk.sent_back(await desk.begin(browser))
        async with serving(served_url, **settings) as again:
            after = Desk(again, desk.app, op, desk.provider)
            returning = after.browser()
            returning.cookies = browser.cookies
            assert told(await returning.get(link))["code"]
            assert (await after.exchange(code)).json["claims"]["sub"] == "ada@example.com"


async def test_logs_say_what_happened_and_no_secret(front: Desk, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), capture_logs() as lines:
        browser = front.browser()
        begun = await front.begin(browser)
        sealed = next(iter(browser.cookies.values()))
        callback = await front.sent_back(begun)
        said = told(await browser.get(callback))
        await front.exchange("x" * 43)
        answer = await front.exchange(said["code"], origin="https://evil.example")
        answer = await front.exchange(said["code"])
    statuses = [line["status"] for line in lines if line["event"] == "request"]
    assert [(type(status), status) for status in statuses[:2]] == [(int, 302), (int, 302)]
    events = [line["event"] for line in lines]
    for event in ("sso.begun", "sso.returned", "sso.code_refused", "sso.signed_in"):
        assert event in events
    faults = [line["fault"] for line in lines if line["event"] == "sso.code_refused"]
    assert faults == ["unknown", "other_origin"]
    written = str(lines) + caplog.text
    secrets = {
        **asked(begun),
        **said,
        **front.op.forms[0],
        "sealed": sealed,
        "access": answer.json["accessToken"],
        "page": PAGE,
    }
    for name in (
        "state",
        "nonce",
        "code_challenge",
        "code",
        "code_verifier",
        "sealed",
        "access",
        "page",
    ):
        assert secrets[name] not in written, name
    assert "ada@example.com" not in written
    assert "ada-at-provider" not in written


async def put_company(desk: Desk, provider: IdentityProvider, response_mode: ResponseMode) -> None:
    """Registers the app there, and the provider here."""
    callback = f"{desk.served.gateway.settings.public_url}/notes/oauth/callback/company"
    client = provider.register(callback)
    company = Provider(
        name="company",
        type="oidc",
        display_name="Company",
        issuer=provider.issuer,
        client_id=client.client_id,
        client_secret=client.client_secret,
        scopes=("openid", "email", "profile"),
        response_mode=response_mode,
        trusted_domains=("example.com",),
    )
    await desk.put(company)
