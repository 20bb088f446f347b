"""Pages of sessions: those of a user, or of a device on which several people are; and one session.

A page walks its index from where the one before has ended, so that sessions which are opened between two
pages neither hide nor repeat others.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Text,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    tuple_,
)

from admit.accounts.devices import DEVICE_COLUMNS, Device, device_of
from admit.accounts.paging_keys import Position, read_key, write_key
from admit.accounts.sessions import Reason, State
from admit.accounts.tables import LATER_ON_DEVICE, devices, sessions
from admit.accounts.tables import users as users_table
from admit.accounts.users import NEVER, Key, User
from admit.clock import DAY_MS
from admit.errors import InvalidRequest
from admit.storage.lookups import Lookup
from admit.storage.transaction import Transaction

PAGE_ROWS_MAX = 1_000
SKIPPED_MAX = 100_000
ON_DEVICE_MAX = 10_000
"""Of so many users the devices of one id are looked up. An id that more of them have tells nobody apart."""
COUNTED_ON_DEVICE_MAX = 10_000
"""So many sessions on one device are counted, without the first of each user."""


class ListedSession(msgspec.Struct, frozen=True):
    """A session as lists have it: without its key, with its device and the userId of whom it is of."""

    device: Device
    user_id: str
    session_id: str
    ordinal: int
    state: State
    reason: Reason
    actor: str | None
    created_at: int
    authenticated_at: int
    signed_out_at: int | None
    connected_at: int
    refresh_until: int
    wiped_at: int | None


class Which(msgspec.Struct, frozen=True, kw_only=True):
    """Which sessions. `device`: those on the user's device of this id. `active`: they go on, as
    `session_standing.end_of` has it, and their user may sign in.

    `created_since` and `authenticated_since` are UTC ms. `after` is the `next` of another page, `skip` how
    many to pass over from there.
    """

    device: str | None = None
    state: str | None = None
    active: bool | None = None
    created_since: int = 0
    authenticated_since: int = 0
    limit: int = PAGE_ROWS_MAX
    skip: int = 0
    after: str | None = None

    @property
    def filters(self) -> bool:
        """Whether some sessions may not be wanted."""
        asked = self.device, self.state, self.active
        return bool(self.created_since or self.authenticated_since) or asked != (None, None, None)


class Page(msgspec.Struct, frozen=True):
    """Some sessions, newest first, and how many there are in all, None where they are too many to count.

    `next` leads on; None: that was all.
    """

    sessions: list[ListedSession]
    total: int | None
    next: str | None


_LISTED = (*DEVICE_COLUMNS, *(sessions.c[name] for name in ListedSession.__struct_fields__[2:]))
_ROWS = select(*_LISTED).join_from(
    sessions,
    devices,
    (devices.c.app_id == sessions.c.app_id)
    & (devices.c.uid == sessions.c.uid)
    & (devices.c.device_id == sessions.c.device_id),
)
_NEWEST_FIRST = (sessions.c.created_at.desc(), sessions.c.session_id.desc())


def _text(name: str) -> BindParameter[str]:
    return bindparam(name, type_=Text)


def _number(name: str) -> BindParameter[int]:
    return bindparam(name, type_=BigInteger)


def _wanted(name: BindParameter[Any], is_so: ColumnElement[bool]) -> ColumnElement[bool]:
    """A filter, which asks for nothing where its parameter is NULL."""
    return or_(name.is_(None), is_so)


def _passes(is_active: ColumnElement[bool]) -> ColumnElement[bool]:
    """What `Which` asks for, of whatever user."""
    return and_(
        _wanted(_text("state"), sessions.c.state == _text("state")),
        _wanted(_number("active"), _number("active") == case((is_active, 1), else_=0)),
        sessions.c.created_at >= _number("created_since"),
        sessions.c.authenticated_at >= _number("authenticated_since"),
    )


_GOES_ON = and_(
    sessions.c.state == "ENROLLED",
    sessions.c.refresh_until > _number("now"),
    sessions.c.connected_at > _number("idle_since"),
)
_PASSES = and_(_wanted(_text("device"), sessions.c.device_id == _text("device")), _passes(_GOES_ON))
_BEHIND = tuple_(sessions.c.created_at, sessions.c.session_id) < tuple_(
    _number("before_at"), _text("before_id")
)
_OF_USER = and_(sessions.c.app_id == _text("app"), sessions.c.uid == _text("uid"))

PAGE_OF_USER = (
    _ROWS.where(_OF_USER, _PASSES, _BEHIND)
    .order_by(*_NEWEST_FIRST)
    .limit(bindparam("limit"))
    .offset(bindparam("skip"))
)
COUNT_OF_USER = select(func.count()).select_from(sessions).where(_OF_USER, _PASSES)
COUNT_ALL_OF_USER = select(func.count()).select_from(sessions).where(_OF_USER)  # the index has it all
FIND_LISTED = _ROWS.where(_OF_USER, sessions.c.session_id == _text("session"))
NEWEST_OF_EACH = Lookup(
    _ROWS.order_by(*_NEWEST_FIRST), (sessions.c.app_id, sessions.c.uid), each_max=_number("most")
)
ON_DEVICE = (
    select(devices.c.app_id, devices.c.uid)
    .where(devices.c.app_id == _text("app"), devices.c.device_id == _text("device"))
    .limit(bindparam("most"))
)
_HOLDER = (users_table.c.app_id == sessions.c.app_id) & (users_table.c.uid == sessions.c.uid)
_ON_DEVICE = _ROWS.add_columns(users_table.c.user_id).join(users_table, _HOLDER)
_MAY_SIGN_IN = (
    select(users_table.c.uid)
    .where(_HOLDER, users_table.c.locked_at.is_(None), users_table.c.deactivated_at.is_(None))
    .correlate(sessions)
    .scalar_subquery()
)
_PASSES_ON_DEVICE = _passes(and_(_GOES_ON, _MAY_SIGN_IN.is_not(None)))
FIRST_ON_DEVICE = Lookup(
    _ON_DEVICE.where(sessions.c.ordinal == 1, _PASSES_ON_DEVICE),
    (sessions.c.app_id, sessions.c.uid, sessions.c.device_id),
)
_LATER = and_(sessions.c.app_id == _text("app"), sessions.c.device_id == _text("device"), LATER_ON_DEVICE)
# Of sessions alone: a planner that takes them for few would begin with the devices, and sort.
PAGE_OF_LATER = (
    select(sessions.c.app_id, sessions.c.session_id)
    .where(_LATER, _PASSES_ON_DEVICE, _BEHIND)
    .order_by(*_NEWEST_FIRST)
    .limit(bindparam("limit"))
    .offset(bindparam("skip"))
)
_SOME_LATER = select(sessions.c.session_id).where(_LATER).order_by(*_NEWEST_FIRST).limit(bindparam("most"))
COUNT_ALL_LATER = select(func.count()).select_from(_SOME_LATER.subquery())  # the index has it all
COUNT_LATER = select(func.count()).select_from(sessions).where(_LATER, _PASSES_ON_DEVICE)
BY_ID = Lookup(_ON_DEVICE, (sessions.c.app_id, sessions.c.session_id))


def of_user(tx: Transaction, user: User, which: Which, *, now: int, idle_days: int = 0) -> Page:
    """The sessions of a user, newest first. Raises InvalidRequest for a bad `which`.

    `idle_days`: after so many days without a sign of life a session does not go on; 0 means never.
    """
    limits = limits_of(which.limit, which.skip, which.after)
    may_sign_in = user.locked_at is None and user.deactivated_at is None
    filters = _filters(which, now if may_sign_in else NEVER, idle_days)  # by then, nothing of theirs goes on
    filters |= {"app": user.app_id, "uid": user.uid, "device": which.device}
    begin = _begin_of(which)
    found = [listed_of(user, row) for row in tx.execute(PAGE_OF_USER, filters | _place(begin) | limits)]
    if which.after is None and which.skip == 0 and len(found) <= which.limit:
        return _page(found, which.limit, len(found))
    count = COUNT_OF_USER if which.filters else COUNT_ALL_OF_USER
    return _page(found, which.limit, tx.execute(count, filters).scalar_one())


def of_device(
    tx: Transaction, app_id: str, device: str, which: Which, *, now: int, idle_days: int = 0
) -> Page:
    """The sessions on the devices that call themselves `device`, of all users. Otherwise as `of_user`.

    The first of each user is looked up by itself. Of all later ones, of which there may be very many, no
    more are read than could stand on the page.
    """
    limits_of(which.limit, which.skip, which.after)
    begin, filters = _begin_of(which), _filters(which, now, idle_days)
    people = people_on(tx, app_id, device)
    first = [
        _on_device(row) for row in FIRST_ON_DEVICE.rows(tx, [(*key, device) for key in people], **filters)
    ]
    behind = [each for each in first if _place_of(each) < (begin.value, begin.user_id)]
    skip = min(which.skip, len(behind))  # whatever is beyond them is skipped in the index
    filters |= {"app": app_id, "device": device}
    limits = {"skip": which.skip - skip, "limit": skip + which.limit + 1}
    ids = tx.execute(PAGE_OF_LATER, filters | _place(begin) | limits).all()
    later = [_on_device(row) for row in BY_ID.rows(tx, map(tuple, ids))]
    found = sorted(behind + later, key=_place_of, reverse=True)[skip : skip + which.limit + 1]
    if which.after is None and which.skip == 0 and len(later) <= which.limit:
        return _page(found, which.limit, len(first) + len(later))
    counted = _count_later(tx, filters, which)
    return _page(found, which.limit, None if counted is None else len(first) + counted)


def people_on(tx: Transaction, app_id: str, device: str) -> list[Key]:
    """Who has a device that calls itself `device`, (app_id, uid) each. Raises InvalidRequest for too many."""
    this = {"app": app_id, "device": device, "most": ON_DEVICE_MAX + 1}
    found = [(row.app_id, row.uid) for row in tx.execute(ON_DEVICE, this)]
    if len(found) > ON_DEVICE_MAX:
        raise InvalidRequest(
            f"More than {ON_DEVICE_MAX} users have a device of this id: it tells nobody apart. "
            "Ask for the sessions of one user."
        )
    return found


def find_listed(tx: Transaction, user: User, session_id: str) -> ListedSession | None:
    """A session of a user, whatever its state; None if they have none of this id."""
    this = {"app": user.app_id, "uid": user.uid, "session": session_id}
    row = tx.execute(FIND_LISTED, this).one_or_none()
    return None if row is None else listed_of(user, row)


def find_by_id(tx: Transaction, app_id: str, session_id: str) -> ListedSession | None:
    """A session of the app, whatever its state; None if there is none of this id."""
    rows = BY_ID.rows(tx, [(app_id, session_id)])
    return _on_device(rows[0]) if rows else None


def newest_of_each(tx: Transaction, people: Sequence[User], most: int) -> dict[Key, list[ListedSession]]:
    """The newest sessions of each of `people`, by (app_id, uid): `most` of them at most, newest first."""
    by_key = {(user.app_id, user.uid): user for user in people}
    found: dict[Key, list[ListedSession]] = {key: [] for key in by_key}
    for row in NEWEST_OF_EACH.rows(tx, by_key, most=most):
        key = row.app_id, row.uid
        found[key].append(listed_of(by_key[key], row))
    for each in found.values():
        each.sort(key=_place_of, reverse=True)
    return found


def listed_of(user: User, row: Sequence[Any]) -> ListedSession:
    """The session of `user` in a row of _LISTED."""
    return ListedSession(device_of(row), user.user_id, *row[len(DEVICE_COLUMNS) :])


def limits_of(limit: int, skip: int, after: str | None) -> dict[str, object]:
    """The parameters `limit`, one more so that it tells whether there is more, and `skip`.

    Raises InvalidRequest with a sentence for a page that cannot be.
    """
    if not 1 <= limit <= PAGE_ROWS_MAX:
        raise InvalidRequest(f"limit is a number from 1 to {PAGE_ROWS_MAX}.")
    if not 0 <= skip <= SKIPPED_MAX:
        raise InvalidRequest(
            f"skip is a number from 0 to {SKIPPED_MAX}. To read on, send the `next` of a page as `after`."
        )
    if skip and after is not None:
        raise InvalidRequest("Send skip or after, not both: after begins where a page has ended.")
    return {"limit": limit + 1, "skip": skip}


def cursor_at(moment: int, id_: str) -> str:
    """The cursor that leads on behind a row, safe in a URL."""
    return write_key(Position(moment, id_)).rstrip("=").replace("+", "-").replace("/", "_")


def read_cursor(after: str) -> Position:
    """Where the page of a cursor has ended. Raises InvalidRequest for what is none."""
    try:
        return read_key(after, numbered=True)
    except InvalidRequest:
        raise InvalidRequest("after is not the `next` of an earlier page of this list.") from None


def _count_later(tx: Transaction, filters: Mapping[str, str | int | None], which: Which) -> int | None:
    """How many sessions on a device there are behind the first of each user; None: too many to count."""
    counted: int = tx.execute(COUNT_ALL_LATER, {**filters, "most": COUNTED_ON_DEVICE_MAX + 1}).scalar_one()
    if counted > COUNTED_ON_DEVICE_MAX:
        return None
    return tx.execute(COUNT_LATER, filters).scalar_one() if which.filters else counted


def _on_device(row: Sequence[Any]) -> ListedSession:
    """The session in a row of _ON_DEVICE."""
    return ListedSession(device_of(row), row[-1], *row[len(DEVICE_COLUMNS) : -1])


def _filters(which: Which, now: int, idle_days: int) -> dict[str, str | int | None]:
    """The parameters of `_passes`."""
    return {
        "state": which.state,
        "active": None if which.active is None else int(which.active),
        "now": now,
        "idle_since": now - idle_days * DAY_MS if idle_days else -1,
        "created_since": which.created_since,
        "authenticated_since": which.authenticated_since,
    }


def _place(begin: Position) -> dict[str, object]:
    """The parameters of _BEHIND."""
    return {"before_at": begin.value, "before_id": begin.user_id}


def _begin_of(which: Which) -> Position:
    return Position(NEVER, "") if which.after is None else read_cursor(which.after)


def _place_of(session: ListedSession) -> tuple[int, str]:
    return session.created_at, session.session_id


def _page(found: Sequence[ListedSession], limit: int, total: int | None) -> Page:
    """The page of `found`, in which there is one more where there is a next page."""
    shown = list(found[:limit])
    return Page(shown, total, cursor_at(*_place_of(shown[-1])) if len(found) > limit else None)
