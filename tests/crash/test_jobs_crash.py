"""A worker is killed between two steps of a job: nothing is lost, and a repetition carries the same id."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import select

from admit import clock
from admit.jobs import queue
from admit.jobs.tables import jobs
from admit.storage.database import Database
from tests.crash.job_worker import POISON_SCHEDULE

ROOT = Path(__file__).parent.parent.parent
LEASE_AND_MORE_MS = 600_000


@asynccontextmanager
async def process(
    database_url: str, effects: Path, stop_at: str = "nowhere", *, later_ms: int = 0
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker process that has begun to work; killed at the end if it still lives."""
    command = [
        sys.executable,
        "-m",
        "tests.crash.job_worker",
        database_url,
        str(effects),
        stop_at,
        str(later_ms),
    ]
    started = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    try:
        await reached(started, "started")
        yield started
    finally:
        with suppress(ProcessLookupError):
            started.kill()
        await started.communicate()


async def reached(started: asyncio.subprocess.Process, step: str) -> None:
    """Waits until the process says that it is at `step`."""
    assert started.stdout is not None
    while (line := await asyncio.wait_for(started.stdout.readline(), 30)) != f"{step}\n".encode():
        assert line, f"the worker ended before {step}"


async def kill(started: asyncio.subprocess.Process) -> None:
    started.kill()
    await started.wait()


async def enqueue(database_url: str, job_id: str, kind: str = "mail") -> None:
    db = Database(database_url)
    unit = partial(
        queue.enqueue, app_id="app_1", kind=kind, payload="the mail", now=clock.now(), job_id=job_id
    )
    await db.write(unit)
    db.close()


async def state(database_url: str, job_id: str) -> Any:
    db = Database(database_url)
    found = await db.read(lambda tx: tx.execute(select(jobs).where(jobs.c.job_id == job_id)).one())
    db.close()
    return found


async def until(database_url: str, state_name: str, job_id: str) -> Any:
    give_up_at = time.monotonic() + 30
    while (found := await state(database_url, job_id)).state != state_name:
        assert time.monotonic() < give_up_at, found
        await asyncio.sleep(0.05)
    return found


async def test_worker_killed_between_effect_and_settlement_repeats_under_the_same_id(
    database_url: str, tmp_path: Path
) -> None:
    effects = tmp_path / "effects"
    await enqueue(database_url, "job_1")
    async with process(database_url, effects, "before-settle") as first:
        await reached(first, "before-settle")
        await kill(first)
    assert (await state(database_url, "job_1")).state == "claimed"

    async with process(database_url, effects, later_ms=LEASE_AND_MORE_MS):
        done = await until(database_url, "done", "job_1")

    assert effects.read_text().splitlines() == ["job_1 1 the mail", "job_1 2 the mail"]
    assert (done.attempts, done.payload, done.detail) == (2, "", "Sent.")


async def test_worker_killed_before_the_effect_loses_nothing(database_url: str, tmp_path: Path) -> None:
    effects = tmp_path / "effects"
    await enqueue(database_url, "job_1")
    async with process(database_url, effects, "before-effect") as first:
        await reached(first, "before-effect")
        await kill(first)

    async with process(database_url, effects, later_ms=LEASE_AND_MORE_MS):
        await until(database_url, "done", "job_1")

    assert effects.read_text().splitlines() == ["job_1 2 the mail"]


async def test_other_process_takes_over_only_when_the_lease_has_ended(
    postgres_url: str, tmp_path: Path
) -> None:
    effects = tmp_path / "effects"
    await enqueue(postgres_url, "job_1")
    async with process(postgres_url, effects, "before-effect") as first:
        await reached(first, "before-effect")
        await kill(first)
    async with process(postgres_url, effects):
        await enqueue(postgres_url, "job_2")
        await until(postgres_url, "done", "job_2")
        assert (await state(postgres_url, "job_1")).state == "claimed"
    async with process(postgres_url, effects, later_ms=LEASE_AND_MORE_MS):
        await until(postgres_url, "done", "job_1")


async def test_server_that_is_alone_on_its_file_takes_over_at_once(sqlite_url: str, tmp_path: Path) -> None:
    effects = tmp_path / "effects"
    await enqueue(sqlite_url, "job_1")
    async with process(sqlite_url, effects, "before-effect") as first:
        await reached(first, "before-effect")
        await kill(first)

    async with process(sqlite_url, effects):
        await until(sqlite_url, "done", "job_1")


async def test_job_that_kills_its_worker_ends_dead_and_its_neighbour_is_done(
    database_url: str, tmp_path: Path
) -> None:
    effects = tmp_path / "effects"
    await enqueue(database_url, "poison", kind="poison")
    for attempt in range(1, POISON_SCHEDULE.attempts_max + 1):
        async with process(database_url, effects, later_ms=attempt * LEASE_AND_MORE_MS) as killed:
            assert await asyncio.wait_for(killed.wait(), 30) == -9
        assert (await state(database_url, "poison")).attempts == attempt

    await enqueue(database_url, "job_1")
    async with process(database_url, effects, later_ms=9 * LEASE_AND_MORE_MS) as survivor:
        dead = await until(database_url, "dead", "poison")
        await until(database_url, "done", "job_1")
        survivor.terminate()
        assert await asyncio.wait_for(survivor.wait(), 30) == 0

    assert dead.detail == "It was begun 2 times and never came to an end."
    assert dead.payload == ""
