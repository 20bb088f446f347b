"""What a process gives up for good, so that what runs in it reaches less.

All of it is Linux's (prctl(2), capabilities(7)); elsewhere these functions do nothing.
"""

import ctypes
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
CAPABILITY_VERSION_3 = 0x20080522
CAPABILITIES = 64

LINUX = sys.platform == "linux"


def close_to_others() -> None:
    """Nobody without CAP_SYS_PTRACE reads this process's memory or environment, and it leaves no core."""
    _prctl(PR_SET_DUMPABLE, 0)


def be_the_first_to_go() -> None:
    """When the machine runs out of memory, the kernel kills this process before others. It is closed to them,
    too, when this returns."""
    _prctl(PR_SET_DUMPABLE, 1)  # else the file belongs to root
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    close_to_others()


def end_with_parent() -> None:
    """SIGKILL when the thread ends that has started this process, whatever this process is doing."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Descendants that have lost their parent become children of this process, so that none gets away."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def give_up_privileges() -> None:
    """Not even root has capabilities after this, and no program that is started gets any."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    for capability in range(CAPABILITIES):
        _prctl(PR_CAPBSET_DROP, capability)
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    if LINUX:
        header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
        _libc().capset(header, bytes(24))


def _prctl(option: int, value: int) -> None:
    if LINUX:
        rest = [ctypes.c_ulong(0)] * 3
        _libc().prctl(option, ctypes.c_ulong(value), *rest)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
