"""What providers publish, kept for a while: fetched once for all who wait, and served while it is to be had.

A document is good for an hour. Then whoever asks starts one fetch and waits for it briefly; while the
provider does not answer, the old one serves for up to a day.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from admit.clock import DAY_MS, HOUR_MS, MINUTE_MS, Clock
from admit.errors import ProviderFault

KEPT_MAX = 1_000
FRESH_MS = HOUR_MS
SERVED_MS = DAY_MS
BETWEEN_FETCHES_MS = MINUTE_MS
PATIENCE_SECONDS = 2.0

log = structlog.get_logger("admit.signin")

T = TypeVar("T")
Fetch = Callable[[], Awaitable[T]]
"""Gets the document within a time of its own. Raises ProviderFault."""


@dataclass(eq=False)
class _Kept(Generic[T]):
    """Times are in UTC ms; None: never. `renewed_at`: when it was last fetched because it did not suffice."""

    value: T | None = None
    fetched_at: int | None = None
    tried_at: int | None = None
    renewed_at: int | None = None
    fetching: asyncio.Task[T] | None = None


class Shelf(Generic[T]):
    """Documents by key, those used last. Close it at the end."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[Hashable, _Kept[T]] = OrderedDict()

    async def take(self, key: Hashable, fetch: Fetch[T], wait_seconds: float) -> T:
        """The document, fetched where it must be. Raises ProviderFault, and TimeoutError after the wait."""
        kept = self._at(key)
        if kept.value is not None and self._within(kept.fetched_at, FRESH_MS):
            return kept.value
        if kept.value is None or not self._within(kept.fetched_at, SERVED_MS):
            return await self._fetched(kept, fetch, wait_seconds)
        if kept.fetching is not None or not self._within(kept.tried_at, BETWEEN_FETCHES_MS):
            try:
                return await self._fetched(kept, fetch, min(PATIENCE_SECONDS, wait_seconds))
            except (ProviderFault, TimeoutError) as error:
                log.warning("provider.not_refreshed", key=key, error=getattr(error, "detail", "no answer"))
        return kept.value

    async def renew(self, key: Hashable, used: T, fetch: Fetch[T], wait_seconds: float) -> T | None:
        """A newer document than `used`, which did not suffice; None where there is none to be had now.

        Strangers can ask for it with made-up tokens, so it is fetched once a minute at most.
        """
        kept = self._at(key)
        if kept.value is not None and kept.value is not used:
            return kept.value
        if kept.fetching is None:
            if self._within(kept.renewed_at, BETWEEN_FETCHES_MS):
                return None
            kept.renewed_at = self._clock()
        try:
            return await self._fetched(kept, fetch, wait_seconds)
        except (ProviderFault, TimeoutError):
            return None

    async def fetch_anew(self, key: Hashable, fetch: Fetch[T], wait_seconds: float) -> T:
        """The document as it is at this moment, also for all who come after. Raises as `take` does."""
        return await self._fetched(self._at(key), fetch, wait_seconds)

    async def close(self) -> None:
        """Ends what is being fetched."""
        tasks = [kept.fetching for kept in self._kept.values() if kept.fetching is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _at(self, key: Hashable) -> _Kept[T]:
        kept = self._kept.setdefault(key, _Kept())
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return kept

    def _within(self, at: int | None, ms: int) -> bool:
        """Whether less than `ms` have passed since `at`. A clock that was set back makes everything old."""
        return at is not None and 0 <= self._clock() - at < ms

    async def _fetched(self, kept: _Kept[T], fetch: Fetch[T], wait_seconds: float) -> T:
        """Waits for the fetch that is under way, or starts it: apart from us, as others may wait for it."""
        if kept.fetching is None:
            kept.tried_at = self._clock()
            kept.fetching = asyncio.create_task(self._fetch(kept, fetch))
            kept.fetching.add_done_callback(_seen)
        return await asyncio.wait_for(asyncio.shield(kept.fetching), wait_seconds)

    async def _fetch(self, kept: _Kept[T], fetch: Fetch[T]) -> T:
        try:
            kept.value = await fetch()
            kept.fetched_at = self._clock()
            return kept.value
        finally:
            kept.fetching = None


def _seen(fetched: asyncio.Task[T]) -> None:
    """Who waits has the error; if nobody does any more, it is nobody's."""
    if not fetched.cancelled():
        fetched.exception()
