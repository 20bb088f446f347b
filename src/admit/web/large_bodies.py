"""Places in memory for large bodies: however many come, a process has so many bytes of them in hand at once.

What is made of a body takes three to four times its size until the answer is there, so a place is held until
then; sending the answer needs none.
"""

import asyncio
from collections import Counter
from typing import NamedTuple

from starlette.types import Scope

from admit.errors import Unavailable
from admit.signin.email_addresses import network_of

FREE_BYTES = 1_000_000
"""A body up to this size needs no place."""
TOTAL_BYTES = 64_000_000
SHARE_BYTES = TOTAL_BYTES // 2
"""Of one network at most, so that whoever sends much, or slowly, leaves places to others."""
WAIT_SECONDS_MAX = 10.0
RETRY_AFTER_SECONDS = 5

_BODIES = "large_bodies"
_PLACE = "large_bodies.place"


class _Place(NamedTuple):
    """Bytes for a client of one network; held once `granted` is done."""

    network: str
    size: int
    granted: asyncio.Future[None]


class LargeBodies:
    """The places of one process. They go by the order of coming, past those whose share is used up."""

    def __init__(self) -> None:
        self._left = TOTAL_BYTES
        self._held: Counter[str] = Counter()
        self._waiting: list[_Place] = []

    def receive(self, scope: Scope) -> None:
        """Begins a request; `take_place` finds the places in its scope."""
        scope[_BODIES] = self

    def leave(self, scope: Scope) -> None:
        """Gives back what the request took, if it took a place."""
        place: _Place | None = scope.pop(_PLACE, None)
        if place is not None:
            self._give_back(place)

    async def take(self, scope: Scope, size: int) -> None:
        """Waits for `size` bytes. Raises Unavailable."""
        network = network_of(scope["client"][0]) if scope["client"] else ""
        place = _Place(network, min(size, SHARE_BYTES), asyncio.get_running_loop().create_future())
        self._waiting.append(place)
        self._grant()
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                await place.granted
        except TimeoutError:
            self._withdraw(place)
            raise Unavailable(
                "The server has too many large requests in hand. Send it again in a moment.",
                retry_after_seconds=RETRY_AFTER_SECONDS,
            ) from None
        except asyncio.CancelledError:
            self._withdraw(place)
            raise
        scope[_PLACE] = place

    def _withdraw(self, place: _Place) -> None:
        if place in self._waiting:
            self._waiting.remove(place)
            self._grant()
        else:  # it was granted at the same instant
            self._give_back(place)

    def _give_back(self, place: _Place) -> None:
        self._left += place.size
        self._held[place.network] -= place.size
        if not self._held[place.network]:
            del self._held[place.network]
        self._grant()

    def _grant(self) -> None:
        for place in tuple(self._waiting):
            if place.granted.done() or self._held[place.network] + place.size > SHARE_BYTES:
                continue
            if place.size > self._left:
                return
            self._waiting.remove(place)
            self._left -= place.size
            self._held[place.network] += place.size
            place.granted.set_result(None)


async def take_place(scope: Scope, size: int) -> None:
    """Waits for a place for the body of a request, of `size` bytes at most. Raises Unavailable.

    A request takes one place, however often it reads its body. Those that this process makes to itself need
    none: what they send is in memory already.
    """
    bodies: LargeBodies | None = scope.get(_BODIES)
    if size > FREE_BYTES and bodies is not None and _PLACE not in scope:
        await bodies.take(scope, size)
