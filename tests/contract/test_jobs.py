"""The queue of jobs: claims, leases and fences, and what 100,000 waiting jobs cost."""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select

from admit.jobs import claims, emptying, queue
from admit.jobs.claims import Wanted
from admit.jobs.queue import Job, Settlement
from admit.jobs.tables import jobs
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from tests.statements import noticed

NOW = 1_764_000_000_000
LEASE_MS = 60_000


async def enqueue(
    db: Database,
    *,
    kind: str = "mail",
    due_at: int | None = None,
    job_id: str | None = None,
    payload: str = '{"to":"alice"}',
) -> str:
    unit = partial(
        queue.enqueue, app_id="app_1", kind=kind, payload=payload, now=NOW, due_at=due_at, job_id=job_id
    )
    return await db.write(unit)


async def claim(
    db: Database, *, kinds: Sequence[str] = ("mail",), most: int = 10, now: int = NOW
) -> list[Job]:
    """Claims fresh jobs and those tried before, each `most`."""
    wanted = [Wanted(kind, "", tried, most, LEASE_MS) for kind in kinds for tried in (False, True)]
    taken = await db.write(partial(claims.claim, wanted=wanted, worker="wkr_1", now=now))
    return [job for each in taken for job in each.jobs]


async def next_due(db: Database, *kinds: str) -> int | None:
    """When the first job of the kinds is due, fresh or tried before."""
    found = [
        await db.read(partial(claims.next_due, kind=kind, lane="", tried=tried))
        for kind in kinds
        for tried in (False, True)
    ]
    return min((due for due in found if due is not None), default=None)


def settlement(job: Job, **changes: Any) -> Settlement:
    values: dict[str, Any] = {"state": "done", "detail": "Sent.", "now": NOW + 5} | changes
    return Settlement(job=job, **values)


async def settle(db: Database, *items: Settlement) -> list[bool]:
    return list(await asyncio.gather(*(db.write_together(queue.settle, item) for item in items)))


async def row(db: Database, job_id: str) -> Any:
    return await db.read(lambda tx: tx.execute(select(jobs).where(jobs.c.job_id == job_id)).one())


async def rows(db: Database) -> list[Any]:
    return await db.read(lambda tx: list(tx.execute(select(jobs).order_by(jobs.c.job_id))))


async def fill(db: Database, count: int, **values: Any) -> None:
    """Writes `count` jobs as `values` say, at once."""
    common = {
        "app_id": "app_1",
        "kind": "mail",
        "lane": "",
        "turn": 0,
        "sequence": 0,
        "payload": "{}",
        "state": "waiting",
        "due_at": NOW + 10_000_000,
        "again": 0,
        "attempts": 1,
        "earlier": 0,
        "fence": 1,
        "tried_at": 0,
        "out_of_order": "no",
        "detail": "",
        "created_at": NOW,
        "finished_at": None,
        "failed_at": None,
    } | values
    numbers = list(range(count))
    for start in range(0, count, 5_000):
        piece = [common | {"job_id": f"job_{n:06}"} for n in numbers[start : start + 5_000]]
        await db.write(lambda tx, piece=piece: tx.execute(insert(jobs), piece) and None)  # type: ignore[misc]


# Enqueueing


async def test_job_is_committed_with_its_fact_or_not_at_all(database: Database) -> None:
    def fails_after_enqueueing(tx: Transaction) -> None:
        queue.enqueue(tx, app_id="app_1", kind="mail", payload="{}", now=NOW)
        raise LookupError

    with pytest.raises(LookupError):
        await database.write(fails_after_enqueueing)
    assert await rows(database) == []

    job_id = await enqueue(database)
    assert [each.job_id for each in await rows(database)] == [job_id]


async def test_enqueueing_twice_under_one_id_is_enqueueing_once(database: Database) -> None:
    await asyncio.gather(*(enqueue(database, job_id="job_1", payload=f"{n}") for n in range(5)))
    await enqueue(database, job_id="job_1", payload="later")

    [job] = await claim(database)
    assert job.payload == "0"
    assert await claim(database) == []


async def test_every_process_hears_of_a_new_job(database: Database) -> None:
    heard = asyncio.Event()
    database.signals.subscribe("jobs", lambda kind: heard.set() if kind == "mail" else None)
    await enqueue(database)

    await asyncio.wait_for(heard.wait(), 5)


# Claiming


async def test_only_due_jobs_are_claimed_the_longest_due_first(database: Database) -> None:
    for number, due_at in enumerate((NOW + 1, NOW, NOW - 5_000, NOW - 9_000)):
        await enqueue(database, job_id=f"job_{number}", due_at=due_at)

    assert {job.job_id for job in await claim(database, most=2)} == {"job_2", "job_3"}
    assert [job.job_id for job in await claim(database)] == ["job_1"]
    assert await claim(database) == []
    assert [job.job_id for job in await claim(database, now=NOW + 1)] == ["job_0"]


async def test_claimed_job_says_what_to_do_and_until_when(database: Database) -> None:
    await enqueue(database, job_id="job_1", due_at=NOW - 1)

    assert await claim(database) == [
        Job("app_1", "job_1", "mail", "", None, 0, '{"to":"alice"}', 1, 1, False, NOW + LEASE_MS, NOW)
    ]


async def test_flood_of_one_kind_leaves_room_for_another(database: Database) -> None:
    await fill(database, 500, kind="expire", due_at=NOW - 1_000)
    await enqueue(database, kind="mail")

    claimed = Counter(job.kind for job in await claim(database, kinds=("expire", "mail"), most=10))

    assert claimed == {"expire": 10, "mail": 1}


async def test_kinds_that_nobody_asked_for_are_left_alone(database: Database) -> None:
    await enqueue(database, kind="later")

    assert await claim(database) == []
    assert await next_due(database, "mail") is None
    assert await next_due(database, "mail", "later") == NOW


async def test_rival_processes_never_claim_the_same_job(postgres_url: str) -> None:
    rivals = [Database(postgres_url) for _ in range(4)]
    await fill(rivals[0], 400, due_at=NOW)

    async def claim_all(db: Database) -> list[str]:
        claimed: list[str] = []
        misses = 0
        while misses < 3:
            found = await claim(db, most=random.randint(1, 9))
            claimed += [job.job_id for job in found]
            misses += not found
        return claimed

    claimed = await asyncio.gather(*map(claim_all, rivals))
    for rival in rivals:
        rival.close()

    counts = Counter(job_id for each in claimed for job_id in each)
    assert len(counts) == 400
    assert set(counts.values()) == {1}


async def test_claim_never_exceeds_its_limit_where_rows_are_locked(postgres_url: str) -> None:
    db = Database(postgres_url)
    await fill(db, 1_000, due_at=NOW)

    assert len(await claim(db, most=7)) == 7
    db.close()


# Leases and fences


async def test_lease_keeps_others_away_until_it_ends(database: Database) -> None:
    await enqueue(database, job_id="job_1")
    [first] = await claim(database)

    assert await claim(database, now=NOW + LEASE_MS - 1) == []
    assert await next_due(database, "mail") == NOW + LEASE_MS
    [second] = await claim(database, now=NOW + LEASE_MS)
    assert (second.attempts, second.fence, second.payload) == (2, 2, first.payload)


async def test_late_worker_cannot_settle_what_another_has_claimed_since(database: Database) -> None:
    await enqueue(database, job_id="job_1")
    [late] = await claim(database)
    [current] = await claim(database, now=NOW + LEASE_MS)
    before = await row(database, "job_1")

    assert await settle(database, settlement(late, detail="Late.", erase_payload=True)) == [False]
    assert await row(database, "job_1") == before
    assert await settle(database, settlement(current)) == [True]
    assert await settle(database, settlement(late, state="waiting", due_at=NOW)) == [False]
    assert (await row(database, "job_1")).state == "done"


async def test_late_worker_settles_while_nobody_else_has_claimed(database: Database) -> None:
    await enqueue(database, job_id="job_1")
    [late] = await claim(database)

    assert await settle(database, settlement(late, now=NOW + 10 * LEASE_MS)) == [True]


async def test_job_is_settled_once_even_by_twins_in_one_commit(database: Database) -> None:
    await enqueue(database)
    [job] = await claim(database)

    outcomes = await settle(database, *(settlement(job, detail=f"{n}") for n in range(3)))

    assert sorted(outcomes) == [False, False, True]


async def test_what_becomes_of_a_settled_job(database: Database) -> None:
    for number in range(4):
        await enqueue(database, job_id=f"job_{number}")
    by_id = {job.job_id: job for job in await claim(database)}
    await settle(
        database,
        settlement(by_id["job_0"], erase_payload=True),
        settlement(by_id["job_1"], state="waiting", detail="Busy.", due_at=NOW + 9),
        settlement(by_id["job_2"], state="dead", detail="No such mailbox."),
        settlement(by_id["job_3"], state="waiting", detail="Stopped.", due_at=NOW, forgiven=True),
    )

    found = [
        (each.state, each.payload, each.attempts, each.detail, each.finished_at)
        for each in await rows(database)
    ]
    assert found == [
        ("done", "", 1, "Sent.", NOW + 5),
        ("waiting", '{"to":"alice"}', 1, "Busy.", None),
        ("dead", '{"to":"alice"}', 1, "No such mailbox.", NOW + 5),
        ("waiting", '{"to":"alice"}', 0, "Stopped.", None),
    ]
    again = await claim(database, now=NOW + 9)
    assert {(job.job_id, job.attempts, job.fence) for job in again} == {("job_1", 2, 2), ("job_3", 1, 2)}


async def test_unit_is_committed_with_the_settlement_and_by_its_holder_only(database: Database) -> None:
    await enqueue(database, job_id="job_1")
    [late] = await claim(database)
    [current] = await claim(database, now=NOW + LEASE_MS)

    def leaves(name: str) -> Any:
        return partial(queue.enqueue, app_id="app_1", kind=name, payload="", now=NOW, job_id=f"by_{name}")

    await settle(database, settlement(late, unit=leaves("late")))
    await settle(database, settlement(current, unit=leaves("current")))

    assert [each.job_id for each in await rows(database)] == ["by_current", "job_1"]


async def test_unit_that_fails_leaves_its_job_claimed_and_its_neighbours_settled(database: Database) -> None:
    for number in range(5):
        await enqueue(database, job_id=f"job_{number}")
    claimed = sorted(await claim(database), key=lambda job: job.job_id)

    def fails(_tx: Transaction) -> None:
        raise LookupError

    items = [settlement(job, unit=fails if job.job_id == "job_2" else None) for job in claimed]
    outcomes = await asyncio.gather(
        *(database.write_together(queue.settle, item) for item in items), return_exceptions=True
    )

    assert [isinstance(outcome, LookupError) for outcome in outcomes] == [False, False, True, False, False]
    assert [each.state for each in await rows(database)] == ["done", "done", "claimed", "done", "done"]


async def test_words_of_strangers_can_be_stored(database: Database) -> None:
    await enqueue(database, job_id="job_1")
    [job] = await claim(database)

    assert await settle(database, settlement(job, detail="550 \x00\ud800" + "x" * 9_999)) == [True]
    assert len((await row(database, "job_1")).detail) == queue.DETAIL_CHARACTERS_MAX


async def test_leases_of_a_dead_predecessor_can_be_ended_at_once(database: Database) -> None:
    await fill(database, 25, due_at=NOW)
    await fill_waiting(database)
    await claim(database, most=20)

    released = [await database.write(partial(claims.release_abandoned, now=NOW, most=15)) for _ in range(3)]

    assert released == [15, 5, 0]
    assert len(await claim(database, most=100)) == 25


async def fill_waiting(db: Database) -> None:
    await enqueue(db, job_id="later", due_at=NOW + 1)


# Housekeeping and size


async def test_only_jobs_finished_long_ago_are_pruned_a_few_at_a_time(database: Database) -> None:
    await fill(database, 25, state="done", finished_at=NOW - 1)
    await enqueue(database, job_id="waiting", due_at=NOW - 10_000)
    await enqueue(database, job_id="recent")
    await settle(database, settlement((await claim(database, now=NOW + 1))[0], now=NOW))

    pruned = [
        await database.write(partial(emptying.prune, finished_before=NOW, most=10), patient=True)
        for _ in range(4)
    ]

    assert pruned == [10, 10, 5, 0]
    assert len(await rows(database)) == 2


async def test_100_000_waiting_jobs_are_not_in_the_way(database: Database) -> None:
    for start in range(0, 100_000, FILLED_AT_ONCE):
        await database.write(partial(fill_some, start=start))
    used = await database.write(indexes_used)

    # Here each person has one job, and one index of their jobs is as good as the other.
    used["settle"] -= {"ix_jobs_subject"}
    used["prune"] -= {"pk_jobs"}  # with nothing to prune, PostgreSQL may well do without it
    assert used == {
        "claim": {"ix_jobs_due", "pk_jobs"},
        "claim_early": {"ix_jobs_due", "pk_jobs"},
        "claim_in_order": {"ix_jobs_due", "pk_jobs"},
        "next_due": {"ix_jobs_due"},
        "settle": {"ix_jobs_order", "pk_jobs"},
        "drop": {"ix_jobs_order", "pk_jobs"},
        "prune": {"ix_jobs_finished"},
    }


FILLED_AT_ONCE = 10_000
# The same on both databases.
FILL = f"""
    INSERT INTO jobs (app_id, job_id, kind, lane, turn, sequence, payload, state, due_at, again, attempts,
                      earlier, fence, tried_at, out_of_order, detail, created_at, subject)
    WITH RECURSIVE numbers(n) AS (
        SELECT {{start}} + 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {{start}} + {FILLED_AT_ONCE}
    )
    SELECT 'app_1', 'job_' || n, 'mail', '', 1, n, '[]', 'waiting', {NOW} + n, n & 1, 1,
           0, 1, 0, 'no', '', {NOW}, 'usr_' || n FROM numbers
"""


def fill_some(tx: Transaction, start: int) -> None:
    """Writes the next FILLED_AT_ONCE jobs; a unit may not take long."""
    tx.connection.exec_driver_sql(FILL.format(start=start))


def indexes_used(tx: Transaction) -> dict[str, set[str]]:
    """By operation, the indexes that the database goes by, or "none" where it reads the whole table."""
    executed: list[tuple[str, Any]] = []

    def remember(_connection: Connection, statement: str, parameters: Any) -> None:
        executed.append((statement, parameters[0] if isinstance(parameters, list) else parameters))

    if tx.dialect == "postgresql":
        # While every job waits: a sample of 30,000 rows may miss the few others, and then it looks like this.
        tx.connection.exec_driver_sql("ANALYZE jobs")
        tx.connection.exec_driver_sql("SET LOCAL plan_cache_mode = force_generic_plan")
    wanted = [Wanted("mail", "", tried, 10, LEASE_MS) for tried in (False, True)]
    early = [Wanted("mail", "", True, 10, LEASE_MS, failed_before=NOW)]
    in_order = [Wanted("mail", "", True, 10, LEASE_MS, in_order=True)]
    claimed = claims.claim(tx, wanted, "wkr_1", NOW + 5)
    settled = [settlement(job) for each in claimed for job in each.jobs]
    operations: dict[str, Callable[[], object]] = {
        "claim": lambda: claims.claim(tx, wanted, "wkr_1", NOW + 10),
        "claim_early": lambda: claims.claim(tx, early, "wkr_1", NOW + 10),
        "claim_in_order": lambda: claims.claim(tx, in_order, "wkr_1", NOW + 100),
        "next_due": lambda: claims.next_due(tx, "mail", "", tried=True),
        "settle": lambda: settle_all(tx, settled),
        "drop": lambda: emptying.drop(tx, "app_1", "usr_7", "Gone.", NOW, 10),
        "prune": lambda: emptying.prune(tx, NOW, 10),
    }
    used: dict[str, set[str]] = {}
    for name, operate in operations.items():
        executed.clear()
        with noticed(remember):
            operate()
        plans = " ".join(plan(tx, statement, parameters) for statement, parameters in list(executed))
        used[name] = set(
            re.findall(r"(?:ix|pk)_jobs\w*", plans.replace("sqlite_autoindex_jobs_1", "pk_jobs"))
        )
        if re.search(r"Seq Scan on jobs|SCAN jobs\b", plans):
            used[name].add("none")
    return used


def settle_all(tx: Transaction, settled: list[Settlement]) -> None:
    """Settles as the writer does it, with what is left to the end of the transaction."""
    queue.settle(tx, settled)
    tx.finish()


def plan(tx: Transaction, statement: str, parameters: Any) -> str:
    """How the database goes about `statement` once it is prepared, when it no longer looks at the values."""
    if tx.dialect == "sqlite":
        found = tx.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return " ".join(each.detail for each in found)
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    for number, name in enumerate(names, 1):
        statement = statement.replace(f"%({name})s", f"${number}")
    values = ", ".join("NULL" if parameters[name] is None else f"'{parameters[name]}'" for name in names)
    tx.connection.exec_driver_sql(f"PREPARE planned AS {statement}")
    found = tx.connection.exec_driver_sql(f"EXPLAIN EXECUTE planned({values})")
    tx.connection.exec_driver_sql("DEALLOCATE planned")
    return " ".join(each[0] for each in found)
