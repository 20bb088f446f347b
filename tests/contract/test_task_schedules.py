"""Schedules: one job waits for the next time, and whoever claims it plans the one after."""

import asyncio
from datetime import UTC, datetime
from functools import partial

import msgspec
from sqlalchemy import delete, select

from admit.clock import DAY_MS, HOUR_MS, MINUTE_MS
from admit.jobs import claims, queue
from admit.jobs.claims import Claimed, Wanted
from admit.jobs.queue import Job, Settlement
from admit.jobs.tables import jobs
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from admit.task.declarations import Every
from admit.task.payloads import Payload, Schedule
from admit.tasks import registrations, schedules, tables
from admit.tasks.schedules import KIND
from tests.declared_tasks import NIGHTLY, declared, register
from tests.residents import APP, NOW, start_app

AT_3 = NOW + 15 * HOUR_MS
"""NOW is noon: the first time of NIGHTLY."""


def claim_unit(tx: Transaction, lane: str, worker: str, now: int, most: int = 10) -> list[Job]:
    """A claim as the line of runs makes it."""
    wanted = [Wanted(KIND, lane, tried, most, 60_000) for tried in (False, True)]
    found: list[Claimed] = claims.claim(tx, wanted, worker, now)
    claimed = [job for each in found for job in each.jobs]
    schedules.follow(tx, claimed, now)
    return claimed


async def claim(database: Database, lane: str, now: int, worker: str = "wkr_1") -> list[int]:
    """The moments whose run begins now; it ends at once."""
    claimed = await database.write(partial(claim_unit, lane=lane, worker=worker, now=now))
    for job in claimed:
        done = Settlement(job=job, state="done", detail="", now=now)
        assert await database.write_together(queue.settle, done)
    return [int(job.job_id.rpartition(".")[2]) for job in claimed]


async def planned(database: Database, lane: str) -> list[int]:
    """The moments for which a job waits."""
    chosen = select(jobs.c.job_id, jobs.c.due_at, jobs.c.payload).where(
        jobs.c.lane == lane, jobs.c.finished_at.is_(None), jobs.c.again == 0
    )
    rows = await database.read(lambda tx: tx.execute(chosen).all())
    for row in rows:
        payload = msgspec.json.decode(row.payload, type=Payload)
        assert payload == Schedule(scheduled_at=row.due_at)
        assert row.job_id == f"{lane}.{row.due_at}"
    return sorted(row.due_at for row in rows)


async def schedule(database: Database, every: Every = NIGHTLY, *, version: str = "v1", now: int = NOW) -> str:
    """Registers a task that runs by the clock; its id."""
    return (await register(database, declared("nightly", every), version=version, now=now))["nightly"].task_id


async def test_each_time_runs_once_and_plans_the_next(database: Database) -> None:
    await start_app(database)
    task = await schedule(database)
    assert await planned(database, task) == [AT_3]
    assert await claim(database, task, AT_3 - 1) == []
    assert await claim(database, task, AT_3) == [AT_3]
    assert await planned(database, task) == [AT_3 + DAY_MS]
    assert await claim(database, task, AT_3 + 1) == []
    assert await claim(database, task, AT_3 + DAY_MS + 20) == [AT_3 + DAY_MS]
    assert await database.read(partial(schedules.next_of, app_id=APP, task_id=task)) == AT_3 + 2 * DAY_MS


async def test_a_server_that_was_down_runs_a_missed_time_once_and_late(database: Database) -> None:
    await start_app(database)
    task = await schedule(database)
    late = AT_3 + 5 * DAY_MS + HOUR_MS
    assert await claim(database, task, late) == [AT_3]
    assert await planned(database, task) == [AT_3 + 6 * DAY_MS]
    assert await claim(database, task, late + 1) == []


async def test_several_servers_begin_a_time_once(database: Database, database_url: str) -> None:
    await start_app(database)
    task = await schedule(database, Every(cron="* * * * *"))
    others = [Database(database_url) for _ in range(2)] if database_url.startswith("postgres") else []
    try:
        servers = [database, *others]
        begun = []
        for minute in range(1, 11):
            now = NOW + minute * MINUTE_MS
            each = [claim(db, task, now, f"wkr_{n}") for n, db in enumerate(servers)]
            begun += [moment for found in await asyncio.gather(*each) for moment in found]
            # Another one looks after them, when the hold of the lane has passed.
            begun += await claim(database, task, now + 50_000, "wkr_last")
        assert begun == [NOW + minute * MINUTE_MS for minute in range(1, 11)]
        assert await planned(database, task) == [NOW + 11 * MINUTE_MS]
    finally:
        for each_db in others:
            each_db.close()


async def test_runs_by_the_clock_never_overlap(database: Database) -> None:
    await start_app(database)
    task = await schedule(database, Every(cron="* * * * *"))
    unit = partial(claim_unit, lane=task, worker="wkr_1")

    def second_claim(tx: Transaction) -> Claimed:
        """As the worker asks, which knows how many it has at work."""
        wanted = Wanted(KIND, task, False, 10, 60_000, busy=1)
        return claims.claim(tx, [wanted], "wkr_1", NOW + 2 * MINUTE_MS)[0]

    (job,) = await database.write(partial(unit, now=NOW + MINUTE_MS))
    assert await planned(database, task) == [NOW + 2 * MINUTE_MS]
    assert (await database.write(second_claim)).jobs == []
    settled = Settlement(job=job, state="done", detail="", now=NOW + 5 * MINUTE_MS)
    assert await database.write_together(queue.settle, settled)
    # What it has run into is run once, and not five times.
    assert await claim(database, task, NOW + 5 * MINUTE_MS) == [NOW + 2 * MINUTE_MS]
    assert await planned(database, task) == [NOW + 6 * MINUTE_MS]


async def test_a_claim_that_is_not_committed_plans_nothing(database: Database) -> None:
    """As a server that dies between the two."""
    await start_app(database)
    task = await schedule(database)

    def fails(tx: Transaction) -> None:
        assert len(claim_unit(tx, task, "wkr_1", AT_3)) == 1
        raise RuntimeError

    (error,) = await asyncio.gather(database.write(fails), return_exceptions=True)
    assert isinstance(error, RuntimeError)
    assert await planned(database, task) == [AT_3]
    assert await claim(database, task, AT_3) == [AT_3]


async def test_a_server_that_dies_in_a_run_does_not_break_the_chain(database: Database) -> None:
    await start_app(database)
    task = await schedule(database)
    await database.write(partial(claim_unit, lane=task, worker="wkr_1", now=AT_3))
    assert await planned(database, task) == [AT_3 + DAY_MS]
    assert await claim(database, task, AT_3 + 70_000, "wkr_2") == [AT_3]  # its second attempt
    assert await planned(database, task) == [AT_3 + DAY_MS]


async def test_a_run_that_is_tried_again_plans_nothing_more(database: Database) -> None:
    await start_app(database)
    task = await schedule(database, Every(cron="*/10 * * * *"))
    (job,) = await database.write(
        partial(claim_unit, lane=task, worker="wkr_1", now=NOW + 10 * MINUTE_MS, most=1)
    )
    failed = Settlement(
        job=job, state="waiting", detail="", now=NOW + 10 * MINUTE_MS, due_at=NOW + 15 * MINUTE_MS
    )
    assert await database.write_together(queue.settle, failed)
    assert await claim(database, task, NOW + 15 * MINUTE_MS) == [NOW + 10 * MINUTE_MS]
    assert await planned(database, task) == [NOW + 20 * MINUTE_MS]


async def test_a_run_that_was_put_back_does_not_double_the_chain(database: Database) -> None:
    """The worker stops: the attempt does not count, and the next claim looks like the first."""
    await start_app(database)
    task = await schedule(database)
    (job,) = await database.write(partial(claim_unit, lane=task, worker="wkr_1", now=AT_3))
    back = Settlement(job=job, state="waiting", detail="", now=AT_3, due_at=AT_3, forgiven=True)
    assert await database.write_together(queue.settle, back)
    assert await claim(database, task, AT_3 + 1) == [AT_3]
    assert await planned(database, task) == [AT_3 + DAY_MS]


async def test_a_changed_expression_holds_at_once(database: Database) -> None:
    await start_app(database)
    task = await schedule(database)
    again = await schedule(database, Every(cron="0 4 * * *"), version="v2")
    assert again == task
    assert await planned(database, task) == [AT_3 + HOUR_MS]
    assert await claim(database, task, AT_3) == []
    await schedule(database, NIGHTLY, version="v3")
    assert await planned(database, task) == [AT_3]
    assert await claim(database, task, AT_3) == [AT_3]


async def test_a_changed_zone_holds_at_once(database: Database) -> None:
    await start_app(database)
    task = await schedule(database)
    await schedule(database, Every(cron="0 3 * * *", timezone="Asia/Tokyo"), version="v2")
    assert [datetime.fromtimestamp(each / 1_000, UTC).hour for each in await planned(database, task)] == [18]


async def test_an_expression_that_changes_while_a_time_is_claimed_leaves_one_time(
    database: Database, database_url: str
) -> None:
    """Whoever comes second sees the other."""
    await start_app(database)
    other = Database(database_url) if database_url.startswith("postgres") else database
    try:
        moment = NOW
        for hour in range(4, 12):
            task = await schedule(database, Every(cron="* * * * *"), version="v1", now=moment)
            (moment,) = await planned(database, task)
            new = Every(cron=f"0 {hour} * * *")
            _, found = await asyncio.gather(
                schedule(other, new, version="v2", now=moment), claim(database, task, moment)
            )
            assert await planned(database, task) == [NOW + (hour + 12) * HOUR_MS], found
    finally:
        if other is not database:
            other.close()


async def test_a_claim_and_a_new_expression_in_one_commit_leave_one_time(database: Database) -> None:
    await start_app(database)
    task = await schedule(database, Every(cron="* * * * *"))
    new = declared("nightly", NIGHTLY)

    def both(tx: Transaction) -> None:
        assert len(claim_unit(tx, task, "wkr_1", NOW + MINUTE_MS)) == 1
        registrations.register(tx, APP, "v2", [new], NOW + MINUTE_MS)

    await database.write(both)
    assert await planned(database, task) == [AT_3]


async def test_a_new_version_with_the_same_expression_keeps_the_time_that_is_due(database: Database) -> None:
    await start_app(database)
    task = await schedule(database)
    await schedule(database, version="v2", now=AT_3 + HOUR_MS)
    assert await claim(database, task, AT_3 + HOUR_MS) == [AT_3]


async def test_what_is_due_while_a_task_is_paused_runs_once_when_it_is_resumed(database: Database) -> None:
    await start_app(database)
    task = await schedule(database)
    pause = partial(registrations.set_paused, app_id=APP, name="nightly", now=NOW)
    await database.write(partial(pause, paused=True))
    assert await claim(database, task, AT_3) == []
    assert await claim(database, task, AT_3 + 2 * DAY_MS) == []
    await database.write(partial(pause, paused=False))
    assert await claim(database, task, AT_3 + 3 * DAY_MS + 1) == [AT_3]
    assert await planned(database, task) == [AT_3 + 4 * DAY_MS]


async def test_a_task_that_is_gone_plans_nothing_and_begins_anew_when_it_is_back(database: Database) -> None:
    await start_app(database)
    task = await schedule(database)
    await register(database, version="v2")
    assert await planned(database, task) == []
    assert await schedule(database, version="v3", now=AT_3 + 1) == task
    assert await planned(database, task) == [AT_3 + DAY_MS]


async def test_a_run_under_way_of_a_task_that_goes_plans_nothing_more(database: Database) -> None:
    await start_app(database)
    task = await schedule(database)

    def unit(tx: Transaction) -> None:
        registrations.register(tx, APP, "v2", [], AT_3)
        schedules.follow(tx, [planned_job(task, AT_3)], AT_3)

    await database.write(unit)
    assert await planned(database, task) == []


async def test_a_waiting_time_that_is_cancelled_is_followed_by_the_next(database: Database) -> None:
    await start_app(database)
    task = await schedule(database)

    def cancel(tx: Transaction) -> None:
        done = {"state": "dead", "finished_at": NOW}
        tx.execute(jobs.update().where(jobs.c.lane == task).values(**done))
        schedules.follow(tx, [planned_job(task, AT_3, attempts=0)], NOW)

    await database.write(cancel)
    assert await planned(database, task) == [AT_3 + DAY_MS]


async def test_a_cancelled_time_stays_cancelled_when_the_expression_changes_to_and_fro(
    database: Database,
) -> None:
    await start_app(database)
    task = await schedule(database)
    done = jobs.update().where(jobs.c.lane == task).values(state="dead", finished_at=NOW)
    await database.write(lambda tx: tx.execute(done).rowcount)
    await schedule(database, Every(cron="0 4 * * *"), version="v2")
    await schedule(database, NIGHTLY, version="v3")
    assert await planned(database, task) == [AT_3 + DAY_MS]


async def test_a_chain_that_broke_goes_on_with_the_next_load(database: Database) -> None:
    """Somebody has deleted the job in the database."""
    await start_app(database)
    task = await schedule(database)
    await database.write(lambda tx: tx.execute(delete(jobs)).rowcount)
    assert await planned(database, task) == []
    await schedule(database)
    assert await planned(database, task) == [AT_3]


async def test_a_zone_that_is_not_known_here_costs_nobody_else_a_claim(database: Database) -> None:
    """Registered by a server with newer zones."""
    await start_app(database)
    task = await schedule(database)
    elsewhere = msgspec.json.encode(declared("nightly", Every(cron="0 3 * * *", timezone="Moon/Base")))
    unknown = tables.tasks.update().values(declaration=elsewhere.decode())
    await database.write(lambda tx: tx.execute(unknown).rowcount)
    assert await claim(database, task, AT_3) == [AT_3]
    assert await planned(database, task) == []


def planned_job(task: str, moment: int, attempts: int = 1) -> Job:
    """A claimed job of a moment."""
    return Job(
        APP, f"{task}.{moment}", KIND, task, None, 0, "", attempts, attempts, False, moment + 60_000, NOW
    )
