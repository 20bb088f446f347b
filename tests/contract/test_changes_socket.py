"""The socket of open clients: who may open it, what it hears, and what ends it."""

import asyncio
import base64
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType
from structlog.testing import capture_logs

from admit.accounts import expiry
from admit.accounts.apps import App
from admit.data import fresh_rows
from admit.storage.transaction import Transaction
from admit.web import changes, sockets
from tests.contract.served import ORIGIN, Served, serving
from tests.contract.sync_desk import ADA, Device

EXPIRED = {"type": "token-expired"}
PONG = {"type": "pong"}
QUERY = {"v": "3", "rev": "1", "realmsHash": "abc", "clientId": "qZ2h", "dxcv": "4.4.14"}


@asynccontextmanager
async def socket(
    served: Served,
    token: str | None,
    *,
    path: str = "/notes/changes",
    origin: str | None = ORIGIN,
    client: str = QUERY["clientId"],
) -> AsyncIterator[ClientWebSocketResponse]:
    query = QUERY | {"clientId": client} | ({"token": token} if token else {})
    async with served.http.ws_connect(served.url + path, params=query, origin=origin) as connected:
        yield connected


async def refusal(served: Served, token: str | None, **options: str | None) -> int:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        async with socket(served, token, **options):  # type: ignore[arg-type]
            pass
    return caught.value.status


async def ended(connected: ClientWebSocketResponse) -> int:
    """Reads to the end of the socket and returns its code."""
    async with asyncio.timeout(5):
        while (await connected.receive()).type not in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING):
            pass
    assert connected.close_code is not None
    return connected.close_code


async def is_silent(connected: ClientWebSocketResponse) -> bool:
    """Whether the next thing that comes is the answer to our own ping."""
    await connected.send_json({"type": "ping"})
    return bool(await connected.receive_json(timeout=5) == PONG)


async def ada(served: Served, app: App, **change: object) -> None:
    await served.write(app, {"userId": "ada@example.com", **change})


@pytest.fixture
async def app(served: Served) -> App:
    app = await served.app()
    await ada(served, app, type="prod")
    return app


@pytest.fixture
async def home(door: Served) -> App:
    """The app of a server on SQLite, for what the database has no part in."""
    app = await door.app()
    await ada(door, app, type="prod")
    return app


async def test_ping_is_answered_with_pong(served: Served, app: App) -> None:
    for token in (None, served.token(app)):
        async with socket(served, token) as connected:
            assert await is_silent(connected)


async def test_address_without_a_path_asks_with_two_slashes(door: Served, home: App) -> None:
    async with socket(door, door.token(home), path="//notes//changes") as connected:
        assert await is_silent(connected)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "eval"},
        {"data": {"plan": "gold"}},
        {"validUntil": "2031-01-01"},
        {"evalDaysLeft": 7},
        {"deactivated": True},
    ],
)
async def test_open_client_is_told_to_refresh_when_its_user_changes(
    served: Served, app: App, change: Mapping[str, object]
) -> None:
    async with socket(served, served.token(app)) as connected:
        assert await is_silent(connected)
        await ada(served, app, **change)
        assert await connected.receive_json(timeout=5) == EXPIRED


async def test_every_device_of_the_user_hears_it_and_nobody_else(served: Served, app: App) -> None:
    other = await served.app("plans")
    await served.write(app, {"userId": "bob@example.com", "type": "prod"})
    await served.write(other, {"userId": "ada@example.com", "type": "prod"})
    async with (
        socket(served, served.token(app)) as phone,
        socket(served, served.token(app)) as laptop,
        socket(served, served.token(app, "bob@example.com")) as bob,
        socket(served, None) as anonymous,
        socket(served, served.token(other), path="/plans/changes") as namesake,
    ):
        for each in (phone, laptop, bob, anonymous, namesake):
            assert await is_silent(each)
        await ada(served, app, data={"plan": "gold"})
        assert await phone.receive_json(timeout=5) == EXPIRED
        assert await laptop.receive_json(timeout=5) == EXPIRED
        for each in (bob, anonymous, namesake):
            assert await is_silent(each)


async def test_change_by_rest_reaches_the_client(served: Served, app: App) -> None:
    writer = served.bearer(app, "program", ("ACCESS_DB", "GLOBAL_WRITE"))
    async with socket(served, served.token(app)) as connected:
        assert await is_silent(connected)
        await served.ask(
            "POST", "/notes/users", headers=writer, json=[{"userId": "ada@example.com", "type": "eval"}]
        )
        assert await connected.receive_json(timeout=5) == EXPIRED


async def test_change_by_another_process_reaches_the_client(served_postgres_url: str) -> None:
    async with serving(served_postgres_url) as here, serving(served_postgres_url) as there:
        app = await here.app()
        await ada(here, app, type="prod")
        async with socket(here, here.token(app)) as connected:
            assert await is_silent(connected)
            await ada(there, app, data={"plan": "gold"})
            assert await connected.receive_json(timeout=5) == EXPIRED


async def test_end_of_a_license_reaches_the_client(served: Served, app: App) -> None:
    end = served.hands() + 500
    await ada(served, app, validUntil=_iso(end))
    served.hands.move(seconds=2)  # so that the token is younger than the change

    async with socket(served, served.token(app, license="expired")) as connected:
        assert await is_silent(connected)
        user = (await served.gateway.db.read(lambda tx: _find(tx, app)))[1]
        await served.gateway.db.write(lambda tx: expiry.expire(tx, app.app_id, user, served.hands()))
        assert await connected.receive_json(timeout=5) == EXPIRED


async def test_missed_signals_are_made_up_for_by_looking(served: Served, app: App) -> None:
    """Where LISTEN is not to be had, signals are lost and subscribers are told None instead."""
    async with socket(served, served.token(app)) as ada_, socket(served, None) as anonymous:
        assert await is_silent(ada_)
        signals = served.gateway.db.signals
        heard = served.hub._on_user
        signals._listeners["user"] = [lambda key: heard(key) if key is None else None]
        await ada(served, app, data={"plan": "gold"})
        assert await is_silent(ada_)
        signals.look_yourselves()
        assert await ada_.receive_json(timeout=5) == EXPIRED
        signals.look_yourselves()
        assert await is_silent(ada_)
        assert await is_silent(anonymous)
        signals._listeners["user"] = [heard]


async def test_change_between_token_and_socket_is_not_missed(served: Served, app: App) -> None:
    token = served.token(app)
    served.hands.move(seconds=2)
    await ada(served, app, data={"plan": "gold"})
    async with socket(served, token) as connected:
        assert await connected.receive_json(timeout=5) == EXPIRED
    served.hands.move(seconds=2)
    async with socket(served, served.token(app)) as connected:
        assert await is_silent(connected)


async def test_change_in_the_second_of_the_token_is_told_once_the_second_is_over(
    served: Served, app: App
) -> None:
    served.hands.move(seconds=10)
    token = served.token(app)
    await ada(served, app, data={"plan": "gold"})
    async with socket(served, token) as connected:
        assert await connected.receive_json(timeout=5) == EXPIRED
        fresh = served.token(app)
    async with socket(served, fresh) as connected:
        assert await is_silent(connected)


async def test_client_whose_license_has_changed_is_told_when_it_connects(served: Served, app: App) -> None:
    await ada(served, app, deactivated=True)
    served.hands.move(seconds=5)
    async with socket(served, served.token(app, license="ok")) as connected:
        assert await connected.receive_json(timeout=5) == EXPIRED
    async with socket(served, served.token(app, license="deactivated")) as connected:
        assert await is_silent(connected)


async def test_end_of_the_token_is_told_and_ends_the_socket(
    door: Served, home: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "GRACE_SECONDS", 0.1)
    async with socket(door, door.token(home, seconds=1)) as connected:
        assert await connected.receive_json(timeout=5) == EXPIRED
        assert await ended(connected) == 1008


async def test_token_that_is_not_valid_here_gets_its_client_a_new_one(door: Served, home: App) -> None:
    other = await door.app("plans")
    foreign, expired = door.token(other), door.token(home, seconds=60)
    door.hands.move(seconds=61)
    for token in (foreign, expired, "x.y.z", "nonsense"):
        async with socket(door, token) as connected:
            assert await connected.receive_json(timeout=5) == EXPIRED
            assert await ended(connected) == 1008


async def test_pages_of_other_origins_are_refused_even_with_a_token(door: Served, home: App) -> None:
    for origin in ("https://evil.example", "null", ORIGIN + ".evil.example"):
        assert await refusal(door, door.token(home), origin=origin) == 403
        assert await refusal(door, None, origin=origin) == 403


async def test_program_without_an_origin_needs_a_token(door: Served, home: App) -> None:
    assert await refusal(door, None, origin=None) == 403
    async with socket(door, door.token(home), origin=None) as connected:
        assert await is_silent(connected)


async def test_unknown_app_is_refused(door: Served) -> None:
    assert await refusal(door, None, path="/nowhere/changes") == 404
    assert await refusal(door, None, path="/nowhere") == 403


async def test_sockets_of_one_user_and_of_one_address_are_limited(
    door: Served, home: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "SOCKETS_PER_USER_MAX", 1)
    monkeypatch.setattr(changes, "ANONYMOUS_PER_ADDRESS_MAX", 1)
    await door.write(home, {"userId": "bob@example.com", "type": "prod"})
    async with socket(door, door.token(home)) as first, socket(door, None):
        assert await refusal(door, door.token(home)) == 429
        assert await refusal(door, None) == 429
        async with socket(door, door.token(home, "bob@example.com")) as bob:
            assert await is_silent(bob)
        await first.close()
        async with asyncio.timeout(5):
            while True:  # the server hears of the end a moment later
                try:
                    async with socket(door, door.token(home)) as second:
                        assert await is_silent(second)
                        break
                except aiohttp.WSServerHandshakeError:
                    await asyncio.sleep(0.01)


async def test_server_takes_so_many_sockets_and_no_more(
    door: Served, home: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "SOCKETS_MAX", 1)
    async with socket(door, None):
        assert await refusal(door, door.token(home)) == 503


async def test_message_that_is_too_big_ends_the_socket(door: Served, home: App) -> None:
    async with socket(door, door.token(home)) as connected:
        await connected.send_str("x" * (sockets.MESSAGE_BYTES_MAX + 1))
        assert await ended(connected) == 1009


async def test_too_many_messages_end_the_socket(door: Served, home: App) -> None:
    async with socket(door, door.token(home)) as connected:
        for _ in range(sockets.MESSAGES_MAX + 5):
            await connected.send_str("{}")
        assert await ended(connected) == 1008


@pytest.mark.parametrize(
    "message", ["", "{", "[]", "null", '{"type": 1}', '{"type": "ready", "rev": "1"}', "[" * 60_000]
)
async def test_messages_that_mean_nothing_here_change_nothing(door: Served, home: App, message: str) -> None:
    async with socket(door, door.token(home)) as connected:
        await connected.send_str(message)
        await connected.send_bytes(message.encode())
        assert await is_silent(connected)


async def test_client_that_does_not_read_loses_its_socket(
    door: Served, home: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = sockets.Socket(home, None, "")
    for _ in range(sockets.OUTBOX_MAX + 1):
        one.say(sockets.PONG)
    (last,) = [one.outbox.get_nowait() for _ in range(one.outbox.qsize())]
    assert isinstance(last, sockets.Close)
    assert last.code == 1008


async def test_many_changes_are_one_message_until_it_is_sent(home: App) -> None:
    one = sockets.Socket(home, None, "")
    for _ in range(100):
        one.refresh()
    assert one.outbox.qsize() == 1


async def test_token_of_the_query_is_in_no_log(
    door: Served, home: App, caplog: pytest.LogCaptureFixture
) -> None:
    token = door.token(home)
    with caplog.at_level(logging.DEBUG), capture_logs() as lines:
        async with socket(door, token) as connected:
            assert await is_silent(connected)
        await refusal(door, token, origin="https://evil.example")
        await refusal(door, token, path="/nowhere")
        async with asyncio.timeout(5):
            while not [each for each in lines if each["event"] == "socket"]:
                await asyncio.sleep(0.01)
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]
    logged = str(lines) + "".join(
        r.getMessage() for r in caplog.records if r.name.startswith(("uvicorn", "admit"))
    )
    assert token not in logged
    assert token.rpartition(".")[2] not in logged


async def test_nothing_is_left_of_sockets_that_have_ended(door: Served, home: App) -> None:
    hub = door.hub
    for token in (None, door.token(home), "nonsense"):
        async with socket(door, token) as connected:
            await connected.close()
    async with asyncio.timeout(5):
        while hub._sockets:
            await asyncio.sleep(0.01)
    assert (dict(hub._by_key), dict(hub._anonymous)) == ({}, {})


def _iso(at_ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


def _find(tx: Transaction, app: App) -> tuple[str, str]:
    from admit.accounts import users

    key = (app.app_id, "ada@example.com")
    return key[0], users.by_user_id(tx, [key])[key].uid


# What an open client hears of changed data


def realm_set_hash(*realms: str) -> str:
    """As the addon has it."""
    told = [{"realmId": realm, "accepted": True} for realm in sorted(realms)]
    digest = hashlib.sha1(json.dumps(told, separators=(",", ":")).encode()).digest()
    return base64.b64encode(digest).decode()


OWN = realm_set_hash("rlm-public", ADA)
STRANGER = realm_set_hash("rlm-public")


@asynccontextmanager
async def waiting(device: Device) -> AsyncIterator[ClientWebSocketResponse]:
    """The socket of a device that has pulled, and says that it is ready for what comes."""
    await device.sync()
    token = device.headers["Authorization"].removeprefix("Bearer ") if device.headers else None
    async with socket(device.served, token, client=device.name) as connected:
        await ready(device, connected)
        assert await is_silent(connected)
        yield connected


async def ready(device: Device, connected: ClientWebSocketResponse, **more: object) -> None:
    assert device.last_pull is not None
    hashed = OWN if device.user_id else STRANGER
    said = {"type": "ready", "rev": device.last_pull["serverRevision"], "realmSetHash": hashed}
    await connected.send_json(said | more)


async def heard(device: Device, connected: ClientWebSocketResponse) -> None:
    """Applies the changes that come next, as the addon does, and says so."""
    told = await connected.receive_json(timeout=5)
    assert device.last_pull is not None
    assert (told["type"], told["baseRev"]) == ("changes", device.last_pull["serverRevision"])
    assert told["realmSetHash"] == (OWN if device.user_id else STRANGER)
    device.hear(told)
    await ready(device, connected)


async def test_changes_come_as_the_step_from_where_the_client_is(served: Served, app: App) -> None:
    phone, laptop = Device(served, app), Device(served, app)
    async with waiting(phone) as at_phone, waiting(laptop) as at_laptop:
        for number in range(3):
            phone.put("todos", "tdo1", {"n": number})
            await phone.sync()
            await heard(laptop, at_laptop)
            assert laptop.objects == phone.objects
        laptop.delete("todos", "tdo1")
        await laptop.sync()
        await heard(phone, at_phone)
        assert phone.objects == {}
        assert await is_silent(at_laptop)


async def test_a_client_hears_nothing_of_its_own_changes_and_others_nothing_of_it(
    served: Served, app: App
) -> None:
    await served.write(app, {"userId": "bob@example.com", "type": "prod"})
    bob = Device(served, app, "bob@example.com")
    await bob.sync()
    phone, stranger = Device(served, app), Device(served, app, "")
    async with (
        waiting(phone) as at_phone,
        waiting(stranger) as at_stranger,
        socket(served, bob.headers["Authorization"][7:], client=bob.name) as at_bob,
    ):
        await ready(bob, at_bob, realmSetHash=realm_set_hash("rlm-public", "bob@example.com"))
        phone.put("todos", "tdo1", {"n": 1})
        await phone.sync()
        for each in (at_phone, at_stranger, at_bob):
            assert await is_silent(each)


async def test_a_client_is_silent_until_it_is_ready_again(served: Served, app: App) -> None:
    phone, laptop = Device(served, app), Device(served, app)
    async with waiting(laptop) as connected:
        for number in range(3):
            phone.put("todos", f"tdo{number}", {"n": number})
            await phone.sync()
        await heard(laptop, connected)
        if laptop.objects != phone.objects:  # what has come meanwhile comes as one more step
            await heard(laptop, connected)
        assert laptop.objects == phone.objects
        assert await is_silent(connected)


@pytest.mark.parametrize(
    "odd", [{"realmSetHash": "abc"}, {"rev": "1"}, {"rev": None}, {"rev": {"$t": "bigint", "v": "1"}}]
)
async def test_who_is_elsewhere_is_told_to_pull_and_not_more_than_once_a_second(
    served: Served, app: App, odd: dict[str, object]
) -> None:
    phone = Device(served, app)
    async with waiting(phone) as connected:
        for _ in range(20):
            await ready(phone, connected, **odd)
        assert await connected.receive_json(timeout=5) == {"type": "realms-changed"}
        assert await is_silent(connected)
        await ready(phone, connected)
        other = Device(served, app)
        other.put("todos", "tdo1", {"n": 1})
        await other.sync()
        await heard(phone, connected)


async def test_who_has_missed_much_is_told_to_pull(door: Served, home: App) -> None:
    phone, laptop = Device(door, home), Device(door, home)
    async with waiting(laptop) as connected:
        keys = [f"tdo{number}" for number in range(fresh_rows.ROWS_MAX + 1)]
        phone.did("todos", "insert", *keys, values=[{}] * len(keys))
        await phone.sync()
        seen = await connected.receive_json(timeout=5)
        if seen["type"] == "changes":  # the first part of it was there before the rest
            await ready(laptop, connected)
            seen = await connected.receive_json(timeout=5)
        assert seen == {"type": "realms-changed"}
        await laptop.sync()
        assert len(laptop.objects) == len(keys)


async def test_whose_license_has_ended_hears_of_no_changes(served: Served, app: App) -> None:
    phone, laptop = Device(served, app), Device(served, app)
    async with waiting(laptop) as connected:
        await served.write(app, {"userId": ADA, "deactivated": True})
        assert await connected.receive_json(timeout=5) == EXPIRED
        await served.write(app, {"userId": ADA, "deactivated": None})
        assert await connected.receive_json(timeout=5) == EXPIRED
        phone.put("todos", "tdo1", {"n": 1})
        await phone.sync()
        assert await is_silent(connected)


async def test_changes_reach_the_clients_of_other_servers(served_postgres_url: str) -> None:
    async with serving(served_postgres_url) as here, serving(served_postgres_url) as there:
        app = await here.app()
        await here.write(app, {"userId": ADA, "type": "prod"})
        phone, laptop = Device(here, app), Device(there, app)
        async with waiting(phone) as at_phone, waiting(laptop) as at_laptop:
            phone.put("todos", "tdo1", {"n": 1})
            await phone.sync()
            await heard(laptop, at_laptop)
            laptop.update("todos", "tdo1", {"n": 2})
            await laptop.sync()
            await heard(phone, at_phone)
            assert phone.objects == laptop.objects == {("todos", "tdo1"): {"n": 2}}


async def test_lost_signals_of_changes_are_made_up_for(served: Served, app: App) -> None:
    phone, laptop = Device(served, app), Device(served, app)
    async with waiting(laptop) as connected:
        deaf = served.gateway.change_news
        deaf._unsubscribe()
        phone.put("todos", "tdo1", {"n": 1})
        await phone.sync()
        assert await is_silent(connected)
        deaf._unsubscribe = served.gateway.db.signals.subscribe("data", deaf._hear)
        served.gateway.db.signals.look_yourselves()
        await heard(laptop, connected)
        assert laptop.objects == phone.objects
