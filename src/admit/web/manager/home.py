"""/manager: on to the app, where there is but one, or to the list of them; and the theme of this browser."""

from urllib.parse import urlsplit

from starlette.responses import Response

from admit.errors import InvalidRequest, NotFound
from admit.web.admin_types import AppView
from admit.web.manager.pages import PREFIX, THEME_COOKIE, THEMES, Page, page

THEME_SECONDS = 31_536_000


async def show(page: Page) -> Response:
    """Sends the operator to where there is something to see."""
    apps = await page.get("/apps", list[AppView], {"limit": 2})
    if len(apps) == 1:
        return page.go(page.url(f"/apps/{apps[0].name}"))
    return page.go(page.url("/apps"))


async def choose_theme(page: Page) -> Response:
    """Light, dark, or as the system has it; then back to where that was asked."""
    chosen = page.form.text("theme")
    if chosen not in THEMES:
        raise InvalidRequest("A theme is light, dark, or that of the system.")
    response = page.go(_back_to(page.request.headers.get("referer", "")))
    response.set_cookie(THEME_COOKIE, chosen, max_age=THEME_SECONDS, path=PREFIX, samesite="lax")
    return response


def _back_to(referer: str) -> str:
    """The path of `referer` where it is a page of ours; no address of elsewhere is followed."""
    try:
        path = urlsplit(referer).path
    except ValueError:  # such as a bracket without its fellow
        return PREFIX
    return path if path.startswith(f"{PREFIX}/") else PREFIX


async def nothing(page: Page) -> Response:
    """For a path that leads to no page. It is the last of all, so that every other goes first."""
    path: str = page.request.scope["path"]
    if path.endswith("/"):
        return page.go(path.rstrip("/"))
    raise NotFound("No page has this address. Press Ctrl K to jump to one.")


PAGES = (page("GET", "", show), page("POST", "/theme", choose_theme))
LAST = (page("GET", "/{rest:path}", nothing),)
