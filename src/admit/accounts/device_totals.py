"""How many devices of an app were heard of lately: counted now and then, in pieces, and nobody waits for it.

A device says that it is there by every refresh and sync, which is written in batches. To keep a count besides
would make each of these writes dearer; to read them all once in a while costs a little of one reader.
"""

import time
from collections.abc import Callable
from functools import partial

import msgspec
from sqlalchemy import BigInteger, Text, bindparam, case, func, select

from admit.accounts.counting import FIRST_SECONDS_MAX, REST_PER_COUNTING, Countings
from admit.accounts.tables import sessions, users
from admit.clock import DAY_MS, Clock
from admit.storage.database import Database
from admit.storage.transaction import Transaction

GOOD_SECONDS = 30.0
PIECE_USERS = 5_000

_AFTER = bindparam("after", type_=Text)
END_OF_PIECE = (
    select(users.c.uid)
    .where(users.c.app_id == bindparam("app"), users.c.uid > _AFTER)
    .order_by(users.c.uid)
    .offset(bindparam("others", type_=BigInteger))
    .limit(1)
)
_of_piece = (
    select(func.max(sessions.c.connected_at).label("heard"))
    .where(
        sessions.c.app_id == bindparam("app"),
        sessions.c.uid > _AFTER,
        sessions.c.uid <= bindparam("last", type_=Text),
    )
    .group_by(sessions.c.uid, sessions.c.device_id)
    .subquery()
)
COUNT_PIECE = select(
    func.count(case((_of_piece.c.heard >= bindparam("since", type_=BigInteger), 1))).label("number")
)
BEHIND_ALL = "~"

Key = tuple[str, int]
"""An app_id, and how many days back."""


class _Counted(msgspec.Struct, frozen=True):
    devices: int
    good_until: float


class DeviceTotals:
    """The devices that were heard of. What was counted last is told while they are counted anew."""

    def __init__(
        self, db: Database, clock: Clock, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._db = db
        self._clock = clock
        self._monotonic = monotonic
        self._counted: dict[Key, _Counted] = {}
        self._countings = Countings(self._count, what="devices", monotonic=monotonic)

    async def seen(self, app_id: str, days: int) -> int | None:
        """How many devices were heard of in the last `days`; None: they are being counted."""
        key = app_id, days
        counted = self._counted.get(key)
        if counted is None or self._monotonic() >= counted.good_until:
            self._countings.begin(key)
        if counted is None:
            await self._countings.first_moments(key)
            counted = self._counted.get(key)
        return None if counted is None else counted.devices

    async def close(self) -> None:
        """Lets go of what is being counted."""
        await self._countings.close()

    async def _count(self, key: Key) -> int:
        app_id, days = key
        began_at, since = self._monotonic(), self._clock() - days * DAY_MS
        number, after = 0, ""
        while after != BEHIND_ALL:
            piece, after = await self._db.read(partial(_count_piece, app_id=app_id, after=after, since=since))
            number += piece
        ended_at = self._monotonic()
        rest = max(GOOD_SECONDS, REST_PER_COUNTING * (ended_at - began_at))
        # A small app is counted whenever somebody looks: what they have just done is seen at once.
        good_until = ended_at if ended_at - began_at < FIRST_SECONDS_MAX else ended_at + rest
        self._counted[key] = _Counted(number, good_until)
        return number


def _count_piece(tx: Transaction, *, app_id: str, after: str, since: int) -> tuple[int, str]:
    """The devices of the next users behind `after`, and the last of these users."""
    here = {"app": app_id, "after": after}
    end = tx.execute(END_OF_PIECE, {**here, "others": PIECE_USERS - 1}).scalar_one_or_none()
    last = BEHIND_ALL if end is None else end
    return tx.execute(COUNT_PIECE, {**here, "last": last, "since": since}).scalar_one(), last
