"""Live rows: what happens in an app, told to a page that stays open, as server-sent events.

Nothing is skipped or told twice: every message carries the cursor behind it, and whoever comes back brings
the last one they were given. The stream ends with the session of its operator, and when the server stops.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial

import msgspec
from starlette.responses import Response

from admit.errors import AdmitError, CursorExpired, Unauthorized
from admit.events.feed import LATEST
from admit.operators import sessions
from admit.web.events_api import EventPage, EventView
from admit.web.manager.pages import Page
from admit.web.operations import ClientGone

BEAT_SECONDS = 15.0
"""How often a stream says that it is there, and looks whether its operator still is."""
GATHER_SECONDS = 0.25
NUMBERS_SECONDS = 5.0
"""Numbers cost more than rows: they are told no more often."""
EVENTS_MAX = 50
FEED = "/apps/{app}/events"
AGAIN = "last-event-id"

SIGNED_OUT = "You are signed out. Load the page to sign in."
TOO_LATE = "Too much has happened since. Load the page anew."

Rows = Callable[[Sequence[EventView]], str]
"""The HTML of rows for events, of which the newest comes first."""

Message = tuple[str, str] | tuple[str, str, str]


Numbers = Callable[[], Awaitable[Mapping[str, str]]]
"""The numbers of a page, by the id of the element that shows each."""


async def stream(
    page: Page, rows: Rows, query: Mapping[str, object] | None = None, numbers: Numbers | None = None
) -> Response:
    """Tells the page the events behind its cursor, the `after` in its address, as `rows` of a table.

    `query`: which events, as GET of the feed has it. `numbers` are told now and then, after events.
    Raises AdmitError before anything is told.
    """
    after = page.request.headers.get(AGAIN) or page.query("after") or LATEST
    ask = partial(_ask, page, dict(query or {}))
    return page.stream(_told(page, rows, numbers, ask, await ask(after, 0)))


async def _told(
    page: Page,
    rows: Rows,
    numbers: Numbers | None,
    ask: Callable[[str, float], Awaitable[EventPage]],
    news: EventPage,
) -> AsyncIterator[Message]:
    loop = asyncio.get_running_loop()
    looked_at, told_at, changed = loop.time(), 0.0, False
    try:
        while True:
            if news.events:
                changed = True
                yield "rows", rows(news.events[::-1]), news.cursor
            else:
                yield "beat", "", news.cursor
            if numbers is not None and changed and loop.time() - told_at >= NUMBERS_SECONDS:
                told_at, changed = loop.time(), False
                yield "set", msgspec.json.encode(await numbers()).decode()
            if page.gateway.news.ended:
                return
            if loop.time() - looked_at >= BEAT_SECONDS:
                looked_at = loop.time()
                if not await still_signed_in(page):
                    yield "ended", SIGNED_OUT
                    return
            if news.events and not news.more:  # a burst comes as one message
                await asyncio.sleep(GATHER_SECONDS)
            until = looked_at + BEAT_SECONDS
            if numbers is not None and changed:
                until = min(until, told_at + NUMBERS_SECONDS)
            news = await ask(news.cursor, max(0.0, until - loop.time()))
    except CursorExpired:
        yield "ended", TOO_LATE
    except (AdmitError, ClientGone):
        return  # whoever is still there asks again, and hears what is wrong


async def _ask(page: Page, query: Mapping[str, object], after: str, wait: float) -> EventPage:
    fields = {**query, "after": after, "limit": EVENTS_MAX, "wait": wait}
    return await page.get(FEED, EventPage, fields)


async def require_signed_in(page: Page) -> None:
    """Raises Unauthorized where the session has ended meanwhile: a file that is being written breaks off."""
    if not await still_signed_in(page):
        raise Unauthorized(SIGNED_OUT)


async def still_signed_in(page: Page) -> bool:
    """Whether the session still lives, and may see what it sees. To look does not keep it alive."""
    gateway = page.gateway
    cookie = page.request.cookies.get(sessions.cookie_name(gateway.settings.public_url), "")
    now = await sessions.find_session(gateway.db, gateway.ring, cookie, gateway.clock(), keep=False)
    return now is not None and now.scopes == page.signed_in.scopes
