"""Refreshes: which are accepted, what they leave behind, and what repeats and races do."""

import asyncio
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from admit.accounts import tables
from admit.accounts.refreshes import REPEAT_MS, Accepted, NotAccepted, Refresh, accept_refresh
from admit.accounts.session_states import end
from admit.accounts.sessions import Session
from admit.accounts.user_changes import write_many
from admit.accounts.user_deletion import delete_user
from admit.accounts.user_edits import UserChange
from admit.clock import DAY_MS
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from tests.residents import (
    APP,
    NOW,
    day,
    login,
    move_in,
    person,
    session_now,
    sign_in,
    start_app,
    told,
    user_now,
)
from tests.statements import noticed


async def enrolled(database: Database, **changes: Any) -> Session:
    """Somebody's session, opened at NOW."""
    await start_app(database)
    ada = person(**changes)
    await move_in(database, ada)
    return (await sign_in(database, login(ada))).session


def refresh(session: Session, stamp: int = NOW, now: int = NOW) -> Refresh:
    return Refresh(
        app_id=session.app_id,
        session_id=session.session_id,
        key_thumbprint=session.key_thumbprint,
        time_stamp=stamp,
        now=now,
    )


async def ask(database: Database, request: Refresh) -> Accepted | NotAccepted:
    return await database.write_together(accept_refresh, request)


async def test_accepted_refresh_keeps_its_stamp(database: Database) -> None:
    session = await enrolled(database)

    outcome = await ask(database, refresh(session, NOW + 123))

    assert isinstance(outcome, Accepted)
    assert outcome.session == await session_now(database, session)
    assert outcome.session.newest_stamp == NOW + 123
    assert outcome.user.user_id == "ada@example.com"


async def test_same_request_may_repeat_for_a_minute_and_no_longer(database: Database) -> None:
    session = await enrolled(database)
    await ask(database, refresh(session, NOW))
    await ask(database, refresh(session, NOW + REPEAT_MS))

    assert isinstance(await ask(database, refresh(session, NOW)), Accepted)
    assert await ask(database, refresh(session, NOW - 1)) == NotAccepted("stale")


async def test_repeat_does_not_turn_the_newest_stamp_back(database: Database) -> None:
    session = await enrolled(database)
    await ask(database, refresh(session, NOW + 50_000))
    await ask(database, refresh(session, NOW))

    stored = await session_now(database, session)
    assert stored is not None
    assert stored.newest_stamp == NOW + 50_000


async def test_stale_request_ends_nothing(database: Database) -> None:
    session = await enrolled(database)
    await ask(database, refresh(session, NOW + 2 * REPEAT_MS))

    assert await ask(database, refresh(session, NOW)) == NotAccepted("stale")
    assert isinstance(await ask(database, refresh(session, NOW + 2 * REPEAT_MS + 1)), Accepted)


async def test_stale_is_judged_by_what_came_before_in_the_same_list(database: Database) -> None:
    session = await enrolled(database)

    def unit(tx: Transaction) -> list[Accepted | NotAccepted]:
        stamps = (NOW, NOW + REPEAT_MS + 1, NOW, NOW + 1)
        return accept_refresh(tx, [refresh(session, stamp) for stamp in stamps])

    outcomes = await database.write(unit)

    assert [isinstance(outcome, Accepted) for outcome in outcomes] == [True, True, False, True]
    stored = await session_now(database, session)
    assert stored is not None
    assert stored.newest_stamp == NOW + REPEAT_MS + 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"session_id": "ses_unknown"}, "unknown"),
        ({"app_id": "app_other"}, "unknown"),
        ({"key_thumbprint": "stranger"}, "other_key"),
        ({"now": NOW + 180 * DAY_MS}, "session_ended"),
        ({"session_id": "\x00"}, "unknown"),
    ],
)
async def test_request_that_does_not_fit_the_session_is_refused_and_changes_nothing(
    database: Database, changes: dict[str, object], reason: str
) -> None:
    session = await enrolled(database)

    outcome = await ask(database, replace(refresh(session, NOW + 5), **changes))

    assert outcome == NotAccepted(reason)  # type: ignore[arg-type]
    assert await session_now(database, session) == session


async def test_ended_session_is_not_refreshed(database: Database) -> None:
    session = await enrolled(database)
    await database.write(lambda tx: end(tx, APP, session.session_id, NOW, "logged_out"))

    assert await ask(database, refresh(session)) == NotAccepted("session_ended")


async def test_session_of_a_deleted_user_is_unknown(database: Database) -> None:
    session = await enrolled(database)
    await delete_user(database, APP, "ada@example.com", NOW)

    assert await ask(database, refresh(session)) == NotAccepted("unknown")


async def test_deactivated_user_is_accepted_with_their_license(database: Database) -> None:
    session = await enrolled(database)
    await database.write(lambda tx: tx.execute(tables.users.update().values(deactivated_at=NOW)).rowcount)

    outcome = await ask(database, refresh(session, now=day(3)))

    assert isinstance(outcome, Accepted)
    assert outcome.user.deactivated_at == NOW
    assert outcome.user.eval_days_left == 30


async def test_first_refresh_of_a_day_counts_it_and_the_second_does_not(database: Database) -> None:
    session = await enrolled(database)

    outcomes = [
        await ask(database, refresh(session, now=now)) for now in (NOW + 5, day(1), day(1) + 9, day(4))
    ]

    left = [outcome.user.eval_days_left for outcome in outcomes if isinstance(outcome, Accepted)]
    assert left == [30, 29, 29, 28]
    assert await told(database) == []


async def test_refresh_does_not_count_as_a_login(database: Database) -> None:
    session = await enrolled(database)

    outcome = await ask(database, refresh(session, now=day(1)))

    assert isinstance(outcome, Accepted)
    assert (outcome.user.last_login_at, outcome.user.updated_at) == (NOW, NOW)


async def test_two_devices_of_one_user_in_one_list_count_the_day_once(database: Database) -> None:
    session = await enrolled(database)
    ada = person(uid=session.uid)
    other = await sign_in(database, login(ada, device_id="phone"))

    def unit(tx: Transaction) -> list[Accepted | NotAccepted]:
        return accept_refresh(tx, [refresh(session, now=day(1)), refresh(other.session, now=day(1) + 1)])

    outcomes = await database.write(unit)

    assert [outcome.user.eval_days_left for outcome in outcomes if isinstance(outcome, Accepted)] == [29, 29]


async def test_refresh_on_the_day_behind_the_last_expires_once_and_goes_on(database: Database) -> None:
    session = await enrolled(database, eval_days_left=1)
    heard: list[str | None] = []
    database.signals.subscribe("user", heard.append)

    outcomes = await asyncio.gather(
        *(ask(database, refresh(session, NOW + n, now=day(1) + n)) for n in range(20))
    )
    outcomes.append(await ask(database, refresh(session, NOW, now=day(2))))

    assert all(isinstance(each, Accepted) and each.user.expired_at is not None for each in outcomes)
    assert await told(database) == ["user.expired"]
    await asyncio.sleep(0)
    assert heard == [f"{APP}/ada@example.com"]


async def test_servers_count_one_day_and_tell_one_end(postgres_url: str) -> None:
    servers = [Database(postgres_url) for _ in range(2)]
    session = await enrolled(servers[0], eval_days_left=6)
    ada = person(uid=session.uid)

    for number in range(1, 7):
        outcomes = await asyncio.gather(
            *(
                ask(servers[turn % 2], refresh(session, NOW + turn, now=day(number) + turn))
                for turn in range(12)
            )
        )
        assert all(isinstance(outcome, Accepted) for outcome in outcomes)
        stored = await user_now(servers[0], ada)
        assert stored is not None
        assert stored.eval_days_left == 6 - number

    assert await told(servers[0]) == ["user.expired"]
    for server in servers:
        server.close()


async def test_extension_at_the_moment_of_the_end_wins_or_comes_after_it(postgres_url: str) -> None:
    """Whatever the order, the user is valid in the end, and is not marked as expired."""
    servers = [Database(postgres_url) for _ in range(2)]
    session = await enrolled(servers[0])
    ada = person(uid=session.uid)

    async def grant(days: int, now: int) -> None:
        changes = [UserChange(user_id=ada.user_id, eval_days_left=days)]
        await servers[0].write(partial(write_many, app_id=APP, changes=changes, eval_days=30, now=now))

    for number in range(1, 60):
        await grant(1, day(number) - DAY_MS // 4)
        await asyncio.gather(ask(servers[1], refresh(session, now=day(number))), grant(9, day(number)))
        stored = await user_now(servers[0], ada)
        assert stored is not None
        assert stored.eval_days_left in (8, 9)
        assert stored.expired_at is None
    for server in servers:
        server.close()


async def test_days_granted_at_the_moment_of_a_first_refresh_are_not_overwritten(postgres_url: str) -> None:
    servers = [Database(postgres_url) for _ in range(2)]
    session = await enrolled(servers[0])
    ada = person(uid=session.uid)

    async def grant(days: int, now: int) -> None:
        changes = [UserChange(user_id=ada.user_id, eval_days_left=days)]
        await servers[0].write(partial(write_many, app_id=APP, changes=changes, eval_days=30, now=now))

    for number in range(1, 60):
        await grant(20, day(number) - 1)
        await asyncio.gather(ask(servers[1], refresh(session, now=day(number))), grant(9, day(number)))
        stored = await user_now(servers[0], ada)
        assert stored is not None
        assert stored.eval_days_left in (8, 9)
    for server in servers:
        server.close()


async def test_newest_stamp_of_two_servers_is_the_newest_of_both(postgres_url: str) -> None:
    servers = [Database(postgres_url) for _ in range(2)]
    session = await enrolled(servers[0])

    for turn in range(60):
        newest = NOW + turn * 1_000
        requests = [refresh(session, newest), refresh(session, newest - 500)]
        pairs = zip(servers if turn % 2 else servers[::-1], requests, strict=True)
        await asyncio.gather(*(ask(server, request) for server, request in pairs))
        stored = await session_now(servers[0], session)
        assert stored is not None
        assert stored.newest_stamp == newest
    for server in servers:
        server.close()


async def test_lock_during_refreshes_lets_none_pass_that_comes_later(postgres_url: str) -> None:
    servers = [Database(postgres_url) for _ in range(2)]
    session = await enrolled(servers[0])

    async def refresh_on(turn: int) -> Accepted | NotAccepted:
        return await ask(servers[turn % 2], refresh(session, NOW + turn))

    *outcomes, ended = await asyncio.gather(
        *(refresh_on(turn) for turn in range(20)),
        servers[1].write(lambda tx: end(tx, APP, session.session_id, NOW, "logged_out")),
    )

    assert ended
    assert all(isinstance(each, Accepted) or each == NotAccepted("session_ended") for each in outcomes)
    assert [await refresh_on(turn) for turn in (0, 1)] == [NotAccepted("session_ended")] * 2
    for server in servers:
        server.close()


async def test_logins_and_refreshes_on_two_servers_do_not_wait_for_each_other(postgres_url: str) -> None:
    servers = [Database(postgres_url) for _ in range(2)]
    await start_app(servers[0])
    people = [person(f"user{number}") for number in range(20)]
    await move_in(servers[0], *people)
    opened = [await sign_in(servers[0], login(user)) for user in people]

    with capture_logs() as logs:
        for round_ in range(1, 15):
            await asyncio.gather(
                *(ask(servers[0], refresh(each.session, NOW + round_, now=day(round_))) for each in opened),
                *(sign_in(servers[1], login(user, now=day(round_))) for user in reversed(people)),
            )

    assert [entry for entry in logs if entry["event"] == "storage.fault"] == []
    found = [await user_now(servers[0], user) for user in people]
    assert {user.eval_days_left for user in found if user is not None} == {30 - 14}
    for server in servers:
        server.close()


async def test_refresh_costs_one_statement_to_read_and_one_to_write(database: Database) -> None:
    session = await enrolled(database)

    def statements(tx: Transaction) -> int:
        executed: list[str] = []
        with noticed(lambda _connection, statement, _parameters: executed.append(statement)):
            (outcome,) = accept_refresh(tx, [refresh(session, NOW + 1)])
        assert isinstance(outcome, Accepted)
        return len(executed)

    assert await database.write(statements) == 2
