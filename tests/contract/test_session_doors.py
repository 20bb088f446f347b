"""What a device meets at our doors once its session is locked, wiped or over, and how it leaves by itself."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType

from admit.accounts import apps, clients, session_states
from admit.accounts.apps import App
from admit.accounts.session_standing import SENTENCES
from admit.accounts.sessions import Session, find
from admit.accounts.tables import sessions
from admit.accounts.users import by_user_id
from admit.clock import DAY_MS
from admit.web import changes
from tests.contract.served import Answered, Served, serving
from tests.contract.signin_desk import Device, device
from tests.contract.test_changes_socket import EXPIRED, is_silent, socket
from tests.contract.token_desk import ask, events_of, refreshed, signed_refresh

ADA = "ada@example.com"
SYNC = {"v": 2, "schema": {}, "changes": []}
TOLD_SECONDS_MAX = 1.0


class Home(NamedTuple):
    """Ada, enrolled on a device: its tokens and its session_id."""

    app: App
    access: str
    refresh: str
    sid: str
    uid: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access}"}


async def enroll(served: Served, app: App, *, by: Device | None = None, **fields: Any) -> Home:
    """A login that a backend vouches for, with the key of a device."""
    client = await served.client(app)
    credentials = {"client_id": client.client_id, "client_secret": client.client_secret}
    body = {
        "grant_type": "client_credentials",
        "scopes": ["ACCESS_DB"],
        "claims": {"sub": ADA, "email": ADA},
        "public_key": (by or device()).public_key.pem,
    }
    tokens = (await ask(served, credentials | body | fields)).json
    found = await served.gateway.db.read(lambda tx: by_user_id(tx, [(app.app_id, ADA)]))
    uid = found[app.app_id, ADA].uid
    return Home(app, tokens["accessToken"], tokens.get("refreshToken", ""), tokens["claims"].get("sid"), uid)


@pytest.fixture
async def home(served: Served) -> Home:
    return await enroll(served, await served.app())


@pytest.fixture
async def house(door: Served) -> Home:
    """The home of Ada on a server with SQLite, for what the database has no part in."""
    return await enroll(door, await door.app())


async def lock(served: Served, home: Home) -> None:
    await _change(served, home, session_states.lock)


async def reauthenticate(served: Served, home: Home) -> None:
    await _change(served, home, session_states.reauthenticate)


async def wipe(served: Served, home: Home) -> None:
    await _change(served, home, session_states.wipe)


async def end(served: Served, home: Home) -> None:
    await _change(served, home, partial(session_states.end, reason="logged_out"))


async def lock_user(served: Served, home: Home) -> None:
    await session_states.lock_user(served.gateway.db, home.app.app_id, home.uid, served.hands())


async def delete(served: Served, home: Home) -> None:
    headers = served.bearer(home.app, "program", ("ACCESS_DB", "GLOBAL_WRITE"))
    assert (await served.ask("DELETE", f"/notes/users/{ADA}", headers=headers)).status == 200


async def _change(served: Served, home: Home, change: Callable[..., object]) -> None:
    unit = partial(change, app_id=home.app.app_id, session_id=home.sid, now=served.hands())
    await served.gateway.db.write(unit)


Change = Callable[[Served, Home], Awaitable[None]]
ENDS = [
    (lock, "session_locked"),
    (lock_user, "session_locked"),
    (reauthenticate, "reauthentication_required"),
    (wipe, "session_wiped"),
    (end, "session_ended"),
]


async def stored(served: Served, home: Home) -> Session:
    found = await served.gateway.db.read(partial(find, app_id=home.app.app_id, session_id=home.sid))
    assert found is not None
    return found


async def told(served: Served, home: Home) -> list[str]:
    """The types of the events since Ada enrolled."""
    types = [event for event, _ in await events_of(served, home.app.app_id)]
    return types[types.index("session.started") + 1 :]


async def synced(served: Served, home: Home) -> Answered:
    return await served.ask("POST", "/notes/sync", headers=home.headers, json=SYNC)


async def leave(served: Served, home: Home, path: str, **fields: Any) -> Answered:
    """Posts what a device signs when it leaves."""
    body = signed_refresh(served, home.refresh, **fields)
    return await served.ask("POST", f"/notes{path}", json=body)


# What a device is told


@pytest.mark.parametrize(("change", "code"), ENDS)
async def test_refresh_and_every_door_tell_the_device_why(
    served: Served, home: Home, change: Change, code: Any
) -> None:
    assert (await synced(served, home)).status == 200
    await change(served, home)

    refresh = await refreshed(served, signed_refresh(served, home.refresh))
    assert (refresh.status, refresh.json) == (
        401,
        {
            "error": "invalid_grant",
            "error_description": SENTENCES[code],
            "code": code,
            "message": SENTENCES[code],
        },
    )
    for answer in (
        await synced(served, home),
        await served.ask("GET", "/notes/token/validate", headers=home.headers),
        await served.ask("DELETE", f"/notes/users/{ADA}", headers=home.headers),
    ):
        assert (answer.status, answer.json) == (401, {"code": code, "message": SENTENCES[code]})
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    client = await served.client(home.app)
    asked = {"client_id": client.client_id, "client_secret": client.client_secret, "token": home.access}
    assert (await served.ask("POST", "/notes/introspect", data=asked)).json == {"active": False}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/users"),
        ("GET", f"/users/{ADA}"),
        ("POST", "/users"),
        ("DELETE", f"/users/{ADA}"),
        ("GET", "/token/validate"),
        ("POST", "/sync"),
        ("GET", "/export/stream"),
        ("GET", "/export"),
        ("POST", "/import/stream"),
        ("POST", "/import"),
        ("GET", "/clients"),
        ("POST", "/clients/add"),
        ("POST", "/clients/delete"),
        ("POST", "/clients/rotate"),
        ("POST", "/clients/connect"),
        ("POST", "/whitelist"),
        ("GET", "/templates/pull"),
        ("POST", "/templates/push"),
    ],
)
async def test_token_of_a_locked_session_opens_no_door_whatever_its_scopes(
    door: Served, house: Home, method: str, path: str
) -> None:
    await lock(door, house)
    scopes = ("ACCESS_DB", "GLOBAL_READ", "GLOBAL_WRITE", "MANAGE_DB", "CONNECT_CLIENT")
    headers = door.bearer(house.app, ADA, scopes, sid=house.sid)
    answer = await door.ask(method, f"/notes{path}", headers=headers, json=[])
    assert (answer.status, answer.json["code"]) == (401, "session_locked")


async def test_token_without_a_session_is_held_up_with_its_user(served: Served, home: Home) -> None:
    vouched = await enroll(served, home.app, public_key=None)
    assert vouched.sid is None
    assert (await synced(served, vouched)).status == 200
    await lock_user(served, home)
    answer = await synced(served, vouched)
    assert (answer.status, answer.json["code"]) == (401, "session_locked")


async def test_token_of_a_session_whose_user_is_somebody_else_is_good_for_nothing(
    door: Served, house: Home
) -> None:
    await door.write(house.app, {"userId": "bob@example.com", "type": "prod"})
    headers = door.bearer(house.app, "bob@example.com", sid=house.sid)
    answer = await door.ask("GET", "/notes/token/validate", headers=headers)
    assert (answer.status, answer.json["code"]) == (401, "session_ended")


async def test_deleted_user_is_told_that_the_session_has_ended(served: Served, home: Home) -> None:
    await delete(served, home)
    answer = await synced(served, home)
    assert (answer.status, answer.json["code"]) == (401, "session_ended")
    refresh = await refreshed(served, signed_refresh(served, home.refresh))
    assert (refresh.status, refresh.json["code"]) == (401, "invalid_grant")


async def test_silence_for_longer_than_the_app_allows_ends_the_session(served: Served, home: Home) -> None:
    await served.gateway.db.write(
        lambda tx: apps.edit_settings(tx, home.app.app_id, served.hands(), session_idle_days=3)
    )
    served.hands.move(days=3)
    refresh = await refreshed(served, signed_refresh(served, home.refresh))
    assert (refresh.status, refresh.json["code"]) == (401, "session_ended")
    long_lived = served.bearer(home.app, ADA, sid=home.sid)
    answer = await served.ask("GET", "/notes/token/validate", headers=long_lived)
    assert (answer.status, answer.json["code"]) == (401, "session_ended")


async def test_reason_is_told_to_nobody_without_the_key(door: Served, house: Home) -> None:
    await wipe(door, house)
    body = signed_refresh(door, house.refresh, by=device(2))
    answer = await refreshed(door, body)
    assert (answer.status, answer.json["code"]) == (401, "invalid_grant")
    late = signed_refresh(door, house.refresh, time_stamp=door.hands() - DAY_MS)
    assert (await refreshed(door, late)).json["code"] == "invalid_grant"


async def test_wiped_session_is_told_so_though_its_api_client_was_revoked(door: Served, house: Home) -> None:
    client_id = (await stored(door, house)).client_id
    assert client_id is not None
    door_db, now = door.gateway.db, door.hands()
    await door_db.write(lambda tx: clients.revoke_client(tx, house.app.app_id, client_id, now))
    assert (await refreshed(door, signed_refresh(door, house.refresh))).json["code"] == "invalid_grant"
    await wipe(door, house)
    assert (await refreshed(door, signed_refresh(door, house.refresh))).json["code"] == "session_wiped"


# Open sockets


async def farewell(connected: ClientWebSocketResponse) -> str:
    """What an open client hears when its session ends: refresh, then the reason. Returns the reason."""
    assert await connected.receive_json(timeout=TOLD_SECONDS_MAX) == EXPIRED
    message = await connected.receive(timeout=TOLD_SECONDS_MAX)
    assert (message.type, message.data) == (WSMsgType.CLOSE, 1008)
    return str(message.extra)


@pytest.mark.parametrize(("change", "code"), [*ENDS, (delete, "session_ended")])
async def test_open_socket_is_told_at_once_and_closed(
    served: Served, home: Home, change: Change, code: str
) -> None:
    other = await enroll(served, home.app, by=device(2))
    async with socket(served, home.access) as mine, socket(served, other.access) as others:
        assert await is_silent(mine)
        assert await is_silent(others)
        await change(served, home)
        assert await farewell(mine) == code
        if change in (lock_user, delete):
            assert await farewell(others) == code
        else:
            assert await is_silent(others)


async def test_lock_by_another_process_reaches_the_socket_within_a_second(served_postgres_url: str) -> None:
    async with serving(served_postgres_url) as here, serving(served_postgres_url) as there:
        home = await enroll(here, await here.app())
        async with socket(here, home.access) as connected:
            assert await is_silent(connected)
            await lock(there, home)
            assert await farewell(connected) == "session_locked"


async def test_lock_whose_signal_was_missed_is_made_up_for_by_looking(served: Served, home: Home) -> None:
    async with socket(served, home.access) as connected:
        assert await is_silent(connected)
        locked = {"state": "LOCKED", "reason": "locked"}
        await served.gateway.db.write(lambda tx: tx.execute(sessions.update().values(locked)).rowcount)
        assert await is_silent(connected)
        served.gateway.db.signals.look_yourselves()
        assert await farewell(connected) == "session_locked"


async def test_many_sockets_are_all_told(door: Served, house: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "LOOK_AT_ONCE", 2)
    tabs = [socket(door, house.access) for _ in range(5)]
    opened = [await each.__aenter__() for each in tabs]
    for each in opened:
        assert await is_silent(each)
    await lock(door, house)
    assert [await farewell(each) for each in opened] == ["session_locked"] * 5
    for tab in tabs:
        await tab.__aexit__(None, None, None)


async def test_socket_of_a_session_that_is_over_is_closed_when_it_connects(
    served: Served, home: Home
) -> None:
    await wipe(served, home)
    async with socket(served, home.access) as connected:
        assert await farewell(connected) == "session_wiped"


async def test_refresh_and_renewal_of_the_own_session_leave_the_socket_open(
    served: Served, home: Home
) -> None:
    async with socket(served, home.access) as connected:
        assert await is_silent(connected)
        assert (await refreshed(served, signed_refresh(served, home.refresh))).status == 200
        await enroll(served, home.app)
        assert await is_silent(connected)


async def test_open_socket_is_a_sign_of_life(served: Served, home: Home) -> None:
    before = (await stored(served, home)).connected_at
    async with socket(served, home.access) as connected:
        assert await is_silent(connected)
        served.hands.move(seconds=100)
        assert await is_silent(connected)
        await served.gateway.connections.flush()
        assert (await stored(served, home)).connected_at >= before + 100_000


# Leaving


async def test_device_logs_out_by_its_access_token(served: Served, home: Home) -> None:
    for _ in range(2):
        answer = await served.ask("POST", "/notes/logout", headers=home.headers)
        assert (answer.status, answer.body) == (204, b"")
    session = await stored(served, home)
    assert (session.state, session.reason) == ("LOCKED", "logged_out")
    assert await told(served, home) == ["session.ended"]
    assert (await synced(served, home)).json["code"] == "session_ended"


async def test_device_logs_out_by_its_key(served: Served, home: Home) -> None:
    for _ in range(2):
        assert (await leave(served, home, "/logout")).status == 204
    assert (await stored(served, home)).reason == "logged_out"
    assert await told(served, home) == ["session.ended"]


async def test_fifty_tabs_that_log_out_at_once_end_one_session(served: Served, home: Home) -> None:
    answers = await asyncio.gather(*(leave(served, home, "/logout") for _ in range(50)))
    assert {answer.status for answer in answers} == {204}
    assert await told(served, home) == ["session.ended"]


async def test_wiped_device_erases_confirms_and_may_sign_in_anew(served: Served, home: Home) -> None:
    assert (await leave(served, home, "/wiped")).json["code"] == "not_wiped"
    await wipe(served, home)
    assert (await refreshed(served, signed_refresh(served, home.refresh))).json["code"] == "session_wiped"

    answers = await asyncio.gather(*(leave(served, home, "/wiped") for _ in range(10)))

    assert {(answer.status, answer.body) for answer in answers} == {(204, b"")}
    assert (await stored(served, home)).wiped_at is not None
    assert await told(served, home) == ["session.wiped", "session.wipe_confirmed"]
    assert (await refreshed(served, signed_refresh(served, home.refresh))).json["code"] == "session_wiped"
    again = await enroll(served, home.app)
    assert again.sid != home.sid
    assert (await synced(served, again)).status == 200


@pytest.mark.parametrize("path", ["/logout", "/wiped"])
async def test_strangers_end_and_confirm_nothing(served: Served, home: Home, path: str) -> None:
    if path == "/wiped":
        await wipe(served, home)
    before, events = await stored(served, home), await told(served, home)
    other = await served.app("plans")
    signed = signed_refresh(served, home.refresh)
    accepted = signed_refresh(served, home.refresh)
    if path == "/logout":
        assert (await refreshed(served, accepted)).status == 200
        before = await stored(served, home)
    else:
        accepted["signature"] = ""
    tries: list[tuple[int, dict[str, Any]]] = [
        (400, {}),
        (400, {"json": {"refresh_token": home.refresh}}),
        (
            401,
            {"json": signed | {"signature": signed_refresh(served, home.refresh, by=device(2))["signature"]}},
        ),
        (401, {"json": signed | {"refresh_token": home.refresh[:-2] + "AA"}}),
        (401, {"json": signed | {"time_stamp": signed["time_stamp"] + 1}}),
        (401, {"json": signed_refresh(served, home.refresh, time_stamp=served.hands() - DAY_MS)}),
        (401, {"json": accepted}),
        (400, {"json": signed | {"signing_algorithm": "none"}}),
    ]
    if path == "/logout":
        tries += [
            (401, {"headers": {"Authorization": f"Bearer {home.access[:-2]}"}}),
            (401, {"headers": {"Authorization": f"Bearer {home.refresh}"}}),
            (401, {"headers": served.bearer(other, ADA, sid=home.sid)}),
            (400, {"headers": served.bearer(home.app, ADA)}),
        ]
    for status, options in tries:
        answer = await served.ask("POST", f"/notes{path}", **options)
        assert answer.status == status, (options, answer.body)
    assert (await served.ask("POST", f"/plans{path}", json=signed)).status == 401
    assert await stored(served, home) == before
    assert await told(served, home) == events


async def test_access_token_that_has_ended_logs_nobody_out(served: Served, home: Home) -> None:
    served.hands.move(seconds=3_601)
    answer = await served.ask("POST", "/notes/logout", headers=home.headers)
    assert (answer.status, answer.json["code"]) == (401, "invalid_token")
    assert (await leave(served, home, "/logout")).status == 204


async def test_logout_of_a_deleted_user_is_done(served: Served, home: Home) -> None:
    await delete(served, home)
    assert (await served.ask("POST", "/notes/logout", headers=home.headers)).status == 204
