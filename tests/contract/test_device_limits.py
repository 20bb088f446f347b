"""The limit to devices: who is refused, or whom it locks, and that no two take the last place."""

import asyncio
import threading
from functools import partial
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import update

from admit.accounts import facts, session_opening, session_states, tables
from admit.accounts.app_settings import AppSettings, WhenDevicesFull
from admit.accounts.device_limits import Full, Limit, make_room
from admit.accounts.devices import NOT_SENT, About, Device
from admit.accounts.session_opening import NoSession, Opened, OpenSession
from admit.accounts.sessions import Session
from admit.accounts.users import User
from admit.clock import DAY_MS
from admit.events.catalog import SignIn
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
    person,
    session_now,
    start_app,
    told,
    user_now,
)

REFUSE = AppSettings(devices_max=2, when_devices_full="refuse")
LOCK = AppSettings(devices_max=2, when_devices_full="lock")
SIGN_IN = SignIn(method="client_credentials", provider="client")


async def enroll(database: Database, *openings: OpenSession) -> list[Opened | NoSession]:
    """Logs in as a door does: what came of it is recorded in the same unit."""

    def unit(tx: Transaction) -> list[Opened | NoSession]:
        outcomes = session_opening.open_or_renew(tx, openings)
        for outcome, opening in zip(outcomes, openings, strict=True):
            if isinstance(outcome, Opened):
                facts.record_start(tx, outcome, SIGN_IN, opening.now)
            else:
                facts.record_refusal(tx, outcome, SIGN_IN, opening.now)
        return outcomes

    return await database.write(unit)


def on(user: User, device_id: str, settings: AppSettings, after: int = 0, **changes: Any) -> OpenSession:
    return login(user, device_id=device_id, settings=settings, now=NOW + after, **changes)


async def resident(database: Database, **changes: Any) -> User:
    await start_app(database)
    ada = person(**changes)
    await move_in(database, ada)
    return ada


async def test_one_device_too_many_is_refused_and_leaves_nothing_but_its_event(database: Database) -> None:
    ada = await resident(database)
    await enroll(database, on(ada, "one", REFUSE), on(ada, "two", REFUSE, 1))
    before = await user_now(database, ada)

    (refused,) = await enroll(database, on(ada, "three", REFUSE, 2))

    assert isinstance(refused, NoSession)
    assert (refused.reason, refused.devices_max) == ("device_limit", 2)
    assert await count(database, tables.devices, ada) == await count(database, tables.sessions, ada) == 2
    assert await user_now(database, ada) == before
    *_, event = await events_of(database)
    assert event.type == "device.refused"
    said = msgspec.json.decode(event.data)
    assert said["device"] == {"identifier": "three", "derived": False}
    assert (said["devices_max"], said["user"]["uid"]) == (2, ada.uid)


async def test_enrolled_device_signs_in_again_although_all_places_are_taken(database: Database) -> None:
    ada = await resident(database)
    await enroll(database, on(ada, "one", REFUSE), on(ada, "two", REFUSE))

    renewed, anew = await enroll(
        database, on(ada, "one", REFUSE, 1), on(ada, "two", REFUSE, 1, public_key=key("new"))
    )

    assert isinstance(renewed, Opened)
    assert not renewed.opened
    assert isinstance(anew, Opened)
    assert anew.session.ordinal == 2


async def test_device_not_heard_of_for_longest_is_locked_in_favour_of_the_new_one(database: Database) -> None:
    ada = await resident(database)
    one, two = await enroll(database, on(ada, "one", LOCK), on(ada, "two", LOCK, 1))
    assert isinstance(one, Opened)
    assert isinstance(two, Opened)
    await enroll(database, on(ada, "one", LOCK, 2))

    (three,) = await enroll(database, on(ada, "three", LOCK, 3))

    assert isinstance(three, Opened)
    locked = await session_now(database, two.session)
    assert locked is not None
    assert (locked.state, locked.reason, locked.signed_out_at) == ("LOCKED", "device_limit", NOW + 3)
    still = await session_now(database, one.session)
    assert still is not None
    assert still.state == "ENROLLED"
    assert (await told(database))[-3:] == ["session.locked", "device.enrolled", "session.started"]
    said = msgspec.json.decode((await events_of(database))[-3].data)
    assert (said["device"]["identifier"], said["reason"]) == ("two", "device_limit")


async def test_limit_that_was_lowered_locks_as_many_as_are_too_many(database: Database) -> None:
    ada = await resident(database)
    await enroll(database, *(on(ada, name, AppSettings(), after) for after, name in enumerate("abcd")))

    (opened,) = await enroll(database, on(ada, "new", LOCK, 9))

    assert isinstance(opened, Opened)
    assert [each.device.device_id for each in opened.closed] == ["a", "b", "c"]


@pytest.mark.parametrize(("own", "admitted"), [(None, 2), (1, 1), (3, 3), (0, 4)])
async def test_number_of_the_user_goes_before_that_of_the_app(
    database: Database, own: int | None, admitted: int
) -> None:
    ada = await resident(database, devices_max=own)

    outcomes = await enroll(database, *(on(ada, name, REFUSE) for name in "abcd"))

    assert [isinstance(each, Opened) for each in outcomes] == [place < admitted for place in range(4)]


async def test_ended_sessions_owners_and_what_cannot_be_refreshed_take_no_place(database: Database) -> None:
    ada = await resident(database)
    settings = replace(REFUSE, devices_max=1)
    (ended,) = await enroll(database, on(ada, "ended", settings))
    assert isinstance(ended, Opened)
    await database.write(
        lambda tx: tx.execute(update(tables.sessions).values(state="LOCKED", reason="logged_out")).rowcount
    )
    await enroll(database, on(ada, "past", settings, refresh_until=NOW + 5))
    await enroll(database, on(ada, "owners", settings, actor="owner@example.com"))

    (opened,) = await enroll(database, on(ada, "new", settings, 5))

    assert isinstance(opened, Opened)


async def sent_to_prove_itself(database: Database, opened: Opened) -> None:
    session = opened.session
    unit = partial(session_states.reauthenticate, app_id=APP, session_id=session.session_id, now=NOW)
    assert isinstance(await database.write(unit), Session)


@pytest.mark.parametrize("rule", ["refuse", "lock"])
async def test_device_that_has_to_prove_itself_comes_back_into_a_free_place_only(
    database: Database, rule: WhenDevicesFull
) -> None:
    ada = await resident(database)
    settings = AppSettings(devices_max=1, when_devices_full=rule)
    (one,) = await enroll(database, on(ada, "one", settings))
    assert isinstance(one, Opened)
    await sent_to_prove_itself(database, one)
    (two,) = await enroll(database, on(ada, "two", settings, 1))
    assert isinstance(two, Opened)

    (back,) = await enroll(database, on(ada, "one", settings, 2))

    assert isinstance(back, NoSession if rule == "refuse" else Opened)
    assert await database.read(partial(_enrolled, user=ada)) == 1


async def test_device_that_has_proven_itself_goes_on_with_its_session_and_that_is_told(
    database: Database,
) -> None:
    ada = await resident(database)
    (one,) = await enroll(database, on(ada, "one", REFUSE))
    assert isinstance(one, Opened)
    await sent_to_prove_itself(database, one)

    (back,) = await enroll(database, on(ada, "one", REFUSE, 1))

    assert isinstance(back, Opened)
    assert (back.opened, back.unlocked) == (False, True)
    assert (back.session.session_id, back.session.ordinal) == (one.session.session_id, 1)
    assert (await told(database))[-2:] == ["session.locked", "session.unlocked"]


@pytest.mark.parametrize(
    ("settings", "after", "changes", "reason"),
    [
        (REFUSE, 5, {"refresh_until": NOW + 5}, "expired"),
        (replace(REFUSE, session_idle_days=1), DAY_MS, {}, "inactive"),
    ],
)
async def test_session_that_is_over_takes_no_place_and_is_not_renewed_though_nobody_has_told_its_end(
    database: Database, settings: AppSettings, after: int, changes: dict[str, int], reason: str
) -> None:
    ada = await resident(database)
    settings = replace(settings, devices_max=1)
    (one,) = await enroll(database, on(ada, "one", settings, **changes))
    assert isinstance(one, Opened)

    (again,) = await enroll(database, on(ada, "one", settings, after))
    assert isinstance(again, Opened)
    assert (again.session.ordinal, again.previous) == (2, one.session.session_id)
    ended = msgspec.json.decode((await events_of(database))[-3].data)
    assert (ended["session"]["id"], ended["reason"]) == (one.session.session_id, reason)

    (other,) = await enroll(database, on(ada, "other", settings, after + max(after, 180 * DAY_MS)))
    assert isinstance(other, Opened)


async def test_limit_for_somebody_with_hundreds_of_devices_locks_some_at_each_login(
    database: Database,
) -> None:
    ada = await resident(database)
    for start in range(0, 450, 150):
        names = [f"device{number}" for number in range(start, start + 150)]
        await enroll(database, *(on(ada, name, AppSettings(), start) for name in names))

    left = []
    for turn in range(4):
        (opened,) = await enroll(database, on(ada, f"new{turn}", LOCK, 1_000 + turn))
        assert isinstance(opened, Opened)
        left.append(await database.read(partial(_enrolled, user=ada)))

    assert left == [251, 52, 2, 2]


@pytest.mark.parametrize("counted", [True, False])
async def test_derived_devices_count_only_where_the_app_says_so(database: Database, counted: bool) -> None:
    ada = await resident(database)
    settings = replace(REFUSE, devices_max=1, count_derived_devices=counted)

    outcomes = await enroll(
        database,
        *(on(ada, "", settings, sent=NOT_SENT, public_key=key(name)) for name in ("one", "two")),
        on(ada, "sent", settings),
    )

    assert [isinstance(each, Opened) for each in outcomes] == (
        [True, False, False] if counted else [True] * 3
    )


async def test_visitors_of_a_demo_are_not_counted(database: Database) -> None:
    ada = await resident(database, type="demo")

    outcomes = await enroll(database, *(on(ada, name, REFUSE) for name in "abcd"))

    assert all(isinstance(each, Opened) for each in outcomes)


@pytest.mark.parametrize("settings", [REFUSE, LOCK])
async def test_two_devices_on_two_servers_do_not_both_take_the_last_place(
    postgres_url: str, settings: AppSettings
) -> None:
    servers = [Database(postgres_url) for _ in range(2)]
    decided, commit = threading.Event(), threading.Event()

    def slow(tx: Transaction) -> None:
        session_opening.open_or_renew(tx, [on(ada, "second", settings)])
        decided.set()
        commit.wait(10)

    try:
        ada = await resident(servers[0])
        await enroll(servers[0], on(ada, "first", settings))

        second = asyncio.create_task(servers[0].write(slow))
        await asyncio.to_thread(decided.wait, 10)
        third = asyncio.create_task(enroll(servers[1], on(ada, "third", settings)))
        await asyncio.wait({third}, timeout=0.5)
        commit.set()
        await asyncio.gather(second, third)

        assert await servers[0].read(partial(_enrolled, user=ada)) == 2
    finally:
        for server in servers:
            await asyncio.to_thread(server.close)


def _enrolled(tx: Transaction, user: User) -> int:
    rows = tx.execute(tables.sessions.select().where(tables.sessions.c.uid == user.uid)).all()
    return sum(row.state == "ENROLLED" for row in rows)


def test_newcomer_that_does_not_count_is_let_in_whoever_is_there() -> None:
    newcomer = Device(APP, "usr", "key_x", True, "x", "", About(), NOW, NOW)
    assert make_room(Limit(1, "refuse", False, 0), newcomer, (), NOW) == ()
    assert make_room(Limit(0, "refuse", True, 0), newcomer, (), NOW) == Full(0)
