"""POST /users: arrays of changes, all or none, with their events and signals."""

import asyncio
from functools import partial

import msgspec
import pytest

from admit.accounts import tables
from admit.accounts.user_changes import CHANGES_MAX, Rejected, Written, write_many
from admit.accounts.user_edits import UserChange
from admit.accounts.user_pages import Query
from admit.accounts.users import NEVER_ACTIVE, User
from admit.errors import Conflict
from admit.jobs.tables import jobs
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from tests.contract.test_user_pages import ask
from tests.residents import APP, NOW, count, day, events_of, move_in, person, start_app, told, user_now


def entries(text: str) -> list[UserChange]:
    """An array as it arrives."""
    return msgspec.json.decode(text, type=list[UserChange])


async def write(database: Database, text: str, now: int = NOW) -> Written | Rejected:
    changes = entries(text)
    return await database.write(partial(write_many, app_id=APP, changes=changes, eval_days=30, now=now))


async def written(database: Database, text: str, now: int = NOW) -> Written:
    outcome = await write(database, text, now)
    assert isinstance(outcome, Written), outcome
    return outcome


async def test_created_user_is_stored_found_and_told(database: Database) -> None:
    await start_app(database)

    outcome = await written(
        database,
        '[{"userId":"ada@example.com","type":"prod","data":{"displayName":"Ada Lovelace","plan":7}}]',
    )

    (created,) = outcome.created
    assert await user_now(database, created.user) == created.user
    assert (created.user.active_day, created.user.last_login_at) == (NEVER_ACTIVE, 0)
    assert [user.user_id for user in (await ask(database, Query(search="love"))).users] == ["ada@example.com"]
    (event,) = await events_of(database)
    assert (event.type, event.uid) == ("user.enrolled", created.user.uid)
    assert msgspec.json.decode(event.data) == {
        "user": {
            "uid": created.user.uid,
            "user_id": "ada@example.com",
            "type": "prod",
            "email": "ada@example.com",
            "name": "Ada Lovelace",
            "data": {"displayName": "Ada Lovelace", "plan": 7},
        },
        "verdict": {"type": "prod", "source": "api", "admission_id": created.admission_id},
    }


async def test_events_say_what_has_changed_and_open_clients_hear_of_it(database: Database) -> None:
    await start_app(database)
    ada = person("ada@example.com")
    await move_in(database, ada)
    heard: list[str | None] = []
    database.signals.subscribe("user", heard.append)

    outcome = await written(
        database,
        '[{"userId":"ada@example.com","type":"prod","evalDaysLeft":5,"deactivated":true,"data":{"x":1}}]',
        now=NOW + 5,
    )

    assert outcome.changed == [await user_now(database, ada)]
    assert outcome.changed[0].updated_at == NOW + 5
    assert await told(database) == ["user.updated", "user.upgraded", "user.deactivated"]
    updated, *others = [msgspec.json.decode(event.data) for event in await events_of(database)]
    assert updated.pop("changed") == ["type", "eval_days_left", "data"]
    assert others == [updated, updated]
    assert updated["user"] == {
        "uid": ada.uid,
        "user_id": "ada@example.com",
        "type": "prod",
        "email": "ada@example.com",
        "data": {"x": 1},
    }
    await asyncio.sleep(0)
    assert heard == [f"{APP}/ada@example.com"]


async def test_change_that_changes_nothing_is_told_to_nobody(database: Database) -> None:
    await start_app(database)
    ada = person("ada@example.com", data=msgspec.Raw('{"a":1}'))
    await move_in(database, ada)
    heard: list[str | None] = []
    database.signals.subscribe("user", heard.append)

    outcome = await written(
        database, '[{"userId":"ada@example.com","type":"eval","deactivated":false,"data":{"a":1}}]', NOW + 9
    )

    assert outcome == Written([], [])
    assert await user_now(database, ada) == ada
    assert await told(database) == []
    assert [key for key in heard if key is not None] == []  # None: look at everything


async def test_one_bad_entry_undoes_all(database: Database) -> None:
    await start_app(database)
    ada = person("ada@example.com")
    await move_in(database, ada)

    outcome = await write(
        database,
        """[{"userId":"ada@example.com","type":"prod"}, {"userId":"bob","type":"eval"},
            {"userId":"ada@example.com","evalDaysLeft":-7}, {"userId":"eve","type":"eval"}]""",
    )

    assert isinstance(outcome, Rejected)
    assert (outcome.index, outcome.code) == (2, "invalid_request")
    assert await user_now(database, ada) == ada
    assert [user.user_id for user in (await ask(database, Query())).users] == ["ada@example.com"]
    assert await told(database) == []


async def test_unknown_user_without_a_type_is_a_bad_entry(database: Database) -> None:
    await start_app(database)

    outcome = await write(database, '[{"userId":"nobody","deactivated":true}]')

    assert isinstance(outcome, Rejected)
    assert outcome.index == 0
    assert "'nobody'" in outcome.sentence


@pytest.mark.parametrize("user_id", ["a\\u0000b", "", "x" * 300, " "])
async def test_user_id_that_no_database_takes_is_a_bad_entry(database: Database, user_id: str) -> None:
    await start_app(database)

    assert isinstance(await write(database, f'[{{"userId":"{user_id}","type":"eval"}}]'), Rejected)


async def test_entries_for_one_user_are_made_in_order_and_told_as_one(database: Database) -> None:
    await start_app(database)

    outcome = await written(
        database,
        """[{"userId":"ada","type":"eval"}, {"userId":"ada","type":"prod"},
            {"userId":"ada","deactivated":true}, {"userId":"ada","deactivated":null}]""",
    )

    assert [created.user.type for created in outcome.created] == ["prod"]
    assert await told(database) == ["user.enrolled"]


async def test_too_many_entries_are_refused_and_the_most_allowed_are_written(database: Database) -> None:
    await start_app(database)
    name = " ".join(f"Name{number}" for number in range(8))
    text = [
        f'{{"userId":"user{number}","type":"eval","data":{{"displayName":"{name}"}}}}'
        for number in range(CHANGES_MAX + 1)
    ]

    assert isinstance(await write(database, f"[{','.join(text)}]"), Rejected)
    assert len((await written(database, f"[{','.join(text[:-1])}]")).created) == CHANGES_MAX
    renamed = [each.replace("Name", "Other") for each in text[:-1]]
    assert len((await written(database, f"[{','.join(renamed)}]")).changed) == CHANGES_MAX
    assert len(await told(database)) == 2 * CHANGES_MAX


async def test_new_name_is_found_and_the_old_one_is_not(database: Database) -> None:
    await start_app(database)
    await move_in(database, person("ada", name="Ada Byron"))

    await written(database, '[{"userId":"ada","data":{"displayName":"Ada Lovelace"}}]')

    assert len((await ask(database, Query(search="ada lovel"))).users) == 1
    assert (await ask(database, Query(search="byron"))).users == []


async def test_deactivated_and_reactivated_user_is_told_each_time_once(database: Database) -> None:
    await start_app(database)
    ada = person("ada")
    await move_in(database, ada)

    for wish in ("true", "true", "null", "false", '"2020-01-01"'):
        await written(database, f'[{{"userId":"ada","deactivated":{wish}}}]')

    assert await told(database) == ["user.deactivated", "user.reactivated", "user.deactivated"]


async def test_date_of_deactivation_can_be_corrected_without_a_second_event(database: Database) -> None:
    await start_app(database)
    ada = person("ada", deactivated_at=NOW)
    await move_in(database, ada)

    await written(database, '[{"userId":"ada","deactivated":"2020-01-01"}]')

    stored = await user_now(database, ada)
    assert stored is not None
    assert stored.deactivated_at == 1_577_836_800_000
    assert await told(database) == []


async def test_edit_that_ends_a_license_expires_and_one_that_extends_it_revives(database: Database) -> None:
    await start_app(database)
    ada = person("ada")
    await move_in(database, ada)

    await written(database, '[{"userId":"ada","evalDaysLeft":0}]', NOW)
    await written(database, '[{"userId":"ada","data":{"x":1}}]', NOW + 1)
    expired = await user_now(database, ada)
    await written(database, '[{"userId":"ada","type":"prod"}]', NOW + 2)
    revived = await user_now(database, ada)

    assert expired is not None
    assert revived is not None
    assert (expired.expired_at, revived.expired_at) == (NOW, None)
    assert await told(database) == [
        "user.updated",
        "user.expired",
        "user.updated",
        "user.updated",
        "user.upgraded",
    ]
    assert msgspec.json.decode((await events_of(database))[1].data)["reason"] == "eval_days_left"


async def test_only_an_evaluation_that_becomes_production_is_an_upgrade(database: Database) -> None:
    await start_app(database)
    await move_in(database, person("ada"), person("alice@demo.local", type="demo"))

    for type_ in ("prod", "prod", "eval", "prod"):
        await written(database, f'[{{"userId":"ada","type":"{type_}"}}]')
    await written(database, '[{"userId":"bob","type":"prod"}]')

    assert await told(database) == [
        *("user.updated", "user.upgraded"),
        "user.updated",
        *("user.updated", "user.upgraded"),
        "user.enrolled",
    ]


async def test_end_ahead_becomes_a_job_that_is_due_then(database: Database) -> None:
    await start_app(database)
    await move_in(database, person("ada"))

    for wish in ("2099-01-01", "2099-01-01", "2098-01-01", "2001-01-01"):
        await written(database, f'[{{"userId":"ada","validUntil":"{wish}"}}]')
    await written(database, '[{"userId":"ada","validUntil":null}]')

    def due(tx: Transaction) -> list[tuple[str, int]]:
        return sorted((row.kind, row.due_at) for row in tx.execute(jobs.select()))

    assert await database.read(due) == [("expire", 4_039_372_800_000), ("expire", 4_070_908_800_000)]


async def test_two_arrays_that_create_the_same_user_make_one(database: Database) -> None:
    await start_app(database)
    text = '[{"userId":"ada","type":"eval"},{"userId":"bob","type":"eval"}]'

    outcomes = await asyncio.gather(*(written(database, text) for _ in range(10)))

    assert sorted(len(outcome.created) for outcome in outcomes) == [0] * 9 + [2]
    assert await told(database) == ["user.enrolled", "user.enrolled"]


async def test_servers_that_create_the_same_users_make_each_once(postgres_url: str) -> None:
    servers = [Database(postgres_url) for _ in range(2)]
    await start_app(servers[0])
    names = [f"user{number}" for number in range(30)]

    async def create(place: int) -> int:
        ordered = names if place % 2 else names[::-1]
        text = ",".join(f'{{"userId":"{name}","type":"eval"}}' for name in ordered)
        while True:
            try:
                return len((await written(servers[place % 2], f"[{text}]")).created)
            except Conflict:
                continue

    made = await asyncio.gather(*(create(place) for place in range(20)))

    assert sum(made) == len(names)
    assert len(await told(servers[0])) == len(names)
    for server in servers:
        server.close()


async def test_changes_from_two_servers_are_both_kept(postgres_url: str) -> None:
    servers = [Database(postgres_url) for _ in range(2)]
    await start_app(servers[0])
    ada = person("ada")
    await move_in(servers[0], ada)

    async def change(place: int, text: str) -> None:
        await written(servers[place], text)

    for round_ in range(20):
        await asyncio.gather(
            change(0, f'[{{"userId":"ada","evalDaysLeft":{round_ + 1}}}]'),
            change(1, f'[{{"userId":"ada","data":{{"round":{round_}}}}}]'),
        )
        stored = await user_now(servers[1], ada)
        assert stored is not None
        assert stored.data is not None
        assert (stored.eval_days_left, bytes(stored.data)) == (round_ + 1, b'{"round":%d}' % round_)
    for server in servers:
        server.close()


async def test_change_meets_only_users_of_its_own_app(database: Database) -> None:
    await start_app(database)
    there = person("ada", app_id="app_other")
    await move_in(database, there)

    assert isinstance(await write(database, '[{"userId":"ada","deactivated":true}]'), Rejected)
    assert await user_now(database, there) == there


async def test_created_user_with_an_end_in_the_past_is_told_as_expired_too(database: Database) -> None:
    await start_app(database)

    outcome = await written(
        database, '[{"userId":"ada","type":"prod","validUntil":"2001-01-01","deactivated":true}]', day(0)
    )

    user: User = outcome.created[0].user
    assert user.expired_at == NOW
    assert await told(database) == ["user.enrolled", "user.deactivated", "user.expired"]
    assert await count(database, tables.identities, user) == 0
