"""The Sessions API, /api/v4/APP: users and sessions with the members that JourneyApps documents, and more."""

import asyncio
import base64
from typing import Any
from urllib.parse import quote

import pytest

from admit.accounts import users
from admit.accounts.apps import App
from admit.accounts.clients import NewClient
from admit.clock import DAY_MS, iso_date
from tests.contract.crowded_devices import enrolled, move_onto_devices
from tests.contract.served import Answered, Served
from tests.contract.signin_desk import Device, device
from tests.contract.token_desk import ask as ask_for_tokens
from tests.contract.token_desk import events_of, signed_refresh

ADA, BOB = "ada@example.com", "bob@example.com"
TABLET = {
    "id": "tablet-1",
    "label": "Ada's tablet",
    "platform": "android",
    "model": "Pixel C",
    "bundle_id": "com.example.notes",
    "app_version": "2.1",
    "runtime_version": "8.0",
}


class Api:
    """An app with a client that may do everything, and its Sessions API."""

    def __init__(self, served: Served, app: App, client: NewClient) -> None:
        self.served = served
        self.app = app
        self._client = client
        self._headers = {
            "Authorization": "Basic "
            + base64.b64encode(f"{client.client_id}:{client.client_secret}".encode()).decode()
        }

    async def ask(self, method: str, path: str, body: object = None) -> Answered:
        return await self.served.ask(method, f"/api/v4/notes/{path}", headers=self._headers, json=body)

    async def get(self, path: str) -> Any:
        answer = await self.ask("GET", path)
        assert answer.status == 200, answer.body
        return answer.json

    async def post(self, path: str, body: object = None) -> Any:
        answer = await self.ask("POST", path, body)
        assert answer.status in (200, 201), answer.body
        return answer.json

    async def enroll(self, sub: str = ADA, *, on: object = None, by: Device | None = None) -> Answered:
        """A login of `sub`, on the device `on`, under the key of `by`."""
        body = {
            "grant_type": "client_credentials",
            "client_id": self._client.client_id,
            "client_secret": self._client.client_secret,
            "scopes": ["ACCESS_DB"],
            "claims": {"sub": sub, "email": sub, "name": sub.partition("@")[0].title()},
            "public_key": (by or device()).public_key.pem,
        }
        return await ask_for_tokens(self.served, body if on is None else {**body, "device": on})

    async def enrolled(self, sub: str = ADA, *, on: object = None, by: Device | None = None) -> str:
        """The refresh token of a login that succeeds."""
        answer = await self.enroll(sub, on=on, by=by)
        assert answer.status == 200, answer.body
        token: str = answer.json["refreshToken"]
        return token

    async def refresh(self, token: str, by: Device | None = None) -> Answered:
        return await ask_for_tokens(self.served, signed_refresh(self.served, token, by=by))

    async def told(self, *types: str) -> list[Any]:
        """What the events of these types tell, in order."""
        return [data for type_, data in await events_of(self.served, self.app.app_id) if type_ in types]


@pytest.fixture
async def api(served: Served) -> Api:
    app = await served.app()
    return Api(served, app, await served.client(app))


def is_error(answer: Answered, status: int, code: str) -> bool:
    return (answer.status, answer.json["code"]) == (status, code) and set(answer.json) == {"code", "message"}


async def test_list_has_every_documented_member(api: Api) -> None:
    for sub in (ADA, BOB, "carol@example.com"):
        await api.enrolled(sub, on=TABLET)

    page = await api.get("users?limit=2")

    assert (page["total"], page["count"], page["more"]) == (3, 2, True)
    assert [each["user_id"] for each in page["objects"]] == [ADA, BOB]
    (session,) = page["objects"][0].pop("sessions")
    user = page["objects"][0]
    assert user == {
        "id": user["id"],
        "user_id": ADA,
        "email": ADA,
        "name": "Ada",
        "created_at": user["created_at"],
        "last_connected_at": session["last_connected_at"],
        "enrolled": True,
        "locked": False,
        "devices_max": None,
        "way_in": "client_credentials",
        "sessions_more": False,
    }
    now = session["created_at"]
    assert session == {
        "id": session["id"],
        "state": "ENROLLED",
        "created_at": now,
        "last_authenticated_at": now,
        "signed_out_at": None,
        "last_connected_at": now,
        "expires_at": session["expires_at"],
        "ordinal": 1,
        "label": "Ada's tablet",
        "container": {"version": "2.1", "bundle_id": "com.example.notes", "platform": "android"},
        "runtime": {"version": "8.0"},
        "device": {
            "id": "tablet-1",
            "derived": False,
            "first_seen_at": now,
            "last_seen_at": now,
            "model": "Pixel C",
        },
        "sync_status": {"last_full_sync": None},
        "user": {"id": user["id"], "user_id": ADA},
    }
    assert user["id"].startswith("usr_")
    assert now.endswith("Z")


async def test_pages_lead_to_each_other_by_skip_and_by_cursor(api: Api) -> None:
    everybody = [f"user{number}@example.com" for number in range(5)]
    await api.served.write(api.app, *({"userId": each, "type": "prod"} for each in everybody))

    by_skip = [
        user["user_id"]
        for skip in (0, 2, 4)
        for user in (await api.get(f"users?limit=2&skip={skip}"))["objects"]
    ]
    by_cursor, query = [], "limit=2"
    while True:
        page = await api.get(f"users?{query}")
        assert page["total"] == 5
        by_cursor += [user["user_id"] for user in page["objects"]]
        assert page["more"] is (page["next"] is not None)
        if not page["more"]:
            break
        assert quote(page["next"], safe="") == page["next"]
        query = f"limit=2&after={page['next']}"
    assert by_skip == by_cursor == everybody


async def test_user_without_a_device_has_nulls(api: Api) -> None:
    await api.served.write(api.app, {"userId": "somebody", "type": "prod"})
    user = await api.get("users/somebody")
    assert user | {"id": "", "created_at": ""} == {
        "id": "",
        "user_id": "somebody",
        "email": None,
        "name": None,
        "created_at": "",
        "last_connected_at": None,
        "enrolled": False,
        "locked": False,
        "devices_max": None,
        "way_in": "api",
        "sessions": [],
        "sessions_more": False,
    }


async def test_device_that_says_nothing_of_itself_is_that_of_its_key(api: Api) -> None:
    await api.enrolled()
    (session,) = (await api.get(f"users/{ADA}/sessions"))["objects"]
    assert session["device"]["derived"]
    assert session["label"] is None
    assert session["container"] == {"version": None, "bundle_id": None, "platform": None}
    assert (session["runtime"], session["device"]["model"]) == ({"version": None}, None)


async def test_user_and_session_are_found_by_uid_and_by_user_id(api: Api) -> None:
    await api.enrolled(on=TABLET)
    user = await api.get(f"users/{ADA}")
    assert user == await api.get(f"users/{user['id']}") == await api.get(f"users/{quote(ADA, safe='')}")
    assert user == await api.get("users/ADA@example.com")
    (session,) = user["sessions"]
    assert session == await api.get(f"users/{user['id']}/sessions/{session['id']}")


async def test_several_devices_of_a_user_are_told_apart(api: Api) -> None:
    await api.enrolled(on={"id": "phone"}, by=device(1))
    await api.enrolled(on={"id": "laptop"}, by=device(2))
    await api.enrolled(on={"id": "phone"}, by=device(2))
    await api.enrolled(BOB, on={"id": "phone"})

    page = await api.get(f"users/{ADA}/sessions?device=phone")
    assert [(each["ordinal"], each["state"], each.get("reason")) for each in page["objects"]] == [
        (2, "ENROLLED", None),
        (1, "LOCKED", "replaced"),
    ]
    assert page["objects"][1]["signed_out_at"] is not None
    active = await api.get(f"users/{ADA}/sessions?active=true")
    assert [each["device"]["id"] for each in active["objects"]] == ["phone", "laptop"]
    on_it = await api.get("sessions?device=phone&state=ENROLLED")
    assert [each["user"]["user_id"] for each in on_it["objects"]] == [BOB, ADA]
    assert [each["user_id"] for each in (await api.get("users?device=laptop"))["objects"]] == [ADA]
    assert (await api.get("users?device=nothing"))["total"] == 0


async def test_sessions_are_found_by_time(api: Api) -> None:
    await api.enrolled(on={"id": "old"}, by=device(1))
    api.served.hands.move(days=10)
    since = iso_date(api.served.hands())
    api.served.hands.move(seconds=60)
    await api.enrolled(on={"id": "new"}, by=device(2))

    async def found(query: str) -> list[str]:
        page = await api.get(f"users/{ADA}/sessions?{query}")
        return [each["device"]["id"] for each in page["objects"]]

    assert await found(f"created_since={since}") == ["new"]
    api.served.hands.move(seconds=60)
    await api.enrolled(on={"id": "old"}, by=device(1))
    assert await found(f"created_since={since}") == ["new"]
    assert await found(f"authenticated_since={since}") == ["new", "old"]
    assert await found(f"authenticated_since={quote(since.replace('Z', '+00:00'))}") == ["new", "old"]
    api.served.hands.move(days=200)
    assert await found("active=true") == []
    assert await found("active=false") == ["new", "old"]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("created_since=2026-11-22T08:00:00", "created_since needs a time zone"),
        ("created_since=2026-11-22", "created_since needs a time zone"),
        ("authenticated_since=yesterday", "authenticated_since is a time such as"),
        ("created_since=2026-11-22T08:00:00+01:00", "%2B"),
        ("created_since=0001-01-01T00:00:00Z", "from 1970"),
        ("state=enrolled", "state"),
        ("active=perhaps", "active"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("skip=100001", "send the `next`"),
        ("skip=-1", "skip"),
        ("skip=1&after=WzEsInNlcyJd", "not both"),
        ("after=nonsense", "after is not"),
        ("after=", "after is not"),
        ("sort=name", "sort"),
    ],
)
async def test_query_that_cannot_be_meant_is_refused(api: Api, query: str, sentence: str) -> None:
    await api.served.write(api.app, {"userId": ADA, "type": "prod"})
    answer = await api.ask("GET", f"users/{ADA}/sessions?{query}")
    assert is_error(answer, 400, "invalid_request")
    assert sentence in answer.json["message"]


async def test_list_of_sessions_without_a_device_is_refused(api: Api) -> None:
    assert is_error(await api.ask("GET", "sessions"), 400, "invalid_request")
    assert is_error(await api.ask("GET", "sessions?device="), 400, "invalid_request")


async def test_what_is_not_there_is_told(api: Api) -> None:
    await api.enrolled(BOB)
    (session,) = (await api.get(f"users/{BOB}/sessions"))["objects"]
    await api.served.write(api.app, {"userId": ADA, "type": "prod"})
    for method, path, code in (
        ("GET", "users/nobody", "user_not_found"),
        ("GET", "users/nobody/sessions", "user_not_found"),
        ("GET", "users/nobody/sessions/ses_1", "user_not_found"),
        ("GET", f"users/{ADA}/sessions/ses_1", "session_not_found"),
        ("GET", f"users/{ADA}/sessions/{session['id']}", "session_not_found"),
        ("POST", "users/nobody/lock", "user_not_found"),
        ("POST", "users/nobody/unlock", "user_not_found"),
        ("POST", "users/nobody/authentication-token", "user_not_found"),
        ("GET", "users/nobody/authentication-tokens", "user_not_found"),
        ("DELETE", "users/nobody/authentication-tokens/ent_1", "user_not_found"),
        ("DELETE", f"users/{ADA}/authentication-tokens/ent_1", "enrollment_token_not_found"),
        *(
            ("POST", f"users/{ADA}/sessions/{session['id']}/{verb}", "session_not_found")
            for verb in ("lock", "unlock", "wipe", "re-authenticate")
        ),
    ):
        assert is_error(await api.ask(method, path), 404, code), (method, path)
    assert (await api.get(f"users/{BOB}"))["sessions"] == [session]


# Changes


async def test_locked_user_is_out_of_every_device_until_unlocked(api: Api) -> None:
    tokens = [await api.enrolled(on={"id": f"device{number}"}, by=device(number)) for number in (1, 2)]

    for _ in range(2):
        user = await api.post(f"users/{ADA}/lock")
        assert (user["locked"], user["enrolled"]) == (True, False)
        assert {(each["state"], each["reason"]) for each in user["sessions"]} == {("LOCKED", "user_locked")}
        assert all(each["signed_out_at"] for each in user["sessions"])
    assert (await api.get("users?locked=true"))["total"] == 1
    assert (await api.get("users?locked=false"))["objects"] == []
    refused = await api.refresh(tokens[0], device(1))
    assert (refused.status, refused.json["code"]) == (401, "session_locked")
    assert is_error(await api.enroll(on={"id": "device3"}), 403, "USER_LOCKED")
    session_id = user["sessions"][0]["id"]
    assert is_error(await api.ask("POST", f"users/{ADA}/sessions/{session_id}/unlock"), 409, "user_locked")

    for _ in range(2):
        user = await api.post(f"users/{ADA}/unlock")
        assert (user["locked"], user["enrolled"]) == (False, True)
        assert all(each["state"] == "ENROLLED" and each["signed_out_at"] for each in user["sessions"])
    assert (await api.refresh(tokens[0], device(1))).status == 200
    assert len(await api.told("user.locked")) == len(await api.told("user.unlocked")) == 1


async def test_session_goes_through_its_states(api: Api) -> None:
    token = await api.enrolled(on=TABLET)
    path = f"users/{ADA}/sessions/{(await api.get(f'users/{ADA}'))['sessions'][0]['id']}"

    async def stands(state: str, reason: str | None, refresh: str | None) -> None:
        session = await api.get(path)
        assert (session["state"], session.get("reason")) == (state, reason)
        api.served.hands.move(seconds=1)
        answer = await api.refresh(token)
        assert (answer.status, answer.json.get("code")) == (401 if refresh else 200, refresh)

    locked = await api.post(f"{path}/lock")
    assert (locked["state"], locked["reason"]) == ("LOCKED", "locked")
    await stands("LOCKED", "locked", "session_locked")
    await api.post(f"{path}/unlock")
    await stands("ENROLLED", None, None)
    await api.post(f"{path}/re-authenticate")
    await stands("LOCKED", "reauthenticate", "reauthentication_required")
    await api.enrolled(on=TABLET)
    await stands("ENROLLED", None, None)
    wiped = await api.post(f"{path}/wipe")
    assert (wiped["state"], wiped["reason"], "wipe_confirmed_at" in wiped) == ("RESET", "wiped", False)
    await stands("RESET", "wiped", "session_wiped")
    for verb in ("lock", "unlock", "re-authenticate"):
        assert is_error(await api.ask("POST", f"{path}/{verb}"), 409, "session_over"), verb
    assert (await api.post(f"{path}/wipe")) == await api.get(path)
    assert [each["session"]["id"] for each in await api.told("session.wiped")] == [wiped["id"]]


async def test_wipe_that_the_device_has_confirmed_is_told(api: Api) -> None:
    token = await api.enrolled(on=TABLET)
    path = f"users/{ADA}/sessions/{(await api.get(f'users/{ADA}'))['sessions'][0]['id']}"
    await api.post(f"{path}/wipe")
    body = signed_refresh(api.served, token)
    confirmed = await api.served.ask("POST", "/notes/wiped", json=body)
    assert confirmed.status == 204, confirmed.body
    assert (await api.get(path))["wipe_confirmed_at"].endswith("Z")


async def test_rival_locks_of_one_session_are_one(api: Api) -> None:
    await api.enrolled(on=TABLET)
    path = f"users/{ADA}/sessions/{(await api.get(f'users/{ADA}'))['sessions'][0]['id']}"
    answers = await asyncio.gather(*(api.ask("POST", f"{path}/lock") for _ in range(20)))
    assert {(each.status, each.json["reason"]) for each in answers} == {(200, "locked")}
    assert len(await api.told("session.locked")) == 1


async def test_device_limit_of_a_user_goes_before_that_of_the_app(api: Api) -> None:
    await api.enrolled(on={"id": "first"})
    limit = f"users/{ADA}/device-limit"
    answer = await api.ask("PUT", limit, {"devices_max": 1})
    assert (answer.status, answer.json["devices_max"]) == (200, 1)
    assert is_error(await api.enroll(on={"id": "second"}), 403, "DEVICE_LIMIT_REACHED")
    assert (await api.ask("PUT", limit, {"devices_max": None})).json["devices_max"] is None
    await api.enrolled(on={"id": "second"})
    assert (await api.ask("PUT", limit, {"devices_max": 0})).json["devices_max"] == 0

    for body in ({"devices_max": -1}, {"devices_max": 1_001}, {}, {"devices_max": "many"}, {"most": 1}):
        assert is_error(await api.ask("PUT", limit, body), 400, "invalid_request"), body
    missing = await api.ask("PUT", "users/nobody/device-limit", {"devices_max": 1})
    assert is_error(missing, 404, "user_not_found")


async def test_authentication_token_is_made_listed_and_revoked(api: Api) -> None:
    await api.served.write(api.app, {"userId": ADA, "type": "prod"})
    path = f"users/{ADA}/authentication-token"

    made = await api.ask("POST", path)

    assert made.status == 201
    assert set(made.json) == {"id", "token", "url", "qr_svg", "expires_at", "uses", "device"}
    assert made.json["token"] in made.json["url"]
    assert made.json["qr_svg"].startswith("data:image/svg+xml")
    assert (made.json["uses"], made.json["device"]) == (1, None)
    assert made.json["expires_at"] > iso_date(api.served.hands() + 890_000)
    second = await api.post(path, {"expires_in": 86_400, "uses": 3, "device": "tablet-1"})
    assert (second["uses"], second["device"]) == (3, "tablet-1")

    first_page = await api.get(f"{path}s?limit=1")
    assert (first_page["count"], first_page["more"]) == (1, True)
    (shown,) = first_page["objects"]
    assert shown | {"created_at": ""} == {
        "id": second["id"],
        "state": "active",
        "created_at": "",
        "expires_at": second["expires_at"],
        "revoked_at": None,
        "uses": 3,
        "used": 0,
        "device": "tablet-1",
    }
    last_page = await api.get(f"{path}s?limit=1&after={first_page['next']}")
    assert [each["id"] for each in last_page["objects"]] == [made.json["id"]]
    assert (last_page["more"], last_page["next"]) == (False, None)

    for _ in range(2):
        assert (await api.ask("DELETE", f"{path}s/{second['id']}")).status == 204
    assert [each["state"] for each in (await api.get(f"{path}s"))["objects"]] == ["revoked", "active"]
    for body in ({"expires_in": 1}, {"uses": 0}, {"device": "key_x"}, {"seconds": 60}):
        assert is_error(await api.ask("POST", path, body), 400, "invalid_request"), body


async def test_owner_who_acts_as_the_user_is_named_and_enrolls_nobody(api: Api) -> None:
    await api.served.write(api.app, {"userId": ADA, "type": "prod"})
    key = api.app.app_id, ADA
    found = await api.served.gateway.db.read(lambda tx: users.by_user_id(tx, [key]))
    now = api.served.hands()
    acting = enrolled(
        found[key], actor="owner@example.com", created_at=now, connected_at=now, refresh_until=now + DAY_MS
    )
    await move_onto_devices(api.served.gateway.db, [acting])

    user = await api.get(f"users/{ADA}")
    assert (user["enrolled"], user["last_connected_at"]) == (False, None)
    assert [each["actor"] for each in user["sessions"]] == ["owner@example.com"]
