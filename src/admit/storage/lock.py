"""The lock on a SQLite file: one process at a time, which tells the others its address.

The lock is the kernel's (flock) and ends with the process, however that ends. The file beside it is never
deleted, or two processes could lock two files of one name.
"""

import fcntl
import os
import time
from pathlib import Path

import msgspec

from admit.errors import AdmitError

LOOK_SECONDS = 0.05
WAIT_SECONDS = 0.2  # `holder` of another process takes the lock for a moment
READS_MAX = 5


class FileInUse(AdmitError):
    """Another process holds the database file. The message names it."""

    code = "file_in_use"


class Holder(msgspec.Struct, frozen=True):
    """The process that holds the file: its address, if it serves, and its number."""

    address: str | None
    pid: int


class FileLock:
    """The right to open the SQLite file at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock_path = path.with_name(path.name + ".lock")
        self._file: int | None = None

    def acquire(self, address: str | None, *, wait_seconds: float = WAIT_SECONDS) -> None:
        """Takes the lock. `address`: where this process serves, None for a command that will soon be done.

        Raises FileInUse when another process still holds it after `wait_seconds`.
        """
        give_up_at = time.monotonic() + wait_seconds
        file = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        while not _try_lock(file, fcntl.LOCK_EX):
            if time.monotonic() >= give_up_at:
                os.close(file)
                raise FileInUse(self._complaint(self._read()))
            time.sleep(LOOK_SECONDS)
        os.ftruncate(file, 0)
        os.pwrite(file, msgspec.json.encode(Holder(address, os.getpid())), 0)
        self._file = file

    def holder(self) -> str | None:
        """The address of the process that serves this file; None when none does."""
        try:
            file = os.open(self._lock_path, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            if _try_lock(file, fcntl.LOCK_SH):
                return None
        finally:
            os.close(file)
        holder = self._read()
        return holder.address if holder is not None else None

    def release(self) -> None:
        """Lets the next one in."""
        if self._file is not None:
            file, self._file = self._file, None
            os.ftruncate(file, 0)
            os.close(file)

    def _read(self) -> Holder | None:
        """What the holder wrote, which takes it a moment: until then an older text or none stands there."""
        for _ in range(READS_MAX):
            try:
                holder = msgspec.json.decode(self._lock_path.read_bytes(), type=Holder)
            except (OSError, msgspec.DecodeError):
                holder = None
            if holder is not None and _is_alive(holder.pid):
                break
            time.sleep(LOOK_SECONDS / READS_MAX)
        return holder

    def _complaint(self, holder: Holder | None) -> str:
        if holder is None:
            return f"Another process has {self._path} open. Try again when it is done."
        if holder.address is None:
            return f"Another command (process {holder.pid}) has {self._path} open. Try again when it is done."
        return (
            f"The server at {holder.address} (process {holder.pid}) has {self._path} open. "
            "Stop it first, or give this one another DATABASE_URL."
        )


def _try_lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
