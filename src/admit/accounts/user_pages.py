"""Pages of users in any order, with any filter, at a cost that does not grow with the number of users.

Every order walks its index from where the last page ended, so rows that come or go between two pages neither
hide nor repeat others. A filter that few users pass is followed through its own index, and what it finds is
sorted. A filter that many pass is applied while walking, at most FILTERED_ROWS_MAX users a page: such a page
may hold fewer users than asked for, even none, and still say that there is more.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace
from sqlalchemy import BigInteger, Column, ColumnElement, Select, Text, bindparam, func, select, tuple_

from admit.accounts.paging_keys import Position, read_key, write_key
from admit.accounts.tables import user_words, users
from admit.accounts.user_search import WordRange, ranges_of
from admit.accounts.users import USER_COLUMNS, User, UserType, user_of
from admit.errors import InvalidRequest
from admit.storage.transaction import Transaction

PAGE_USERS_MAX = 1_000
FEW_USERS_MAX = 2_000
FILTERED_ROWS_MAX = 2_000

Sort = Literal[
    "created", "validUntil", "updated", "evalDaysLeft", "lastLogin", "userId", "type", "displayName"
]


Chosen = TypeVar("Chosen", bound=Select[Any])


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which users, in which order. `active`: not deactivated; an expired license is still an active user.

    `search`: words, each of which begins a word of the userId or name, or the email.
    """

    search: str = ""
    active: bool | None = None
    type: UserType | None = None
    sort: Sort = "userId"
    desc: bool = False
    limit: int = PAGE_USERS_MAX
    paging_key: str | None = None


class Page(msgspec.Struct, frozen=True):
    """Some users, in order. `paging_key` leads to the next page, `back_key` to the one before; None when
    there is none."""

    users: list[User]
    paging_key: str | None
    back_key: str | None = None

    @property
    def has_more(self) -> bool:
        return self.paging_key is not None


class _Shape(NamedTuple):
    """What tells one statement from another; all values are parameters. `words`: how many must match."""

    sort: Sort
    desc: bool
    begins_behind: bool
    words: int
    by_type: bool
    active: bool | None


_SORT_COLUMNS: dict[Sort, Column[Any]] = {
    "created": users.c.created_at,
    "validUntil": users.c.valid_until,
    "updated": users.c.updated_at,
    "evalDaysLeft": users.c.eval_days_left,
    "lastLogin": users.c.last_login_at,
    "userId": users.c.user_id,
    "type": users.c.type,
    "displayName": users.c.name,
}
_APP = bindparam("app", type_=Text)


def page(tx: Transaction, app_id: str, query: Query) -> Page:
    """The users that `query` asks for, from where its paging key says. Raises InvalidRequest for a bad query.

    Names and userIds are ordered byte by byte, which is the same on every database.
    """
    ranges = ranges_of(query.search)
    if query.search and not ranges:
        return Page([], None)
    shape = _shape_of(query, words=len(ranges))
    limit = _limit_of(query)
    parameters = _parameters(app_id, query, ranges) | {"limit": limit + 1}
    few = next((each for each in _indexed_filters(shape) if _is_few(tx, each, parameters)), None)
    edge = None if few is not None or not _filters(shape) else _edge(tx, shape, parameters)
    if edge is not None:
        parameters |= _bounds("edge", edge)
    rows = tx.execute(_page_statement(shape, few, edge is not None), parameters)
    found = [user_of(row) for row in rows]
    back = query.paging_key if query.paging_key is not None and not found else None
    if found and query.paging_key is not None:
        back = write_key(_position(found[0], query.sort))
    if len(found) > limit:
        return Page(found[:limit], write_key(_position(found[limit - 1], query.sort)), back)
    return Page(found, None if edge is None else write_key(edge), back)


def page_before(tx: Transaction, app_id: str, query: Query) -> Page:
    """The page that ends before the place of `query.paging_key`: as `page`, with its keys told alike."""
    turned = page(tx, app_id, replace(query, desc=not query.desc))
    return Page(turned.users[::-1], turned.back_key, turned.paging_key)


def _shape_of(query: Query, words: int) -> _Shape:
    begins_behind = query.paging_key is not None
    return _Shape(query.sort, query.desc, begins_behind, words, query.type is not None, query.active)


def _limit_of(query: Query) -> int:
    if query.limit < 1:
        raise InvalidRequest(f"limit is a number from 1 to {PAGE_USERS_MAX}.")
    return min(query.limit, PAGE_USERS_MAX)


def _parameters(app_id: str, query: Query, ranges: Sequence[WordRange]) -> dict[str, object]:
    parameters: dict[str, object] = {"app": app_id, "few": FEW_USERS_MAX, "walked": FILTERED_ROWS_MAX}
    if query.type is not None:
        parameters["type"] = query.type
    for place, words in enumerate(ranges):
        parameters |= {f"first_{place}": words.first, f"stop_{place}": words.stop}
    if query.paging_key is not None:
        is_number = isinstance(_SORT_COLUMNS[query.sort].type, BigInteger)
        parameters |= _bounds("last", read_key(query.paging_key, numbered=is_number))
    return parameters


def _bounds(name: str, position: Position) -> dict[str, object]:
    return {f"{name}_value": position.value, f"{name}_user_id": position.user_id}


def _position(user: User, sort: Sort) -> Position:
    return Position(getattr(user, _SORT_COLUMNS[sort].name), user.user_id)


def _filters(shape: _Shape) -> list[str]:
    others = [] if shape.active is None else ["active" if shape.active else "inactive"]
    return [f"word_{place}" for place in range(shape.words)] + ["type"] * shape.by_type + others


def _indexed_filters(shape: _Shape) -> list[str]:
    """The filters whose users an index lists; there is none of the active ones, who are as good as all."""
    return [each for each in _filters(shape) if each != "active"]


def _is_few(tx: Transaction, filter_: str, parameters: Mapping[str, object]) -> bool:
    return bool(tx.execute(_count_statement(filter_), parameters).scalar_one() <= FEW_USERS_MAX)


def _edge(tx: Transaction, shape: _Shape, parameters: Mapping[str, object]) -> Position | None:
    """Where a walk that filters ends at the latest; None where the users end before."""
    row = tx.execute(_edge_statement(shape), parameters).one_or_none()
    return None if row is None else Position(row.value, row.user_id)


@cache
def _page_statement(shape: _Shape, few: str | None, has_edge: bool) -> Select[Any]:
    """The page, walked in its order up to an edge; or, following one filter, picked from the few it lists."""
    statement = select(*USER_COLUMNS)
    if few is not None:
        listed = _listed(few).subquery()
        statement = statement.join_from(listed, users, users.c[_id_of(few)] == listed.c[_id_of(few)])
    conditions = [_condition(each) for each in _filters(shape) if each != few]
    if has_edge:
        order, edge = _order(shape), _bound(shape, "edge")
        conditions.append(order >= edge if shape.desc else order <= edge)
    return _in_order(statement, shape).where(*conditions).limit(bindparam("limit"))


@cache
def _edge_statement(shape: _Shape) -> Select[Any]:
    statement = select(_SORT_COLUMNS[shape.sort].label("value"), users.c.user_id)
    return _in_order(statement, shape).offset(bindparam("walked")).limit(1)


@cache
def _count_statement(filter_: str) -> Select[Any]:
    listed = _in_index(filter_).limit(bindparam("few") + 1)
    return select(func.count()).select_from(listed.subquery())


def _in_order(statement: Chosen, shape: _Shape) -> Chosen:
    order = [_SORT_COLUMNS[shape.sort], users.c.user_id]
    statement = statement.where(users.c.app_id == _APP).order_by(
        *(column.desc() if shape.desc else column for column in dict.fromkeys(order))
    )
    if shape.begins_behind:
        place, last = _order(shape), _bound(shape, "last")
        statement = statement.where(place < last if shape.desc else place > last)
    return statement


def _order(shape: _Shape) -> ColumnElement[Any]:
    if shape.sort == "userId":
        return users.c.user_id
    return tuple_(_SORT_COLUMNS[shape.sort], users.c.user_id)


def _bound(shape: _Shape, name: str) -> ColumnElement[Any]:
    user_id = bindparam(f"{name}_user_id", type_=Text)
    if shape.sort == "userId":
        return user_id
    return tuple_(bindparam(f"{name}_value", type_=_SORT_COLUMNS[shape.sort].type), user_id)


def _listed(few: str) -> Select[Any]:
    """The users whom an index lists for a filter that few pass, each once.

    The inner limit keeps SQLite from choosing an index in which everybody is, each once.
    """
    listed = _in_index(few).limit(bindparam("few")).subquery()
    return select(listed.c[_id_of(few)]).distinct()


def _in_index(filter_: str) -> Select[Any]:
    """Whom an index lists for a filter: somebody with several words that match, as often."""
    if filter_.startswith("word"):
        return select(user_words.c.uid).where(*_has_word(filter_))
    return select(users.c.user_id).where(users.c.app_id == _APP, _condition(filter_))


def _id_of(filter_: str) -> str:
    """The column by which the index of a filter names users."""
    return "uid" if filter_.startswith("word") else "user_id"


def _condition(filter_: str) -> ColumnElement[bool]:
    match filter_:
        case "type":
            return users.c.type == bindparam("type", type_=Text)
        case "active":
            return users.c.deactivated_at.is_(None)
        case "inactive":
            return users.c.deactivated_at.is_not(None)
        case _:
            # A scalar, since a planner may turn EXISTS around and list everyone with the word first.
            word = select(user_words.c.word).where(*_has_word(filter_), user_words.c.uid == users.c.uid)
            return word.limit(1).scalar_subquery().is_not(None)


def _has_word(filter_: str) -> tuple[ColumnElement[bool], ...]:
    place = filter_.removeprefix("word_")
    return (
        user_words.c.app_id == _APP,
        user_words.c.word >= bindparam(f"first_{place}", type_=Text),
        user_words.c.word < bindparam(f"stop_{place}", type_=Text),
    )
