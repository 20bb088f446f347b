"""/api/apps/{app}/notices: what everybody has to read when they sign in."""

from typing import Annotated, Literal

import msgspec
from starlette.responses import Response

from admit.accounts import apps, notices
from admit.accounts.app_settings import WARN_DAYS_MAX
from admit.accounts.apps import App, Notice
from admit.errors import NotFound
from admit.web.admin_types import Moment, Text
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app


class NewNotice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A notice to show at every sign-in until `until`; None: until it is removed."""

    message: Text
    type: Literal["info", "warning"] = "info"
    until: Moment | None = None


class LicenseWarning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose license ends within so many days is told at sign-in; 0: nobody is."""

    days: Annotated[int, msgspec.Meta(ge=0, le=WARN_DAYS_MAX)]


class NoticesView(msgspec.Struct, frozen=True, kw_only=True):
    """The notices of an app, the oldest first, and how early people hear of the end of their license."""

    notices: list[Notice]
    warn_days: int


async def list_notices(call: Call) -> Response:
    """The notices, those that are over too."""
    return call.answer(_view(await permitted_app(call)))


async def add_notice(call: Call) -> Response:
    """Shows a notice at every sign-in from now on."""
    app = await permitted_app(call)
    body, now = await call.json(NewNotice), call.gateway.clock()
    message = notices.check_message(body.message)
    await call.gateway.db.write(
        lambda tx: notices.add_notice(tx, app.app_id, body.type, message, body.until, now)
    )
    return call.answer(_view(await call.gateway.directory.app(app.name)))


async def remove_notice(call: Call) -> Response:
    """Takes a notice back."""
    app, notice_id = await permitted_app(call), call.param("notice_id")
    now = call.gateway.clock()
    if not await call.gateway.db.write(lambda tx: notices.remove_notice(tx, app.app_id, notice_id, now)):
        raise NotFound(f"There is no notice {notice_id[:80]!r} in this app.", code="notice_not_found")
    return call.answer(_view(await call.gateway.directory.app(app.name)))


async def set_license_warning(call: Call) -> Response:
    """Sets how early people hear of the end of their license."""
    app = await permitted_app(call)
    body, now = await call.json(LicenseWarning), call.gateway.clock()
    await call.gateway.db.write(lambda tx: apps.edit_settings(tx, app.app_id, now, warn_days=body.days))
    return call.answer(_view(await call.gateway.directory.app(app.name)))


def _view(app: App) -> NoticesView:
    return NoticesView(notices=list(app.notices), warn_days=app.settings.warn_days)


OPERATIONS = (
    admin("GET", "/apps/{app}/notices", list_notices, "Lists the notices", "apps:read", answer=NoticesView),
    admin(
        "POST",
        "/apps/{app}/notices",
        add_notice,
        "Shows a notice to everybody who signs in",
        "apps:write",
        body=NewNotice,
        answer=NoticesView,
        codes=("conflict",),
    ),
    admin(
        "DELETE",
        "/apps/{app}/notices/{notice_id}",
        remove_notice,
        "Takes a notice back",
        "apps:write",
        answer=NoticesView,
        codes=("notice_not_found",),
    ),
    admin(
        "PUT",
        "/apps/{app}/license-warning",
        set_license_warning,
        "Sets how early people hear of the end of their license",
        "apps:write",
        body=LicenseWarning,
        answer=NoticesView,
    ),
)
