"""Hours: what was decided about people at the door in each hour, and how long who was asked has taken.

They are counted in the commit of the decision, once for all that are settled in it, so that an overview
reads a few rows and never the ledger. Whoever settles holds the log of the app by then, so that the rows of
an hour are no hotter than that.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

import msgspec
from sqlalchemy import BigInteger, Integer, bindparam, cast, delete, func, literal, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from admit.clock import DAY_MS, HOUR_MS
from admit.enrollment.tables import admission_hours as hours
from admit.storage.rows import Insertion
from admit.storage.transaction import Finisher, Transaction

KEPT_MS = 400 * DAY_MS
LATENCY = "ms:"
"""Begins the kind of answers that took as long; the upper end of the bucket in milliseconds follows."""
GROWTH = 1.15
"""Each bucket is so much wider than the one before: a median that is told is no further off than that."""
LATENCY_MS_MAX = 60_000

Kind = Literal["eval", "prod", "refused", "unanswered", "fault"]
"""unanswered: refused because whoever was asked had no answer. fault: had no answer, whatever came of it."""


def _bounds() -> tuple[int, ...]:
    bounds: list[int] = []
    bound = 1.0
    while bound < LATENCY_MS_MAX:
        bounds.append(max(round(bound), bounds[-1] + 1 if bounds else 1))
        bound = bounds[-1] * GROWTH
    return (*bounds, LATENCY_MS_MAX)


BOUNDS_MS = _bounds()
"""The upper ends of the buckets; the last one takes whatever is longer."""

_add = insert(hours)
COUNT = Insertion(
    _add.on_conflict_do_update(
        index_elements=["app_id", "hour", "kind"], set_={"number": hours.c.number + _add.excluded.number}
    )
)
_SINCE = (hours.c.app_id == bindparam("app"), hours.c.hour >= bindparam("since"))
_sum = cast(func.sum(hours.c.number), BigInteger).label("number")
_OUTCOMES = hours.c.kind.in_(("eval", "prod", "refused", "unanswered"))
# Written out, so that PostgreSQL sees that what is grouped by is what is selected.
_DAY = literal(DAY_MS, BigInteger, literal_execute=True)
_day = (hours.c.hour - hours.c.hour % _DAY).label("hour")
BY_HOUR = select(hours.c.hour, hours.c.kind, hours.c.number).where(*_SINCE, _OUTCOMES)
BY_DAY = select(_day, hours.c.kind, _sum).where(*_SINCE, _OUTCOMES).group_by(_day, hours.c.kind)
ANSWERS = select(hours.c.hour, hours.c.kind, hours.c.number).where(
    *_SINCE, (hours.c.kind == "fault") | hours.c.kind.startswith(LATENCY)
)
_KEY = (hours.c.app_id, hours.c.hour, hours.c.kind)
_OLD = (
    select(*_KEY)
    .where(hours.c.hour < bindparam("before"))
    .order_by(hours.c.hour)
    .limit(bindparam("most", type_=Integer, literal_execute=True))
)
PRUNE = delete(hours).where(tuple_(*_KEY).in_(_OLD))


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided in the hour or day that began at `at` (UTC ms)."""

    at: int
    admitted_eval: int = 0
    admitted_prod: int = 0
    refused: int = 0
    unanswered: int = 0


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """How whoever was asked has answered in a stretch of time that began at `at` (UTC ms).

    `failed` of `asked` had no answer. The durations are of those that had; None: there were none.
    """

    at: int
    asked: int
    failed: int
    median_ms: int | None
    p99_ms: int | None


class _Counted(msgspec.Struct, frozen=True):
    app_id: str
    at: int
    kinds: tuple[str, ...]


def count(
    tx: Transaction, app_id: str, verdict: Kind, *, asked: bool, fault: bool, latency_ms: int, now: int
) -> None:
    """Counts one settled decision with this transaction."""
    kinds: tuple[str, ...] = (verdict,)
    if fault:
        kinds += ("fault",)
    elif asked:
        kinds += (f"{LATENCY}{_bucket(latency_ms)}",)
    tx.defer(_COUNT, _Counted(app_id, now, kinds))


def decided(tx: Transaction, app_id: str, since: int, *, by_day: bool) -> list[Decided]:
    """The hours or days that saw a decision, the oldest first, from the one in which `since` (UTC ms) is."""
    step = DAY_MS if by_day else HOUR_MS
    found: dict[int, dict[str, int]] = {}
    statement = BY_DAY if by_day else BY_HOUR
    for row in tx.execute(statement, {"app": app_id, "since": since - since % step}):
        found.setdefault(row.hour, {})[row.kind] = row.number
    return [
        Decided(
            at=at,
            admitted_eval=kinds.get("eval", 0),
            admitted_prod=kinds.get("prod", 0),
            refused=kinds.get("refused", 0),
            unanswered=kinds.get("unanswered", 0),
        )
        for at, kinds in sorted(found.items())
    ]


def answered(tx: Transaction, app_id: str, since: int) -> tuple[Answered, list[Answered]]:
    """How whoever was asked has answered from the hour of `since` (UTC ms) on: altogether, and by hours."""
    since -= since % HOUR_MS
    by_hour: dict[int, Counter[str]] = {}
    whole: Counter[str] = Counter()
    for row in tx.execute(ANSWERS, {"app": app_id, "since": since}):
        by_hour.setdefault(row.hour, Counter())[row.kind] += row.number
        whole[row.kind] += row.number
    return _answered(since, whole), [_answered(at, kinds) for at, kinds in sorted(by_hour.items())]


def prune(tx: Transaction, now: int, rows_max: int) -> int:
    """Forgets at most `rows_max` rows of hours long ago; returns how many it were."""
    return tx.execute(PRUNE, {"before": now - KEPT_MS, "most": rows_max}).rowcount


def quantile(buckets: Sequence[tuple[int, int]], share: float) -> int | None:
    """Milliseconds within which `share` of the answers came. `buckets`: upper ends and numbers, in order."""
    totals = list(accumulate(number for _, number in buckets))
    if not totals:
        return None
    return buckets[bisect_left(totals, share * totals[-1])][0]


def _answered(at: int, kinds: Counter[str]) -> Answered:
    failed = kinds["fault"]
    buckets = sorted(
        (int(kind.removeprefix(LATENCY)), number) for kind, number in kinds.items() if kind != "fault"
    )
    return Answered(
        at=at,
        asked=failed + sum(number for _, number in buckets),
        failed=failed,
        median_ms=quantile(buckets, 0.5),
        p99_ms=quantile(buckets, 0.99),
    )


def _bucket(latency_ms: int) -> int:
    return BOUNDS_MS[min(bisect_left(BOUNDS_MS, latency_ms), len(BOUNDS_MS) - 1)]


def _count(tx: Transaction, counted: list[_Counted]) -> None:
    """In the order of the keys: so two processes never wait for each other in a ring."""
    sums: Counter[tuple[str, int, str]] = Counter()
    for each in counted:
        hour = each.at - each.at % HOUR_MS
        for kind in each.kinds:
            sums[each.app_id, hour, kind] += 1
    tx.write(COUNT, [(*key, sums[key]) for key in sorted(sums)])


# Behind the events: whoever counts holds the log of the app already, so nobody waits here who did not there.
_COUNT = Finisher(rank=101, run=_count)
