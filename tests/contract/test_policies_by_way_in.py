"""Each way in can have a rule of its own: set, shown, imagined, taken away, and it is the one that holds."""

import asyncio
from functools import partial
from typing import Any

import pytest
from aiohttp import web

from admit.accounts import identities, users
from admit.accounts.apps import App
from admit.events.catalog import SignIn
from admit.storage.transaction import Transaction
from tests.contract.served import Answered, Served
from tests.contract.test_admin_api import operator_token
from tests.contract.test_devices_at_the_door import vouched
from tests.contract.token_desk import signed_in

ADA = "ada@example.com"
GOOGLE = {"name": "google", "type": "google", "client_id": "us", "client_secret": "s"}
HOUSE = {"name": "house", "type": "oidc", "client_id": "us", "issuer": "https://id.example.com"}
EVERYBODY = {"kind": "prod"}
NOBODY = {"kind": "reject"}


async def api(
    served: Served, method: str, path: str, body: object = None, token: str | None = None
) -> Answered:
    headers = served.command() if token is None else {"Authorization": f"Bearer {token}"}
    return await served.ask(method, f"/api/apps/notes{path}", headers=headers, json=body)


async def done(served: Served, method: str, path: str, body: object = None) -> Any:
    answer = await api(served, method, path, body)
    assert answer.status == 200, answer.body
    return answer.json


async def imagined(served: Served, **body: object) -> dict[str, Any]:
    found: dict[str, Any] = await done(served, "POST", "/policy/simulation", body)
    return found


@pytest.fixture
async def app(served: Served) -> App:
    """An app where people can sign in with Google and with a house of its own."""
    await served.app()
    for provider in (GOOGLE, HOUSE):
        await done(served, "POST", "/providers", provider)
        served.hands.move(seconds=1)
    return await served.gateway.directory.app("notes")


async def test_a_way_in_has_the_rule_of_the_app_until_it_has_its_own(served: Served, app: App) -> None:
    before = await done(served, "GET", "/policy?for=google")
    assert (before["policy"]["kind"], before["way_in"], before["own"]) == ("eval", "google", False)
    put = await done(served, "PUT", "/policy?for=google", EVERYBODY)
    assert (put["policy"]["kind"], put["own"], put["version"]) == ("prod", True, 2)
    assert await done(served, "GET", "/policy?for=google") == put
    whole = await done(served, "GET", "/policy")
    assert (whole["policy"]["kind"], whole["way_in"], whole["own"]) == ("eval", "", True)
    assert {way: policy["kind"] for way, policy in whole["policies"].items()} == {"google": "prod"}
    assert (await done(served, "GET", ""))["policies"] == whole["policies"]
    await done(served, "PUT", "/policy", NOBODY)
    assert (await done(served, "GET", "/policy?for=google"))["policy"]["kind"] == "prod"
    assert (await done(served, "GET", "/policy?for=house"))["policy"]["kind"] == "reject"
    back = await done(served, "DELETE", "/policy?for=google")
    assert (back["policy"]["kind"], back["own"], back["policies"]) == ("reject", False, {})


async def test_no_way_at_all_is_not_every_way(served: Served, app: App) -> None:
    """Such as from a script whose variable is empty: the rule of the whole app must not change."""
    for path in ("/policy", "/seats"):
        assert (await api(served, "GET", f"{path}?for=")).status == 400
    assert (await api(served, "PUT", "/policy?for=", EVERYBODY)).status == 400
    assert (await api(served, "PUT", "/seats?for=", {"limit": 0})).status == 400
    assert (await done(served, "GET", "/policy"))["version"] == 1
    assert (await done(served, "GET", "/seats"))["limit"] is None


async def test_the_version_stays_where_nothing_changes(served: Served, app: App) -> None:
    for version in (2, 2):
        assert (await done(served, "PUT", "/policy?for=house", NOBODY))["version"] == version


@pytest.mark.parametrize(
    "way", ["gogle", "email", "sso", "token_exchange", "demo", "api", "import", "Google"]
)
async def test_what_is_no_way_in_is_refused_with_those_there_are(served: Served, app: App, way: str) -> None:
    for method, body in (("GET", None), ("PUT", EVERYBODY), ("DELETE", None)):
        answer = await api(served, method, f"/policy?for={way}", body)
        assert answer.status == 400
        assert answer.json["message"] == (
            f"{way!r} is no way into notes. "
            "Those there are: email_code, client_credentials, google and house."
        )
    simulated = await api(served, "POST", "/policy/simulation", {"email": ADA, "way_in": way})
    assert simulated.status == 400
    assert (await done(served, "GET", "/policy"))["policies"] == {}


async def test_a_rule_that_is_not_there_cannot_be_taken_away(served: Served, app: App) -> None:
    assert (await api(served, "DELETE", "/policy?for=google")).status == 404
    assert (await api(served, "DELETE", "/policy")).status == 400
    assert (await done(served, "GET", "/policy"))["policy"]["kind"] == "eval"


@pytest.mark.parametrize(
    "policy",
    [
        {"kind": "webhook", "url": "https://10.0.0.1/x"},
        {"kind": "webhook"},
        {"kind": "domains", "domains": ["gmail.com"]},
        {"kind": "eval", "payload": "full"},
        {"kind": "everyone"},
    ],
)
async def test_its_own_rule_keeps_the_same_rules(served: Served, app: App, policy: dict[str, Any]) -> None:
    assert (await api(served, "PUT", "/policy?for=google", policy)).status == 400
    assert (await done(served, "GET", "/policy"))["policies"] == {}


async def test_operators_need_the_scope(served: Served, app: App) -> None:
    reader = await operator_token(served, "apps:read")
    assert (await api(served, "GET", "/policy?for=google", token=reader)).status == 200
    assert (await api(served, "PUT", "/policy?for=google", EVERYBODY, token=reader)).status == 403
    assert (await api(served, "DELETE", "/policy?for=google", token=reader)).status == 403
    shown = await api(served, "GET", "/policy?for=google&secret=true", token=reader)
    assert shown.json["hook_secret"] is None


async def test_who_comes_another_way_is_under_another_rule(served: Served, app: App) -> None:
    client = await served.client(app)
    await done(served, "PUT", "/policy?for=email_code", NOBODY)
    await done(served, "PUT", "/policy?for=client_credentials", EVERYBODY)
    by_code = await signed_in(served, "grace@example.com")
    assert (by_code.status, by_code.json["code"]) == (403, "USER_NOT_REGISTERED")
    by_client = await vouched(served, client, sub="grace@example.com")
    assert (by_client.status, by_client.json["userType"]) == (200, "prod")
    await done(served, "DELETE", "/policy?for=email_code")
    assert (await signed_in(served, "alan@example.com")).json["userType"] == "eval"


async def test_rules_of_two_ways_that_are_set_at_once_both_hold(served: Served, app: App) -> None:
    ways = ["email_code", "client_credentials", "google", "house"]
    answers = await asyncio.gather(
        *(api(served, "PUT", f"/policy?for={way}", EVERYBODY) for way in ways * 3),
        *(api(served, "PUT", "/policy", NOBODY) for _ in range(3)),
    )
    assert {answer.status for answer in answers} == {200}
    found = await done(served, "GET", "/policy")
    assert (sorted(found["policies"]), found["policy"]["kind"]) == (sorted(ways), "reject")


async def test_no_rule_outlives_its_provider(served: Served, app: App) -> None:
    """Otherwise it would hold for the next provider of that name."""
    for _ in range(10):
        answers = await asyncio.gather(
            api(served, "PUT", "/policy?for=house", EVERYBODY),
            api(served, "DELETE", "/providers/house"),
            api(served, "PUT", "/policy?for=house", NOBODY),
        )
        assert answers[1].status == 204
        assert {answers[0].status, answers[2].status} <= {200, 400, 404}
        assert (await done(served, "GET", "/policy"))["policies"] == {}
        await done(served, "POST", "/providers", HOUSE)


# Imagining


async def test_a_provider_is_believed_about_what_it_is_trusted_for(served: Served, app: App) -> None:
    await done(served, "PUT", "/policy?for=google", EVERYBODY)
    in_gmail = await imagined(served, email="Ada@gmail.com", way_in="google")
    assert (in_gmail["outcome"], in_gmail["type"], in_gmail["user_id"]) == ("admit", "prod", "ada@gmail.com")
    elsewhere = await imagined(served, email=ADA, way_in="google")
    assert (elsewhere["outcome"], elsewhere["code"]) == ("refuse", "EMAIL_NOT_TRUSTED")
    assert "Google" in elsewhere["message"]
    at_work = await imagined(served, email=ADA, way_in="google", claims={"hd": "example.com"})
    assert (at_work["outcome"], at_work["user_id"]) == ("admit", ADA)
    unproven = await imagined(served, email="ada@gmail.com", way_in="google", email_verified=False)
    assert unproven["code"] == "EMAIL_NOT_VERIFIED"
    assert (await imagined(served, way_in="google"))["code"] == "EMAIL_MISSING"
    assert (await imagined(served, email=ADA))["type"] == "eval"


async def test_an_email_is_imagined_wherever_the_provider_tells_it(served: Served, app: App) -> None:
    mapping = {"email": "mail", "email_verified": "xms_edov"}
    change = {"claims": mapping, "trusted_domains": ["*"]}
    await done(served, "PUT", "/providers/house", change)
    assert (await imagined(served, email=ADA, way_in="house"))["user_id"] == ADA


async def test_a_person_who_is_known_by_the_provider_is_known(served: Served, app: App) -> None:
    await served.write(app, {"userId": ADA, "type": "prod"})
    key = app.app_id, ADA

    def link(tx: Transaction) -> None:
        user = users.by_user_id(tx, [key])[key]
        identity = app.app_id, HOUSE["issuer"], "ada-at-house"
        sign_in = SignIn(method="sso", provider="house")
        assert identities.link(tx, [(identity, user, sign_in)], served.hands()) == [True]

    await served.gateway.db.write(link)
    await done(served, "PUT", "/policy", NOBODY)
    known = await imagined(served, way_in="house", subject="ada-at-house", email="new@example.org")
    assert (known["known"], known["outcome"], known["user_id"]) == (True, "admit", ADA)
    other = await imagined(served, way_in="house", subject="bob-at-house", email="new@example.org")
    assert (other["known"], other["code"]) == (False, "EMAIL_NOT_TRUSTED")
    await served.write(app, {"userId": ADA, "deactivated": True})
    barred = await imagined(served, way_in="house", subject="ada-at-house")
    assert (barred["outcome"], barred["code"]) == ("refuse", "USER_DEACTIVATED")


async def test_people_who_are_known_by_the_provider_alone_need_no_email(served: Served, app: App) -> None:
    await done(served, "PUT", "/providers/house", {"person": "subject"})
    one = await imagined(served, way_in="house", subject="1")
    other = await imagined(served, way_in="house", subject="2")
    assert one["outcome"] == other["outcome"] == "admit"
    assert one["user_id"].startswith("idp-")
    assert one["user_id"] != other["user_id"]


async def test_seats_of_the_way_are_counted(served: Served, app: App) -> None:
    await done(served, "PUT", "/policy", EVERYBODY)
    await done(served, "PUT", "/seats?for=google", {"limit": 0})
    full = await imagined(served, email="ada@gmail.com", way_in="google")
    assert (full["outcome"], full["code"]) == ("refuse", "NO_SEATS_AVAILABLE")
    assert (await imagined(served, email="ada@gmail.com"))["type"] == "prod"


async def test_what_a_web_hook_would_be_told_is_shown(served: Served, app: App) -> None:
    await done(served, "PUT", "/providers/google", {"claims": {"groups": "groups"}})
    hook = {"kind": "webhook", "url": "https://hooks.example.com/x", "payload": "full"}
    await done(served, "PUT", "/policy?for=google", hook)
    asked = await imagined(
        served, email="ada@gmail.com", way_in="google", claims={"groups": ["staff"], "name": "Ada", "x": 1}
    )
    assert (asked["outcome"], asked["payload"]) == ("ask", "full")
    told = asked["told"]
    assert (told["userId"], told["email"], told["emailVerified"]) == ("ada@gmail.com", "ada@gmail.com", True)
    assert told["signIn"] == {"method": "sso", "provider": "google", "intent": ""}
    assert (told["claims"], told["name"], told["device"]) == ({"groups": ["staff"]}, "Ada", None)
    tried = await imagined(
        served, email="ada@gmail.com", way_in="google", policy=hook | {"payload": "contract"}
    )
    assert tried["told"] == {"userId": "ada@gmail.com", "email": "ada@gmail.com"}


@pytest.mark.parametrize(
    "body",
    [
        {"email": ADA, "claims": {"hd": "example.com"}},
        {"email": ADA, "subject": "1"},
        {"way_in": "google", "user_id": "ada"},
        {"way_in": "google", "subject": "a" * 256},
        {"way_in": "google", "email": "no address"},
        {"way_in": "client_credentials"},
    ],
)
async def test_what_cannot_be_imagined_is_said(served: Served, app: App, body: dict[str, Any]) -> None:
    assert (await api(served, "POST", "/policy/simulation", body)).status == 400


async def test_a_web_hook_of_one_way_is_told_what_was_chosen_for_it(served: Served, app: App) -> None:
    """Of the two payloads, each way in gets the one of its own rule."""
    bodies: list[dict[str, Any]] = []

    async def decide(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        return web.json_response({"ok": True, "action": "prod"})

    hook = web.Application()
    hook.router.add_post("/decide", decide)
    runner = web.AppRunner(hook)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        policy = {"kind": "webhook", "url": f"http://127.0.0.1:{runner.addresses[0][1]}/decide"}
        await done(served, "PUT", "/policy", policy)
        await done(served, "PUT", "/policy?for=client_credentials", policy | {"payload": "full"})
        client = await served.client(app)
        assert (await signed_in(served, ADA)).status == 200
        assert (await vouched(served, client, sub="grace@example.com")).status == 200
    finally:
        await runner.cleanup()
    assert bodies[0] == {"userId": ADA, "email": ADA}
    assert bodies[1]["signIn"]["method"] == "client_credentials"


async def test_settings_of_sign_in_are_switched(served: Served, app: App) -> None:
    change = {"mailed_codes": False, "sso_any_network": True}
    settings = (await done(served, "POST", "/settings", change))["settings"]
    assert change.items() <= settings.items()
    assert change.items() <= (await done(served, "GET", ""))["settings"].items()
    assert (await api(served, "POST", "/settings", {"mailed_codes": "off"})).status == 400
    known = partial(served.gateway.directory.app, "notes")
    assert not (await known()).settings.mailed_codes
