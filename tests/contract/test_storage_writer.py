"""Units of work: committed in groups, none of which harms another."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from admit.errors import Conflict, StorageUnavailable
from admit.storage import postgres, transaction, writer
from admit.storage.database import Database
from admit.storage.transaction import Finisher, Transaction, UnitTooLarge, unit_is_running
from tests.contract.notes import (
    ADD,
    add_together,
    adding,
    all_notes,
    count_notes,
    hearing,
    hold_writer,
    make_notes,
    notes,
    settled,
)


@pytest.fixture(autouse=True)
async def _notes(database: Database) -> None:
    await make_notes(database)


async def test_unit_is_committed_before_its_caller_is_answered(database: Database) -> None:
    assert await database.write(adding("a")) == "a"
    assert await database.read(all_notes) == ["a"]


async def test_neighbours_of_failing_units_are_committed(database: Database) -> None:
    def refusing(tx: Transaction) -> None:
        adding("half done")(tx)
        raise Conflict("No.")

    units: list[Callable[[Transaction], Any]] = [adding(f"good {i:02}") for i in range(40)]
    units[10:10] = [refusing, adding("good 05"), lambda tx: tx.execute(text("SELECT nonsense"))]
    gate, held = await hold_writer(database)
    tasks = [asyncio.create_task(database.write(unit)) for unit in units]
    await settled()
    gate.opened.set()
    results = await asyncio.gather(held, *tasks, return_exceptions=True)

    failed = [type(result) for result in results if isinstance(result, Exception)]
    assert failed[0] is Conflict
    assert issubclass(failed[1], IntegrityError)
    assert issubclass(failed[2], DBAPIError)
    assert len(failed) == 3
    assert await database.read(all_notes) == [f"good {i:02}" for i in range(40)]


async def test_failing_unit_leaves_neither_signal_nor_deferred_work(database: Database) -> None:
    await hearing(database)
    heard: list[str | None] = []
    finished: list[str] = []
    database.signals.subscribe("note", heard.append)
    finisher = Finisher(rank=1, run=lambda _tx, items: finished.extend(items))

    def telling(name: str, error: Exception | None) -> Callable[[Transaction], None]:
        def unit(tx: Transaction) -> None:
            tx.defer(finisher, name)
            tx.signal("note", name)
            if error is not None:
                raise error

        return unit

    gate, held = await hold_writer(database)
    tasks = [
        asyncio.create_task(database.write(telling(name, error)))
        for name, error in (("first", None), ("bad", ValueError()), ("last", None))
    ]
    await settled()
    gate.opened.set()
    await asyncio.gather(held, *tasks, return_exceptions=True)

    assert finished[-2:] == ["first", "last"]
    assert "bad" not in finished[2:]
    assert heard == ["first", "last"]


async def test_failure_in_deferred_work_harms_only_who_deferred_it(database: Database) -> None:
    def finish(tx: Transaction, items: list[str]) -> None:
        if "bad" in items:
            raise ValueError("bad")
        tx.execute(ADD, [{"id": item, "n": 0} for item in items])

    finisher = Finisher(rank=1, run=finish)

    def deferring(name: str) -> Callable[[Transaction], None]:
        return lambda tx: tx.defer(finisher, name)

    gate, held = await hold_writer(database)
    tasks = [asyncio.create_task(database.write(deferring(name))) for name in ("a", "bad", "b")]
    await settled()
    gate.opened.set()
    _, first, bad, last = await asyncio.gather(held, *tasks, return_exceptions=True)

    assert isinstance(bad, ValueError)
    assert (first, last) == (None, None)
    assert await database.read(all_notes) == ["a", "b"]


async def test_deferred_work_runs_once_per_commit_after_all_units_lowest_rank_first(
    database: Database,
) -> None:
    order: list[tuple[str, list[str]]] = []
    late = Finisher(rank=9, run=lambda _tx, items: order.append(("late", sorted(items))))

    def finish_early(tx: Transaction, items: list[str]) -> None:
        order.append(("early", sorted(items)))
        tx.defer(late, "from early")

    early = Finisher(rank=1, run=finish_early)

    def unit(name: str) -> Callable[[Transaction], None]:
        def defer(tx: Transaction) -> None:
            tx.defer(late, name)
            tx.defer(early, name)
            order.append(("unit", [name]))

        return defer

    gate, held = await hold_writer(database)
    tasks = [asyncio.create_task(database.write(unit(name))) for name in "ab"]
    await settled()
    gate.opened.set()
    await asyncio.gather(held, *tasks)

    assert order == [
        ("unit", ["a"]),
        ("unit", ["b"]),
        ("early", ["a", "b"]),
        ("late", ["a", "b", "from early"]),
    ]


async def test_units_of_one_kind_are_run_together(database: Database) -> None:
    gate, held = await hold_writer(database)
    tasks = [asyncio.create_task(database.write_together(add_together, f"{i:02}")) for i in range(30)]
    await settled()
    gate.opened.set()
    results = await asyncio.gather(held, *tasks)

    assert results[1:] == [f"added {i:02}" for i in range(30)]
    sizes = await database.read(lambda tx: set(tx.execute(select(notes.c.n)).scalars()))
    assert sizes == {30}


async def test_failing_member_of_a_group_harms_only_itself(database: Database) -> None:
    await database.write(adding("taken"))
    gate, held = await hold_writer(database)
    tasks = [
        asyncio.create_task(database.write_together(add_together, item))
        for item in ("a", "taken", "b", "twin", "twin")
    ]
    await settled()
    gate.opened.set()
    _, *results = await asyncio.gather(held, *tasks, return_exceptions=True)

    assert results[0] == "added a"
    assert isinstance(results[1], IntegrityError)
    assert results[2:4] == ["added b", "added twin"]
    assert isinstance(results[4], IntegrityError)
    assert await database.read(all_notes) == ["a", "b", "taken", "twin"]


def _forgetful(_tx: Transaction, items: list[int]) -> list[int]:
    return items[1:]


async def test_group_unit_that_forgets_a_caller_leaves_nobody_waiting(database: Database) -> None:
    answers = await asyncio.gather(
        *(database.write_together(_forgetful, i) for i in range(3)), return_exceptions=True
    )
    assert [type(each) for each in answers] == [ValueError] * 3


@pytest.mark.parametrize("error", [StopIteration, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
async def test_no_exception_ends_the_writer(database: Database, error: type[BaseException]) -> None:
    def unit(_tx: Transaction) -> None:
        raise error

    answers = await asyncio.gather(
        database.write(unit), database.write(adding("a")), database.write(unit), return_exceptions=True
    )
    assert [type(each) for each in answers] == [RuntimeError, str, RuntimeError]
    assert await database.write(adding("b")) == "b"


async def test_unit_that_hides_a_failed_statement_is_refused(database: Database) -> None:
    await database.write(adding("taken"))

    def hiding(tx: Transaction) -> None:
        adding("half")(tx)
        with suppress(IntegrityError):
            adding("taken")(tx)

    answers = await asyncio.gather(
        database.write(hiding), database.write(adding("good")), return_exceptions=True
    )
    assert [type(each) for each in answers] == [RuntimeError, str]
    assert await database.read(all_notes) == ["good", "taken"]


async def test_unit_with_too_many_rows_changes_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "UNIT_ROWS_MAX", 10)

    def greedy(tx: Transaction) -> None:
        tx.execute(ADD, [{"id": f"greedy {i}", "n": 0} for i in range(8)])
        for i in range(8, 12):
            adding(f"greedy {i}")(tx)

    answers = await asyncio.gather(
        database.write(greedy),
        *(database.write_together(add_together, f"{i:02}") for i in range(30)),
        return_exceptions=True,
    )
    assert isinstance(answers[0], UnitTooLarge)
    assert answers[1:] == [f"added {i:02}" for i in range(30)]
    assert await database.read(count_notes) == 30


ENDLESS = {
    "sqlite": text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"),
    "postgresql": text("SELECT pg_sleep(60)"),
}


async def test_unit_that_blocks_in_sql_is_interrupted(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "UNIT_SECONDS_MAX", 0.5)
    monkeypatch.setitem(postgres.LIMITS_MS, "statement_timeout", 500)
    database = Database(database_url)
    calls: list[str] = []

    def endless(tx: Transaction) -> None:
        calls.append("endless")
        adding("half")(tx)
        tx.execute(ENDLESS[tx.dialect])

    gate, held = await hold_writer(database)
    tasks = [asyncio.create_task(database.write(unit)) for unit in (adding("a"), endless, adding("b"))]
    await settled()
    gate.opened.set()
    started = time.monotonic()
    _, first, slow, last = await asyncio.gather(held, *tasks, return_exceptions=True)

    assert (first, last) == ("a", "b")
    assert isinstance(slow, UnitTooLarge)
    assert calls == ["endless"]
    assert time.monotonic() - started < 3
    assert await database.read(all_notes) == ["a", "b"]
    with pytest.raises(UnitTooLarge):
        await database.read(lambda tx: tx.execute(ENDLESS[tx.dialect]))
    assert await database.read(all_notes) == ["a", "b"]
    database.close()


async def test_unit_that_computes_for_too_long_is_stopped_at_its_next_statement(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "UNIT_SECONDS_MAX", 0.1)

    def pondering(tx: Transaction) -> None:
        time.sleep(0.15)
        adding("late")(tx)

    with pytest.raises(UnitTooLarge):
        await database.write(pondering)
    assert await database.read(count_notes) == 0


async def test_slow_units_are_committed_a_few_at_a_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "BATCH_SECONDS_MAX", 0.02)
    ran: list[int] = []
    ran_when_first_was_answered: list[int] = []

    def slow(i: int) -> Callable[[Transaction], None]:
        def unit(_tx: Transaction) -> None:
            time.sleep(0.01)
            ran.append(i)

        return unit

    async def first() -> None:
        await database.write(slow(0))
        ran_when_first_was_answered.append(len(ran))

    gate, held = await hold_writer(database)
    tasks = [
        asyncio.create_task(first()),
        *(asyncio.create_task(database.write(slow(i))) for i in range(1, 30)),
    ]
    await settled()
    gate.opened.set()
    await asyncio.gather(held, *tasks)

    assert ran == list(range(30))
    assert ran_when_first_was_answered[0] < 20


async def test_patient_work_lets_logins_pass(database: Database) -> None:
    order: list[str] = []

    async def housekeeping() -> None:
        def piece(tx: Transaction, items: object) -> None:
            order.append("piece")

        await database.write_in_pieces(piece, range(1_000), size=10)

    async def login(i: int) -> None:
        await database.write(lambda _tx: order.append(f"login {i}"))

    gate, held = await hold_writer(database)
    tasks = [
        asyncio.create_task(housekeeping()),
        *(
            asyncio.create_task(database.write(lambda _tx: order.append("patient"), patient=True))
            for _ in range(50)
        ),
        *(asyncio.create_task(login(i)) for i in range(20)),
    ]
    await settled()
    gate.opened.set()
    await asyncio.gather(held, *tasks)

    assert order.count("piece") == 100
    assert order[:20] == [f"login {i}" for i in range(20)]


async def test_work_in_pieces_returns_the_result_of_each(database: Database) -> None:
    def add(tx: Transaction, items: Any) -> int:
        tx.execute(ADD, [{"id": item, "n": 0} for item in items])
        return len(items)

    assert await database.write_in_pieces(add, [f"{i}" for i in range(25)], size=10) == [10, 10, 5]
    assert await database.read(count_notes) == 25
    assert await database.write_in_pieces(add, []) == []


async def test_thread_knows_that_a_unit_is_running(database: Database) -> None:
    inside: list[bool] = []
    finisher = Finisher(rank=1, run=lambda _tx, _items: inside.append(unit_is_running()))

    def unit(tx: Transaction) -> None:
        tx.defer(finisher, None)
        inside.append(unit_is_running())

    await database.write(unit)
    await database.read(lambda _tx: inside.append(unit_is_running()))
    assert inside == [True, True, True]
    assert not unit_is_running()
    assert not await asyncio.to_thread(unit_is_running)


async def test_unit_of_a_cancelled_caller_is_not_run_and_others_are(database: Database) -> None:
    gate, held = await hold_writer(database)
    gone = asyncio.create_task(database.write(adding("gone")))
    stays = asyncio.create_task(database.write(adding("stays")))
    await settled()
    gone.cancel()
    await settled()
    gate.opened.set()
    await asyncio.gather(held, stays)
    assert await database.read(all_notes) == ["stays"]


async def test_caller_who_is_cancelled_while_its_unit_runs_harms_nobody(database: Database) -> None:
    gate, held = await hold_writer(database)
    held.cancel()
    others = [asyncio.create_task(database.write(adding(note))) for note in "ab"]
    await settled()
    gate.opened.set()
    assert await asyncio.gather(*others) == ["a", "b"]


async def test_closing_commits_what_waits(database_url: str) -> None:
    database = Database(database_url)
    gate, held = await hold_writer(database)
    tasks = [asyncio.create_task(database.write(adding(f"{i:02}"))) for i in range(20)]
    await settled()
    closing = asyncio.create_task(asyncio.to_thread(database.close))
    gate.opened.set()
    await asyncio.gather(held, closing, *tasks)

    with pytest.raises(StorageUnavailable):
        await database.write(adding("late"))
    with pytest.raises(StorageUnavailable):
        await database.read(count_notes)
    again = Database(database_url)
    assert await again.read(count_notes) == 20
    again.close()


async def test_too_many_waiting_units_are_turned_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "WAITING_UNITS_MAX", 3)
    gate, held = await hold_writer(database)
    tasks = [asyncio.create_task(database.write(adding(f"{i}"))) for i in range(5)]
    await settled()
    gate.opened.set()
    _, *results = await asyncio.gather(held, *tasks, return_exceptions=True)
    assert [type(each) for each in results] == [str, str, str, StorageUnavailable, StorageUnavailable]


async def test_unit_that_waited_too_long_is_turned_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "WAITING_SECONDS_MAX", 0.05)
    gate, held = await hold_writer(database)
    late = asyncio.create_task(database.write(adding("late")))
    await asyncio.sleep(0.1)
    gate.opened.set()
    _, result = await asyncio.gather(held, late, return_exceptions=True)
    assert isinstance(result, StorageUnavailable)
    assert await database.read(count_notes) == 0


async def test_signals_arrive_before_the_writer_is_answered(database: Database) -> None:
    await hearing(database)
    order: list[str] = []
    end = database.signals.subscribe("note", lambda key: order.append(f"signal {key}"))
    other: list[str | None] = []
    database.signals.subscribe("other", other.append)

    def unit(tx: Transaction) -> None:
        tx.signal("note", "a")
        tx.signal("note", "a")
        tx.signal("note", "b")

    await database.write(unit)
    order.append("answer")
    end()
    await database.write(unit)
    assert order == ["signal a", "signal b", "answer"]
    assert other == []


async def test_signal_of_a_unit_that_fails_is_not_sent(database: Database) -> None:
    await hearing(database)
    heard: list[str | None] = []
    database.signals.subscribe("note", heard.append)

    def failing(tx: Transaction) -> None:
        tx.signal("note", "a")
        raise LookupError

    with pytest.raises(LookupError):
        await database.write(failing)
    assert heard == []


async def test_listener_that_raises_does_not_deafen_the_others(database: Database) -> None:
    await hearing(database)
    heard: list[str | None] = []

    def raising(_key: str | None) -> None:
        raise ValueError

    database.signals.subscribe("note", raising)
    database.signals.subscribe("note", heard.append)
    await database.write(lambda tx: tx.signal("note", "a"))
    assert heard == ["a"]


async def test_callers_on_two_event_loops_are_both_answered(database: Database) -> None:
    answers: list[str] = []
    thread = threading.Thread(
        target=lambda: answers.append(asyncio.run(database.write(adding("other loop"))))
    )
    gate, held = await hold_writer(database)
    thread.start()
    mine = asyncio.create_task(database.write(adding("this loop")))
    await settled()
    gate.opened.set()
    await asyncio.gather(held, mine, asyncio.to_thread(thread.join))
    assert answers == ["other loop"]
