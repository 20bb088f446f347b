"""How campaigns begin that an operator asks for: replays, retries and backfills.

Each is refused where it would send what another one is sending.
"""

from msgspec.structs import replace
from sqlalchemy import bindparam, func, select

from admit.accounts.people_walk import Of
from admit.errors import Conflict, InvalidRequest
from admit.events import log, subscriptions
from admit.events.log import Reach
from admit.events.subscriptions import Audience, Subscription
from admit.jobs.tables import jobs
from admit.storage.transaction import Transaction
from admit.webhooks import campaigns, change_hooks
from admit.webhooks.campaigns import CLOCKS_APART_MS, TYPE_OF, Campaign, Kind, Place
from admit.webhooks.tables import campaigns as rows

COUNTED_MAX = 50_000
_TOO_LATE = "It began with the first event that is kept: what happened before that cannot be told any more."
_NOTHING_FAILED = "Nothing was given up since then."

_RIVALS: dict[Kind, frozenset[Kind]] = {
    "catch_up": frozenset({"catch_up"}),
    "replay": frozenset({"replay", "retry"}),
    "retry": frozenset({"replay", "retry"}),
    "backfill": frozenset({"backfill"}),
}
"""Of which no other may run while one runs: they would send the same event at the same time."""

LAST_BACKFILL = (
    select(rows.c.cursor)
    .where(
        rows.c.app_id == bindparam("app"),
        rows.c.endpoint_id == bindparam("endpoint"),
        rows.c.kind == "backfill",
        rows.c.of == bindparam("rows"),
    )
    .order_by(rows.c.campaign_id.desc())
    .limit(1)
)
HAPPENED_AT = select(log.events.c.occurred_at).where(
    log.events.c.app_id == bindparam("app"), log.events.c.position == bindparam("position")
)
FAILED_SINCE = (
    select(jobs.c.failed_at)
    .where(
        jobs.c.app_id == bindparam("app"),
        jobs.c.lane == bindparam("endpoint"),
        jobs.c.failed_at.is_not(None),
        jobs.c.failed_at >= bindparam("since"),
    )
    .limit(COUNTED_MAX + 1)
)
COUNT_FAILED_SINCE = select(func.count()).select_from(FAILED_SINCE.subquery())


def start_replay(
    tx: Transaction,
    app_id: str,
    endpoint_id: str,
    *,
    since: int | None,
    after: int | None,
    per_minute: int | None,
    now: int,
) -> Campaign | Conflict | None:
    """Tells an endpoint once more what it wants to know: what happened since a time (UTC ms), or behind the
    position `after`. None: there is no such endpoint.

    What an endpoint that is behind has not been told yet is left to its catching up.
    """
    place = campaigns.lock(tx, app_id, endpoint_id)
    if place is None:
        return None
    if (refusal := _rival(tx, place, "replay")) is not None:
        return refusal
    reach = log.reach(tx, app_id)
    until = reach.position if place.caught_up_to is None else place.caught_up_to
    begin = _position_before(tx, app_id, reach, since) if since is not None else (after or 0)
    begin = min(begin, until)
    too_late = since is not None and 0 < begin == reach.forgotten
    if change_hooks.told_until(tx, app_id, endpoint_id) is not None:
        change_hooks.rewind(tx, app_id, endpoint_id, begin, now)
        return _rewound(tx, place, "replay", begin, since=since or 0, per_minute=per_minute, now=now)
    return campaigns.begin(
        tx,
        campaigns.new(
            place,
            "replay",
            now,
            since=since or 0,
            cursor=str(begin),
            until=str(until),
            per_minute=per_minute,
            total=until - begin,
            detail=_TOO_LATE if too_late else "",
        ),
    )


def start_retry(
    tx: Transaction, app_id: str, endpoint_id: str, *, since: int, per_minute: int | None, now: int
) -> Campaign | Conflict | None:
    """Tries all deliveries once more that have failed for good since a time (UTC ms).

    None: there is no such endpoint.
    """
    place = campaigns.lock(tx, app_id, endpoint_id)
    if place is None:
        return None
    if (refusal := _rival(tx, place, "retry")) is not None:
        return refusal
    if change_hooks.told_until(tx, app_id, endpoint_id) is not None:
        begin = change_hooks.rewind_to_failed(tx, app_id, endpoint_id, since, now)
        return _rewound(tx, place, "retry", begin, since=since, per_minute=per_minute, now=now)
    counted: int = tx.execute(
        COUNT_FAILED_SINCE, {"app": app_id, "endpoint": endpoint_id, "since": since}
    ).scalar_one()
    return campaigns.begin(
        tx,
        campaigns.new(
            place,
            "retry",
            now,
            since=since,
            cursor=campaigns.key_text((since, "")),
            until=str(now),
            per_minute=per_minute,
            total=counted if counted <= COUNTED_MAX else None,
        ),
    )


def start_backfill(
    tx: Transaction,
    app_id: str,
    endpoint_id: str,
    *,
    of: Of,
    total: int,
    per_minute: int | None,
    now: int,
) -> Campaign | Conflict | None:
    """Tells an endpoint of everybody who lived here before it was made, their devices or their sessions.

    It goes on where the last one of the same rows has ended, so that nobody is told of twice. `total`: how
    many rows there are. None: there is no such endpoint.
    """
    place = campaigns.lock(tx, app_id, endpoint_id)
    if place is None:
        return None
    subscription = subscriptions.find(tx, app_id, endpoint_id)
    if subscription is None:
        return None
    if (refusal := _rival(tx, place, "backfill") or _deaf(subscription, of)) is not None:
        return refusal
    which = {"app": app_id, "endpoint": endpoint_id, "rows": of}
    former: str | None = tx.execute(LAST_BACKFILL, which).scalar_one_or_none()
    return campaigns.begin(
        tx,
        campaigns.new(
            place,
            "backfill",
            now,
            of=of,
            cursor=former or campaigns.key_text(()),
            per_minute=per_minute,
            total=total,
        ),
    )


def _rewound(
    tx: Transaction,
    place: Place,
    kind: Kind,
    begin: int | None,
    *,
    since: int,
    per_minute: int | None,
    now: int,
) -> Campaign:
    """A campaign that is over as it begins: a change hook goes on at an earlier place, in order, itself."""
    if per_minute is not None:
        raise InvalidRequest("A change hook is told at its own rate: choose per_minute for the endpoint.")
    detail = (
        _NOTHING_FAILED if begin is None else f"It is told again of all behind position {begin}, in order."
    )
    new = campaigns.new(place, kind, now, cursor=str(begin or 0), total=0, since=since, detail=detail)
    return campaigns.note(tx, replace(new, state="done", finished_at=now))


def _rival(tx: Transaction, place: Place, kind: Kind) -> Conflict | None:
    for each in campaigns.running(tx, place.app_id, place.endpoint_id):
        if each.kind in _RIVALS[kind]:
            return Conflict(
                f"A {each.kind} for this endpoint is still running, {each.campaign_id}. Wait for its end, or "
                "cancel it.",
                code="campaign_running",
            )
    return None


def _deaf(subscription: Subscription, of: Of) -> Conflict | None:
    """Why an endpoint would be told nothing by a backfill, where that is plain from the beginning."""
    type_ = TYPE_OF[of]
    if not Audience([subscription]).of(type_):
        return Conflict(
            f"This endpoint is not told of {type_}, which is what a backfill of every {of} tells.",
            code="backfill_not_wanted",
        )
    if subscription.filter.methods:
        return Conflict(
            "This endpoint asks for certain sign-in methods, and nobody knows any more by which method "
            "somebody came in who has been here for long. Take methods out of its filter for the backfill.",
            code="backfill_not_wanted",
        )
    return None


def _position_before(tx: Transaction, app_id: str, reach: Reach, since: int) -> int:
    """A position behind which everything lies that happened since then; perhaps more."""
    low, high = reach.forgotten, reach.position
    while low < high:
        middle = (low + high) // 2 + 1
        happened_at = tx.execute(HAPPENED_AT, {"app": app_id, "position": middle}).scalar_one_or_none()
        if happened_at is None or happened_at < since - CLOCKS_APART_MS:
            low = middle
        else:
            high = middle - 1
    return low
