"""Campaigns: work that makes many deliveries for one endpoint, such as what it has missed.

A campaign is a row with a cursor, worked off step by step (`campaign_steps`) by one job after the other.
Whoever starts, continues or ends one locks its endpoint first, so that nothing here happens twice.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import bindparam, delete, insert, select, update

from admit import clock
from admit.accounts.people_walk import Of
from admit.errors import Conflict
from admit.events import log
from admit.jobs import queue
from admit.storage.lookups import Lookup
from admit.storage.transaction import Transaction
from admit.webhooks.tables import campaigns, endpoints

JOB_KIND = "campaign"
CLOCKS_APART_MS = 3_600_000
"""Two servers' clocks are not further apart than this, and no unit waits longer for its commit."""
TYPE_OF: dict[Of, str] = {"user": "user.enrolled", "device": "device.enrolled", "session": "session.started"}
"""What a backfill tells of each row."""

Kind = Literal["catch_up", "replay", "retry", "backfill"]
State = Literal["running", "done", "cancelled"]

_this = (campaigns.c.app_id == bindparam("app"), campaigns.c.campaign_id == bindparam("campaign"))
_of_endpoint = (campaigns.c.app_id == bindparam("app"), campaigns.c.endpoint_id == bindparam("endpoint"))

PLACES = Lookup(
    select(
        endpoints.c.app_id,
        endpoints.c.endpoint_id,
        endpoints.c.state,
        endpoints.c.told_from,
        endpoints.c.caught_up_to,
        endpoints.c.created_at,
    ),
    (endpoints.c.app_id, endpoints.c.endpoint_id),
    lock=True,
)
ADD = insert(campaigns)
FIND = select(campaigns).where(*_this)
RUNNING = (
    select(campaigns).where(*_of_endpoint, campaigns.c.state == "running").order_by(campaigns.c.campaign_id)
)
ADVANCE = (
    update(campaigns)
    .where(*_this)
    .values(
        cursor=bindparam("place"),
        next_at=bindparam("not_before"),
        done=campaigns.c.done + bindparam("made"),
        seen=campaigns.c.seen + bindparam("looked_at"),
        missed=campaigns.c.missed + bindparam("gone"),
        state=bindparam("new_state"),
        finished_at=bindparam("ended"),
    )
)
GO_ON = (
    update(campaigns)
    .where(*_of_endpoint, campaigns.c.campaign_id == bindparam("campaign"))
    .values(turn=campaigns.c.turn + 1, total=bindparam("new_total"))
)
CANCEL = (
    update(campaigns)
    .where(*_this, campaigns.c.state == "running")
    .values(state="cancelled", detail=bindparam("why"), finished_at=bindparam("now"))
)
FORGET = delete(campaigns).where(*_of_endpoint)
_page = select(campaigns, endpoints.c.state.label("endpoint_state")).outerjoin(
    endpoints,
    (endpoints.c.app_id == campaigns.c.app_id) & (endpoints.c.endpoint_id == campaigns.c.endpoint_id),
)
_before = campaigns.c.campaign_id < bindparam("before")
SHOW = _page.where(*_this)
PAGE = (
    _page.where(campaigns.c.app_id == bindparam("app"), _before)
    .order_by(campaigns.c.campaign_id.desc())
    .limit(bindparam("limit"))
)
PAGE_OF_ENDPOINT = (
    _page.where(*_of_endpoint, _before).order_by(campaigns.c.campaign_id.desc()).limit(bindparam("limit"))
)
LAST = "~"
"""Behind all ids."""


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """A campaign; the fields are the columns of the table.

    `total` is how many events or rows there were to look at when it began, None where it was not counted;
    `seen` how many it has looked at, `done` how many deliveries it has made, `missed` how many events it
    wanted to look at that were no longer kept.
    """

    app_id: str
    campaign_id: str
    endpoint_id: str
    kind: Kind
    of: Of | Literal[""]
    since: int
    cursor: str
    until: str
    per_minute: int | None
    next_at: int
    turn: int
    done: int
    seen: int
    total: int | None
    missed: int
    state: State
    detail: str
    created_at: int
    finished_at: int | None


class Shown(msgspec.Struct, frozen=True):
    """A campaign as it stands. `waits`: until its endpoint, which is paused or disabled, is enabled."""

    campaign: Campaign
    waits: bool


class Place(msgspec.Struct, frozen=True):
    """Where an endpoint stands. `told_from`: it is told of what comes behind this position.

    `caught_up_to`: up to where it was told, where it is behind; None: it is live.
    """

    app_id: str
    endpoint_id: str
    state: str
    told_from: int
    caught_up_to: int | None
    created_at: int


class CampaignJob(msgspec.Struct, frozen=True):
    """The payload of a job: it goes on with the campaign while `turn` is the campaign's.

    `idle`: how often in a row there was no room for another delivery.
    """

    campaign_id: str
    endpoint_id: str
    turn: int
    idle: int = 0


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What one step has come to."""

    cursor: str
    made: int
    seen: int
    missed: int = 0
    next_at: int = 0
    finished: bool = False


def start_catch_up(tx: Transaction, app_id: str, endpoint_id: str, now: int) -> None:
    """Tells an endpoint what it has missed, and lets its other campaigns go on that have waited.

    For an endpoint that was just enabled. It is live when it has been told of everything.
    """
    place = lock(tx, app_id, endpoint_id)
    assert place is not None
    reach = log.reach(tx, app_id)
    behind = place.caught_up_to
    at_work = running(tx, app_id, endpoint_id)
    for campaign in at_work:
        total = campaign.total
        if campaign.kind == "catch_up" and behind is not None:
            total = campaign.seen + campaign.missed + reach.position - behind
        tx.execute(
            GO_ON,
            {
                "app": app_id,
                "endpoint": endpoint_id,
                "campaign": campaign.campaign_id,
                "new_total": total,
            },
        )
        task = CampaignJob(campaign.campaign_id, endpoint_id, campaign.turn + 1)
        enqueue(tx, app_id, task, now)
    if behind is not None and not any(each.kind == "catch_up" for each in at_work):
        begin(tx, new(place, "catch_up", now, cursor=str(behind), total=reach.position - behind))


def show(tx: Transaction, app_id: str, campaign_id: str) -> Shown | None:
    """The campaign of this id as it stands."""
    row = tx.execute(SHOW, {"app": app_id, "campaign": campaign_id}).one_or_none()
    return None if row is None else _shown(row)


def page(tx: Transaction, app_id: str, *, endpoint_id: str, before: str, limit: int) -> list[Shown]:
    """The campaigns of an app, or of one endpoint ("": all), older than the id `before`, the newest first."""
    which = {"app": app_id, "before": before or LAST, "limit": limit}
    if endpoint_id:
        return [_shown(row) for row in tx.execute(PAGE_OF_ENDPOINT, which | {"endpoint": endpoint_id})]
    return [_shown(row) for row in tx.execute(PAGE, which)]


def cancel(tx: Transaction, app_id: str, campaign_id: str, now: int) -> Campaign | Conflict | None:
    """Ends a campaign. What it has left to be delivered is delivered. None: there is none of this id.

    An endpoint would never be live again that stopped to catch up: that is not cancelled.
    """
    campaign = find(tx, app_id, campaign_id)
    if campaign is None:
        return None
    lock(tx, app_id, campaign.endpoint_id)
    if campaign.kind == "catch_up":
        return Conflict(
            "An endpoint that does not catch up would never be told of anything again. Pause the endpoint "
            "instead.",
            code="campaign_needed",
        )
    which = {"app": app_id, "campaign": campaign_id}
    tx.execute(CANCEL, which | {"why": "An operator has cancelled it.", "now": now})
    return find(tx, app_id, campaign_id)


def forget(tx: Transaction, app_id: str, endpoint_id: str) -> None:
    """Forgets the campaigns of an endpoint that is removed."""
    tx.execute(FORGET, {"app": app_id, "endpoint": endpoint_id})


def find(tx: Transaction, app_id: str, campaign_id: str) -> Campaign | None:
    """The campaign of this id."""
    row = tx.execute(FIND, {"app": app_id, "campaign": campaign_id}).one_or_none()
    return None if row is None else _campaign(row)


def lock(tx: Transaction, app_id: str, endpoint_id: str) -> Place | None:
    """Where the endpoint stands, which nobody else changes until the commit."""
    rows = PLACES.rows(tx, [(app_id, endpoint_id)])
    return Place(*rows[0]) if rows else None


def advance(tx: Transaction, campaign: Campaign, progress: Progress, now: int) -> None:
    """Writes how far a campaign has come."""
    tx.execute(
        ADVANCE,
        {
            "app": campaign.app_id,
            "campaign": campaign.campaign_id,
            "place": progress.cursor,
            "not_before": progress.next_at,
            "made": progress.made,
            "looked_at": progress.seen,
            "gone": progress.missed,
            "new_state": "done" if progress.finished else "running",
            "ended": now if progress.finished else None,
        },
    )


def enqueue(tx: Transaction, app_id: str, task: CampaignJob, now: int, *, after_ms: int = 0) -> None:
    """Leaves the next step to a worker, not before `after_ms` from now."""
    payload = msgspec.json.encode(task).decode()
    queue.enqueue(tx, app_id=app_id, kind=JOB_KIND, payload=payload, now=now, due_at=now + after_ms)


def key_text(key: Sequence[str | int]) -> str:
    """A key as a cursor keeps it."""
    return msgspec.json.encode(key).decode()


def key_of(text: str) -> tuple[Any, ...]:
    """The key in a cursor."""
    return msgspec.json.decode(text, type=tuple[Any, ...])


def begin(tx: Transaction, campaign: Campaign) -> Campaign:
    """Writes a new campaign and leaves its first step to a worker."""
    note(tx, campaign)
    task = CampaignJob(campaign.campaign_id, campaign.endpoint_id, campaign.turn)
    enqueue(tx, campaign.app_id, task, campaign.created_at)
    return campaign


def note(tx: Transaction, campaign: Campaign) -> Campaign:
    """Writes a campaign that nobody works off."""
    tx.execute(ADD, msgspec.structs.asdict(campaign))
    return campaign


def new(
    place: Place,
    kind: Kind,
    now: int,
    *,
    cursor: str,
    total: int | None,
    of: Of | Literal[""] = "",
    since: int = 0,
    until: str = "",
    per_minute: int | None = None,
    detail: str = "",
) -> Campaign:
    """A campaign for the endpoint that stands at `place`, at its beginning."""
    return Campaign(
        app_id=place.app_id,
        campaign_id=clock.new_id("cmp"),
        endpoint_id=place.endpoint_id,
        kind=kind,
        of=of,
        since=since,
        cursor=cursor,
        until=until,
        per_minute=per_minute,
        next_at=0,
        turn=1,
        done=0,
        seen=0,
        total=total,
        missed=0,
        state="running",
        detail=detail,
        created_at=now,
        finished_at=None,
    )


def running(tx: Transaction, app_id: str, endpoint_id: str) -> list[Campaign]:
    """The campaigns of an endpoint that are not over."""
    return [_campaign(row) for row in tx.execute(RUNNING, {"app": app_id, "endpoint": endpoint_id})]


def _shown(row: Any) -> Shown:
    *values, endpoint_state = row
    campaign = Campaign(**dict(zip(Campaign.__struct_fields__, values, strict=True)))
    return Shown(campaign, waits=campaign.state == "running" and endpoint_state != "enabled")


def _campaign(row: Any) -> Campaign:
    """A campaign for the endpoint that stands at `place`, at its beginning."""
    return Campaign(**row._mapping)
