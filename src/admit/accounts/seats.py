"""Seats: how many production users an app may have, and how many it has, known without counting them.

A seat is held by who is of type prod and not deactivated. A license that has ended keeps its seat: it may be
extended at any moment, and then must not find the seat gone. Whoever writes users tells `move` by how many
the holders have become more or fewer; the number changes in the same transaction, last thing before its
commit, so that its row is held for one statement only.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from sqlalchemy import bindparam, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from admit.accounts.tables import seats, users
from admit.storage.lookups import Lookup
from admit.storage.transaction import Finisher, Overtaken, Transaction

LIMIT_MAX = 1_000_000_000

WhenFull = Literal["refuse", "eval"]

SEATS = Lookup(
    select(seats.c.app_id, seats.c.taken, seats.c.seat_limit, seats.c.when_full, seats.c.recounts),
    (seats.c.app_id,),
)
_NEW = insert(seats).values(
    app_id=bindparam("app"),
    taken=bindparam("more"),
    seat_limit=bindparam("new_limit"),
    when_full=bindparam("new_when_full"),
    recounts=0,
)
MOVE = _NEW.on_conflict_do_update(
    index_elements=["app_id"],
    set_={"taken": seats.c.taken + _NEW.excluded.taken},
    where=or_(
        _NEW.excluded.taken < 0,
        seats.c.seat_limit.is_(None),
        seats.c.taken + _NEW.excluded.taken <= seats.c.seat_limit,
    ),
).returning(seats.c.taken)
SET_LIMIT = _NEW.on_conflict_do_update(
    index_elements=["app_id"],
    set_={"seat_limit": _NEW.excluded.seat_limit, "when_full": _NEW.excluded.when_full},
)
COUNT_PROD = (
    select(func.count()).select_from(users).where(users.c.app_id == bindparam("app"), users.c.type == "prod")
)
COUNT_DEACTIVATED_PROD = COUNT_PROD.where(users.c.deactivated_at.is_not(None))
REPAIR = (
    update(seats)
    .where(seats.c.app_id == bindparam("app"), seats.c.recounts == bindparam("seen_recounts"))
    .values(taken=seats.c.taken + bindparam("drift"), recounts=seats.c.recounts + 1)
)


class Seats(msgspec.Struct, frozen=True, kw_only=True):
    """The seats of one app. `limit` None: as many as come. `when_full`: what becomes of one more newcomer."""

    taken: int = 0
    limit: int | None = None
    when_full: WhenFull = "refuse"
    recounts: int = 0

    def have_room_for(self, more: int) -> bool:
        """Whether `more` users can have one. Giving back is always possible, also above a lowered limit."""
        return more <= 0 or self.limit is None or self.taken + more <= self.limit


class Recount(msgspec.Struct, frozen=True):
    """What a count of the users has shown at one moment: `drift` is what the known number lacks."""

    seats: Seats
    drift: int


def of_apps(tx: Transaction, app_ids: Iterable[str]) -> dict[str, Seats]:
    """The seats of each app as this transaction would leave them. The rows are not locked.

    So they may be gone by the time of the commit, which then fails, and everything is run once more.
    """
    wanted = set(app_ids)
    found = {row.app_id: row for row in SEATS.rows(tx, [(app_id,) for app_id in wanted])}
    moved = _sums(tx.deferred(_MOVE_SEATS))
    return {app_id: _seats_of(found.get(app_id), moved.get(app_id, 0)) for app_id in wanted}


def of_app(tx: Transaction, app_id: str) -> Seats:
    """The seats of one app, as `of_apps` has them."""
    return of_apps(tx, [app_id])[app_id]


def move(tx: Transaction, app_id: str, more: int) -> None:
    """Tells that this transaction makes `more` users hold a seat; fewer where it is negative.

    The caller has asked `of_apps` for room. Where another process was faster, the transaction is undone.
    """
    if more:
        tx.defer(_MOVE_SEATS, (app_id, more))


def set_limit(tx: Transaction, app_id: str, limit: int | None, when_full: WhenFull) -> None:
    """Sets how many seats there are. A limit below what is taken puts nobody out and lets nobody in."""
    tx.execute(SET_LIMIT, {"app": app_id, "more": 0, "new_limit": limit, "new_when_full": when_full})


def recount(tx: Transaction, app_id: str) -> Recount:
    """Counts the users of the app, however many there are. In a `Database.read`, which sees one moment."""
    this = {"app": app_id}
    known = of_app(tx, app_id)
    counted = (
        tx.execute(COUNT_PROD, this).scalar_one() - tx.execute(COUNT_DEACTIVATED_PROD, this).scalar_one()
    )
    return Recount(known, counted - known.taken)


def repair(tx: Transaction, app_id: str, counted: Recount) -> bool:
    """Adds what was missing. False: somebody has repaired it since, so count again.

    The drift of one moment is right at every later one: all that comes after it is told to `move`.
    """
    seen = {"app": app_id, "seen_recounts": counted.seats.recounts, "drift": counted.drift}
    if tx.execute(REPAIR, seen).rowcount == 1:
        return True
    if counted.seats.recounts == 0 and not SEATS.rows(tx, [(app_id,)]):
        set_limit(tx, app_id, None, "refuse")
        return tx.execute(REPAIR, seen).rowcount == 1
    return False


def _seats_of(row: Any, moved: int) -> Seats:
    if row is None:
        return Seats(taken=moved)
    return Seats(
        taken=row.taken + moved, limit=row.seat_limit, when_full=row.when_full, recounts=row.recounts
    )


def _sums(moves: Iterable[tuple[str, int]]) -> dict[str, int]:
    sums: defaultdict[str, int] = defaultdict(int)
    for app_id, more in moves:
        sums[app_id] += more
    return sums


def _move_seats(tx: Transaction, moves: list[tuple[str, int]]) -> None:
    sums = _sums(moves)
    for app_id in sorted(sums):
        if (more := sums[app_id]) == 0:
            continue
        row = {"app": app_id, "more": more, "new_limit": None, "new_when_full": "refuse"}
        if tx.execute(MOVE, row).one_or_none() is None:
            raise Overtaken("The last seats were taken by others.")


_MOVE_SEATS = Finisher(rank=90, run=_move_seats)
