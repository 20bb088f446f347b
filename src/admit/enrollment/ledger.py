"""The ledger: every decision that was made, newest first, and what rivals need to know of one."""

from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, Select, bindparam, select, tuple_

from admit.enrollment.admissions import Again
from admit.enrollment.policy import Refuse
from admit.enrollment.tables import IS_REFUSED, admissions
from admit.storage.transaction import Transaction

PAGE_ROWS_MAX = 500
LOOKED_AT_MAX = 2_000
MOMENT_MAX = 2**62
LAST = "\U0010ffff"
"""Sorts behind every character that can be typed, and is none."""

Key = tuple[int, str]
"""When a decision was opened, and its id."""

OUTCOME = select(
    admissions.c.settled_at,
    admissions.c.lease_until,
    admissions.c.verdict,
    admissions.c.code,
    admissions.c.message,
    admissions.c.reason,
).where(admissions.c.app_id == bindparam("app"), admissions.c.admission_id == bindparam("admission"))


class LedgerRow(msgspec.Struct, frozen=True, rename="camel"):
    """One decision. Times are UTC milliseconds; `settled_at` is None while it is open.

    `claims`: JSON of what is kept of what a provider said; "" without one.
    """

    admission_id: str
    user_id: str
    method: str
    way_in: str
    claims: str
    policy: str
    policy_version: int
    input_digest: str
    opened_at: int
    settled_at: int | None
    verdict: str
    code: str
    message: str
    reason: str
    late: str
    attempts: int
    latency_ms: int
    uid: str | None


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which decisions; None: any. Those opened at or after `since` and before `until` (UTC ms).

    `user_id`: about one person. `beginning`: about people whose userId begins so. `verdict` open: not yet.
    """

    user_id: str | None = None
    beginning: str | None = None
    way_in: str | None = None
    verdict: Literal["eval", "prod", "refused", "open"] | None = None
    code: str | None = None
    since: int = 0
    until: int = MOMENT_MAX


class Page(msgspec.Struct, frozen=True):
    """Some decisions, and the key behind which to go on; None: there are no more."""

    rows: list[LedgerRow]
    next: Key | None


_COLUMNS = tuple(admissions.c[name] for name in LedgerRow.__struct_fields__)
_KEY = (admissions.c.opened_at, admissions.c.admission_id)


def _walk(*which: ColumnElement[bool]) -> Select[Any]:
    """The newest decisions of an app before a key."""
    return (
        select(*_COLUMNS)
        .where(
            admissions.c.app_id == bindparam("app"),
            *which,
            tuple_(*_KEY) < tuple_(bindparam("at"), bindparam("id")),
            admissions.c.opened_at >= bindparam("since"),
        )
        .order_by(*(column.desc() for column in _KEY))
        .limit(bindparam("looked"))
    )


OF_APP = _walk()
OF_PERSON = _walk(admissions.c.user_id == bindparam("person"))
BY_WAY = _walk(admissions.c.way_in == bindparam("way"))
REFUSED = _walk(IS_REFUSED)
_PERSON_KEY = (admissions.c.user_id, *_KEY)
OF_BEGINNING = (
    select(*_COLUMNS)
    .where(
        admissions.c.app_id == bindparam("app"),
        admissions.c.user_id < bindparam("stop"),
        tuple_(*_PERSON_KEY) > tuple_(bindparam("person"), bindparam("at"), bindparam("id")),
    )
    .order_by(*_PERSON_KEY)
    .limit(bindparam("looked"))
)
PERSON_OF = select(admissions.c.user_id).where(
    admissions.c.app_id == bindparam("app"), admissions.c.admission_id == bindparam("admission")
)
ONE = select(*_COLUMNS).where(
    admissions.c.app_id == bindparam("app"), admissions.c.admission_id == bindparam("admission")
)


def outcome(tx: Transaction, app_id: str, admission_id: str) -> Refuse | Again | None:
    """How an admission ended for those who wait for it: refused, or (Again) worth entering anew.

    None while somebody is still deciding.
    """
    row = tx.execute(OUTCOME, {"app": app_id, "admission": admission_id}).first()
    if row is None or row.lease_until == 0:
        return Again()
    if row.settled_at is None:
        return None
    if row.verdict == "refused":
        return Refuse(code=row.code, message=row.message, reason=row.reason)
    return Again()


def find(tx: Transaction, app_id: str, admission_id: str) -> LedgerRow | None:
    """One decision; None: there is none with this id."""
    row = tx.execute(ONE, {"app": app_id, "admission": admission_id}).one_or_none()
    return None if row is None else LedgerRow(**row._mapping)


def page(tx: Transaction, app_id: str, query: Query, after: Key | None, limit: int) -> Page:
    """At most `limit` decisions behind the key `after`, newest first; by person where there is a `beginning`.

    What an index does not tell apart is sought among LOOKED_AT_MAX decisions: so a page costs the same
    however many there are, and may be short, or empty, while `next` says that there is more to look at.
    """
    limit = min(limit, PAGE_ROWS_MAX)
    statement, given, told_apart = _way_of(tx, app_id, query, after)
    looked = limit if told_apart else LOOKED_AT_MAX
    rows = tx.execute(statement, {"app": app_id, "looked": looked} | given).all()
    found: list[LedgerRow] = []
    for number, row in enumerate(rows, 1):
        if told_apart or _is_meant(row, query):
            found.append(LedgerRow(**row._mapping))
        if len(found) == limit or number == looked:
            return Page(found, (row.opened_at, row.admission_id))
    return Page(found, None)


def _way_of(
    tx: Transaction, app_id: str, query: Query, after: Key | None
) -> tuple[Select[Any], dict[str, object], bool]:
    """The statement that looks at the fewest, what it is given, and whether it finds what is meant only."""
    at, admission_id = min(after or (MOMENT_MAX, ""), (query.until, ""))
    given: dict[str, object] = {"at": at, "id": admission_id, "since": query.since}
    others = {name for name in ("beginning", "way_in", "verdict", "code") if getattr(query, name) is not None}
    if query.user_id is not None:
        return OF_PERSON, given | {"person": query.user_id}, not others
    if query.beginning is not None:
        person = query.beginning
        if after is not None:
            of_last = tx.execute(PERSON_OF, {"app": app_id, "admission": after[1]}).scalar_one_or_none()
            person = query.beginning if of_last is None else of_last
        behind = {"person": person, "at": after[0] if after else -1, "id": after[1] if after else ""}
        always = (query.since, query.until) == (0, MOMENT_MAX)
        return OF_BEGINNING, behind | {"stop": query.beginning + LAST}, others == {"beginning"} and always
    if query.verdict == "refused" or query.code is not None:
        return REFUSED, given, others == {"verdict"}
    if query.way_in is not None:
        return BY_WAY, given | {"way": query.way_in}, others == {"way_in"}
    return OF_APP, given, not others


def _is_meant(row: Any, query: Query) -> bool:
    """What `query` says of a decision besides the way to it."""
    return (
        query.since <= row.opened_at < query.until
        and (query.beginning is None or row.user_id.startswith(query.beginning))
        and query.way_in in (None, row.way_in)
        and query.verdict in (None, row.verdict or "open")
        and query.code in (None, row.code)
    )
