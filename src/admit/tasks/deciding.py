"""Runs of decision tasks: about one person at the door each, at once and outside of the queue.

They are kept like any other run, from the moment of the verdict on. Nothing is believed that a run says about
itself, and what its answer means is for those to say who have asked.
"""

import asyncio
from collections.abc import Callable
from typing import assert_never

import msgspec
from msgspec.structs import replace

from admit.accounts.apps import App
from admit.clock import Clock
from admit.jobs.attempts import Attempt
from admit.jobs.lines import NewLine
from admit.storage.sealing import SealBroken
from admit.storage.transaction import Transaction
from admit.task import wire
from admit.task.declarations import Decides
from admit.task.payloads import Decision, Run
from admit.tasks import run_outcomes, run_records
from admit.tasks.desk import Visit
from admit.tasks.registry import Registry, Task
from admit.tasks.run_orders import OwedDecision
from admit.tasks.run_records import FinishedRun
from admit.tasks.workshop import Order, Result, Stopped, Workshop

REFUSED = "refused_changes"
NO_DECISION = "no_decision"
MAY_HELP_AGAIN = frozenset({"timeout", "memory", "crashed"})

BegunVisit = Callable[[App, Task, Run], Visit]
"""Who answers what a run asks, and keeps what it says."""


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one attempt. Without a `result` (JSON), `detail` says why there is none."""

    result: bytes | None = None
    detail: str = ""
    again: bool = False


class Deciders:
    """The decision tasks of all apps."""

    def __init__(self, registry: Registry, workshop: Workshop, visit: BegunVisit, clock: Clock) -> None:
        self.registry = registry
        self.workshop = workshop
        self.visit = visit
        self.clock = clock

    def begin(self, app: App, task: str, decision: Decision, earlier: int) -> "DecisionRun":
        """A run about the person of `decision`, which may have had `earlier` attempts by others."""
        return DecisionRun(self, app, task, decision, earlier)

    def rehearse(self, app: App, task: str, decision: Decision) -> "Rehearsal":
        """A run in test mode, about somebody imagined: nobody is asked outside, and nothing is kept."""
        return Rehearsal(self, app, task, decision, earlier=0)

    def missing(self, app: App, name: str) -> str:
        """Why no task of that name can decide now; "" where one can."""
        task = self.registry.find(app.app_id, name)
        if task is None:
            problems = [each for each in self.registry.reports() if each.app == app.name and each.problems]
            why = f" Its code could not be loaded: {problems[0].problems[0].message}" if problems else ""
            return f"{app.name} has no task {name} on this server.{why}"
        if not isinstance(task.declaration.trigger, Decides):
            return f"The task {name} does not decide: it lacks @task.decides."
        return f"The task {name} is paused." if task.paused else ""


class DecisionRun:
    """One run about one person, attempted as often as whoever asks wants."""

    test = False

    def __init__(self, deciders: Deciders, app: App, name: str, decision: Decision, earlier: int) -> None:
        self._deciders = deciders
        self._app = app
        self._name = name
        self._decision = decision
        self._earlier = earlier
        self._run_id = "run_" + decision.admission_id.removeprefix("adm_")
        self._task: Task | None = None
        self.visit: Visit | None = None
        self._attempts: list[Attempt] = []
        self.lines: list[NewLine] = []

    async def attempt(self, timeout_seconds: float) -> Tried:
        """Runs the task once; it is ended when the time is up."""
        deciders = self._deciders
        if missing := deciders.missing(self._app, self._name):
            return Tried(detail=missing)
        task = self._task = deciders.registry.find(self._app.app_id, self._name)
        assert task is not None, "a task that is not missing is found"
        run = Run(
            run_id=self._run_id,
            attempt=self._earlier + len(self._attempts) + 1,
            task=self._name,
            app_id=self._app.app_id,
            app=self._app.name,
            now=deciders.clock(),
            test=self.test,
        )
        try:
            env = await deciders.registry.env_of(task)
        except SealBroken as broken:
            return Tried(detail=f"A variable of the task {self._name} cannot be read: {broken}")
        order = Order(
            run=run,
            payload=self._decision,
            env=env,
            timeout_seconds=timeout_seconds,
            at_once=task.declaration.at_once,
            urgent=True,
        )
        visit = self.visit = deciders.visit(self._app, task, run)
        started = asyncio.get_running_loop().time()
        result = await deciders.workshop.run(task.code, order, visit)
        took = asyncio.get_running_loop().time() - started
        tried, outcome = self._read(result)
        self.lines += visit.lines
        if tried.result is None:
            self.lines.append(_complaint(run, outcome, tried.detail, deciders.clock()))
        self._attempts.append(self._noted(task, run, round(took * 1000), outcome, tried))
        return tried

    def note(self, tx: Transaction, uid: str | None, fault: str, *, in_time: bool) -> None:
        """Writes the run with its attempts and lines. `fault`: what was wrong with its answer, "" if none.

        `uid`: whose it is. Without one, nothing of what was returned is kept: nobody could have it erased.
        Not `in_time`: another attempt has decided, and says what became of the run.
        """
        if self._task is None or not self._attempts:
            return
        attempts = self._attempts[:]
        if fault and attempts[-1].outcome == "ok":
            attempts[-1] = replace(attempts[-1], outcome=NO_DECISION, detail=fault)
        now = attempts[-1].started_at + attempts[-1].duration_ms
        device = self._decision.device
        run_records.finished(
            tx,
            FinishedRun(
                app_id=self._app.app_id,
                run_id=self._run_id,
                task_id=self._task.task_id,
                owed=OwedDecision(task_id=self._task.task_id),
                subject=uid,
                state="dead" if fault else "done",
                detail=fault,
                created_at=attempts[0].started_at,
                now=now,
                attempts=tuple(each if uid else replace(each, reply="") for each in attempts),
                lines=tuple(self.lines),
                abouts=(
                    self._decision.admission_id,
                    *((f"device:{device.identifier}",) if device else ()),
                ),
                final=in_time,
            ),
        )

    def _read(self, result: Result) -> tuple[Tried, str]:
        """What an attempt has come to, and the word for it."""
        name = self._name
        match result:
            case wire.Ended(changes=(), calls=()):
                return Tried(result=result.result), "ok"
            case wire.Ended():
                return Tried(
                    detail=f"The task {name} wanted to change something. A decision cannot."
                ), REFUSED
            case wire.Raised():
                sentence = run_outcomes.sentence_of(result)
                return Tried(detail=f"The task {name} raised {sentence}", again=True), "raised"
            case Stopped(kind=kind, detail=detail):
                return Tried(detail=f"The task {name}: {detail}", again=kind in MAY_HELP_AGAIN), kind
            case wire.Declined():
                return Tried(detail=f"The task {name} gave no answer."), "declined"
            case _:
                assert_never(result)

    def _noted(self, task: Task, run: Run, duration_ms: int, outcome: str, tried: Tried) -> Attempt:
        return Attempt(
            app_id=run.app_id,
            job_id=run.run_id,
            attempt=run.attempt,
            lane=task.task_id,
            started_at=run.now,
            duration_ms=duration_ms,
            outcome=outcome,
            status=None,
            address="",
            detail=tried.detail,
            reply=(tried.result or b"").decode(errors="replace"),
        )


class Rehearsal(DecisionRun):
    """A run in test mode: what it would have sent is `blocked`. It is never noted."""

    test = True

    @property
    def result(self) -> bytes | None:
        """What the last attempt has returned, as JSON."""
        return self._attempts[-1].reply.encode() or None if self._attempts else None

    @property
    def blocked(self) -> list[str]:
        """What the last attempt would have sent, as `GET https://…`."""
        return [] if self.visit is None else list(self.visit.blocked)


def _complaint(run: Run, outcome: str, detail: str, now: int) -> NewLine:
    """What went wrong, among what the run has said."""
    fields = msgspec.json.encode({"outcome": outcome, "attempt": run.attempt}).decode()
    return NewLine(run_outcomes.LAST_NUMBER, now, "error", detail, fields)
