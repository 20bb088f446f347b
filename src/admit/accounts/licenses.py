"""Whether a user may use the app, and what a day of use costs. Pure: users and times in, users out."""

from typing import Literal

from msgspec.structs import replace

from admit import clock
from admit.accounts.users import NEVER_ACTIVE, User
from admit.events.catalog import End

License = Literal["ok", "expired", "deactivated"]


def license_of(user: User, now: int) -> License:
    """What clients are told as `claims.license`; deactivated outranks expired."""
    if user.deactivated_at is not None:
        return "deactivated"
    return "ok" if end_of(user, now) is None else "expired"


def end_of(user: User, now: int) -> End | None:
    """Which limit has ended the license at `now`; None while it lasts.

    `validUntil` ends users of any type but demo, `evalDaysLeft` only evaluations.
    """
    if user.type == "demo":
        return None
    if user.valid_until <= now:
        return "valid_until"
    if user.type == "eval" and user.eval_days_left <= 0:
        return "eval_days_left"
    return None


def after_activity(user: User, now: int) -> User:
    """`user` once it was seen that they are active at `now`: the same, or a UTC day counted, or expired.

    Only evaluations pay with days, and only one a day; days without activity cost nothing. The first active
    day is included, at enrollment as for a user whom the API created before. A user who has run out of days
    or is past their end turns expired, once.
    """
    if user.deactivated_at is not None or user.expired_at is not None:
        return user
    today = clock.utc_day(now)
    if user.type == "eval" and user.active_day < today and end_of(user, now) is None:
        cost = 0 if user.active_day == NEVER_ACTIVE else 1
        user = replace(user, eval_days_left=user.eval_days_left - cost, active_day=today)
    return with_expiry(user, now)


def with_expiry(user: User, now: int) -> User:
    """`user` with `expired_at` as the limits have it at `now`: set once, cleared when they allow again."""
    if end_of(user, now) is None:
        return user if user.expired_at is None else replace(user, expired_at=None)
    return user if user.expired_at is not None else replace(user, expired_at=now)
