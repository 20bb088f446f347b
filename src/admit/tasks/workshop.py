"""The workshop: gives each run a place and a process, and holds it to its time."""

import asyncio
from collections import deque
from collections.abc import Mapping

import msgspec

from admit.task import confinement, wire
from admit.task.declarations import Declaration, Problem
from admit.task.payloads import Decision, Payload, Run
from admit.tasks.code import Code
from admit.tasks.crew import LOAD_SECONDS_MAX, Crew, Kind
from admit.tasks.places import Places, Rank
from admit.tasks.stopped import Stopped
from admit.tasks.worker_process import Result, Visitor, WorkerProcess

__all__ = ["LOAD_SECONDS_MAX", "WAIT_SECONDS_MAX", "Order", "Result", "Stopped", "Visitor", "Workshop"]

WAIT_SECONDS_MAX = 30.0
"""For a process, of a run that is not urgent."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One run that is wanted. Its `timeout_seconds` cover the wait for a process, too, where it is `urgent`:
    somebody waits for it. At most `at_once` of its task go on at the same time here."""

    run: Run
    payload: Payload
    env: Mapping[str, str]
    timeout_seconds: float
    at_once: int
    urgent: bool = False
    authenticate_only: bool = False

    @property
    def rank(self) -> Rank:
        """Before whom it goes."""
        if not self.urgent:
            return Rank.OTHER
        return Rank.DECISION if isinstance(self.payload, Decision) else Rank.HTTP


class Turn(msgspec.Struct, eq=False):
    """A run that waits for its place. `granted` becomes None, or why there will be none."""

    kind: Kind
    rank: Rank
    at_once: int
    granted: "asyncio.Future[Stopped | None]"


class Workshop:
    """Made on the running event loop; close it at the end. `user` runs the processes, if it is not "".

    From then on nobody but root reads this server's own memory. Raises ConfigError when `user` cannot do it.
    """

    def __init__(self, *, processes_max: int, memory_bytes: int, user: str = "") -> None:
        confinement.close_to_others()
        self._loop = asyncio.get_running_loop()
        self._crew = Crew(processes_max=processes_max, memory_bytes=memory_bytes, user=user)
        self._places = Places(processes_max)
        self._waiting: dict[Kind, deque[Turn]] = {}
        self._turns: dict[str, Turn] = {}  # by run
        self._at_work: dict[str, WorkerProcess] = {}  # by run
        self._closed = False

    async def examine(
        self, code: Code, timeout_seconds: float = LOAD_SECONDS_MAX
    ) -> tuple[Declaration, ...] | tuple[Problem, ...]:
        """Imports `code` in a fresh process: the tasks in it, or why it cannot be taken."""
        return await self._crew.examine(code, timeout_seconds)

    async def run(self, code: Code, order: Order, visitor: Visitor) -> Result:
        """Runs a task once. What it says goes to `visitor`, which also answers what it asks.

        Returns when it is over; a process that had to be ended is dead then. Who cancels it ends it, too.
        """
        patience = order.timeout_seconds if order.urgent else WAIT_SECONDS_MAX
        give_up_at = self._loop.time() + patience
        kind = Kind(code.app_id, order.run.task, code.version, order.urgent)
        refused = await self._await_turn(kind, order, patience)
        if refused is not None:
            return refused
        try:
            return await self._run(kind, code, order, visitor, give_up_at)
        finally:
            self._places.give_back(kind, order.rank)
            self._call_next()

    def end(self, run_id: str) -> bool:
        """Ends a run that waits or is under way here; False when there is none. Its process is killed."""
        sentence = Stopped(kind="stopped", detail="It was cancelled.")
        if (process := self._at_work.get(run_id)) is not None:
            process.stop(sentence)
            return True
        turn = self._turns.get(run_id)
        if turn is not None and not turn.granted.done():
            turn.granted.set_result(sentence)
        return turn is not None

    async def keep_warm(self, code: Code, task: str) -> None:
        """Has a process stand ready for a task that people wait for, from now until its code is retired."""
        await self._crew.keep_warm(code, task)

    async def retire(self, app_id: str, version: str) -> None:
        """From now on `version` is that of the app; processes of others end when their run is over."""
        await self._crew.retire(app_id, version)

    async def close(self) -> None:
        """Begins nothing more and ends all processes; what was under way ends as `stopped`."""
        self._closed = True
        for turn in [each for turns in self._waiting.values() for each in turns]:
            if not turn.granted.done():
                turn.granted.set_result(_closed())
        await self._crew.close()

    async def _run(self, kind: Kind, code: Code, order: Order, visitor: Visitor, give_up_at: float) -> Result:
        left = give_up_at - self._loop.time() if order.urgent else LOAD_SECONDS_MAX
        process = await self._crew.take(kind, code, left)
        if isinstance(process, Stopped):
            return process
        run_id = order.run.run_id
        self._at_work[run_id] = process
        begin = wire.Begin(
            run=order.run, payload=order.payload, env=order.env, authenticate_only=order.authenticate_only
        )
        try:
            left = give_up_at - self._loop.time() if order.urgent else order.timeout_seconds
            return await process.run(begin, visitor, max(left, 0.0))
        finally:
            if self._at_work.get(run_id) is process:
                del self._at_work[run_id]
            await self._crew.give_back(process)

    async def _await_turn(self, kind: Kind, order: Order, seconds: float) -> Stopped | None:
        """Takes a place for it; a Stopped when it gets none."""
        if self._closed:
            return _closed()
        if kind not in self._waiting and self._places.may_begin(kind, order.rank, order.at_once):
            self._places.take(kind, order.rank)
            return None
        turn = Turn(kind, order.rank, order.at_once, self._loop.create_future())
        run_id = order.run.run_id
        self._turns[run_id] = turn
        self._waiting.setdefault(kind, deque()).append(turn)
        timer = self._loop.call_later(seconds, self._turn_away, turn, seconds)
        try:
            return await turn.granted
        except asyncio.CancelledError:
            if turn.granted.done() and not turn.granted.cancelled() and turn.granted.result() is None:
                self._places.give_back(kind, order.rank)
                self._call_next()
            raise
        finally:
            timer.cancel()
            self._leave(turn)
            if self._turns.get(run_id) is turn:
                del self._turns[run_id]

    def _turn_away(self, turn: Turn, seconds: float) -> None:
        if not turn.granted.done():
            detail = f"All places for tasks were taken for {seconds:.3g} s."
            turn.granted.set_result(Stopped(kind="busy", detail=detail))

    def _leave(self, turn: Turn) -> None:
        turns = self._waiting.get(turn.kind)
        if turns is not None and turn in turns:
            turns.remove(turn)
            if not turns:
                del self._waiting[turn.kind]

    def _call_next(self) -> None:
        while self._waiting:
            heads = [(kind, turns[0].rank, turns[0].at_once) for kind, turns in self._waiting.items()]
            kind = self._places.next_of(heads)
            if kind is None:
                return
            turn = self._waiting[kind][0]
            self._leave(turn)
            if not turn.granted.done():
                self._places.take(kind, turn.rank)
                turn.granted.set_result(None)


def _closed() -> Stopped:
    return Stopped(kind="stopped", detail="The server was stopped.")
