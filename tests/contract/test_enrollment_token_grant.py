"""The grant urn:admit:enrollment-token, and the admin API that makes the tokens."""

import asyncio
import base64
import re
from typing import Any
from urllib.parse import unquote

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from admit.accounts import apps, clients, enrollment_tokens, policies
from admit.accounts.apps import App
from admit.accounts.enrollment_tokens import Minted, NewToken
from admit.accounts.tables import users
from admit.accounts.user_deletion import delete_user
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction
from tests.contract.served import ORIGIN, Answered, Served, serving
from tests.contract.signin_desk import Device, device
from tests.contract.token_desk import ask, events_of, refreshed, signed_refresh

ADA = "ada@example.com"
TOKENS = f"/api/apps/notes/users/{ADA}/enrollment-tokens"


async def at_home(served: Served, **settings: Any) -> App:
    """The app notes, where Ada lives."""
    app = await served.app()
    if settings:
        await served.gateway.db.write(
            lambda tx: apps.edit_settings(tx, app.app_id, served.hands(), **settings)
        )
        app = await served.gateway.directory.app(app.name)
    await served.write(app, {"userId": ADA, "type": "prod", "data": {"team": "blue"}})
    return app


async def made(served: Served, where: str = TOKENS, **body: Any) -> Any:
    answer = await served.ask("POST", where, json=body, headers=served.command())
    assert answer.status == 200, answer.body
    return answer.json


async def minted(served: Served, **body: Any) -> str:
    token: str = (await made(served, **body))["token"]
    return token


async def redeem(served: Served, token: str, *, by: Device | None = None, **fields: Any) -> Answered:
    body = {
        "grant_type": "urn:admit:enrollment-token",
        "enrollment_token": token,
        "scopes": ["ACCESS_DB"],
        "public_key": (by or device()).public_key.pem,
    }
    return await ask(served, body | fields)


async def sid(served: Served, token: str, **options: Any) -> str:
    """The session of a redemption that works."""
    answer = await redeem(served, token, **options)
    assert answer.status == 200, answer.body
    session_id: str = answer.json["claims"]["sid"]
    return session_id


def told(answer: Answered) -> tuple[int, str]:
    return answer.status, answer.json["code"]


async def uses(served: Served) -> list[int]:
    listed = await served.ask("GET", TOKENS, headers=served.command())
    return [each["uses"] for each in listed.json["tokens"]]


async def types(served: Served, app: App) -> list[str]:
    """The types of what has happened since Ada was made."""
    return [type_ for type_, _ in await events_of(served, app.app_id)][1:]


async def test_a_token_enrolls_a_device_as_its_user(served: Served) -> None:
    app = await at_home(served)
    answer = await redeem(
        served, await minted(served), device={"id": "tablet-7", "label": "Till 3", "platform": "android"}
    )
    body = answer.json
    assert (answer.status, body["type"], body["userType"]) == (200, "tokens", "prod")
    assert (body["claims"]["sub"], body["claims"]["email"], body["data"]) == (ADA, ADA, {"team": "blue"})
    (_, enrolled), (_, started) = (await events_of(served, app.app_id))[1:]
    assert await types(served, app) == ["device.enrolled", "session.started"]
    assert enrolled["sign_in"] == started["sign_in"] == {"method": "enrollment_token", "provider": "operator"}
    assert (enrolled["device"]["identifier"], enrolled["device"]["platform"]) == ("tablet-7", "android")
    assert enrolled["session"] == {"id": body["claims"]["sid"], "ordinal": 1}
    assert enrolled["device"]["first_for_user"] is True
    again = await refreshed(served, signed_refresh(served, body["refreshToken"]))
    assert (again.status, again.json["claims"]["sid"]) == (200, body["claims"]["sid"])


async def test_no_policy_is_asked(served: Served) -> None:
    app = await at_home(served)
    policy = apps.PolicySetting(kind="reject")
    await served.gateway.db.write(lambda tx: policies.set_policy(tx, app.app_id, policy, served.hands()))
    assert (await redeem(served, await minted(served))).status == 200


async def test_a_token_is_good_once_and_for_the_same_key_again(served: Served) -> None:
    app = await at_home(served)
    token = await minted(served)
    first = await sid(served, token)
    served.hands.move(seconds=600)
    assert await sid(served, token) == first
    assert told(await redeem(served, token, by=device(2))) == (410, "token_used")
    assert await uses(served) == [1]
    assert await types(served, app) == ["device.enrolled", "session.started"]


async def test_a_refusal_tells_programs_and_people_what_is_wrong(served: Served) -> None:
    await at_home(served)
    token = await minted(served)
    await sid(served, token)
    refused = await redeem(served, token, by=device(2))
    assert refused.json == {
        "error": "invalid_grant",
        "error_description": "This link or code has been used. Ask for a new one.",
        "code": "token_used",
        "message": "This link or code has been used. Ask for a new one.",
    }


@pytest.mark.parametrize("token", ["", "enr_", "enr_" + "A" * 43, "x" * 10_000, "enr_ä"])
async def test_an_unknown_token_is_an_invalid_grant(served: Served, token: str) -> None:
    await at_home(served)
    refused = await redeem(served, token)
    assert (refused.status, refused.json["error"], refused.json["code"]) == (
        401,
        "invalid_grant",
        "invalid_grant",
    )


async def test_a_token_of_another_app_is_unknown(served: Served) -> None:
    await at_home(served)
    plans = await served.app("plans")
    await served.write(plans, {"userId": ADA, "type": "prod"})
    elsewhere = await made(served, TOKENS.replace("notes", "plans"))
    assert told(await redeem(served, elsewhere["token"])) == (401, "invalid_grant")


async def test_after_its_end_nobody_enrolls_by_it_not_even_the_key_that_has(served: Served) -> None:
    await at_home(served)
    token = await minted(served, expires_in_seconds=60, uses_max=3)
    await sid(served, token)
    served.hands.move(seconds=61)
    assert told(await redeem(served, token)) == (410, "token_expired")
    assert told(await redeem(served, token, by=device(2))) == (410, "token_expired")


async def test_a_revoked_token_opens_nothing_and_sessions_of_it_go_on(served: Served) -> None:
    await at_home(served)
    issued = await made(served, uses_max=3)
    tokens = (await redeem(served, issued["token"])).json
    where = f"{TOKENS}/{issued['token_id']}"
    for _ in range(2):
        assert (await served.ask("DELETE", where, headers=served.command())).status == 204
    assert told(await redeem(served, issued["token"])) == (410, "token_revoked")
    assert told(await redeem(served, issued["token"], by=device(2))) == (410, "token_revoked")
    assert (await refreshed(served, signed_refresh(served, tokens["refreshToken"]))).status == 200


async def test_a_bound_token_is_refused_elsewhere_and_keeps_its_use(served: Served) -> None:
    app = await at_home(served)
    token = await minted(served, device="tablet-7")
    for wrong in (None, {"id": "tablet-8"}, {"label": "tablet-7"}):
        assert told(await redeem(served, token, device=wrong)) == (403, "other_device")
    assert (await uses(served), await types(served, app)) == ([0], [])
    assert await sid(served, token, device={"id": "tablet-7"})
    assert told(await redeem(served, token, device={"id": "tablet-8"})) == (403, "other_device")


async def test_the_headers_of_a_device_bind_too(served: Served) -> None:
    await at_home(served)
    token = await minted(served, device="tablet 7")
    body = {
        "grant_type": "urn:admit:enrollment-token",
        "enrollment_token": token,
        "public_key": device().public_key.pem,
    }
    answer = await served.ask("POST", "/notes/token", json=body, headers={"X-Device-Id": "tablet%207"})
    assert answer.status == 200


async def test_several_devices_share_a_token_of_several_uses(served: Served) -> None:
    await at_home(served)
    token = await minted(served, uses_max=2)
    first = await sid(served, token, by=device(1))
    assert await sid(served, token, by=device(2)) != first
    assert told(await redeem(served, token, by=device(3))) == (410, "token_used")
    assert await sid(served, token, by=device(1)) == first
    assert await uses(served) == [2]


async def test_a_session_that_is_over_does_not_come_back_by_a_token_that_is_used(served: Served) -> None:
    """Neither a wiped device nor whoever kept the link: the same key alone proves nothing any more."""
    app = await at_home(served)
    token = await minted(served)
    first = await sid(served, token, device={"id": "tablet-7"})
    other = await sid(served, await minted(served), by=device(2), device={"id": "tablet-7"})
    assert other != first
    assert told(await redeem(served, token, device={"id": "tablet-7"})) == (410, "token_used")
    assert (await types(served, app)).count("session.started") == 2


async def test_a_key_whose_session_is_over_may_use_what_is_left(served: Served) -> None:
    await at_home(served)
    token = await minted(served, uses_max=2)
    first = await sid(served, token, device={"id": "tablet-7"})
    await sid(served, await minted(served), by=device(2), device={"id": "tablet-7"})
    again = await sid(served, token, device={"id": "tablet-7"})
    assert again != first
    assert await sid(served, token, device={"id": "tablet-7"}) == again
    assert await uses(served) == [1, 2]
    await sid(served, await minted(served), by=device(2), device={"id": "tablet-7"})
    assert told(await redeem(served, token, device={"id": "tablet-7"})) == (410, "token_used")


async def test_who_is_deactivated_is_refused_and_the_token_keeps_its_use(served: Served) -> None:
    app = await at_home(served)
    token = await minted(served)
    await served.write(app, {"userId": ADA, "deactivated": True})
    assert told(await redeem(served, token)) == (403, "USER_DEACTIVATED")
    assert await uses(served) == [0]
    await served.write(app, {"userId": ADA, "deactivated": False})
    assert (await redeem(served, token)).status == 200


async def test_who_is_locked_is_refused_and_the_token_keeps_its_use(served: Served) -> None:
    await at_home(served)
    token = await minted(served)
    lock = update(users).values(locked_at=served.hands())
    await served.gateway.db.write(lambda tx: tx.execute(lock).rowcount)
    assert told(await redeem(served, token)) == (403, "USER_LOCKED")
    assert await uses(served) == [0]


async def test_a_key_that_its_session_has_given_up_gets_nothing_by_asking_again(served: Served) -> None:
    await at_home(served)
    token = await minted(served)
    tokens = (await redeem(served, token)).json
    renewal = signed_refresh(served, tokens["refreshToken"], new_key=device(2))
    assert (await refreshed(served, renewal)).status == 200
    assert told(await redeem(served, token)) == (410, "token_used")


async def test_who_is_deactivated_is_refused_on_asking_again_too(served: Served) -> None:
    app = await at_home(served)
    token = await minted(served)
    await sid(served, token)
    await served.write(app, {"userId": ADA, "deactivated": True})
    assert told(await redeem(served, token)) == (403, "USER_DEACTIVATED")


async def test_one_device_too_many_is_refused_told_of_and_the_token_keeps_its_use(served: Served) -> None:
    app = await at_home(served, devices_max=1)
    await sid(served, await minted(served), by=device(1))
    token = await minted(served)
    assert told(await redeem(served, token, by=device(2))) == (403, "DEVICE_LIMIT_REACHED")
    assert await uses(served) == [0, 1]
    type_, refused = (await events_of(served, app.app_id))[-1]
    assert (type_, refused["sign_in"]["method"]) == ("device.refused", "enrollment_token")


async def test_who_was_deleted_and_came_back_has_no_token(served: Served) -> None:
    app = await at_home(served)
    token = await minted(served)
    assert await delete_user(served.gateway.db, app.app_id, ADA, served.hands())
    await served.write(app, {"userId": ADA, "type": "prod"})
    assert told(await redeem(served, token)) == (401, "invalid_grant")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"public_key": None}, 400),
        ({"enrollment_token": None}, 400),
        ({"scopes": ["ACCESS_DB", "GLOBAL_READ"]}, 403),
        ({"device": {"id": "key_of-somebody"}}, 400),
    ],
)
async def test_what_a_login_needs_is_needed_here(served: Served, fields: dict[str, Any], status: int) -> None:
    await at_home(served)
    token = await minted(served)
    assert (await redeem(served, token, **fields)).status == status
    assert await uses(served) == [0]


async def test_fifty_devices_race_for_one_use_and_one_key_races_itself(served: Served) -> None:
    app = await at_home(served)
    token = await minted(served)
    answers = await asyncio.gather(
        *(redeem(served, token, by=device(1 + number % 2)) for number in range(50))
    )
    won = [answer for answer in answers if answer.status == 200]
    assert len({answer.json["claims"]["sid"] for answer in won}) == 1
    assert {told(answer) for answer in answers if answer.status != 200} == {(410, "token_used")}
    assert len(won) == 25
    assert await uses(served) == [1]
    assert await types(served, app) == ["device.enrolled", "session.started"]


async def test_of_rivals_on_two_servers_one_enrolls(served_postgres_url: str) -> None:
    async with serving(served_postgres_url) as one, serving(served_postgres_url) as two:
        app = await at_home(one)
        for number in range(1, 6):
            token = await minted(one)
            answers = await asyncio.gather(
                *(
                    redeem(where, token, by=device(by))
                    for where, by in ((one, 1), (two, 2), (one, 3), (two, 1))
                )
            )
            keys = (1, 2, 3, 1)
            winners = {key for key, answer in zip(keys, answers, strict=True) if answer.status == 200}
            assert len(winners) == 1
            assert all(answer.status in (200, 410) for answer in answers)
            sessions = {answer.json["claims"]["sid"] for answer in answers if answer.status == 200}
            assert len(sessions) == 1
            assert (await uses(one))[0] == 1, number
        assert app.app_id


async def test_one_key_on_two_servers_gets_one_session(served_postgres_url: str) -> None:
    async with serving(served_postgres_url) as one, serving(served_postgres_url) as two:
        app = await at_home(one)
        token = await minted(one)
        sessions = await asyncio.gather(*(sid(where, token) for where in (one, two) * 5))
        assert len(set(sessions)) == 1
        assert await uses(one) == [1]
        assert await types(one, app) == ["device.enrolled", "session.started"]


async def by_a_client(served: Served, app: App) -> tuple[str, str]:
    """The id of an API client, and the token that it has made for Ada, for two uses."""
    client = await served.client(app)
    credentials = base64.b64encode(f"{client.client_id}:{client.client_secret}".encode()).decode()
    made = await served.ask(
        "POST",
        f"/api/v4/notes/users/{ADA}/authentication-token",
        headers={"Authorization": f"Basic {credentials}"},
        json={"uses": 2},
    )
    assert made.status == 201, made.body
    return client.client_id, made.json["token"]


async def state(served: Served) -> str:
    """What Ada's newest token is told to be."""
    listed = await served.ask("GET", TOKENS, headers=served.command())
    told_state: str = listed.json["tokens"][0]["state"]
    return told_state


@pytest.mark.parametrize(("method", "path"), [("DELETE", ""), ("POST", "/secret")])
async def test_what_a_client_has_opened_ends_with_the_client_or_its_secret(
    served: Served, method: str, path: str
) -> None:
    app = await at_home(served)
    client_id, token = await by_a_client(served, app)
    tokens = (await redeem(served, token)).json
    assert tokens["claims"]["client_id"] == client_id
    again = await refreshed(served, signed_refresh(served, tokens["refreshToken"]))
    assert (again.status, again.json["claims"]["client_id"]) == (200, client_id)
    for each in (tokens, again.json):
        asked = await served.ask(
            "GET", "/notes/token/validate", headers={"Authorization": f"Bearer {each['accessToken']}"}
        )
        assert asked.status == 200, asked.body

    served.hands.move(seconds=1)
    ended = await served.ask(method, f"/api/apps/notes/clients/{client_id}{path}", headers=served.command())
    assert ended.status in (200, 204)

    assert told(await redeem(served, token)) == (410, "token_revoked")
    assert told(await redeem(served, token, by=device(2))) == (410, "token_revoked")
    assert await state(served) == "revoked"
    refused = await refreshed(served, signed_refresh(served, again.json["refreshToken"]))
    assert (refused.status, refused.json["error"]) == (401, "invalid_grant")
    for each in (tokens, again.json):
        asked = await served.ask(
            "GET", "/notes/token/validate", headers={"Authorization": f"Bearer {each['accessToken']}"}
        )
        assert asked.status == 401


async def test_a_secret_that_was_changed_while_a_client_asked_makes_nothing(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is the secret by which the client came in, not when its token was written."""
    app = await at_home(served)
    mint = enrollment_tokens.mint

    def late(tx: Transaction, ring: KeyRing, app_id: str, new: NewToken, now: int) -> Minted:
        assert new.maker.client_id is not None
        assert clients.rotate_client(tx, ring, app_id, new.maker.client_id, now)
        return mint(tx, ring, app_id, new, now + 10)

    monkeypatch.setattr(enrollment_tokens, "mint", late)
    served.hands.move(seconds=1)
    _, token = await by_a_client(served, app)
    assert told(await redeem(served, token)) == (410, "token_revoked")


async def test_a_token_ends_with_the_operator_token_that_made_it(served: Served) -> None:
    await at_home(served)
    operator = await served.ask(
        "POST", "/api/tokens", headers=served.command(), json={"label": "desk", "scopes": ["sessions:write"]}
    )
    headers = {"Authorization": f"Bearer {operator.json['token']}"}
    both = [
        await served.ask("POST", TOKENS, headers=headers, json={}),
        await served.ask("POST", f"/api/v4/notes/users/{ADA}/authentication-token", headers=headers),
    ]
    session = await redeem(served, both[0].json["token"])
    assert session.status == 200
    assert await state(served) == "active"

    where = f"/api/tokens/{operator.json['token_id']}"
    assert (await served.ask("DELETE", where, headers=served.command())).status == 204

    for each in both:
        assert told(await redeem(served, each.json["token"])) == (410, "token_revoked")
    assert await state(served) == "revoked"
    assert (await redeem(served, await minted(served))).status == 200  # by a command
    refresh = signed_refresh(served, session.json["refreshToken"])
    assert (await refreshed(served, refresh)).status == 200


async def test_a_token_goes_on_when_the_operator_token_that_made_it_expires(served: Served) -> None:
    await at_home(served)
    operator = await served.ask(
        "POST",
        "/api/tokens",
        headers=served.command(),
        json={"label": "desk", "scopes": ["sessions:write"], "expires_in_seconds": 60},
    )
    assert operator.status == 200, operator.body
    headers = {"Authorization": f"Bearer {operator.json['token']}"}
    made = await served.ask("POST", TOKENS, headers=headers, json={})
    served.hands.move(seconds=120)
    assert (await served.ask("POST", TOKENS, headers=headers, json={})).status == 401
    assert (await redeem(served, made.json["token"])).status == 200


async def test_wrong_tokens_are_counted_by_address_and_shut_no_right_one_out(
    served_url: str, tmp_path: Any
) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text("wrong_enrollment_tokens_per_address = {count = 3, window_seconds = 3600}\n")
    async with serving(served_url, rate_limits=str(limits)) as served:
        await at_home(served)
        token = await minted(served)
        for _ in range(5):
            assert (await redeem(served, token)).status == 200
            assert told(await redeem(served, token, by=device(2))) == (410, "token_used")
        wrong = [await redeem(served, f"enr_{number:043}") for number in range(4)]
        assert [answer.status for answer in wrong] == [401, 401, 401, 429]
        assert wrong[-1].headers["Retry-After"]
        assert (await redeem(served, token)).status == 200
        assert told(await redeem(served, token, by=device(2))) == (410, "token_used")
        assert (await redeem(served, "enr_wrong")).status == 429
        served.hands.move(seconds=3_600)
        assert (await redeem(served, "enr_wrong")).status == 401


async def test_tokens_count_for_the_user_whom_they_let_in(served_url: str, tmp_path: Any) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text("tokens_per_user = {count = 2, window_seconds = 3600}\n")
    async with serving(served_url, rate_limits=str(limits)) as served:
        await at_home(served)
        token = await minted(served)
        await sid(served, token)
        # Who is refused anyway uses up nothing of Ada's.
        assert {told(await redeem(served, token, by=device(2))) for _ in range(5)} == {(410, "token_used")}
        assert [(await redeem(served, token)).status for _ in range(2)] == [200, 429]


async def test_neither_the_log_nor_the_events_know_the_token(served: Served) -> None:
    app = await at_home(served)
    with capture_logs() as lines:
        token = await minted(served)
        await redeem(served, token)
        await redeem(served, token, by=device(2))
        await redeem(served, token, scopes=["GLOBAL_READ"])
    assert lines
    assert token.removeprefix("enr_") not in str(lines) + str(await events_of(served, app.app_id))


async def test_the_link_and_the_picture_lead_to_the_app(served: Served) -> None:
    await at_home(served)
    issued = await made(served)
    assert issued["url"] == f"{ORIGIN}/#enrollment_token={issued['token']}"
    assert issued["expires_at"] == pytest.approx(served.hands() + 900_000, abs=60_000)
    assert (issued["uses_max"], issued["device"], issued["user_id"]) == (1, None, ADA)
    head, _, picture = issued["qr_svg"].partition(",")
    assert head.startswith("data:image/svg+xml")
    svg = base64.b64decode(picture).decode() if head.endswith("base64") else unquote(picture)
    assert svg.startswith("<svg")
    assert "<script" not in svg
    assert re.search(r"fill=['\"]#fff['\"]", svg)


async def test_the_operator_chooses_where_links_lead(served: Served) -> None:
    await at_home(served)
    where = "/api/apps/notes/settings"
    for link in ("javascript://x/{token}", "https://evil.example.com/#{token}", "https://app.example.com/"):
        refused = await served.ask("POST", where, json={"enrollment_link": link}, headers=served.command())
        assert told(refused) == (400, "invalid_request")
    for link in ("com.example.notes://enroll?t={token}", f"{ORIGIN}/join#{{token}}"):
        done = await served.ask("POST", where, json={"enrollment_link": link}, headers=served.command())
        assert (done.status, done.json["settings"]["enrollment_link"]) == (200, link)
        issued = await made(served)
        assert issued["url"] == link.replace("{token}", issued["token"])
    await served.ask("DELETE", "/api/apps/notes/origins", params={"origin": ORIGIN}, headers=served.command())
    before = await uses(served)
    refused = await served.ask("POST", TOKENS, json={}, headers=served.command())
    assert told(refused) == (409, "enrollment_link_unusable")
    assert await uses(served) == before


async def test_a_whole_set_of_settings_is_held_to_the_same_rule(served: Served) -> None:
    await at_home(served)
    refused = await served.ask(
        "PUT",
        "/api/apps/notes/settings",
        json={"enrollment_link": "https://evil.example.com/#{token}"},
        headers=served.command(),
    )
    assert told(refused) == (400, "invalid_request")


async def test_the_list_tells_what_has_become_of_each_and_never_the_token(served: Served) -> None:
    await at_home(served)
    tokens = [await made(served, uses_max=2, device="tablet-7"), await made(served), await made(served)]
    await sid(served, tokens[1]["token"])
    await served.ask("DELETE", f"{TOKENS}/{tokens[2]['token_id']}", headers=served.command())
    first = await served.ask("GET", TOKENS, params={"limit": 2}, headers=served.command())
    rest = await served.ask(
        "GET", TOKENS, params={"limit": 2, "before": first.json["before"]}, headers=served.command()
    )
    assert rest.json["before"] is None
    listed = first.json["tokens"] + rest.json["tokens"]
    assert [(each["token_id"], each["state"], each["uses"]) for each in listed] == [
        (tokens[2]["token_id"], "revoked", 0),
        (tokens[1]["token_id"], "used", 1),
        (tokens[0]["token_id"], "active", 0),
    ]
    assert listed[2]["device"] == "tablet-7"
    for each in tokens:
        assert each["token"].encode() not in first.body + rest.body


@pytest.mark.parametrize(
    "body",
    [
        {"expires_in_seconds": 59},
        {"expires_in_seconds": 30 * 86_400 + 1},
        {"uses_max": 0},
        {"uses_max": 1_001},
        {"device": ""},
        {"device": "key_x"},
        {"uses": 3},
    ],
)
async def test_a_token_that_makes_no_sense_is_refused(door: Served, body: dict[str, Any]) -> None:
    await at_home(door)
    assert (await door.ask("POST", TOKENS, json=body, headers=door.command())).status == 400
    assert await uses(door) == []


async def test_the_admin_api_needs_its_scopes_and_knows_the_user(door: Served) -> None:
    await at_home(door)

    async def holder(*scopes: str) -> dict[str, str]:
        body = {"label": "a test", "scopes": list(scopes)}
        answer = await door.ask("POST", "/api/tokens", json=body, headers=door.command())
        return {"Authorization": f"Bearer {answer.json['token']}"}

    reads, writes = await holder("sessions:read"), await holder("sessions:write")
    users = await holder("users:read", "users:write")
    issued = await made(door)
    one = f"{TOKENS}/{issued['token_id']}"
    for method, path, allowed, refused in (
        ("POST", TOKENS, writes, (reads, users)),
        ("GET", TOKENS, reads, (writes, users)),
        ("DELETE", one, writes, (reads, users)),
    ):
        body: object = {} if method == "POST" else None
        for header in refused:
            assert (await door.ask(method, path, json=body, headers=header)).status == 403
        assert (await door.ask(method, path, json=body, headers=allowed)).status in (200, 204)
    nobody = TOKENS.replace(ADA, "nobody@example.com")
    assert told(await door.ask("POST", nobody, json={}, headers=writes)) == (404, "user_not_found")
    unknown = await door.ask("DELETE", f"{TOKENS}/ent_unknown", headers=writes)
    assert told(unknown) == (404, "enrollment_token_not_found")
