"""POST /token and its neighbours over HTTP: bodies, statuses and forms as the contract has them."""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import KeySet

from admit.accounts.apps import App
from admit.clock import DAY_MS
from tests.contract.served import Answered, Served
from tests.contract.signin_desk import Device, device

ADA = "ada@example.com"
EVAL_DAYS = 30


@pytest.fixture
async def app(door: Served) -> App:
    """The app of a server on SQLite: forms are the same on both databases."""
    return await door.app()


async def ask(served: Served, body: object) -> Answered:
    return await served.ask("POST", "/notes/token", data=msgspec.json.encode(body))


async def vouched(served: Served, app: App, **fields: Any) -> Answered:
    """A login that a backend vouches for, with the key of a device."""
    client = await served.client(app)
    body = {
        "grant_type": "client_credentials",
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "scopes": ["ACCESS_DB"],
        "claims": {"sub": ADA, "email": ADA, "name": "Ada"},
        "public_key": device().public_key.pem,
    }
    return await ask(served, body | fields)


async def refreshed(served: Served, token: str, *, by: Device | None = None, **fields: Any) -> Answered:
    """A refresh as the addon sends it."""
    time_stamp = served.hands()
    body = {
        "grant_type": "refresh_token",
        "refresh_token": token,
        "scopes": ["ACCESS_DB"],
        "signing_algorithm": "RSASSA-PKCS1-v1_5",
        "time_stamp": time_stamp,
        "signature": (by or device()).sign(f"{token}{time_stamp}"),
    }
    return await ask(served, body | fields)


async def test_tokens_come_with_the_members_of_the_contract_and_times_in_milliseconds(
    door: Served, app: App
) -> None:
    before = door.hands()
    answer = await vouched(door, app)
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    body = answer.json
    claims = body["claims"]
    assert (claims["sub"], claims["email"], claims["name"], claims["license"]) == (ADA, ADA, "Ada", "ok")
    assert body["type"] == "tokens"
    assert (body["userType"], body["evalDaysLeft"], body["data"]) == ("eval", EVAL_DAYS, {})
    for moment, life_ms in (("accessTokenExpiration", 3_600_000), ("refreshTokenExpiration", 180 * DAY_MS)):
        assert -1_000 < body[moment] - before - life_ms < 60_000
    assert set(body) == {
        *("type", "claims", "accessToken", "accessTokenExpiration", "refreshToken"),
        *("refreshTokenExpiration", "userType", "evalDaysLeft", "data"),
    }


async def test_without_a_key_there_is_no_refresh_token(door: Served, app: App) -> None:
    body = (await vouched(door, app, public_key=None)).json
    assert body["type"] == "tokens"
    assert not {"refreshToken", "refreshTokenExpiration"} & set(body)


@pytest.mark.parametrize(
    ("asked", "seconds"), [("30m", 1_800), ("2 days", 172_800), ("5000", 5), (90, 90), ("1.5h", 5_400)]
)
async def test_a_client_chooses_how_long_its_token_lives(
    door: Served, app: App, asked: str | int, seconds: int
) -> None:
    for fields in ({}, {"claims": None, "public_key": None}):
        before = door.hands()
        body = (await vouched(door, app, expires_in=asked, **fields)).json
        assert -1_000 <= body["accessTokenExpiration"] - before - seconds * 1_000 < 5_000


async def test_a_token_for_later_opens_nothing_before(door: Served, app: App) -> None:
    before = door.hands()
    body = (await vouched(door, app, not_before="10m", expires_in="1m")).json
    assert 0 <= body["accessTokenExpiration"] - before - 660_000 < 5_000
    headers = {"Authorization": f"Bearer {body['accessToken']}"}
    assert (await door.ask("GET", "/notes/token/validate", headers=headers)).status == 401
    door.hands.move(seconds=601)
    assert (await door.ask("GET", "/notes/token/validate", headers=headers)).status == 200
    door.hands.move(seconds=121)
    assert (await door.ask("GET", "/notes/token/validate", headers=headers)).status == 401


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_in": "31 days"},
        {"expires_in": 0},
        {"expires_in": "-1h"},
        {"expires_in": "soon"},
        {"not_before": "30 days"},
        {"not_before": "9" * 90 + "y"},
        {"expires_in": 10**18},
    ],
)
async def test_a_life_that_no_token_has_is_refused_and_nobody_enrolls(
    door: Served, app: App, fields: dict[str, object]
) -> None:
    refused = await vouched(door, app, claims=None, public_key=None, **fields)
    assert (refused.status, refused.json["code"]) == (400, "invalid_request")
    refused = await vouched(door, app, **fields)
    assert (refused.status, refused.json["code"]) == (400, "invalid_request")
    listed = await door.ask("GET", "/api/apps/notes/users", headers=door.command())
    assert listed.json["users"] == []


async def test_a_client_for_itself_is_a_client_whom_nobody_enrolls(door: Served, app: App) -> None:
    body = (await vouched(door, app, claims=None, public_key=None)).json
    assert (body["userType"], "refreshToken" in body) == ("client", False)
    assert body["claims"]["sub"] == body["claims"]["client_id"]


async def test_unknown_grants_and_wrong_clients_have_the_errors_of_oauth(door: Served, app: App) -> None:
    unknown = await ask(door, {"grant_type": "password", "username": "ada", "password": "x"})
    assert (unknown.status, unknown.json["error"]) == (400, "unsupported_grant_type")
    wrong = await vouched(door, app, client_secret="wrong")
    assert (wrong.status, wrong.json["error"], wrong.json["code"]) == (401, *["invalid_client"] * 2)
    lacking = await vouched(door, app, scopes=["ACCESS_DB", "NO_SUCH_SCOPE"])
    assert (lacking.status, lacking.json["code"]) == (403, "insufficient_scope")


async def test_a_wrong_code_is_a_sentence_and_a_refusal_is_json(door: Served, app: App) -> None:
    sent = await ask(door, {"grant_type": "otp", "email": ADA, "scopes": ["ACCESS_DB"]})
    assert (sent.status, sent.json["type"]) == (200, "otp-sent")
    guess = {
        "grant_type": "otp",
        "email": ADA,
        "otp_id": sent.json["otp_id"],
        "otp": "00000000",
        "scopes": ["ACCESS_DB"],
        "public_key": device().public_key.pem,
    }
    wrong = await ask(door, guess)
    assert (wrong.status, wrong.headers["Content-Type"].split(";")[0]) == (401, "text/plain")
    assert wrong.body.decode().endswith(".")
    for _ in range(4):
        await ask(door, guess)
    refused = await ask(door, guess)
    assert (refused.status, refused.json["code"]) == (403, "TOO_MANY_GUESSES")


async def test_a_refresh_token_is_no_bearer_and_an_access_token_no_refresh_token(
    door: Served, app: App
) -> None:
    body = (await vouched(door, app)).json
    headers = {"Authorization": f"Bearer {body['refreshToken']}"}
    assert (await door.ask("GET", "/notes/token/validate", headers=headers)).status == 401
    assert (await refreshed(door, body["accessToken"])).status == 401


@pytest.mark.parametrize(
    ("change", "license"), [({"deactivated": True}, "deactivated"), ({"validUntil": "2020-01-01"}, "expired")]
)
async def test_a_refresh_tells_the_license_of_who_is_not_welcome(
    door: Served, app: App, change: dict[str, object], license: str
) -> None:
    token = (await vouched(door, app)).json["refreshToken"]
    await door.write(app, {"userId": ADA, **change})
    answer = await refreshed(door, token)
    assert (answer.status, answer.json["claims"]["license"]) == (200, license)


async def test_who_has_expired_may_sign_in_and_who_was_deactivated_may_not(door: Served, app: App) -> None:
    await door.write(app, {"userId": ADA, "type": "prod", "validUntil": "2020-01-01"})
    assert (await vouched(door, app)).json["claims"]["license"] == "expired"
    await door.write(app, {"userId": ADA, "deactivated": True})
    refused = await vouched(door, app)
    assert (refused.status, refused.json["code"]) == (403, "USER_DEACTIVATED")


async def test_data_that_was_cleared_reaches_the_client_as_an_empty_object(door: Served, app: App) -> None:
    await door.write(app, {"userId": ADA, "type": "prod", "data": {"plan": "team"}})
    first = (await vouched(door, app)).json
    assert first["data"] == {"plan": "team"}
    await door.write(app, {"userId": ADA, "data": None})
    assert (await refreshed(door, first["refreshToken"])).json["data"] == {}


async def test_validate_tells_backends_the_claims_while_the_session_stands(door: Served, app: App) -> None:
    body = (await vouched(door, app)).json
    headers = {"Authorization": f"Bearer {body['accessToken']}"}
    answer = await door.ask("GET", "/notes/token/validate", headers=headers)
    assert (answer.json["valid"], answer.json["claims"]["sub"]) == (True, ADA)
    await door.write(app, {"userId": ADA, "deactivated": True})
    refused = await door.ask("GET", "/notes/token/validate", headers=headers)
    assert (refused.status, refused.json["code"]) == (401, "invalid_token")


async def test_introspection_answers_clients_of_the_app_only(door: Served, app: App) -> None:
    token = (await vouched(door, app)).json["accessToken"]
    client = await door.client(app)
    credentials = {"client_id": client.client_id, "client_secret": client.client_secret}
    answer = await door.ask("POST", "/notes/introspect", data=credentials | {"token": token})
    assert (answer.json["active"], answer.json["username"], answer.json["scope"]) == (True, ADA, "ACCESS_DB")
    dead = await door.ask("POST", "/notes/introspect", data=credentials | {"token": token[:-2]})
    assert dead.json == {"active": False}
    stranger = await door.ask("POST", "/notes/introspect", data={"token": token})
    assert stranger.status == 401


async def test_auth_providers_are_mailed_codes_alone(door: Served, app: App) -> None:
    answer = await door.ask("GET", "/notes/auth-providers")
    assert answer.json == {"providers": [], "otpEnabled": True}


async def test_published_keys_verify_our_tokens(door: Served, app: App) -> None:
    token = (await vouched(door, app)).json["accessToken"]
    keys = (await door.ask("GET", "/notes/.well-known/jwks.json")).json
    assert jwt.decode(token, KeySet.import_key_set(keys), algorithms=["ES256"]).claims["sub"] == ADA


FIELDS = (
    "email otp otp_id public_key scopes intent client_id client_secret claims expires_in not_before "
    "refresh_token time_stamp signing_algorithm signature"
)
GRANTS = st.sampled_from(["otp", "client_credentials", "refresh_token", "authorization_code", "demo", ""])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


async def test_whatever_is_posted_gets_a_documented_status_and_enrolls_nobody(door: Served, app: App) -> None:
    bodies: list[bytes] = []

    @settings(max_examples=150, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        st.binary(max_size=200)
        | JSON.map(_as_json)
        | st.fixed_dictionaries({"grant_type": GRANTS}, optional=dict.fromkeys(FIELDS.split(), JSON)).map(
            _as_json
        )
    )
    def collect(body: bytes) -> None:
        bodies.append(body)

    collect()
    for body in bodies:
        answer = await door.ask("POST", "/notes/token", data=body)
        assert answer.status in (200, 400, 401, 403, 413, 429), (body, answer)
        assert answer.status != 200 or answer.json["type"] == "otp-sent", (body, answer)
    listed = await door.ask("GET", "/api/apps/notes/users", headers=door.command())
    assert listed.json["users"] == []


def _as_json(value: object) -> bytes:
    return msgspec.json.encode(value)
