"""The parent of worker processes: forks them, ends them with all that they have started, says how they ended.

`python -m admit.task.nursery FD` talks with the server over the socket FD: a JSON object a line, and with
Start the two descriptors that the new process gets. It runs no code of operators itself, so each process
begins clean. When the server is gone, however it went, so is everything here.
"""

import gc
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from fcntl import F_DUPFD, fcntl
from pathlib import Path
from traceback import print_exc
from typing import NoReturn

import msgspec

from admit.task import confinement, process

LAST_WORDS_SECONDS_MAX = 5.0
CONNECTION = 3
"""The descriptor by which a worker process talks with the server; 0 is empty, 1 and 2 go into its report."""


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Fork a process, which will be called `number`, in `folder`. Its socket comes along, and the end of a
    pipe for what it writes to its standard output and error."""

    number: int
    folder: str


class Kill(msgspec.Struct, frozen=True, tag="kill"):
    """End it, and all that it has started."""

    number: int


class Dump(msgspec.Struct, frozen=True, tag="dump"):
    """Let it write where it stands to its standard error."""

    number: int


class Started(msgspec.Struct, frozen=True, tag="started"):
    """It lives."""

    number: int
    pid: int


class Exited(msgspec.Struct, frozen=True, tag="exited"):
    """It is dead. `status` as of waitpid(2); `error`: it was never born."""

    number: int
    status: int = 0
    error: str = ""


Request = Start | Kill | Dump
Report = Started | Exited


class Nursery:
    """Lives in one thread, so that a fork copies nothing that is half done."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._numbers: dict[int, int] = {}  # by process id
        self._pids: dict[int, int] = {}
        self._unread = bytearray()
        self._descriptors: deque[int] = deque()
        self._decoder = msgspec.json.Decoder(Request)
        self._encoder = msgspec.json.Encoder()

    def run(self) -> None:
        """Until the server has closed its end, or died."""
        bell, rings = os.pipe()
        for end in (bell, rings):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(rings, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        line = self._connection.fileno()
        while True:
            ready, _, _ = select.select((line, bell), (), ())
            if bell in ready:
                with suppress(BlockingIOError):
                    os.read(bell, 4_096)
                self._reap()
            if line in ready and not self._listen():
                break
        self._end_all()

    def _listen(self) -> bool:
        """Does what the server wants; False when there is no server any more."""
        try:
            received, descriptors, _, _ = socket.recv_fds(self._connection, 65_536, 64)
        except ConnectionError:
            return False
        self._descriptors.extend(descriptors)
        self._unread += received
        while (end := self._unread.find(b"\n")) >= 0:
            line = bytes(self._unread[:end])
            del self._unread[: end + 1]
            self._carry_out(self._decoder.decode(line))
        return bool(received)

    def _carry_out(self, request: Request) -> None:
        match request:
            case Start():
                self._start(request)
            case Kill() if (pid := self._pids.get(request.number)) is not None:
                _end(pid)
            case Dump() if (pid := self._pids.get(request.number)) is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGUSR1)

    def _start(self, start: Start) -> None:
        connection, output = self._descriptors.popleft(), self._descriptors.popleft()
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._tell(Exited(start.number, error=f"No process could be started: {error.strerror}."))
        else:
            if pid == 0:
                self._connection.detach()
                _live(connection, output, start.folder, parent)
            self._numbers[pid], self._pids[start.number] = start.number, pid
            self._tell(Started(start.number, pid))
        finally:
            os.close(connection)
            os.close(output)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                number = self._numbers.pop(pid, None)
                if number is not None:
                    with suppress(OSError):
                        os.killpg(pid, signal.SIGKILL)
                self._end_strays()
                if number is not None:
                    del self._pids[number]
                    self._tell(Exited(number, status))

    def _end_strays(self) -> None:
        """What dead processes have left behind has become a child of this one (prctl(2), subreaper)."""
        own = Path(f"/proc/self/task/{os.getpid()}/children")
        with suppress(OSError):
            for child in own.read_text().split():
                if int(child) not in self._numbers:
                    _end(int(child))

    def _end_all(self) -> None:
        for pid in self._numbers:
            _end(pid)
        give_up_at = time.monotonic() + LAST_WORDS_SECONDS_MAX
        with suppress(ChildProcessError):
            while time.monotonic() < give_up_at:
                if not os.waitpid(-1, os.WNOHANG)[0]:
                    self._end_strays()
                    time.sleep(0.005)

    def _tell(self, report: Report) -> None:
        with suppress(ConnectionError):
            self._connection.sendall(self._encoder.encode(report) + b"\n")


def _end(pid: int) -> None:
    with suppress(OSError):
        os.kill(pid, signal.SIGKILL)
    with suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def _live(connection: int, output: int, folder: str, parent: int) -> NoReturn:
    """The life of a worker process."""
    code = 1
    try:
        _settle_in(connection, output, folder)
        if os.getppid() == parent:  # else it died before `end_with_parent`
            process.serve(CONNECTION)
            code = 0
    except BaseException:
        print_exc()
    finally:
        with suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def _settle_in(connection: int, output: int, folder: str) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    connection, output = fcntl(connection, F_DUPFD, 16), fcntl(output, F_DUPFD, 16)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(connection, CONNECTION, inheritable=False)
    for descriptor in map(int, os.listdir("/dev/fd")):
        if descriptor > CONNECTION:
            with suppress(OSError):  # the one by which they were listed
                os.close(descriptor)
    try:
        os.chdir(folder)
    except OSError:
        os.chdir("/")
    confinement.end_with_parent()
    confinement.adopt_orphans()
    confinement.be_the_first_to_go()


def main() -> None:
    """What the server has started."""
    os.environ.pop("PYTHONPATH", None)  # it was for finding this module
    confinement.adopt_orphans()
    confinement.give_up_privileges()
    confinement.close_to_others()
    gc.collect()
    gc.freeze()
    Nursery(socket.socket(fileno=int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
