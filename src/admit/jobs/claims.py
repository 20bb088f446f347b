"""Claims: workers take due jobs out of a lane for a time, the longest due first."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import (
    ColumnElement,
    Integer,
    ScalarSelect,
    Update,
    and_,
    bindparam,
    case,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)

from admit.jobs import lanes
from admit.jobs.lanes import Limits, Terms
from admit.jobs.order import BLOCKED_MS
from admit.jobs.queue import Job
from admit.jobs.tables import jobs
from admit.jobs.tables import lanes as lanes_table
from admit.storage.direct import Asked, written_out
from admit.storage.transaction import Transaction

DUES_PAGE = 500
POSTPONED_AT_ONCE = 500

# Written into the statement, so that PostgreSQL plans for few rows also when it no longer looks at values.
_MOST = bindparam("most", type_=Integer, literal_execute=True)
_OF_LANE = (
    jobs.c.finished_at.is_(None),
    jobs.c.kind == bindparam("of_kind"),
    jobs.c.lane == bindparam("of_lane"),
)
# Expressions have no statistics. By those of the columns, which may be old, PostgreSQL can take it that
# hardly any will do, and then reads and sorts the whole table rather than begin with the longest due.
_STATE = jobs.c.state.concat("")
_TRIED_AT = jobs.c.tried_at + literal_column("0")


def _claim(most: int, *which: ColumnElement[bool]) -> Update:
    """Claims `most` of a lane, the longest due first.

    That number stands in the text, so that PostgreSQL plans for few rows.
    """
    # As a CTE it is evaluated once: inside of IN, PostgreSQL may run it again and claim more than the limit.
    # FOR UPDATE SKIP LOCKED is for PostgreSQL, where other processes claim at the same time; SQLite, which
    # has one writer, has no such words, and SQLAlchemy leaves them out.
    chosen = (
        select(jobs.c.app_id, jobs.c.job_id)
        .where(*_OF_LANE, jobs.c.again == bindparam("tried"), *which)
        .order_by(jobs.c.due_at)
        .limit(written_out(most))
        .with_for_update(skip_locked=True)
        .cte("chosen")
    )
    return (
        update(jobs)
        .where(jobs.c.app_id == chosen.c.app_id, jobs.c.job_id == chosen.c.job_id)
        .values(
            state="claimed",
            due_at=bindparam("lease_until"),
            again=literal_column("1"),
            attempts=jobs.c.attempts + literal_column("1"),
            fence=jobs.c.fence + literal_column("1"),
            out_of_order=case((jobs.c.state == "blocked", "yes"), else_=jobs.c.out_of_order),
        )
        .returning(
            jobs.c.app_id,
            jobs.c.job_id,
            jobs.c.kind,
            jobs.c.lane,
            jobs.c.subject,
            jobs.c.sequence,
            jobs.c.payload,
            jobs.c.attempts,
            jobs.c.fence,
            jobs.c.out_of_order,
            jobs.c.due_at,
            jobs.c.created_at,
            jobs.c.earlier,
        )
    )


_OUT_OF_ORDER = Job.__struct_fields__.index("out_of_order")


@cache
def claim_due(most: int) -> Update:
    """Claims what is due."""
    return _claim(most, jobs.c.due_at <= bindparam("now"))


@cache
def claim_in_order(most: int) -> Update:
    """Claims what is due and waits for nothing earlier."""
    return _claim(most, jobs.c.due_at <= bindparam("now"), _STATE != "blocked")


@cache
def claim_early(most: int) -> Update:
    """Claims what is due, and what failed long enough ago."""
    failed_long_ago = and_(_STATE != "claimed", bindparam("failed_before") > _TRIED_AT)
    return _claim(most, _STATE != "blocked", or_(jobs.c.due_at <= bindparam("now"), failed_long_ago))


_WOULD_PASS = (
    select(jobs.c.app_id, jobs.c.job_id)
    .where(
        *_OF_LANE,
        jobs.c.again == 0,
        jobs.c.due_at <= bindparam("now"),
        jobs.c.state == "blocked",
    )
    .order_by(jobs.c.due_at)
    .limit(_MOST)
)
POSTPONE = (
    update(jobs)
    .where(tuple_(jobs.c.app_id, jobs.c.job_id).in_(_WOULD_PASS), jobs.c.state == "blocked")
    .values(due_at=bindparam("later"))
)


def _first_due(tried: int) -> ScalarSelect[int]:
    """When the first job of a row of `lanes` is due."""
    return (
        select(jobs.c.due_at)
        .where(
            jobs.c.finished_at.is_(None),
            jobs.c.kind == lanes_table.c.kind,
            jobs.c.lane == lanes_table.c.lane,
            jobs.c.again == tried,
        )
        .order_by(jobs.c.due_at)
        .limit(literal_column("1"))
        .scalar_subquery()
    )


NEXT_DUE = (
    select(jobs.c.due_at)
    .where(*_OF_LANE, jobs.c.again == bindparam("tried"))
    .order_by(jobs.c.due_at)
    .limit(literal_column("1"))
)

DUES = (
    select(
        lanes_table.c.lane,
        _first_due(0).label("fresh"),
        _first_due(1).label("tried"),
    )
    .where(lanes_table.c.kind == bindparam("of_kind"), lanes_table.c.lane > bindparam("after"))
    .order_by(lanes_table.c.lane)
    .limit(_MOST)
)

_ABANDONED = (
    select(jobs.c.app_id, jobs.c.job_id)
    .where(
        jobs.c.finished_at.is_(None),
        jobs.c.state == "claimed",
        jobs.c.due_at > bindparam("now"),
    )
    .limit(_MOST)
)
RELEASE_ABANDONED = (
    update(jobs).where(tuple_(jobs.c.app_id, jobs.c.job_id).in_(_ABANDONED)).values(due_at=bindparam("now"))
)


class Wanted(msgspec.Struct, frozen=True):
    """How many jobs of one lane a worker can begin now, fresh ones or those tried before, and for how long it
    needs each.

    `busy` are at work in it already. `failed_before`: also those that should wait longer, where they failed
    before then (UTC ms). `in_order`: whoever waited too long for an earlier one waits on, because it is the
    lane that is slow.
    """

    kind: str
    lane: str
    tried: bool
    most: int
    lease_ms: int
    busy: int = 0
    failed_before: int | None = None
    in_order: bool = False


class Claimed(msgspec.Struct, frozen=True):
    """What came of one of the Wanted. `next_due`: when to ask again (UTC ms); None: not before a signal.

    `closed`: whatever waits, nothing may begin. `at_once_max` is the lane's own limit, None without one.
    """

    jobs: list[Job]
    next_due: int | None
    closed: bool = False
    at_once_max: int | None = None


def next_due(tx: Transaction, kind: str, lane: str, *, tried: bool) -> int | None:
    """When the next job of the lane is due, or a lease in it ends; None when there are no jobs."""
    which = {"of_kind": kind, "of_lane": lane, "tried": int(tried)}
    due: int | None = tx.execute(NEXT_DUE, which).scalar_one_or_none()
    return due


def dues(tx: Transaction, kind: str, after: str) -> list[tuple[str, int | None, int | None]]:
    """The next lanes of a kind behind `after`, DUES_PAGE at most, each with when its first fresh job is due,
    and its first that was tried before."""
    rows = tx.execute(DUES, {"of_kind": kind, "after": after, "most": DUES_PAGE})
    return [(row.lane, row.fresh, row.tried) for row in rows]


def claim(tx: Transaction, wanted: Sequence[Wanted], worker: str, now: int) -> list[Claimed]:
    """Claims due jobs, the longest due of each lane first, among them those whose lease has ended. List form.

    Nothing is claimed in a lane that is closed, or that another worker holds because it has limits.
    """
    terms = lanes.terms_of(tx, [each.lane for each in wanted if each.lane], worker, now)
    claimed: dict[int, Claimed] = {}
    for places in _rounds(wanted, terms):
        orders = [_order(wanted[place], terms.get(wanted[place].lane)) for place in places]
        taken = _take_each(tx, [each for each in orders if isinstance(each, _Order)], now)
        for place, each in zip(places, orders, strict=True):
            claimed[place] = next(taken) if isinstance(each, _Order) else each
    lanes.keep(tx, terms.values())
    return [claimed[place] for place in range(len(wanted))]


def _rounds(wanted: Sequence[Wanted], terms: Mapping[str, Terms]) -> Iterator[list[int]]:
    """The places of `wanted`, nearly always all at once. What the first of a lane with limits begins takes
    from the room of the next one, which therefore waits for it."""
    left = list(range(len(wanted)))
    while left:
        limited, together, later = set[str](), list[int](), list[int]()
        for place in left:
            lane = wanted[place].lane
            (later if lane in limited else together).append(place)
            if lane in terms and terms[lane].limits != Limits():
                limited.add(lane)
        yield together
        left = later


class _Order(msgspec.Struct, frozen=True):
    """To claim `most` of a lane, on its terms if it has any."""

    wanted: Wanted
    most: int
    terms: Terms | None

    @property
    def postpones(self) -> bool:
        """Whether those who may pass an earlier one are told to wait on."""
        return self.wanted.in_order and not self.wanted.tried


def _order(wanted: Wanted, terms: Terms | None) -> _Order | Claimed:
    """What to claim, or what to answer where nothing may begin."""
    if terms is None:
        return _Order(wanted, wanted.most, None)
    most = min(wanted.most, terms.room(wanted.busy))
    if most <= 0:
        return Claimed([], terms.ask_again_at, terms.closed, terms.limits.at_once_max)
    return _Order(wanted if terms.may_pass else replace(wanted, in_order=True), most, terms)


def _take_each(tx: Transaction, orders: Sequence[_Order], now: int) -> Iterator[Claimed]:
    """Claims of every lane, then looks when the next jobs are due of those that gave less than was asked."""
    for each in orders:
        if each.postpones:
            later = {"later": now + BLOCKED_MS, "most": POSTPONED_AT_ONCE}
            tx.execute(POSTPONE, _place(each.wanted) | {"now": now} | later)
    taken = tx.rows_of_each([_claim_of(each, now) for each in orders])
    short = [each for each, rows in zip(orders, taken, strict=True) if len(rows) < each.most]
    dues = iter(tx.rows_of_each([(NEXT_DUE, _place(each.wanted)) for each in short]))
    for each, rows in zip(orders, taken, strict=True):
        next_due = now if len(rows) == each.most else next((due for (due,) in next(dues)), None)
        if each.terms is not None:
            each.terms.begin(len(rows))
        at_once_max = None if each.terms is None else each.terms.limits.at_once_max
        yield Claimed([_job(row) for row in rows], next_due, at_once_max=at_once_max)


def _claim_of(order: _Order, now: int) -> Asked:
    wanted = order.wanted
    values = _place(wanted) | {"now": now, "lease_until": now + wanted.lease_ms}
    if order.postpones:
        return claim_in_order(order.most), values
    if wanted.failed_before is None:
        return claim_due(order.most), values
    return claim_early(order.most), values | {"failed_before": wanted.failed_before}


def _place(wanted: Wanted) -> dict[str, str | int]:
    return {"of_kind": wanted.kind, "of_lane": wanted.lane, "tried": int(wanted.tried)}


def release_abandoned(tx: Transaction, now: int, most: int) -> int:
    """Ends all leases. Only for a process that knows that no other is at work; returns how many ended."""
    return tx.execute(RELEASE_ABANDONED, {"now": now, "most": most}).rowcount


def _job(row: Any) -> Job:
    """The job in a row of a claim, which has the fields of Job in their order."""
    values = list(row)
    values[_OUT_OF_ORDER] = values[_OUT_OF_ORDER] == "yes"
    return Job(*values)
