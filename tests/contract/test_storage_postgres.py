"""PostgreSQL when it misbehaves: conflicts, lost connections, lost answers, restarts, poolers."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import psycopg
import pytest
from sqlalchemy import Text, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from admit import clock
from admit.accounts.tables import user_words
from admit.errors import AdmitError, StorageUnavailable
from admit.storage import listen, postgres, transaction, writer
from admit.storage.database import Database
from admit.storage.migrate import migrate
from admit.storage.postgres import writers
from admit.storage.rows import Insertion
from admit.storage.sending import SendingConnection
from admit.storage.transaction import Transaction
from tests.contract.notes import (
    RAISE,
    adding,
    all_notes,
    count_notes,
    hearing,
    hold_writer,
    make_notes,
    notes,
    settled,
    value_of,
)
from tests.postgres import Cluster
from tests.postgres_proxy import Proxy

T = TypeVar("T")

BACKEND = select(func.pg_backend_pid())
NOTE = Insertion(insert(notes))
ADD_WORDS = Insertion(insert(user_words))


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    database = _open(postgres_url)
    await make_notes(database)
    yield database
    database.close()


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    proxy = Proxy(postgres_url)
    yield proxy
    proxy.close()


@pytest.fixture
async def behind_proxy(database: Database, proxy: Proxy) -> AsyncIterator[Database]:
    behind = _open(proxy.start())
    yield behind
    behind.close()


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A cluster that may be ended and started again."""
    cluster = Cluster(durable=True)
    try:
        cluster.create()
        yield cluster
    finally:
        cluster.remove()


def _open(url: str, listen_url: str | None = None) -> Database:
    database = Database(url, listen_url=listen_url)
    database.signals.attach(asyncio.get_running_loop())
    return database


def _raising(*ids: str) -> Callable[[Transaction], None]:
    def unit(tx: Transaction) -> None:
        for note in ids:
            tx.execute(RAISE, {"note": note})
            time.sleep(0.005)

    return unit


async def test_rivals_who_lock_rows_in_opposite_order_both_get_through(
    database: Database, postgres_url: str
) -> None:
    for note in ("a", "b"):
        await database.write(adding(note))
    rival = _open(postgres_url)

    async def repeat(db: Database, *ids: str) -> None:
        for _ in range(10):
            await db.write(_raising(*ids))

    await asyncio.gather(repeat(database, "a", "b"), repeat(rival, "b", "a"))
    rival.close()

    assert await database.read(value_of("a")) == 20
    assert await database.read(value_of("b")) == 20


async def test_row_held_by_a_stranger_harms_only_who_needs_it(database: Database, postgres_url: str) -> None:
    for note in ("free", "held"):
        await database.write(adding(note))
    with psycopg.connect(postgres_url) as stranger:
        stranger.execute("UPDATE notes SET n = 0 WHERE id = 'held'")
        gate, held = await hold_writer(database)
        units = (adding("before"), _raising("held"), adding("after"), _raising("free"))
        tasks = [asyncio.create_task(database.write(unit)) for unit in units]
        await settled()
        gate.opened.set()
        started = time.monotonic()
        _, before, blocked, after, free = await asyncio.gather(held, *tasks, return_exceptions=True)
        assert time.monotonic() - started < 4
        stranger.rollback()

    assert (before, after, free) == ("before", "after", None)
    assert isinstance(blocked, StorageUnavailable)
    await database.write(_raising("held"))
    assert await database.read(value_of("held")) == 1


async def test_connection_lost_inside_a_unit_is_opened_again_and_the_unit_run_again(
    database: Database, postgres_url: str
) -> None:
    tries: list[int] = []

    def unit(tx: Transaction) -> str:
        adding("a")(tx)
        tries.append(tx.execute(BACKEND).scalar_one())
        if len(tries) == 1:
            with psycopg.connect(postgres_url) as other:
                other.execute("SELECT pg_terminate_backend(%s)", (tries[0],))
        return adding("b")(tx)

    assert await database.write(unit) == "b"
    assert len(tries) == 2
    assert await database.read(all_notes) == ["a", "b"]


async def test_commit_that_was_lost_is_run_again(behind_proxy: Database, proxy: Proxy) -> None:
    await behind_proxy.write(adding("first"))
    runs: list[int] = []
    proxy.cut_before_commit = True

    def unit(tx: Transaction) -> str:
        runs.append(1)
        return adding("a")(tx)

    answers = await asyncio.gather(behind_proxy.write(unit), behind_proxy.write(adding("b")))
    assert list(answers) == ["a", "b"]
    assert runs == [1, 1]
    assert await behind_proxy.read(all_notes) == ["a", "b", "first"]


async def test_commit_whose_answer_was_lost_is_not_run_again(
    behind_proxy: Database, proxy: Proxy, database: Database
) -> None:
    heard: list[str | None] = []
    behind_proxy.signals.subscribe("note", heard.append)
    await behind_proxy.write(adding("first"))
    runs: list[int] = []

    def unit(tx: Transaction) -> str:
        runs.append(1)
        tx.signal("note", "a")
        return adding("a")(tx)

    proxy.cut_after_commit = True
    answers = await asyncio.gather(behind_proxy.write(unit), behind_proxy.write(adding("b")))
    assert list(answers) == ["a", "b"]
    assert runs == [1]
    assert [key for key in heard if key] == ["a"]
    assert await database.read(all_notes) == ["a", "b", "first"]


async def test_outcome_that_cannot_be_looked_up_is_called_unknown(
    behind_proxy: Database, proxy: Proxy, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS_MAX", 0.3)
    await behind_proxy.write(adding("first"))
    polls: list[str | None] = []
    proxy.refuse = True
    proxy.cut_after_commit = True
    with pytest.raises(StorageUnavailable, match="not known"):
        await behind_proxy.write(adding("a"))
    assert await database.read(all_notes) == ["a", "first"]

    behind_proxy.signals.subscribe("note", polls.append)
    proxy.refuse = False
    await _until_it_works(lambda: behind_proxy.write(adding("b")))
    assert await database.read(all_notes) == ["a", "b", "first"]
    assert None in polls


async def test_units_are_committed_once_while_connections_are_cut_at_random(
    behind_proxy: Database, proxy: Proxy, database: Database
) -> None:
    await behind_proxy.write(adding("first"))

    async def cutting() -> None:
        for number in range(12):
            await asyncio.sleep(0.03)
            if number % 3 == 0:
                proxy.cut()
            elif number % 3 == 1:
                proxy.cut_before_commit = True
            else:
                proxy.cut_after_commit = True

    async def writing(caller: int) -> list[str]:
        return [await behind_proxy.write(adding(f"{caller} {number}")) for number in range(25)]

    written, *_ = await asyncio.gather(asyncio.gather(*map(writing, range(8))), cutting())
    assert await database.read(count_notes) == 1 + sum(map(len, written))


async def test_database_that_is_down_is_reported_soon_and_found_again(
    behind_proxy: Database, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS_MAX", 0.5)
    await behind_proxy.write(adding("first"))
    proxy.refuse = True
    proxy.cut()
    started = time.monotonic()
    answers = await asyncio.gather(
        *(behind_proxy.write(adding(f"{i}")) for i in range(500)),
        *(behind_proxy.read(count_notes) for _ in range(500)),
        return_exceptions=True,
    )
    assert {type(each) for each in answers} == {StorageUnavailable}
    assert time.monotonic() - started < 3
    started = time.monotonic()
    with pytest.raises(StorageUnavailable):
        await behind_proxy.write(adding("again"))
    assert time.monotonic() - started < 0.5

    proxy.refuse = False
    await _until_it_works(lambda: behind_proxy.write(adding("again")))
    assert await _until_it_works(lambda: behind_proxy.read(all_notes)) == ["again", "first"]


async def test_database_that_freezes_is_reported_and_found_again(
    proxy: Proxy, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "UNIT_SECONDS_MAX", 0.3)
    monkeypatch.setattr(postgres, "FROZEN_SECONDS_MAX", 0.2)
    monkeypatch.setattr(postgres, "CONNECT_ARGUMENTS", {"connect_timeout": 2})
    monkeypatch.setattr(writer, "RETRY_SECONDS_MAX", 0.5)
    behind = _open(proxy.start())
    await behind.write(adding("first"))
    await behind.read(count_notes)
    proxy.freeze()
    started = time.monotonic()
    answers = await asyncio.gather(
        *(behind.write(adding(f"{i}")) for i in range(50)),
        *(behind.read(count_notes) for _ in range(50)),
        return_exceptions=True,
    )
    assert {type(each) for each in answers} == {StorageUnavailable}
    assert time.monotonic() - started < 8

    proxy.thaw()
    await _until_it_works(lambda: behind.write(adding("again")))
    notes = await _until_it_works(lambda: behind.read(all_notes))
    assert {"again", "first"} <= set(notes)
    behind.close()


@pytest.mark.parametrize("how", [signal.SIGQUIT, signal.SIGINT], ids=["crash", "stop"])
async def test_restarted_server_is_found_again_and_nothing_is_lost(
    own_cluster: Cluster, how: signal.Signals
) -> None:
    url = own_cluster.create_database("restarted")
    migrate(url)
    database = _open(url)
    await make_notes(database)
    acknowledged: list[str] = []
    stopping = asyncio.Event()

    async def write(caller: int) -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            try:
                acknowledged.append(await database.write(adding(f"{caller} {number}")))
            except StorageUnavailable:
                await asyncio.sleep(0.01)

    async def read() -> None:
        while not stopping.is_set():
            try:
                await database.read(count_notes)
            except StorageUnavailable:
                await asyncio.sleep(0.01)

    tasks = [*(asyncio.create_task(write(caller)) for caller in range(8)), asyncio.create_task(read())]
    for _ in range(2):
        await asyncio.sleep(0.3)
        await asyncio.to_thread(own_cluster.stop, how)
        await asyncio.to_thread(own_cluster.start)
    before = len(acknowledged)
    await _until(lambda: len(acknowledged) >= before + 20)
    stopping.set()
    await asyncio.gather(*tasks)

    present = await _until_it_works(lambda: database.read(all_notes))
    assert set(acknowledged) <= set(present)
    database.close()


async def test_query_of_one_statement_alone_needs_no_transaction(database: Database) -> None:
    def begins_with_its_statement(tx: Transaction) -> bool:
        return bool(tx.execute(select(func.now() == func.statement_timestamp())).scalar_one())

    def moments(tx: Transaction) -> set[object]:
        return {tx.execute(select(func.now())).scalar_one() for _ in range(2)}

    assert await database.read(begins_with_its_statement)
    assert len(await database.read(moments)) == 1


async def test_stale_connections_of_readers_are_replaced(database: Database, postgres_url: str) -> None:
    await asyncio.gather(*(database.read(count_notes) for _ in range(8)))
    with psycopg.connect(postgres_url) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert await asyncio.gather(*(database.read(count_notes) for _ in range(8))) == [0] * 8


async def test_rows_of_writers_of_yesterday_are_pruned(database: Database, postgres_url: str) -> None:
    old = {"writer_id": "wrt_old", "batch": 3, "seen_at": clock.now() - 2 * clock.DAY_MS}
    new = {"writer_id": "wrt_new", "batch": 3, "seen_at": clock.now() - 60_000}
    await database.write(lambda tx: tx.execute(writers.insert(), [old, new]).rowcount)
    other = _open(postgres_url)
    await other.write(adding("a"))
    present = await other.read(lambda tx: set(tx.execute(select(writers.c.writer_id)).scalars()))
    assert "wrt_old" not in present
    assert {"wrt_new"} < present
    other.close()


async def test_writer_whose_row_was_pruned_goes_on(database: Database) -> None:
    await database.write(adding("a"))
    await database.write(lambda tx: tx.execute(writers.delete()).rowcount)
    await database.write(adding("b"))
    assert await database.read(all_notes) == ["a", "b"]


async def test_pooler_is_given_no_prepared_statements_and_the_limits_with_each_transaction(
    proxy: Proxy, database: Database
) -> None:
    proxy.acts_as_pooler = True
    behind = _open(proxy.start())
    show = text("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")
    for number in range(10):
        await behind.write(adding(f"{number}"))
        assert await behind.read(count_notes) == number + 1
    limits = await behind.write(lambda tx: tuple(tx.execute(show).one()))
    assert limits[0] == "5s"
    assert limits[1].endswith("ms")
    assert await behind.read(lambda tx: tx.execute(show).scalar_one()) == "5s"
    assert proxy.parsed == []
    behind.close()


async def test_behind_a_pooler_rows_fail_at_once_and_harm_only_their_own_unit(
    proxy: Proxy, database: Database
) -> None:
    proxy.acts_as_pooler = True
    behind = _open(proxy.start())

    def add(uid: str) -> Awaitable[None]:
        return behind.write(lambda tx: tx.write(ADD_WORDS, [("app", "ada", uid)]))

    await add("taken")
    told = await asyncio.gather(*map(add, ("first", "taken", "last")), return_exceptions=True)
    assert [told[0], type(told[1]), told[2]] == [None, IntegrityError, None]
    words = await behind.read(lambda tx: tx.execute(select(user_words.c.uid)).scalars().all())
    assert set(words) == {"taken", "first", "last"}
    behind.close()


async def test_without_a_pooler_statements_are_prepared(behind_proxy: Database, proxy: Proxy) -> None:
    for number in range(10):
        await behind_proxy.write(adding(f"{number}"))
    assert proxy.parsed != []


async def _until_it_works(attempt: Callable[[], Awaitable[T]]) -> T:
    give_up_at = time.monotonic() + 10
    while True:
        try:
            return await attempt()
        except AdmitError:
            assert time.monotonic() < give_up_at
            await asyncio.sleep(0.05)


async def _until(condition: Callable[[], object]) -> float:
    """Waits for `condition` and returns how many seconds it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < 10
        await asyncio.sleep(0.002)
    return time.monotonic() - started


@pytest.mark.parametrize(("megabytes", "times"), [(30, 1), (1, 40)])
async def test_more_than_the_kernel_takes_at_once_goes_to_and_fro(
    database: Database, megabytes: int, times: int
) -> None:
    """What was not sent yet is sent before anything is waited for, and what comes meanwhile is taken."""
    echo = select(bindparam("words", type_=Text))
    words = "a" * (megabytes << 20)

    def unit(tx: Transaction) -> bool:
        answers = tx.rows_of_each([(echo, {"words": words})] * times)
        return [list(map(tuple, rows)) for rows in answers] == [[(words,)]] * times

    async with asyncio.timeout(20):
        assert await database.write(unit)


async def test_sending_costs_the_writer_no_wait(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = [0]
    wait = psycopg.Connection.wait

    def counted(self: psycopg.Connection[Any], *arguments: Any, **options: Any) -> Any:
        waits[-1] += isinstance(self, SendingConnection)
        return wait(self, *arguments, **options)

    monkeypatch.setattr(psycopg.Connection, "wait", counted)
    for several in (1, 2, 9):
        await database.write(partial(_add_one_by_one, names=[f"{several}/{n}" for n in range(several)]))
        waits.append(0)

    assert waits[1:3] == [waits[1]] * 2
    assert 0 < waits[1] <= 4, "for the beginning, what was not awaited, the mark and the commit"
    assert len(await database.read(all_notes)) == 12


def _add_one_by_one(tx: Transaction, names: list[str]) -> None:
    for name in names:
        tx.write(NOTE, [(name, 0)])


async def test_signals_reach_other_processes_once_and_soon(database: Database, postgres_url: str) -> None:
    other = _open(postgres_url)
    await asyncio.gather(hearing(database), hearing(other))
    mine: list[str | None] = []
    theirs: list[str | None] = []
    database.signals.subscribe("note", mine.append)
    other.signals.subscribe("note", theirs.append)

    keys = [f"{number}" for number in range(3_000)]

    def unit(tx: Transaction) -> None:
        for key in keys:
            tx.signal("note", key)

    await database.write(unit)
    assert mine == keys
    assert await _until(lambda: len(theirs) == len(keys)) < 1
    await other.write(lambda tx: tx.signal("note", "back"))
    await _until(lambda: mine[-1] == "back")
    await asyncio.sleep(0.1)
    assert mine == [*keys, "back"]
    assert theirs == [*keys, "back"]
    other.close()


async def test_strangers_on_our_channel_are_ignored(database: Database, postgres_url: str) -> None:
    await hearing(database)
    heard: list[str | None] = []
    database.signals.subscribe("note", heard.append)
    with psycopg.connect(postgres_url, autocommit=True) as stranger:
        for payload in ("", "{}", '["x"]', '["wrt_x",[["note",7]]]', '["wrt_x",[["note","real"]]]'):
            stranger.execute("SELECT pg_notify('admit', %s)", (payload,))
    await _until(lambda: heard)
    assert heard == ["real"]


async def test_listener_whose_connection_was_lost_looks_for_itself_and_hears_again(
    database: Database, postgres_url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "AWAY_SECONDS", 0.25)
    other = _open(proxy.start())
    await hearing(other)
    heard: list[str | None] = []
    other.signals.subscribe("note", heard.append)
    proxy.refuse = True
    proxy.cut()
    await database.write(lambda tx: tx.signal("note", "missed"))
    await _until(lambda: len(heard) >= 3)
    assert set(heard) == {None}

    proxy.refuse = False
    assert other.listener is not None
    await _until(other.listener.hears.is_set)
    await settled()
    heard.clear()
    await database.write(lambda tx: tx.signal("note", "heard"))
    await _until(lambda: "heard" in heard)
    assert heard == ["heard"]
    other.close()


async def test_where_listen_is_swallowed_subscribers_look_for_themselves(
    database: Database, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "PROBE_SECONDS_MAX", 0.1)
    proxy.acts_as_pooler = True
    behind = _open(proxy.start())
    heard: list[str | None] = []
    behind.signals.subscribe("note", heard.append)
    await _until(lambda: len(heard) >= 3)
    assert set(heard) == {None}
    assert behind.listener is not None
    assert not behind.listener.hears.is_set()
    behind.close()


async def test_listen_url_goes_around_the_pooler(database: Database, proxy: Proxy, postgres_url: str) -> None:
    proxy.acts_as_pooler = True
    behind = _open(proxy.start(), listen_url=postgres_url)
    await hearing(behind)
    heard: list[str | None] = []
    behind.signals.subscribe("note", heard.append)
    await database.write(lambda tx: tx.signal("note", "a"))
    await _until(lambda: heard)
    assert heard == ["a"]
    behind.close()
