"""The book: endpoints in memory, so that a delivery need not ask the database where it goes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from admit.webhooks import endpoints, journey_keys, journey_messages
from admit.webhooks.endpoints import Endpoint
from admit.webhooks.journey_keys import JourneyKey
from admit.webhooks.secrets import Secret

GOOD_SECONDS = 10.0
ENDPOINTS_REMEMBERED_MAX = 10_000
APPS_REMEMBERED_MAX = 2_000

T = TypeVar("T")


class Book:
    """Finds endpoints, and the keys that an app publishes.

    What it guarantees: a change made through this process's `Database` is visible as soon as the write has
    been awaited. A change made by another process is visible when its signal arrives, and without any signal
    after GOOD_SECONDS at the latest, because what is older than that is read again.
    """

    def __init__(
        self, db: Database, ring: KeyRing, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._db = db
        self._ring = ring
        self._endpoints = _Memory(self._read_endpoint, ENDPOINTS_REMEMBERED_MAX, monotonic)
        self._keys = _Memory(self._read_keys, APPS_REMEMBERED_MAX, monotonic)
        self._journey_keys = _Memory(self._read_journey_keys, APPS_REMEMBERED_MAX, monotonic)
        self._end_subscription = db.signals.subscribe(endpoints.TOPIC, self._heard)

    def close(self) -> None:
        """Ends the subscription and lets go of what is being read."""
        self._end_subscription()
        self._endpoints.close()
        self._keys.close()
        self._journey_keys.close()

    async def endpoint(self, app_id: str, endpoint_id: str) -> Endpoint | None:
        """The endpoint; None: there is none in this app. Raises StorageUnavailable and SealBroken."""
        return await self._endpoints.get((endpoint_id, app_id))

    async def public_keys(self, app_id: str, now: int) -> tuple[Secret, ...]:
        """The secrets that sign at `now`, and whose public half is published. Raises as `endpoint` does."""
        return tuple(each for each in await self._keys.get((app_id,)) if each.signs_at(now))

    async def journey_keys(self, app_id: str) -> list[JourneyKey]:
        """The RSA keys of the app, the oldest first. Raises as `endpoint` does."""
        return await self._journey_keys.get((app_id,))

    def _heard(self, endpoint_id: str | None) -> None:
        self._endpoints.forget(endpoint_id)
        self._keys.forget(None)
        self._journey_keys.forget(None)

    async def _read_endpoint(self, key: tuple[str, ...]) -> Endpoint | None:
        endpoint_id, app_id = key
        return await self._db.read(lambda tx: endpoints.find(tx, self._ring, app_id, endpoint_id))

    async def journey_headers(self, endpoint: Endpoint, body: bytes, now: int) -> dict[str, str]:
        """The headers of JourneyApps that sign `body`, for an endpoint of their format; {} for the others.

        Raises as `endpoint` does.
        """
        if not endpoint.settings.hook:
            return {}
        keys = await self.journey_keys(endpoint.app_id)
        return journey_messages.headers(endpoint, journey_keys.key_that_signs(keys, now), body)

    async def _read_journey_keys(self, key: tuple[str, ...]) -> list[JourneyKey]:
        (app_id,) = key
        return await self._db.read(lambda tx: journey_keys.load(tx, self._ring, app_id))

    async def _read_keys(self, key: tuple[str, ...]) -> list[Secret]:
        (app_id,) = key
        return await self._db.read(lambda tx: endpoints.public_secrets(tx, self._ring, app_id))


class _Memory(Generic[T]):
    """What was read by key, for GOOD_SECONDS. Those who ask at once for the same wait for one reading."""

    def __init__(
        self,
        read: Callable[[tuple[str, ...]], Awaitable[T]],
        most: int,
        monotonic: Callable[[], float],
    ) -> None:
        self._read = read
        self._most = most
        self._monotonic = monotonic
        self._known: dict[tuple[str, ...], tuple[float, T]] = {}
        self._reading: dict[tuple[str, ...], asyncio.Task[T]] = {}

    async def get(self, key: tuple[str, ...]) -> T:
        known = self._known.get(key)
        if known is not None and self._monotonic() < known[0]:
            return known[1]
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.create_task(self._fetch(key))
        return await asyncio.shield(task)

    def forget(self, first: str | None) -> None:
        """Forgets the keys that begin with `first`, None: all; also what is being read: it may be old."""
        for memory in (self._known, self._reading):
            for key in [key for key in memory if first is None or key[0] == first]:
                del memory[key]

    def close(self) -> None:
        for task in self._reading.values():
            task.cancel()

    async def _fetch(self, key: tuple[str, ...]) -> T:
        this, good_until = asyncio.current_task(), self._monotonic() + GOOD_SECONDS
        try:
            found = await self._read(key)
            if self._reading.get(key) is this:
                self._keep(key, good_until, found)
            return found
        finally:
            if self._reading.get(key) is this:
                del self._reading[key]

    def _keep(self, key: tuple[str, ...], good_until: float, found: T) -> None:
        self._known.pop(key, None)
        if len(self._known) >= self._most:
            del self._known[next(iter(self._known))]
        self._known[key] = good_until, found
