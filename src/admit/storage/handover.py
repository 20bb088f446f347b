"""Handing work over: a thread begins when the event loop has handed over all that it has at hand.

A loop that serves many requests hands over their work one by one. A thread that began with the first would
get the others one by one, too, and fight the loop for the interpreter meanwhile. At the end of the loop's
round it gets them together: who is alone waits for microseconds, and many share a statement and a commit.
"""

import asyncio
import threading


class Handover:
    """Wakes one thread that waits for `wake` when a round of the loop has brought nothing more."""

    def __init__(self, wake: threading.Condition) -> None:
        self._wake = wake
        self._came = 0
        self._looking: asyncio.AbstractEventLoop | None = None
        self.is_over = False
        """Whether the last round has brought nothing. Read and set while `wake` is held."""

    def came(self, loop: asyncio.AbstractEventLoop) -> None:
        """Work has come from `loop`, which runs now; `wake` is held."""
        self._came += 1
        self._look_from_now_on(loop)

    def answered(self, loop: asyncio.AbstractEventLoop) -> None:
        """Callers in `loop` have just been sent answers, and what they hand over next is waited for.

        Called by the thread.
        """
        with self._wake:
            self.is_over = False
        try:
            loop.call_soon_threadsafe(self._look_behind_answers, loop)
        except RuntimeError:  # the loop is closed
            with self._wake:
                self.is_over = True

    def _look_behind_answers(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._wake:
            self._look_from_now_on(loop)

    def _look_from_now_on(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._looking is not loop:
            self._looking = loop
            loop.call_soon(self._look, loop, self._came)

    def _look(self, loop: asyncio.AbstractEventLoop, came: int) -> None:
        with self._wake:
            if self._came > came and self._looking is loop:
                loop.call_soon(self._look, loop, self._came)
            else:
                self._looking = None
                self.is_over = True
                self._wake.notify()
