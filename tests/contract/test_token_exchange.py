"""Token exchange (RFC 8693): an ID token of another client of a trusted provider, for tokens of ours."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import func, select

from admit.accounts.tables import sessions
from admit.signin import sign_in_codes
from admit.signin.tables import sign_in_codes as codes_table
from tests.contract.served import Answered
from tests.contract.signin_desk import device
from tests.contract.sso_desk import EXCHANGE, Desk, sso_desk, without
from tests.contract.token_desk import events_of
from tests.hostile_provider import CLIENT_ID, encode, saying, signing_key

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
JWT = "urn:ietf:params:oauth:token-type:jwt"
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
HOUR = 3_600


@pytest.fixture
async def desk(served_url: str) -> AsyncIterator[Desk]:
    async with sso_desk(served_url) as made:
        yield made


@pytest.fixture
async def front(served_sqlite_url: str) -> AsyncIterator[Desk]:
    """For what the database has no part in."""
    async with sso_desk(served_sqlite_url) as made:
        yield made


def id_token(desk: Desk, **changes: Any) -> str:
    """What the phone's own sign-in at the provider has given it."""
    return desk.op.sign(desk.op.claims(aud="phone", **changes))


async def test_id_token_becomes_tokens_with_the_device(desk: Desk) -> None:
    answer = await desk.swap(id_token(desk), device={"id": "d-1", "label": "Phone"})
    assert answer.status == 200, answer.body
    told = answer.json
    assert (told["type"], told["claims"]["sub"]) == ("tokens", "ada@example.com")
    assert told["access_token"] == told["accessToken"]
    assert told["issued_token_type"] == ACCESS_TOKEN
    assert (told["token_type"], told["scope"]) == ("Bearer", "ACCESS_DB")
    assert told["expires_in"] in (3_599, 3_600)
    assert told["refreshToken"]
    assert answer.headers["Cache-Control"] == "no-store"
    events = dict(await events_of(desk.served, desk.app.app_id))
    sign_in = events["user.enrolled"]["sign_in"]
    assert (sign_in["method"], sign_in["provider"]) == ("token_exchange", "house")
    assert events["device.enrolled"]["device"]["identifier"] == "d-1"


async def test_whoever_came_by_the_redirect_is_the_same_person(desk: Desk) -> None:
    first = await desk.exchange((await desk.returned())["code"])
    second = await desk.swap(id_token(desk), by=device(2))
    assert first.json["claims"]["sub"] == second.json["claims"]["sub"]
    kinds = [kind for kind, _ in await events_of(desk.served, desk.app.app_id)]
    assert kinds.count("user.enrolled") == 1


async def test_form_is_understood_as_rfc_8693_has_it(desk: Desk) -> None:
    form = {
        "grant_type": EXCHANGE,
        "subject_token": id_token(desk),
        "subject_token_type": JWT,
        "requested_token_type": ACCESS_TOKEN,
        "scope": "ACCESS_DB",
        "resource": "",
    }
    answer = await posted(desk, urlencode(form))
    assert answer.status == 200, answer.body
    assert answer.json["access_token"]
    assert "refreshToken" not in answer.json  # there is no key to refresh with
    twice = await posted(desk, urlencode(form) + "&scope=ACCESS_DB")
    assert (twice.status, twice.json["error"]) == (400, "invalid_request")


# Once


async def test_token_is_good_once_and_the_same_key_may_repeat_it(desk: Desk) -> None:
    token = id_token(desk)
    first = await desk.swap(token)
    assert (await desk.swap(token)).status == 200
    refused = await desk.swap(token, by=device(2))
    assert (refused.status, refused.json["code"]) == (403, "SIGN_IN_EXPIRED")
    state = select(sessions.c.state)
    assert await desk.served.gateway.db.read(lambda tx: tx.execute(state).scalar_one()) == "ENROLLED"
    desk.served.hands.move(seconds=61)
    assert (await desk.swap(token)).status == 403
    assert first.status == 200


async def test_token_without_a_key_is_good_for_one_request(desk: Desk) -> None:
    token = id_token(desk)
    answers = await asyncio.gather(*(desk.swap(token, public_key=None) for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [200] + [403] * 9
    assert (await desk.swap(token)).status == 403


async def test_who_is_over_the_limit_leaves_no_row_behind(served_url: str, tmp_path: Path) -> None:
    async with sso_desk(served_url, rate_limits=limited_to(2, tmp_path)) as desk:
        answers = [await desk.swap(id_token(desk, jti=str(number))) for number in range(5)]
        assert [answer.status for answer in answers] == [200, 200, 429, 429, 429]
        count = select(func.count()).select_from(codes_table)
        assert await desk.served.gateway.db.read(lambda tx: tx.execute(count).scalar_one()) == 2


async def test_replays_count_against_the_limit(served_url: str, tmp_path: Path) -> None:
    async with sso_desk(served_url, rate_limits=limited_to(3, tmp_path)) as desk:
        token = id_token(desk)
        statuses = [(await desk.swap(token, by=device(number))).status for number in (1, 2, 3, 4, 5)]
        assert statuses == [200, 403, 403, 429, 429]


async def test_fifty_exchanges_of_one_token_are_one_enrollment(desk: Desk) -> None:
    token = id_token(desk)
    answers = await asyncio.gather(*(desk.swap(token) for _ in range(50)))
    assert {answer.status for answer in answers} == {200}
    kinds = [kind for kind, _ in await events_of(desk.served, desk.app.app_id)]
    assert kinds == ["user.enrolled", "device.enrolled", "session.started"]


async def test_second_spelling_of_a_signature_is_no_second_token(desk: Desk) -> None:
    """ECDSA: (r, n - s) is as good as (r, s), and the last character of base64url has spare bits."""
    desk.op.keys = [signing_key("curve", "ES256")]
    token = id_token(desk)
    signed, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    mirrored = P256_ORDER - int.from_bytes(raw[32:], "big")
    twin = f"{signed}.{encode(raw[:32] + mirrored.to_bytes(32, 'big'))}"
    assert (await desk.swap(twin, by=device(2))).status == 200
    assert (await desk.swap(token)).status == 403


async def test_token_is_remembered_for_as_long_as_it_could_be_good(desk: Desk) -> None:
    token = id_token(desk, exp=int(desk.op.seconds()) + 40 * HOUR)
    assert (await desk.swap(token)).status == 200
    desk.served.hands.move(seconds=23 * HOUR)
    await desk.served.gateway._prune(sign_in_codes.prune)
    assert (await desk.swap(token, by=device(2))).json["code"] == "SIGN_IN_EXPIRED"
    desk.served.hands.move(seconds=2 * HOUR)
    assert (await desk.swap(token, by=device(2))).json["code"] == "id_token_too_old"


# Whose


@pytest.mark.parametrize("aud", ["stranger", ["stranger", "other"], "", CLIENT_ID + " "])
async def test_token_for_a_foreign_client_is_refused(front: Desk, aud: Any) -> None:
    token = front.op.sign(front.op.claims(aud=aud))
    for named in (None, "house"):
        answer = await front.swap(token, provider=named)
        assert (answer.status, answer.json["error"]) == (400, "invalid_request")
        assert answer.json["code"] in ("exchange_off", "id_token_audience")
    assert await events_of(front.served, front.app.app_id) == []


async def test_exchange_is_off_until_audiences_are_named(front: Desk) -> None:
    await front.put(without(front.provider, audiences=()))
    token = front.op.sign(front.op.claims())
    for named in (None, "house", "nobody"):
        answer = await front.swap(token, provider=named)
        assert (answer.status, answer.json["code"]) == (400, "exchange_off")
        assert answer.json["error"] == "invalid_request"
    assert front.op.requests == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iss": "https://evil.example"}, "id_token_issuer"),
        ({"exp": 1}, "id_token_expired"),
        ({"sub": ""}, "id_token_subject"),
    ],
)
async def test_token_that_does_not_hold_is_refused_by_name(
    front: Desk, changes: dict[str, Any], code: str
) -> None:
    answer = await front.swap(id_token(front, **changes), provider="house")
    assert (answer.status, answer.json["error"], answer.json["code"]) == (400, "invalid_request", code)
    assert answer.json["message"].isascii()


async def test_forged_tokens_are_refused(front: Desk) -> None:
    claims = front.op.claims(aud="phone")
    good = front.op.sign(claims)
    head, body, signature = good.split(".")
    forged = (
        front.op.unsigned(claims),
        front.op.confused(claims),
        front.op.sign(claims, key=signing_key("stranger")),
        f"{head}.{encode(base64.urlsafe_b64decode(body + '==').replace(b'ada-at', b'eve-at'))}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}",
        "",
        "..",
        "a.b.c",
        f"x.{encode(b'[' * 10_000)}.y",
        "\u202e.é.x",
    )
    for token in forged:
        answer = await front.swap(token)
        assert answer.status == 400, (token, answer.body)
    assert (await front.swap(good)).status == 200


async def test_nonce_is_checked_where_the_client_tells_it(front: Desk) -> None:
    token = id_token(front, nonce="n-1")
    answer = await front.swap(token, nonce="n-2")
    assert (answer.status, answer.json["code"]) == (400, "id_token_nonce")
    assert (await front.swap(token, nonce="n-1")).status == 200


async def test_tenants_of_microsoft_are_found_by_the_audience(front: Desk) -> None:
    front.op.be_microsoft()
    await front.put(front.op.microsoft(audiences=("phone",), trusted_domains=("example.com",)))
    front.op.changes["xms_edov"] = True
    answer = await front.swap(id_token(front))
    assert answer.status == 200, answer.body
    events = dict(await events_of(front.served, front.app.app_id))
    assert events["user.enrolled"]["sign_in"]["provider"] == "microsoft"


# What is not given


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"subject_token": None}, "invalid_request"),
        ({"subject_token_type": None}, "invalid_request"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"),
        ({"subject_token_type": ACCESS_TOKEN}, "invalid_request"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request"),
        ({"actor_token": "x", "actor_token_type": JWT}, "invalid_request"),
        ({"actor_token_type": JWT}, "invalid_request"),
        ({"audience": "https://other.example"}, "invalid_target"),
        ({"resource": "https://other.example"}, "invalid_target"),
        ({"scopes": ["ACCESS_DB", "GLOBAL_READ"]}, "insufficient_scope"),
        ({"scope": "IMPERSONATE"}, "insufficient_scope"),
        ({"subject_token": "x" * 20_000}, "too_large"),
    ],
)
async def test_what_is_asked_beyond_it_is_refused(front: Desk, fields: dict[str, Any], error: str) -> None:
    answer = await front.swap(id_token(front), **fields)
    assert answer.status in (400, 403, 413)
    assert answer.json["error"] == error
    assert await events_of(front.served, front.app.app_id) == []


async def test_huge_body_is_cut_off(front: Desk) -> None:
    assert (await front.swap("x" * 70_000)).status == 413
    assert (await posted(front, f"grant_type={EXCHANGE}&subject_token={'x' * 70_000}")).status == 413


async def test_provider_that_does_not_answer_is_not_the_tokens_fault(front: Desk) -> None:
    front.op.answers["/.well-known/openid-configuration"] = saying("no", 500)
    answer = await front.swap(id_token(front))
    assert (answer.status, answer.json["error"]) == (503, "temporarily_unavailable")
    assert answer.headers["Retry-After"] == "5"
    del front.op.answers["/.well-known/openid-configuration"]
    assert (await front.swap(id_token(front))).status == 200


async def test_email_that_is_not_trusted_enrolls_nobody(desk: Desk) -> None:
    answer = await desk.swap(id_token(desk, email="ada@elsewhere.example"))
    assert (answer.status, answer.json["code"]) == (403, "EMAIL_NOT_TRUSTED")
    assert await events_of(desk.served, desk.app.app_id) == []


def limited_to(count: int, folder: Path) -> str:
    """A file of limits, of so many tokens for each person."""
    file = folder / "limits.toml"
    file.write_text(f"tokens_per_user = {{count = {count}, window_seconds = 3600}}\n")
    return str(file)


async def posted(desk: Desk, form: str) -> Answered:
    headers = {"Content-Type": "application/x-www-form-urlencoded;charset=UTF-8"}
    return await desk.served.ask("POST", "/notes/token", data=form.encode(), headers=headers)
