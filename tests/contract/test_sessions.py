"""Sessions: one for each enrollment of a user on a device, whoever races whom."""

import asyncio
from functools import partial

import msgspec
import pytest
from msgspec.structs import replace

from admit.accounts import session_opening, session_states, sessions, tables
from admit.accounts.session_opening import NoSession, Opened
from admit.accounts.sessions import Session
from admit.clock import iso_date
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
    session_now,
    sign_in,
    start_app,
    user_now,
)


async def test_first_login_opens_the_first_session(database: Database) -> None:
    ada = person(last_login_at=0)
    await move_in(database, ada)

    opened = await sign_in(
        database, login(ada, client_id="cli_1", scopes=("ACCESS_DB", "GLOBAL_READ"), now=NOW + 1)
    )

    assert opened.opened
    assert opened.session == Session(
        app_id=APP,
        session_id=opened.session.session_id,
        uid=ada.uid,
        device_id="laptop",
        ordinal=1,
        state="ENROLLED",
        reason="",
        public_key=key("laptop").pem,
        key_thumbprint="laptop",
        client_id="cli_1",
        actor=None,
        scopes="ACCESS_DB GLOBAL_READ",
        created_at=NOW + 1,
        authenticated_at=NOW + 1,
        signed_out_at=None,
        refresh_until=opened.session.refresh_until,
        newest_stamp=0,
        connected_at=NOW + 1,
        wiped_at=None,
    )
    assert await session_now(database, opened.session) == opened.session
    assert opened.user == await user_now(database, ada)
    assert opened.user.last_login_at == NOW + 1


async def test_login_under_the_same_key_renews_its_session(database: Database) -> None:
    ada = person()
    await move_in(database, ada)
    first = await sign_in(database, login(ada, now=NOW))

    again = await sign_in(database, login(ada, now=NOW + 7, client_id="cli_2", scopes=("ACCESS_DB", "X")))

    assert not again.opened
    assert again.session == await session_now(database, first.session)
    assert (again.session.session_id, again.session.created_at) == (first.session.session_id, NOW)
    assert (again.session.authenticated_at, again.session.client_id) == (NOW + 7, "cli_2")
    assert again.session.refresh_until == first.session.refresh_until + 7
    assert again.session.scopes == "ACCESS_DB X"


async def test_login_under_another_key_opens_the_next_session(database: Database) -> None:
    ada = person()
    await move_in(database, ada)
    first = await sign_in(database, login(ada))

    second = await sign_in(database, login(ada, public_key=key("stranger")))

    assert second.opened
    assert (first.session.ordinal, second.session.ordinal) == (1, 2)
    ended = replace(first.session, state="LOCKED", reason="replaced", signed_out_at=NOW)
    assert await session_now(database, first.session) == ended


@pytest.mark.parametrize("state", ["LOCKED", "RESET"])
async def test_login_where_the_session_is_no_longer_enrolled_opens_the_next(
    database: Database, state: str
) -> None:
    ada = person()
    await move_in(database, ada)
    first = await sign_in(database, login(ada))
    await database.write(lambda tx: tx.execute(tables.sessions.update().values(state=state)).rowcount)

    second = await sign_in(database, login(ada))

    assert second.opened
    assert second.session.ordinal == 2
    assert second.session.session_id != first.session.session_id


async def test_newcomers_in_one_list_get_their_sessions_and_nobody_elses(database: Database) -> None:
    newcomers = [person(f"user{number}") for number in range(5)]
    resident = person("resident")
    await move_in(database, resident, *newcomers)
    known = await sign_in(database, login(resident))

    def unit(tx: Transaction) -> list[Opened | NoSession]:
        logins = [login(user, newcomer=True) for user in newcomers]
        return session_opening.open_or_renew(tx, [logins[0], login(resident), *logins[1:], logins[0]])

    first, renewed, *others, twin = await database.write(unit)

    assert isinstance(first, Opened)
    assert isinstance(renewed, Opened)
    assert isinstance(twin, Opened)
    assert renewed.session.session_id == known.session.session_id
    assert twin.session.session_id == first.session.session_id
    assert [each.opened for each in (first, renewed, twin)] == [True, False, False]
    assert all(isinstance(each, Opened) and each.session.ordinal == 1 for each in others)
    for user in newcomers:
        assert await count(database, tables.sessions, user) == 1
        assert await count(database, tables.devices, user) == 1


async def test_twins_in_one_list_share_a_session_and_strangers_do_not(database: Database) -> None:
    ada = person()
    await move_in(database, ada)
    names = ["laptop", "laptop", "stranger", "stranger", "laptop"]

    def unit(tx: Transaction) -> list[Opened | NoSession]:
        return session_opening.open_or_renew(
            tx, [login(ada, public_key=key(name), now=NOW + place) for place, name in enumerate(names)]
        )

    outcomes = [each for each in await database.write(unit) if isinstance(each, Opened)]

    assert [each.session.ordinal for each in outcomes] == [1, 1, 2, 2, 3]
    assert [each.opened for each in outcomes] == [True, False, True, False, True]
    assert len({each.session.session_id for each in outcomes}) == 3
    stored = await session_now(database, outcomes[0].session)
    assert stored is not None
    assert stored.authenticated_at == NOW + 1


async def test_fifty_logins_at_once_are_one_session_on_one_device(database: Database) -> None:
    ada = person()
    await move_in(database, ada)

    outcomes = await asyncio.gather(*(sign_in(database, login(ada, now=NOW + n)) for n in range(50)))

    assert len({each.session.session_id for each in outcomes}) == 1
    assert sum(each.opened for each in outcomes) == 1
    assert await count(database, tables.sessions, ada) == 1
    assert await count(database, tables.devices, ada) == 1


async def test_servers_that_sign_the_same_people_in_at_once_open_one_session_each(
    postgres_url: str,
) -> None:
    servers = [Database(postgres_url) for _ in range(3)]
    people = [person(f"user{number}") for number in range(8)]
    await move_in(servers[0], *people)

    logins = [
        sign_in(servers[turn % 3], login(user, now=NOW + turn))
        for turn in range(30)
        for user in (people if turn % 2 else people[::-1])
    ]
    outcomes = await asyncio.gather(*logins)

    for user in people:
        mine = [each for each in outcomes if each.user.uid == user.uid]
        assert len({each.session.session_id for each in mine}) == 1
        assert sum(each.opened for each in mine) == 1
        assert await count(servers[0], tables.sessions, user) == 1
    for server in servers:
        server.close()


async def test_servers_with_rival_keys_number_the_sessions_without_gap_or_twin(postgres_url: str) -> None:
    servers = [Database(postgres_url) for _ in range(2)]
    ada = person()
    await move_in(servers[0], ada)

    outcomes = await asyncio.gather(
        *(sign_in(servers[turn % 2], login(ada, public_key=key(f"key{turn}"))) for turn in range(40))
    )

    assert sorted(each.session.ordinal for each in outcomes) == list(range(1, 41))
    for server in servers:
        server.close()


async def test_deactivated_user_gets_no_session_and_leaves_no_trace(database: Database) -> None:
    ada, bob = person("ada", deactivated_at=NOW), person("bob")
    await move_in(database, ada, bob)

    refused, opened = await asyncio.gather(
        not_signed_in(database, login(ada, now=NOW + 9)), sign_in(database, login(bob))
    )

    assert refused == NoSession("deactivated")
    assert opened.opened
    assert await count(database, tables.sessions, ada) == 0
    assert await count(database, tables.devices, ada) == 0
    assert await user_now(database, ada) == ada


async def test_expired_user_signs_in_for_their_license_tells_them(database: Database) -> None:
    ada = person(eval_days_left=0, expired_at=NOW)
    await move_in(database, ada)

    assert (await sign_in(database, login(ada))).user.expired_at == NOW


async def test_user_of_another_app_is_nobody_here(database: Database) -> None:
    ada = person("ada", app_id="app_other")
    await move_in(database, ada)

    assert await not_signed_in(database, login(person("ada"))) == NoSession("deleted")


async def test_ended_session_is_told_once(database: Database) -> None:
    await start_app(database)
    ada = person()
    await move_in(database, ada)
    opened = await sign_in(database, login(ada))
    session_id = opened.session.session_id

    end = partial(session_states.end, app_id=APP, session_id=session_id, now=NOW + 5, reason="logged_out")
    outcomes = [await database.write(end) for _ in range(2)]

    assert outcomes == [True, False]
    ended = await session_now(database, opened.session)
    assert ended is not None
    assert (ended.state, ended.signed_out_at) == ("LOCKED", NOW + 5)
    (event,) = await events_of(database)
    assert (event.type, event.uid, event.occurred_at) == ("session.ended", ada.uid, NOW + 5)
    assert msgspec.json.decode(event.data) == {
        "user": {
            "uid": ada.uid,
            "user_id": "ada@example.com",
            "type": "eval",
            "email": "ada@example.com",
        },
        "device": {"identifier": "laptop", "derived": False, "first_seen": iso_date(NOW)},
        "session": {"id": session_id, "ordinal": 1},
        "reason": "logged_out",
    }


async def test_session_is_found_in_its_own_app_only(database: Database) -> None:
    ada = person()
    await move_in(database, ada)
    opened = await sign_in(database, login(ada))

    assert await database.read(lambda tx: sessions.find(tx, "app_other", opened.session.session_id)) is None
