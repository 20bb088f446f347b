"""Asking somebody about one unknown person in the operator's place: a web hook, or a task.

Both have the same places, one budget for all attempts of one question, and the same pauses between them.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import msgspec

from admit.clock import jitter
from admit.enrollment.policy import Fault, Verdict
from admit.errors import Unavailable
from admit.storage.transaction import Transaction

ATTEMPTS_MAX = 3
PAUSES_SECONDS = (0.1, 0.4)
ASKED_AT_ONCE_PER_APP = 64
PLACE_WAIT_SECONDS_MAX = 4.0

TRY_AGAIN = "Too many new people are at the door at this moment. Try again in a few seconds."


class Try(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one attempt. `again`: another one may help, after `pause_seconds` where that was said."""

    outcome: Verdict | Fault
    again: bool = False
    pause_seconds: float | None = None


class Asked(Protocol):
    """Somebody who is asked about one person, and may be asked again."""

    async def attempt(self, timeout_seconds: float) -> Try:
        """Asks once. It ends when the time is up, whatever the other side does."""
        ...

    def record(self, outcome: Verdict | Fault) -> "Record | None":
        """What is to be committed with the verdict, so that the operator sees how it was reached."""
        ...


class Record(Protocol):
    """Tells how a verdict was reached."""

    def write(self, tx: Transaction, uid: str | None, *, in_time: bool) -> None:
        """Writes it. `uid`: the user who came of it. Not `in_time`: another attempt has taken over."""
        ...


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of asking: a verdict, or the fault that prevented one."""

    outcome: Verdict | Fault
    attempts: int
    latency_ms: int
    record: Record | None = None


class Places:
    """So many questions of an app may be under way; who finds no place in time is sent away."""

    def __init__(self) -> None:
        self._of: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(ASKED_AT_ONCE_PER_APP)
        )

    @asynccontextmanager
    async def taken(self, app_id: str) -> AsyncIterator[None]:
        """Holds a place of the app. Raises Unavailable when there is none in time."""
        place = self._of[app_id]
        await _take(place)
        try:
            yield
        finally:
            place.release()


async def ask(asked: Asked, timeout_seconds: float) -> Answer:
    """Asks until there is an answer, ATTEMPTS_MAX is reached or the budget is spent."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    deadline = started + timeout_seconds
    attempts = 0
    while True:
        attempts += 1
        tried = await asked.attempt(deadline - loop.time())
        pause = _pause_before_next(tried, attempts)
        if pause is None or loop.time() + pause >= deadline:
            return Answer(
                outcome=tried.outcome,
                attempts=attempts,
                latency_ms=round((loop.time() - started) * 1000),
                record=asked.record(tried.outcome),
            )
        await asyncio.sleep(pause)


def _pause_before_next(tried: Try, attempts: int) -> float | None:
    """Seconds to wait before another attempt; None when there must be none."""
    if not tried.again or attempts >= ATTEMPTS_MAX:
        return None
    return jitter(PAUSES_SECONDS[attempts - 1]) if tried.pause_seconds is None else tried.pause_seconds


async def _take(place: asyncio.Semaphore) -> None:
    """At once where there is a place."""
    if not place.locked():
        await place.acquire()
        return
    try:
        await asyncio.wait_for(place.acquire(), PLACE_WAIT_SECONDS_MAX)
    except TimeoutError:
        raise Unavailable(TRY_AGAIN, retry_after_seconds=5) from None
