"""/apps/APP/endpoints/ENDPOINT/again: telling an endpoint once more, and how far that has come."""

from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from admit.clock import DAY_MS, HOUR_MS
from admit.errors import AdmitError, Conflict, InvalidRequest
from admit.web.campaigns_api import CampaignPage, CampaignView
from admit.web.manager import hook_words
from admit.web.manager.endpoint import ONE, with_figures
from admit.web.manager.pages import Page, page

AGAIN = f"{ONE}/again"
PAGE_SIZE = 20
SINCE = ((HOUR_MS, "1 hour"), (DAY_MS, "24 hours"), (3 * DAY_MS, "3 days"), (7 * DAY_MS, "7 days"))
"""How long ago a replay or a retry may begin, besides a time that is typed."""
KINDS = {"retry": "retry-failed", "replay": "replay", "backfill": "backfill"}


async def show(page: Page) -> Response:
    """What can be told once more, and what was."""
    return await _show(page)


async def start(page: Page) -> Response:
    """Begins a replay, a retry or a backfill."""
    kind = page.form.text("kind")
    try:
        if kind not in KINDS:
            raise InvalidRequest("Choose what is told once more.")
        campaign = await page.send(
            "POST", f"{ONE}/{KINDS[kind]}", CampaignView, _body(page, kind), endpoint=page.param("endpoint")
        )
    except (InvalidRequest, Conflict) as refused:
        return await _show(page, refused, kind)
    begun = "is done" if campaign.state == "done" else "has begun"
    return page.done(_here(page), f"{hook_words.campaign_name(campaign)} {begun}.")


async def show_progress(page: Page) -> Response:
    """The row of one campaign, which a page asks for while it goes on."""
    campaign = await page.get(
        "/apps/{app}/campaigns/{campaign}", CampaignView, campaign=page.param("campaign")
    )
    if not page.wants_fragment:
        return page.go(page.here("endpoints", campaign.endpoint, "again"))
    return page.render_block("endpoint_again.html", "campaign", campaign=campaign, words=hook_words)


async def cancel(page: Page) -> Response:
    """Ends a campaign before it is done."""
    campaign = await page.send(
        "DELETE", "/apps/{app}/campaigns/{campaign}", CampaignView, campaign=page.param("campaign")
    )
    back = page.here("endpoints", campaign.endpoint, "again")
    return page.done(
        back, f"{hook_words.campaign_name(campaign)} is cancelled. What it has left is delivered."
    )


async def _show(page: Page, refused: AdmitError | None = None, kind: str = "") -> Response:
    asked = {"endpoint": page.param("endpoint"), "before": page.query("before") or None, "limit": PAGE_SIZE}
    (endpoint, figures), found = await page.together(
        with_figures(page), page.get("/apps/{app}/campaigns", CampaignPage, asked)
    )
    return page.render(
        "endpoint_again.html",
        status=page.status_of(refused),
        endpoint=endpoint,
        figures=figures,
        name=hook_words.name_of(endpoint),
        health=hook_words.health(endpoint, figures),
        campaigns=found.campaigns,
        newer=_here(page) if page.query("before") else "",
        older=page.here("endpoints", endpoint.id, "again", before=found.before) if found.before else "",
        since=[(str(ms), f"The last {label}") for ms, label in SINCE],
        refused=refused,
        refused_kind=kind,
        form=page.form if refused else None,
        words=hook_words,
    )


def _body(page: Page, kind: str) -> dict[str, Any]:
    body: dict[str, Any] = {"per_minute": page.form.integer("per_minute", "Per minute")}
    if kind == "backfill":
        return body | {"of": page.form.text("of")}
    return body | {"since": _since(page)}


def _since(page: Page) -> int:
    """From when on, in UTC ms: a time that was typed, else so long ago."""
    typed = page.form.text("at")
    if typed:
        try:
            at = datetime.fromisoformat(typed).replace(tzinfo=UTC)
        except ValueError:
            raise InvalidRequest("Write the time like 2026-03-18 14:30, in UTC.") from None
        return round(at.timestamp() * 1_000)
    ago = page.form.integer("since", "Since")
    if ago is None:
        raise InvalidRequest("Choose from when on it is told.")
    return max(0, page.now - ago)


def _here(page: Page) -> str:
    return page.here("endpoints", page.param("endpoint"), "again")


PAGES = (
    page("GET", AGAIN, show, nav="endpoints"),
    page("POST", AGAIN, start, nav="endpoints"),
    page("GET", "/apps/{app}/campaigns/{campaign}", show_progress, nav="endpoints"),
    page("POST", "/apps/{app}/campaigns/{campaign}/cancel", cancel, nav="endpoints"),
)
