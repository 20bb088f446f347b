"""The file in which a device keeps what belongs to one app: for its account only, and always whole.

A reader sees the file before or after a change, never between: it is written beside and put in place at once.
Changes are made one at a time, by all processes of this machine, under a lock beside the file.
"""

import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import msgspec

from admit import clock
from admit.client.errors import KeptFileError
from admit.client.kept import Kept

LOCK_SECONDS_MAX = 30.0
FILE_BYTES_MAX = 16_000_000
OURS_ONLY = 0o600

_decode = msgspec.json.Decoder(Kept).decode
_encode = msgspec.json.Encoder().encode

log = logging.getLogger("admit.client")


class KeptFile:
    """What is kept at `path`. The methods wait for the disk, and `change` for other processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Kept | None:
        """What is kept; None where there is no file yet. Raises KeptFileError: unreadable is not new."""
        try:
            with self.path.open("rb") as file:
                self._warn_if_open_to_others(os.fstat(file.fileno()).st_mode)
                content = file.read(FILE_BYTES_MAX)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise KeptFileError(f"{self.path} cannot be read: {_cause(error)}.") from error
        try:
            return _decode(content)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise KeptFileError(
                f"{self.path} does not hold what this version of the client writes. Put it back from a copy, "
                "or move it away: this machine then counts as a new device, and the person signs in again."
            ) from error

    def change(self, step: Callable[[Kept], Kept]) -> Kept:
        """Keeps what `step` makes of what is kept, a new device where there is nothing. Raises KeptFileError.

        `step` sees what other processes have written before, and they see all of it or nothing.
        """
        with self._alone():
            before = self.read()
            after = step(before or Kept(device_id=clock.new_id("dev")))
            if after != before:
                self._write(_encode(after))
            return after

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = filelock.FileLock(f"{self.path}.lock", timeout=LOCK_SECONDS_MAX, mode=OURS_ONLY)
            lock.acquire()
        except filelock.Timeout as error:
            raise KeptFileError(
                f"Another process has held {self.path}.lock for {LOCK_SECONDS_MAX:g} s. End it first."
            ) from error
        except OSError as error:
            raise KeptFileError(f"{self.path} cannot be written: {_cause(error)}.") from error
        try:
            yield
        finally:
            lock.release()

    def _write(self, content: bytes) -> None:
        draft = self.path.with_name(self.path.name + ".new")
        try:
            draft.unlink(missing_ok=True)  # of a process that was killed
            # Never through a link that lies there, and with the right mode from the first byte on.
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OURS_ONLY), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
            _sync_folder(self.path.parent)
        except OSError as error:
            raise KeptFileError(f"{self.path} cannot be written: {_cause(error)}.") from error

    def _warn_if_open_to_others(self, mode: int) -> None:
        if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
            log.warning("%s can be read by others, and holds a key. Do: chmod 600 %s", self.path, self.path)


def _sync_folder(path: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _cause(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
