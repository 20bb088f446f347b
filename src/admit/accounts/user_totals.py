"""How many users an app has, for lists: exact where they are few, counted now and then where they are not."""

import asyncio
import time
from collections.abc import Callable
from functools import partial

import msgspec
from sqlalchemy import BigInteger, Text, bindparam, func, select

from admit.accounts.counting import REST_PER_COUNTING, Countings
from admit.accounts.tables import users
from admit.storage.database import Database
from admit.storage.transaction import Transaction

EXACT_MAX = 10_000
GOOD_SECONDS = 10.0
PIECE_ROWS = 200_000

_of_app = users.c.app_id == bindparam("app", type_=Text)
_few = select(users.c.uid).where(_of_app).limit(bindparam("few", type_=BigInteger)).subquery()
_piece = (
    select(users.c.uid)
    .where(_of_app, users.c.uid > bindparam("after", type_=Text))
    .order_by(users.c.uid)
    .limit(bindparam("most", type_=BigInteger))
    .subquery()
)
COUNT_FEW = select(func.count()).select_from(_few)
COUNT_PIECE = select(func.count().label("number"), func.max(_piece.c.uid).label("last"))
COUNT_LOCKED = select(func.count()).select_from(users).where(_of_app, users.c.locked_at.is_not(None))


class Total(msgspec.Struct, frozen=True):
    """How many users there are, and how many of them are locked."""

    users: int
    locked: int

    def of(self, locked: bool | None) -> int:
        """How many pass the filter `locked`; None: all."""
        if locked is None:
            return self.users
        return self.locked if locked else max(0, self.users - self.locked)


class _Counted(msgspec.Struct, frozen=True):
    total: Total
    good_until: float


class UserTotals:
    """The totals of apps. Up to EXACT_MAX users are counted for whoever asks.

    More are counted once for all who ask, in pieces, at most every GOOD_SECONDS; meanwhile what was counted
    last is told, so that nobody waits for long but the first.
    """

    def __init__(self, db: Database, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._monotonic = monotonic
        self._counted: dict[str, _Counted] = {}
        self._countings = Countings(self._count, what="users", monotonic=monotonic)

    async def of(self, app_id: str) -> Total:
        """The totals of the app. Raises StorageUnavailable where nothing is known yet."""
        known = await self._known(app_id)
        return await asyncio.shield(self._countings.begin(app_id)) if known is None else known

    async def soon(self, app_id: str) -> Total | None:
        """The totals of the app; None: they are being counted for the first time."""
        known = await self._known(app_id)
        if known is not None:
            return known
        await self._countings.first_moments(app_id)
        counted = self._counted.get(app_id)
        return None if counted is None else counted.total

    async def close(self) -> None:
        """Lets go of what is being counted."""
        await self._countings.close()

    async def _known(self, app_id: str) -> Total | None:
        """What needs no counting, or was counted last."""
        if app_id not in self._counted:
            few = await self._db.read(partial(_count_few, app_id=app_id))
            if few is not None:
                return few
        # Somebody else may have counted while this one looked.
        counted = self._counted.get(app_id)
        if counted is None:
            return None
        if self._monotonic() >= counted.good_until:
            self._countings.begin(app_id)
        return counted.total

    async def _count(self, app_id: str) -> Total:
        began_at = self._monotonic()
        number, after = 0, ""
        while True:
            piece, last = await self._db.read(partial(_count_piece, app_id=app_id, after=after))
            number, after = number + piece, last
            if piece < PIECE_ROWS:
                break
        total = Total(number, await self._db.read(partial(_count_locked, app_id=app_id)))
        ended_at = self._monotonic()
        rest = max(GOOD_SECONDS, REST_PER_COUNTING * (ended_at - began_at))
        if number > EXACT_MAX:
            self._counted[app_id] = _Counted(total, ended_at + rest)
        else:
            self._counted.pop(app_id, None)
        return total


def _count_few(tx: Transaction, *, app_id: str) -> Total | None:
    number = tx.execute(COUNT_FEW, {"app": app_id, "few": EXACT_MAX + 1}).scalar_one()
    return None if number > EXACT_MAX else Total(number, _count_locked(tx, app_id=app_id))


def _count_piece(tx: Transaction, *, app_id: str, after: str) -> tuple[int, str]:
    row = tx.execute(COUNT_PIECE, {"app": app_id, "after": after, "most": PIECE_ROWS}).one()
    return row.number, row.last or after


def _count_locked(tx: Transaction, *, app_id: str) -> int:
    return int(tx.execute(COUNT_LOCKED, {"app": app_id}).scalar_one())
