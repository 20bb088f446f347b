"""The worker: wakes at once, drains, and outlives its handlers' and its database's worst days."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs

from admit import clock
from admit.errors import StorageUnavailable
from admit.jobs import claims, queue, worker
from admit.jobs.claims import Wanted
from admit.jobs.handling import LEASE_MS_MAX, Instead, Later
from admit.jobs.leases import Leases
from admit.jobs.queue import Job
from admit.jobs.retry import Schedule
from admit.jobs.tables import jobs
from admit.jobs.worker import Again, Done, GiveUp, Handler, Line, Outcome, Worker
from admit.storage.database import Database
from admit.storage.transaction import Transaction

AT_ONCE_AGAIN = Schedule((0, 0, 0))
CANARY = "canary-in-the-payload"


@asynccontextmanager
async def working(db: Database, *workers: Worker) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(each.run()) for each in workers]
    try:
        yield
    finally:
        await asyncio.gather(*(each.stop() for each in workers))
        await asyncio.gather(*tasks)


def worker_of(db: Database, handler: Handler, **options: Any) -> Worker:
    return Worker(db, {"mail": Line(handler, **options)}, clock.now)


async def enqueue(
    db: Database, job_id: str = "job_1", *, kind: str = "mail", after_ms: int = 0, payload: str = CANARY
) -> None:
    now = clock.now()
    await db.write(
        partial(
            queue.enqueue,
            app_id="app_1",
            kind=kind,
            payload=payload,
            now=now,
            due_at=now + after_ms,
            job_id=job_id,
        )
    )


async def row(db: Database, job_id: str = "job_1") -> Any:
    return await db.read(lambda tx: tx.execute(select(jobs).where(jobs.c.job_id == job_id)).one())


async def until(db: Database, *states: str, job_id: str = "job_1", seconds: float = 10.0) -> Any:
    """The row of the job once it is in one of `states`."""
    give_up_at = time.monotonic() + seconds
    while (found := await row(db, job_id)).state not in states:
        assert time.monotonic() < give_up_at, found
        await asyncio.sleep(0.01)
    return found


class Script:
    """A handler that answers with its outcomes in turn, the last one for ever."""

    def __init__(self, *outcomes: Outcome | Exception | Callable[[], Any]) -> None:
        self._outcomes = outcomes
        self.seen: list[Job] = []

    async def __call__(self, job: Job) -> Outcome:
        outcome = self._outcomes[min(len(self.seen), len(self._outcomes) - 1)]
        self.seen.append(job)
        if isinstance(outcome, Exception):
            raise outcome
        if isinstance(outcome, Done | Again | Later | GiveUp):
            return outcome
        found = await outcome()
        assert isinstance(found, Done | Again | Later | GiveUp)
        return found


# Doing the work


async def test_job_is_done_at_once_and_its_payload_erased_when_so_said(database: Database) -> None:
    handler = Script(Done("Sent.", erase_payload=True))
    async with working(database, worker_of(database, handler)):
        await asyncio.sleep(0.05)  # the worker sleeps by now, and only a signal wakes it
        started = time.monotonic()
        await enqueue(database)
        done = await until(database, "done")
        elapsed = time.monotonic() - started

    assert elapsed < 2.0
    assert (done.detail, done.payload, done.attempts) == ("Sent.", "", 1)
    assert [(job.payload, job.attempts) for job in handler.seen] == [(CANARY, 1)]


async def test_job_that_was_there_before_the_worker_is_done(database: Database) -> None:
    await enqueue(database)
    async with working(database, worker_of(database, Script(Done()))):
        await until(database, "done")


async def test_job_is_done_when_it_is_due_and_not_before(database: Database) -> None:
    due: list[int] = []

    async def handler(job: Job) -> Outcome:
        due.append(clock.now())
        return Done()

    async with working(database, worker_of(database, handler)):
        before = clock.now()
        await enqueue(database, after_ms=400)
        await until(database, "done")

    assert 400 <= due[0] - before < 1_500


async def test_worker_that_may_have_missed_a_signal_looks_for_itself(database: Database) -> None:
    def unheard(tx: Transaction) -> None:
        queue.enqueue(tx, app_id="app_1", kind="mail", payload="", now=clock.now(), job_id="job_1")
        tx.signals.clear()

    async with working(database, worker_of(database, Script(Done()))):
        await asyncio.sleep(0.05)
        await database.write(unheard)
        database.signals.look_yourselves()
        await until(database, "done")


async def test_worker_without_work_does_not_write(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = 0
    write = database.write

    async def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal writes
        writes += 1
        return await write(*arguments, **options)

    async with working(database, worker_of(database, Script(Done()))):
        await enqueue(database, after_ms=60_000)
        monkeypatch.setattr(database, "write", counted)
        for _ in range(20):
            database.signals.look_yourselves()
            await asyncio.sleep(0.01)

    assert writes == 0


async def test_no_more_are_handled_at_once_than_asked_for(database: Database) -> None:
    busy = most = 0

    async def handler(_job: Job) -> Outcome:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0.01)
        busy -= 1
        return Done()

    for number in range(20):
        await enqueue(database, f"job_{number:02}")
    async with working(database, worker_of(database, handler, at_once=3)):
        for number in range(20):
            await until(database, "done", job_id=f"job_{number:02}")

    assert most == 3


async def test_kind_that_hangs_does_not_hold_up_another(database: Database) -> None:
    async def hang(_job: Job) -> Outcome:
        await asyncio.sleep(60)
        return Done()

    both = Worker(
        database,
        {"slow": Line(hang, at_once=2, seconds_max=0.5), "mail": Line(Script(Done()))},
        clock.now,
    )
    async with working(database, both):
        for number in range(20):
            await enqueue(database, f"slow_{number}", kind="slow")
        await enqueue(database)
        await until(database, "done", seconds=2.0)


async def test_several_workers_do_every_job_once(postgres_url: str) -> None:
    done: Counter[str] = Counter()

    async def handler(job: Job) -> Outcome:
        done[job.job_id] += 1
        await asyncio.sleep(0)
        return Done()

    databases = [Database(postgres_url) for _ in range(3)]
    for each in databases:
        each.signals.attach(asyncio.get_running_loop())
    async with working(databases[0], *(worker_of(each, handler, at_once=8) for each in databases)):
        await asyncio.gather(*(enqueue(databases[0], f"job_{number:03}") for number in range(200)))
        for number in range(200):
            await until(databases[0], "done", job_id=f"job_{number:03}")
    for each in databases:
        each.close()

    assert len(done) == 200
    assert set(done.values()) == {1}


# When it does not work out


async def test_failing_handler_is_tried_again_and_its_payload_stays_out_of_the_log(
    database: Database,
) -> None:
    handler = Script(ValueError(CANARY), Done())
    with capture_logs() as logged:
        async with working(database, worker_of(database, handler, schedule=AT_ONCE_AGAIN)):
            await enqueue(database)
            done = await until(database, "done")
            await asyncio.sleep(0.05)

    assert done.attempts == 2
    assert CANARY not in str(logged)
    assert [(each["event"], each["attempt"]) for each in logged if "attempt" in each] == [
        ("job.again", 1),
        ("job.done", 2),
    ]
    assert "ValueError at tests.contract.test_worker:" in next(
        each["detail"] for each in logged if each["event"] == "job.again"
    )


async def test_handler_that_hangs_is_cut_off_and_tried_again(database: Database) -> None:
    handler = Script(partial(asyncio.sleep, 60, Done()), Done())
    async with working(database, worker_of(database, handler, schedule=AT_ONCE_AGAIN, seconds_max=0.1)):
        await enqueue(database)
        assert (await until(database, "done")).attempts == 2


async def test_handler_says_itself_when_to_try_again(database: Database) -> None:
    handler = Script(Again("Busy.", at_least_ms=60_000))
    async with working(database, worker_of(database, handler)):
        await enqueue(database)
        waiting = await until_detail(database, "Busy.")

    assert waiting.state == "waiting"
    assert 50_000 < waiting.due_at - clock.now() <= 60_000


async def until_detail(db: Database, detail: str) -> Any:
    give_up_at = time.monotonic() + 10
    while (found := await row(db)).detail != detail:
        assert time.monotonic() < give_up_at, found
        await asyncio.sleep(0.01)
    return found


async def test_job_that_never_works_out_is_dead_after_its_schedule(database: Database) -> None:
    handler = Script(Again("Busy."))
    async with working(database, worker_of(database, handler, schedule=AT_ONCE_AGAIN)):
        await enqueue(database)
        dead = await until(database, "dead")
        await asyncio.sleep(0.05)

    assert [job.attempts for job in handler.seen] == [1, 2, 3, 4]
    assert (dead.detail, dead.payload) == ("Busy.", "")


async def test_given_up_job_is_not_tried_again(database: Database) -> None:
    handler = Script(GiveUp("No such mailbox."))
    async with working(database, worker_of(database, handler)):
        await enqueue(database)
        dead = await until(database, "dead")

    assert (dead.detail, dead.payload, len(handler.seen)) == ("No such mailbox.", "", 1)


async def test_job_that_killed_its_workers_is_dead_without_another_try(database: Database) -> None:
    await enqueue(database)
    for attempt in range(AT_ONCE_AGAIN.attempts_max):
        wanted = [Wanted("mail", "", attempt > 0, 1, lease_ms=-1)]
        [claimed] = await database.write(
            partial(claims.claim, wanted=wanted, worker="wkr_1", now=clock.now())
        )
        assert claimed.jobs
    handler = Script(Done())
    async with working(database, worker_of(database, handler, schedule=AT_ONCE_AGAIN)):
        dead = await until(database, "dead")

    assert handler.seen == []
    assert dead.detail == "It was begun 4 times and never came to an end."


async def test_handler_that_is_cancelled_from_within_does_not_spin(database: Database) -> None:
    async def handler(_job: Job) -> Outcome:
        raise asyncio.CancelledError

    async with working(database, worker_of(database, handler, schedule=Schedule((0,)))):
        await enqueue(database)
        assert (await until(database, "dead")).attempts == 2


async def test_what_the_handler_leaves_to_be_written_is_written_with_the_settlement(
    database: Database,
) -> None:
    def unit(tx: Transaction) -> None:
        queue.enqueue(tx, app_id="app_1", kind="other", payload="", now=clock.now(), job_id="job_2")

    async with working(database, worker_of(database, Script(Done(unit=unit)))):
        await enqueue(database)
        await until(database, "done")

    assert (await row(database, "job_2")).kind == "other"


async def test_job_whose_unit_fails_is_tried_again_and_harms_nobody(database: Database) -> None:
    def unit(_tx: Transaction) -> None:
        raise LookupError(CANARY)

    handler = Script(Done(unit=unit), Done())
    with capture_logs() as logged:
        async with working(database, worker_of(database, handler, schedule=AT_ONCE_AGAIN)):
            await enqueue(database)
            assert (await until(database, "done")).attempts == 2

    assert CANARY not in str(logged)


async def test_overtaken_handler_leaves_nothing_behind(database: Database) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    def unit(tx: Transaction) -> None:
        queue.enqueue(tx, app_id="app_1", kind="other", payload="", now=clock.now(), job_id="job_2")

    async def handler(_job: Job) -> Outcome:
        begun.set()
        await go_on.wait()
        return Done("Late.", unit=unit)

    with capture_logs() as logged:
        async with working(database, worker_of(database, handler)):
            await enqueue(database)
            await begun.wait()
            much_later = clock.now() + 10_000_000
            wanted = [Wanted("mail", "", True, 1, lease_ms=60_000)]
            assert await database.write(partial(claims.claim, wanted=wanted, worker="wkr_1", now=much_later))
            go_on.set()

    assert [each["event"] for each in logged if each["event"].startswith("job")] == ["job.overtaken"]
    assert (await row(database)).state == "claimed"
    everything = await database.read(lambda tx: list(tx.execute(select(jobs.c.job_id))))
    assert [each.job_id for each in everything] == ["job_1"]


# Bad days of the database


async def test_worker_outlives_a_database_that_does_not_answer(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "TROUBLE_SECONDS", 0.05)
    read, failures = database.read, iter([StorageUnavailable("away"), LookupError("schema")])

    async def sometimes(query: Any) -> Any:
        if isinstance(query, partial) and (error := next(failures, None)) is not None:
            raise error
        return await read(query)

    monkeypatch.setattr(database, "read", sometimes)
    await enqueue(database)
    async with working(database, worker_of(database, Script(Done()))):
        await until(database, "done")


async def test_outcome_is_settled_when_the_database_is_back(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "TROUBLE_SECONDS", 0.05)
    write_together, failures = database.write_together, iter([StorageUnavailable("away")] * 3)

    async def sometimes(unit: Any, item: Any, **options: Any) -> Any:
        if (error := next(failures, None)) is not None:
            raise error
        return await write_together(unit, item, **options)

    monkeypatch.setattr(database, "write_together", sometimes)
    handler = Script(Done())
    async with working(database, worker_of(database, handler)):
        await enqueue(database)
        await until(database, "done")

    assert len(handler.seen) == 1


# Stopping and taking over


async def test_stopping_lets_a_running_handler_come_to_its_end(database: Database) -> None:
    begun = asyncio.Event()

    async def handler(_job: Job) -> Outcome:
        begun.set()
        await asyncio.sleep(0.1)
        return Done()

    async with working(database, worker_of(database, handler)):
        await enqueue(database)
        await begun.wait()

    assert (await row(database)).state == "done"


async def test_stopping_puts_back_what_does_not_end_without_counting_the_try(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "DRAIN_SECONDS_MAX", 0.05)
    begun = asyncio.Event()

    async def hang(_job: Job) -> Outcome:
        begun.set()
        await asyncio.sleep(60)
        return Done()

    async with working(database, worker_of(database, hang)):
        await enqueue(database)
        await begun.wait()
    assert (await row(database)).state == "waiting"

    handler = Script(Done())
    async with working(database, worker_of(database, handler)):
        await until(database, "done")
    assert [job.attempts for job in handler.seen] == [1]


async def test_worker_whose_task_is_cancelled_drains_too(database: Database) -> None:
    begun = asyncio.Event()

    async def handler(_job: Job) -> Outcome:
        begun.set()
        await asyncio.sleep(0.1)
        return Done()

    task = asyncio.create_task(worker_of(database, handler).run())
    await enqueue(database)
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert (await row(database)).state == "done"


async def test_stopped_worker_can_be_stopped_again_and_one_that_never_ran_too(database: Database) -> None:
    idle = worker_of(database, Script(Done()))
    await idle.stop()

    ran = worker_of(database, Script(Done()))
    async with working(database, ran):
        await asyncio.sleep(0.02)
    await ran.stop()


async def test_worker_that_is_alone_takes_up_its_predecessors_claims_at_once(database: Database) -> None:
    await enqueue(database)
    wanted = [Wanted("mail", "", False, 1, lease_ms=10_000_000)]
    assert await database.write(partial(claims.claim, wanted=wanted, worker="wkr_1", now=clock.now()))
    handler = Script(Done())

    alone = Worker(database, {"mail": Line(handler)}, clock.now, alone=True)
    async with working(database, alone):
        await until(database, "done")

    assert [job.attempts for job in handler.seen] == [2]


async def test_finished_jobs_are_pruned_after_a_while(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "PRUNE_EVERY_SECONDS", 0.05)
    monkeypatch.setattr(worker, "HOUSEKEEPING_ROWS", 3)
    tidy = Worker(database, {"mail": Line(Script(Done()))}, clock.now, retention_ms=0)
    async with working(database, tidy):
        for number in range(8):
            await enqueue(database, f"job_{number}")
        give_up_at = time.monotonic() + 10
        while await database.read(lambda tx: tx.execute(select(jobs.c.job_id)).first()):
            assert time.monotonic() < give_up_at
            await asyncio.sleep(0.02)


# Outcomes that are not committed as they were said


async def test_unit_that_raises_instead_is_settled_as_that_and_its_writes_are_not_kept(
    database: Database,
) -> None:
    def unit(tx: Transaction) -> None:
        queue.enqueue(tx, app_id="app_1", kind="other", payload="", now=0, job_id="job_2")
        raise Instead(Again("Somebody was faster.", schedule=AT_ONCE_AGAIN))

    handler = Script(Done(unit=unit), Done("At last."))
    async with working(database, worker_of(database, handler)):
        await enqueue(database)
        done = await until(database, "done")

    assert (done.attempts, done.detail) == (2, "At last.")
    count = select(jobs.c.job_id).where(jobs.c.job_id == "job_2")
    assert await database.read(lambda tx: tx.execute(count).all()) == []


async def test_job_that_was_not_begun_has_not_used_up_an_attempt(database: Database) -> None:
    handler = Script(*[Later("No place.", 0)] * 5, Done())
    async with working(database, worker_of(database, handler, schedule=Schedule(()))):
        await enqueue(database)
        done = await until(database, "done", "dead")

    assert (done.state, done.attempts, len(handler.seen)) == ("done", 1, 6)


async def test_lease_of_a_long_job_is_renewed_while_it_is_ours(database: Database) -> None:
    now = clock.now()
    await enqueue(database)
    wanted = [Wanted("mail", "", False, 2, 10_000)]
    [claimed] = await database.write(lambda tx: claims.claim(tx, wanted, "wkr_1", now))
    [job] = claimed.jobs
    later = now + 60_000
    leases = Leases(database, "wkr_1", lambda: later)
    with leases.at_work(job):
        await leases.renew()
        assert leases.until(job) == later + LEASE_MS_MAX
        assert (await row(database)).due_at == later + LEASE_MS_MAX

        # Another worker has claimed it since.
        overtake = update(jobs).values(fence=jobs.c.fence + 1, due_at=1)
        await database.write(lambda tx: tx.execute(overtake))
        await leases.renew()

    assert (await row(database)).due_at == 1


async def test_payload_of_what_has_failed_is_kept_where_somebody_may_ask_again(database: Database) -> None:
    async with working(database, worker_of(database, Script(GiveUp("No.")), keeps_payloads=True)):
        await enqueue(database)
        dead = await until(database, "dead")

    assert dead.payload == CANARY
