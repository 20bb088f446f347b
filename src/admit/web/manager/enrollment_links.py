"""/apps/APP/sign-in/links: links and QR codes that sign in a device as one person."""

from typing import Any
from urllib.parse import quote

from starlette.responses import Response

from admit.accounts.enrollment_tokens import SECONDS_DEFAULT, USES_MAX
from admit.errors import AdmitError, Conflict, InvalidRequest, NotFound
from admit.web.admin_settings_api import SettingsChange
from admit.web.admin_types import AppView
from admit.web.enrollment_tokens_api import IssuedEnrollmentToken, NewEnrollmentToken
from admit.web.manager.forms import Form
from admit.web.manager.pages import Page, page
from admit.web.manager.toasts import Undo
from admit.web.manager.ways_in import tabs

TAB = "Enrollment links"
LIFETIMES = (
    (str(SECONDS_DEFAULT), "15 minutes"),
    ("3600", "1 hour"),
    ("86400", "1 day"),
    ("604800", "7 days"),
    ("2592000", "30 days"),
)
"""How long a link may live, in seconds, and what is read."""


async def show(page: Page) -> Response:
    """The form for a link, and where links lead."""
    return await _page(page, typed={"user": page.query("user")})


async def make(page: Page) -> Response:
    """Makes a link and shows it, this once."""
    form = page.form
    user, typed = form.text("user"), {name: form.text(name) for name in ("user", "seconds", "uses", "device")}
    try:
        if not user:
            raise InvalidRequest("Whom is the link for? Type a user ID.")
        issued = await issue(page, user, form)
    except (InvalidRequest, Conflict, NotFound) as error:
        return await _page(page, typed=typed, refused=error)
    return await _page(page, typed=typed, issued=issued)


async def issue(page: Page, user_id: str, form: Form) -> IssuedEnrollmentToken:
    """The link that a form asks for, for a person. Raises as the operation does."""
    wanted = NewEnrollmentToken(
        expires_in_seconds=form.integer("seconds", "Good for") or SECONDS_DEFAULT,
        uses_max=form.integer("uses", "Devices") or 1,
        device=form.optional("device"),
    )
    path = "/apps/{app}/users/{user_id}/enrollment-tokens"
    return await page.send("POST", path, IssuedEnrollmentToken, wanted, user_id=user_id)


async def set_address(page: Page) -> Response:
    """Says where links lead."""
    before = (await page.get("/apps/{app}", AppView)).settings.enrollment_link
    wanted = page.form.text("address")
    try:
        change = SettingsChange(enrollment_link=wanted)
        await page.send("POST", "/apps/{app}/settings", AppView, change)
    except InvalidRequest as error:
        return await _page(page, typed={}, address=wanted, refused=error)
    undo = Undo(f"/apps/{quote(page.app, safe='')}/sign-in/links/address", {"address": before})
    return page.done(page.here("sign-in", "links"), "The address of links is saved.", undo)


async def _page(
    page: Page,
    *,
    typed: dict[str, str],
    issued: IssuedEnrollmentToken | None = None,
    address: str | None = None,
    refused: AdmitError | None = None,
) -> Response:
    app = await page.get("/apps/{app}", AppView)
    usual: dict[str, Any] = {"user": "", "seconds": str(SECONDS_DEFAULT), "uses": "1", "device": ""}
    sentence = "" if refused is None else refused.message
    return page.render(
        "enrollment_links.html",
        status=page.status_of(refused),
        tabs=tabs(page),
        tab=TAB,
        app=app,
        typed=usual | typed,
        lifetimes=LIFETIMES,
        uses_max=USES_MAX,
        issued=issued,
        address=app.settings.enrollment_link if address is None else address,
        problem=sentence if address is None else "",
        wrong_address="" if address is None else sentence,
    )


PAGES = (
    page("GET", "/apps/{app}/sign-in/links", show, nav="sign-in"),
    page("POST", "/apps/{app}/sign-in/links", make, nav="sign-in"),
    page("POST", "/apps/{app}/sign-in/links/address", set_address, nav="sign-in"),
)
