"""Following what an app tells: pages behind a cursor, and on, whatever becomes of the server meanwhile."""

import time
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import msgspec

from admit.cli.command import Terminal
from admit.cli.connection import CannotReach, Rejection, target
from admit.cli.output import say
from admit.clock import jitter

WAIT_SECONDS = 45
"""How long the server keeps a question that it has no answer to. Below the time limit of a request."""
PAGE_EVENTS = 500
PAUSES_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
TOO_MANY_REQUESTS = 429
GONE = 410
LATEST = "latest"


class FedEvent(msgspec.Struct, frozen=True):
    """An event of the feed, its data as the text that came."""

    id: str
    type: str
    timestamp: str
    data: msgspec.Raw

    @property
    def about(self) -> str:
        """Whom it is about: the userId, or the URL of an endpoint."""
        told = msgspec.json.decode(self.data, type=_Data)
        return told.user.user_id if told.user else told.endpoint.url if told.endpoint else ""


class FedPage(msgspec.Struct, frozen=True):
    """A page of the feed."""

    events: list[FedEvent]
    cursor: str
    more: bool


class Feed:
    """An app's feed from `after` on, which is a cursor, "beginning" or "latest".

    Of `types`, which commas separate, and of the person `user`; None: all of them.
    """

    def __init__(
        self,
        terminal: Terminal,
        app: str,
        *,
        after: str,
        types: str | None = None,
        user: str | None = None,
        full: bool = True,
    ) -> None:
        self.cursor = after
        self._terminal = terminal
        self._app = app
        self._query = {"types": types, "user": user, "format": "full" if full else "thin"}

    def page(self, *, limit: int = PAGE_EVENTS, wait: int = 0) -> FedPage:
        """The next page; the feed goes on behind it. Raises Rejection and CannotReach."""
        where = target(
            "apps", self._app, "events", **self._query, after=self.cursor, limit=limit, wait=wait or None
        )
        page = self._terminal.call("GET", where, None, FedPage)
        self.cursor = page.cursor
        return page

    def events(self, limit: int | None) -> Iterator[FedEvent]:
        """What there is by now, at most `limit`."""
        left = limit
        while left is None or left > 0:
            page = self.page(limit=PAGE_EVENTS if left is None else min(left, PAGE_EVENTS))
            yield from page.events
            if not page.more:
                return
            if left is not None:
                left -= len(page.events)

    def follow(self, *, goes_on_after_restore: bool = False) -> Iterator[FedEvent]:
        """What there is and what comes, for ever; a server that is away is waited for.

        `goes_on_after_restore`: begins at the end of a log that was restored from a copy.
        """
        recover = self._begin_at_the_end if goes_on_after_restore else _never
        for page in persistently(lambda wait: self.page(wait=wait), recover):
            yield from page.events

    def _begin_at_the_end(self, error: CannotReach | Rejection) -> bool:
        if not (isinstance(error, Rejection) and error.status == GONE):
            return False
        say(f"{error.message} Going on with what comes now.")
        self.cursor = LATEST
        return True


class LookBack:
    """An app's events before a cursor, or "latest", the newest first; of `types`, a person, a device."""

    def __init__(
        self,
        terminal: Terminal,
        app: str,
        *,
        before: str,
        types: str | None,
        user: str | None,
        device: str | None,
    ) -> None:
        self.cursor = before
        self._terminal = terminal
        self._app = app
        self._query = {"types": types, "user": user, "device": device}

    def events(self, limit: int | None) -> Iterator[FedEvent]:
        """What is kept of them, at most `limit`."""
        left = limit
        while left is None or left > 0:
            most = PAGE_EVENTS if left is None else min(left, PAGE_EVENTS)
            where = target("apps", self._app, "events", **self._query, before=self.cursor, limit=most)
            page = self._terminal.call("GET", where, None, FedPage)
            self.cursor = page.cursor
            yield from page.events
            if not page.more:
                return
            if left is not None:
                left -= len(page.events)


class Page(Protocol):
    """An answer to a question that may be asked for ever."""

    @property
    def more(self) -> bool:
        """Whether something is behind it already."""


P = TypeVar("P", bound=Page)


def _never(_error: CannotReach | Rejection) -> bool:
    return False


def persistently(
    ask: Callable[[int], P], recover: Callable[[CannotReach | Rejection], bool] = _never
) -> Iterator[P]:
    """Page after page, for ever; a server that is away is waited for.

    `ask` is told for how many seconds the server may keep the question. `recover` may do something about an
    error, and says whether it has.
    """
    more, failures = True, 0
    while True:
        try:
            page = ask(0 if more else WAIT_SECONDS)
        except (CannotReach, Rejection) as error:
            if not recover(error):
                if not _passes(error):
                    raise
                if failures == 0:
                    say(f"{error.message} Trying again until it answers.")
                time.sleep(jitter(PAUSES_SECONDS[min(failures, len(PAUSES_SECONDS) - 1)]))
                failures += 1
            more = True  # a short question tells soonest whether it answers again
            continue
        if failures:
            say("It answers again; nothing was missed.")
        more, failures = page.more, 0
        yield page


class _User(msgspec.Struct, frozen=True):
    user_id: str


class _Endpoint(msgspec.Struct, frozen=True):
    url: str


class _Data(msgspec.Struct, frozen=True):
    user: _User | None = None
    endpoint: _Endpoint | None = None


def _passes(error: CannotReach | Rejection) -> bool:
    """Whether it may be otherwise in a while."""
    if isinstance(error, CannotReach):
        return True
    return error.status >= 500 or error.status == TOO_MANY_REQUESTS
