"""How the worker works off campaigns: step by step, while each has a little of its time."""

import asyncio
import time
from functools import partial

import msgspec
from msgspec.structs import replace

from admit.clock import MINUTE_MS, SECOND_MS, Clock
from admit.jobs.queue import Job
from admit.jobs.retry import Schedule
from admit.jobs.worker import Done, Line, Outcome
from admit.storage.database import Database
from admit.webhooks import campaigns
from admit.webhooks.campaign_steps import Step, step
from admit.webhooks.campaigns import CampaignJob

AT_ONCE = 16
SECONDS_MAX = 60.0
TURN_SECONDS = 2.0
"""After so long, others have their turn. A server that stops waits as long."""
FULL_MS_MIN = 500
FULL_MS_MAX = 30_000
SCHEDULE = Schedule(tuple(s * SECOND_MS for s in (2, 10, 60)) + tuple(m * MINUTE_MS for m in (5,)) * 2_000)
"""For a week: a campaign that was given up would leave an endpoint behind for good."""


def line(db: Database, clock: Clock) -> Line:
    """How the worker works off campaigns."""
    return Line(partial(_work, db, clock), SCHEDULE, seconds_max=SECONDS_MAX, at_once=AT_ONCE)


async def _work(db: Database, clock: Clock, job: Job) -> Outcome:
    task = msgspec.json.decode(job.payload, type=CampaignJob)
    ends_at = time.monotonic() + TURN_SECONDS
    while True:
        unit = partial(step, app_id=job.app_id, task=task, now=clock())
        outcome = await db.write(unit, patient=True)
        if outcome.over:
            return Done()
        if not outcome.full:
            task = replace(task, idle=0)
        pause = outcome.wait_ms / 1_000
        if outcome.full or time.monotonic() + pause > ends_at:
            task, after_ms = _next(task, outcome)
            return Done(
                unit=partial(campaigns.enqueue, app_id=job.app_id, task=task, now=clock(), after_ms=after_ms)
            )
        await asyncio.sleep(pause)


def _next(task: CampaignJob, outcome: Step) -> tuple[CampaignJob, int]:
    """The next job, and after how long it is due. An endpoint that takes nothing is asked less and less."""
    if not outcome.full:
        return task, outcome.wait_ms
    after_ms = min(FULL_MS_MAX, FULL_MS_MIN << min(task.idle, 16))
    return replace(task, idle=task.idle + 1), after_ms
