"""Line news: waits for the next lines of jobs on behalf of somebody who watches."""

import asyncio
from collections import defaultdict
from contextlib import suppress
from functools import partial

from msgspec.structs import replace

from admit.errors import Unavailable
from admit.jobs import lines
from admit.jobs.lines import TOPIC, LinesPage, Query
from admit.storage.database import Database

WATCHING_MAX = 500
LOOK_SECONDS = 5.0
"""After so long everybody looks by themselves, in case a signal was lost."""
PAUSE_SECONDS = 0.05
"""Between a signal and the look, so that a burst of lines is one page."""


class LineNews:
    """Whoever waits for lines in this process. Made on the running event loop; close it at the end."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._watching: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._number = 0
        self._ended = False
        self._unsubscribe = db.signals.subscribe(TOPIC, self._hear)

    @property
    def watching(self) -> int:
        """How many wait at this moment."""
        return self._number

    async def page(self, app_id: str, query: Query, wait_seconds: float) -> LinesPage:
        """The lines behind `query.after`, as soon as there are some, after `wait_seconds` at the latest.

        Raises Unavailable where too many wait.
        """
        if wait_seconds <= 0 or self._ended:
            return await self._read(app_id, query)
        if self._number >= WATCHING_MAX:
            raise Unavailable("This server has too many who wait for lines.", retry_after_seconds=10)
        heard = asyncio.Event()
        self._watching[app_id].add(heard)  # before the first look, so that no line falls between
        self._number += 1
        try:
            return await self._wait(app_id, query, heard, wait_seconds)
        finally:
            self._number -= 1
            self._watching[app_id].discard(heard)
            if not self._watching[app_id]:
                del self._watching[app_id]

    def end_waits(self) -> None:
        """Lets everybody go with what they have: the server is about to stop."""
        self._ended = True
        self._hear(None)

    def close(self) -> None:
        """Stops listening. Nobody may wait any more."""
        self._unsubscribe()

    async def _wait(self, app_id: str, query: Query, heard: asyncio.Event, wait_seconds: float) -> LinesPage:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        while True:
            heard.clear()
            page = await self._read(app_id, query)
            left = deadline - loop.time()
            if page.lines or page.more or self._ended or left <= 0:
                return page
            query = replace(query, after=page.after)
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, LOOK_SECONDS)):
                    await heard.wait()
                    await asyncio.sleep(PAUSE_SECONDS)

    async def _read(self, app_id: str, query: Query) -> LinesPage:
        return await self._db.read(partial(lines.page, app_id=app_id, query=query))

    def _hear(self, app_id: str | None) -> None:
        apps = tuple(self._watching) if app_id is None else (app_id,)
        for each in apps:
            for heard in self._watching.get(each, ()):
                heard.set()
