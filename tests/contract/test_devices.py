"""Devices: known since they were first seen."""

from admit.accounts import tables
from admit.accounts.devices import NOT_SENT, DeviceSent, identify
from admit.storage.database import Database
from tests.residents import NOW, count, key, login, move_in, person, sign_in


async def test_device_keeps_when_it_was_first_seen_and_learns_when_last(database: Database) -> None:
    ada = person()
    await move_in(database, ada)

    first = await sign_in(database, login(ada, now=NOW))
    again = await sign_in(database, login(ada, now=NOW + 5, public_key=key("new")))

    assert (first.device.first_seen_at, first.device.last_seen_at) == (NOW, NOW)
    assert (again.device.first_seen_at, again.device.last_seen_at) == (NOW, NOW + 5)
    assert again.device.key_thumbprint == "new"
    assert await count(database, tables.devices, ada) == 1


async def test_same_identifier_of_two_users_is_two_devices(database: Database) -> None:
    ada, bob = person("ada"), person("bob")
    await move_in(database, ada, bob)

    first = await sign_in(database, login(ada, device_id="kiosk"))
    second = await sign_in(database, login(bob, device_id="kiosk", now=NOW + 1))

    assert first.session.ordinal == second.session.ordinal == 1
    assert (first.device.first_seen_at, second.device.first_seen_at) == (NOW, NOW + 1)


async def test_device_without_an_identifier_is_the_one_of_its_key(database: Database) -> None:
    ada = person()
    await move_in(database, ada)

    opened = await sign_in(database, login(ada, sent=NOT_SENT, public_key=key("browser")))

    assert (opened.device.device_id, opened.device.derived) == identify(NOT_SENT, key("browser"))
    assert opened.device.device_id == "key_browser"
    assert opened.device.derived
    assert identify(DeviceSent(id="my-phone"), key("browser")) == ("my-phone", False)
