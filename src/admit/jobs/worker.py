"""The worker: claims due jobs, has them handled, and settles what came of it."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any

import structlog

from admit.clock import DAY_MS, Clock, jitter, new_id
from admit.errors import StorageUnavailable
from admit.jobs import claims, emptying, lanes, queue
from admit.jobs.claims import Claimed, Wanted
from admit.jobs.handling import Again as Again
from admit.jobs.handling import Done as Done
from admit.jobs.handling import GiveUp as GiveUp
from admit.jobs.handling import Handler as Handler
from admit.jobs.handling import Instead, settlement_of
from admit.jobs.handling import Line as Line
from admit.jobs.handling import Outcome as Outcome
from admit.jobs.leases import Leases
from admit.jobs.order import TOPIC
from admit.jobs.queue import Job, Settlement
from admit.jobs.rota import Rota
from admit.outbound.deadline import Deadline
from admit.storage.database import Database
from admit.storage.transaction import Transaction

# A worker hears of new jobs at once. What it does not hear of is a job that another one put back and then
# did not live to take up again.
LOOK_SECONDS_MAX = 30.0
TROUBLE_SECONDS = 1.0
DRAIN_SECONDS_MAX = 10.0
CANCEL_SECONDS_MAX = 5.0
RETENTION_MS = 30 * DAY_MS
PRUNE_EVERY_SECONDS = 600.0
HOUSEKEEPING_ROWS = 500

_Claim = tuple[Claimed, Sequence[Any]]
"""What was claimed, and what was loaded for each of the jobs."""

log = structlog.get_logger("admit.jobs")


class Worker:
    """Works until it is stopped, whatever the handlers and the database do.

    `alone`: no other process works on this database, so that what a crashed predecessor had claimed is
    taken up at once and not when its leases end. Finished jobs are kept for `retention_ms`.
    """

    def __init__(
        self,
        db: Database,
        lines: Mapping[str, Line],
        clock: Clock,
        *,
        alone: bool = False,
        retention_ms: int = RETENTION_MS,
    ) -> None:
        self._id = new_id("wkr")
        self._db = db
        self._lines = dict(lines)
        self._rota = Rota({kind: line.shift for kind, line in lines.items()})
        self._clock = clock
        self._leases = Leases(db, self._id, clock)
        self._alone = alone
        self._retention_ms = retention_ms
        self._news = asyncio.Event()
        self._survey_at = 0.0
        self._stopping = False
        self._running = False
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Works until `stop` is called or the task is cancelled; then drains."""
        self._running = True
        unsubscribe = self._db.signals.subscribe(TOPIC, self._hear)
        beside = [asyncio.create_task(self._keep_house()), asyncio.create_task(self._leases.keep())]
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
            await self._drain()
            for each in beside:
                each.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await self._let_go()
            self._ended.set()

    async def stop(self) -> None:
        """Claims nothing more, lets running handlers come to an end, and puts back what does not."""
        self._stopping = True
        self._news.set()
        if self._running:
            await self._ended.wait()

    def _hear(self, topic_key: str | None) -> None:
        if topic_key is None:
            self._survey_at = 0.0
            self._news.set()
        elif self._rota.heard(topic_key, self._clock()):
            self._news.set()

    # Claiming

    async def _look(self) -> float:
        """Claims and starts what is due and returns the seconds until there may be more."""
        try:
            if time.monotonic() >= self._survey_at:
                # Set before it begins: a signal that may be missed meanwhile asks for another one.
                self._survey_at = time.monotonic() + jitter(LOOK_SECONDS_MAX)
                await self._survey()
            now = self._clock()
            wanted = self._rota.wanted(now)
            if not wanted:
                return self._pause(now)
            # The database is not written to in vain: a commit is worth a wait for the disk.
            try:
                taken = await self._db.write(partial(self._claim, wanted=wanted, now=now))
            except Exception:
                for each in wanted:
                    self._rota.unclaimed(each, now)
                raise
        except Exception as error:
            log.warning("jobs.cannot_claim", cause=_cause(error))
            self._survey_at = 0.0
            return jitter(TROUBLE_SECONDS)
        for each, (claimed, loaded) in zip(wanted, taken, strict=True):
            self._rota.claimed(each, claimed, now)
            for job, item in zip(claimed.jobs, loaded, strict=True):
                self._start(job, item)
        return 0.0

    def _pause(self, now: int) -> float:
        seconds = max(0.0, self._survey_at - time.monotonic())
        next_look = self._rota.next_look()
        if next_look is None:
            return seconds
        return min(seconds, max(0.0, (next_look - now) / 1_000))

    def _claim(self, tx: Transaction, wanted: Sequence[Wanted], now: int) -> list[_Claim]:
        """What was claimed of each, with what belongs to its jobs: that of all lanes of a kind at once."""
        taken = claims.claim(tx, wanted, self._id, now)
        jobs: defaultdict[str, list[Job]] = defaultdict(list)
        for each, claimed in zip(wanted, taken, strict=True):
            jobs[each.kind] += claimed.jobs
        loaded = {kind: iter(self._lines[kind].load(tx, mine)) for kind, mine in jobs.items() if mine}
        return [
            (claimed, list(islice(loaded[each.kind], len(claimed.jobs))) if claimed.jobs else ())
            for each, claimed in zip(wanted, taken, strict=True)
        ]

    async def _survey(self) -> None:
        """Looks over all lanes: what this process has not heard of is found at the latest now."""
        for kind in self._lines:
            fresh_due, tried_due = await self._db.read(partial(_dues_outside_lanes, kind=kind))
            self._rota.surveyed(kind, "", fresh_due, tried_due, self._clock())
            after = ""
            while page := await self._db.read(partial(claims.dues, kind=kind, after=after)):
                for lane, fresh_due, tried_due in page:
                    self._rota.surveyed(kind, lane, fresh_due, tried_due, self._clock())
                after = page[-1][0]
                if len(page) < claims.DUES_PAGE:
                    break

    async def _take_over(self) -> None:
        while self._alone and not self._stopping:
            try:
                await self._db.write(lanes.let_all_go)
                released = await self._db.write(
                    partial(claims.release_abandoned, now=self._clock(), most=HOUSEKEEPING_ROWS)
                )
            except Exception as error:
                log.warning("jobs.cannot_take_over", cause=_cause(error))
                return
            if released < HOUSEKEEPING_ROWS:
                return

    def _start(self, job: Job, item: Any) -> None:
        task = asyncio.create_task(self._work_to_the_end(job, item))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Working

    async def _work_to_the_end(self, job: Job, item: Any) -> None:
        try:
            await self._work(job, item, self._lines[job.kind])
        except Exception as error:
            log.error("job.not_settled", kind=job.kind, lane=job.lane, cause=_cause(error))
        finally:
            if self._rota.ended(job.kind, job.lane, self._clock()):
                self._news.set()

    async def _work(self, job: Job, item: Any, line: Line) -> None:
        started = time.monotonic()
        with self._leases.at_work(job):
            settled = await self._settle(job, line, await self._attempt(job, item, line))
        if settled is None:
            return
        outcome, settlement = settled
        self._tell_rota(job, outcome, settlement)
        event = "job." + {"waiting": "again"}.get(settlement.state, settlement.state)
        (log.info if settlement.state == "done" else log.warning)(
            event,
            app_id=job.app_id,
            job_id=job.job_id,
            kind=job.kind,
            lane=job.lane,
            attempt=job.attempts,
            duration_ms=round((time.monotonic() - started) * 1_000),
            detail=settlement.detail if line.tells_details else "",
        )

    def _tell_rota(self, job: Job, outcome: Outcome | None, settlement: Settlement) -> None:
        again_at = settlement.due_at if settlement.state == "waiting" else None
        match outcome:
            case Done():
                self._rota.succeeded(job.kind, job.lane, settlement.now)
            case Again(rest_ms=rest_ms):
                self._rota.failed(job.kind, job.lane, settlement.now, again_at=again_at, rest_ms=rest_ms)
            case _ if again_at is not None:
                self._rota.put_back(job.kind, job.lane, again_at)
            case _:
                pass

    async def _attempt(self, job: Job, item: Any, line: Line) -> Outcome | None:
        """What came of it; None when it was interrupted because the worker stops."""
        if job.tries > line.begun_max:
            return GiveUp(f"It was begun {job.tries - 1} times and never came to an end.")
        deadline = Deadline(asyncio.get_running_loop(), line.seconds_max)
        try:
            with self._leases.ended_when_lost(job), deadline:
                return await line.handler(item)
        except asyncio.CancelledError:
            return None if self._stopping else Again("The handler was cancelled.")
        except Exception as error:
            if deadline.expired:
                return Again(f"The handler took more than {line.seconds_max:g} s.")
            # What went wrong and where, but not its words: they may quote the payload.
            return Again(f"The handler failed: {_cause(error)}.")

    async def _settle(
        self, job: Job, line: Line, outcome: Outcome | None
    ) -> tuple[Outcome | None, Settlement] | None:
        """Settles while the lease lasts, and returns what became of the job; None when that is not ours to
        say: then it will be claimed again, or was."""
        settlement = settlement_of(job, line, outcome, self._clock())
        while True:
            try:
                if not await self._db.write_together(queue.settle, settlement, at_once=True):
                    log.warning("job.overtaken", app_id=job.app_id, job_id=job.job_id, kind=job.kind)
                    return None
                return outcome, settlement
            except StorageUnavailable as error:
                if self._clock() >= self._leases.until(job):
                    log.error("job.not_settled", app_id=job.app_id, job_id=job.job_id, cause=_cause(error))
                    return None
                await asyncio.sleep(jitter(TROUBLE_SECONDS))
            except Instead as instead:
                outcome = instead.outcome
                settlement = settlement_of(job, line, outcome, self._clock())
            except Exception as error:
                if settlement.unit is None:
                    log.error("job.not_settled", app_id=job.app_id, job_id=job.job_id, cause=_cause(error))
                    return None
                outcome = Again(f"What the handler left to be written failed: {_cause(error)}.")
                settlement = settlement_of(job, line, outcome, self._clock())

    # Stopping

    async def _drain(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DRAIN_SECONDS_MAX)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CANCEL_SECONDS_MAX)

    async def _let_go(self) -> None:
        """Leaves the lanes that have limits to others, who would wait for us otherwise."""
        try:
            if await self._db.read(partial(lanes.holds_any, worker=self._id)):
                await self._db.write(partial(lanes.let_go, worker=self._id))
        except Exception as error:
            log.warning("jobs.cannot_let_go", cause=_cause(error))

    # Housekeeping

    async def _keep_house(self) -> None:
        """Deletes finished jobs after RETENTION_MS, a few at a time, so that logins pass."""
        while True:
            await asyncio.sleep(jitter(PRUNE_EVERY_SECONDS))
            pruned = HOUSEKEEPING_ROWS
            while pruned == HOUSEKEEPING_ROWS:
                unit = partial(
                    emptying.prune, finished_before=self._clock() - self._retention_ms, most=HOUSEKEEPING_ROWS
                )
                try:
                    pruned = await self._db.write(unit, patient=True)
                except Exception as error:
                    log.warning("jobs.cannot_prune", cause=_cause(error))
                    break


def _dues_outside_lanes(tx: Transaction, kind: str) -> tuple[int | None, int | None]:
    """As `claims.dues` has it, of the jobs that are in no lane."""
    return claims.next_due(tx, kind, "", tried=False), claims.next_due(tx, kind, "", tried=True)


def _cause(error: BaseException) -> str:
    """The kind of an error and the place that raised it."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = "" if frame is None else f" at {frame.tb_frame.f_globals.get('__name__')}:{frame.tb_lineno}"
    return type(error).__name__ + place
