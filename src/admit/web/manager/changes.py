"""/changes and /apps/APP/changes: what operators changed, and what there was before and after."""

from starlette.responses import Response

from admit.clock import DAY_MS
from admit.web.changes_api import ChangeDetails, ChangePage
from admit.web.manager import change_words
from admit.web.manager.pages import Page, page

PAGE_ROWS = 50
SINCE_DAYS = {"1": "Last 24 hours", "7": "Last 7 days", "30": "Last 30 days", "": "Last 400 days"}


async def show(page: Page) -> Response:
    """The list."""
    who, search, days, before = (page.query(name) for name in ("who", "search", "days", "before"))
    days = days if days in SINCE_DAYS else ""
    query = {
        "who": who or None,
        "search": search or None,
        "since": page.now - int(days) * DAY_MS if days else None,
        "before": before or None,
        "limit": PAGE_ROWS,
    }
    listed = await page.get(f"{_place(page)}/changes", ChangePage, query)
    filters = {"who": who, "search": search, "days": days}
    return page.render(
        "changes.html",
        changes=[(each, change_words.outcome(each)) for each in listed.changes],
        filters=filters,
        filtered=any(filters.values()),
        days_choices=list(SINCE_DAYS.items()),
        first=_address(page, **filters) if before else "",
        older=_address(page, **filters, before=listed.before) if listed.before else "",
        address=lambda change_id: _address(page, change_id),
        by=lambda who: _address(page, who=who),
    )


async def show_one(page: Page) -> Response:
    """One change."""
    change = await page.get(f"{_place(page)}/changes/{{change}}", ChangeDetails, change=page.param("change"))
    left, right = change_words.sides(change.before, change.after)
    return page.render(
        "change.html",
        change=change,
        outcome=change_words.outcome(change),
        differences=change_words.differences(change.before, change.after),
        left=left,
        right=right,
        back=_address(page),
        by=_address(page, who=change.who_id),
    )


def _place(page: Page) -> str:
    return "/apps/{app}" if page.app else ""


def _address(page: Page, *parts: str, **query: object) -> str:
    if page.app:
        return page.here("changes", *parts, **query)
    return page.url("/".join(("/changes", *parts)), **query)


PAGES = (
    page("GET", "/changes", show, nav="house-changes"),
    page("GET", "/changes/{change}", show_one, nav="house-changes"),
    page("GET", "/apps/{app}/changes", show, nav="changes"),
    page("GET", "/apps/{app}/changes/{change}", show_one, nav="changes"),
)
