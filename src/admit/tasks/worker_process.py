"""One worker process: what is said to it and by it, its time, and its end.

Whatever comes from it is taken as if it came from an enemy: the operator's code can write to its socket, too.
"""

import asyncio
import os
import socket
from collections.abc import Mapping
from typing import Any, Protocol, cast

import msgspec
import structlog

from admit.errors import AdmitError
from admit.task import wire
from admit.task.nursery import Exited
from admit.tasks import stopped
from admit.tasks.nursery import Nursery
from admit.tasks.output import Output
from admit.tasks.stopped import Stopped

LINES_MAX = 1_100
LINES_BYTES_MAX = 3_000_000
"""More than the kit lets a task say, in frames."""
LAST_LOOK_SECONDS_MAX = 0.4
"""For a process that is out of time, to write where it stands."""
LOOKS = 20
DEATH_SECONDS_MAX = 2.0
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

log = structlog.get_logger("admit.tasks")


class Visitor(Protocol):
    """Who answers what a run asks, and hears what it says."""

    async def answer(self, question: wire.Question) -> Any:
        """What is put into an Answer. Raises AdmitError, whose message is raised in the task."""
        ...

    def said(self, line: wire.Said) -> None:
        """Takes down a line. Must not wait."""
        ...


Introduction = wire.Loaded | wire.Broken | Stopped
Result = wire.Ended | wire.Declined | wire.Raised | Stopped


class WorkerProcess(asyncio.Protocol):
    """A process from birth to death. `load` it once, then `run` in it, one run at a time."""

    def __init__(self, nursery: Nursery, folder: str, memory_bytes: int) -> None:
        self.runs = 0
        self.leaving = False
        self._nursery = nursery
        self._folder = folder
        self._memory_bytes = memory_bytes
        self._loop = asyncio.get_running_loop()
        self._unread = bytearray()
        self._decoder = msgspec.msgpack.Decoder(wire.FromWorker)
        self._encoder = msgspec.msgpack.Encoder()
        self._waiting: asyncio.Future[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._visitor: Visitor | None = None
        self._env: Mapping[str, str] = {}
        self._lines = 0
        self._lines_bytes = 0
        self._asking: asyncio.Task[None] | None = None
        self._sentence: Stopped | None = None
        self._dead = asyncio.Event()
        self._transport: asyncio.WriteTransport | None = None
        self._ours, theirs = socket.socketpair()
        self._ours.setblocking(False)
        reads, writes = os.pipe()
        self._output = Output(reads)
        try:
            self._infant = nursery.start(folder, theirs, writes, self._ended)
        finally:
            theirs.close()
            os.close(writes)

    @classmethod
    async def start(cls, nursery: Nursery, folder: str, memory_bytes: int) -> "WorkerProcess":
        """A new process, which is given its code by `load`."""
        process = cls(nursery, folder, memory_bytes)
        await process._loop.create_unix_connection(lambda: process, sock=process._ours)
        return process

    @property
    def alive(self) -> bool:
        """False once it is dead or condemned."""
        return self._sentence is None and not self._dead.is_set()

    @property
    def resident_bytes(self) -> int:
        """How much memory it has, as far as the machine tells; else 0."""
        try:
            with open(f"/proc/{self._infant.pid}/statm") as statm:
                return int(statm.read().split()[1]) * PAGE_BYTES
        except (OSError, IndexError):
            return 0

    # What it is given to do

    async def load(self, frame: bytes, seconds: float) -> Introduction:
        """Gives it its code. `frame` is a Load as `frame_of` makes it."""
        return await self._wait_for(frame, seconds)  # type: ignore[no-any-return]

    async def run(self, begin: wire.Begin, visitor: Visitor, seconds: float) -> Result:
        """One run, which is over after `seconds`, if need be with the process."""
        self.runs += 1
        self._visitor, self._env = visitor, begin.env
        self._lines = self._lines_bytes = 0
        try:
            result = await self._wait_for(frame_of(begin, self._encoder), seconds)
        finally:
            self._visitor = None
            if self._asking is not None:
                self._asking.cancel()
                self._asking = None
                self.leaving = True
        if isinstance(result, wire.Raised) and result.error == "MemoryError":
            await self.end()
            return stopped.out_of_memory(self._memory_bytes, result.place)
        return result  # type: ignore[no-any-return]

    async def end(self) -> None:
        """Kills it and all that it has started, and waits until it is dead."""
        self.stop(Stopped(kind="stopped", detail="It was ended."))
        try:
            async with asyncio.timeout(DEATH_SECONDS_MAX):
                await self._dead.wait()
        except TimeoutError:
            log.error("task.process_does_not_die", pid=self._infant.pid)

    def stop(self, sentence: Stopped) -> None:
        """Kills it; what is under way in it ends with `sentence`."""
        if self._sentence is None:
            self._sentence = sentence
            self._nursery.kill(self._infant)

    async def _wait_for(self, frame: bytes, seconds: float) -> Any:
        """What it says in the end, or why it cannot say it any more; then it is dead."""
        if not self.alive or self._transport is None:
            return self._sentence or Stopped(kind="crashed", detail="It has died before it could begin.")
        self._waiting = self._loop.create_future()
        self._timer = self._loop.call_later(seconds, self._time_out, seconds)
        try:
            self._transport.write(frame)
            result = await self._waiting
        except asyncio.CancelledError:
            self.stop(Stopped(kind="stopped", detail="It was ended."))
            raise
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._waiting = None
        return result

    def _time_out(self, seconds: float, looks_left: int = LOOKS) -> None:
        """Lets it write where it stands, and ends it as soon as it has."""
        if self._waiting is None or self._waiting.done():
            return
        if looks_left == LOOKS:
            self._nursery.dump(self._infant)
        place = stopped.place_in(self._output.read(), self._folder)
        if looks_left and not place:
            pause = LAST_LOOK_SECONDS_MAX / LOOKS
            self._timer = self._loop.call_later(pause, self._time_out, seconds, looks_left - 1)
        else:
            self.stop(stopped.timed_out(seconds, place))

    # What it says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # those of uvloop are no subclass of it

    def data_received(self, data: bytes) -> None:
        unread = self._unread
        unread += data
        at = 0
        while len(unread) - at >= wire.LENGTH.size and self._sentence is None:
            (size,) = wire.LENGTH.unpack_from(unread, at)
            if size > wire.FRAME_BYTES_MAX:
                self._broke_off(f"a frame of {size:,} bytes")
                break
            start, end = at + wire.LENGTH.size, at + wire.LENGTH.size + size
            if len(unread) < end:
                break
            try:
                frame = self._decoder.decode(bytes(unread[start:end]))
            except (msgspec.DecodeError, msgspec.ValidationError):
                self._broke_off("something that is none of its frames")
                break
            self._hear(frame, size)
            at = end
        del unread[:at]

    def connection_lost(self, error: Exception | None) -> None:
        self._nursery.kill(self._infant)

    def _hear(self, frame: wire.FromWorker, size: int) -> None:
        match frame:
            case wire.Said() if self._visitor is not None:
                self._lines += 1
                self._lines_bytes += size
                if self._lines > LINES_MAX or self._lines_bytes > LINES_BYTES_MAX:
                    self._broke_off("more lines than a run may have")
                else:
                    self._visitor.said(frame)
            case wire.Ask() if self._visitor is not None and self._asking is None:
                self._asking = self._loop.create_task(self._answer(self._visitor, frame.question))
            case wire.Leaving() if self._visitor is not None:
                self.leaving = True
            case wire.Ended() | wire.Declined() | wire.Raised() if self._visitor is not None:
                self._visitor = None
                self._resolve(frame)
            case wire.Loaded() | wire.Broken() if self._visitor is None and not self.runs:
                self._resolve(frame)
            case _:
                self._broke_off(f"{type(frame).__name__} out of turn")

    async def _answer(self, visitor: Visitor, question: wire.Question) -> None:
        try:
            answer = wire.Answer(value=await visitor.answer(question))
        except AdmitError as error:
            answer = wire.Answer(error=error.message)
        except Exception:
            log.exception("task.question_failed", question=type(question).__name__)
            answer = wire.Answer(error="The server could not answer this; its log tells why.")
        self._asking = None
        if self._transport is not None:
            self._transport.write(frame_of(answer, self._encoder))

    def _resolve(self, result: Any) -> None:
        if self._waiting is None or self._waiting.done():
            self._broke_off(f"{type(result).__name__} out of turn")
        else:
            self._waiting.set_result(result)

    def _broke_off(self, what: str) -> None:
        sentence = f"It has sent the server {what}, and was ended for it."
        log.warning("task.process_broke_off", folder=self._folder, what=what)
        self.stop(Stopped(kind="crashed", detail=sentence))

    # Its end

    def _ended(self, exited: Exited) -> None:
        output = self._output.close()
        if self._sentence is None:
            self._sentence = stopped.of_exit(exited, output, self._folder, self._memory_bytes)
        self._dead.set()
        if self._transport is not None:
            self._transport.abort()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(stopped.without_secrets(self._sentence, self._env))


def frame_of(message: wire.ToWorker, encoder: msgspec.msgpack.Encoder) -> bytes:
    """`message` as it goes over the wire."""
    body = encoder.encode(message)
    return wire.LENGTH.pack(len(body)) + body
