"""Many rows at once: written and looked up by one statement, with every value that a row can hold."""

import asyncio
import threading
from collections.abc import Sequence
from functools import partial

import pytest
from sqlalchemy import BigInteger, bindparam, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from admit.accounts.tables import sessions, user_words
from admit.storage.database import Database
from admit.storage.lookups import Lookup, rows_of_all
from admit.storage.rows import STATEMENT_ROWS_MAX, Change, Insertion
from admit.storage.transaction import Transaction, Unit
from tests.contract.notes import hold_writer, settled

ADD = Insertion(insert(user_words))
ADD_NEW = Insertion(insert(user_words).on_conflict_do_nothing())
ADD_SESSIONS = Insertion(insert(sessions))
RENEWED = (sessions.c.client_id, sessions.c.refresh_until)
_KEY = (sessions.c.app_id, sessions.c.session_id)
RENEW = Change(sessions, _KEY, RENEWED)
RENEW_OF_CLIENTS = Change(
    sessions, _KEY, (sessions.c.refresh_until,), only=(sessions.c.client_id.is_not(None),)
)
FIND = Lookup(select(user_words), (user_words.c.app_id, user_words.c.word))
FIND_WITH_UID = Lookup(select(user_words), (user_words.c.app_id, user_words.c.word, user_words.c.uid))
FIRST_OF_EACH = Lookup(
    select(user_words).order_by(user_words.c.uid.desc()),
    (user_words.c.app_id, user_words.c.word),
    each_max=bindparam("most", type_=BigInteger),
)
LOCK = Lookup(select(user_words), (user_words.c.app_id, user_words.c.word), lock=True)

STRANGE = [
    "",
    "'",
    '"',
    "\\",
    "\\u0000",
    "{}",
    "[]",
    "null",
    "%s",
    "%(x)s",
    ":x",
    "?",
    "$1",
    "a\nb\tc\x01",
    "\U0001f600",
    "e\u0301",
]


async def test_every_text_comes_back_as_it_was_and_is_found_by_itself_alone(database: Database) -> None:
    rows = [("app", word, f"uid{number}") for number, word in enumerate(STRANGE)]

    assert await database.write(partial(Transaction.count_written, statement=ADD, rows=rows)) == len(STRANGE)

    for row in rows:
        assert [tuple(found) for found in await database.read(partial(FIND.rows, keys=[row[:2]]))] == [row]
    assert {
        tuple(each) for each in await database.read(partial(FIND.rows, keys=[r[:2] for r in rows]))
    } == set(rows)


async def test_of_each_key_no_more_than_the_first_rows_are_found(database: Database) -> None:
    rows = [("app", word, f"uid{number}") for word in ("ada", "b'ob") for number in range(9)]
    await database.write(
        partial(Transaction.count_written, statement=ADD, rows=[*rows, ("other", "ada", "uid8")])
    )
    keys = [("app", "ada"), ("app", "b'ob"), ("app", "nobody")]

    for most in (1, 3, 100):
        found = await database.read(partial(FIRST_OF_EACH.rows, keys=keys, most=most))
        assert {tuple(each) for each in found} == {row for row in rows if int(row[2][3:]) >= 9 - most}
        assert len(found) == 2 * min(most, 9)


async def test_missing_values_and_large_numbers_are_kept(database: Database) -> None:
    row = (
        "app",
        "ses_1",
        "uid",
        "dev",
        2**62,
        "ENROLLED",
        "",
        "pem",
        "thumb",
        None,
        None,
        "",
        1,
        -5,
        None,
        2**53,
        0,
        0,
        None,
    )

    await database.write(partial(Transaction.count_written, statement=ADD_SESSIONS, rows=[row]))

    (found,) = await database.read(lambda tx: tx.execute(select(sessions)).all())
    assert tuple(found) == row


async def test_failing_rows_that_nobody_waited_for_fail_their_own_unit_alone(database: Database) -> None:
    """Their unit has returned long before PostgreSQL says what is wrong with them."""

    def adding(uid: str) -> Unit[str]:
        def unit(tx: Transaction) -> str:
            tx.write(ADD, [("app", "ada", uid)])
            tx.signal("added", uid)
            return uid

        return unit

    heard: list[str | None] = []
    database.signals.subscribe("added", heard.append)
    await database.write(adding("taken"))
    gate, held = await hold_writer(database)
    units = [asyncio.create_task(database.write(adding(uid))) for uid in ("first", "taken", "last")]
    await settled()
    gate.opened.set()
    _, *told = await asyncio.gather(held, *units, return_exceptions=True)

    assert [told[0], type(told[1]), told[2]] == ["first", IntegrityError, "last"]
    assert [uid for uid in heard if uid is not None] == ["taken", "first", "last"]
    found = await database.read(partial(FIND.rows, keys=[("app", "ada")]))
    assert {row.uid for row in found} == {"taken", "first", "last"}

    with pytest.raises(IntegrityError):
        await database.write(adding("taken"))


async def test_rows_that_were_there_are_passed_over_and_not_counted(database: Database) -> None:
    await database.write(partial(Transaction.count_written, statement=ADD, rows=[("app", "a", "1")]))

    rows = [("app", "a", "1"), ("app", "b", "1"), ("app", "c", "1")]
    written = await database.write(partial(Transaction.count_written, statement=ADD_NEW, rows=rows))

    assert written == 2
    assert await database.write(partial(Transaction.count_written, statement=ADD_NEW, rows=[])) == 0


async def test_more_rows_than_one_statement_takes_are_all_written(database: Database) -> None:
    rows = [("app", f"word{number}", "1") for number in range(2 * STATEMENT_ROWS_MAX + 7)]

    assert await database.write(partial(Transaction.count_written, statement=ADD, rows=rows)) == len(rows)

    found = await database.read(partial(FIND.rows, keys=[row[:2] for row in rows]))
    assert sorted(map(tuple, found)) == sorted(rows)


async def test_each_row_is_given_values_of_its_own(database: Database) -> None:
    await database.write(
        partial(Transaction.count_written, statement=ADD_SESSIONS, rows=[_session(n) for n in "abc"])
    )

    changes = [("app", "ses_a", "cli", 5), ("app", "ses_b", None, 2**53), ("app", "ses_x", "cli", 7)]
    changed = await database.write(partial(Transaction.count_written, statement=RENEW, rows=changes))

    assert changed == 2
    found = await database.read(lambda tx: tx.execute(select(*RENEWED).order_by(sessions.c.session_id)).all())
    assert list(map(tuple, found)) == [("cli", 5), (None, 2**53), ("old", 1)]


async def test_a_change_passes_over_the_rows_that_are_not_meant(database: Database) -> None:
    rows = [_session(name) for name in "ab"]
    await database.write(partial(Transaction.count_written, statement=ADD_SESSIONS, rows=rows))
    await database.write(
        partial(Transaction.count_written, statement=RENEW, rows=[("app", "ses_a", None, 9)])
    )

    changes = [("app", "ses_a", 5), ("app", "ses_b", 5)]

    assert (
        await database.write(partial(Transaction.count_written, statement=RENEW_OF_CLIENTS, rows=changes))
        == 1
    )


async def test_a_statement_that_fails_in_the_middle_leaves_nothing(database: Database) -> None:
    rows = [("app", "a", "1"), ("app", "b", "1"), ("app", "a", "1")]

    with pytest.raises(IntegrityError):
        await database.write(partial(Transaction.count_written, statement=ADD, rows=rows))

    assert await database.read(partial(FIND.rows, keys=[("app", "a"), ("app", "b")])) == []


def _session(name: str) -> tuple[object, ...]:
    return (
        *("app", f"ses_{name}", "uid", "dev", ord(name), "ENROLLED", "", "pem", "thumb", "old"),
        *(None, "", 1, 1, None, 1, 0, 0, None),
    )


async def test_keys_are_looked_up_whole_and_each_once(database: Database) -> None:
    rows = [(app, word, uid) for app in ("app1", "app2") for word in ("a", "b") for uid in ("1", "2")]
    await database.write(partial(Transaction.count_written, statement=ADD, rows=rows))
    keys = [
        ("app1", "a", "1"),
        ("app2", "b", "2"),
        ("app1", "a", "1"),
        ("app1", "b", "3"),
        ("app3", "a", "1"),
    ]

    found = await database.read(partial(FIND_WITH_UID.rows, keys=keys))

    assert sorted(map(tuple, found)) == [("app1", "a", "1"), ("app2", "b", "2")]
    assert await database.read(partial(FIND.rows, keys=[])) == []
    assert len(await database.read(partial(FIND.rows, keys=[("app1", "a")]))) == 2


async def test_key_that_could_not_be_stored_is_not_found_and_hides_no_other(database: Database) -> None:
    await database.write(partial(Transaction.count_written, statement=ADD, rows=[("app", "a", "1")]))

    keys = [("app", "a\x00"), ("app", "\ud800"), ("app", "a")]

    assert len(await database.read(partial(FIND.rows, keys=keys))) == 1


async def test_several_lookups_find_what_each_would_find_alone(database: Database) -> None:
    rows = [("app", word, f"uid{number}") for number, word in enumerate(STRANGE)]
    await database.write(partial(Transaction.count_written, statement=ADD, rows=rows))
    asked: tuple[tuple[Lookup, Sequence[Sequence[str | int]]], ...] = (
        (LOCK, [rows[1][:2], rows[1][:2], ("app", "\x00")]),
        (FIND, []),
        (FIND_WITH_UID, rows),
        (FIND, [("app", "nobody")]),
    )

    def look_up(tx: Transaction) -> list[set[tuple[str, str, str]]]:
        return [{(row[0], row[1], row[2]) for row in found} for found in rows_of_all(tx, *asked)]

    expected = [{rows[1]}, set(), set(rows), set()]
    assert await database.write(look_up) == expected
    assert await database.write(rows_of_all) == []


async def test_locked_rows_keep_another_server_waiting_until_the_commit(postgres_url: str) -> None:
    first, second = Database(postgres_url), Database(postgres_url)
    await first.write(partial(Transaction.count_written, statement=ADD, rows=[("app", "a", "1")]))
    order: list[str] = []
    locked = threading.Event()

    def hold(tx: Transaction) -> None:
        LOCK.rows(tx, [("app", "a")])
        locked.set()
        tx.connection.exec_driver_sql("SELECT pg_sleep(0.3)")
        order.append("first")

    def follow(tx: Transaction) -> None:
        LOCK.rows(tx, [("app", "a")])
        order.append("second")

    holding = asyncio.create_task(first.write(hold))
    await asyncio.to_thread(locked.wait)
    await asyncio.gather(holding, second.write(follow))

    assert order == ["first", "second"]
    for server in (first, second):
        server.close()
