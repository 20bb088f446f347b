"""Deleting a user leaves nothing of them but the fact."""

import asyncio
from functools import partial
from typing import Any

import msgspec
import pytest

from admit.accounts import facts, session_opening, tables, user_changes, user_deletion, users
from admit.accounts.app_settings import AppSettings
from admit.accounts.devices import DeviceSent
from admit.accounts.session_opening import NoSession, Opened, OpenSession
from admit.accounts.user_deletion import delete_user
from admit.accounts.user_edits import UserChange
from admit.accounts.users import NewUser
from admit.events.catalog import SignIn, UserUpgraded
from admit.events.privacy import PERSONAL
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from tests.residents import (
    APP,
    NOW,
    count,
    events_of,
    key,
    login,
    move_in,
    not_signed_in,
    person,
    sign_in,
    start_app,
    user_now,
)

OWNED = (tables.users, tables.user_words, tables.identities, tables.devices, tables.sessions)


async def test_everything_of_the_user_goes_and_nothing_of_others(database: Database) -> None:
    await start_app(database)
    ada, bob = person("ada", name="Ada Lovelace"), person("bob", name="Ada Bobson")
    await move_in(database, ada, bob)
    for user in (ada, bob):
        await sign_in(database, login(user, device_id="phone"))
        await sign_in(database, login(user, device_id="laptop"))
    heard: list[str | None] = []
    database.signals.subscribe("user", heard.append)

    assert await delete_user(database, APP, "ada", NOW)

    assert [await count(database, table, ada) for table in OWNED] == [0, 0, 0, 0, 0]
    assert [await count(database, table, bob) for table in OWNED] == [1, 3, 1, 2, 2]
    (event,) = await events_of(database)
    assert (event.type, event.uid, msgspec.json.decode(event.data)) == (
        "user.deleted",
        ada.uid,
        {"user": {"uid": ada.uid, "user_id": "ada", "type": "eval"}},
    )
    await asyncio.sleep(0)
    assert heard == [f"{APP}/ada"]


async def test_earlier_events_name_nobody_any_more_but_the_user_id(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_deletion, "SLICE_ROWS", 2)
    await start_app(database)
    text = '[{"userId":"%s","type":"prod","data":{"displayName":"%s","email":"%s@example.com","user":%d}}]'
    for number in range(5):
        for user_id, name in (("ada", 'Ada \\"name\\":\\"'), ("bob", "Bob")):
            changes = msgspec.json.decode(text % (user_id, name, user_id, number), type=list[UserChange])
            await database.write(
                partial(user_changes.write_many, app_id=APP, changes=changes, eval_days=30, now=NOW)
            )
    before = await events_of(database)

    assert await delete_user(database, APP, "ada", NOW)

    after = await events_of(database)
    assert [event.event_id for event in after[:-1]] == [event.event_id for event in before]
    for event, earlier in zip(after, before, strict=False):
        told, whole = msgspec.json.decode(event.data), msgspec.json.decode(earlier.data)
        if whole["user"]["user_id"] == "ada":
            gone = [whole["user"].pop(member) for member in PERSONAL]
            assert gone[0] == "ada@example.com"
        else:
            assert set(PERSONAL) < set(told["user"])
        assert told == whole


@pytest.mark.parametrize(
    "known",
    [{"email": "x@example.com"}, {"name": "X"}, {"data": msgspec.Raw('{"plan": "x"}')}],
    ids=["email", "name", "data"],
)
async def test_whatever_was_known_of_the_person_is_erased(database: Database, known: dict[str, Any]) -> None:
    await start_app(database)
    ada = person("ada", **known)
    await move_in(database, ada)
    upgraded = UserUpgraded(user=facts.person_of(ada))
    await database.write(lambda tx: facts.record(tx, ada, upgraded, NOW))
    before = msgspec.json.decode((await events_of(database))[0].data)["user"]

    await delete_user(database, APP, "ada", NOW)

    after = msgspec.json.decode((await events_of(database))[0].data)["user"]
    assert before.keys() - after.keys() == known.keys()
    assert after == {"uid": ada.uid, "user_id": "ada", "type": "eval"}


NAMED = 'Ada Lovelace\'s "derived":true iPhone'


async def test_what_clients_said_of_their_devices_is_erased(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_deletion, "SLICE_ROWS", 4)  # of seven events
    await start_app(database)
    ada = person("ada")
    await move_in(database, ada)
    sent = [DeviceSent(id=NAMED, label=NAMED, platform=NAMED), DeviceSent(id="erased_07700")]
    sent.append(DeviceSent(platform=NAMED))  # its identifier is derived
    for number, each in enumerate(sent):
        opening = login(ada, sent=each, public_key=key(f"key{number}"), now=NOW + number)
        await database.write(partial(start, opening=opening))
    full = AppSettings(devices_max=1)
    await database.write(partial(start, opening=login(ada, device_id=NAMED + "2", settings=full)))
    before = [msgspec.json.decode(event.data) for event in await events_of(database)]
    assert before[-1]["device"] == {"identifier": NAMED + "2", "derived": False}

    assert await delete_user(database, APP, "ada", NOW)

    after = [msgspec.json.decode(event.data) for event in (await events_of(database))[:-1]]
    assert "Lovelace" not in str(after)
    assert "07700" not in str(after)
    for told, whole in zip(after, before, strict=True):
        device = whole["device"]
        device.pop("platform", None)
        if not device["derived"]:
            device["identifier"] = "erased" + (f"_{device['first_seen']}" if "first_seen" in device else "")
            device["derived"] = True
        assert told == whole
    assert len({told["device"]["identifier"] for told in after}) == 4


def start(tx: Transaction, opening: OpenSession) -> None:
    """A login with what is told of it."""
    [outcome] = session_opening.open_or_renew(tx, [opening])
    sign_in = SignIn(method="email_code", provider="email")
    if isinstance(outcome, Opened):
        facts.record_start(tx, outcome, sign_in, opening.now)
    else:
        facts.record_refusal(tx, outcome, sign_in, opening.now)


async def test_a_device_that_is_told_of_together_with_the_deletion_has_no_name_either(
    database: Database,
) -> None:
    await start_app(database)
    ada = person("ada")
    await move_in(database, ada)

    def unit(tx: Transaction) -> user_deletion.Deletion:
        start(tx, login(ada, sent=DeviceSent(id=NAMED, platform=NAMED)))
        return user_deletion.delete_slice(tx, APP, "ada", NOW)

    assert await database.write(unit) is user_deletion.Deletion.DELETED

    *told, last = [(event.type, msgspec.json.decode(event.data)) for event in await events_of(database)]
    assert [each for each, _ in told] == ["device.enrolled", "session.started"]
    assert all(data["device"]["identifier"].startswith("erased_") for _, data in told)
    assert "Lovelace" not in str(told)
    assert last[0] == "user.deleted"


async def test_event_that_is_committed_together_with_the_deletion_names_nobody_either(
    database: Database,
) -> None:
    await start_app(database)
    ada, bob = person("ada@example.com", name="Ada"), person("bob@example.com", name="Bob")
    await move_in(database, ada, bob)

    def unit(tx: Transaction) -> user_deletion.Deletion:
        for user in (ada, bob):
            facts.record(tx, user, UserUpgraded(user=facts.person_of(user)), NOW)
        return user_deletion.delete_slice(tx, APP, "ada@example.com", NOW)

    assert await database.write(unit) is user_deletion.Deletion.DELETED

    told = [msgspec.json.decode(event.data)["user"] for event in await events_of(database)]
    assert [each.get("name") for each in told] == [None, "Bob", None]
    assert [each.get("email") for each in told] == [None, "bob@example.com", None]


async def test_unknown_user_is_not_deleted_and_nothing_is_told(database: Database) -> None:
    await start_app(database)

    for user_id in ("nobody", "", "a\x00"):
        assert not await delete_user(database, APP, user_id, NOW)
    assert await events_of(database) == []


async def test_person_who_returns_is_somebody_new(database: Database) -> None:
    await start_app(database)
    before, after = person("ada"), person("ada")
    await move_in(database, before)
    await delete_user(database, APP, "ada", NOW)
    await move_in(database, after)

    assert after.uid != before.uid
    assert await user_now(database, after) == after
    assert await not_signed_in(database, login(before)) == NoSession("deleted")


async def test_years_of_logins_are_deleted_in_slices(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await start_app(database)
    ada = person("ada")
    await move_in(database, ada)
    await asyncio.gather(
        *(sign_in(database, login(ada, device_id=f"device{number}")) for number in range(1_000))
    )
    slices = 0

    def counted(*args: object, **kwargs: object) -> user_deletion.Deletion:
        nonlocal slices
        slices += 1
        return delete_slice(*args, **kwargs)  # type: ignore[arg-type]

    delete_slice = user_deletion.delete_slice
    monkeypatch.setattr(user_deletion, "delete_slice", counted)

    assert await delete_user(database, APP, "ada", NOW)
    assert slices == 3  # sessions, devices, the rest
    assert [await count(database, table, ada) for table in OWNED] == [0, 0, 0, 0, 0]
    assert len(await events_of(database)) == 1


async def test_two_who_delete_the_same_user_tell_it_once(database: Database) -> None:
    await start_app(database)
    await move_in(database, person("ada"))

    outcomes = await asyncio.gather(*(delete_user(database, APP, "ada", NOW) for _ in range(5)))

    assert sorted(outcomes) == [False, False, False, False, True]
    assert len(await events_of(database)) == 1


async def test_login_at_the_moment_of_deletion_leaves_no_session_behind(postgres_url: str) -> None:
    servers = [Database(postgres_url) for _ in range(2)]
    await start_app(servers[0])
    for round_ in range(15):
        ada = person(f"ada{round_}")
        await move_in(servers[0], ada)
        logins = [
            servers[1].write_together(session_opening.open_or_renew, login(ada, device_id=f"device{number}"))
            for number in range(10)
        ]

        deleted, *outcomes = await asyncio.gather(delete_user(servers[0], APP, ada.user_id, NOW), *logins)

        assert deleted
        assert all(isinstance(outcome, Opened) or outcome == NoSession("deleted") for outcome in outcomes)
        assert [await count(servers[0], table, ada) for table in OWNED] == [0, 0, 0, 0, 0]
    for server in servers:
        server.close()


async def test_creation_right_behind_a_deletion_in_one_commit_is_the_new_user(database: Database) -> None:
    await start_app(database)
    old, new = person("ada"), person("ada")
    await move_in(database, old)
    await sign_in(database, login(old, public_key=key("old")))

    gone, earlier = await asyncio.gather(
        delete_user(database, APP, "ada", NOW),
        database.write(partial(users.create, rows=[NewUser(new)]), patient=True),
    )

    assert gone
    assert earlier in ({}, {(APP, "ada"): old})
