"""Pages of users with their newest sessions, in the order in which they came.

The sessions of a page are looked up for all of its users in one statement, a bounded number for each, so that
nobody with very many of them makes a page slow.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import BigInteger, ColumnElement, Select, Text, bindparam, select, tuple_

from admit.accounts import session_pages, users
from admit.accounts.paging_keys import Position
from admit.accounts.session_pages import ListedSession, cursor_at, limits_of, read_cursor
from admit.accounts.tables import OWN_ENROLLED, sessions
from admit.accounts.tables import users as users_table
from admit.accounts.users import USER_COLUMNS, Key, User, user_of
from admit.storage.lookups import Lookup
from admit.storage.transaction import Transaction

SESSIONS_EACH_MAX = 100
PAGE_SESSIONS_MAX = 10_000
UID_PREFIX = "usr_"


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
    heard of; None: never. Where there are older ones, it is the latest of those that are shown, and of as
    many that are ENROLLED, since no other is heard of any more.
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

NEWEST_ENROLLED = Lookup(
    select(sessions.c.app_id, sessions.c.uid, sessions.c.connected_at)
    .where(OWN_ENROLLED)
    .order_by(sessions.c.created_at.desc(), sessions.c.session_id.desc()),
    (sessions.c.app_id, sessions.c.uid),
    each_max=bindparam("most", type_=BigInteger),
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
    enrolled = _last_heard_of_enrolled(tx, [key for key in keys if len(newest[key]) > most], most)
    return [
        _holder(user, newest[key], most, enrolled.get(key)) for user, key in zip(people, keys, strict=True)
    ]


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


def _holder(user: User, newest: Sequence[ListedSession], most: int, enrolled_at: int | None) -> Holder:
    """`user` with at most `most` of their `newest` sessions.

    `enrolled_at`: when one that is ENROLLED, perhaps an older one, was last heard of.
    """
    own = [each for each in newest if each.actor is None]
    heard_of = [each.connected_at for each in own] + ([] if enrolled_at is None else [enrolled_at])
    return Holder(
        user=user,
        sessions=list(newest[:most]),
        sessions_more=len(newest) > most,
        enrolled=enrolled_at is not None or any(each.state == "ENROLLED" for each in own),
        last_connected_at=max(heard_of, default=None),
    )


def _last_heard_of_enrolled(tx: Transaction, people: Sequence[Key], most: int) -> dict[Key, int]:
    """When the sessions of each that are ENROLLED, at most the newest `most`, were last heard of."""
    found: dict[Key, int] = {}
    for row in NEWEST_ENROLLED.rows(tx, people, most=most):
        key = row.app_id, row.uid
        found[key] = max(found.get(key, 0), row.connected_at)
    return found
