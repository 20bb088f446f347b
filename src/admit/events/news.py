"""News: waits for the next events on behalf of everybody who follows a feed.

However many wait, a process reads an app's log once for a burst of events, and hands everybody theirs.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import structlog

from admit.clock import jitter
from admit.errors import CursorExpired, Unavailable
from admit.events import feed
from admit.events.catalog import TYPES
from admit.events.feed import Page, Place, Wanted
from admit.events.log import TOPIC, Recorded
from admit.events.subscriptions import NOT_FOR_EVERYBODY
from admit.storage.database import Database

WAITING_MAX = 20_000
READ_AT_ONCE = 500
PAUSE_SECONDS = 0.02
TROUBLE_SECONDS = 1.0

log = structlog.get_logger("admit.events")


class News:
    """Whoever waits for events in this process. Made on the running event loop; close it at the end."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._desks: dict[str, _Desk] = {}
        self._visitors = 0
        self._ended = False
        self._unsubscribe = db.signals.subscribe(TOPIC, self._hear)

    @property
    def waiting(self) -> int:
        """How many follow a feed at this moment."""
        return self._visitors

    @property
    def ended(self) -> bool:
        """Whether nobody waits any more: the server is about to stop."""
        return self._ended

    async def page(self, wanted: Wanted, after: str, wait_seconds: float) -> Page:
        """The page behind `after`, as soon as there is something in it or behind it, after `wait_seconds` at
        the latest.

        Raises what `feed.read` raises, and Unavailable where too many wait.
        """
        if wait_seconds <= 0 or self._ended:
            return await self._read(wanted, after)
        if self._visitors >= WAITING_MAX:
            raise Unavailable("This server has too many who wait for events.", retry_after_seconds=10)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        desk = self._enter(wanted.app_id)
        try:
            place: str | Place = after
            while True:
                page = await self._read(wanted, place)
                if page.events or page.more or self._ended:
                    return page
                told = await desk.wait(wanted, page.place, deadline - loop.time())
                if told is not None:
                    return told
                if self._ended:
                    return page
                place = page.place
        finally:
            self._leave(wanted.app_id, desk)

    def end_waits(self) -> None:
        """Lets everybody go with what they have: the server is about to stop."""
        self._ended = True
        for desk in self._desks.values():
            desk.let_all_look()

    async def close(self) -> None:
        """Stops listening. Nobody may wait any more."""
        self._unsubscribe()
        for desk in tuple(self._desks.values()):
            await desk.close()

    async def _read(self, wanted: Wanted, after: str | Place) -> Page:
        return await self._db.read(partial(feed.read, wanted=wanted, after=after))

    def _hear(self, app_id: str | None) -> None:
        desks = self._desks.values() if app_id is None else filter(None, [self._desks.get(app_id)])
        for desk in desks:
            desk.hear()

    def _enter(self, app_id: str) -> "_Desk":
        """Before the visitor's own look, so that no event falls between that and the signals."""
        desk = self._desks.get(app_id)
        if desk is None:
            desk = self._desks[app_id] = _Desk(self._db, app_id)
        desk.visitors += 1
        self._visitors += 1
        return desk

    def _leave(self, app_id: str, desk: "_Desk") -> None:
        desk.visitors -= 1
        self._visitors -= 1
        if desk.visitors == 0:
            del self._desks[app_id]
            desk.stop()


class _Visitor:
    """Somebody who has seen everything up to `place` and found nothing."""

    def __init__(self, wanted: Wanted, place: Place) -> None:
        self.wanted = wanted
        self.place = place
        self.told: asyncio.Future[Page | None] = asyncio.get_running_loop().create_future()

    def tell(self, page: Page | None) -> None:
        if not self.told.done():
            self.told.set_result(page)


class _Desk:
    """Those who wait for news of one app, and the one reading on behalf of all."""

    def __init__(self, db: Database, app_id: str) -> None:
        self.visitors = 0
        self._db = db
        self._app_id = app_id
        self._waiting: set[_Visitor] = set()
        self._place: Place | None = None
        self._heard = False
        self._reading: asyncio.Task[None] | None = None

    async def wait(self, wanted: Wanted, place: Place, seconds: float) -> Page | None:
        """The next page behind `place`, empty when time is over; None: look for yourself."""
        visitor = _Visitor(wanted, place)
        self._start_at(place)
        self._waiting.add(visitor)
        if self._heard:
            self._read_on()
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                return await visitor.told
        except TimeoutError:
            return Page([], visitor.place, more=False)
        finally:
            self._waiting.discard(visitor)

    def hear(self) -> None:
        """There may be news."""
        self._heard = True
        if self._waiting:
            self._read_on()

    def let_all_look(self) -> None:
        """Says to everybody to look for themselves."""
        for visitor in self._waiting:
            visitor.tell(None)

    def stop(self) -> None:
        """Reads no more."""
        if self._reading is not None:
            self._reading.cancel()

    async def close(self) -> None:
        """Reads no more, and nothing is left of it."""
        self.stop()
        if self._reading is not None:
            with suppress(asyncio.CancelledError):
                await self._reading

    def _start_at(self, place: Place) -> None:
        """Sees to it that the next reading covers what comes behind `place`."""
        known = self._place
        if known is not None and known.epoch != place.epoch:
            self.let_all_look()
            known = None
        if known is not None and self._waiting and known.position > place.position:
            self._heard = True  # what was read meanwhile has passed this visitor by
        if known is None or not self._waiting or known.position > place.position:
            self._place = place

    def _read_on(self) -> None:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while self._heard and self._waiting:
            self._heard = False
            try:
                await self._read_news()
            except CursorExpired:
                self._place = None
                self.let_all_look()
                return
            except Exception as error:
                log.warning("events.cannot_read", cause=type(error).__name__)
                self._heard = True
                await asyncio.sleep(jitter(TROUBLE_SECONDS))
            await asyncio.sleep(PAUSE_SECONDS)

    async def _read_news(self) -> None:
        assert self._place is not None
        start = self._place
        whole = any(map(_names_what_is_not_for_everybody, self._waiting))
        types = frozenset(TYPES) if whole else frozenset()
        everything = Wanted(app_id=self._app_id, types=types, limit=READ_AT_ONCE)
        page = await self._db.read(partial(feed.read, wanted=everything, after=start))
        if self._place is start:
            self._place = page.place
        else:  # somebody who is further behind has come meanwhile
            self._heard = True
        if page.more:
            self._heard = True
        for visitor in tuple(self._waiting):
            if whole or not _names_what_is_not_for_everybody(visitor):
                _hand_over(visitor, start, page)
            else:  # who has come while it was read
                visitor.tell(None)


def _names_what_is_not_for_everybody(visitor: _Visitor) -> bool:
    return not NOT_FOR_EVERYBODY.isdisjoint(visitor.wanted.types)


def _hand_over(visitor: _Visitor, start: Place, page: Page) -> None:
    """Gives the visitor what is theirs of `page`, which was read behind `start`, or moves them on."""
    if visitor.place.epoch != page.place.epoch or visitor.place.position < start.position:
        return
    mine: list[Recorded] = [
        event
        for event in page.events
        if event.position > visitor.place.position and visitor.wanted.fits(event)
    ]
    if not mine:
        if page.place.position > visitor.place.position:
            visitor.place = page.place
        return
    visitor.tell(_portion_of(mine, visitor.wanted.limit, page))


def _portion_of(mine: Sequence[Recorded], limit: int, page: Page) -> Page:
    if len(mine) <= limit:
        return Page(mine, page.place, page.more)
    portion = mine[:limit]
    return Page(portion, Place(page.place.epoch, portion[-1].position), more=True)
