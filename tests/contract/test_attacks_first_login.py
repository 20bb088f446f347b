"""What an outsider, a broken clock or a bug of ours can do to the doors of a first login."""

import asyncio
from ipaddress import ip_network

import msgspec
import pytest

from admit import clock
from admit.accounts import clients
from admit.accounts.apps import PolicySetting
from admit.accounts.clients import NewClient
from admit.enrollment import admissions, asking
from admit.enrollment.admissions import Opened
from admit.enrollment.asking import Answer
from admit.web.changes import Hub
from admit.web.sync_api import ANONYMOUS_BYTES_MAX
from tests.contract.served import ORIGIN, Served
from tests.contract.test_door import House, entry_for, house, two_nodes
from tests.receiver import PROD, always, receiving

__all__ = ["house", "two_nodes"]

HOUR_MS = 3_600_000


async def test_a_decision_that_breaks_down_lets_the_next_login_decide_at_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> Answer:
        raise ZeroDivisionError

    async with receiving(always(**PROD)) as receiver:
        await house.ask(receiver)
        with monkeypatch.context() as patch:
            patch.setattr(asking, "ask", broken)
            rivals = (house.admit(device=device) for device in range(1, 6))
            outcomes = await asyncio.gather(*rivals, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ZeroDivisionError}
        async with asyncio.timeout(3):
            await house.admit()
    [row] = await house.ledger()
    assert row.verdict == "prod"
    assert [call.headers["webhook-id"] for call in receiver.calls] == [row.admission_id]


async def test_a_lease_given_before_the_clock_was_set_back_keeps_nobody_out(house: House) -> None:
    left = await house.db.write_together(
        admissions.enter, entry_for(house, lease_until=clock.now() + HOUR_MS)
    )
    assert isinstance(left, Opened)
    async with asyncio.timeout(3):
        await house.admit()
    [row] = await house.ledger()
    assert row.admission_id == left.admission_id


async def test_who_waits_for_a_rival_stops_waiting_although_the_clock_was_set_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind = 0
    monkeypatch.setattr(house.door, "_clock", lambda: clock.now() - behind)
    await house.db.write_together(admissions.enter, entry_for(house, lease_until=clock.now() + 1_000))
    waiting = asyncio.create_task(house.admit())
    await asyncio.sleep(0.3)
    behind = HOUR_MS
    async with asyncio.timeout(5):
        await waiting


async def test_the_ledger_names_the_policy_that_decided_not_the_one_when_the_person_first_came(
    house: House,
) -> None:
    await house.db.write_together(admissions.enter, entry_for(house, lease_until=clock.now() - 1))
    await house.choose(PolicySetting(kind="prod"))
    await house.admit()
    [row] = await house.ledger()
    assert (row.policy, row.policy_version, row.verdict) == ("prod", house.app.policy_version, "prod")
    assert row.input_digest


async def test_a_stranger_does_not_fill_the_memory_by_sync(door: Served) -> None:
    app = await door.app()
    await door.write(app, {"userId": "ada@example.com", "type": "prod"})
    large = msgspec.json.encode({"schema": {"t": {"pad": "x" * ANONYMOUS_BYTES_MAX}}})
    assert (await door.ask("POST", "/notes/sync", data=large)).status == 413
    assert (await door.ask("POST", "/notes/sync", data=large, headers=door.bearer(app))).status == 200


async def test_a_socket_with_an_unreadable_query_is_refused_as_a_bad_request(door: Served) -> None:
    await door.app()
    handshake = {
        "Origin": ORIGIN,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    answer = await door.ask("GET", "/notes/changes?" + "&".join(["a=1"] * 60), headers=handshake)
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")


async def test_a_stranger_with_a_whole_ipv6_network_is_one_stranger(
    door: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses: list[str] = []

    def note(_hub: Hub, _person: object, address: str) -> None:
        addresses.append(address)

    await door.app()
    monkeypatch.setattr(Hub, "_check_room", note)
    monkeypatch.setattr(door.application, "_trusted", (ip_network("127.0.0.0/8"),))
    for host in ("2001:db8::1", "2001:db8::ffff:2"):
        async with door.http.ws_connect(
            door.url + "/notes/changes", origin=ORIGIN, headers={"X-Forwarded-For": host}
        ):
            pass
    assert addresses == ["2001:db8::/64"] * 2


async def test_a_token_of_a_revoked_client_opens_nothing_any_more(door: Served) -> None:
    app = await door.app()
    client = await door.client(app)
    body = {
        "grant_type": "client_credentials",
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "scopes": ["ACCESS_DB", "GLOBAL_READ", "GLOBAL_WRITE"],
        "expires_in": "30 days",
    }
    issued = await door.ask("POST", "/notes/token", data=msgspec.json.encode(body))
    bearer = {"Authorization": f"Bearer {issued.json['accessToken']}"}
    assert (await door.ask("GET", "/notes/users", headers=bearer)).status == 200
    await door.gateway.db.write(
        lambda tx: clients.revoke_client(tx, app.app_id, client.client_id, door.hands())
    )
    for method, path in (("GET", "/notes/users"), ("POST", "/notes/users"), ("GET", "/notes/token/validate")):
        answer = await door.ask(method, path, headers=bearer, data=b"[]" if method == "POST" else None)
        assert (answer.status, answer.json["code"]) == (401, "invalid_token")


@pytest.mark.parametrize("claims", [None, {"sub": "ada@example.com"}], ids=["itself", "a person"])
async def test_a_new_secret_ends_the_tokens_of_the_former_one(
    door: Served, claims: dict[str, str] | None
) -> None:
    app = await door.app()
    client = await door.client(app)
    made_at = app.created_at  # as servers whose clocks are slow would have it: never later than before
    former = await token_of(door, client, claims)
    assert await is_good(door, client, former) == [True, True, True]
    for _ in range(2):
        rotated = await door.gateway.db.write(
            lambda tx: clients.rotate_client(tx, door.gateway.ring, app.app_id, client.client_id, made_at)
        )
        assert rotated is not None
        assert await is_good(door, rotated, former) == [False, False, False]
        former = await token_of(door, rotated, claims)
        assert await is_good(door, rotated, former) == [True, True, True]


async def token_of(door: Served, client: NewClient, claims: dict[str, str] | None) -> str:
    body = {
        "grant_type": "client_credentials",
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "scopes": ["ACCESS_DB", "GLOBAL_READ"],
        "expires_in": "30 days",
        "claims": claims,
    }
    issued = await door.ask("POST", "/notes/token", data=msgspec.json.encode(body))
    return str(issued.json["accessToken"])


async def is_good(door: Served, client: NewClient, token: str) -> list[bool]:
    """What three doors say of `token`: /users, /token/validate, and /introspect to `client`."""
    bearer = {"Authorization": f"Bearer {token}"}
    asked = [
        await door.ask("GET", path, headers=bearer) for path in ("/notes/users", "/notes/token/validate")
    ]
    form = {"client_id": client.client_id, "client_secret": client.client_secret, "token": token}
    told = await door.ask("POST", "/notes/introspect", data=form)
    return [*(answer.status == 200 for answer in asked), told.json["active"]]
