"""What a worker process writes past the kit: its standard output and error, of which the end is kept.

Nobody reads it but when a process has died, so it is read slowly: who floods it waits for himself.
"""

import asyncio
import os

KEPT_BYTES = 8_192
PIECE_BYTES = 65_536
PAUSE_SECONDS = 0.02


class Output:
    """The reading end of a pipe, which belongs to this from now on."""

    def __init__(self, descriptor: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._kept = b""
        self._pause: asyncio.TimerHandle | None = None
        self._open = True
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._readable)

    def read(self) -> str:
        """The end of what was written so far."""
        self._take()
        return self._kept.decode(errors="replace")

    def close(self) -> str:
        """The end of all that was written; nothing is read any more."""
        if self._open:
            self._take()
            self._stop()
            os.close(self._descriptor)
        return self._kept.decode(errors="replace")

    def _readable(self) -> None:
        self._loop.remove_reader(self._descriptor)
        if self._take():
            self._pause = self._loop.call_later(PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._descriptor, self._readable)

    def _take(self) -> bool:
        """False when there will be no more."""
        if not self._open:
            return False
        try:
            piece = os.read(self._descriptor, PIECE_BYTES)
        except BlockingIOError:
            return True
        self._kept = (self._kept + piece)[-KEPT_BYTES:]
        return bool(piece)

    def _stop(self) -> None:
        self._open = False
        self._loop.remove_reader(self._descriptor)
        if self._pause is not None:
            self._pause.cancel()
