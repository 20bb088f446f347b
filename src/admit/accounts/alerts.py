"""What a person is told when they sign in, and has to acknowledge: notices, and a license about to end. Pure.

The shape is that of `alerts` in the token answers of the Dexie Cloud contract (§2).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

import msgspec

from admit.accounts.apps import App
from admit.accounts.licenses import license_of
from admit.accounts.users import NEVER, User
from admit.clock import DAY_MS

NOTICE = "NOTICE"
LICENSE_ENDS = "LICENSE_ENDS"
LICENSE_ENDED = "LICENSE_ENDED"


class Alert(msgspec.Struct, frozen=True, rename="camel"):
    """One alert. Clients put `message_params` in the place of `{name}` in `message`."""

    type: Literal["info", "warning"]
    message_code: str
    message: str
    message_params: Mapping[str, str] = {}


def alerts_for(app: App, user: User, now: int) -> tuple[Alert, ...]:
    """What `user` is told at a login at `now`, the license first."""
    notices = tuple(
        Alert(notice.type, NOTICE, notice.message)
        for notice in app.notices
        if notice.until is None or now < notice.until
    )
    about_license = _license_alert(user, app.settings.warn_days, now)
    return notices if about_license is None else (about_license, *notices)


def _license_alert(user: User, warn_days: int, now: int) -> Alert | None:
    """The warning of an end that is at most `warn_days` away; 0 means that nobody is warned."""
    if not warn_days or user.type == "demo":
        return None
    match license_of(user, now):
        case "expired":
            return Alert("warning", LICENSE_ENDED, "Your license has ended.")
        case "deactivated":
            return None
    if user.valid_until != NEVER and user.valid_until - now <= warn_days * DAY_MS:
        date = f"{datetime.fromtimestamp(user.valid_until / 1_000, UTC):%Y-%m-%d}"
        return Alert("warning", LICENSE_ENDS, "Your license ends on {date}.", {"date": date})
    if user.type == "eval" and user.eval_days_left <= warn_days:
        days = {"days": str(user.eval_days_left)}
        return Alert("warning", LICENSE_ENDS, "Days of use that are left of your trial: {days}.", days)
    return None
