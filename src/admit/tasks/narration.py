"""Narration: what a run says is written while it goes on, so that somebody can watch."""

import asyncio
from contextlib import suppress

import structlog

from admit.errors import AdmitError
from admit.jobs import lines
from admit.jobs.lines import NewLine, Spoken
from admit.jobs.queue import Job
from admit.storage.database import Database

EVERY_SECONDS = 0.3

log = structlog.get_logger("admit.tasks")


class Narration:
    """Writes the lines of one run, of a claimed job, now and then. `rest` are those for its settlement."""

    def __init__(self, db: Database, job: Job, lane: str) -> None:
        self._db = db
        self._job = job
        self._lane = lane
        self._over = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None
        self._written = 0
        self.said: list[NewLine] = []

    def heard(self) -> None:
        """Hears that there is a new line in `said`."""
        if self._writing is None and not self._over.is_set():
            self._writing = asyncio.create_task(self._write_on())

    async def rest(self) -> Spoken:
        """Ends the narration; what was not written yet."""
        self._over.set()
        if self._writing is not None:
            await self._writing
        return Spoken(job=self._job, lane=self._lane, said=tuple(self.said[self._written :]))

    async def _write_on(self) -> None:
        while not self._over.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_SECONDS):
                    await self._over.wait()
            if self._over.is_set() or not await self._write():
                return

    async def _write(self) -> bool:
        """Writes what is new. False: the job is no longer ours."""
        spoken = Spoken(job=self._job, lane=self._lane, said=tuple(self.said[self._written :]))
        if not spoken.said:
            return True
        try:
            # Whether it was committed may be unknown then; a line that is there already is not written twice.
            mine = await self._db.write_together(lines.say, spoken)
        except AdmitError as error:
            log.info("run.lines_delayed", job_id=self._job.job_id, cause=error.code)
            return True
        self._written += len(spoken.said)
        return mine
