"""Active days, as /sync counts them."""

import asyncio
from functools import partial

from admit.accounts import users
from admit.accounts.active_days import Activity, count_active_days
from admit.accounts.users import NEVER_ACTIVE, User
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from tests.residents import APP, NOW, day, events_of, move_in, person, start_app, told, user_now


async def sync(database: Database, user: User, now: int) -> User | None:
    return await database.write_together(count_active_days, Activity(user.app_id, user.uid, now))


async def test_thirty_days_with_breaks_between_them(database: Database) -> None:
    await start_app(database)
    ada = person()
    await move_in(database, ada)

    for number in range(30):
        user = await sync(database, ada, day(number * 3))
        assert user is not None
        assert user.expired_at is None
    last = await sync(database, ada, day(200))

    assert last is not None
    assert last == await user_now(database, ada)
    assert (last.eval_days_left, last.expired_at) == (0, day(200))
    (event,) = await events_of(database)
    assert (event.type, event.occurred_at) == ("user.expired", day(200))


async def test_many_syncs_at_once_count_one_day(database: Database) -> None:
    await start_app(database)
    ada = person()
    await move_in(database, ada)

    await asyncio.gather(*(sync(database, ada, day(1) + turn) for turn in range(50)))

    stored = await user_now(database, ada)
    assert stored is not None
    assert stored.eval_days_left == 29


async def test_one_list_serves_users_of_every_kind(database: Database) -> None:
    await start_app(database)
    people = [
        person("eval"),
        person("prod", type="prod"),
        person("new", active_day=NEVER_ACTIVE),
        person("last", eval_days_left=1),
        person("gone-by-date", type="prod", valid_until=day(1)),
        person("deactivated", deactivated_at=NOW),
    ]
    await move_in(database, *people)
    unknown = person("unknown")
    items = [Activity(APP, user.uid, day(1)) for user in [*people, unknown, people[0]]]

    def unit(tx: Transaction) -> list[User | None]:
        return count_active_days(tx, items)

    found = await database.write(unit)

    assert [user and user.eval_days_left for user in found] == [29, 30, 30, 0, 30, 30, None, 29]
    assert [user and user.user_id for user in found if user and user.expired_at] == ["last", "gone-by-date"]
    assert sorted(await told(database)) == ["user.expired", "user.expired"]
    assert await database.read(partial(_all, people=people)) == found[:6]


def _all(tx: Transaction, people: list[User]) -> list[User]:
    stored = users.by_uid(tx, [(user.app_id, user.uid) for user in people])
    return [stored[user.app_id, user.uid] for user in people]
