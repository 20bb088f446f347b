"""SQLite: the full disk, the one connection that writes and checkpoints, the durability settings."""

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from admit.errors import ConfigError, StorageUnavailable
from admit.storage.database import Database
from admit.storage.migrate import migrate
from admit.storage.transaction import Transaction
from tests.contract.notes import ADD, adding, all_notes, count_notes, make_notes


@pytest.fixture
async def database(sqlite_url: str) -> AsyncIterator[Database]:
    database = Database(sqlite_url)
    await make_notes(database)
    yield database
    database.close()


async def test_full_disk_changes_nothing_and_is_survived(database: Database) -> None:
    def limit_pages(pages: int) -> Callable[[Transaction], int]:
        # A connection's own limit, which fails as a full disk does: SQLITE_FULL.
        return lambda tx: tx.execute(text(f"PRAGMA max_page_count = {pages}")).scalar_one()

    def big(note: str) -> Callable[[Transaction], str]:
        def unit(tx: Transaction) -> str:
            tx.execute(ADD, {"id": f"{note} first half", "n": 0})
            tx.execute(ADD, [{"id": f"{note} {i} " + "x" * 3_000, "n": 0} for i in range(100)])
            return note

        return unit

    await database.write(adding("before"))
    await database.write(limit_pages(await database.write(limit_pages(1)) + 20))
    answers = await asyncio.gather(*(database.write(big(f"{i}")) for i in range(5)), return_exceptions=True)
    assert {type(each) for each in answers} == {StorageUnavailable}
    assert await database.read(all_notes) == ["before"]
    assert await database.write(adding("small")) == "small"

    await database.write(limit_pages(1_000_000))
    assert await database.write(big("later")) == "later"
    assert await database.read(count_notes) == 103
    assert await database.read(lambda tx: tx.execute(text("PRAGMA integrity_check")).scalar_one()) == "ok"


async def test_full_disk_harms_only_units_that_do_not_fit(database: Database) -> None:
    def grow(tx: Transaction) -> None:
        tx.execute(ADD, [{"id": f"{i} " + "x" * 3_000, "n": 0} for i in range(100)])

    pages = await database.write(lambda tx: tx.execute(text("PRAGMA page_count")).scalar_one())
    await database.write(lambda tx: tx.execute(text(f"PRAGMA max_page_count = {pages + 20}")).scalar_one())
    first, big, last = await asyncio.gather(
        database.write(adding("a")),
        database.write(grow),
        database.write(adding("b")),
        return_exceptions=True,
    )
    assert (first, last) == ("a", "b")
    assert isinstance(big, StorageUnavailable)


async def test_answered_commit_survives_power_loss(database: Database) -> None:
    def settings(tx: Transaction) -> tuple[object, ...]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return tuple(tx.execute(text(f"PRAGMA {name}")).scalar_one() for name in names)

    full = 2
    assert await database.write(settings) == ("wal", full, 1)


async def test_only_the_writer_checkpoints(database: Database, sqlite_url: str) -> None:
    await database.write(adding("a"))
    settings = await database.read(
        lambda tx: (
            tx.execute(text("PRAGMA wal_autocheckpoint")).scalar_one(),
            tx.execute(text("PRAGMA query_only")).scalar_one(),
        )
    )
    assert settings == (0, 1)


async def test_closed_file_is_whole_without_its_log(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    await make_notes(database)
    await asyncio.gather(*(database.read(count_notes) for _ in range(8)))
    await database.write(adding("a"))
    database.close()

    path = Path(sqlite_url.removeprefix("sqlite:///"))
    assert not path.with_name(path.name + "-wal").exists()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT id FROM notes").fetchall() == [("a",)]
    connection.close()


async def test_file_held_by_a_stranger_is_reported_and_found_again(
    database: Database, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("admit.storage.writer.RETRY_SECONDS_MAX", 0.5)
    stranger = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable):
        await database.write(adding("a"))
    assert await database.read(all_notes) == []
    stranger.execute("ROLLBACK")
    stranger.close()
    await asyncio.sleep(0.3)
    assert await database.write(adding("b")) == "b"


def test_new_file_is_for_this_account_only(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    migrate(f"sqlite:///{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "mysql://host/db", "nonsense", "", "postgresql:/x:y:z@"]
)
async def test_url_that_names_no_database_of_ours_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="DATABASE_URL"):
        Database(url)
