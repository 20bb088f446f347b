"""What operators changed: who, when, what was asked, what was there before and after, and how it ended."""

import re
from typing import Any, Literal

import msgspec
from sqlalchemy import Select, bindparam, delete, func, insert, select, tuple_, update

from admit import clock
from admit.operators.tables import operator_changes
from admit.storage.transaction import Transaction

KEPT_MS = 400 * clock.DAY_MS
"""Longer than a year, so that what is done once a year can be looked up when it is due again."""
PAGE_ROWS_MAX = 200
SEARCHED_ROWS_MAX = 2_000
"""A search looks at so many rows at a time: no page is slow, however many there are."""
FIRST = (2**62, "")
"""Before all pages."""

WhoKind = Literal["operator", "token", "command"]
Kind = Literal["change", "test"]

_WHO_ID = re.compile(r"(?:op[rt]_\S+|command)")


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A change that is about to be made. `app_id`: "" where it belongs to no app.

    `kind`: a test changes nothing that stays. `query`, `asked` and `before` are JSON without secrets; "":
    nothing.
    """

    app_id: str
    at: int
    who_kind: WhoKind
    who_id: str
    who_label: str
    address: str
    kind: Kind
    method: str
    summary: str
    path: str
    query: str = ""
    asked: str = ""
    before: str = ""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How it came out: the status and the error code that were answered, and what is there now, as JSON."""

    at: int
    status: int
    code: str = ""
    after: str = ""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One change, without its contents.

    `ended_at` and `status` None: it is being made right now, or nobody knows how it came out.
    """

    change_id: str
    app_id: str
    at: int
    who_kind: WhoKind
    who_id: str
    who_label: str
    address: str
    kind: Kind
    method: str
    summary: str
    path: str
    ended_at: int | None
    status: int | None
    code: str


class Change(Summary, frozen=True, kw_only=True):
    """One change with what was asked and what was there before and after, as JSON; "": nothing."""

    query: str
    asked: str
    before: str
    after: str


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which changes. `app_id` None: of all apps and of none; `who`: an id or a label; `search`: in the path.

    `before`: older than the change at this time with this id.
    """

    app_id: str | None = None
    who: str = ""
    since: int = 0
    search: str = ""
    before: tuple[int, str] | None = None
    limit: int = PAGE_ROWS_MAX


class Page(msgspec.Struct, frozen=True):
    """Some changes, newest first. `before` leads to the next, which may be none; None: these were all."""

    changes: list[Summary]
    before: tuple[int, str] | None


_OLDER = tuple_(operator_changes.c.at, operator_changes.c.change_id) < tuple_(
    bindparam("at"), bindparam("id")
)
ADD = insert(operator_changes)
END = (
    update(operator_changes)
    .where(operator_changes.c.change_id == bindparam("change"), operator_changes.c.ended_at.is_(None))
    .values(
        ended_at=bindparam("now"),
        status=bindparam("its_status"),
        code=bindparam("its_code"),
        after=bindparam("its_after"),
    )
)
FIND = select(*(operator_changes.c[name] for name in Change.__struct_fields__)).where(
    operator_changes.c.change_id == bindparam("change")
)
NEWEST = (
    select(*(operator_changes.c[name] for name in Summary.__struct_fields__))
    .where(operator_changes.c.at >= bindparam("since"), _OLDER)
    .order_by(operator_changes.c.at.desc(), operator_changes.c.change_id.desc())
    .limit(bindparam("most"))
)
_OF_APP = operator_changes.c.app_id == bindparam("app")
_BY_ID = operator_changes.c.who_id == bindparam("who")
NEWEST_BY_ID = NEWEST.where(_BY_ID)
NEWEST_OF_APP = NEWEST.where(_OF_APP)
NEWEST_OF_APP_BY_ID = NEWEST.where(_OF_APP, _BY_ID)


def _among(newest: Select[tuple[Any, ...]]) -> tuple[Select[tuple[Any, ...]], Select[tuple[Any, ...]]]:
    """Which rows of `newest` fit a label and a search, and the key of its last row where it is full."""
    seen = newest.subquery()
    fits = select(*seen.c).where(
        (bindparam("label") == "") | (func.lower(seen.c.who_label) == bindparam("label")),
        func.lower(seen.c.path).like(bindparam("pattern"), escape="\\"),
    )
    order = seen.c.at.desc(), seen.c.change_id.desc()
    last = select(seen.c.at, seen.c.change_id).order_by(*order).offset(bindparam("most") - 1)
    return fits.order_by(*order).limit(bindparam("limit")), last


FITTING, LAST_SEEN = _among(NEWEST)
FITTING_BY_ID, LAST_SEEN_BY_ID = _among(NEWEST_BY_ID)
FITTING_OF_APP, LAST_SEEN_OF_APP = _among(NEWEST_OF_APP)
FITTING_OF_APP_BY_ID, LAST_SEEN_OF_APP_BY_ID = _among(NEWEST_OF_APP_BY_ID)
PRUNE = delete(operator_changes).where(
    operator_changes.c.change_id.in_(
        select(operator_changes.c.change_id)
        .where(operator_changes.c.at < bindparam("before"))
        .order_by(operator_changes.c.at)
        .limit(bindparam("most"))
    )
)


def begin(tx: Transaction, change_id: str, begun: Begun) -> None:
    """Writes down that a change is about to be made. `end` tells the rest."""
    unknown_yet = {"ended_at": None, "status": None, "code": "", "after": ""}
    tx.execute(ADD, {"change_id": change_id, **msgspec.structs.asdict(begun), **unknown_yet})


def end(tx: Transaction, change_id: str, ended: Ended) -> None:
    """Writes down how a change came out."""
    values = {"change": change_id, "now": ended.at, "its_status": ended.status}
    tx.execute(END, values | {"its_code": ended.code, "its_after": ended.after})


def find(tx: Transaction, change_id: str) -> Change | None:
    """One change; None: there is none with this id, or no more."""
    row = tx.execute(FIND, {"change": change_id}).one_or_none()
    return None if row is None else Change(**row._mapping)


def page(tx: Transaction, wanted: Wanted) -> Page:
    """Some of the changes that are wanted, newest first.

    A label or a search is looked for among SEARCHED_ROWS_MAX rows: what lies behind is on the next page.
    """
    by_id = bool(_WHO_ID.fullmatch(wanted.who))
    newest, fitting, last_seen = {
        (False, False): (NEWEST, FITTING, LAST_SEEN),
        (False, True): (NEWEST_BY_ID, FITTING_BY_ID, LAST_SEEN_BY_ID),
        (True, False): (NEWEST_OF_APP, FITTING_OF_APP, LAST_SEEN_OF_APP),
        (True, True): (NEWEST_OF_APP_BY_ID, FITTING_OF_APP_BY_ID, LAST_SEEN_OF_APP_BY_ID),
    }[wanted.app_id is not None, by_id]
    label = "" if by_id else wanted.who.lower()
    at, change_id = wanted.before or FIRST
    limit = min(wanted.limit, PAGE_ROWS_MAX)
    asked = {"app": wanted.app_id, "who": wanted.who, "since": wanted.since, "at": at, "id": change_id}
    last: tuple[int, str] | None = None
    if label or wanted.search:
        window = asked | {"most": SEARCHED_ROWS_MAX}
        sought = {"label": label, "pattern": _pattern(wanted.search), "limit": limit}
        rows = tx.execute(fitting, window | sought).all()
        if (seen := tx.execute(last_seen, window).first()) is not None:
            last = (seen.at, seen.change_id)
    else:
        rows = tx.execute(newest, asked | {"most": limit}).all()
    found = [Summary(**row._mapping) for row in rows]
    if len(found) == limit:
        last = (found[-1].at, found[-1].change_id)
    return Page(found, last)


def _pattern(text: str) -> str:
    """What LIKE takes for a text that stands anywhere, in small letters."""
    escaped = text.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def prune(tx: Transaction, now: int, rows_max: int) -> int:
    """Deletes at most `rows_max` changes that are older than KEPT_MS."""
    return tx.execute(PRUNE, {"before": now - KEPT_MS, "most": rows_max}).rowcount
