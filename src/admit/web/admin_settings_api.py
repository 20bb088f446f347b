"""POST /api/apps/{app}/settings: single settings, which leave the others as they are."""

import msgspec
from msgspec import UNSET, UnsetType
from starlette.responses import Response

from admit.accounts import apps
from admit.accounts.app_settings import WhenDevicesFull, check_settings
from admit.accounts.enrollment_links import check_link
from admit.web.admin_api import view_of
from admit.web.admin_types import AppView
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app


class SettingsChange(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Some settings of an app, as they are to be: what is left out stays as it is."""

    eval_days: int | UnsetType = UNSET
    refuse_hopeless_at_step_1: bool | UnsetType = UNSET
    mail_sender: str | UnsetType = UNSET
    devices_max: int | UnsetType = UNSET
    when_devices_full: WhenDevicesFull | UnsetType = UNSET
    count_derived_devices: bool | UnsetType = UNSET
    session_idle_days: int | UnsetType = UNSET
    enrollment_link: str | UnsetType = UNSET
    mailed_codes: bool | UnsetType = UNSET
    sso_any_network: bool | UnsetType = UNSET


async def change_some_settings(call: Call) -> Response:
    """Changes some settings of the app."""
    app = await permitted_app(call)
    body, now = await call.json(SettingsChange), call.gateway.clock()
    changes = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET}
    check_settings(msgspec.structs.replace(app.settings, **changes))
    if body.enrollment_link is not UNSET:
        check_link(body.enrollment_link, app.origins)
    await call.gateway.db.write(lambda tx: apps.edit_settings(tx, app.app_id, now, **changes))
    return call.answer(view_of(call.gateway, await call.gateway.directory.app(app.name)))


OPERATIONS = (
    admin(
        "POST",
        "/apps/{app}/settings",
        change_some_settings,
        "Changes some settings",
        "apps:write",
        body=SettingsChange,
        answer=AppView,
    ),
)
