"""Server processes: what one is given, and several that accept from one socket. One that dies is replaced."""

import multiprocessing
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import msgspec
import structlog

from admit.config import Settings
from admit.errors import AdmitError, ConfigError
from admit.web.logs import configure_logs_for_good

FILES_WANTED = 8_192
"""Open files of one process: each client and each request on its way out is one."""
LOOK_SECONDS = 1.0
STOP_SECONDS_MAX = 25.0
"""For a child to drain. Whoever has not ended by then is killed."""

log = structlog.get_logger("admit.web")

Ready = Callable[["Started"], None]
Serve = Callable[[Settings, socket.socket, Ready | None, Sequence[signal.Signals]], None]


class Started(msgspec.Struct, frozen=True):
    """What a server says once it answers. `set_up`: the link of the first operator; "": there are some."""

    address: str
    set_up: str

    def __repr__(self) -> str:
        return f"Started({self.address!r})"


class Child(msgspec.Struct, frozen=True):
    """A server process, and the line on which it says that it serves. With the line ends the child."""

    process: BaseProcess
    line: Connection


def open_many_files() -> None:
    """Lets this process and its children open as many files as the machine allows at all. Says so in the log
    when that is less than FILES_WANTED: the limit that a shell is given is meant for other programs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS: no limit is none that could be set
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    if soft != resource.RLIM_INFINITY and soft < FILES_WANTED:
        log.warning("server.few_open_files", limit=soft, wanted=FILES_WANTED)


def serve_in_processes(
    serve: Serve, settings: Settings, listener: socket.socket, ready: Ready | None
) -> None:
    """Runs `settings.workers` processes of `serve` until SIGTERM or SIGINT; this one only looks after them.

    Raises ConfigError when the first cannot start: a wrong setting ends the start, not a row of children.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    children = [_start(serve, settings, listener, greets=True)]
    started = _wait_for(children[0])
    children += [_start(serve, settings, listener) for _ in range(settings.workers - 1)]
    if ready is not None:
        ready(started)
    while not stopping.wait(LOOK_SECONDS):
        for place, child in enumerate(children):
            if not child.process.is_alive():
                log.error("server.process_died", pid=child.process.pid, exit_code=child.process.exitcode)
                child.line.close()
                children[place] = _start(serve, settings, listener)
    _stop(children)


def _start(serve: Serve, settings: Settings, listener: socket.socket, *, greets: bool = False) -> Child:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_live, args=(serve, settings, listener, theirs, greets), name="admit-server"
    )
    process.start()
    theirs.close()
    return Child(process, ours)


def _live(serve: Serve, settings: Settings, listener: socket.socket, line: Connection, greets: bool) -> None:
    """The life of a child. Ctrl-C reaches it too, but it is the parent who tells it to stop."""
    ready: Ready | None = (lambda started: line.send((True, started))) if greets else None
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logs_for_good(settings)
    threading.Thread(target=_end_with_parent, args=(line,), daemon=True).start()
    try:
        serve(settings, listener, ready, (signal.SIGTERM,))
    except AdmitError as error:
        log.error("server.cannot_start", code=error.code, reason=error.message)
        line.send((False, error.message))
        raise SystemExit(1) from None


def _end_with_parent(line: Connection) -> None:
    """A killed parent leaves nobody who could stop us or free the port."""
    try:
        line.recv_bytes()
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGTERM)


def _wait_for(child: Child) -> Started:
    """What the first child says once it serves."""
    try:
        serves, said = child.line.recv()
    except EOFError:
        serves, said = False, "The server process died while it started. Its log says why."
    if not serves:
        child.process.join()
        raise ConfigError(said)
    started: Started = said
    return started


def _stop(children: Sequence[Child]) -> None:
    for child in children:
        child.process.terminate()
    deadline = time.monotonic() + STOP_SECONDS_MAX
    for child in children:
        child.process.join(max(0.0, deadline - time.monotonic()))
        if child.process.is_alive():
            log.error("server.process_killed", pid=child.process.pid)
            child.process.kill()
            child.process.join()
