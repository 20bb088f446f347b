"""The code that a page carries back: good once, for a minute, where it was given, for one key."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import func, select, update

from admit.accounts import policies
from admit.accounts.app_settings import PolicySetting
from admit.accounts.apps import App
from admit.accounts.tables import sessions
from admit.signin import sign_in_codes
from admit.signin.sign_in_codes import Completed, SignInCode, SpendCode
from admit.signin.sso_attempts import challenge_of
from admit.signin.sso_codes import Presented, Taken
from admit.signin.tables import sign_in_codes as codes_table
from tests.contract.served import ORIGIN, Answered
from tests.contract.signin_desk import device
from tests.contract.sso_desk import ELSEWHERE, HOME, PAGE, Desk, sso_desk, without
from tests.contract.token_desk import events_of, refreshed, signed_refresh
from tests.receiver import PROD, always, receiving

MINUTE = 60
APP_SCHEME = "myapp://signed-in"
WEB_VIEW = "capacitor://localhost"
VERIFIER = "v" * 43


@pytest.fixture
async def desk(served_url: str) -> AsyncIterator[Desk]:
    async with sso_desk(served_url) as made:
        yield made


async def test_code_becomes_tokens_and_one_enrollment(desk: Desk) -> None:
    answer = await desk.exchange((await desk.returned())["code"])
    assert answer.status == 200
    assert answer.json["type"] == "tokens"
    assert answer.json["claims"]["sub"] == "ada@example.com"
    assert answer.json["claims"]["name"] == "Ada Example"
    assert answer.json["refreshToken"]
    events = await events_of(desk.served, desk.app.app_id)
    assert [kind for kind, _ in events] == ["user.enrolled", "device.enrolled", "session.started"]
    sign_in = events[0][1]["sign_in"]
    assert (sign_in["method"], sign_in["provider"]) == ("sso", "house")


async def test_device_of_the_request_is_the_devices_name(desk: Desk) -> None:
    code = (await desk.returned())["code"]
    await desk.exchange(code, device={"id": "d-1", "label": "Ada's phone"})
    events = dict(await events_of(desk.served, desk.app.app_id))
    assert events["device.enrolled"]["device"]["identifier"] == "d-1"


# Once


async def test_same_key_may_repeat_a_code_whose_answer_was_lost(desk: Desk) -> None:
    code = (await desk.returned())["code"]
    first = await desk.exchange(code)
    again = await desk.exchange(code)
    assert session_of(first) == session_of(again)
    desk.served.hands.move(seconds=MINUTE + 1)
    assert_over(await desk.exchange(code))
    assert (
        await refreshed(desk.served, signed_refresh(desk.served, first.json["refreshToken"]))
    ).status == 200


async def test_second_use_by_another_key_ends_what_came_of_the_first(desk: Desk) -> None:
    """RFC 6749 §4.1.2: somebody has the code who should not have it."""
    code = (await desk.returned())["code"]
    first = await desk.exchange(code)
    assert_over(await desk.exchange(code, by=device(2), origin="https://evil.example", address=ELSEWHERE))
    assert await states_of(desk) == [("LOCKED", "reauthenticate")]
    renewal = await refreshed(desk.served, signed_refresh(desk.served, first.json["refreshToken"]))
    assert renewal.status == 401
    assert_over(await desk.exchange(code))  # the first is not let in again by it either
    bearer = {"Authorization": f"Bearer {first.json['accessToken']}", "Origin": ORIGIN}
    assert (await desk.served.ask("GET", "/notes/token/validate", headers=bearer)).status == 401


async def test_code_used_twice_locks_its_session_once(desk: Desk) -> None:
    """Somebody who has the code could otherwise throw its person out for as long as it is remembered."""
    code = (await desk.returned())["code"]
    await desk.exchange(code)
    assert_over(await desk.exchange(code, by=device(2), origin="https://evil.example", address=ELSEWHERE))
    assert await states_of(desk) == [("LOCKED", "reauthenticate")]
    anew = await desk.exchange((await desk.returned())["code"])
    assert await states_of(desk) == [("ENROLLED", "")]
    for number in (2, 3, 1):
        desk.served.hands.move(seconds=MINUTE)
        assert_over(await desk.exchange(code, by=device(number), address=ELSEWHERE))
    assert await states_of(desk) == [("ENROLLED", "")]
    again = await refreshed(desk.served, signed_refresh(desk.served, anew.json["refreshToken"]))
    assert again.status == 200


async def test_second_use_while_the_first_login_is_decided_lets_nobody_in(desk: Desk) -> None:
    """Whoever was first may be the thief: no session comes of the code, and no tokens."""
    async with receiving(always(**PROD), held=True) as hook:
        policy = PolicySetting(kind="webhook", url=hook.url)
        await desk.served.gateway.db.write(
            lambda tx: policies.set_policy(tx, desk.app.app_id, policy, desk.served.hands())
        )
        code = (await desk.returned())["code"]
        first = asyncio.create_task(desk.exchange(code, by=device(2), address=HOME))
        await hook.arrived.wait()
        assert_over(await desk.exchange(code))
        hook.gate.set()
        assert_over(await first)
    assert_over(await desk.exchange(code))
    assert await states_of(desk) == []
    assert [kind for kind, _ in await events_of(desk.served, desk.app.app_id)] == ["user.enrolled"]
    assert (await desk.exchange((await desk.returned())["code"])).status == 200
    assert await states_of(desk) == [("ENROLLED", "")]


async def test_key_that_was_slower_by_a_moment_is_a_second_use(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has found the code unspent, and another key's login has come of it since."""
    code = (await desk.returned())["code"]
    codes = desk.served.gateway.sso_codes
    take, digests, mine = codes.take, set(), device().public_key.thumbprint

    async def slower(app: App, presented: Presented) -> Taken:
        taken = await take(app, presented)
        digests.add(taken.code_digest)
        if presented.thumbprint != mine:
            assert (await desk.exchange(code)).status == 200
            assert await codes.end_if_reused(app.app_id, taken.code_digest, mine) is False  # its own
            assert await states_of(desk) == [("ENROLLED", "")]
        return taken

    monkeypatch.setattr(codes, "take", slower)
    assert_over(await desk.exchange(code, by=device(2)))
    assert await states_of(desk) == [("LOCKED", "reauthenticate")]
    [digest] = digests
    third = device(3).public_key.thumbprint
    assert await codes.end_if_reused(desk.app.app_id, digest, third) is False  # it was ended already


async def test_code_that_a_key_has_spent_is_good_for_that_key(desk: Desk) -> None:
    """The process died between spend and completion: the same key goes on."""
    code = (await desk.returned())["code"]
    await desk.served.gateway.db.write(
        lambda tx: tx.execute(spent_by(device().public_key.thumbprint)) and None
    )
    assert (await desk.exchange(code)).status == 200


async def test_code_that_a_key_has_spent_is_nobody_elses(desk: Desk) -> None:
    code = (await desk.returned())["code"]
    await desk.served.gateway.db.write(
        lambda tx: tx.execute(spent_by(device().public_key.thumbprint)) and None
    )
    assert_over(await desk.exchange(code, by=device(2)))
    assert_over(await desk.exchange(code))
    assert await events_of(desk.served, desk.app.app_id) == []


async def test_fifty_exchanges_of_one_code_are_one_enrollment(desk: Desk) -> None:
    code = (await desk.returned())["code"]
    answers = await asyncio.gather(*(desk.exchange(code) for _ in range(50)))
    assert {answer.status for answer in answers} == {200}
    assert len({session_of(answer) for answer in answers}) == 1
    kinds = [kind for kind, _ in await events_of(desk.served, desk.app.app_id)]
    assert kinds == ["user.enrolled", "device.enrolled", "session.started"]


async def test_of_five_keys_at_once_none_stays_in(desk: Desk) -> None:
    code = (await desk.returned())["code"]
    answers = await asyncio.gather(*(desk.exchange(code, by=device(n)) for n in range(1, 6) for _ in (1, 2)))
    let_in = [answer for answer in answers if answer.status == 200]
    assert len(let_in) <= 2
    assert len({session_of(answer) for answer in let_in}) <= 1
    assert {answer.status for answer in answers} <= {200, 403}
    assert ("ENROLLED", "") not in await states_of(desk)


async def test_code_is_good_for_a_minute(desk: Desk) -> None:
    code = (await desk.returned())["code"]
    desk.served.hands.move(seconds=MINUTE + 1)
    assert_over(await desk.exchange(code))
    assert await events_of(desk.served, desk.app.app_id) == []


async def test_code_of_nowhere_is_refused_like_one_that_is_over(desk: Desk) -> None:
    for code in (secrets.token_urlsafe(32), "", "x", "é" * 43, "a" * 5_000):
        assert_over(await desk.exchange(code))


async def test_code_of_another_app_is_refused(desk: Desk) -> None:
    plans = await desk.served.app("plans")
    await desk.put(desk.provider, plans)
    code = (await desk.returned())["code"]
    body = {"grant_type": "authorization_code", "code": code, "public_key": device().public_key.pem}
    answer = await desk.served.ask(
        "POST", "/plans/token", json=body, headers={"Origin": ORIGIN, "X-Forwarded-For": HOME}
    )
    assert_over(answer)


async def test_code_needs_a_key(desk: Desk) -> None:
    answer = await desk.exchange((await desk.returned())["code"], public_key=None)
    assert (answer.status, answer.json["error"]) == (400, "invalid_request")


# Where it was given


async def test_stolen_code_is_worth_nothing_at_another_page(desk: Desk) -> None:
    code = (await desk.returned())["code"]
    for origin in ("https://evil.example", "null", f"{ORIGIN}:8443", f"{ORIGIN}.evil.example", None):
        assert_over(await desk.exchange(code, by=device(2), origin=origin))
    assert (await desk.exchange(code)).status == 200


async def test_code_is_worth_nothing_at_another_page_of_the_app(served_url: str) -> None:
    async with sso_desk(served_url, origins=(ORIGIN, "https://admin.example.com")) as desk:
        code = (await desk.returned())["code"]
        assert_over(await desk.exchange(code, origin="https://admin.example.com"))


async def test_code_is_worth_nothing_in_another_network(desk: Desk) -> None:
    """Login CSRF: the victim's page is led to with the attacker's own code, and would sign in as them."""
    of_attacker = (await desk.returned(desk.browser(ELSEWHERE)))["code"]
    answer = await desk.exchange(of_attacker, address=HOME)
    assert_over(answer)
    assert "another network" in answer.json["message"]
    assert (await desk.exchange(of_attacker, address=ELSEWHERE)).status == 200


async def test_network_is_the_one_of_a_household(desk: Desk) -> None:
    """Of IPv6 a client chooses the last 64 bits itself."""
    browser = desk.browser("2001:db8:1:2::5")
    code = (await desk.returned(browser))["code"]
    assert_over(await desk.exchange(code, address="2001:db8:1:3::5"))
    assert (await desk.exchange(code, address="2001:db8:1:2:ffff::6")).status == 200


async def test_app_may_let_people_change_networks(desk: Desk) -> None:
    await desk.change(sso_any_network=True)
    code = (await desk.returned())["code"]
    assert (await desk.exchange(code, address=ELSEWHERE)).status == 200


@pytest.mark.parametrize("origin", [None, APP_SCHEME, WEB_VIEW, "https://evil.example", "null"])
async def test_app_behind_a_custom_scheme_tells_no_origin_or_one_of_its_own(
    served_sqlite_url: str, origin: str | None
) -> None:
    async with sso_desk(served_sqlite_url, origins=(APP_SCHEME, WEB_VIEW)) as desk:
        code = (await desk.returned(page=f"{APP_SCHEME}/start"))["code"]
        answer = await desk.exchange(code, origin=origin)
        if origin in (None, APP_SCHEME, WEB_VIEW):
            assert answer.status == 200
        else:
            assert_over(answer)


# PKCE of the client


@pytest.mark.parametrize("verifier", [None, "", "w" * 43, challenge_of(VERIFIER), VERIFIER[:-1], "é" * 43])
async def test_client_with_a_challenge_must_have_its_verifier(
    served_sqlite_url: str, verifier: str | None
) -> None:
    async with sso_desk(served_sqlite_url) as desk:
        code = (await desk.returned(code_challenge=challenge_of(VERIFIER), code_challenge_method="S256"))[
            "code"
        ]
        assert_over(await desk.exchange(code, code_verifier=verifier))
        assert (await desk.exchange(code, code_verifier=VERIFIER)).status == 200


async def test_verifier_without_a_challenge_betrays_that_it_was_cut_off(desk: Desk) -> None:
    """RFC 9700 §2.1.1: the PKCE downgrade."""
    code = (await desk.returned())["code"]
    assert_over(await desk.exchange(code, code_verifier=VERIFIER))


# What changes meanwhile


async def test_provider_that_was_changed_or_removed_vouches_for_nobody(desk: Desk) -> None:
    code = (await desk.returned())["code"]
    await desk.put(without(desk.provider, trusted_domains=()))
    assert_over(await desk.exchange(code))
    await desk.remove()
    assert_over(await desk.exchange(code))
    await desk.put(desk.provider)
    assert (await desk.exchange(code)).status == 200


async def test_changed_row_of_the_database_opens_nothing(desk: Desk) -> None:
    """What a provider has said is sealed to its code: nobody with a pen in the database is somebody else."""
    code = (await desk.returned())["code"]
    desk.op.person["email"], desk.op.person["sub"] = "eve@example.com", "eve"
    await desk.returned()
    sealed = select(codes_table.c.sealed).order_by(codes_table.c.created_at)
    rows = await desk.served.gateway.db.read(lambda tx: tx.execute(sealed).scalars().all())
    assert "ada@example.com" not in str(rows)
    await desk.served.gateway.db.write(
        lambda tx: tx.execute(update(codes_table).values(sealed=rows[-1])) and None
    )
    answers = [await desk.exchange(code)]
    assert {answer.status for answer in answers} == {403}


# What people read


async def test_refusal_is_one_for_the_addon_and_for_oauth(desk: Desk) -> None:
    answer = await desk.exchange("x" * 43)
    sentence = "This sign-in has expired or was used already. Begin again."
    assert answer.status == 403
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.json == {
        "error": "invalid_grant",
        "error_description": sentence,
        "code": "SIGN_IN_EXPIRED",
        "message": sentence,
    }


async def test_email_that_nobody_vouches_for_is_refused_with_its_reason(desk: Desk) -> None:
    for claims, code in (
        ({"email_verified": False}, "EMAIL_NOT_VERIFIED"),
        ({"email": "ada@elsewhere.example"}, "EMAIL_NOT_TRUSTED"),
    ):
        desk.op.changes = dict(claims)
        answer = await desk.exchange((await desk.returned())["code"])
        assert (answer.status, answer.json["code"]) == (403, code)
    assert await events_of(desk.served, desk.app.app_id) == []


async def test_address_that_only_unicode_makes_another_s_leads_to_nobody(desk: Desk) -> None:
    """The provider keeps them apart, and has verified the one with a soft hyphen."""
    assert (await desk.exchange((await desk.returned())["code"])).status == 200
    desk.op.person |= {"sub": "eve-at-provider", "email": "ada@exa\u00admple.com"}
    answer = await desk.exchange((await desk.returned())["code"], by=device(2))
    assert (answer.status, answer.json["code"]) == (403, "EMAIL_MISSING")


async def test_intent_login_enrolls_nobody(desk: Desk) -> None:
    answer = await desk.exchange((await desk.returned())["code"], intent="login")
    assert (answer.status, answer.json["code"]) == (403, "USER_NOT_REGISTERED")


async def test_code_gives_no_more_than_a_person_has(desk: Desk) -> None:
    answer = await desk.exchange((await desk.returned())["code"], scopes=["ACCESS_DB", "GLOBAL_WRITE"])
    assert (answer.status, answer.json["code"]) == (403, "insufficient_scope")


async def test_code_may_be_redeemed_by_a_form(desk: Desk) -> None:
    """RFC 6749 §4.1.3, as every OAuth client sends it."""
    form = {
        "grant_type": "authorization_code",
        "code": (await desk.returned())["code"],
        "public_key": device().public_key.pem,
        "redirect_uri": PAGE,
        "client_id": "",
        "scope": "ACCESS_DB",
    }
    headers = {"Origin": ORIGIN, "X-Forwarded-For": HOME, "Content-Type": "application/x-www-form-urlencoded"}
    answer = await desk.served.ask("POST", "/notes/token", data=urlencode(form).encode(), headers=headers)
    assert answer.status == 200, answer.body
    assert answer.json["access_token"] == answer.json["accessToken"]
    assert (answer.json["token_type"], answer.json["scope"]) == ("Bearer", "ACCESS_DB")


async def test_other_grants_are_asked_for_in_json(desk: Desk) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    body = urlencode({"grant_type": "otp", "email": "ada@example.com"}).encode()
    answer = await desk.served.ask("POST", "/notes/token", data=body, headers=headers)
    assert (answer.status, answer.json["error"]) == (400, "invalid_request")


async def test_sign_ins_count_against_the_limit_of_their_person(desk: Desk) -> None:
    desk.op.changes = {"email_verified": False}  # nobody who could be told apart by a userId
    code = (await desk.returned())["code"]
    statuses = [(await desk.exchange(code)).status for _ in range(101)]
    assert set(statuses[:100]) == {403}
    assert statuses[100] == 429


# The units


async def test_spend_and_complete_serve_many_at_once(desk: Desk) -> None:
    db, now = desk.served.gateway.db, desk.served.hands()

    def row(digest: str, **changes: Any) -> SignInCode:
        fields: dict[str, Any] = {"provider": "house", "created_at": now, "expires_at": now + 60_000}
        return SignInCode(
            app_id="app_1",
            code_digest=digest,
            method="sso",
            sealed="",
            **fields | changes,
        )

    def use(digest: str, thumbprint: str, at: int = now) -> SpendCode:
        return SpendCode(app_id="app_1", code_digest=digest, thumbprint=thumbprint, now=at)

    for made in (row("a"), row("b"), row("c", expires_at=now), row("a", provider="later")):
        await db.write(partial(sign_in_codes.add, code=made))
    found = await db.read(lambda tx: sign_in_codes.find(tx, "app_1", ["none", "a"]))
    assert found is not None
    assert found.provider == "house"
    asked = [use("a", "k1"), use("a", "k2"), use("a", "k1"), use("b", "k2"), use("c", "k1"), use("d", "k1")]
    spend = partial(sign_in_codes.spend, items=asked)
    assert await db.write(spend) == [True, False, True, True, False, False]
    assert await db.write(spend) == [True, False, True, True, False, False]
    done = [
        Completed(app_id="app_1", code_digest="a", thumbprint="k1", session_id="ses_1", now=now),
        Completed(app_id="app_1", code_digest="b", thumbprint="k1", session_id="ses_2", now=now),
    ]
    await db.write(partial(sign_in_codes.complete, items=done))
    again = [Completed(app_id="app_1", code_digest="a", thumbprint="k1", session_id="ses_3", now=now + 1)]
    await db.write(partial(sign_in_codes.complete, items=again))
    kept = await db.read(lambda tx: [sign_in_codes.find(tx, "app_1", [each]) for each in ("a", "b")])
    assert [(each.session_id, each.completed_at) for each in kept if each] == [("ses_1", now), ("", None)]
    late = [use("a", "k1", now + 59_999), use("b", "k2", now + 119_999)]
    assert await db.write(partial(sign_in_codes.spend, items=late)) == [True, True]
    later = [use("a", "k1", now + 60_000), use("b", "k2", now + 120_000)]
    assert await db.write(partial(sign_in_codes.spend, items=later)) == [False, False]


async def test_codes_are_forgotten_an_hour_after_their_end(desk: Desk) -> None:
    await desk.returned()
    db, now = desk.served.gateway.db, desk.served.hands()
    count = select(func.count()).select_from(codes_table)

    async def left_at(at: int) -> int:
        await db.write(lambda tx: sign_in_codes.prune(tx, at, 10))
        return int(await db.read(lambda tx: tx.execute(count).scalar_one()))

    assert await left_at(now + 61 * MINUTE * 1_000 - 5_000) == 1
    assert await left_at(now + 61 * MINUTE * 1_000 + 5_000) == 0
    assert sign_in_codes.prune in desk.served.gateway._prunes


def assert_over(answer: Answered) -> None:
    """The refusal that the addon shows in its dialog, whatever was wrong with the code."""
    assert (answer.status, answer.json["code"]) == (403, "SIGN_IN_EXPIRED"), answer.body
    assert answer.json["error"] == "invalid_grant"


def session_of(answer: Answered) -> str:
    """The session that the tokens are of."""
    part = answer.json["accessToken"].split(".")[1]
    return base64.urlsafe_b64decode(part + "==").decode().split('"sid":"')[1].split('"')[0]


async def states_of(desk: Desk) -> list[tuple[str, str]]:
    """State and reason of every session."""
    chosen = select(sessions.c.state, sessions.c.reason).order_by(sessions.c.created_at)
    rows = await desk.served.gateway.db.read(lambda tx: tx.execute(chosen).all())
    return [(row.state, row.reason) for row in rows]


def spent_by(thumbprint: str) -> Any:
    return update(codes_table).values(spent_by=thumbprint)
