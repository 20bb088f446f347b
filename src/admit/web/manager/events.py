"""/apps/APP/events: everything that happened, the newest first, as it happens; and one event with its way."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from admit.errors import InvalidRequest, NotFound
from admit.web.deliveries_api import DeliveryPage
from admit.web.endpoint_types import EndpointPage
from admit.web.event_types_api import EventTypesView
from admit.web.events_api import EventPage, EventView
from admit.web.manager import event_words, hook_words, live
from admit.web.manager.pages import Page, page
from admit.web.task_types import RunPage

EVENTS = "/apps/{app}/events"
ONE = f"{EVENTS}/{{event}}"
PAGE_SIZE = 50
RUNS_MAX = 20
_PAGES_OF_IDS = {"evt_": "events", "dlv_": "deliveries", "run_": "runs"}


async def show(page: Page) -> Response:
    """A page of events."""
    wanted = page.query("q")
    for prefix, section in _PAGES_OF_IDS.items():
        if wanted.startswith(prefix):
            return page.go(page.here(section, wanted))
    type_ = page.query("type")
    types = page.get("/apps/{app}/event-types", EventTypesView)
    (found, whose), known = await page.together(_find(page, wanted, type_), types)
    cursors = _cursors(page, found)
    where = {"q": wanted, "type": type_}
    listens = not page.query("before") and not page.query("after") and "device" not in whose
    return page.render(
        "events.html",
        events=[event_words.told(each) for each in cursors.events],
        types=[("", "Every type"), *((each.type, each.type) for each in known.types)],
        q=wanted,
        type=type_,
        newer=page.here("events", **where, after=cursors.newer) if cursors.newer else "",
        older=page.here("events", **where, before=cursors.older) if cursors.older else "",
        live=page.here("events", "live", type=type_, user=whose.get("user"), after=found.back)
        if listens
        else "",
    )


async def show_live(page: Page) -> Response:
    """Events as they happen, as rows of the list."""

    def rows(events: Sequence[EventView]) -> str:
        return page.block("events.html", "rows", events=[event_words.told(each) for each in events])

    query = {"types": page.query("type") or None, "user": page.query("user") or None}
    return await live.stream(page, rows, query)


async def show_one(page: Page) -> Response:
    """One event, who was told of it, and which tasks ran for it."""
    event_id = page.param("event")
    event = await page.get(ONE, EventView, event=event_id)
    deliveries, endpoints, runs = await page.together(
        _deliveries(page, event_id), _names(page), _runs(page, event_id)
    )
    return page.render(
        "event.html",
        event=event_words.told(event),
        body={"type": event.type, "timestamp": event.timestamp, "data": event.data},
        device=(event.data.get("device") or {}).get("identifier", ""),
        deliveries=deliveries,
        names=endpoints,
        runs=runs,
        words=hook_words,
    )


class _Cursors:
    """The events of a page, the newest first, and the cursors on either side; "": there is nothing."""

    def __init__(self, events: Sequence[EventView], newer: str, older: str) -> None:
        self.events = events
        self.newer = newer
        self.older = older


def _cursors(page: Page, found: EventPage) -> _Cursors:
    after = page.query("after")
    if after:
        return _Cursors(found.events[::-1], found.cursor if found.more else "", after)
    newer = found.back or "" if page.query("before") else ""
    return _Cursors(found.events, newer, found.cursor if found.more else "")


async def _find(page: Page, wanted: str, type_: str) -> tuple[EventPage, Mapping[str, str]]:
    """The events, and whose or what device's they are."""
    after, before = page.query("after"), page.query("before")
    place: dict[str, Any] = {"after": after} if after else {"before": before or "latest"}
    asked = {**place, "types": type_ or None, "limit": PAGE_SIZE}
    if not wanted:
        return await page.get(EVENTS, EventPage, asked), {}
    try:
        return await page.get(EVENTS, EventPage, {**asked, "user": wanted}), {"user": wanted}
    except NotFound:
        if after:
            raise InvalidRequest("Events of a device are found from the newest on.") from None
        return await page.get(EVENTS, EventPage, {**asked, "device": wanted}), {"device": wanted}


async def _deliveries(page: Page, event_id: str) -> DeliveryPage | None:
    if not page.may("webhooks:read"):
        return None
    return await page.get("/apps/{app}/deliveries", DeliveryPage, {"event": event_id})


async def _names(page: Page) -> dict[str, str]:
    if not page.may("webhooks:read"):
        return {}
    found = await page.get("/apps/{app}/endpoints", EndpointPage)
    return {each.id: hook_words.name_of(each) for each in found.endpoints}


async def _runs(page: Page, event_id: str) -> RunPage | None:
    if not page.may("tasks:read"):
        return None
    return await page.get("/apps/{app}/runs", RunPage, {"about": event_id, "limit": RUNS_MAX})


PAGES = (
    page("GET", EVENTS, show, nav="events"),
    page("GET", f"{EVENTS}/live", show_live, nav="events"),
    page("GET", ONE, show_one, nav="events"),
)
