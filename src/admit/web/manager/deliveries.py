"""/apps/APP/deliveries: what became of each event that somebody is owed, attempt by attempt."""

from collections.abc import Mapping

from starlette.responses import Response

from admit.errors import AdmitError, Conflict, NotFound
from admit.web.deliveries_api import DeliveryHistory, DeliveryPage
from admit.web.endpoint_types import EndpointPage, EndpointView
from admit.web.manager import hook_words
from admit.web.manager.endpoint import ONE as ENDPOINT
from admit.web.manager.pages import Page, page

ENDPOINTS = "/apps/{app}/endpoints"
DELIVERIES = "/apps/{app}/deliveries"
ONE = f"{DELIVERIES}/{{delivery}}"
PAGE_SIZE = 40


async def show(page: Page) -> Response:
    """Deliveries to all endpoints, by state and person."""
    state, user = page.query("state"), page.query("user")
    if user.startswith("dlv_"):
        return page.go(page.here("deliveries", user))
    asked = {
        "state": state or None,
        "user": user or None,
        "before": page.query("before") or None,
        "limit": PAGE_SIZE,
    }
    found, endpoints = await page.together(_deliveries(page, asked), page.get(ENDPOINTS, EndpointPage))
    return page.render(
        "deliveries.html",
        deliveries=found.deliveries,
        names={each.id: hook_words.name_of(each) for each in endpoints.endpoints},
        state=state,
        user=user,
        segments=[
            (page.here("deliveries", state=key, user=user), label) for key, label in hook_words.STATE_CHOICES
        ],
        segment=dict(hook_words.STATE_CHOICES).get(state, ""),
        newer=page.here("deliveries", state=state, user=user) if page.query("before") else "",
        older=page.here("deliveries", state=state, user=user, before=found.before) if found.before else "",
        words=hook_words,
    )


async def show_one(page: Page) -> Response:
    """One delivery, with every attempt. What htmx asks for is how it stands, once that is something new."""
    return await _show_one(page)


async def retry(page: Page) -> Response:
    """Tries a delivery again, or sooner."""
    delivery_id = page.param("delivery")
    try:
        await page.send("POST", f"{ONE}/retry", DeliveryHistory, delivery=delivery_id)
    except Conflict as refused:
        return await _show_one(page, refused)
    back = page.form.text("back")
    here = page.here("deliveries", delivery_id)
    # Back to the list from which it was asked for, of this app alone.
    return page.done(back if back.startswith(f"{page.here()}/") else here, "It is tried again now.")


async def _show_one(page: Page, refused: AdmitError | None = None) -> Response:
    delivery = await page.get(ONE, DeliveryHistory, delivery=page.param("delivery"))
    if page.wants_fragment and page.query("seen") == hook_words.standing(delivery):
        return Response(status_code=204)
    try:
        endpoint = await page.get(ENDPOINT, EndpointView, endpoint=delivery.endpoint)
    except NotFound:
        endpoint = None
    values = {
        "delivery": delivery,
        "endpoint": endpoint,
        "refused": "" if refused is None else refused.message,
        "words": hook_words,
    }
    if page.wants_fragment:
        return page.render_block("delivery.html", "main", **values)
    return page.render("delivery.html", status=page.status_of(refused), **values)


async def _deliveries(page: Page, asked: Mapping[str, object]) -> DeliveryPage:
    try:
        return await page.get(DELIVERIES, DeliveryPage, asked)
    except NotFound:
        return DeliveryPage(deliveries=[], before=None)


PAGES = (
    page("GET", DELIVERIES, show, nav="endpoints"),
    page("GET", ONE, show_one, nav="endpoints"),
    page("POST", f"{ONE}/retry", retry, nav="endpoints"),
)
