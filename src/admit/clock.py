"""The one clock and the one dice: nothing else asks for the time or for a random id."""

import os
import random
import secrets
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

Clock = Callable[[], int]
"""Returns the current time in UTC milliseconds since 1970. Tests supply their own."""

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
_EPOCH = datetime(1970, 1, 1)
STORE_BYTES = 4_096


def now() -> int:
    """Current time in UTC milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def utc_day(at_ms: int) -> int:
    """The number of whole UTC days between 1970 and `at_ms`."""
    return at_ms // DAY_MS


def iso_date(at_ms: int) -> str:
    """ISO 8601 in UTC as JavaScript writes it: `2023-10-27T22:10:29.922Z`."""
    return (_EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds") + "Z"


def new_id(prefix: str) -> str:
    """A random identifier such as `usr_0199ab…`: 120 random bits in hex, safe in URLs and free of `.`.

    It begins with the time in milliseconds, so that rows which are written together lie together in an index.
    """
    return f"{prefix}_{now() & 0xFF_FFFF_FFFF:010x}{_store.take(15).hex()}"


def random_bytes(count: int) -> bytes:
    """`count` bytes that nobody can predict, for nonces."""
    return os.urandom(count)


def new_secret(prefix: str = "") -> str:
    """A secret of 256 random bits in URL-safe base64 behind `prefix`."""
    return prefix + secrets.token_urlsafe(32)


def new_code(digits: int) -> str:
    """A one-time code of `digits` decimal digits, leading zeros kept."""
    return f"{secrets.randbelow(10**digits):0{digits}d}"


def jitter(seconds: float) -> float:
    """`seconds`, half as long to half as long again, so that those who wait do not come back as a herd."""
    return seconds * random.uniform(0.5, 1.5)  # noqa: S311  (no secret)


class _Store(threading.local):
    """Random bytes of this thread, fetched in advance and given out once.

    Asking the kernel lets go of the interpreter, and to get it back takes up to 5 ms under load; a first
    login makes seven ids.
    """

    _left = b""

    def take(self, count: int) -> bytes:
        if len(self._left) < count:
            self._left = os.urandom(STORE_BYTES)
        taken, self._left = self._left[:count], self._left[count:]
        return taken

    def empty(self) -> None:
        self._left = b""


_store = _Store()
os.register_at_fork(after_in_child=_store.empty)
