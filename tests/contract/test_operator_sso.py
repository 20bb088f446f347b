"""Operators who come by the provider that OPERATOR_SSO names: it vouches, and makes nobody an operator."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import aiohttp
import pytest
from msgspec.structs import replace
from yarl import URL

from tests.contract.operator_desk import OWNER, PASSWORD, Browser, invited, operators_of, owner
from tests.contract.sso_desk import Desk, sso_desk

BEGIN = "/manager/sso/begin?next=/manager/operators"


@pytest.fixture
async def desk(served_url: str) -> AsyncIterator[Desk]:
    """A server whose operators may come by the provider `house` of the app notes."""
    async with sso_desk(served_url, operator_sso="notes/house") as desk:
        await owner(desk.served)
        yield desk


async def back_from(browser: Browser) -> str:
    """Goes to the provider and says where that leads: to our callback."""
    begun = await browser.get(BEGIN)
    assert begun.status == 302, begun.body
    async with (
        aiohttp.ClientSession() as http,
        http.get(URL(begun.headers["Location"], encoded=True), allow_redirects=False) as back,
    ):
        parts = urlsplit(back.headers["Location"])
    assert parts.path == "/manager/sso/callback"
    return f"{parts.path}?{parts.query}"


def vouch(desk: Desk, email: str, *, verified: bool = True) -> None:
    """Has the provider say who is at it."""
    desk.op.person |= {"email": email, "email_verified": verified}


async def test_operator_is_let_in(desk: Desk) -> None:
    vouch(desk, OWNER)
    browser = Browser(desk.served)
    assert b"Sign in with" in (await browser.get("/manager/sign-in")).body
    answer = await browser.get(await back_from(browser))
    assert (answer.status, answer.headers["Location"]) == (303, "/manager/operators")
    assert await browser.is_signed_in()


@pytest.mark.parametrize(("email", "verified"), [("eve@example.com", True), (OWNER, False), ("", True)])
async def test_others_are_neither_let_in_nor_made_operators(desk: Desk, email: str, verified: bool) -> None:
    vouch(desk, email, verified=verified)
    browser = Browser(desk.served)
    assert (await browser.get(await back_from(browser))).status == 401
    assert not await browser.is_signed_in()
    assert [each["email"] for each in await operators_of(desk.served)] == [OWNER]


async def test_provider_that_is_not_trusted_for_the_domain_vouches_for_nobody(desk: Desk) -> None:
    await desk.put(replace(desk.provider, trusted_domains=("other.example",)))
    vouch(desk, OWNER)
    browser = Browser(desk.served)
    assert (await browser.get(await back_from(browser))).status == 401


async def test_invited_and_deactivated_operators_are_not_let_in(desk: Desk) -> None:
    await invited(desk.served, "bob@example.com", "owner")
    vouch(desk, "bob@example.com")
    browser = Browser(desk.served)
    assert (await browser.get(await back_from(browser))).status == 401


async def test_state_is_good_once_and_in_its_browser(desk: Desk) -> None:
    vouch(desk, OWNER)
    victim, thief = Browser(desk.served), Browser(desk.served)
    callback = await back_from(thief)
    await victim.get("/manager/sign-in")
    assert (await victim.get(callback)).status == 401, "nobody is signed in as the thief"
    late = await back_from(victim)
    desk.served.hands.move(seconds=301)
    assert (await victim.get(late)).status == 401
    again = await back_from(victim)
    assert (await victim.get(again)).status == 303
    assert (await victim.get(again)).status == 401


async def test_denial_and_nonsense_lead_to_the_sign_in_page(desk: Desk) -> None:
    browser = Browser(desk.served)
    callback = await back_from(browser)
    state = dict(URL(callback).query)["state"]
    for query in ("", "?state=x&code=y", f"?state={state}&error=access_denied"):
        answer = await browser.get(f"/manager/sso/callback{query}")
        assert answer.status == 401
        assert b"Sign in with the password" in answer.body


async def test_fresh_sign_in_asks_the_provider_to_ask(desk: Desk) -> None:
    browser = Browser(desk.served)
    await browser.sign_in()
    begun = await browser.get(BEGIN)
    assert URL(begun.headers["Location"]).query["prompt"] == "login"


async def test_only_owners_say_who_vouches(desk: Desk) -> None:
    """Whoever may change that provider could come in as an owner."""
    served = desk.served
    made = await served.ask(
        "POST", "/api/tokens", json={"scopes": ["apps:read", "apps:write"]}, headers=served.command()
    )
    admin = {"Authorization": f"Bearer {made.json['token']}"}
    other = await served.ask(
        "POST", "/api/apps", json={"name": "other", "owner": "a@example.com"}, headers=served.command()
    )
    assert other.status == 200
    provider = {"name": "house", "type": "oidc", "issuer": "https://evil.example", "client_id": "x"}
    for method, path, body in (
        ("PUT", "/api/apps/notes/providers/house", {"client_id": "mine"}),
        ("DELETE", "/api/apps/notes/providers/house", None),
        ("POST", "/api/apps/notes/providers", provider),
        ("PUT", "/api/apps/notes/name", {"name": "elsewhere"}),
        ("PUT", "/api/apps/other/name", {"name": "notes"}),
        ("DELETE", "/api/apps/notes/names?name=former", None),
    ):
        answer = await served.ask(method, path, json=body, headers=admin)
        assert (answer.status, answer.json["code"]) == (403, "insufficient_scope"), path
    assert (
        await served.ask("PUT", "/api/apps/other/name", json={"name": "free"}, headers=admin)
    ).status == 200


async def test_without_the_setting_nobody_comes_by_a_provider(served_url: str) -> None:
    async with sso_desk(served_url) as desk:
        await owner(desk.served)
        browser = Browser(desk.served)
        assert (await browser.get(BEGIN)).status == 404
        assert b"Sign in with house" not in (await browser.get("/manager/sign-in")).body
        assert (await browser.sign_in(OWNER, PASSWORD)).status == 303
