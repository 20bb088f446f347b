"""`owner@x as person@y`: the owner proves the own mailbox, gets tokens for the other, and it is on record."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from admit.accounts import apps, clients
from tests.contract.served import Answered, Served, serving
from tests.contract.signin_desk import device
from tests.contract.token_desk import (
    asked_for_code,
    code_mailed_to,
    events_of,
    redeemed,
    refreshed,
    signed_in,
    signed_refresh,
)

OWNER = "owner@example.com"
BOB = "bob@example.com"
AS_BOB = f"{OWNER} as {BOB}"


async def with_bob(served: Served, **fields: object) -> apps.App:
    app = await served.app()
    await served.write(app, {"userId": BOB, "type": "eval", **fields})
    return app


async def acting(served: Served) -> Answered:
    return await signed_in(served, AS_BOB, mailbox=OWNER)


async def users(served: Served) -> list[dict[str, Any]]:
    listed = await served.ask("GET", "/api/apps/notes/users", headers=served.command())
    people: list[dict[str, Any]] = listed.json["users"]
    return people


async def test_the_owner_reads_the_code_and_the_token_is_for_the_other(served: Served) -> None:
    app = await with_bob(served, data={"plan": "team"})
    body = (await acting(served)).json
    claims = body["claims"]
    assert (claims["sub"], claims["act"], body["data"]) == (BOB, {"sub": OWNER}, {"plan": "team"})
    assert claims["scopes"] == ["ACCESS_DB"]
    assert [each.mail.to for each in served.mails] == [OWNER]
    assert BOB in served.mails[0].mail.subject
    assert BOB in served.mails[0].mail.text
    told = (await events_of(served, app.app_id))[-2:]
    assert [kind for kind, _ in told] == ["user.impersonated", "session.started"]
    for _, data in told:
        assert (data["actor"], data["user"]["user_id"]) == (OWNER, BOB)
        assert data["sign_in"] == {"method": "acting", "provider": "email"}
        assert set(data["device"]) == {"identifier", "derived", "first_seen"}
    headers = {"Authorization": f"Bearer {body['accessToken']}"}
    validated = await served.ask("GET", "/notes/token/validate", headers=headers)
    assert validated.json["claims"]["act"] == {"sub": OWNER}


async def test_nobody_is_enrolled_and_the_other_has_not_signed_in(served: Served) -> None:
    await with_bob(served)
    before = (await users(served))[0]
    assert (await acting(served)).status == 200
    refused = await signed_in(served, f"{OWNER} as stranger@example.com", mailbox=OWNER, by=device(2))
    assert (refused.status, refused.json["code"]) == (403, "USER_NOT_REGISTERED")
    assert await users(served) == [before]
    assert before["last_login_at"] is None


async def test_only_owners_get_a_mail_and_nobody_learns_who_they_are(served: Served) -> None:
    await with_bob(served)
    stranger = await asked_for_code(served, f"eve@example.com as {BOB}")
    owner = await asked_for_code(served, AS_BOB)
    assert (stranger.status, set(stranger.json)) == (owner.status, set(owner.json))
    await code_mailed_to(served, OWNER)
    assert [each.mail.to for each in served.mails] == [OWNER]


async def test_a_client_with_full_access_makes_its_owner_one_who_may(served: Served) -> None:
    app = await with_bob(served)
    made = partial(clients.create_client, ring=served.gateway.ring, app_id=app.app_id, now=served.hands())
    full, reading = ["GLOBAL_READ", "GLOBAL_WRITE"], ["GLOBAL_READ"]
    await served.gateway.db.write(partial(made, scopes=full, owner="carol@example.com"))
    await served.gateway.db.write(partial(made, scopes=reading, owner="dan@example.com"))
    body = await signed_in(served, f"carol@example.com as {BOB}", mailbox="carol@example.com")
    assert body.json["claims"]["act"] == {"sub": "carol@example.com"}
    await asked_for_code(served, f"dan@example.com as {BOB}")
    await signed_in(served, AS_BOB, mailbox=OWNER, by=device(2))
    assert {each.mail.to for each in served.mails} == {"carol@example.com", OWNER}


async def test_who_ceases_to_own_the_app_ceases_to_act(served: Served) -> None:
    app = await with_bob(served)
    body = (await acting(served)).json
    token, headers = body["refreshToken"], {"Authorization": f"Bearer {body['accessToken']}"}
    assert (await refreshed(served, signed_refresh(served, token))).status == 200
    assert (await served.ask("GET", "/notes/token/validate", headers=headers)).status == 200
    otp_id = (await asked_for_code(served, AS_BOB)).json["otp_id"]
    async with asyncio.timeout(10):
        while len(served.mails) < 2:
            await asyncio.sleep(0.01)  # the worker sends it
    await served.gateway.db.write(
        lambda tx: apps.add_owner(tx, app.app_id, "new@example.com", served.hands())
    )
    await served.gateway.db.write(lambda tx: apps.remove_owner(tx, app.app_id, OWNER, served.hands()))
    served.hands.move(seconds=1)
    late = await redeemed(served, AS_BOB, otp_id, served.mails[-1].mail.otp, by=device(2))
    assert (late.status, late.json["code"]) == (403, "USER_NOT_ACCEPTED")
    assert (await served.ask("GET", "/notes/token/validate", headers=headers)).status == 401
    assert (await served.ask("POST", "/notes/sync", headers=headers, data=b"{}")).status == 401
    ended = await refreshed(served, signed_refresh(served, token))
    assert (ended.status, ended.json["error"]) == (401, "invalid_grant")


async def test_acting_ends_after_a_day_and_costs_the_other_no_day(served: Served) -> None:
    await with_bob(served)
    body = (await acting(served)).json
    days_left = body["evalDaysLeft"]
    served.hands.move(days=0.9)
    again = await refreshed(served, signed_refresh(served, body["refreshToken"]))
    assert again.json["evalDaysLeft"] == days_left
    headers = {"Authorization": f"Bearer {again.json['accessToken']}"}
    assert (await served.ask("POST", "/notes/sync", headers=headers, data=b"{}")).status == 200
    assert (await users(served))[0]["eval_days_left"] == days_left
    served.hands.move(days=0.2)
    assert (await refreshed(served, signed_refresh(served, body["refreshToken"]))).status == 401


async def test_an_owner_who_acts_cannot_delete_the_person_as_oneself(served: Served) -> None:
    await with_bob(served)
    headers = {"Authorization": f"Bearer {(await acting(served)).json['accessToken']}"}
    refused = await served.ask("DELETE", f"/notes/users/{BOB}", headers=headers)
    assert (refused.status, refused.json["code"]) == (403, "insufficient_scope")
    assert len(await users(served)) == 1


async def test_the_code_of_an_owner_opens_what_was_asked_for_and_nothing_else(served: Served) -> None:
    await with_bob(served)
    await served.write(
        await served.gateway.directory.app("notes"), {"userId": "carol@example.com", "type": "prod"}
    )
    otp_id = (await asked_for_code(served, AS_BOB)).json["otp_id"]
    otp = await code_mailed_to(served, OWNER)
    for email in (OWNER, BOB, f"{OWNER} as carol@example.com", f"{BOB} as {OWNER}"):
        assert (await redeemed(served, email, otp_id, otp)).status == 401
    assert (await redeemed(served, None, otp_id, otp)).json["claims"]["sub"] == BOB


async def test_the_same_key_does_not_turn_the_persons_own_session_into_the_owners(served: Served) -> None:
    await served.app()
    own = (await signed_in(served, BOB)).json
    other = (await acting(served)).json
    assert own["claims"]["sid"] != other["claims"]["sid"]
    again = await refreshed(served, signed_refresh(served, own["refreshToken"]))
    assert "act" not in again.json["claims"]


async def test_an_owner_uses_up_the_owners_own_limit(served_url: str, tmp_path: Path) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text("tokens_per_user = {count = 3, window_seconds = 3600}\n")
    async with serving(served_url, rate_limits=str(limits)) as served:
        await with_bob(served)
        token = (await acting(served)).json["refreshToken"]
        statuses = [(await refreshed(served, signed_refresh(served, token))).status for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert (await signed_in(served, BOB, by=device(2))).status == 200


@pytest.mark.parametrize("who", ["deactivated", "demo"])
async def test_who_cannot_be_here_cannot_be_acted_for(served: Served, who: str) -> None:
    app = await with_bob(served, deactivated=True)
    await served.write(app, {"userId": "alice@demo.local", "type": "demo"})
    if who == "demo":
        assert (await asked_for_code(served, f"{OWNER} as alice@demo.local")).status == 400
    else:
        refused = await acting(served)
        assert (refused.status, refused.json["code"]) == (403, "USER_DEACTIVATED")


async def test_owners_read_our_words_whatever_the_apps_own_say(served: Served) -> None:
    app = await with_bob(served)
    own = apps.MailTemplates(subject="{{ otp }}", text="{{ otp }}", html="{{ otp }}")
    await served.gateway.db.write(
        lambda tx: apps.edit_settings(tx, app.app_id, served.hands(), mail_templates=own)
    )
    await acting(served)
    assert f"AS {BOB}" in served.mails[-1].mail.text
