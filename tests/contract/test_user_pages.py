"""Pages of users: every order, whole and without repeats, by the index and never by sorting."""

import re
import shutil
import sqlite3
from functools import partial
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
from msgspec.structs import replace

from admit.accounts import tables, user_pages, users
from admit.accounts.paging_keys import Position, write_key
from admit.accounts.user_pages import Page, Query, Sort, page, page_before
from admit.accounts.users import NEVER, NewUser, User
from admit.errors import InvalidRequest
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from tests.residents import APP, NOW, move_in, person

SORTS: tuple[Sort, ...] = get_args(Sort)
FIELDS = {
    "created": "created_at",
    "validUntil": "valid_until",
    "updated": "updated_at",
    "evalDaysLeft": "eval_days_left",
    "lastLogin": "last_login_at",
    "userId": "user_id",
    "type": "type",
    "displayName": "name",
}


def crowd(size: int) -> list[User]:
    """People with many ties in every order."""
    return [
        person(
            f"user{number:04d}@example.com",
            name=("", "ada", "Zoe", "Ångström")[number % 4],
            type=("eval", "prod")[number % 3 == 0],
            created_at=NOW + number // 7,
            updated_at=NOW - number // 5,
            last_login_at=(0, NOW + number % 11)[number % 2],
            valid_until=(NEVER, NOW + number)[number % 5 == 0],
            eval_days_left=number % 30,
            deactivated_at=NOW if number % 10 == 9 else None,
        )
        for number in range(size)
    ]


async def ask(database: Database, query: Query) -> Page:
    return await database.read(partial(page, app_id=APP, query=query))


async def ask_back(database: Database, query: Query) -> Page:
    return await database.read(partial(page_before, app_id=APP, query=query))


async def ask_all(database: Database, query: Query) -> list[User]:
    """All pages, each from where the one before has ended."""
    found: list[User] = []
    while True:
        part = await ask(database, query)
        found += part.users
        if not part.has_more:
            assert part.paging_key is None
            return found
        query = replace(query, paging_key=part.paging_key)


def in_order(people: list[User], sort: Sort, desc: bool) -> list[str]:
    def place(user: User) -> tuple[object, bytes]:
        value = getattr(user, FIELDS[sort])
        return (value.encode() if isinstance(value, str) else value, user.user_id.encode())

    return [user.user_id for user in sorted(people, key=place, reverse=desc)]


async def test_pages_are_the_whole_list_in_order_without_repeats(database: Database) -> None:
    people = crowd(100)
    await move_in(database, *people, person("stranger", app_id="app_other"))

    for sort, desc in product(SORTS, (False, True)):
        found = await ask_all(database, Query(sort=sort, desc=desc, limit=7))
        assert [user.user_id for user in found] == in_order(people, sort, desc), sort


@pytest.mark.parametrize("desc", [False, True])
@pytest.mark.parametrize("sort", ["userId", "lastLogin", "displayName"])
async def test_users_who_come_and_go_between_pages_neither_hide_nor_repeat_others(
    database: Database, sort: Sort, desc: bool
) -> None:
    people = crowd(60)
    await move_in(database, *people)
    first = await ask(database, Query(sort=sort, desc=desc, limit=20))

    def meanwhile(tx: Transaction) -> None:
        for gone in (first.users[-1], first.users[3]):
            tx.execute(tables.users.delete().where(tables.users.c.uid == gone.uid))
        newcomers = [person(f"{letter}-new", created_at=NOW + 3) for letter in "a!~"]
        users.create(tx, [NewUser(user) for user in newcomers])

    await database.write(meanwhile)
    rest = await ask_all(database, Query(sort=sort, desc=desc, limit=20, paging_key=first.paging_key))

    found = [user.user_id for user in first.users + rest if not user.user_id.endswith("-new")]
    assert found == in_order(people, sort, desc)


@pytest.mark.parametrize(("few", "walked"), [(2_000, 2_000), (2, 9), (2, 1)])
async def test_filters_find_the_same_whichever_way_they_are_followed(
    database: Database, monkeypatch: pytest.MonkeyPatch, few: int, walked: int
) -> None:
    monkeypatch.setattr(user_pages, "FEW_USERS_MAX", few)
    monkeypatch.setattr(user_pages, "FILTERED_ROWS_MAX", walked)
    people = crowd(40)
    await move_in(database, *people)
    kinds: tuple[users.UserType | None, ...] = ("eval", "prod", "demo", None)

    for sort, kind, active in product(SORTS, kinds, (True, False, None)):
        found = await ask_all(database, Query(sort=sort, type=kind, active=active, limit=7))
        wanted = [
            user
            for user in people
            if kind in (None, user.type) and active in (None, user.deactivated_at is None)
        ]
        assert [user.user_id for user in found] == in_order(wanted, sort, desc=False), (sort, kind, active)


async def test_expired_user_is_active_since_nobody_has_deactivated_them(database: Database) -> None:
    await move_in(database, person(eval_days_left=0, expired_at=NOW))

    assert len((await ask(database, Query(active=True))).users) == 1
    assert (await ask(database, Query(active=False))).users == []


async def test_filter_that_few_pass_looks_at_a_bounded_number_of_users(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_pages, "FEW_USERS_MAX", 1)
    monkeypatch.setattr(user_pages, "FILTERED_ROWS_MAX", 10)
    people = [person(f"user{number:02d}", type="eval") for number in range(35)]
    people[20] = replace(people[20], type="prod")
    people[33] = replace(people[33], type="prod")
    await move_in(database, *people)

    pages = [await ask(database, Query(type="prod", limit=5))]
    while (paging_key := pages[-1].paging_key) is not None:
        pages.append(await ask(database, Query(type="prod", limit=5, paging_key=paging_key)))

    assert [[user.user_id for user in each.users] for each in pages] == [[], ["user20"], [], ["user33"]]


async def test_limit_is_a_thousand_and_asking_for_more_gives_a_thousand(database: Database) -> None:
    await move_in(database, *(person(f"user{number}") for number in range(1_001)))

    assert len((await ask(database, Query())).users) == 1_000
    most = await ask(database, Query(limit=5_000))
    assert (len(most.users), most.has_more) == (1_000, True)


@pytest.mark.parametrize("limit", [0, -1])
async def test_limit_below_one_is_refused(database: Database, limit: int) -> None:
    with pytest.raises(InvalidRequest):
        await ask(database, Query(limit=limit))


async def test_page_that_ends_with_the_last_user_says_so(database: Database) -> None:
    await move_in(database, person("a"), person("b"))

    assert not (await ask(database, Query(limit=2))).has_more
    assert (await ask(database, Query(limit=1))).paging_key == write_key(Position("a", "a"))


async def test_key_of_another_order_is_refused(database: Database) -> None:
    await move_in(database, *crowd(5))
    by_name = await ask(database, Query(sort="displayName", limit=2))

    with pytest.raises(InvalidRequest):
        await ask(database, Query(sort="created", paging_key=by_name.paging_key))


async def test_key_that_points_nowhere_is_a_place_like_any_other(database: Database) -> None:
    await move_in(database, person("a"), person("c"))
    nowhere = write_key(Position("b", "b"))

    assert [user.user_id for user in (await ask(database, Query(paging_key=nowhere))).users] == ["c"]


async def test_every_order_has_its_index_and_nothing_is_sorted(database: Database) -> None:
    people = crowd(3_000)
    await move_in(database, *people)
    await _analyze(database)

    for sort, desc, active in product(SORTS, (False, True), (None, True)):
        middle = in_order(people, sort, desc)[1_500]
        last = next(user for user in people if user.user_id == middle)
        key = write_key(Position(getattr(last, FIELDS[sort]), last.user_id))
        for paging_key in (None, key):
            query = Query(sort=sort, desc=desc, active=active, limit=50, paging_key=paging_key)
            plan = await _plan(database, query)
            assert FIELDS[sort] in plan or "autoindex" in plan, plan
            for costly in ("TEMP B-TREE", "Sort", "Seq Scan", "SCAN users", "Bitmap"):
                assert costly not in plan, plan
            if paging_key is not None:
                # The index is entered where the last page ended, not walked from its beginning.
                assert re.search(r"ROW\(|\(\w+,user_id\)[<>]|user_id ?[<>]", plan), plan


async def _analyze(database: Database) -> None:
    def analyze(tx: Transaction) -> None:
        tx.connection.exec_driver_sql("ANALYZE users")
        tx.connection.exec_driver_sql("ANALYZE user_words")

    await database.write(analyze)


async def _plan(database: Database, query: Query) -> str:
    """How the database would find the page."""

    def explain(tx: Transaction) -> str:
        shape = user_pages._shape_of(query, words=0)
        parameters = user_pages._parameters(APP, query, []) | {"limit": query.limit + 1}
        edge = None
        if query.active is not None:
            edge = user_pages._edge(tx, shape, parameters | {"walked": 100})
            assert edge is not None
            parameters |= user_pages._bounds("edge", edge)
        statement = user_pages._page_statement(shape, None, edge is not None)
        compiled = statement.compile(dialect=tx.connection.dialect)
        values = compiled.construct_params(parameters)
        prefix = "EXPLAIN QUERY PLAN " if tx.dialect == "sqlite" else "EXPLAIN "
        if tx.dialect == "sqlite":
            arguments = tuple(values[name] for name in compiled.positiontup or ())
            rows = tx.connection.exec_driver_sql(prefix + str(compiled), arguments)
        else:
            rows = tx.connection.exec_driver_sql(prefix + str(compiled), values)
        return "\n".join(str(row) for row in rows)

    return await database.read(explain)


@pytest.mark.parametrize("search", ["person7@example.com", "nobody", "ada lovelace", "adam"])
async def test_work_of_a_search_does_not_grow_with_the_number_of_people(
    tmp_path: Path, sqlite_template: Path, search: str
) -> None:
    shutil.copy(sqlite_template, tmp_path / "few.db")
    database = Database(f"sqlite:///{tmp_path}/few.db")
    await move_in(database, *(person(f"person{n}@example.com") for n in range(100)))
    before = await _steps(database, search)
    await move_in(database, *(person(f"crowd{n}@example.com") for n in range(2_000)))
    assert await _steps(database, search) < before * 1.5
    database.close()


async def _steps(database: Database, search: str) -> int:
    """How many steps SQLite's machine takes to find a page."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    def find(tx: Transaction) -> None:
        plain = tx.connection.connection.driver_connection
        assert isinstance(plain, sqlite3.Connection)
        plain.set_progress_handler(count, 1)
        user_pages.page(tx, APP, Query(search=search, limit=20))
        plain.set_progress_handler(None, 0)

    await database.read(find)
    return steps


@pytest.mark.parametrize(
    "query",
    [
        *(Query(sort=sort, desc=desc, limit=13) for sort in SORTS for desc in (False, True)),
        Query(sort="created", limit=13, type="prod"),
        Query(sort="displayName", limit=13, search="ada", active=True),
    ],
)
async def test_the_way_back_shows_the_same_pages(database: Database, query: Query) -> None:
    await move_in(database, *crowd(60))
    there = [await ask(database, query)]
    assert there[0].back_key is None
    while (key := there[-1].paging_key) is not None:
        there.append(await ask(database, replace(query, paging_key=key)))

    back = [there[-1]]
    while (key := back[-1].back_key) is not None:
        back.append(await ask_back(database, replace(query, paging_key=key)))

    assert [each.users for each in back[::-1]] == [each.users for each in there]
    for again, page_there in zip(back[:0:-1], there, strict=False):
        forward = await ask(database, replace(query, paging_key=again.paging_key))
        assert forward.users == there[there.index(page_there) + 1].users
    last = await ask_back(database, replace(query, limit=1_000))
    assert [each.user_id for each in last.users] == [
        each.user_id for page_there in there for each in page_there.users
    ]
