"""Tasks that run by the clock, with real servers, workers and processes: once at each time."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from sqlalchemy import select

from admit.clock import MINUTE_MS
from admit.jobs.order import TOPIC, topic_key
from admit.jobs.tables import attempts, jobs
from admit.storage.transaction import Signal, Transaction
from admit.tasks import registrations, schedules
from admit.tasks.registrations import KIND
from tests.contract.served import Hands, Served, serving

EVERY_MINUTE = """
from admit import task


@task.every("* * * * *")
def tick(context):
    context.log.info(str(context.scheduled_at))
"""


def ran(tx: Transaction, lane: str) -> list[tuple[str, str]]:
    """Id and state of the jobs of a lane that have ended."""
    chosen = select(jobs.c.job_id, jobs.c.state).where(jobs.c.lane == lane, jobs.c.finished_at.is_not(None))
    return sorted((row.job_id, row.state) for row in tx.execute(chosen))


async def until_ran(served: list[Served], lane: str, count: int) -> list[tuple[str, str]]:
    """The runs that have ended, as soon as there are `count`; workers are told that the clock was moved."""
    async with asyncio.timeout(60):
        while len(found := await served[0].gateway.db.read(partial(ran, lane=lane))) < count:
            for each in served:
                each.gateway.db.signals.deliver([Signal(TOPIC, topic_key(KIND, lane))])
            await asyncio.sleep(0.05)
        return found


async def test_each_minute_runs_once_whoever_is_there(served_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "tasks" / "notes"
    folder.mkdir(parents=True)
    (folder / "clock.py").write_text(EVERY_MINUTE)
    hands = Hands()
    servers = 2 if served_url.startswith("postgres") else 1
    async with AsyncExitStack() as opened:
        served = [
            await opened.enter_async_context(
                serving(served_url, hands=hands, tasks=str(folder.parent), tasks_reload="command")
            )
            for _ in range(servers)
        ]
        app = await served[0].app()
        for each in served:
            assert each.gateway.registry is not None
            await each.gateway.registry.load()
        task = await served[0].gateway.db.read(partial(registrations.find, app_id=app.app_id, name="tick"))
        assert task is not None
        for minute in range(1, 4):
            due = await served[0].gateway.db.read(
                partial(schedules.next_of, app_id=app.app_id, task_id=task.task_id)
            )
            assert due is not None
            hands.move(seconds=(due - hands()) / 1_000 + 1)  # early in its minute, however slow we are
            found = await until_ran(served, task.task_id, minute)
            assert len(found) == minute
        assert [state for _, state in found] == ["done"] * 3
        moments = [int(job_id.rpartition(".")[2]) for job_id, _ in found]
        assert moments == [moments[0] + minute * MINUTE_MS for minute in range(3)]
        tried = select(attempts.c.job_id).where(attempts.c.lane == task.task_id)
        begun = await served[0].gateway.db.read(lambda tx: tx.execute(tried).scalars().all())
        assert sorted(begun) == [job_id for job_id, _ in found]
