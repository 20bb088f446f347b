"""What a worker process may take, and how it ends when nobody wants it any more."""

import ctypes
import faulthandler
import os
import resource
import select
import signal
import sys
import threading
from contextlib import suppress

STACK_BYTES = 256 * 1024
STANDARD_ERROR = 2
_M_ARENA_MAX = -8


def apply(memory_bytes: int, nice: int) -> None:
    """Holds this process to its limits, for good."""
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another libc than that of GNU has no arenas
            # Each would reserve 64 MB of what the process may have.
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    if memory_bytes:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    if nice:
        with suppress(OSError):
            os.nice(nice)
        if sys.platform == "linux":  # else the server is interrupted by each run that it begins (sched(7))
            with suppress(OSError):
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def report_ends() -> None:
    """Has a crash written to standard error with its place; at SIGUSR1, where every thread stands."""
    faulthandler.enable(STANDARD_ERROR)
    faulthandler.register(signal.SIGUSR1, STANDARD_ERROR, all_threads=True)


def watch(fd: int) -> None:
    """Ends this process at once when the other end of the socket `fd` is closed, whatever it is doing."""
    before = threading.stack_size(STACK_BYTES)
    threading.Thread(target=_wait_for_the_end, args=(fd,), daemon=True, name="admit-watch").start()
    threading.stack_size(before)


def has_others() -> bool:
    """Whether a run has left threads or processes behind."""
    if threading.active_count() > 2 or len(sys._current_frames()) > 2:  # this one, and that of `watch`
        return True
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _wait_for_the_end(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, getattr(select, "POLLRDHUP", 0))  # a hang-up is told unasked
    poll.poll()
    os._exit(0)
