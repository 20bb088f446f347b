"""Leases: what takes long is kept for whoever is at it, so that the leases of the dead can be short."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import structlog

from admit.clock import Clock
from admit.jobs import handling, lanes, queue
from admit.jobs.queue import Job
from admit.storage.database import Database
from admit.storage.transaction import Transaction

RENEW_SECONDS = 15.0

log = structlog.get_logger("admit.jobs")


class Leases:
    """The jobs that one worker is at. `keep` renews their leases, and its hold on lanes with limits."""

    def __init__(self, db: Database, worker: str, clock: Clock) -> None:
        self._db = db
        self._worker = worker
        self._clock = clock
        self._until: dict[Job, int] = {}
        self._handled: dict[Job, asyncio.Task[Any]] = {}

    @contextmanager
    def at_work(self, job: Job) -> Iterator[None]:
        """Holds the lease of a claimed job until the block ends."""
        self._until[job] = job.lease_until
        try:
            yield
        finally:
            del self._until[job]

    @contextmanager
    def ended_when_lost(self, job: Job) -> Iterator[None]:
        """Cancels the block where a renewal finds that the job was ended, or is another claim's by now.

        Whatever it did from then on would be done beside others.
        """
        task = asyncio.current_task()
        assert task is not None, "a job is handled in a task"
        self._handled[job] = task
        try:
            yield
        finally:
            del self._handled[job]

    def until(self, job: Job) -> int:
        """When others may claim the job (UTC ms)."""
        return self._until[job]

    async def keep(self) -> None:
        """Renews what is held, for ever."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await self.renew()

    async def renew(self) -> None:
        """Renews once. What is no longer ours stays with whoever has it, and ends here."""
        held = list(self._until)
        if not held:
            return
        now = self._clock()
        try:
            mine = await self._db.write(partial(_renew, worker=self._worker, held=held, now=now))
        except Exception as error:
            log.warning("jobs.cannot_renew", cause=type(error).__name__)
            return
        for job, is_mine in zip(held, mine, strict=True):
            if is_mine and job in self._until:
                self._until[job] = now + handling.LEASE_MS_MAX
            elif not is_mine and (task := self._handled.get(job)) is not None:
                log.warning("lease.lost", app_id=job.app_id, job_id=job.job_id, kind=job.kind)
                task.cancel()


def _renew(tx: Transaction, worker: str, held: Sequence[Job], now: int) -> list[bool]:
    lanes.hold_on(tx, worker, {job.lane for job in held if job.lane}, now)
    return queue.renew(tx, held, now + handling.LEASE_MS_MAX)
