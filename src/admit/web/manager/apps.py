"""/apps: all apps, a new one, and the short list of them that the side opens."""

from typing import cast

from starlette.responses import Response

from admit.accounts.apps import UserIds
from admit.errors import AdmitError, Conflict, InvalidRequest
from admit.web.admin_types import AppView, NewApp
from admit.web.manager.pages import Page, page

PAGE_ROWS = 50
MENU_ROWS = 20
RULES = {
    "eval": "Everybody, on trial",
    "prod": "Everybody",
    "domains": "People of some domains",
    "webhook": "A web hook decides",
    "task": "A task decides",
    "reject": "Nobody new",
}
"""What the rule of an app comes to, in a line."""


async def show(page: Page) -> Response:
    """The apps, in the order of their names."""
    after = page.query("after")
    # One more than is shown tells whether others follow.
    listed = await page.get("/apps", list[AppView], {"limit": PAGE_ROWS + 1, "after": after or None})
    apps = listed[:PAGE_ROWS]
    more = apps[-1].name if len(listed) > PAGE_ROWS else ""
    return page.render(
        "apps.html",
        apps=apps,
        rules=RULES,
        first=page.url("/apps") if after else "",
        next=page.url("/apps", after=more) if more else "",
    )


async def menu(page: Page) -> Response:
    """The first apps, for the switcher in the side."""
    current = page.query("current")
    apps = await page.get("/apps", list[AppView], {"limit": MENU_ROWS})
    return page.render_block("apps_menu.html", "items", names=[each.name for each in apps], current=current)


async def show_new(page: Page) -> Response:
    """The form for a new app."""
    return _form(page, {"name": "", "owner": page.signed_in.operator.email, "user_ids": "email"})


async def create(page: Page) -> Response:
    """Makes an app."""
    typed = {name: page.form.text(name) for name in ("name", "owner", "user_ids")}
    try:
        if typed["user_ids"] not in ("email", "opaque"):
            raise InvalidRequest("Choose what a userId is.")
        body = NewApp(name=typed["name"], owner=typed["owner"], user_ids=cast(UserIds, typed["user_ids"]))
        made = await page.send("POST", "/apps", AppView, body)
    except (InvalidRequest, Conflict) as error:
        return _form(page, typed, error)
    return page.done(page.url(f"/apps/{made.name}"), f"{made.name} is made. Its first steps are below.")


def _form(page: Page, typed: dict[str, str], error: AdmitError | None = None) -> Response:
    """The form as it was typed, and why it was refused, under the field that is to blame."""
    wrong = {}
    if error is not None:
        of_owner = "owner" in error.message.lower() or "email" in error.message.lower()
        wrong["owner" if of_owner else "name"] = error.message
    return page.render(
        "app_new.html",
        page.status_of(error),
        typed=typed,
        wrong=wrong,
        public_url=page.gateway.settings.public_url,
    )


# Not below /apps: an app may be called new.
PAGES = (
    page("GET", "/apps", show, nav="apps"),
    page("GET", "/app-menu", menu, nav="apps"),
    page("GET", "/create-app", show_new, nav="apps"),
    page("POST", "/create-app", create, nav="apps"),
)
