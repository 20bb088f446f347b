"""A worker process: `python -m admit.task.process FD` speaks with the server over the socket FD.

It is given the code of an app once, then one run after the other. It knows nothing of the server but what
comes in frames, and ends as soon as the other end is closed.
"""

import gc
import os
import sys
import threading
import traceback
from typing import Any, NoReturn

import msgspec

from admit.clock import now
from admit.task import confinement, limits
from admit.task.capture import Capture
from admit.task.declarations import Declaration
from admit.task.environment import Masking
from admit.task.examining import examine
from admit.task.running import Result, authenticate, raised, run
from admit.task.stage import NotAnswered
from admit.task.staging import context_of
from admit.task.wire import (
    FRAME_BYTES_MAX,
    LENGTH,
    Answer,
    Ask,
    Begin,
    Broken,
    FromWorker,
    Leaving,
    Load,
    Loaded,
    Question,
    Said,
    ToWorker,
)

READ_BYTES = 64 * 1024
RESERVE_BYTES = 1024 * 1024
"""Held back, so that there is memory left to tell that there was none."""


def serve(fd: int) -> NoReturn:
    """Serves the other end of the socket `fd` until it closes; the process ends with it."""
    limits.report_ends()
    line = Line(fd)
    try:
        _serve(line)
    except EOFError:
        os._exit(0)
    except (OSError, msgspec.MsgspecError):
        os._exit(1)  # a task has spoilt the line
    except BaseException:
        os.write(2, traceback.format_exc().encode("utf-8", "replace"))
        os._exit(1)


class Line:
    """Frames to and from the server. A process that was forked from this one has none."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = bytearray()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
        os.set_inheritable(fd, False)
        os.set_blocking(fd, True)
        os.register_at_fork(after_in_child=self._let_go)

    def fileno(self) -> int:
        """The socket."""
        return self._fd

    def send(self, said: FromWorker) -> None:
        """Sends one frame. The caller sees to it that nobody else does at the same time."""
        body = self._encoder.encode(said)
        if len(body) > FRAME_BYTES_MAX:
            raise ValueError(f"{type(said).__name__} has {len(body)} bytes; {FRAME_BYTES_MAX} are allowed.")
        left = memoryview(LENGTH.pack(len(body)) + body)
        while left:
            left = left[os.write(self._fd, left) :]

    def receive(self) -> ToWorker:
        """The next frame. Raises EOFError where the other end is closed."""
        [size] = LENGTH.unpack(self._take(LENGTH.size))
        if size > FRAME_BYTES_MAX:
            raise OSError("The frame is too large.")
        return self._decoder.decode(self._take(size))

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            read = os.read(self._fd, max(READ_BYTES, count - len(self._buffer)))
            if not read:
                raise EOFError("The other end is closed.")
            self._buffer += read
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _let_go(self) -> None:
        os.close(self._fd)
        self._fd = -1


class Conversation:
    """What one run says to the server. Once it is over nothing more goes out, whichever thread speaks."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._lock = threading.RLock()
        self._over = False
        self._asked = False

    @property
    def is_torn(self) -> bool:
        """Whether an answer was not waited for, as when a signal's handler has raised meanwhile."""
        return self._asked

    def ask(self, question: Question) -> Any:
        with self._lock:
            self._check()
            if self._asked:  # the answer to that one would be taken for the answer to this
                raise RuntimeError(
                    "An earlier question was left without its answer; ask no more in this run."
                )
            self._asked = True
            self._line.send(Ask(question))
            answer = self._line.receive()
            self._asked = False
            if not isinstance(answer, Answer):
                raise OSError("The server said what was no answer.")
        if answer.error:
            raise NotAnswered(answer.error)
        return answer.value

    def say(self, line: Said) -> None:
        with self._lock:
            self._check()
            self._line.send(line)

    def now(self) -> int:
        return now()

    def leave(self) -> None:
        """Says that this process is not to be used again."""
        with self._lock:
            self._line.send(Leaving())

    def end(self, result: Result) -> None:
        """The last thing that it says."""
        with self._lock:
            self._over = True
            self._line.send(result)

    def _check(self) -> None:
        if self._over:
            raise RuntimeError("This run is over.")


class Worker:
    """One process with the code of one app, which runs its tasks one after the other."""

    def __init__(self, line: Line, load: Load) -> None:
        self._line = line
        self._folder = load.folder
        self._capture = Capture()
        self._tasks, self.problems = examine(load.folder, load.sources)
        self._reserve: bytearray | None = None

    @property
    def declarations(self) -> tuple[Declaration, ...]:
        """What the tasks say of themselves."""
        return tuple(found.declaration for found in self._tasks.values())

    def run(self, begin: Begin) -> None:
        """Runs a task once, and tells what came of it."""
        self._reserve = self._reserve or bytearray(RESERVE_BYTES)
        conversation = Conversation(self._line)
        masking = Masking(begin.env)
        result: Result
        try:
            result = self._done(begin, conversation, masking)
        except BaseException as error:  # SystemExit, too, is no more than the end of a run
            self._reserve = None
            result = raised(error, masking, self._folder)
        if limits.has_others() or conversation.is_torn:
            conversation.leave()
        conversation.end(result)

    def _done(self, begin: Begin, conversation: Conversation, masking: Masking) -> Result:
        found = self._tasks.get(begin.run.task)
        if found is None:
            raise LookupError(f"There is no task {begin.run.task!r} in this code.")
        context = context_of(begin, conversation, masking, found.declaration.env)
        self._capture.begin(context.log)
        try:
            if begin.authenticate_only:
                return authenticate(found.mark, context)
            return run(found.function, context)
        finally:
            self._capture.end()
            context.log.close()


def _serve(line: Line) -> NoReturn:
    load = line.receive()
    if not isinstance(load, Load):
        raise OSError("The code comes first.")
    limits.apply(load.memory_bytes, load.nice)
    limits.watch(line.fileno())
    worker = Worker(line, load)
    del load
    if worker.problems:
        line.send(Broken(worker.problems))
        os._exit(0)
    gc.collect()
    gc.freeze()
    line.send(Loaded(worker.declarations))
    while True:
        begin = line.receive()
        if not isinstance(begin, Begin):
            raise OSError("A run comes next.")
        worker.run(begin)


def main() -> NoReturn:
    """A process that somebody has started by itself, and that ends with whoever did."""
    confinement.end_with_parent()
    serve(int(sys.argv[1]))


if __name__ == "__main__":
    main()
