"""A deadline for what a task does next: `asyncio.timeout` at a quarter of the price, for every request."""

import asyncio
from types import TracebackType


class Deadline:
    """Cancels the block that it encloses after `seconds`, which then raises TimeoutError.

    Whoever cancels the task itself has their CancelledError, also when both come at once. `expired` says
    whether the time was over.
    """

    __slots__ = ("_cancelling", "_handle", "_loop", "_seconds", "_task", "expired")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self.expired = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._handle = self._loop.call_later(self._seconds, self._expire)

    def _expire(self) -> None:
        self.expired = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._handle.cancel()
        if (
            self.expired
            and self._task.uncancel() <= self._cancelling
            and kind is not None
            and issubclass(kind, asyncio.CancelledError)
        ):
            raise TimeoutError from error
