"""Active days: the first refresh or sync of a UTC day counts, and the last day of an evaluation ends it."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import bindparam, update

from admit.accounts import expiry, users
from admit.accounts.licenses import after_activity
from admit.accounts.tables import users as users_table
from admit.accounts.users import Key, User
from admit.storage.transaction import Transaction

# Compares and sets: days that an operator grants at this moment are not overwritten.
COUNT_DAY = (
    update(users_table)
    .where(
        users_table.c.app_id == bindparam("of_app"),
        users_table.c.uid == bindparam("of_uid"),
        users_table.c.active_day == bindparam("old_day"),
        users_table.c.eval_days_left == bindparam("old_left"),
    )
    .values(active_day=bindparam("day"), eval_days_left=bindparam("left"))
)


class Activity(msgspec.Struct, frozen=True):
    """A user was seen at work."""

    app_id: str
    uid: str
    now: int


def count_active_days(tx: Transaction, items: list[Activity]) -> list[User | None]:
    """Counts the day of each activity once; None for a user who is unknown or deleted.

    In list form, for `Database.write_together`. What a login has of it: nothing, its first sync counts.
    """
    known = users.by_uid(tx, [(item.app_id, item.uid) for item in items])
    counted = count_days(tx, [(known[key], item.now) for item in items if (key := _key(item)) in known])
    return [counted.get(_key(item)) for item in items]


def count_days(tx: Transaction, seen: Sequence[tuple[User, int]]) -> dict[Key, User]:
    """Counts the day for users who were just read, and when each was seen. Returns them as they are now."""
    before, after = _counted(seen)
    if any(_expires(before[key], after[key]) for key in after):
        # An end is final and announced: decide on rows that nobody else is extending at this moment.
        locked = users.by_uid(tx, before, lock=True)
        before, after = _counted([(locked[key], now) for user, now in seen if (key := _key(user)) in locked])
    counts = [
        _count_of(before[key], after[key])
        for key in sorted(after)
        if before[key].active_day != after[key].active_day
    ]
    if counts:
        tx.execute(COUNT_DAY, counts)
    for key, user in after.items():
        if _expires(before[key], user) and user.expired_at is not None:
            expiry.tell(tx, user, user.expired_at)
    return after


def _counted(seen: Sequence[tuple[User, int]]) -> tuple[dict[Key, User], dict[Key, User]]:
    """The users before and after, each once, however often they were seen."""
    before: dict[Key, User] = {}
    after: dict[Key, User] = {}
    for user, now in seen:
        key = _key(user)
        before.setdefault(key, user)
        after[key] = after_activity(after.get(key, user), now)
    return before, after


def _expires(old: User, new: User) -> bool:
    return new.expired_at is not None and old.expired_at is None


def _key(item: Activity | User) -> Key:
    return item.app_id, item.uid


def _count_of(old: User, new: User) -> dict[str, object]:
    return {
        "of_app": old.app_id,
        "of_uid": old.uid,
        "old_day": old.active_day,
        "old_left": old.eval_days_left,
        "day": new.active_day,
        "left": new.eval_days_left,
    }
