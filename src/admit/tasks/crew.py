"""The worker processes of a server: starts them, keeps them for the next run of the same task, ends them."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
import structlog

from admit.errors import Unavailable
from admit.task import wire
from admit.task.declarations import Declaration, Problem
from admit.tasks.code import Code
from admit.tasks.nursery import Nursery, identity_of
from admit.tasks.stopped import Stopped
from admit.tasks.worker_process import WorkerProcess, frame_of

LOAD_SECONDS_MAX = 10.0
IDLE_SECONDS_MAX = 60.0
LOOK_SECONDS = 10.0
RUNS_MAX = 1_000
"""Of one process: what leaks in an operator's code or in a library is not worth a search."""
WEIGHED_EVERY_RUNS = 25
NICE = 10
"""How much runs that nobody waits for stand back behind the server, and behind those that somebody does."""
LOADS_REMEMBERED_MAX = 8

log = structlog.get_logger("admit.tasks")


class Kind(msgspec.Struct, frozen=True):
    """What a process is for: one task of one app in one version, so that no task meets another's secrets."""

    app_id: str
    task: str
    version: str
    urgent: bool


class Idle(msgspec.Struct, eq=False):
    """A process that waits for its next run, since `since` on the loop's clock."""

    kind: Kind
    process: WorkerProcess
    since: float


class Crew:
    """At most `processes_max` processes, but for one that examines. Made on the running event loop.

    Raises ConfigError when `user` is no user of this machine.
    """

    def __init__(self, *, processes_max: int, memory_bytes: int, user: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._processes_max = processes_max
        self._memory_bytes = memory_bytes
        self._identity = identity_of(user)
        self._nursery: Nursery | None = None
        self._at_work: dict[WorkerProcess, Kind] = {}
        self._starting = 0
        self._idle: list[Idle] = []  # the longest idle first
        self._warm: dict[tuple[str, str], Code] = {}  # by app and task
        self._current: dict[str, str] = {}  # the version of an app, once it was told
        self._loads: dict[tuple[str, bool], bytes] = {}
        self._encoder = msgspec.msgpack.Encoder()
        self._examining = asyncio.Lock()
        self._chores: set[asyncio.Task[None]] = set()
        self._closed = False
        self._clearing = self._loop.call_later(LOOK_SECONDS, self._clear)

    async def examine(self, code: Code, seconds: float) -> tuple[Declaration, ...] | tuple[Problem, ...]:
        """The tasks in `code`, as a fresh process has imported it, or why it cannot be taken.

        Raises Unavailable once the crew is closed.
        """
        async with self._examining:
            process = await WorkerProcess.start(self._parent(), code.folder, self._memory_bytes)
            try:
                introduction = await process.load(self._load_of(code, urgent=False), seconds)
            finally:
                await process.end()
        match introduction:
            case wire.Loaded(tasks):
                return tasks
            case wire.Broken(problems):
                return problems
            case Stopped(detail=detail):
                return (Problem(file="", line=0, message=f"The code cannot be imported. {detail}"),)

    async def take(self, kind: Kind, code: Code, seconds: float) -> WorkerProcess | Stopped:
        """A process of `kind` with its code; the caller gives it back."""
        for place in range(len(self._idle) - 1, -1, -1):
            if self._idle[place].kind == kind and (process := self._idle.pop(place).process).alive:
                self._at_work[process] = kind
                return process
        if self._closed:
            return Stopped(kind="stopped", detail="The server was stopped.")
        self._make_room()
        started = await self._start(kind, code, seconds)
        if isinstance(started, WorkerProcess):
            self._at_work[started] = kind
        return started

    async def give_back(self, process: WorkerProcess) -> None:
        """Keeps it for the next run, or ends it."""
        kind = self._at_work.pop(process)
        if not process.alive:
            self._warm_up(kind)
        elif self._is_done_with(process, kind):
            await process.end()
            self._warm_up(kind)
        else:
            self._idle.append(Idle(kind, process, self._loop.time()))

    async def keep_warm(self, code: Code, task: str) -> None:
        """Has a process stand ready for a task that people wait for, as long as there is room for it."""
        self._warm[code.app_id, task] = code
        await self._stand_ready(Kind(code.app_id, task, code.version, urgent=True), code)

    async def retire(self, app_id: str, version: str) -> None:
        """From now on `version` is that of the app; processes of others end when their run is over."""
        self._current[app_id] = version
        for key, code in list(self._warm.items()):
            if code.app_id == app_id and code.version != version:
                del self._warm[key]
        await self._dismiss([each for each in self._idle if self._is_old(each.kind)])

    async def close(self) -> None:
        """Ends all processes and waits until they are gone. No other is started then."""
        self._closed = True
        self._clearing.cancel()
        self._warm.clear()
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        for process in [*self._at_work, *(each.process for each in self._idle)]:
            process.stop(Stopped(kind="stopped", detail="The server was stopped."))
        if self._nursery is not None:
            await self._nursery.close()

    async def _start(self, kind: Kind, code: Code, seconds: float) -> WorkerProcess | Stopped:
        self._starting += 1
        try:
            process = await WorkerProcess.start(self._parent(), code.folder, self._memory_bytes)
            introduction = await process.load(self._load_of(code, urgent=kind.urgent), seconds)
        except OSError as error:  # of files, processes or memory the machine has no more
            log.error("tasks.cannot_start", app=code.app, task=kind.task, cause=str(error))
            return Stopped(kind="busy", detail=f"No process could be started: {error.strerror}.")
        finally:
            self._starting -= 1
        match introduction:
            case wire.Loaded():
                return process
            case wire.Broken(problems):
                await process.end()
                first = problems[0] if problems else Problem(file="", line=0, message="No reason was given.")
                place = f"{first.file}:{first.line}: " if first.file else ""
                return Stopped(kind="broken", detail=f"The code does not load: {place}{first.message}")
            case Stopped(detail=detail) if not self._closed:
                return Stopped(kind="broken", detail=f"The code does not load. {detail}")
            case _:
                return Stopped(kind="stopped", detail="The server was stopped.")

    def _parent(self) -> Nursery:
        if self._closed:
            raise Unavailable("The server was stopped.")
        if self._nursery is None or self._nursery.gone:
            self._nursery = Nursery(self._identity)
        return self._nursery

    def _load_of(self, code: Code, *, urgent: bool) -> bytes:
        frame = self._loads.get((code.version, urgent))
        if frame is None:
            load = wire.Load(
                app=code.app,
                folder=code.folder,
                sources=code.sources,
                memory_bytes=self._memory_bytes,
                nice=0 if urgent else NICE,
            )
            while len(self._loads) >= LOADS_REMEMBERED_MAX:
                del self._loads[next(iter(self._loads))]
            frame = self._loads[code.version, urgent] = frame_of(load, self._encoder)
        return frame

    def _make_room(self) -> None:
        """Ends the process that was idle for longest, when there are as many as there may be."""
        if len(self._at_work) + self._starting + len(self._idle) >= self._processes_max and self._idle:
            plain = [each for each in self._idle if not self._is_warm(each.kind)]
            idle = (plain or self._idle)[0]
            self._idle.remove(idle)
            self._do(idle.process.end())

    def _is_done_with(self, process: WorkerProcess, kind: Kind) -> bool:
        if process.leaving or process.runs >= RUNS_MAX or self._is_old(kind):
            return True
        weighed = process.runs % WEIGHED_EVERY_RUNS == 0
        return weighed and process.resident_bytes > self._memory_bytes // 2

    def _is_old(self, kind: Kind) -> bool:
        return self._current.get(kind.app_id, kind.version) != kind.version

    def _is_warm(self, kind: Kind) -> bool:
        code = self._warm.get((kind.app_id, kind.task))
        return code is not None and code.version == kind.version and kind.urgent

    def _warm_up(self, kind: Kind) -> None:
        if self._is_warm(kind):
            self._do(self._stand_ready(kind, self._warm[kind.app_id, kind.task]))

    async def _stand_ready(self, kind: Kind, code: Code) -> None:
        there = [*self._at_work.values(), *(each.kind for each in self._idle)]
        if self._closed or kind in there or len(there) + self._starting >= self._processes_max:
            return
        process = await self._start(kind, code, LOAD_SECONDS_MAX)
        if isinstance(process, WorkerProcess):
            self._idle.append(Idle(kind, process, self._loop.time()))
        else:
            log.error("tasks.not_warm", app=code.app, task=kind.task, problem=process.detail)

    def _clear(self) -> None:
        """Ends what was idle for long, or has died while it was."""
        self._clearing = self._loop.call_later(LOOK_SECONDS, self._clear)
        long_ago = self._loop.time() - IDLE_SECONDS_MAX
        over = [
            each
            for each in self._idle
            if not each.process.alive or (each.since < long_ago and not self._is_warm(each.kind))
        ]
        self._do(self._dismiss(over))
        for (app_id, task), code in self._warm.items():
            self._warm_up(Kind(app_id, task, code.version, urgent=True))

    async def _dismiss(self, some: list[Idle]) -> None:
        self._idle = [each for each in self._idle if each not in some]
        await asyncio.gather(*(each.process.end() for each in some))

    def _do(self, chore: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(chore)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)
