"""Runs: a claimed run is given to the workshop, and what came of it decides what becomes of it.

What a run wants to be different is committed with its completion, in one unit: so it is once, whatever dies.
"""

import asyncio
import time
from collections.abc import Sequence
from functools import partial

import msgspec
import structlog
from sqlalchemy import bindparam, select

from admit.accounts.apps import App
from admit.accounts.directory import Directory
from admit.clock import SECOND_MS, Clock, new_id
from admit.errors import NotFound
from admit.jobs.handling import GiveUp, Later, Line, Outcome
from admit.jobs.queue import Job
from admit.jobs.tables import jobs
from admit.outbound.http import HttpClient
from admit.storage.database import Database
from admit.storage.lookups import Lookup
from admit.storage.sealing import SealBroken
from admit.storage.transaction import Transaction
from admit.task.declarations import RETRIES_MAX, TIMEOUT_SECONDS_MAX, Declaration
from admit.task.payloads import Payload, Request, Run
from admit.tasks import run_changes, run_orders, run_outcomes
from admit.tasks.change_sets import WriteUsers
from admit.tasks.desk import Desk, Visit
from admit.tasks.narration import Narration
from admit.tasks.registrations import KIND as KIND
from admit.tasks.registry import Registry, Task
from admit.tasks.run_orders import Owing
from admit.tasks.run_outcomes import SCHEDULE, Tried
from admit.tasks.run_rehearsals import Rehearsal, rehearsal_of
from admit.tasks.run_requests import Executed as Executed
from admit.tasks.run_requests import Requests
from admit.tasks.run_starts import is_queue
from admit.tasks.tables import tasks
from admit.tasks.tempo import Tempo
from admit.tasks.workshop import LOAD_SECONDS_MAX, WAIT_SECONDS_MAX, Order, Result, Workshop

AT_ONCE = 1_024
"""Over all tasks of this process; how many of them have a process is the workshop's to say."""
ELSEWHERE_MS = 2 * SECOND_MS
PAUSED_MS = 60 * SECOND_MS
UNHEARD_MS = SECOND_MS // 4
"""A paused task has a closed lane: who claims from it was first, or has not heard yet that it is open."""

IS_LIVE = select(tasks.c.gone_at).where(
    tasks.c.app_id == bindparam("app"), tasks.c.task_id == bindparam("task")
)
CLAIMED = Lookup(
    select(jobs.c.app_id, jobs.c.job_id, jobs.c.fence).where(jobs.c.state == "claimed"),
    (jobs.c.app_id, jobs.c.job_id),
)

log = structlog.get_logger("admit.tasks")


class Runs:
    """Runs the tasks of all apps."""

    def __init__(
        self,
        db: Database,
        registry: Registry,
        workshop: Workshop,
        directory: Directory,
        http: HttpClient,
        clock: Clock,
        write_users: WriteUsers,
        *,
        server: str,
    ) -> None:
        self.db = db
        self.registry = registry
        self.workshop = workshop
        self.clock = clock
        self.write_users = write_users
        self._directory = directory
        self._server = server
        self._desk = Desk(db, http, clock)
        self._requests = Requests(db, clock, self.attempt, write_users)
        self._at_work: dict[tuple[str, str], Job] = {}
        self._tempos: dict[str, Tempo] = {}
        self._looking: asyncio.Task[None] | None = None
        self._end_subscription = db.signals.subscribe(run_changes.TOPIC, self._heard)

    async def close(self) -> None:
        """Waits for those who wait, and hears nothing any more."""
        await self._requests.close()
        self._end_subscription()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def line(self) -> Line:
        """How the worker works off runs."""
        return Line(
            self.work,
            SCHEDULE,
            seconds_max=TIMEOUT_SECONDS_MAX + WAIT_SECONDS_MAX + LOAD_SECONDS_MAX + 5,
            at_once=AT_ONCE,
            pace=self._tempo,
            load=self._load,
            attempts_max=RETRIES_MAX + 1,
            serves=self._serves,
            keeps_payloads=True,
            tells_details=False,
        )

    def visit(self, app: App, task: Task, run: Run) -> Visit:
        """Who answers what a run asks, and keeps what it says."""
        return Visit(self._desk, app, run, task.declaration.timeout_seconds)

    # In the queue

    async def work(self, owing: Owing) -> Outcome:
        """One attempt at a claimed run."""
        job = owing.job
        task = self.registry.of_id(owing.task_id)
        if task is None:
            return await self._without_task(job.app_id, owing.task_id)
        if task.paused:
            after_ms = PAUSED_MS if is_queue(job.lane) else UNHEARD_MS
            return Later(f"The task {task.declaration.name} is paused.", after_ms)
        try:
            app = await self._directory.app_by_id(job.app_id)
        except NotFound:
            return GiveUp("The app was removed.")
        payload = run_orders.payload(owing, app, self._server)
        if isinstance(payload, str):
            return GiveUp(payload)
        try:
            tried = await self.attempt(app, task, job, payload)
        except SealBroken as broken:
            return Later(f"A variable of {task.declaration.name} cannot be read: {broken}", PAUSED_MS)
        return run_outcomes.outcome_of(tried, self.write_users)

    async def attempt(
        self,
        app: App,
        task: Task,
        job: Job,
        payload: Payload,
        *,
        urgent: bool = False,
        seconds: float | None = None,
    ) -> Tried:
        """Runs the task once, for a job that is claimed. `urgent`: somebody waits for it."""
        run = self._run(app, task, job.job_id, job.attempts)
        order = await self._order(task, run, payload, urgent=urgent, seconds=seconds)
        narration = Narration(self.db, job, task.task_id)
        visit = Visit(self._desk, app, run, order.timeout_seconds, narration.heard)
        narration.said = visit.lines
        key = job.app_id, job.job_id
        self._at_work[key] = job
        began = time.monotonic()
        try:
            result = await self.workshop.run(task.code, order, visit)
        finally:
            del self._at_work[key]
            if (tempo := self._tempos.get(job.lane)) is not None:
                tempo.took(time.monotonic() - began)
            spoken = await narration.rest()
        return Tried(
            job=job,
            app=app,
            declaration=task.declaration,
            tasks=self._tasks_of(app.app_id),
            started_at=run.now,
            now=self.clock(),
            result=result,
            spoken=spoken,
        )

    async def _without_task(self, app_id: str, task_id: str) -> Outcome:
        """Of a run in a named queue, whose task this process does not have."""
        gone = await self.db.read(partial(_is_gone, app_id=app_id, task_id=task_id))
        if gone:
            return GiveUp("The code no longer declares this task.")
        return Later("This server does not have the task yet.", ELSEWHERE_MS)

    def _load(self, tx: Transaction, claimed: list[Job]) -> Sequence[Owing]:
        return run_orders.load(tx, claimed, self.clock())

    def _tempo(self, lane: str) -> Tempo:
        tempo = self._tempos[lane] = Tempo(partial(self._may_go_on, lane))
        return tempo

    def _may_go_on(self, lane: str) -> int:
        task = self.registry.of_id(lane)
        return 1 if task is None else task.declaration.at_once

    def _serves(self, lane: str) -> bool:
        return is_queue(lane) or self.registry.serves(lane)

    def _tasks_of(self, app_id: str) -> dict[str, tuple[str, Declaration]]:
        return {
            each.declaration.name: (each.task_id, each.declaration) for each in self.registry.of_app(app_id)
        }

    # Cancelled runs

    def _heard(self, key: str | None) -> None:
        if key is not None:
            app_id, _, run_id = key.partition("/")
            if (app_id, run_id) in self._at_work:
                self.workshop.end(run_id)
        elif self._at_work and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        """Ends the runs that were cancelled while no signal arrived."""
        mine = dict(self._at_work)
        try:
            held = await self.db.read(partial(_held, keys=list(mine)))
        except Exception as error:
            log.warning("runs.cannot_look", cause=type(error).__name__)
            return
        for key, job in mine.items():
            if held.get(key) != job.fence and key in self._at_work:
                self.workshop.end(job.job_id)

    # At once

    async def execute_now(
        self,
        task: Task,
        request: Request,
        *,
        key: str = "",
        timeout_seconds: float | None = None,
        uid: str | None = None,
    ) -> Executed:
        """Answers a request, once. `key`: who sends it again is given the same answer, not another run.

        `timeout_seconds` (None: those of the task) cover the wait for a process, too. `uid`: the user whose
        request it is, if it is one's.
        """
        app = await self._directory.app_by_id(task.app_id)
        return await self._requests.execute(app, task, request, key, timeout_seconds, uid)

    async def authenticate(self, task: Task, request: Request) -> Result:
        """Asks an HTTP task whether a request may come in: Ended or Declined. Nothing is written."""
        app = await self._directory.app_by_id(task.app_id)
        run = self._run(app, task, new_id("run"))
        order = await self._order(task, run, request)
        asked = msgspec.structs.replace(order, authenticate_only=True)
        return await self.workshop.run(task.code, asked, self.visit(app, task, run))

    async def rehearse(self, task: Task, payload: Payload, *, seconds: float | None = None) -> Rehearsal:
        """Runs a task in test mode: nothing that it wants is done. `seconds` None: as long as it may run."""
        app = await self._directory.app_by_id(task.app_id)
        run = msgspec.structs.replace(self._run(app, task, new_id("run")), test=True)
        visit = self.visit(app, task, run)
        order = await self._order(task, run, payload, seconds=seconds)
        result = await self.workshop.run(task.code, order, visit)
        return rehearsal_of(result, visit)

    def _run(self, app: App, task: Task, run_id: str, attempt: int = 1) -> Run:
        return Run(
            run_id=run_id,
            attempt=attempt,
            task=task.declaration.name,
            app_id=app.app_id,
            app=app.name,
            now=self.clock(),
        )

    async def _order(
        self, task: Task, run: Run, payload: Payload, *, urgent: bool = True, seconds: float | None = None
    ) -> Order:
        return Order(
            run=run,
            payload=payload,
            env=await self.registry.env_of(task),
            timeout_seconds=task.declaration.timeout_seconds if seconds is None else seconds,
            at_once=task.declaration.at_once,
            urgent=urgent,
        )


def _is_gone(tx: Transaction, app_id: str, task_id: str) -> bool:
    row = tx.execute(IS_LIVE, {"app": app_id, "task": task_id}).one_or_none()
    return row is None or row.gone_at is not None


def _held(tx: Transaction, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """The fences of jobs that are claimed."""
    return {(row.app_id, row.job_id): row.fence for row in CLAIMED.rows(tx, keys)}
