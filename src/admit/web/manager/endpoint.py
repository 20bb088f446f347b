"""/apps/APP/endpoints/ENDPOINT: how one is doing, what it was sent, its settings, and its secret."""

from datetime import UTC, datetime
from types import NoneType
from typing import Any

from starlette.responses import Response

from admit.clock import SECOND_MS
from admit.errors import AdmitError, Conflict, InvalidRequest
from admit.web.deliveries_api import DeliveryPage
from admit.web.endpoint_figures_api import EndpointHours
from admit.web.endpoint_types import EndpointSecret, EndpointView, TrialView
from admit.web.event_types_api import EventTypesView
from admit.web.manager import endpoint_forms, hook_words, seen
from admit.web.manager.endpoints import ENDPOINTS, families_of, show_form, show_secret
from admit.web.manager.pages import Page, page
from admit.web.manager.toasts import Undo
from admit.webhooks.secrets import OVERLAP_SECONDS

ONE = f"{ENDPOINTS}/{{endpoint}}"
PAGE_SIZE = 50
OVERLAPS = (
    ("86400", "24 hours"),
    ("3600", "1 hour"),
    ("604800", "7 days"),
    ("0", "Not at all: it has leaked"),
)
CHART_HEIGHT = 100
BAR_WIDTH = 10
BAR_STEP = 14


async def show(page: Page) -> Response:
    """How the endpoint is doing, and its deliveries."""
    state = page.query("state")
    asked = {
        "endpoint": page.param("endpoint"),
        "state": state or None,
        "before": page.query("before") or None,
        "limit": PAGE_SIZE,
    }
    endpoint, figures, found = await page.together(
        _endpoint(page),
        page.get(f"{ONE}/figures", EndpointHours, {"hours": 24}, endpoint=page.param("endpoint")),
        page.get("/apps/{app}/deliveries", DeliveryPage, asked),
    )
    where = ("endpoints", endpoint.id)
    return page.render(
        "endpoint.html",
        **_head(endpoint, figures),
        chart=_chart(figures),
        deliveries=found.deliveries,
        state=state,
        segments=[(page.here(*where, state=key), label) for key, label in hook_words.STATE_CHOICES],
        segment=dict(hook_words.STATE_CHOICES).get(state, ""),
        newer=page.here(*where, state=state) if page.query("before") else "",
        older=page.here(*where, state=state, before=found.before) if found.before else "",
    )


async def show_settings(page: Page) -> Response:
    """The settings, to be changed."""
    endpoint = await _endpoint(page)
    return await show_form(page, endpoint_forms.typed_of(endpoint), present=endpoint)


async def change(page: Page) -> Response:
    """Changes the settings."""
    endpoint_id, typed = page.param("endpoint"), endpoint_forms.typed_in(page.form)
    try:
        seen.refuse_stale(page.form, endpoint_forms.typed_of(await _endpoint(page)))
        changed = await page.send(
            "PUT", ONE, EndpointView, endpoint_forms.change(typed), endpoint=endpoint_id
        )
    except (InvalidRequest, Conflict) as refused:
        return await show_form(page, typed, refused, await _endpoint(page))
    return page.done(
        page.here("endpoints", endpoint_id), f"The settings of “{hook_words.name_of(changed)}” are saved."
    )


async def set_state(page: Page) -> Response:
    """Pauses or enables the endpoint."""
    endpoint_id, state = page.param("endpoint"), page.form.text("state")
    changed = await page.send("PUT", f"{ONE}/state", EndpointView, {"state": state}, endpoint=endpoint_id)
    name, back = hook_words.name_of(changed), page.here("endpoints", endpoint_id)
    if state == "paused":
        undo = Undo(f"/apps/{page.app}/endpoints/{endpoint_id}/state", {"state": "enabled"}, "Enable")
        return page.done(back, f"“{name}” is paused. What it misses is told later.", undo)
    return page.done(back, f"“{name}” is enabled. It is told first what it has missed.")


async def remove(page: Page) -> Response:
    """Removes the endpoint."""
    endpoint = await _endpoint(page)
    await page.send("DELETE", ONE, NoneType, endpoint=endpoint.id)
    return page.done(page.here("endpoints"), f"“{hook_words.name_of(endpoint)}” is deleted.")


async def show_secrets(page: Page) -> Response:
    """Which secrets sign, and the form that makes a new one."""
    return await _show_secrets(page)


async def rotate(page: Page) -> Response:
    """Gives the endpoint a new secret, and shows it, this once."""
    overlap = page.form.integer("overlap", "The former secret")
    body = {
        "overlap_seconds": OVERLAP_SECONDS if overlap is None else overlap,
        "secret": page.form.optional("secret"),
    }
    try:
        made = await page.send("POST", f"{ONE}/secret", EndpointSecret, body, endpoint=page.param("endpoint"))
    except InvalidRequest as refused:
        return await _show_secrets(page, refused)
    return show_secret(page, made, new=False)


async def show_test(page: Page) -> Response:
    """The form that sends an example."""
    return await _show_test(page, page.query("type", "test.ping"))


async def try_out(page: Page) -> Response:
    """Sends an example, and shows the request, the address and the answer."""
    chosen = page.form.text("type")
    try:
        trial = await page.send(
            "POST", f"{ONE}/test", TrialView, {"type": chosen}, endpoint=page.param("endpoint")
        )
    except InvalidRequest as refused:
        return await _show_test(page, chosen, refused=refused)
    return await _show_test(page, chosen, trial)


async def _show_secrets(page: Page, refused: AdmitError | None = None) -> Response:
    endpoint, figures = await with_figures(page)
    return page.render(
        "endpoint_secret.html",
        status=page.status_of(refused),
        **_head(endpoint, figures),
        overlaps=OVERLAPS,
        refused="" if refused is None else refused.message,
    )


async def _show_test(
    page: Page, chosen: str, trial: TrialView | None = None, refused: AdmitError | None = None
) -> Response:
    (endpoint, figures), types = await page.together(
        with_figures(page), page.get("/apps/{app}/event-types", EventTypesView)
    )
    return page.render(
        "endpoint_test.html",
        status=page.status_of(refused),
        **_head(endpoint, figures),
        families=families_of(types.types),
        chosen=chosen,
        trial=trial,
        refused="" if refused is None else refused.message,
    )


async def _endpoint(page: Page) -> EndpointView:
    return await page.get(ONE, EndpointView, endpoint=page.param("endpoint"))


async def with_figures(page: Page) -> tuple[EndpointView, EndpointHours]:
    """The endpoint of the path and its figures."""
    endpoint, figures = await page.together(
        _endpoint(page),
        page.get(f"{ONE}/figures", EndpointHours, {"hours": 1}, endpoint=page.param("endpoint")),
    )
    return endpoint, figures


def _head(endpoint: EndpointView, figures: EndpointHours) -> dict[str, Any]:
    return {
        "endpoint": endpoint,
        "figures": figures,
        "name": hook_words.name_of(endpoint),
        "health": hook_words.health(endpoint, figures),
        "words": hook_words,
    }


def _chart(figures: EndpointHours) -> dict[str, Any]:
    """Bars of attempts by the hour, those that failed on top, in the units of the drawing."""
    most = max(each.accepted + each.failed for each in figures.hours)
    scale = CHART_HEIGHT / (most or 1)
    return {
        "most": most,
        "width": len(figures.hours) * BAR_STEP,
        "bar": BAR_WIDTH,
        "bars": [
            {
                "hour": each,
                "x": place * BAR_STEP,
                "accepted": round(each.accepted * scale, 1),
                "failed": round(each.failed * scale, 1),
                "label": f"{datetime.fromtimestamp(each.at / SECOND_MS, UTC):%H:%M}",
            }
            for place, each in enumerate(figures.hours)
        ],
        "finding": _finding(figures),
    }


def _finding(figures: EndpointHours) -> str:
    """What the chart says, in a sentence."""
    accepted = sum(each.accepted for each in figures.hours)
    failed = sum(each.failed for each in figures.hours)
    if not accepted + failed:
        return "No attempts in 24 hours."
    if not failed:
        return f"{accepted:,} attempts in 24 hours, all of them accepted."
    return f"{accepted + failed:,} attempts in 24 hours, {failed:,} of them failed."


PAGES = (
    page("GET", ONE, show, nav="endpoints"),
    page("POST", f"{ONE}/state", set_state, nav="endpoints"),
    page("POST", f"{ONE}/delete", remove, nav="endpoints"),
    page("GET", f"{ONE}/settings", show_settings, nav="endpoints"),
    page("POST", f"{ONE}/settings", change, nav="endpoints"),
    page("GET", f"{ONE}/secret", show_secrets, nav="endpoints"),
    page("POST", f"{ONE}/secret", rotate, nav="endpoints"),
    page("GET", f"{ONE}/test", show_test, nav="endpoints"),
    page("POST", f"{ONE}/test", try_out, nav="endpoints"),
)
