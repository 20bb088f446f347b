"""Seats: how many production users an app may have, and how many it has, known without counting them.

A seat is held by who is of type prod and not deactivated. A license that has ended keeps its seat: it may be
extended at any moment, and then must not find the seat gone. Each seat counts twice: for the whole app, and
for the way in by which its holder first came. Whoever writes users tells `move` by how many the holders have
become more or fewer; both numbers change in the same transaction, last thing before its commit, so that
their rows are held for one statement only.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec
from msgspec.structs import replace
from sqlalchemy import bindparam, func, literal_column, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from admit.accounts.tables import seats, users
from admit.storage.lookups import Lookup
from admit.storage.rows import Insertion
from admit.storage.transaction import Finisher, Overtaken, Transaction

LIMIT_MAX = 1_000_000_000

WHOLE_APP = ""
"""In the place of a way in: the seats of all of them together."""

Key = tuple[str, str]
"""An app_id, and a way in or WHOLE_APP."""

WhenFull = Literal["refuse", "eval"]

_CHOSEN = select(
    seats.c.app_id, seats.c.way_in, seats.c.taken, seats.c.seat_limit, seats.c.when_full, seats.c.recounts
)
SEATS = Lookup(_CHOSEN, (seats.c.app_id, seats.c.way_in))
SEATS_OF_APP = _CHOSEN.where(seats.c.app_id == bindparam("app")).order_by(seats.c.way_in)
_NEW = insert(seats)
MOVE = Insertion(
    _NEW.on_conflict_do_update(
        index_elements=["app_id", "way_in"],
        set_={"taken": seats.c.taken + _NEW.excluded.taken},
        where=or_(
            _NEW.excluded.taken < literal_column("0"),
            seats.c.seat_limit.is_(None),
            seats.c.taken + _NEW.excluded.taken <= seats.c.seat_limit,
        ),
    )
)
SET_LIMIT = Insertion(
    _NEW.on_conflict_do_update(
        index_elements=["app_id", "way_in"],
        set_={"seat_limit": _NEW.excluded.seat_limit, "when_full": _NEW.excluded.when_full},
    )
)
COUNT_PROD = (
    select(func.count()).select_from(users).where(users.c.app_id == bindparam("app"), users.c.type == "prod")
)
COUNT_DEACTIVATED_PROD = COUNT_PROD.where(users.c.deactivated_at.is_not(None))
_CAME_BY = users.c.way_in == bindparam("way")
COUNT_PROD_OF_WAY = COUNT_PROD.where(_CAME_BY)
COUNT_DEACTIVATED_PROD_OF_WAY = COUNT_DEACTIVATED_PROD.where(_CAME_BY)
REPAIR = (
    update(seats)
    .where(
        seats.c.app_id == bindparam("app"),
        seats.c.way_in == bindparam("way"),
        seats.c.recounts == bindparam("seen_recounts"),
    )
    .values(taken=seats.c.taken + bindparam("drift"), recounts=seats.c.recounts + 1)
)


class Seats(msgspec.Struct, frozen=True, kw_only=True):
    """The seats of one app, or of those who first came to it by `way_in`.

    `limit` None: as many as come. `when_full`: what becomes of one more newcomer.
    """

    way_in: str = WHOLE_APP
    taken: int = 0
    limit: int | None = None
    when_full: WhenFull = "refuse"
    recounts: int = 0

    def have_room_for(self, more: int) -> bool:
        """Whether `more` users can have one. Giving back is always possible, also above a lowered limit."""
        return more <= 0 or self.limit is None or self.taken + more <= self.limit

    @property
    def all_taken(self) -> str:
        """That there is none left, in a sentence for operators."""
        whose = "of the app" if self.way_in == WHOLE_APP else f"for {self.way_in}"
        return f"All {self.limit} seats {whose} are taken."


class Left:
    """The seats of apps and ways in while one transaction hands them out, one after the other."""

    def __init__(self, found: Mapping[Key, Seats]) -> None:
        self._seats = dict(found)

    def of(self, app_id: str, way_in: str) -> tuple[Seats, Seats]:
        """The seats that somebody who comes by `way_in` needs one of: the app's and the way's."""
        return self._seats[app_id, WHOLE_APP], self._seats[app_id, way_in]

    def take(self, app_id: str, way_in: str, more: int) -> None:
        """Hands out `more` seats of each, or takes them back."""
        for key in ((app_id, WHOLE_APP), (app_id, way_in)):
            self._seats[key] = replace(self._seats[key], taken=self._seats[key].taken + more)


class Recount(msgspec.Struct, frozen=True):
    """What a count of the users has shown at one moment: `drift` is what the known number lacks."""

    seats: Seats
    drift: int


def left_for(tx: Transaction, ways: Iterable[Key]) -> Left:
    """The seats of each app and way in as this transaction would leave them. The rows are not locked.

    So they may be gone by the time of the commit, which then fails, and everything is run once more.
    """
    asked = set(ways)
    wanted = asked | {(app_id, WHOLE_APP) for app_id, _ in asked}
    found = {(row.app_id, row.way_in): row for row in SEATS.rows(tx, wanted)}
    moved = _sums(tx.deferred(_MOVE_SEATS))
    return Left({key: _seats_of(found.get(key), key[1], moved.get(key, 0)) for key in wanted})


def of_app(tx: Transaction, app_id: str, way_in: str = WHOLE_APP) -> Seats:
    """The seats of one app, or of one way into it, as `left_for` has them."""
    return left_for(tx, [(app_id, way_in)]).of(app_id, way_in)[1]


def ways_of_app(tx: Transaction, app_id: str) -> list[Seats]:
    """The seats of each way in that somebody has come by or that has a limit, in the order of their names."""
    rows = tx.execute(SEATS_OF_APP, {"app": app_id})
    return [_seats_of(row, row.way_in, 0) for row in rows if row.way_in != WHOLE_APP]


def move(tx: Transaction, app_id: str, way_in: str, more: int) -> None:
    """Tells that this transaction makes `more` users who came by `way_in` hold a seat; fewer if negative.

    The caller has asked `left_for` for room. Where another process was faster, the transaction is undone.
    """
    if more:
        tx.defer(_MOVE_SEATS, (app_id, way_in, more))


def set_limit(
    tx: Transaction, app_id: str, limit: int | None, when_full: WhenFull, *, way_in: str = WHOLE_APP
) -> None:
    """Sets how many seats there are. A limit below what is taken puts nobody out and lets nobody in."""
    tx.write(SET_LIMIT, [(app_id, way_in, 0, limit, when_full, 0)])


def recount(tx: Transaction, app_id: str, way_in: str = WHOLE_APP) -> Recount:
    """Counts the users of the app, however many there are. In a `Database.read`, which sees one moment."""
    this = {"app": app_id}
    known = of_app(tx, app_id, way_in)
    prod, deactivated = COUNT_PROD, COUNT_DEACTIVATED_PROD
    if way_in != WHOLE_APP:
        this["way"] = way_in
        prod, deactivated = COUNT_PROD_OF_WAY, COUNT_DEACTIVATED_PROD_OF_WAY
    counted = tx.execute(prod, this).scalar_one() - tx.execute(deactivated, this).scalar_one()
    return Recount(known, counted - known.taken)


def repair(tx: Transaction, app_id: str, counted: Recount) -> bool:
    """Adds what was missing. False: somebody has repaired it since, so count again.

    The drift of one moment is right at every later one: all that comes after it is told to `move`.
    """
    way_in = counted.seats.way_in
    seen = {
        "app": app_id,
        "way": way_in,
        "seen_recounts": counted.seats.recounts,
        "drift": counted.drift,
    }
    if tx.execute(REPAIR, seen).rowcount == 1:
        return True
    if counted.seats.recounts == 0 and not SEATS.rows(tx, [(app_id, way_in)]):
        set_limit(tx, app_id, None, "refuse", way_in=way_in)
        return tx.execute(REPAIR, seen).rowcount == 1
    return False


def _seats_of(row: Any, way_in: str, moved: int) -> Seats:
    if row is None:
        return Seats(way_in=way_in, taken=moved)
    return Seats(
        way_in=way_in,
        taken=row.taken + moved,
        limit=row.seat_limit,
        when_full=row.when_full,
        recounts=row.recounts,
    )


def _sums(moves: Iterable[tuple[str, str, int]]) -> dict[Key, int]:
    sums: defaultdict[Key, int] = defaultdict(int)
    for app_id, way_in, more in moves:
        sums[app_id, WHOLE_APP] += more
        sums[app_id, way_in] += more
    return sums


def _move_seats(tx: Transaction, moves: list[tuple[str, str, int]]) -> None:
    """In the order of their keys: so two processes never wait for each other."""
    rows = [(*key, more, None, "refuse", 0) for key, more in sorted(_sums(moves).items()) if more]
    if tx.count_written(MOVE, rows) < len(rows):
        raise Overtaken("The last seats were taken by others.")


_MOVE_SEATS = Finisher(rank=90, run=_move_seats)
