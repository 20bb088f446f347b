"""Attacks on how operators sign in: fixation, replay, races, forged forms, guessing, and reaching higher."""

import asyncio
import json
import re
from functools import partial

import pytest
from structlog.testing import capture_logs

from admit.errors import Conflict, TokenOver
from admit.operators import links, people
from admit.operators.passwords import Passwords
from admit.operators.people import Change
from admit.operators.tables import operator_links
from admit.storage.database import Database
from tests.contract.operator_desk import (
    OWNER,
    PASSWORD,
    Browser,
    first_link,
    invited,
    operators_of,
    owner,
)
from tests.contract.served import Served, serving

COOKIE = "admit-operator"


# Links


async def test_link_sets_up_once(served: Served) -> None:
    path = await first_link(served)
    assert (await Browser(served).set_up(path)).status == 303
    second = await Browser(served).set_up(path, email="mallory@example.com")
    assert second.status == 410
    assert b"admit operator link EMAIL" in second.body
    assert [each["email"] for each in await operators_of(served)] == [OWNER]


async def test_of_two_browsers_at_once_one_becomes_the_owner(served: Served) -> None:
    path = await first_link(served)
    browsers = [Browser(served) for _ in range(6)]
    for each in browsers:
        await each.get(path)
    answers = await asyncio.gather(
        *(
            each.post(path, {"name": "x", "email": f"x{place}@example.com", "password": PASSWORD})
            for place, each in enumerate(browsers)
        )
    )
    assert sorted(answer.status for answer in answers) == [303, 410, 410, 410, 410, 410]
    assert len(await operators_of(served)) == 1


async def test_sign_in_page_says_where_the_first_link_is_and_not_which(served: Served) -> None:
    path = await first_link(served)
    page = await Browser(served).get("/manager/sign-in")
    assert b"The server printed a link when it started" in page.body
    assert path.encode() not in page.body
    await Browser(served).set_up(path)
    assert b"The server printed a link" not in (await Browser(served).get("/manager/sign-in")).body


async def test_link_dies_after_a_day(served: Served) -> None:
    path = await first_link(served)
    served.hands.move(seconds=links.LIFE_MS / 1_000 + 1)
    assert (await Browser(served).get(path)).status == 410


async def test_later_start_makes_a_new_link_and_ends_the_former(served: Served) -> None:
    former = await first_link(served)
    assert await first_link(served) == former, "processes that start together print the same"
    served.hands.move(seconds=links.STARTED_TOGETHER_MS / 1_000 + 1)
    newer = await first_link(served)
    assert newer != former
    assert (await Browser(served).get(former)).status == 410
    assert (await Browser(served).get(newer)).status == 200


async def test_looking_at_a_link_does_not_use_it_up(served: Served) -> None:
    path = await first_link(served)
    for _ in range(3):
        assert (await Browser(served).get(path)).status == 200
    assert (await Browser(served).set_up(path)).status == 303


async def test_refused_set_up_leaves_the_link(served: Served) -> None:
    path = await first_link(served)
    short = await Browser(served).set_up(path, password="short")
    assert short.status == 400
    assert b"at least 12 characters" in short.body
    assert (await Browser(served).set_up(path, password="")).status == 400
    assert await operators_of(served) == []
    assert (await Browser(served).set_up(path)).status == 303


async def test_database_alone_makes_no_link(served: Served) -> None:
    """What is stored of a link is not what opens it."""
    path = await first_link(served)
    rows = await served.gateway.db.read(lambda tx: tx.execute(operator_links.select()).all())
    for value in filter(None, rows[0]):
        assert str(value) not in path
        assert (await Browser(served).get(f"/manager/set-up/{value}")).status == 410


async def test_new_link_ends_the_former_and_old_sessions_when_used(served: Served) -> None:
    browser = await owner(served)
    asked = partial(served.ask, "POST", f"/api/operators/{OWNER}/link", headers=served.command())
    public_url = served.gateway.settings.public_url
    former = (await asked()).json["link"].removeprefix(public_url)
    newer = (await asked()).json["link"].removeprefix(public_url)
    assert (await Browser(served).get(former)).status == 410
    assert await browser.is_signed_in()
    other = Browser(served)
    assert (await other.set_up(newer, password="another long password")).status == 303
    assert await other.is_signed_in()
    assert not await browser.is_signed_in()
    assert (await browser.sign_in()).status == 401
    assert (await browser.sign_in(password="another long password")).status == 303


async def test_invited_operator_cannot_choose_email_or_role(served: Served) -> None:
    await owner(served)
    path = await invited(served, "bob@example.com", "support")
    browser = Browser(served)
    await browser.get(path)
    fields = {"name": "Bob", "email": "noor2@example.com", "role": "owner", "password": PASSWORD}
    assert (await browser.post(path, fields)).status == 303
    bob = next(each for each in await operators_of(served) if each["email"] != OWNER)
    assert (bob["email"], bob["role"]) == ("bob@example.com", "support")


async def test_link_of_somebody_sent_away_opens_nothing(served: Served) -> None:
    await owner(served)
    path = await invited(served, "bob@example.com", "admin")
    where = "/api/operators/bob@example.com/deactivation"
    assert (await served.ask("POST", where, headers=served.command())).status == 200
    assert (await Browser(served).set_up(path)).status == 410
    again = await served.ask("POST", "/api/operators/bob@example.com/link", headers=served.command())
    assert (again.status, again.json["code"]) == (409, "operator_deactivated")


# Sessions and forms


async def test_sign_in_gives_a_new_session_whatever_the_browser_brings(served: Served) -> None:
    await owner(served)
    browser = Browser(served, {COOKIE: "chosen-by-mallory", "admit-visit": "v" * 43})
    assert (await browser.sign_in()).status == 303
    assert browser.cookies[COOKIE] != "chosen-by-mallory"
    first = browser.cookies[COOKIE]
    assert (await browser.sign_in()).status == 303
    assert browser.cookies[COOKIE] != first
    assert not await Browser(served, {COOKIE: first}).is_signed_in(), "the former session has ended"


async def test_cookie_of_an_ended_session_opens_nothing(served: Served) -> None:
    browser = await owner(served)
    cookie = browser.cookies[COOKIE]
    await browser.get("/manager/account")
    assert (await browser.post("/manager/sign-out", {})).status == 303
    assert COOKIE not in browser.cookies
    assert not await Browser(served, {COOKIE: cookie}).is_signed_in()


async def test_revoked_session_ends_at_once(served: Served) -> None:
    browser = await owner(served)
    listed = await served.ask("GET", "/api/operator-sessions", headers=served.command())
    (session,) = listed.json
    where = f"/api/operator-sessions/{session['session_id']}"
    assert (await served.ask("DELETE", where, headers=served.command())).status == 204
    assert not await browser.is_signed_in()
    assert (await served.ask("DELETE", where, headers=served.command())).status == 404


@pytest.mark.parametrize("days", [0.51, 7.01])
async def test_session_ends_when_idle_or_old(served: Served, days: float) -> None:
    browser = await owner(served)
    for _ in range(0 if days < 1 else 20):  # used all the time
        served.hands.move(days=days / 20 - 0.001)
        assert await browser.is_signed_in()
    served.hands.move(days=days if days < 1 else 0.03)
    assert not await browser.is_signed_in()


@pytest.mark.parametrize(
    ("headers", "csrf", "status"),
    [
        ({}, None, 303),
        ({}, "", 403),
        ({}, "y" * 43, 403),
        ({"Sec-Fetch-Site": "cross-site"}, None, 403),
        ({"Sec-Fetch-Site": "same-site"}, None, 403),
        ({"Origin": "https://evil.example"}, None, 403),
        ({"Origin": "null"}, None, 403),
    ],
)
async def test_form_of_another_site_changes_nothing(
    served: Served, headers: dict[str, str], csrf: str | None, status: int
) -> None:
    browser = await owner(served)
    await browser.get("/manager/account")
    answer = await browser.post("/manager/account/name", {"name": "Mallory"}, headers=headers, csrf=csrf)
    assert answer.status == status
    (noor,) = await operators_of(served)
    assert noor["name"] == ("Mallory" if status == 303 else "Noor")


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}])
async def test_nobody_is_signed_in_by_another_site(served: Served, headers: dict[str, str]) -> None:
    await owner(served)
    browser = Browser(served)
    await browser.get("/manager/sign-in")
    fields = {"email": OWNER, "password": PASSWORD}
    assert (await browser.post("/manager/sign-in", fields, headers=headers)).status == 403
    assert (await browser.post("/manager/sign-in", fields, csrf="")).status == 403
    other = Browser(served)
    await other.get("/manager/sign-in")
    assert (await browser.post("/manager/sign-in", fields, csrf=other.csrf)).status == 403
    assert COOKIE not in browser.cookies


async def test_cookies_are_closed_to_scripts_and_other_sites(served: Served) -> None:
    browser = await owner(served)
    answer = await browser.sign_in()
    (line,) = [each for each in answer.headers.getall("Set-Cookie") if each.startswith(COOKIE)]  # type: ignore[attr-defined]
    for flag in ("HttpOnly", "Path=/", "SameSite=lax"):
        assert flag in line
    assert "Domain" not in line


@pytest.mark.parametrize("path", ["/manager/sign-in", "/manager/account", "/manager/set-up/x"])
async def test_pages_stand_in_no_frame_and_run_no_foreign_script(served: Served, path: str) -> None:
    answer = await (await owner(served)).get(path + ("?again=1" if "sign-in" in path else ""))
    policy = answer.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Cache-Control"] == "no-store"
    assert not re.search(rb"<script(?! src=)|\son\w+=|\sstyle=", answer.body)


@pytest.mark.parametrize(
    "to",
    ["https://evil.example/manager", "//evil.example", "/\\evil.example", "/managers", "javascript:alert(1)"],
)
async def test_nobody_is_led_elsewhere_after_they_sign_in(served: Served, to: str) -> None:
    await owner(served)
    browser = Browser(served)
    await browser.get("/manager/sign-in")
    answer = await browser.post("/manager/sign-in", {"email": OWNER, "password": PASSWORD, "next": to})
    assert (answer.status, answer.headers["Location"]) == (303, "/manager")


# Passwords


async def test_all_failures_are_told_alike(served: Served) -> None:
    await owner(served)
    await invited(served, "bob@example.com", "admin")
    told = set()
    for email, password in (
        (OWNER, "wrong wrong wrong"),
        ("nobody@example.com", PASSWORD),
        ("bob@example.com", PASSWORD),
        ("no email at all", PASSWORD),
        (OWNER, "x" * 5_000),
    ):
        answer = await Browser(served).sign_in(email, password)
        body = answer.body.decode().replace(email, "EMAIL")
        told.add((answer.status, re.sub(r'(?:value|content)="[^"]{43}"', "", body)))
    assert len(told) == 1
    assert next(iter(told))[0] == 401


async def test_unknown_email_costs_as_much_as_a_wrong_password(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await owner(served)
    compared = []
    verify = Passwords._verify

    def counted(self: Passwords, digest: str, password: str) -> bool:
        compared.append(digest)
        return verify(self, digest, password)

    monkeypatch.setattr(Passwords, "_verify", counted)
    await Browser(served).sign_in("nobody@example.com")
    await Browser(served).sign_in(OWNER, "wrong wrong wrong")
    assert len(compared) == 2
    assert all(each.startswith("$argon2id$") for each in compared)


async def test_guessing_ends_and_locks_no_owner_out_of_their_passkey(served: Served) -> None:
    authenticator = Browser(served).authenticator()
    await owner(served, authenticator=authenticator)
    statuses = [(await Browser(served).sign_in(OWNER, f"guess number {n:03}")).status for n in range(22)]
    assert statuses == [401] * 20 + [429] * 2
    right = await Browser(served).sign_in()
    assert right.status == 429, "also the right password is not told from a wrong one"
    assert b"use a passkey" in right.body
    assert (await Browser(served).sign_in_by_passkey(authenticator)).status == 303
    served.hands.move(seconds=3_600)
    assert (await Browser(served).sign_in()).status == 303


async def test_limit_says_nothing_of_who_exists(served: Served) -> None:
    await owner(served)
    told = [(await Browser(served).sign_in("nobody@example.com", "guess guess 1")).status for _ in range(21)]
    assert told == [401] * 20 + [429]


async def test_new_password_ends_the_other_sessions(served: Served) -> None:
    browser, other = await owner(served), Browser(served)
    await other.sign_in()
    await browser.get("/manager/account")
    answer = await browser.post("/manager/account/password", {"password": "a completely new one"})
    assert answer.status == 303
    assert await browser.is_signed_in()
    assert not await other.is_signed_in()
    assert (await other.sign_in()).status == 401


async def test_what_lets_in_is_changed_after_a_fresh_sign_in_only(served: Served) -> None:
    browser = await owner(served)
    served.hands.move(seconds=601)
    await browser.get("/manager/account")
    answer = await browser.post("/manager/account/password", {"password": "a completely new one"})
    assert answer.status == 303
    assert answer.headers["Location"] == "/manager/sign-in?again=1&next=%2Fmanager%2Faccount"
    options = await browser.post(
        "/manager/account/passkeys/options", {}, headers={"Accept": "application/json"}
    )
    assert (options.status, options.json["code"]) == (403, "sign_in_again")
    assert (await browser.sign_in()).status == 303, "the password is still that of before"


async def test_log_tells_no_secret_and_no_email(served: Served) -> None:
    with capture_logs() as lines:
        browser = await owner(served)
        await browser.sign_in()
        await browser.sign_in(password="wrong wrong wrong")
    told = json.dumps(lines)
    assert "operator.signed_in" in told
    assert "operator.sign_in_failed" in told
    for secret in (PASSWORD, "wrong wrong", OWNER, browser.cookies[COOKIE]):
        assert secret not in told


# Passkeys


async def test_passkey_signs_in(served: Served) -> None:
    authenticator = Browser(served).authenticator(sign_count=1)
    await owner(served, password="", authenticator=authenticator)
    browser = Browser(served)
    assert (await browser.sign_in_by_passkey(authenticator)).status == 303
    assert await browser.is_signed_in()
    assert (await browser.sign_in(password="")).status == 401, "there is no password"


async def test_answer_of_a_passkey_is_good_once(served: Served) -> None:
    authenticator = Browser(served).authenticator()
    await owner(served, authenticator=authenticator)
    browser = Browser(served)
    await browser.get("/manager/sign-in")
    credential = authenticator.use(await browser.options("/manager/sign-in/options"))
    answers = await asyncio.gather(
        *(browser.post("/manager/sign-in/passkey", {"credential": credential}) for _ in range(5))
    )
    assert sorted(each.status for each in answers) == [303, 401, 401, 401, 401]


async def test_answer_of_a_passkey_is_good_in_its_browser_and_for_minutes(served: Served) -> None:
    authenticator = Browser(served).authenticator()
    await owner(served, authenticator=authenticator)
    victim, thief = Browser(served), Browser(served)
    await victim.get("/manager/sign-in")
    await thief.get("/manager/sign-in")
    credential = authenticator.use(await victim.options("/manager/sign-in/options"))
    assert (await thief.post("/manager/sign-in/passkey", {"credential": credential})).status == 401
    late = authenticator.use(await victim.options("/manager/sign-in/options"))
    served.hands.move(seconds=301)
    assert (await victim.post("/manager/sign-in/passkey", {"credential": late})).status == 401


@pytest.mark.parametrize(
    "changed",
    [
        {"origin": "https://evil.example"},
        {"rp_id": "evil.example"},
        {"verifies": False},
        {"credential_id": b"another-credential-99"},
        {"sign_count": 3},
    ],
)
async def test_passkey_of_elsewhere_or_a_copy_lets_nobody_in(
    served: Served, changed: dict[str, object]
) -> None:
    authenticator = Browser(served).authenticator(sign_count=5)
    await owner(served, authenticator=authenticator)
    for name, value in changed.items():
        setattr(authenticator, name, value)
    assert (await Browser(served).sign_in_by_passkey(authenticator)).status == 401


async def test_challenge_is_ours(served: Served) -> None:
    authenticator = Browser(served).authenticator()
    await owner(served, authenticator=authenticator)
    browser = Browser(served)
    await browser.get("/manager/sign-in")
    options = await browser.options("/manager/sign-in/options")
    credential = authenticator.use(options | {"challenge": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"})
    assert (await browser.post("/manager/sign-in/passkey", {"credential": credential})).status == 401


@pytest.mark.parametrize(
    "credential", ["", "{", "[]", "null", '{"id": 1}', "[" * 9_000, '{"response": {"clientDataJSON": "e30"}}']
)
async def test_nonsense_in_place_of_a_passkey_is_refused(served: Served, credential: str) -> None:
    await owner(served)
    browser = Browser(served)
    await browser.get("/manager/sign-in")
    assert (await browser.post("/manager/sign-in/passkey", {"credential": credential})).status == 401


async def test_challenge_to_make_a_passkey_signs_nobody_in(served: Served) -> None:
    """A challenge is good for what it was made for alone."""
    authenticator = Browser(served).authenticator()
    browser = await owner(served, authenticator=authenticator)
    await browser.get("/manager/account")
    made_for_account = await browser.options("/manager/account/passkeys/options")
    await browser.get("/manager/sign-in?again=1")
    credential = authenticator.use(made_for_account)
    assert (await browser.post("/manager/sign-in/passkey", {"credential": credential})).status == 401


async def test_only_way_in_is_not_removed(served: Served) -> None:
    authenticator = Browser(served).authenticator()
    browser = await owner(served, password="", authenticator=authenticator)
    page = await browser.get("/manager/account")
    remove = re.search(rb"/manager/account/passkeys/\w+/remove", page.body)
    assert remove is not None
    refused = await browser.post(remove[0].decode(), {})
    assert refused.status == 409
    assert b"only way to sign in" in refused.body
    assert (await browser.sign_in_by_passkey(authenticator)).status == 303


async def test_second_passkey_is_added_and_the_first_removed(served: Served) -> None:
    first = Browser(served).authenticator()
    browser = await owner(served, password="", authenticator=first)
    page = await browser.get("/manager/account")
    remove = re.search(rb"/manager/account/passkeys/\w+/remove", page.body)
    second = browser.authenticator(credential_id=b"the-second-credential")
    credential = second.make(await browser.options("/manager/account/passkeys/options"))
    fields = {"credential": credential, "passkey": "Phone"}
    assert (await browser.post("/manager/account/passkeys", fields)).status == 303
    again = await browser.post("/manager/account/passkeys", fields)
    assert again.status == 400, "its challenge is spent"
    assert remove is not None
    assert (await browser.post(remove[0].decode(), {})).status == 303
    assert (await Browser(served).sign_in_by_passkey(first)).status == 401
    assert (await Browser(served).sign_in_by_passkey(second)).status == 303


# Roles


async def test_last_owner_stays_under_races(served: Served, served_url: str) -> None:
    await owner(served)
    await Browser(served).set_up(await invited(served, "bob@example.com", "owner"))
    here, now = served.gateway.db, served.hands()
    there = here if served.gateway.settings.on_sqlite else Database(served_url)

    async def told(db: Database, unit: Change) -> str:
        try:
            await db.write(unit)
        except Conflict as error:
            return error.code
        return ""

    for _ in range(10):
        codes = await asyncio.gather(
            told(here, lambda tx: people.deactivate(tx, OWNER, now)),
            told(there, lambda tx: people.set_role(tx, "bob@example.com", "admin")),
        )
        assert sorted(codes) == ["", "last_owner"]
        await here.write(lambda tx: people.reactivate(tx, OWNER))
        await here.write(lambda tx: people.set_role(tx, "bob@example.com", "owner"))
    if there is not here:
        there.close()


async def test_invited_owner_does_not_count_as_one(served: Served) -> None:
    await owner(served)
    await invited(served, "bob@example.com", "owner")
    answer = await served.ask(
        "PUT", f"/api/operators/{OWNER}/role", json={"role": "admin"}, headers=served.command()
    )
    assert (answer.status, answer.json["code"]) == (409, "last_owner")


@pytest.mark.parametrize("role", ["admin", "support", "read-only"])
async def test_no_other_role_reaches_operators(served: Served, role: str) -> None:
    await owner(served)
    browser = Browser(served)
    assert (await browser.set_up(await invited(served, "bob@example.com", role))).status == 303
    await browser.get("/manager/account")
    for path, fields in (
        ("/manager/operators/invite", {"email": "eve@example.com", "role": "owner"}),
        ("/manager/operators/bob@example.com/role", {"role": "owner"}),
        (f"/manager/operators/{OWNER}/deactivate", {}),
        (f"/manager/operators/{OWNER}/link", {}),
        (f"/manager/operators/{OWNER}/sign-out", {}),
    ):
        assert (await browser.post(path, fields)).status == 403, path
    assert {each["email"]: each["role"] for each in await operators_of(served)} == {
        OWNER: "owner",
        "bob@example.com": role,
    }


async def test_new_role_ends_sessions_and_holds_at_once(served: Served) -> None:
    await owner(served)
    browser = Browser(served)
    await browser.set_up(await invited(served, "bob@example.com", "owner"))
    where = "/api/operators/bob@example.com/role"
    assert (
        await served.ask("PUT", where, json={"role": "read-only"}, headers=served.command())
    ).status == 200
    assert not await browser.is_signed_in()


async def test_somebody_sent_away_is_out_at_once(served: Served) -> None:
    authenticator = Browser(served).authenticator(credential_id=b"the-passkey-of-bob-01")
    await owner(served)
    browser = Browser(served)
    path = await invited(served, "bob@example.com", "admin")
    await browser.set_up(path, email="bob@example.com", authenticator=authenticator)
    assert await browser.is_signed_in()
    where = "/api/operators/bob@example.com/deactivation"
    await served.ask("POST", where, headers=served.command())
    assert not await browser.is_signed_in()
    assert (await browser.sign_in("bob@example.com")).status == 401
    assert (await browser.sign_in_by_passkey(authenticator)).status == 401
    await served.ask("DELETE", where, headers=served.command())
    assert (await browser.sign_in_by_passkey(authenticator)).status == 303


async def test_link_is_spent_once_by_units_at_the_same_time(served: Served, served_url: str) -> None:
    path = await first_link(served)
    here = served.gateway.db
    there = here if served.gateway.settings.on_sqlite else Database(served_url)
    spend = partial(links.spend, ring=served.gateway.ring, token=path.rpartition("/")[2], now=served.hands())

    async def spent(db: Database) -> bool:
        try:
            await db.write(spend)
        except TokenOver:
            return False
        return True

    tries = await asyncio.gather(*(spent(db) for db in (here, there, here, there, here)))
    assert sorted(tries) == [False] * 4 + [True]
    if there is not here:
        there.close()


async def test_cookies_of_https_stay_with_their_host(served_sqlite_url: str) -> None:
    async with serving(
        served_sqlite_url, public_url="https://login.example.com", mail_url="smtp://127.0.0.1:9"
    ) as served:
        browser = Browser(served)
        await browser.get(await first_link(served))
        assert list(browser.cookies) == ["__Host-admit-visit"]
        answer = await browser.set_up(await first_link(served))
        lines = answer.headers.getall("Set-Cookie")  # type: ignore[attr-defined]
        assert [line.partition("=")[0] for line in lines] == ["__Host-admit-operator", "__Host-admit-visit"]
        for line in lines:
            assert "Secure" in line
            assert "Path=/" in line
            assert "Domain" not in line
        assert await browser.is_signed_in()


async def test_challenges_end_for_those_who_ask_without_end(door: Served) -> None:
    browser = Browser(door)
    await browser.get("/manager/sign-in")
    statuses = [(await browser.post("/manager/sign-in/options", {})).status for _ in range(302)]
    assert statuses == [200] * 300 + [429] * 2
