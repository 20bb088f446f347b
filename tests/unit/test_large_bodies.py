"""Places for large bodies: how many bytes are in hand at once, whose, and who is next."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from admit.errors import Unavailable
from admit.web import large_bodies
from admit.web.large_bodies import SHARE_BYTES, TOTAL_BYTES, LargeBodies, take_place

MANY = 16_000_000
Scope = MutableMapping[str, Any]


def came(bodies: LargeBodies, network: str = "192.0.2.1") -> Scope:
    scope: Scope = {"client": (network, 0)}
    bodies.receive(scope)
    return scope


async def waiting(scope: Scope, size: int = MANY) -> asyncio.Task[None]:
    """A request that has got as far as it gets at once."""
    task = asyncio.create_task(take_place(scope, size))
    await asyncio.sleep(0)
    return task


async def holding(bodies: LargeBodies, network: str, size: int = MANY) -> Scope:
    scope = came(bodies, network)
    assert (await waiting(scope, size)).done(), "there is no place"
    return scope


async def full(bodies: LargeBodies) -> list[Scope]:
    held = [await holding(bodies, f"192.0.2.{each}", SHARE_BYTES) for each in (101, 102)]
    assert SHARE_BYTES * len(held) == TOTAL_BYTES
    return held


async def test_the_next_waits_until_somebody_leaves() -> None:
    bodies = LargeBodies()
    held = await full(bodies)
    next_one = await waiting(came(bodies))
    assert not next_one.done()
    bodies.leave(held[0])
    await asyncio.wait_for(next_one, 1)


async def test_a_small_body_never_waits() -> None:
    bodies = LargeBodies()
    await full(bodies)
    assert (await waiting(came(bodies), large_bodies.FREE_BYTES)).done()


async def test_one_network_leaves_half_to_others() -> None:
    bodies = LargeBodies()
    held = [await holding(bodies, "192.0.2.1") for _ in range(SHARE_BYTES // MANY)]
    again = await waiting(came(bodies, "192.0.2.1"))
    await holding(bodies, "192.0.2.2")
    assert not again.done()
    bodies.leave(held[0])
    await asyncio.wait_for(again, 1)


async def test_a_large_one_is_not_overtaken_by_smaller_ones() -> None:
    bodies = LargeBodies()
    held = [await holding(bodies, f"192.0.2.{each}") for each in range(101, 105)]
    large = await waiting(came(bodies, "192.0.2.1"), SHARE_BYTES)
    small = await waiting(came(bodies, "192.0.2.2"), 2_000_000)
    bodies.leave(held[0])
    await asyncio.sleep(0)
    assert not small.done()
    bodies.leave(held[1])
    await asyncio.wait_for(large, 1)
    bodies.leave(held[2])
    await asyncio.wait_for(small, 1)


async def test_those_behind_a_large_one_go_when_it_gives_up() -> None:
    bodies = LargeBodies()
    for each in range(101, 104):
        await holding(bodies, f"192.0.2.{each}")
    large = await waiting(came(bodies, "192.0.2.1"), SHARE_BYTES)
    small = await waiting(came(bodies, "192.0.2.2"), 2_000_000)
    assert not small.done()
    large.cancel()
    await asyncio.wait_for(small, 1)


async def test_who_finds_no_place_in_time_is_told_when_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_bodies, "WAIT_SECONDS_MAX", 0.01)
    bodies = LargeBodies()
    held = await full(bodies)
    late = came(bodies)
    with pytest.raises(Unavailable) as refused:
        await take_place(late, MANY)
    assert refused.value.retry_after_seconds == large_bodies.RETRY_AFTER_SECONDS
    bodies.leave(late)
    for each in held:
        bodies.leave(each)
    await full(bodies)


async def test_who_hangs_up_while_waiting_takes_no_place() -> None:
    bodies = LargeBodies()
    held = await full(bodies)
    gone, next_one = await waiting(came(bodies, "192.0.2.1"), SHARE_BYTES), await waiting(came(bodies))
    gone.cancel()
    bodies.leave(held[0])  # while the cancelled one has not yet run
    await asyncio.wait_for(next_one, 1)
    assert gone.cancelled()


async def test_a_place_that_is_granted_to_one_who_just_gave_up_goes_on_to_the_next() -> None:
    bodies = LargeBodies()
    held = await full(bodies)
    gone = await waiting(came(bodies, "192.0.2.1"), SHARE_BYTES)
    bodies.leave(held[0])
    gone.cancel()
    await asyncio.wait({gone})
    await holding(bodies, "192.0.2.2", SHARE_BYTES)


async def test_a_body_that_is_read_again_takes_no_second_place() -> None:
    bodies = LargeBodies()
    scope = await holding(bodies, "192.0.2.1", SHARE_BYTES)
    assert (await waiting(scope, SHARE_BYTES)).done()
    bodies.leave(scope)
    bodies.leave(scope)
    await full(bodies)


async def test_a_body_over_a_share_takes_a_share() -> None:
    bodies = LargeBodies()
    await holding(bodies, "192.0.2.1", TOTAL_BYTES)
    await holding(bodies, "192.0.2.2", SHARE_BYTES)
