"""The worker: claims due jobs, has them handled, and settles what came of it."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, assert_never

import msgspec
import structlog

from admit.clock import DAY_MS, Clock, jitter
from admit.errors import StorageUnavailable
from admit.jobs import queue
from admit.jobs.queue import Job, Settlement, Wanted
from admit.jobs.retry import STANDARD, Schedule, delay_ms
from admit.storage.database import Database
from admit.storage.transaction import Unit

CLAIMS_MAX = 64
LEASE_MARGIN_MS = 15_000
# A worker hears of new jobs at once. What it does not hear of is a job that another one put back and then
# did not live to take up again.
LOOK_SECONDS_MAX = 30.0
CONTENDED_SECONDS = 0.05
TROUBLE_SECONDS = 1.0
DRAIN_SECONDS_MAX = 10.0
CANCEL_SECONDS_MAX = 5.0
RETENTION_MS = 7 * DAY_MS
PRUNE_EVERY_SECONDS = 600.0
HOUSEKEEPING_ROWS = 500

log = structlog.get_logger("admit.jobs")


class Done(msgspec.Struct, frozen=True):
    """The work is done. `unit` is committed with the settlement; it must be safe to run again."""

    detail: str = ""
    erase_payload: bool = False
    unit: Unit[Any] | None = None


class Again(msgspec.Struct, frozen=True):
    """It did not work out this time. `delay_ms` None: the schedule says when to try again."""

    detail: str
    delay_ms: int | None = None


class GiveUp(msgspec.Struct, frozen=True):
    """It will never work out. The payload is erased: nobody will need it any more."""

    detail: str


Outcome = Done | Again | GiveUp
Handler = Callable[[Job], Awaitable[Outcome]]


@dataclass(frozen=True)
class Line:
    """How jobs of one kind are worked off: `at_once` of them, each for `seconds_max` at most."""

    handler: Handler
    schedule: Schedule = STANDARD
    seconds_max: float = 60.0
    at_once: int = 16

    @property
    def lease_ms(self) -> int:
        return round(self.seconds_max * 1_000) + LEASE_MARGIN_MS


class Worker:
    """Works until it is stopped, whatever the handlers and the database do.

    `alone`: no other process works on this database, so that what a crashed predecessor had claimed is
    taken up at once and not when its leases end.
    """

    def __init__(self, db: Database, lines: Mapping[str, Line], clock: Clock, *, alone: bool = False) -> None:
        self._db = db
        self._lines = dict(lines)
        self._clock = clock
        self._alone = alone
        self._news = asyncio.Event()
        self._stopping = False
        self._running = False
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: Counter[str] = Counter()

    async def run(self) -> None:
        """Works until `stop` is called or the task is cancelled; then drains."""
        self._running = True
        unsubscribe = self._db.signals.subscribe(queue.TOPIC, self._hear)
        housekeeping = asyncio.create_task(self._keep_house())
        try:
            await self._take_over()
            while not self._stopping:
                self._news.clear()
                pause = await self._look()
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._news.wait()
        finally:
            self._stopping = True
            unsubscribe()
            housekeeping.cancel()
            await asyncio.gather(housekeeping, return_exceptions=True)
            await self._drain()
            self._ended.set()

    async def stop(self) -> None:
        """Claims nothing more, lets running handlers come to an end, and puts back what does not."""
        self._stopping = True
        self._news.set()
        if self._running:
            await self._ended.wait()

    def _hear(self, kind: str | None) -> None:
        if kind is None or kind in self._lines:
            self._news.set()

    # Claiming

    async def _look(self) -> float:
        """Claims and starts what is due and returns the seconds until there may be more."""
        wanted = [
            Wanted(kind, min(free, CLAIMS_MAX), line.lease_ms)
            for kind, line in self._lines.items()
            if (free := line.at_once - self._busy[kind]) > 0
        ]
        try:
            due = await self._db.read(partial(queue.next_due, kinds=[each.kind for each in wanted]))
            if due is None:
                return LOOK_SECONDS_MAX
            # The database is not written to in vain: a commit is worth a wait for the disk.
            if (early_ms := due - self._clock()) > 0:
                return min(early_ms / 1_000, LOOK_SECONDS_MAX)
            claimed = await self._db.write(partial(queue.claim, wanted=wanted, now=self._clock()))
        except Exception as error:
            log.warning("jobs.cannot_claim", cause=_cause(error))
            return jitter(TROUBLE_SECONDS)
        for job in claimed:
            self._start(job)
        return 0.0 if claimed else jitter(CONTENDED_SECONDS)

    async def _take_over(self) -> None:
        while self._alone and not self._stopping:
            try:
                released = await self._db.write(
                    partial(queue.release_abandoned, now=self._clock(), most=HOUSEKEEPING_ROWS)
                )
            except Exception as error:
                log.warning("jobs.cannot_take_over", cause=_cause(error))
                return
            if released < HOUSEKEEPING_ROWS:
                return

    def _start(self, job: Job) -> None:
        self._busy[job.kind] += 1
        task = asyncio.create_task(self._work(job, self._lines[job.kind]))
        self._tasks.add(task)
        task.add_done_callback(partial(self._end, job.kind))

    def _end(self, kind: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("job.not_settled", kind=kind, cause=_cause(error))
        was_full = self._busy[kind] >= self._lines[kind].at_once
        self._busy[kind] -= 1
        if was_full:
            self._news.set()

    # Working

    async def _work(self, job: Job, line: Line) -> None:
        started = time.monotonic()
        outcome = await self._attempt(job, line)
        settlement = await self._settle(job, line, self._settlement(job, line, outcome))
        if settlement is None:
            return
        event = "job." + {"waiting": "again"}.get(settlement.state, settlement.state)
        (log.info if settlement.state == "done" else log.warning)(
            event,
            app_id=job.app_id,
            job_id=job.job_id,
            kind=job.kind,
            attempt=job.attempts,
            duration_ms=round((time.monotonic() - started) * 1_000),
            detail=settlement.detail,
        )

    async def _attempt(self, job: Job, line: Line) -> Outcome | None:
        """What came of it; None when it was interrupted because the worker stops."""
        if job.attempts > line.schedule.attempts_max:
            return GiveUp(f"It was begun {job.attempts - 1} times and never came to an end.")
        timeout = asyncio.timeout(line.seconds_max)
        try:
            async with timeout:
                return await line.handler(job)
        except asyncio.CancelledError:
            return None if self._stopping else Again("The handler was cancelled.")
        except Exception as error:
            if timeout.expired():
                return Again(f"The handler took more than {line.seconds_max:g} s.")
            # What went wrong and where, but not its words: they may quote the payload.
            return Again(f"The handler failed: {_cause(error)}.")

    def _settlement(self, job: Job, line: Line, outcome: Outcome | None) -> Settlement:
        now = self._clock()
        settled = partial(Settlement, app_id=job.app_id, job_id=job.job_id, fence=job.fence, now=now)
        match outcome:
            case None:
                return settled(state="waiting", detail="The worker stopped.", due_at=now, forgiven=True)
            case Done(detail, erase_payload, unit):
                return settled(state="done", detail=detail, erase_payload=erase_payload, unit=unit)
            case GiveUp(detail):
                return settled(state="dead", detail=detail, erase_payload=True)
            case Again(detail, asked_ms):
                pause_ms = delay_ms(line.schedule, job.attempts, jitter(1.0) - 0.5)
                if pause_ms is None:
                    return settled(state="dead", detail=detail, erase_payload=True)
                due_at = now + (pause_ms if asked_ms is None else asked_ms)
                return settled(state="waiting", detail=detail, due_at=due_at)
        assert_never(outcome)

    async def _settle(self, job: Job, line: Line, settlement: Settlement) -> Settlement | None:
        """Settles while the lease lasts, and returns what became of the job; None when that is not ours to
        say: then it will be claimed again, or was."""
        while True:
            try:
                if not await self._db.write_together(queue.settle, settlement):
                    log.warning("job.overtaken", app_id=job.app_id, job_id=job.job_id, kind=job.kind)
                    return None
                if settlement.state == "waiting":
                    self._news.set()
                return settlement
            except StorageUnavailable as error:
                if self._clock() >= job.lease_until:
                    log.error("job.not_settled", app_id=job.app_id, job_id=job.job_id, cause=_cause(error))
                    return None
                await asyncio.sleep(jitter(TROUBLE_SECONDS))
            except Exception as error:
                if settlement.unit is None:
                    log.error("job.not_settled", app_id=job.app_id, job_id=job.job_id, cause=_cause(error))
                    return None
                failed = Again(f"What the handler left to be written failed: {_cause(error)}.")
                settlement = self._settlement(job, line, failed)

    # Stopping

    async def _drain(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DRAIN_SECONDS_MAX)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CANCEL_SECONDS_MAX)

    # Housekeeping

    async def _keep_house(self) -> None:
        """Deletes finished jobs after RETENTION_MS, a few at a time, so that logins pass."""
        while True:
            await asyncio.sleep(jitter(PRUNE_EVERY_SECONDS))
            pruned = HOUSEKEEPING_ROWS
            while pruned == HOUSEKEEPING_ROWS:
                unit = partial(
                    queue.prune, finished_before=self._clock() - RETENTION_MS, most=HOUSEKEEPING_ROWS
                )
                try:
                    pruned = await self._db.write(unit, patient=True)
                except Exception as error:
                    log.warning("jobs.cannot_prune", cause=_cause(error))
                    break


def _cause(error: BaseException) -> str:
    """The kind of an error and the place that raised it."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = "" if frame is None else f" at {frame.tb_frame.f_globals.get('__name__')}:{frame.tb_lineno}"
    return type(error).__name__ + place
