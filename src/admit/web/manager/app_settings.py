"""/apps/APP/settings: name, addresses, trial, devices and sessions, seats, notices and owners of an app."""

from typing import Literal

from starlette.responses import Response

from admit.accounts.app_settings import (
    DEVICES_MAX_MAX,
    EVAL_DAYS_MAX,
    IDLE_DAYS_MAX,
    WARN_DAYS_MAX,
    AppSettings,
)
from admit.clock import DAY_MS
from admit.errors import AdmitError, InvalidRequest
from admit.web.admin_notices_api import LicenseWarning, NewNotice, NoticesView
from admit.web.admin_settings_api import SettingsChange
from admit.web.admin_types import AppView, Host, HostsView, NewName, NewSeats, Owner, SeatsView
from admit.web.manager import seen
from admit.web.manager.pages import Page, PageHandler, page, showing_refusals
from admit.web.manager.toasts import Undo

WhenFull = Literal["refuse", "eval"]
DEFAULTS = AppSettings()
LIMITS = {
    "eval_days": EVAL_DAYS_MAX,
    "devices_max": DEVICES_MAX_MAX,
    "session_idle_days": IDLE_DAYS_MAX,
    "warn_days": WARN_DAYS_MAX,
}


async def show(page: Page) -> Response:
    """The page."""
    return await _page(page)


async def save_rules(page: Page) -> Response:
    """The trial, and the devices and sessions of a person."""
    form = page.form
    before = (await page.get("/apps/{app}", AppView)).settings
    seen.refuse_stale(form, _rules(before))
    body = SettingsChange(
        eval_days=_number(page, "eval_days", "Days of a trial", DEFAULTS.eval_days),
        devices_max=_number(page, "devices_max", "Devices of a person", 0),
        when_devices_full="lock" if form.text("when_devices_full") == "lock" else "refuse",
        count_derived_devices=form.flag("count_derived_devices"),
        session_idle_days=_number(page, "session_idle_days", "Days of silence", 0),
    )
    after = await page.send("POST", "/apps/{app}/settings", AppView, body)
    former = {
        seen.FIELD: seen.mark(_rules(after.settings)),
        "eval_days": str(before.eval_days),
        "devices_max": str(before.devices_max),
        "when_devices_full": before.when_devices_full,
        "session_idle_days": str(before.session_idle_days),
    } | ({"count_derived_devices": "on"} if before.count_derived_devices else {})
    return _done(page, "The rules are saved.", Undo(_path(page, "rules"), former))


async def rename(page: Page) -> Response:
    """Gives the app another name."""
    renamed = await page.send("PUT", "/apps/{app}/name", AppView, NewName(name=page.form.text("name")))
    to = page.url(f"/apps/{renamed.name}/settings")
    return page.done(to, f"The app is called {renamed.name} now. {page.app} leads to it still.")


async def release(page: Page) -> Response:
    """Gives a former name up."""
    name = page.form.text("name")
    await page.send("DELETE", "/apps/{app}/names", AppView, query={"name": name})
    return _done(page, f"{name} leads nowhere now. Another app may take it.")


async def add_host(page: Page) -> Response:
    """Makes the root of a host lead to the app."""
    host = page.form.text("host")
    await page.send("POST", "/apps/{app}/hosts", HostsView, Host(host=host))
    undo = Undo(_path(page, "hosts", "remove"), {"host": host})
    return _done(page, f"{host} leads to this app now.", undo)


async def remove_host(page: Page) -> Response:
    """Ends a host of the app."""
    host = page.form.text("host")
    await page.send("DELETE", "/apps/{app}/hosts", HostsView, query={"host": host})
    return _done(page, f"{host} does not lead here any more.", Undo(_path(page, "hosts"), {"host": host}))


async def save_seats(page: Page) -> Response:
    """How many production users may come."""
    before = await page.get("/apps/{app}/seats", SeatsView)
    seen.refuse_stale(page.form, _places(before))
    when_full: WhenFull = "eval" if page.form.text("when_full") == "eval" else "refuse"
    body = NewSeats(limit=_at_least(page.form.integer("limit", "Seats"), "Seats"), when_full=when_full)
    after = await page.send("PUT", "/apps/{app}/seats", SeatsView, body)
    former = {
        seen.FIELD: seen.mark(_places(after)),
        "limit": "" if before.limit is None else str(before.limit),
        "when_full": before.when_full,
    }
    return _done(page, "The seats are saved.", Undo(_path(page, "seats"), former))


async def add_notice(page: Page) -> Response:
    """Shows a notice at every sign-in."""
    form = page.form
    days = _at_least(form.integer("days", "Days"), "Days")
    body = NewNotice(
        message=form.text("message"),
        type="warning" if form.text("type") == "warning" else "info",
        until=None if days is None else page.now + days * DAY_MS,
    )
    await page.send("POST", "/apps/{app}/notices", NoticesView, body)
    return _done(page, "Everybody reads the notice at their next sign-in.")


async def remove_notice(page: Page) -> Response:
    """Takes a notice back."""
    path, notice_id = "/apps/{app}/notices/{notice_id}", page.param("notice")
    await page.send("DELETE", path, NoticesView, notice_id=notice_id)
    return _done(page, "The notice is shown no more.")


async def save_warning(page: Page) -> Response:
    """How early people hear of the end of their license."""
    before = await page.get("/apps/{app}/notices", NoticesView)
    days = _number(page, "warn_days", "Days before the end", 0)
    await page.send("PUT", "/apps/{app}/license-warning", NoticesView, LicenseWarning(days=days))
    undo = Undo(_path(page, "warning"), {"warn_days": str(before.warn_days)})
    return _done(page, "The warning is saved.", undo)


async def add_owner(page: Page) -> Response:
    """Makes somebody an owner."""
    email = page.form.text("email")
    await page.send("POST", "/apps/{app}/owners", AppView, Owner(email=email))
    undo = Undo(_path(page, "owners", "remove"), {"email": email})
    return _done(page, f"{email} is an owner now.", undo)


async def remove_owner(page: Page) -> Response:
    """Ends an ownership."""
    email = page.form.text("email")
    await page.send("DELETE", "/apps/{app}/owners", AppView, query={"email": email})
    return _done(page, f"{email} is no owner any more.", Undo(_path(page, "owners"), {"email": email}))


def _shown(section: str, handler: PageHandler) -> PageHandler:
    """`handler`, whose refusals stand in their section of the page."""
    return showing_refusals(handler, lambda page, error: _page(page, error, section))


async def _page(page: Page, error: AdmitError | None = None, section: str = "") -> Response:
    app, seats, notices = await page.together(
        page.get("/apps/{app}", AppView),
        page.get("/apps/{app}/seats", SeatsView),
        page.get("/apps/{app}/notices", NoticesView),
    )
    typed = page.form if error is not None else None

    def value(of: str, name: str, stored: object) -> object:
        """What a field of the section `of` holds: what was typed, where it was refused."""
        return typed.text(name) if typed is not None and of == section else stored

    def ticked(of: str, name: str, stored: bool) -> bool:
        return typed.flag(name) if typed is not None and of == section else stored

    return page.render(
        "app_settings.html",
        page.status_of(error),
        app=app,
        seen={"rules": seen.mark(_rules(app.settings)), "seats": seen.mark(_places(seats))},
        seats=seats,
        notices=notices,
        defaults=DEFAULTS,
        limits=LIMITS,
        problem={section: error.message} if error is not None else {},
        value=value,
        ticked=ticked,
        may_write=page.may("apps:write"),
    )


def _rules(settings: AppSettings) -> dict[str, object]:
    """What the form of the rules shows."""
    names = ("eval_days", "devices_max", "when_devices_full", "count_derived_devices", "session_idle_days")
    return {name: getattr(settings, name) for name in names}


def _places(seats: SeatsView) -> dict[str, object]:
    """What the form of the seats shows."""
    return {"limit": seats.limit, "when_full": seats.when_full}


def _done(page: Page, sentence: str, undo: Undo | None = None) -> Response:
    return page.done(page.here("settings"), sentence, undo)


def _path(page: Page, *parts: str) -> str:
    return "/".join((f"/apps/{page.app}/settings", *parts))


def _number(page: Page, name: str, label: str, default: int) -> int:
    """The number in a field; an empty one stands for the default."""
    found = page.form.integer(name, label)
    if found is None:
        return default
    if not 0 <= found <= LIMITS[name]:
        raise InvalidRequest(f"{label}: write a number from 0 to {LIMITS[name]:,}.")
    return found


def _at_least(value: int | None, label: str) -> int | None:
    if value is not None and not 0 <= value < 10**9:
        raise InvalidRequest(f"{label}: write a number that is not negative, or leave it empty.")
    return value


_NOTICE = "/apps/{app}/settings/notices/{notice}/remove"

PAGES = (
    page("GET", "/apps/{app}/settings", show, nav="settings"),
    page("POST", "/apps/{app}/settings/rules", _shown("rules", save_rules), nav="settings"),
    page("POST", "/apps/{app}/settings/name", _shown("name", rename), nav="settings"),
    page("POST", "/apps/{app}/settings/names/release", _shown("name", release), nav="settings"),
    page("POST", "/apps/{app}/settings/hosts", _shown("hosts", add_host), nav="settings"),
    page("POST", "/apps/{app}/settings/hosts/remove", _shown("hosts", remove_host), nav="settings"),
    page("POST", "/apps/{app}/settings/seats", _shown("seats", save_seats), nav="settings"),
    page("POST", "/apps/{app}/settings/notices", _shown("notices", add_notice), nav="settings"),
    page(
        "POST",
        "/apps/{app}/settings/notices/{notice}/remove",
        _shown("notices", remove_notice),
        nav="settings",
    ),
    page("POST", "/apps/{app}/settings/warning", _shown("warning", save_warning), nav="settings"),
    page("POST", "/apps/{app}/settings/owners", _shown("owners", add_owner), nav="settings"),
    page("POST", "/apps/{app}/settings/owners/remove", _shown("owners", remove_owner), nav="settings"),
)
