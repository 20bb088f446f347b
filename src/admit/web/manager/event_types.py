"""/apps/APP/event-types: the catalogue of events, with schemas, example bodies and a way to send one."""

from starlette.responses import Response

from admit.errors import AdmitError, InvalidRequest, NotFound
from admit.web.endpoint_types import EndpointPage
from admit.web.event_types_api import EventTypeDetail, EventTypesView
from admit.web.events_api import Deliveries
from admit.web.manager import hook_words
from admit.web.manager.endpoints import families_of
from admit.web.manager.pages import Page, page

TYPES = "/apps/{app}/event-types"
ONE = f"{TYPES}/{{type}}"


async def show(page: Page) -> Response:
    """Every type of event."""
    found = await page.get(TYPES, EventTypesView)
    return page.render("event_types.html", families=families_of(found.types), words=hook_words)


async def show_one(page: Page) -> Response:
    """One type, with its schema and an example."""
    return await _show_one(page)


async def send_example(page: Page) -> Response:
    """Sends an example to those who are told of the type, or to one endpoint."""
    type_, endpoint = page.param("type"), page.form.optional("endpoint")
    try:
        sent = await page.send(
            "POST", "/apps/{app}/events/trigger", Deliveries, {"type": type_, "endpoint": endpoint}
        )
    except (InvalidRequest, NotFound) as refused:
        return await _show_one(page, refused)
    count = len(sent.deliveries)
    if count == 1:
        return page.done(
            page.here("deliveries", sent.deliveries[0].delivery_id),
            "The example is on its way, marked as a test. Load this page again to see the answer.",
        )
    if not count:
        return await _show_one(page, InvalidRequest(f"No web hook is told of {type_}. Choose one of them."))
    return page.done(
        page.here("deliveries"), f"The example is on its way to {count} web hooks, marked as a test."
    )


async def _show_one(page: Page, refused: AdmitError | None = None) -> Response:
    try:
        shown = await page.get(ONE, EventTypeDetail, type=page.param("type"))
    except InvalidRequest as unknown:
        raise NotFound(unknown.message, code=unknown.code) from None
    endpoints = []
    if page.may("webhooks:write"):
        found = await page.get("/apps/{app}/endpoints", EndpointPage)
        endpoints = [each for each in found.endpoints if each.format in ("thin", "full")]
    return page.render(
        "event_type.html",
        status=page.status_of(refused),
        type=shown,
        words=hook_words,
        endpoints=[
            ("", "Every web hook that is told of it"),
            *((each.id, hook_words.name_of(each)) for each in endpoints),
        ],
        chosen=page.form.text("endpoint") if refused else "",
        refused="" if refused is None else refused.message,
    )


PAGES = (
    page("GET", TYPES, show, nav="events"),
    page("GET", ONE, show_one, nav="events"),
    page("POST", f"{ONE}/example", send_example, nav="events"),
)
