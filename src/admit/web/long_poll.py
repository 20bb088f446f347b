"""Questions that are kept until there is an answer, or until who has asked hangs up."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from admit.web.operations import ClientGone

WAIT_SECONDS_MAX = 60.0

T = TypeVar("T")


async def while_connected(request: Request, answer: Coroutine[Any, Any, T]) -> T:
    """What `answer` comes to. Raises ClientGone, and lets go of it, when the client hangs up before."""
    answering, hanging_up = asyncio.create_task(answer), asyncio.create_task(_hang_up(request))
    try:
        await asyncio.wait((answering, hanging_up), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise ClientGone
        return answering.result()
    finally:
        for task in (answering, hanging_up):
            task.cancel()
        await asyncio.gather(answering, hanging_up, return_exceptions=True)


async def _hang_up(request: Request) -> None:
    """Returns when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
