"""Pages of users with their newest sessions, in the order in which they came.

The sessions of a page are looked up for all of its users in one statement, a bounded number for each, so that
nobody with very many of them makes a page slow.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import BigInteger, ColumnElement, Select, Text, bindparam, func, select, tuple_

from admit.accounts import session_pages, users
from admit.accounts.paging_keys import Position
from admit.accounts.session_pages import ListedSession, cursor_at, limits_of, read_cursor
from admit.accounts.tables import sessions
from admit.accounts.tables import users as users_table
from admit.accounts.users import USER_COLUMNS, Key, User, user_of
from admit.storage.lookups import Lookup
from admit.storage.transaction import Transaction

SESSIONS_EACH_MAX = 100
PAGE_SESSIONS_MAX = 10_000
UID_PREFIX = "usr_"
LOOKED_AT_MAX = 1_000
"""Of how many of a user's newest sessions `last_connected_at` is the latest. Who opens one connects by it,
so that older ones could tell of little more."""


class WhichUsers(msgspec.Struct, frozen=True, kw_only=True):
    """Which users. `device`: the identifier of one of their devices. `after` is the `next` of another page,
    `skip` how many to pass over from there."""

    device: str | None = None
    locked: bool | None = None
    limit: int = SESSIONS_EACH_MAX
    skip: int = 0
    after: str | None = None


class Holder(msgspec.Struct, frozen=True):
    """A user with their newest sessions, newest first; `sessions_more`: there are older ones.

    `enrolled`: a session of their own is ENROLLED. `last_connected_at`: when a device of theirs was last
    heard of; None: never.
    """

    user: User
    sessions: list[ListedSession]
    sessions_more: bool
    enrolled: bool
    last_connected_at: int | None


class HolderPage(msgspec.Struct, frozen=True):
    """Some users. `next` leads on; None: there are no more. `total`: None where `UserTotals` knows it."""

    holders: list[Holder]
    next: str | None
    total: int | None


_APP = users_table.c.app_id == bindparam("app", type_=Text)
_BEHIND = tuple_(users_table.c.created_at, users_table.c.user_id) > tuple_(
    bindparam("after_at", type_=BigInteger), bindparam("after_id", type_=Text)
)
_LOCKED = users_table.c.locked_at.is_not(None)


def _page(*conditions: ColumnElement[bool]) -> Select[Any]:
    page = select(*USER_COLUMNS).where(*conditions, _BEHIND)
    page = page.order_by(users_table.c.created_at, users_table.c.user_id)
    return page.limit(bindparam("limit")).offset(bindparam("skip"))


ALL = _page(_APP)
LOCKED = _page(_APP, _LOCKED)
UNLOCKED = _page(_APP, users_table.c.locked_at.is_(None))

_own = (
    (sessions.c.app_id == users_table.c.app_id)
    & (sessions.c.uid == users_table.c.uid)
    & sessions.c.actor.is_(None)
)
_newest = (
    select(sessions.c.connected_at)
    .where(_own)
    .order_by(sessions.c.created_at.desc(), sessions.c.session_id.desc())
    .limit(LOOKED_AT_MAX)
    .correlate(users_table)
    .subquery("newest")
)
# Scalars, since a planner may turn EXISTS around and list everybody's sessions first.
_enrolled = select(sessions.c.session_id).where(_own, sessions.c.state == "ENROLLED").limit(1)
STANDINGS = Lookup(
    select(
        users_table.c.app_id,
        users_table.c.uid,
        select(func.max(_newest.c.connected_at)).scalar_subquery().label("last_connected_at"),
        _enrolled.correlate(users_table).scalar_subquery().label("enrolled"),
    ),
    (users_table.c.app_id, users_table.c.uid),
)


def page(tx: Transaction, app_id: str, which: WhichUsers) -> HolderPage:
    """The users that `which` asks for, oldest first. Raises InvalidRequest for a bad `which`.

    Each comes with their newest SESSIONS_EACH_MAX sessions; on pages of many, with fewer.
    """
    limits = limits_of(which.limit, which.skip, which.after)
    begin = Position(-1, "") if which.after is None else read_cursor(which.after)
    if which.device is None:
        found, total = _walk(tx, app_id, which.locked, begin, limits), None
    else:
        found, total = _on_device(tx, app_id, which.device, which, begin)
    shown = found[: which.limit]
    last = shown[-1] if len(found) > which.limit else None
    return HolderPage(
        holders=with_sessions(tx, shown, min(SESSIONS_EACH_MAX, PAGE_SESSIONS_MAX // which.limit)),
        next=None if last is None else cursor_at(*_place_of(last)),
        total=total,
    )


def with_sessions(tx: Transaction, people: Sequence[User], most: int = SESSIONS_EACH_MAX) -> list[Holder]:
    """`people` with the newest sessions of each, `most` of them at most."""
    keys = [(user.app_id, user.uid) for user in people]
    newest = session_pages.newest_of_each(tx, people, most + 1)
    standings = _standings(tx, [key for key in keys if len(newest[key]) > most])
    holders = []
    for user, key in zip(people, keys, strict=True):
        last, enrolled = standings.get(key) or _standing_of(newest[key])
        shown = newest[key][:most]
        holders.append(Holder(user, shown, len(newest[key]) > most, enrolled, last))
    return holders


def find(tx: Transaction, app_id: str, id_: str, user_id: str) -> User | None:
    """The user with the uid `id_`, else the one with the userId `user_id`; None if there is neither."""
    key = app_id, id_
    if id_.startswith(UID_PREFIX) and (user := users.by_uid(tx, [key]).get(key)) is not None:
        return user
    key = app_id, user_id
    return users.by_user_id(tx, [key]).get(key)


def _walk(
    tx: Transaction, app_id: str, locked: bool | None, begin: Position, limits: Mapping[str, object]
) -> list[User]:
    """The users behind `begin`, with one more where there is a next page."""
    statement = ALL if locked is None else LOCKED if locked else UNLOCKED
    place = {"app": app_id, "after_at": begin.value, "after_id": begin.user_id}
    return [user_of(row) for row in tx.execute(statement, {**place, **limits})]


def _on_device(
    tx: Transaction, app_id: str, device: str, which: WhichUsers, begin: Position
) -> tuple[list[User], int]:
    """The same of those who have a device of this id, and how many they are in all."""
    people = users.by_uid(tx, session_pages.people_on(tx, app_id, device)).values()
    found = [user for user in people if which.locked in (None, user.locked_at is not None)]
    found.sort(key=_place_of)
    rest = [user for user in found if _place_of(user) > (begin.value, begin.user_id)]
    return rest[which.skip : which.skip + which.limit + 1], len(found)


def _place_of(user: User) -> tuple[int, str]:
    return user.created_at, user.user_id


def _standing_of(all_of_them: Sequence[ListedSession]) -> tuple[int | None, bool]:
    """When a user's own devices were last heard of, and whether one is enrolled."""
    own = [each for each in all_of_them if each.actor is None]
    is_enrolled = any(each.state == "ENROLLED" for each in own)
    return max((each.connected_at for each in own), default=None), is_enrolled


def _standings(tx: Transaction, people: Sequence[Key]) -> dict[Key, tuple[int | None, bool]]:
    """The same of users with more sessions than a page shows."""
    return {
        (row.app_id, row.uid): (row.last_connected_at, row.enrolled is not None)
        for row in STANDINGS.rows(tx, people)
    }
