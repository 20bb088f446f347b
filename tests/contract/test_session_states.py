"""Sessions after they were opened: locked, unlocked, wiped and ended, once each, whoever does it at once."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, Literal

import msgspec
import psycopg
import pytest
from sqlalchemy import bindparam, delete, make_url, select

from admit.accounts import session_states, tables, user_deletion
from admit.accounts.refreshes import Accepted, NotAccepted, Refresh, accept_refresh
from admit.accounts.session_opening import open_or_renew
from admit.accounts.session_states import (
    NotMoved,
    confirm_wipe,
    end,
    lock,
    lock_user,
    lock_user_slice,
    reauthenticate,
    refusal_of,
    sign_out,
    unlock,
    unlock_user,
    unlock_user_slice,
    wipe,
)
from admit.accounts.sessions import Session
from admit.accounts.user_deletion import delete_user
from admit.accounts.users import User
from admit.errors import NotFound
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from tests.residents import (
    APP,
    NOW,
    events_of,
    key,
    login,
    move_in,
    not_signed_in,
    person,
    session_now,
    sign_in,
    start_app,
    told,
    user_now,
)

Move = Callable[..., Session | NotMoved]


async def enrolled(database: Database, *devices: str) -> tuple[User, list[Session]]:
    """Somebody and their sessions, one on each of `devices`."""
    await start_app(database)
    ada = person()
    await move_in(database, ada)
    opened = [await sign_in(database, login(ada, device_id=each)) for each in devices or ("laptop",)]
    return ada, [each.session for each in opened]


async def attempt(database: Database, move: Move, session: Session, now: int = NOW + 5) -> Session | NotMoved:
    return await database.write(partial(move, app_id=APP, session_id=session.session_id, now=now))


async def do(database: Database, move: Move, session: Session, now: int = NOW + 5) -> Session:
    moved = await attempt(database, move, session, now)
    assert isinstance(moved, Session)
    return moved


async def refused(database: Database, move: Move, session: Session) -> str:
    outcome = await attempt(database, move, session)
    assert isinstance(outcome, NotMoved)
    assert refusal_of(outcome).code == outcome.reason
    return outcome.reason


async def leave(
    database: Database,
    session: Session,
    reason: Literal["logged_out", "expired", "inactive"] = "logged_out",
) -> bool:
    unit = partial(end, app_id=APP, session_id=session.session_id, now=NOW + 5, reason=reason)
    return await database.write(unit)


async def state(database: Database, session: Session) -> str:
    """State and reason of the session, as stored."""
    stored = await session_now(database, session)
    assert stored is not None
    return f"{stored.state} {stored.reason}".strip()


async def reasons(database: Database) -> list[str]:
    """The events about sessions that were not opened, each with its reason."""
    return [
        " ".join([event.type, msgspec.json.decode(event.data).get("reason", "")]).strip()
        for event in await events_of(database)
    ]


def asks(session: Session, stamp: int = NOW + 10) -> Refresh:
    return Refresh(
        app_id=APP,
        session_id=session.session_id,
        key_thumbprint=session.key_thumbprint,
        time_stamp=stamp,
        now=NOW + 10,
    )


async def refresh(database: Database, session: Session, stamp: int = NOW + 10) -> Accepted | NotAccepted:
    return await database.write_together(accept_refresh, asks(session, stamp))


@pytest.mark.parametrize(
    ("move", "becomes", "events", "answer"),
    [
        (lock, "LOCKED locked", ["session.locked locked"], "session_locked"),
        (
            reauthenticate,
            "LOCKED reauthenticate",
            ["session.locked reauthenticate"],
            "reauthentication_required",
        ),
        (wipe, "RESET wiped", ["session.wiped"], "session_wiped"),
    ],
)
async def test_change_is_made_and_told_once_and_stops_the_next_refresh(
    database: Database, move: Move, becomes: str, events: list[str], answer: Any
) -> None:
    _, (session,) = await enrolled(database)
    heard: list[str | None] = []
    database.signals.subscribe("session", heard.append)

    changed = await do(database, move, session)
    again = await do(database, move, session, NOW + 9)

    assert changed == again == await session_now(database, session)
    assert await state(database, session) == becomes
    assert changed.signed_out_at == NOW + 5
    assert await reasons(database) == events
    await asyncio.sleep(0)
    assert heard == [session.key]
    assert await refresh(database, session) == NotAccepted(answer)


@pytest.mark.parametrize("move", [lock, reauthenticate])
async def test_unlocked_session_goes_on_under_its_key(database: Database, move: Move) -> None:
    _, (session,) = await enrolled(database)
    await do(database, move, session)

    unlocked = await do(database, unlock, session, NOW + 6)
    await do(database, unlock, session, NOW + 7)

    assert (unlocked.state, unlocked.reason, unlocked.signed_out_at) == ("ENROLLED", "", NOW + 5)
    assert isinstance(await refresh(database, session), Accepted)
    assert (await told(database))[1:] == ["session.unlocked"]


async def test_session_locked_for_the_limit_of_devices_may_be_unlocked(database: Database) -> None:
    _, (session,) = await enrolled(database)
    locked = {"state": "LOCKED", "reason": "device_limit"}
    await database.write(lambda tx: tx.execute(tables.sessions.update().values(locked)).rowcount)

    assert await refresh(database, session) == NotAccepted("session_locked")
    assert (await do(database, unlock, session)).state == "ENROLLED"


async def test_lock_by_itself_outlasts_the_lock_of_the_user(database: Database) -> None:
    ada, (laptop, phone) = await enrolled(database, "laptop", "phone")
    await lock_user(database, APP, ada.uid, NOW)
    await do(database, lock, laptop)
    await unlock_user(database, APP, ada.uid, NOW)

    assert await state(database, laptop) == "LOCKED locked"
    assert await state(database, phone) == "ENROLLED"


async def test_person_who_proves_anew_who_they_are_goes_on_with_the_session(database: Database) -> None:
    ada, (session,) = await enrolled(database)
    await do(database, reauthenticate, session)

    renewed = await sign_in(database, login(ada, now=NOW + 6))

    assert (renewed.opened, renewed.session.session_id) == (False, session.session_id)
    assert isinstance(await refresh(database, session), Accepted)


@pytest.mark.parametrize("move", [lock, unlock, reauthenticate])
@pytest.mark.parametrize("over", ["logged_out", "expired", "inactive", "wiped"])
async def test_what_is_over_stays_over(
    database: Database, move: Move, over: Literal["logged_out", "expired", "inactive", "wiped"]
) -> None:
    _, (session,) = await enrolled(database)
    if over == "wiped":
        await do(database, wipe, session)
    else:
        assert await leave(database, session, over)
    before, events = await session_now(database, session), await told(database)

    assert await refused(database, move, session) == "session_over"

    assert await session_now(database, session) == before
    assert await told(database) == events


@pytest.mark.parametrize("move", [lock, unlock, reauthenticate, wipe])
async def test_unknown_session_is_not_found(database: Database, move: Move) -> None:
    await start_app(database)
    unit = partial(move, app_id=APP, session_id="ses_unknown", now=NOW)
    assert await database.write(unit) == NotMoved("session_not_found")


async def test_session_of_another_app_is_not_found(database: Database) -> None:
    _, (session,) = await enrolled(database)
    elsewhere = partial(lock, app_id="app_other", session_id=session.session_id, now=NOW)
    assert await database.write(elsewhere) == NotMoved("session_not_found")
    assert await state(database, session) == "ENROLLED"


async def test_session_whose_device_enrolled_anew_is_not_given_back(database: Database) -> None:
    ada, (first,) = await enrolled(database)
    await do(database, lock, first)
    second = (await sign_in(database, login(ada, now=NOW + 6, public_key=key("another")))).session
    assert second.ordinal == 2

    assert await refused(database, unlock, first) == "session_over"
    assert (await state(database, first), await state(database, second)) == ("LOCKED locked", "ENROLLED")


async def test_session_of_a_locked_user_is_unlocked_with_the_user_only(database: Database) -> None:
    ada, (session,) = await enrolled(database)
    await lock_user(database, APP, ada.uid, NOW)

    assert await refused(database, unlock, session) == "user_locked"
    assert await state(database, session) == "LOCKED user_locked"


@pytest.mark.parametrize("before", [None, lock, reauthenticate])
async def test_device_that_leaves_ends_its_session_even_a_locked_one(
    database: Database, before: Move | None
) -> None:
    _, (session,) = await enrolled(database)
    if before is not None:
        await do(database, before, session, NOW + 1)

    assert [await leave(database, session) for _ in range(2)] == [True, False]

    assert await state(database, session) == "LOCKED logged_out"
    assert (await reasons(database))[-1] == "session.ended logged_out"
    assert await refused(database, unlock, session) == "session_over"


async def test_wipe_reaches_a_session_that_is_over(database: Database) -> None:
    _, (session,) = await enrolled(database)
    await leave(database, session)

    wiped = await do(database, wipe, session, NOW + 9)

    assert (wiped.state, wiped.signed_out_at) == ("RESET", NOW + 5)
    assert not await leave(database, session)
    assert await refresh(database, session) == NotAccepted("session_wiped")


async def test_wiped_device_tells_that_it_has_erased_what_it_held_once(database: Database) -> None:
    _, (session,) = await enrolled(database)
    await refresh(database, session, NOW + 10)
    confirm = partial(confirm_wipe, app_id=APP, session_id=session.session_id, now=NOW + 20)
    assert await database.write(partial(confirm, time_stamp=NOW + 20)) == "not_wiped"
    await do(database, wipe, session)

    stamps = (NOW + 10, NOW + 20, NOW + 30, NOW + 10)
    outcomes = [await database.write(partial(confirm, time_stamp=stamp)) for stamp in stamps]

    assert outcomes == ["used", "confirmed", "confirmed", "confirmed"]
    stored = await session_now(database, session)
    assert stored is not None
    assert (stored.state, stored.wiped_at, stored.newest_stamp) == ("RESET", NOW + 20, NOW + 20)
    assert await told(database) == ["session.wiped", "session.wipe_confirmed"]


async def test_recorded_refresh_signs_nobody_out(database: Database) -> None:
    _, (session,) = await enrolled(database)
    await refresh(database, session, NOW + 10)
    leaving = partial(sign_out, app_id=APP, session_id=session.session_id, now=NOW + 20)

    assert await database.write(partial(leaving, time_stamp=NOW + 10)) == "used"
    assert await state(database, session) == "ENROLLED"
    assert await database.write(partial(leaving, time_stamp=NOW + 11)) == "done"
    assert await state(database, session) == "LOCKED logged_out"
    assert await database.write(partial(leaving, time_stamp=NOW + 10)) == "done"


# A user with all their sessions


async def test_locked_user_is_kept_out_everywhere_and_gets_back_what_was_taken(database: Database) -> None:
    ada, (laptop, phone, old) = await enrolled(database, "laptop", "phone", "old")
    bob = person("bob@example.com")
    await move_in(database, bob)
    bobs = (await sign_in(database, login(bob))).session
    await leave(database, old)
    await do(database, lock, phone)

    for _ in range(2):
        await lock_user(database, APP, ada.uid, NOW + 7)

    stored = await user_now(database, ada)
    assert stored is not None
    assert stored.locked_at == NOW + 7
    assert await refresh(database, laptop) == NotAccepted("session_locked")
    assert (await not_signed_in(database, login(ada, device_id="new"))).reason == "locked"
    assert isinstance(await refresh(database, bobs), Accepted)

    for _ in range(2):
        await unlock_user(database, APP, ada.uid, NOW + 8)

    assert await state(database, laptop) == "ENROLLED"
    assert await state(database, phone) == "LOCKED locked"
    assert await state(database, old) == "LOCKED logged_out"
    assert (await reasons(database))[2:] == [
        "user.locked",
        "session.locked user_locked",
        "session.unlocked",
        "user.unlocked",
    ]


async def test_owner_who_acts_as_a_locked_user_is_held_up_and_not_listed(database: Database) -> None:
    ada, _ = await enrolled(database)
    acting = (await sign_in(database, login(ada, device_id="desk", actor="owner@example.com"))).session
    await lock_user(database, APP, ada.uid, NOW)

    assert await state(database, acting) == "ENROLLED"
    assert await refresh(database, acting) == NotAccepted("session_locked")
    assert (await reasons(database)).count("session.locked user_locked") == 1


async def test_nobody_unknown_is_locked(database: Database) -> None:
    await start_app(database)
    for change in (lock_user, unlock_user):
        with pytest.raises(NotFound) as caught:
            await change(database, APP, "usr_unknown", NOW)
        assert caught.value.code == "user_not_found"


async def test_many_sessions_are_locked_in_slices_and_none_is_refreshed_in_between(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_slices_of(monkeypatch, 2)
    ada, found = await enrolled(database, *(f"device{n}" for n in range(5)))
    await database.write(partial(lock_user_slice, app_id=APP, uid=ada.uid, now=NOW))

    states = [await state(database, session) for session in found]
    assert sorted(states) == ["ENROLLED"] * 3 + ["LOCKED user_locked"] * 2
    answers = [await refresh(database, session) for session in found]
    assert answers == [NotAccepted("session_locked")] * 5

    await lock_user(database, APP, ada.uid, NOW)  # who was interrupted calls again
    assert [await state(database, session) for session in found] == ["LOCKED user_locked"] * 5
    await database.write(partial(unlock_user_slice, app_id=APP, uid=ada.uid, now=NOW))
    answers = [await refresh(database, session) for session in found]
    assert answers == [NotAccepted("session_locked")] * 5
    await unlock_user(database, APP, ada.uid, NOW)
    assert [await state(database, session) for session in found] == ["ENROLLED"] * 5
    assert await told(database) == [
        "user.locked",
        *["session.locked"] * 5,
        *["session.unlocked"] * 5,
        "user.unlocked",
    ]


async def test_lock_that_is_overtaken_by_an_unlock_locks_nothing_more(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_slices_of(monkeypatch, 2)
    ada, found = await enrolled(database, *(f"device{n}" for n in range(5)))
    first = await database.write(partial(lock_user_slice, app_id=APP, uid=ada.uid, now=NOW))
    assert isinstance(first, session_states.More)
    await unlock_user(database, APP, ada.uid, NOW)

    rest = partial(lock_user_slice, app_id=APP, uid=ada.uid, now=NOW, after=first.after)
    assert await database.write(rest) == session_states.Done()

    assert [await state(database, session) for session in found] == ["ENROLLED"] * 5


async def test_others_pass_while_thousands_of_sessions_are_locked(database: Database) -> None:
    ada, _ = await enrolled(database)
    bob = person("bob@example.com")
    await move_in(database, bob)
    for start in range(0, 1_500, 100):
        logins = [login(ada, device_id=f"device{n}") for n in range(start, start + 100)]
        await database.write(partial(open_or_renew, items=logins))
    locking = asyncio.create_task(lock_user(database, APP, ada.uid, NOW))

    passed = 0
    while not locking.done():
        await sign_in(database, login(bob, device_id=f"device{passed}"))
        passed += 1
    await locking

    assert passed >= 3
    assert (await told(database)).count("session.locked") == 1_501


def in_slices_of(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(session_states, "SLICE_SESSIONS", size)
    for name in ("SOME_ENROLLED", "SOME_LOCKED_WITH_USER"):
        monkeypatch.setattr(session_states, name, getattr(session_states, name).limit(size))


# At once


async def test_of_many_who_do_the_same_at_once_one_does_it(database: Database) -> None:
    ada, (session,) = await enrolled(database)
    for change in (
        partial(do, database, lock, session),
        partial(do, database, unlock, session),
        partial(lock_user, database, APP, ada.uid, NOW),
        partial(unlock_user, database, APP, ada.uid, NOW),
        partial(do, database, wipe, session),
    ):
        await asyncio.gather(*(change() for _ in range(10)))
    assert await told(database) == [
        "session.locked",
        "session.unlocked",
        "user.locked",
        "session.locked",
        "session.unlocked",
        "user.unlocked",
        "session.wiped",
    ]


async def test_two_servers_that_do_the_same_at_once_tell_it_once(postgres_url: str) -> None:
    servers = [Database(postgres_url) for _ in range(2)]
    _, (session,) = await enrolled(servers[0])
    for change in (lock, unlock, reauthenticate, unlock, wipe):
        await asyncio.gather(*(do(servers[n % 2], change, session) for n in range(10)))
    assert await reasons(servers[0]) == [
        "session.locked locked",
        "session.unlocked",
        "session.locked reauthenticate",
        "session.unlocked",
        "session.wiped",
    ]
    for server in servers:
        server.close()


async def test_no_refresh_passes_once_a_lock_is_committed(postgres_url: str) -> None:
    """Refreshes on one server, the lock on the other: whoever asks after it was told is refused."""
    servers = [Database(postgres_url) for _ in range(2)]
    ada, (session,) = await enrolled(servers[0])
    stamps = iter(range(NOW + 10, NOW + 1_000_000))

    async def hammer(until: asyncio.Event) -> None:
        while not until.is_set():
            await refresh(servers[0], session, next(stamps))

    for _ in range(15):
        for take, give in (
            (partial(do, servers[1], lock, session), partial(do, servers[1], unlock, session)),
            (
                partial(lock_user, servers[1], APP, ada.uid, NOW),
                partial(unlock_user, servers[1], APP, ada.uid, NOW),
            ),
        ):
            over = asyncio.Event()
            hammering = [asyncio.create_task(hammer(over)) for _ in range(4)]
            await take()
            answers = await asyncio.gather(*(refresh(servers[0], session, next(stamps)) for _ in range(5)))
            assert answers == [NotAccepted("session_locked")] * 5
            over.set()
            await asyncio.gather(*hammering)
            await give()
            assert isinstance(await refresh(servers[0], session, next(stamps)), Accepted)
    for server in servers:
        server.close()


async def test_refresh_that_has_waited_for_a_lock_is_refused(postgres_url: str) -> None:
    """The lock is written and not yet committed when the refresh reads the session: it must not pass."""
    servers = [Database(postgres_url) for _ in range(2)]
    _, (session,) = await enrolled(servers[0])
    loop = asyncio.get_running_loop()

    def lock_slowly(tx: Transaction) -> Future[Accepted | NotAccepted]:
        lock(tx, APP, session.session_id, NOW)
        answer = asyncio.run_coroutine_threadsafe(refresh(servers[1], session), loop)
        wait_for_waiter(postgres_url)
        return answer

    answer = await servers[0].write(lock_slowly)

    assert await asyncio.wrap_future(answer) == NotAccepted("session_locked")
    for server in servers:
        server.close()


async def test_wipe_during_logins_leaves_one_session_that_goes_on_or_none(postgres_url: str) -> None:
    servers = [Database(postgres_url) for _ in range(2)]
    ada, (session,) = await enrolled(servers[0])

    for turn in range(20):
        logins = [login(ada, now=NOW + 10 + turn) for _ in range(4)]
        wiping = asyncio.create_task(do(servers[turn % 2], wipe, session))
        opened = await asyncio.gather(*(sign_in(servers[n % 2], each) for n, each in enumerate(logins)))
        await wiping
        assert await state(servers[0], session) == "RESET wiped"
        after = await sign_in(servers[1], login(ada, now=NOW + 10 + turn))
        assert after.session.session_id != session.session_id
        assert {each.session.session_id for each in opened} <= {
            session.session_id,
            after.session.session_id,
        }
        session = after.session

    events = await told(servers[0])
    assert events.count("session.wiped") == 20
    for server in servers:
        server.close()


async def test_deletion_and_changes_at_once_do_not_hang_and_delete(postgres_url: str) -> None:
    servers = [Database(postgres_url) for _ in range(2)]
    await start_app(servers[0])

    async def tolerant(change: Awaitable[object]) -> None:
        with suppress(NotFound):
            await change

    for turn in range(15):
        ada = person(f"ada{turn}@example.com")
        await move_in(servers[0], ada)
        found = [(await sign_in(servers[0], login(ada, device_id=f"device{n}"))).session for n in range(6)]
        await asyncio.gather(
            delete_user(servers[0], APP, ada.user_id, NOW),
            tolerant(lock_user(servers[1], APP, ada.uid, NOW)),
            tolerant(unlock_user(servers[0], APP, ada.uid, NOW)),
            *(attempt(servers[n % 2], wipe, session) for n, session in enumerate(found)),
            *(attempt(servers[n % 2], lock, session) for n, session in enumerate(found)),
            *(refresh(servers[1], session) for session in found),
        )
        assert await user_now(servers[0], ada) is None
        assert [await session_now(servers[0], session) for session in found] == [None] * 6
    for server in servers:
        server.close()


async def test_deletion_in_slices_leaves_no_session_without_its_device(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, found = await enrolled(database, "laptop", "phone")
    monkeypatch.setattr(user_deletion, "SLICE_ROWS", 1)
    monkeypatch.setattr(user_deletion, "SOME_SESSIONS", one_session())
    delete = partial(user_deletion.delete_slice, app_id=APP, user_id=ada.user_id, now=NOW)
    assert await database.write(delete) is user_deletion.Deletion.MORE

    await lock_user(database, APP, ada.uid, NOW)  # the deletion was interrupted

    left = [await session_now(database, session) for session in found]
    assert [session.reason for session in left if session is not None] == ["user_locked"]


def one_session() -> Any:
    """As SOME_SESSIONS, in slices of one."""
    table = tables.sessions
    of_user = (table.c.app_id == bindparam("app")) & (table.c.uid == bindparam("uid"))
    return delete(table).where(
        of_user, table.c.session_id.in_(select(table.c.session_id).where(of_user).limit(1))
    )


def wait_for_waiter(postgres_url: str) -> None:
    """Waits until another transaction waits for a lock that somebody holds."""
    plain = make_url(postgres_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        for _ in range(500):
            waiters = connection.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            ).fetchone()
            if waiters != (0,):
                return
    raise AssertionError("nobody waits")
