"""Deadlines: when a block ends by them, and when by its caller."""

import asyncio

import pytest

from admit.outbound.deadline import Deadline


async def test_block_that_takes_too_long_times_out() -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()

    with pytest.raises(TimeoutError), Deadline(loop, 0.05):
        await asyncio.sleep(30)

    assert 0.04 < loop.time() - started < 5
    await asyncio.sleep(0)  # nothing is left of the cancellation


async def test_block_in_time_goes_on_undisturbed() -> None:
    with Deadline(asyncio.get_running_loop(), 0.02):
        await asyncio.sleep(0)

    await asyncio.sleep(0.05)


async def test_error_of_the_block_comes_through() -> None:
    with pytest.raises(ValueError, match="mine"), Deadline(asyncio.get_running_loop(), 30):
        raise ValueError("mine")


async def test_caller_who_cancels_is_not_told_of_a_timeout() -> None:
    task = asyncio.create_task(waiting(30))
    await asyncio.sleep(0)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_caller_who_cancels_at_the_deadline_has_cancelled() -> None:
    task = asyncio.create_task(waiting(0))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0, task.cancel)  # due in the same turn, behind the deadline

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_inner_deadline_leaves_the_outer_one_its_time() -> None:
    passed = []

    async def nested() -> None:
        with Deadline(asyncio.get_running_loop(), 0.1):
            with pytest.raises(TimeoutError):
                await waiting(0.01)
            passed.append("inner")
            await asyncio.sleep(30)

    with pytest.raises(TimeoutError):
        await nested()

    assert passed == ["inner"]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def waiting(seconds: float) -> None:
    with Deadline(asyncio.get_running_loop(), seconds):
        await asyncio.sleep(30)
