"""Searching users: by beginnings of words, along an index, in any order."""

import time
from functools import partial
from itertools import product

import pytest

from admit.accounts import user_pages
from admit.accounts.user_pages import Query, page
from admit.accounts.users import User
from admit.errors import InvalidRequest
from admit.storage.database import Database
from tests.contract.test_user_pages import SORTS, ask, ask_all, in_order
from tests.residents import APP, NOW, move_in, person

PEOPLE = [
    person("ada@example.com", name="Ada Lovelace"),
    person("charles@example.com", name="Charles Babbage"),
    person("grace", email="hopper@navy.example", name="Grace Hopper", type="prod"),
    person("auth0|77", name="O'Brien, Pat"),
    person("li@example.com", name="李 小龙"),
    person("jose@example.com", name="JOSÉ Straße", deactivated_at=NOW),
    person("100%_sure", name="* ? [a-z]"),
    person("ada@example.com", name="Ada of another app", app_id="app_other"),
]


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("ada", ["ada@example.com"]),
        ("ADA love", ["ada@example.com"]),
        ("hop", ["grace"]),
        ("hopper@navy", ["grace"]),
        ("grac", ["grace"]),
        ("auth0|7", ["auth0|77"]),
        ("o'b", ["auth0|77"]),
        ("pat o'brien", ["auth0|77"]),
        ("小", ["li@example.com"]),
        ("josé strasse", ["jose@example.com"]),
        ("c", ["charles@example.com"]),
        ("opper", []),
        ("%", []),
        ("_", []),
        ("100%", ["100%_sure"]),
        ("100_", []),
        ("*", ["100%_sure"]),
        ("a'); DROP users; --", []),
        ("ada babbage", []),
        ("...", []),
        ('"', []),
        ("\U0010fffe", []),
    ],
)
async def test_search_finds_whom_it_names(database: Database, search: str, found: list[str]) -> None:
    await move_in(database, *PEOPLE)

    answer = await ask(database, Query(search=search))

    assert [user.user_id for user in answer.users] == found
    assert not answer.has_more


async def test_blank_search_is_none(database: Database) -> None:
    await move_in(database, *PEOPLE)

    assert len((await ask(database, Query(search=""))).users) == 7
    assert (await ask(database, Query(search="   "))).users == []


async def test_search_that_no_word_can_match_is_refused(database: Database) -> None:
    for search in ("a\x00", "\ud800", "a b c d e"):
        with pytest.raises(InvalidRequest):
            await ask(database, Query(search=search))


async def test_user_is_found_once_however_many_words_match(database: Database) -> None:
    await move_in(database, person("ann@example.com", name="Ann Anna Annabel", email="ann@work.example"))

    assert len((await ask(database, Query(search="an"))).users) == 1


@pytest.mark.parametrize(("few", "walked"), [(2_000, 2_000), (3, 10), (3, 1)])
async def test_search_in_every_order_finds_all_whichever_way_it_is_followed(
    database: Database, monkeypatch: pytest.MonkeyPatch, few: int, walked: int
) -> None:
    monkeypatch.setattr(user_pages, "FEW_USERS_MAX", few)
    monkeypatch.setattr(user_pages, "FILTERED_ROWS_MAX", walked)
    people = [
        person(
            f"user{number:03d}",
            name=f"{('Ada', 'Adam', 'Bob')[number % 3]} {('King', 'Kong')[number % 2]} no{number}",
            created_at=NOW - number // 4,
            type=("eval", "prod")[number % 5 == 0],
        )
        for number in range(60)
    ]
    await move_in(database, *people)

    for sort, search in product(SORTS, ("ada", "ada king", "no7", "user k")):
        found = await ask_all(database, Query(search=search, sort=sort, limit=6))
        wanted = [user for user in people if _matches(user, search)]
        assert [user.user_id for user in found] == in_order(wanted, sort, desc=False), (sort, search)
    both = await ask_all(database, Query(search="ada", type="prod", active=True, limit=2))
    assert [user.user_id for user in both] == in_order(
        [user for user in people if _matches(user, "ada") and user.type == "prod"], "userId", desc=False
    )


async def test_search_among_many_takes_a_moment(database: Database) -> None:
    """Common beginnings, rare ones and pairs of both: none may read everybody."""
    people = [
        person(f"user{number}", name=f"{('Ada', 'Bob')[number % 2]} Name{number}") for number in range(6_000)
    ]
    await move_in(database, *people)

    for search in ("a", "ada", "name5999", "ada name41", "user", "zzz", "user5 bob"):
        started = time.thread_time()
        await database.read(partial(page, app_id=APP, query=Query(search=search, sort="created", limit=50)))
        assert time.thread_time() - started < 0.1, search


def _matches(user: User, search: str) -> bool:
    words = [user.user_id, *user.name.lower().split()]
    return all(any(word.startswith(term) for word in words) for term in search.split())
