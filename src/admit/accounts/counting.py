"""Counts that take long: one at a time for all who ask, and nobody waits for it but in its first moments."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from admit.errors import AdmitError

FIRST_SECONDS_MAX = 0.05
"""How long after its begin anybody waits for a count: a small app is counted by then."""
REST_PER_COUNTING = 20
"""For every second of counting it rests for so many, so that a page that is polled costs little."""

Key = TypeVar("Key")
Counted = TypeVar("Counted")

log = structlog.get_logger("admit.accounts")


class _Counting(msgspec.Struct, Generic[Counted], frozen=True):
    task: asyncio.Task[Counted]
    began_at: float


class Countings(Generic[Key, Counted]):
    """The counts that are under way, one of each key."""

    def __init__(
        self,
        count: Callable[[Key], Coroutine[Any, Any, Counted]],
        *,
        what: str,
        monotonic: Callable[[], float],
    ) -> None:
        """`what`: the word for what is counted, in the log."""
        self._count = count
        self._what = what
        self._monotonic = monotonic
        self._under_way: dict[Key, _Counting[Counted]] = {}

    def begin(self, key: Key) -> asyncio.Task[Counted]:
        """The count of `key`, which begins now unless it is under way."""
        return self._of(key).task

    async def first_moments(self, key: Key) -> None:
        """Waits for the count of `key` while it is younger than FIRST_SECONDS_MAX."""
        counting = self._of(key)
        patience = counting.began_at + FIRST_SECONDS_MAX - self._monotonic()
        if patience > 0:
            await asyncio.wait({counting.task}, timeout=patience)

    async def close(self) -> None:
        """Lets go of what is being counted."""
        tasks = [each.task for each in self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _of(self, key: Key) -> _Counting[Counted]:
        if (counting := self._under_way.get(key)) is None:
            counting = self._under_way[key] = _Counting(
                asyncio.create_task(self._count(key)), self._monotonic()
            )
            counting.task.add_done_callback(partial(self._done, key))
        return counting

    def _done(self, key: Key, task: asyncio.Task[Counted]) -> None:
        del self._under_way[key]
        if not task.cancelled() and isinstance(error := task.exception(), AdmitError):
            log.warning("accounts.not_counted", what=self._what, key=key, code=error.code)
