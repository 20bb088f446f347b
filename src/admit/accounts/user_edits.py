"""What one entry of POST /users does to a user, and what is wrong with it otherwise. Pure."""

import re
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from admit.accounts.licenses import with_expiry
from admit.accounts.users import (
    NEVER,
    NEVER_ACTIVE,
    User,
    UserType,
    fault_of_user_id,
    name_for_display,
    new_user,
)
from admit.events.catalog import Property

DATA_BYTES_MAX = 16_384
EVAL_DAYS_MAX = 36_500
EMAIL_CHARACTERS_MAX = 254
YEAR_10000_MS = 253_402_300_800_000  # the first that no answer could name
DEMO_DOMAIN = "@demo.local"

_TYPES: dict[str, UserType] = {"eval": "eval", "prod": "prod", "demo": "demo"}
_LOOKS_LIKE_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+")


class UserChange(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One entry: a userId with what is to be different. Whoever is unknown is created, and needs a type.

    `valid_until`: a date (RFC 3339, or a day), null for no end. `deactivated`: true or a date, null or false.
    `data`: a JSON object in the place of the former, or null.
    """

    user_id: str
    type: str | UnsetType = UNSET
    valid_until: str | UnsetType | None = UNSET
    eval_days_left: int | UnsetType = UNSET
    deactivated: bool | str | UnsetType | None = UNSET
    data: msgspec.Raw | UnsetType = UNSET


class ToldUser(UserChange, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A user in a file, as GET /users shows one: what nobody can choose (`created` …) is passed over."""

    email: Any = None
    name: Any = None
    created: Any = None
    updated: Any = None
    last_login: Any = None
    max_allowed_eval_days_left: Any = None

    def change(self, user_id: str) -> UserChange:
        """What is to be made of the user with this userId."""
        told = {name: getattr(self, name) for name in UserChange.__struct_fields__}
        return UserChange(**told | {"user_id": user_id})


class Fault(msgspec.Struct, frozen=True):
    """Why an entry cannot be carried out."""

    sentence: str


class _Wrong(Exception):
    """Carries the sentence of a fault up to `edit`."""


def edit(
    user: User | None, change: UserChange, *, app_id: str, eval_days: int, way_in: str, now: int
) -> User | Fault:
    """`user` after `change`; None is somebody unknown, who is created with `eval_days` and `way_in`."""
    try:
        edited = _created(change, app_id, eval_days, way_in, now) if user is None else user
        edited = with_expiry(_changed(edited, change, now), now)
    except _Wrong as wrong:
        return Fault(str(wrong))
    return edited if user is None or edited == user else replace(edited, updated_at=now)


def changed_properties(old: User, new: User) -> tuple[Property, ...]:
    """Which properties differ, by their names in events; `deactivated` has events of its own."""
    pairs: dict[Property, tuple[object, object]] = {
        "type": (old.type, new.type),
        "valid_until": (old.valid_until, new.valid_until),
        "eval_days_left": (old.eval_days_left, new.eval_days_left),
        "name": (old.name, new.name),
        "email": (old.email, new.email),
        "data": (old.data, new.data),
    }
    return tuple(name for name, (before, after) in pairs.items() if before != after)


def _created(change: UserChange, app_id: str, eval_days: int, way_in: str, now: int) -> User:
    """Somebody who has never been here: no login, and their first active day is still to come."""
    if (sentence := fault_of_user_id(change.user_id)) is not None:
        raise _Wrong(sentence)
    if change.type is UNSET:
        raise _Wrong(f"There is no user {change.user_id!r}. To create it, give its type: eval or prod.")
    user = new_user(
        app_id=app_id,
        user_id=change.user_id,
        email=_email_in(change.user_id),
        email_verified=False,
        name="",
        type=_type_of(change.type, change.user_id),
        data=None,
        eval_days=eval_days,
        way_in=way_in,
        now=now,
    )
    return replace(user, last_login_at=0, active_day=NEVER_ACTIVE)


def _changed(user: User, change: UserChange, now: int) -> User:
    if change.type is not UNSET:
        user = replace(user, type=_type_of(change.type, user.user_id))
    if change.valid_until is not UNSET:
        end = NEVER if change.valid_until is None else _moment_in("validUntil", change.valid_until)
        user = replace(user, valid_until=end)
    if change.eval_days_left is not UNSET:
        days = _days_in(change.eval_days_left)
        # Who grants more days than there were at first may do so; "at most" then means the new number.
        user = replace(user, eval_days_left=days, eval_days_max=max(days, user.eval_days_max))
    if change.deactivated is not UNSET:
        user = replace(user, deactivated_at=_deactivated_at(user, change.deactivated, now))
    if change.data is not UNSET:
        user = _with_data(user, bytes(change.data))
    return user


def _type_of(text: str, user_id: str) -> UserType:
    if text not in _TYPES:
        raise _Wrong(f"The type of a user is eval or prod, not {text[:40]!r}.")
    if (text == "demo") != user_id.endswith(DEMO_DOMAIN):
        raise _Wrong(f"Demo users, and nobody else, have a userId that ends in {DEMO_DOMAIN}.")
    return _TYPES[text]


def _moment_in(name: str, text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            if len(text) != len("2030-12-31"):
                raise ValueError("no time zone")
            moment = moment.replace(tzinfo=UTC)
        at_ms = round(moment.timestamp() * 1_000)
    except (ValueError, OverflowError):
        raise _Wrong(f'{name} is a date such as "2030-12-31T23:59:59Z".') from None
    if not 0 < at_ms < YEAR_10000_MS:
        raise _Wrong(f"{name} is a date after 1970 and before the year 10000.")
    return at_ms


def _days_in(days: int) -> int:
    if not 0 <= days <= EVAL_DAYS_MAX:
        raise _Wrong(f"evalDaysLeft is a number from 0 to {EVAL_DAYS_MAX}.")
    return days


def _deactivated_at(user: User, wish: bool | str | None, now: int) -> int | None:
    """A user is deactivated at once, whatever the date: it says since when, and that is never ahead."""
    if wish is None or wish is False:
        return None
    if wish is True:
        return now if user.deactivated_at is None else user.deactivated_at
    return min(_moment_in("deactivated", wish), now)


def _with_data(user: User, data: bytes) -> User:
    """`data` is stored as it came. Its displayName is the user's name; its email fills an unknown one."""
    if len(data) > DATA_BYTES_MAX:
        raise _Wrong(f"data has more than {DATA_BYTES_MAX} bytes.")
    members = _members_of(data)
    if members is None:
        return replace(user, data=None)
    name, email = members.get("displayName"), members.get("email")
    return replace(
        user,
        data=msgspec.Raw(data),
        name=name_for_display(name) if isinstance(name, str) else user.name,
        email=_email_in(email) if isinstance(email, str) and not user.email else user.email,
    )


def _members_of(data: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(data, type=dict[str, Any] | None)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise _Wrong("data is a JSON object, or null.") from None


def _email_in(text: str) -> str:
    """`text` where it looks like an email address, for display; else ""."""
    return text if len(text) <= EMAIL_CHARACTERS_MAX and _LOOKS_LIKE_EMAIL.fullmatch(text) else ""
