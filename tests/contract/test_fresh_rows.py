"""One look for all who wait: whatever their step, each is found what is behind them, and no more."""

from collections.abc import Set
from functools import partial

import pytest

from admit.data import fresh_rows
from admit.data.fresh_rows import Fresh, Start, find_fresh
from admit.storage.database import Database
from tests.contract.test_data_writing import UID, opened, push, put
from tests.residents import APP

PUSHES = fresh_rows.STEP_MAX + 4


async def found(database: Database, starts: Set[Start]) -> Fresh:
    return await database.read(partial(find_fresh, starts=frozenset(starts)))


async def pushed(database: Database) -> None:
    await opened(database)
    for number in range(PUSHES):
        await push(database, put(f"k{number:02}", f"t{number}", n=number), known=number)


def start(after: int) -> Start:
    return APP, UID, after


async def test_who_is_a_little_behind_and_who_is_far_behind_are_found_the_same(database: Database) -> None:
    await pushed(database)
    fresh = await found(database, {start(after) for after in range(PUSHES + 1)})
    for after in range(PUSHES):
        rows = fresh.rows[start(after)]
        assert rows is not None
        assert [row.key for row in rows] == [f"k{number:02}" for number in range(after, PUSHES)]
        assert {row.writer for row in rows} == {"phone"}
    assert start(PUSHES) not in fresh.rows
    assert fresh.heads == {(APP, UID): PUSHES}


async def test_what_is_too_much_is_not_read(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await pushed(database)
    monkeypatch.setattr(fresh_rows, "ROWS_MAX", 3)
    fresh = await found(database, {start(0), start(PUSHES - 4), start(PUSHES - 3)})
    assert [fresh.rows[each] for each in (start(0), start(PUSHES - 4))] == [None, None]
    assert len(fresh.rows[start(PUSHES - 3)] or ()) == 3


async def test_one_look_holds_no_more_than_it_may(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pushed(database)
    monkeypatch.setattr(fresh_rows, "LOOK_BYTES_MAX", 1)
    fresh = await found(database, {start(PUSHES - 1), start(PUSHES - 2)})
    assert list(fresh.rows.values()) == [None, None]
