"""The device that a client sends with a sign-in, on the wire: what is read, refused, kept and told."""

import asyncio
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import select, update

from admit.accounts import apps, tables
from admit.accounts.apps import App
from admit.accounts.clients import NewClient
from admit.storage.transaction import Transaction
from tests.contract.served import Answered, Served, serving
from tests.contract.signin_desk import device
from tests.contract.token_desk import ask, asked_for_code, code_mailed_to, events_of, redeemed, signed_in

PHONE = {"id": "3f0c2a52-6c0e-4a8e", "label": "Ada’s phone", "platform": "ios", "app_version": "2.1"}


async def vouched(
    served: Served, client: NewClient, sub: str = "ada@example.com", **fields: object
) -> Answered:
    """A sign-in for which an API client of the app vouches."""
    body = {
        "grant_type": "client_credentials",
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "scopes": ["ACCESS_DB"],
        "claims": {"sub": sub, "email": sub, "name": "Ada"},
        "public_key": device().public_key.pem,
        **fields,
    }
    return await ask(served, body)


async def rows(served: Served, table: Any) -> list[Any]:
    def find(tx: Transaction) -> list[Any]:
        return list(tx.execute(select(table)).all())

    return await served.gateway.db.read(find)


async def limited(served: Served, app: App, devices_max: int) -> None:
    """Sets the limit of the app."""
    settings = replace(app.settings, devices_max=devices_max)
    await served.gateway.db.write(partial(apps.set_settings, app_id=app.app_id, settings=settings, now=1))
    while (await served.gateway.directory.app(app.name)).settings != settings:
        await asyncio.sleep(0.01)


async def test_device_in_the_body_is_kept_and_told(served: Served) -> None:
    app = await served.app()
    client = await served.client(app)

    assert (await vouched(served, client, device=PHONE)).status == 200

    (row,) = await rows(served, tables.devices)
    assert (row.device_id, row.derived, row.label) == (PHONE["id"], "no", PHONE["label"])
    enrolled = dict(await events_of(served, app.app_id))["device.enrolled"]
    told = enrolled["device"]
    assert (told["identifier"], told["derived"], told["platform"]) == (PHONE["id"], False, "ios")
    assert enrolled["sign_in"] == {"method": "client_credentials", "provider": "client"}


async def test_mailed_code_carries_the_device_in_headers_too(served: Served) -> None:
    await served.app()
    otp_id = (await asked_for_code(served, "ada@example.com")).json["otp_id"]
    otp = await code_mailed_to(served, "ada@example.com")
    body = {
        "grant_type": "otp",
        "otp_id": otp_id,
        "otp": otp,
        "scopes": ["ACCESS_DB"],
        "public_key": device().public_key.pem,
    }

    answer = await served.ask(
        "POST",
        "/notes/token",
        json=body,
        headers={"X-Device-Id": "ger%C3%A4t-1", "X-Device-Label": "K%C3%BCche", "X-Device-Platform": "kiosk"},
    )

    assert answer.status == 200
    (row,) = await rows(served, tables.devices)
    assert (row.device_id, row.label, row.about) == ("gerät-1", "Küche", '{"platform":"kiosk"}')


async def test_device_in_the_body_wins_whole(door: Served) -> None:
    app = await door.app()
    client = await door.client(app)
    body = {
        "grant_type": "client_credentials",
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "claims": {"sub": "ada@example.com"},
        "public_key": device().public_key.pem,
        "device": {"id": "body"},
    }
    await door.ask(
        "POST", "/notes/token", json=body, headers={"X-Device-Id": "header", "X-Device-Label": "Header"}
    )
    (row,) = await rows(door, tables.devices)
    assert (row.device_id, row.label) == ("body", "")


async def test_without_a_device_it_is_the_one_of_the_key(served: Served) -> None:
    app = await served.app()
    await signed_in(served, "ada@example.com")
    told = dict(await events_of(served, app.app_id))["device.enrolled"]["device"]
    assert (told["identifier"], told["derived"]) == (f"key_{device().public_key.thumbprint}", True)


async def test_label_and_details_stay_until_told_anew(served: Served) -> None:
    client = await served.client(await served.app())
    await vouched(served, client, device=PHONE)
    await vouched(served, client, device={"id": PHONE["id"]})
    (row,) = await rows(served, tables.devices)
    assert (row.label, row.about) == (PHONE["label"], '{"platform":"ios","app_version":"2.1"}')
    await vouched(served, client, device={"id": PHONE["id"], "label": "Old phone", "platform": "ios"})
    (row,) = await rows(served, tables.devices)
    assert (row.label, row.about) == ("Old phone", '{"platform":"ios"}')


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": ""},
        {"id": "x" * 201},
        {"id": "key_mine"},
        {"id": "two\nlines"},
        {"id": "a\x7fb"},
        {"id": 7},
        {"id": "phone", "label": "l" * 201},
        {"id": "phone", "label": "\u202eevil"},
        {"id": "phone", "platform": "p" * 101},
        "phone",
    ],
)
async def test_device_that_cannot_be_one_is_refused_before_the_code_is_tried(
    door: Served, wrong: object
) -> None:
    await door.app()
    otp_id = (await asked_for_code(door, "ada@example.com")).json["otp_id"]
    otp = await code_mailed_to(door, "ada@example.com")
    body = {"grant_type": "otp", "otp_id": otp_id, "otp": otp, "public_key": device().public_key.pem}

    answer = await ask(door, body | {"device": wrong})

    assert answer.status == 400
    assert await rows(door, tables.devices) == []
    assert (await redeemed(door, "ada@example.com", otp_id, otp)).status == 200


@pytest.mark.parametrize("value", ["%ff", "key_mine", "x" * 201, "a%00b"])
async def test_header_that_cannot_be_a_device_is_refused(door: Served, value: str) -> None:
    client = await door.client(await door.app())
    answer = await door.ask(
        "POST",
        "/notes/token",
        json={
            "grant_type": "client_credentials",
            "client_id": client.client_id,
            "client_secret": client.client_secret,
            "claims": {"sub": "ada@example.com"},
            "public_key": device().public_key.pem,
        },
        headers={"X-Device-Id": value},
    )
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")


async def test_fifty_logins_at_once_are_one_user_one_device_one_session(served: Served) -> None:
    app = await served.app()
    client = await served.client(app)

    answers = await asyncio.gather(*(vouched(served, client, device=PHONE) for _ in range(50)))

    await assert_one_enrollment(served, app, answers)


async def test_fifty_logins_on_two_servers_are_one_enrollment(served_postgres_url: str) -> None:
    async with serving(served_postgres_url) as one, serving(served_postgres_url) as two:
        app = await one.app()
        client = await one.client(app)

        answers = await asyncio.gather(
            *(vouched((one, two)[number % 2], client, device=PHONE) for number in range(50))
        )

        await assert_one_enrollment(one, app, answers)


async def assert_one_enrollment(served: Served, app: App, answers: list[Answered]) -> None:
    assert {answer.status for answer in answers} == {200}
    assert len({answer.json["claims"]["sid"] for answer in answers}) == 1
    for table in (tables.users, tables.devices, tables.sessions):
        assert len(await rows(served, table)) == 1
    told = [kind for kind, _ in await events_of(served, app.app_id)]
    assert told == ["user.enrolled", "device.enrolled", "session.started"]


async def test_one_device_too_many_is_told_to_the_person_and_the_code_is_not_lost(served: Served) -> None:
    app = await served.app()
    client = await served.client(app)
    await limited(served, app, 1)
    first = await vouched(served, client, device={"id": "laptop"})
    otp_id = (await asked_for_code(served, "ada@example.com")).json["otp_id"]
    otp = await code_mailed_to(served, "ada@example.com")

    refused = await redeemed(served, "ada@example.com", otp_id, otp)

    assert first.status == 200
    assert (refused.status, refused.json["code"]) == (403, "DEVICE_LIMIT_REACHED")
    assert "Sign out" in refused.json["message"]
    assert (await events_of(served, app.app_id))[-1][0] == "device.refused"
    await limited(served, app, 2)
    assert (await redeemed(served, "ada@example.com", otp_id, otp)).status == 200


async def test_locked_user_is_refused_by_every_grant(served: Served) -> None:
    app = await served.app()
    client = await served.client(app)
    await vouched(served, client)
    lock = update(tables.users).values(locked_at=1)
    await served.gateway.db.write(lambda tx: tx.execute(lock).rowcount)

    by_client = await vouched(served, client, device=PHONE)
    without_session = await vouched(served, client, public_key=None)
    by_code = await signed_in(served, "ada@example.com")

    for answer in (by_client, without_session, by_code):
        assert (answer.status, answer.json["code"]) == (403, "USER_LOCKED")
    assert len(await rows(served, tables.sessions)) == 1


async def test_visitors_of_a_demo_choose_no_device(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": "alice@demo.local", "type": "demo"})
    body = {"grant_type": "demo", "demo_user": "alice@demo.local", "public_key": device().public_key.pem}

    answer = await ask(served, body | {"device": PHONE})

    assert answer.status == 200, answer.body
    (row,) = await rows(served, tables.devices)
    assert row.derived == "yes"
