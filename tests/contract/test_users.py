"""Users: written once, whole, and found again by their ids."""

import asyncio
from collections.abc import Mapping
from functools import partial

import msgspec
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from admit.accounts import tables, users
from admit.accounts.users import Key, NewUser, User, fault_of_user_id
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from tests.residents import APP, NOW, count, move_in, person, user_now


async def test_user_comes_back_as_written(database: Database) -> None:
    data = '{"plan": "gold",  "n": 12345678901234567890, "n": 2, "u": "\\u0000\\ud83d\\ude00"}'
    ada = person("ada@example.com", name="Ada Løvelace", data=msgspec.Raw(data), email_verified=False)

    await move_in(database, ada)

    found = await user_now(database, ada)
    assert found == ada
    assert found.data is not None
    assert bytes(found.data).decode() == data


async def test_user_is_found_in_their_own_app_only(database: Database) -> None:
    here, there = person("ada"), person("ada", app_id="app_other")
    await move_in(database, here, there)
    keys = [(APP, "ada"), ("app_other", "ada"), ("app_third", "ada"), (APP, here.uid), (APP, "ADA")]

    found = await database.read(partial(users.by_user_id, keys=keys))

    assert found == {(APP, "ada"): here, ("app_other", "ada"): there}
    assert await database.read(partial(users.by_uid, keys=[(APP, here.uid), (APP, there.uid)])) == {
        (APP, here.uid): here
    }


@pytest.mark.parametrize("user_id", ["", "a\x00b", "\ud800", "%", "' OR 1=1 --", '"]}', "x" * 100_000])
async def test_id_that_nobody_can_have_finds_nobody(database: Database, user_id: str) -> None:
    await move_in(database, person())

    assert await database.read(partial(users.by_user_id, keys=[(APP, user_id)])) == {}


async def test_hundreds_of_users_are_found_at_once(database: Database) -> None:
    people = [person(f"user{number}") for number in range(700)]
    await move_in(database, *people)

    found = await database.read(partial(users.by_user_id, keys=[(APP, each.user_id) for each in people]))

    assert sorted(found.values(), key=lambda user: user.uid) == sorted(people, key=lambda user: user.uid)


async def test_user_who_is_there_already_is_returned_and_the_others_are_written(database: Database) -> None:
    first, second, bob = person("ada", name="First"), person("ada", name="Second"), person("bob")
    await move_in(database, first)

    earlier = await database.write(
        partial(users.create, rows=[NewUser(second, "email", "ada"), NewUser(bob, "email", "bob")])
    )

    assert earlier == {(APP, "ada"): first}
    assert await user_now(database, second) is None
    assert await count(database, tables.user_words, second) == 0
    assert await count(database, tables.identities, second) == 0
    assert await user_now(database, bob) == bob
    assert await count(database, tables.identities, bob) == 1


async def test_servers_that_create_the_same_users_at_once_create_each_once(postgres_url: str) -> None:
    servers = [Database(postgres_url) for _ in range(3)]

    async def create(place: int, people: list[User]) -> Mapping[Key, User]:
        ordered = people if place % 2 else people[::-1]
        return await servers[place].write(partial(users.create, rows=[NewUser(user) for user in ordered]))

    with capture_logs() as logs:
        for round_ in range(15):
            names = [f"user{round_}-{number}" for number in range(60)]
            rivals = [[person(name) for name in names] for _ in servers]
            outcomes = await asyncio.gather(*(create(place, rivals[place]) for place in range(3)))
            for number, name in enumerate(names):
                mine = [people[number] for people in rivals]
                winners = [
                    user for user, earlier in zip(mine, outcomes, strict=True) if (APP, name) not in earlier
                ]
                assert len(winners) == 1
                assert {earlier.get((APP, name), winners[0]).uid for earlier in outcomes} == {winners[0].uid}

    # Nobody has waited for somebody who waited for them.
    assert [entry for entry in logs if entry["event"] == "storage.fault"] == []
    for server in servers:
        server.close()


async def test_every_lookup_uses_an_index_on_a_table_without_statistics(database: Database) -> None:
    await move_in(database, *(person(f"user{number}") for number in range(3_000)))
    keys = msgspec.json.encode([[APP, f"user{number}"] for number in range(64)]).decode()

    def plan(tx: Transaction) -> str:
        lookup = users.BY_USER_ID
        statement = lookup._for_sqlite if tx.dialect == "sqlite" else lookup._for_postgres
        text = str(statement.compile(dialect=tx.connection.dialect))
        explain = "EXPLAIN QUERY PLAN " if tx.dialect == "sqlite" else "EXPLAIN "
        parameters = (keys,) if tx.dialect == "sqlite" else {"keys": keys}
        return "\n".join(str(row) for row in tx.connection.exec_driver_sql(explain + text, parameters))

    steps = await database.read(plan)

    assert "uq_users_app_id_user_id" in steps or "sqlite_autoindex_users_2" in steps
    assert "SCAN users" not in steps
    assert "Seq Scan" not in steps


@pytest.mark.parametrize(
    ("user_id", "is_fine"),
    [
        ("ada@example.com", True),
        ("auth0|5457edea1b8f", True),
        ("张伟", True),
        ("John Doe", True),
        ("", False),
        (" ada", False),
        ("ada\n", False),
        ("a\x00a", False),
        ("a\ud800", False),
        ("x" * 255, True),
        ("x" * 256, False),
    ],
)
def test_user_id_is_a_line_of_visible_text(user_id: str, is_fine: bool) -> None:
    assert (fault_of_user_id(user_id) is None) is is_fine


async def test_longest_user_fits_into_every_index(database: Database) -> None:
    longest = replace(person("\U0001f600" * 255), name="\U0001f601" * 200, email="x" * 254)

    await move_in(database, longest)

    assert await user_now(database, longest) == longest


def test_name_is_shown_in_one_line() -> None:
    assert users.name_for_display("  Ada\r\n\x00\u2028  Lovelace \ud800") == "Ada Lovelace"
    assert len(users.name_for_display("x" * 1_000)) == 200


def test_users_of_one_moment_differ() -> None:
    assert person().uid != person().uid
    assert person().created_at == NOW
