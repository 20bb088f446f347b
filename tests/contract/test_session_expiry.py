"""Sessions that end by time, and the signs of life that keep them: each end is told once."""

import asyncio
from functools import partial
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from admit import clock
from admit.accounts import apps, session_expiry, session_states
from admit.accounts.connections import Connections
from admit.accounts.refreshes import Accepted, NotAccepted, Refresh, accept_refresh
from admit.accounts.sessions import Session
from admit.accounts.user_deletion import delete_user
from admit.clock import DAY_MS, MINUTE_MS
from admit.errors import StorageUnavailable
from admit.events import log
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction
from tests.contract.served import serving
from tests.residents import (
    APP,
    NOW,
    day,
    events_of,
    login,
    move_in,
    person,
    session_now,
    sign_in,
    start_app,
    told,
)


async def enrolled(database: Database, *devices: str, **changes: Any) -> list[Session]:
    """Somebody's sessions, one on each of `devices`, which can be refreshed for 180 days."""
    await start_app(database)
    ada = person()
    await move_in(database, ada)
    logins = [login(ada, device_id=each, **changes) for each in devices or ("laptop",)]
    return [(await sign_in(database, each)).session for each in logins]


async def state(database: Database, session: Session) -> str:
    stored = await session_now(database, session)
    assert stored is not None
    return f"{stored.state} {stored.reason}".strip()


def refresh(session: Session, now: int, idle_days: int = 0) -> Refresh:
    return Refresh(
        app_id=session.app_id,
        session_id=session.session_id,
        key_thumbprint=session.key_thumbprint,
        time_stamp=now,
        now=now,
        session_idle_days=idle_days,
    )


async def ask(database: Database, request: Refresh) -> Accepted | NotAccepted:
    return await database.write_together(accept_refresh, request)


async def app_with_idle_days(database: Database, ring: KeyRing, days: int, name: str = "notes") -> str:
    """The app_id of an app whose sessions end after `days` of silence."""

    def make(tx: Transaction) -> str:
        made = apps.create_app(tx, ring, name=name, owner="o@example.com", user_ids="email", now=NOW)
        assert isinstance(made, apps.App)
        apps.edit_settings(tx, made.app_id, NOW, session_idle_days=days)
        return made.app_id

    return await database.write(make)


async def at_home(database: Database, app_id: str, *devices: str) -> list[Session]:
    ada = person(app_id=app_id)
    await move_in(database, ada)
    return [(await sign_in(database, login(ada, device_id=each))).session for each in devices]


# The end of the refresh token


async def test_session_that_can_be_refreshed_no_longer_is_ended_and_told_once(database: Database) -> None:
    first, second = await enrolled(database, "laptop", "phone")
    end = first.refresh_until
    assert await database.write(partial(session_expiry.expire, now=end - 1, rows_max=10)) == 0

    outcomes = [await database.write(partial(session_expiry.expire, now=end, rows_max=1)) for _ in range(3)]

    assert outcomes == [1, 1, 0]
    stored = await session_now(database, first)
    assert stored is not None
    assert (stored.state, stored.reason, stored.signed_out_at) == ("LOCKED", "expired", end)
    assert await state(database, second) == "LOCKED expired"
    ends = [msgspec.json.decode(event.data)["reason"] for event in await events_of(database)]
    assert ends == ["expired", "expired"]


async def test_only_sessions_that_are_enrolled_end_by_time(database: Database) -> None:
    locked, wiped = await enrolled(database, "laptop", "phone")
    await database.write(partial(session_states.lock, app_id=APP, session_id=locked.session_id, now=NOW))
    await database.write(partial(session_states.wipe, app_id=APP, session_id=wiped.session_id, now=NOW))

    assert await database.write(partial(session_expiry.expire, now=day(400), rows_max=10)) == 0

    assert (await state(database, locked), await state(database, wiped)) == ("LOCKED locked", "RESET wiped")


async def test_login_at_the_end_of_its_session_goes_on(database: Database) -> None:
    (session,) = await enrolled(database)
    ada = person(uid=session.uid)
    end = session.refresh_until

    renewed, _ = await asyncio.gather(
        sign_in(database, login(ada, now=end)),
        database.write(partial(session_expiry.expire, now=end, rows_max=10)),
    )

    assert await state(database, renewed.session) == "ENROLLED"


async def test_two_servers_end_a_session_once(postgres_url: str) -> None:
    servers = [Database(postgres_url) for _ in range(2)]
    sessions = await enrolled(servers[0], *(f"device{n}" for n in range(30)))
    end = partial(session_expiry.expire, now=sessions[0].refresh_until, rows_max=20)

    ended = 0
    for _ in range(3):
        ended += sum(await asyncio.gather(*(server.write(end, patient=True) for server in servers)))

    assert ended == 30
    assert await told(servers[0]) == ["session.ended"] * 30
    for server in servers:
        server.close()


async def test_deletion_at_the_same_time_hinders_no_end(postgres_url: str) -> None:
    servers = [Database(postgres_url) for _ in range(2)]
    sessions = await enrolled(servers[0], *(f"device{n}" for n in range(30)))
    end = partial(session_expiry.expire, now=sessions[0].refresh_until, rows_max=20)

    deleted, *_ = await asyncio.gather(
        delete_user(servers[0], APP, "ada@example.com", NOW), *(servers[1].write(end) for _ in range(3))
    )

    assert deleted
    assert await session_now(servers[0], sessions[0]) is None
    for server in servers:
        server.close()


# Silence


async def test_silent_session_is_refused_to_the_millisecond(database: Database) -> None:
    (session,) = await enrolled(database)
    silent = NOW + 30 * DAY_MS

    assert await ask(database, refresh(session, silent, idle_days=30)) == NotAccepted("session_ended")
    assert isinstance(await ask(database, refresh(session, silent - 1, idle_days=30)), Accepted)
    assert isinstance(await ask(database, refresh(session, silent + 30 * DAY_MS - 2, 30)), Accepted)
    assert isinstance(await ask(database, refresh(session, silent + 90 * DAY_MS)), Accepted)


async def test_refresh_is_a_sign_of_life_that_never_goes_back(database: Database) -> None:
    (session,) = await enrolled(database)
    await ask(database, refresh(session, NOW + 5_000))
    assert (await session_now(database, session)) == replace(
        session, newest_stamp=NOW + 5_000, connected_at=NOW + 5_000
    )

    late = replace(refresh(session, NOW + 9_000), now=NOW + 1_000)
    outcome = await ask(database, late)

    stored = await session_now(database, session)
    assert stored is not None
    assert (stored.newest_stamp, stored.connected_at) == (NOW + 9_000, NOW + 5_000)
    assert isinstance(outcome, Accepted)
    assert outcome.session == stored


async def test_silent_sessions_of_apps_that_ask_for_it_are_ended_and_told_once(
    database: Database, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_expiry, "PAGE_OF_SESSIONS", session_expiry.PAGE_OF_SESSIONS.limit(2))
    asks_for_it = await app_with_idle_days(database, ring, 10)
    does_not = await app_with_idle_days(database, ring, 0, "plans")
    sessions = await at_home(database, asks_for_it, "laptop", "phone", "desk")
    (other,) = await at_home(database, does_not, "laptop")
    await ask(database, refresh(sessions[1], day(4)))
    later = day(10) + session_expiry.UNHEARD_MS

    assert await session_expiry.end_idle(database, later - 1) == 0
    assert await session_expiry.end_idle(database, later) == 2
    assert await session_expiry.end_idle(database, later) == 0

    states = [await state(database, session) for session in sessions]
    assert states == ["LOCKED inactive", "ENROLLED", "LOCKED inactive"]
    assert await state(database, other) == "ENROLLED"
    recorded = await database.read(partial(log.after, app_id=asks_for_it, position=0, limit=100))
    ends = [msgspec.json.decode(event.data)["reason"] for event in recorded if event.type == "session.ended"]
    assert ends == ["inactive", "inactive"]


async def test_two_servers_end_silent_sessions_once(postgres_url: str, ring: KeyRing) -> None:
    servers = [Database(postgres_url) for _ in range(2)]
    app_id = await app_with_idle_days(servers[0], ring, 10)
    await at_home(servers[0], app_id, *(f"device{n}" for n in range(30)))

    ended = await asyncio.gather(*(session_expiry.end_idle(server, day(12)) for server in servers))

    assert sum(ended) == 30
    recorded = await servers[0].read(partial(log.after, app_id=app_id, position=0, limit=100))
    assert [event.type for event in recorded].count("session.ended") == 30
    for server in servers:
        server.close()


async def test_server_ends_what_is_due_when_it_keeps_house(served_url: str) -> None:
    async with serving(served_url) as served:
        app = await served.app()
        db, now = served.gateway.db, clock.now()
        ada = person(app_id=app.app_id)
        await move_in(db, ada)
        due = (await sign_in(db, login(ada, now=now, refresh_until=now))).session
        silent = (
            await sign_in(db, login(ada, device_id="old", now=now - 5 * DAY_MS, refresh_until=day(99_999)))
        ).session
        await db.write(lambda tx: apps.edit_settings(tx, app.app_id, now, session_idle_days=4))
    async with serving(served_url) as served, asyncio.timeout(10):
        db = served.gateway.db
        while [await state(db, each) for each in (due, silent)] != ["LOCKED expired", "LOCKED inactive"]:
            await asyncio.sleep(0.02)


# Signs of life


class Hand:
    """A clock that a test sets."""

    at = NOW

    def __call__(self) -> int:
        return self.at


async def test_signs_of_life_are_written_together_and_never_turned_back(database: Database) -> None:
    laptop, phone, desk = await enrolled(database, "laptop", "phone", "desk")
    hand = Hand()
    connections = Connections(database, hand)
    for session, at in ((laptop, 10), (phone, 20), (laptop, 30)):
        hand.at = NOW + at
        connections.note(APP, session.session_id)
    connections.note(APP, "ses_unknown")
    await ask(database, refresh(phone, NOW + 50))
    assert await heard(database, laptop) == NOW

    await connections.flush()

    assert [await heard(database, each) for each in (laptop, phone, desk)] == [NOW + 30, NOW + 50, NOW]
    await connections.flush()
    await connections.close()


async def test_signs_of_life_are_kept_while_the_database_is_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop, phone = await enrolled(database, "laptop", "phone")
    hand = Hand()
    connections = Connections(database, hand)
    hand.at = NOW + 10
    connections.note(APP, laptop.session_id)
    connections.note(APP, phone.session_id)

    async def away(*_: object, **__: object) -> None:
        hand.at = NOW + 20
        connections.note(APP, phone.session_id)
        raise StorageUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(database, "write_in_pieces", away)
        await connections.flush()
    await connections.close()

    assert [await heard(database, each) for each in (laptop, phone)] == [NOW + 10, NOW + 20]


async def test_signs_of_life_are_written_at_the_stop_of_the_server(served_url: str) -> None:
    async with serving(served_url) as served:
        app = await served.app()
        ada, now = person(app_id=app.app_id), clock.now() - 5 * MINUTE_MS
        await move_in(served.gateway.db, ada)
        opened = await sign_in(served.gateway.db, login(ada, now=now, refresh_until=now + DAY_MS))
        headers = served.bearer(app, ada.user_id, sid=opened.session.session_id)
        assert (await served.ask("GET", "/notes/token/validate", headers=headers)).status == 200
        assert await heard(served.gateway.db, opened.session) == now
    async with serving(served_url) as served:
        assert await heard(served.gateway.db, opened.session) > now + 4 * MINUTE_MS


async def heard(database: Database, session: Session) -> int:
    stored = await session_now(database, session)
    assert stored is not None
    return stored.connected_at
