"""Figures: how an endpoint is doing, in numbers that cost the same however much it was told."""

from collections.abc import Iterable

import msgspec

from admit.clock import DAY_MS
from admit.events import log
from admit.jobs import backlog, hours
from admit.jobs.backlog import COUNTED_MAX as COUNTED_MAX
from admit.jobs.hours import Hour
from admit.storage.transaction import Transaction
from admit.webhooks.endpoints import Standing, kind_of


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How an endpoint is doing. `accepted` and `failed` count the attempts of 24 hours.

    `answer_ms`: how long one took on the average; None: there was none. `waiting`: deliveries that are owed,
    COUNTED_MAX standing for as many or more. `missed`: events that it is told of once it is enabled and has
    caught up. `oldest_at`: when the oldest of either came up (UTC ms); None: it was told of everything.
    `next_at`: when the next delivery may be tried; None: none waits for its time.
    """

    accepted: int = 0
    failed: int = 0
    answer_ms: int | None = None
    waiting: int = 0
    missed: int = 0
    oldest_at: int | None = None
    next_at: int | None = None


def of_endpoint(tx: Transaction, here: Standing, now: int) -> Figures:
    """The figures of one endpoint."""
    seen = hours.of_lane(tx, here.app_id, here.endpoint_id, now - DAY_MS)
    tried = sum(each.accepted + each.failed for each in seen)
    owed = backlog.of_lane(tx, kind_of(here.settings), here.endpoint_id)
    # Where so many have failed once that not all are looked at, the first failure is not later than they are.
    sure = None if owed.sure else here.failing_since
    missed_at, missed = _missed(tx, here)
    known = [each for each in (owed.oldest_at, sure, missed_at) if each is not None]
    return Figures(
        accepted=sum(each.accepted for each in seen),
        failed=sum(each.failed for each in seen),
        answer_ms=round(sum(each.duration_ms for each in seen) / tried) if tried else None,
        waiting=owed.waiting,
        missed=missed,
        oldest_at=min(known, default=None),
        next_at=owed.next_at,
    )


def of_endpoints(tx: Transaction, standings: Iterable[Standing], now: int) -> dict[str, Figures]:
    """The figures of endpoints, by their ids."""
    return {each.endpoint_id: of_endpoint(tx, each, now) for each in standings}


def by_hour(tx: Transaction, app_id: str, endpoint_id: str, since: int) -> list[Hour]:
    """The attempts of an endpoint in each hour since a time (UTC ms), those in which there were some."""
    return hours.of_lane(tx, app_id, endpoint_id, since)


def _missed(tx: Transaction, here: Standing) -> tuple[int | None, int]:
    """When the first event happened that an endpoint which is behind was not told of, and how many there are.

    Not all of them need be what it wants to know.
    """
    if here.caught_up_to is None:
        return None, 0
    count = log.reach(tx, here.app_id).position - here.caught_up_to
    first = log.after(tx, here.app_id, here.caught_up_to, 1, lean=True)
    return (first[0].occurred_at if first else None), count
