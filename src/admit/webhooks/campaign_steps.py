"""The steps of campaigns: each reads a little, leaves some deliveries and notes how far it has come.

A step is one unit, all of it or nothing, so that a campaign goes on after a crash as if there had been none.
"""

from collections.abc import Sequence
from typing import assert_never

import msgspec
from msgspec.structs import replace
from sqlalchemy import bindparam, or_, select, update

from admit import clock
from admit.accounts import people_walk, users
from admit.events import log, subscriptions
from admit.events.catalog import UserDeleted
from admit.events.data_facts import DataChanged
from admit.events.log import Recorded
from admit.events.object_facts import ObjectReady, ObjectUpdated
from admit.events.subscriptions import Audience, Fact, Subscription
from admit.jobs import queue, revival
from admit.jobs.revival import Revival
from admit.jobs.tables import jobs
from admit.storage.transaction import Transaction
from admit.webhooks import backfill, campaigns, deliveries
from admit.webhooks.campaigns import Campaign, CampaignJob, Place, Progress, key_of, key_text
from admit.webhooks.endpoints import TOPIC
from admit.webhooks.tables import endpoints

STEP_ROWS = 200
"""So many events or rows are looked at in one step, and so many deliveries are made at most."""
LARGE_ROWS = 16
"""As many, where they are told of objects: an event of those can be of 1 MB."""
UNFINISHED_MAX = 1_000
"""So many deliveries may wait for an endpoint: a campaign does not flood it."""
BURST_MS = 1_000

UNFINISHED = (
    select(jobs.c.sequence)
    .where(
        jobs.c.finished_at.is_(None),
        jobs.c.kind == bindparam("of_kind"),
        jobs.c.lane == bindparam("of_lane"),
    )
    .limit(UNFINISHED_MAX)
)
FAILED = (
    select(jobs.c.job_id, jobs.c.failed_at, jobs.c.sequence, jobs.c.subject)
    .where(
        jobs.c.app_id == bindparam("app"),
        jobs.c.lane == bindparam("of_lane"),
        jobs.c.failed_at.is_not(None),
        jobs.c.failed_at >= bindparam("since"),
        jobs.c.failed_at <= bindparam("until"),
        or_(jobs.c.failed_at > bindparam("since"), jobs.c.job_id > bindparam("behind")),
    )
    .order_by(jobs.c.failed_at, jobs.c.job_id)
    .limit(bindparam("limit"))
)
CAUGHT_UP = (
    update(endpoints)
    .where(endpoints.c.app_id == bindparam("app"), endpoints.c.endpoint_id == bindparam("endpoint"))
    .values(caught_up_to=bindparam("position"))
)


class Step(msgspec.Struct, frozen=True):
    """What came of a step. `over`: no step of this job's turn follows.

    `wait_ms`: how long the next one has to wait; `full`: because too much waits for the endpoint already.
    """

    over: bool = False
    wait_ms: int = 0
    full: bool = False


class _Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What a step has before it. `unfinished`: the positions of the events that wait for the endpoint."""

    campaign: Campaign
    place: Place
    subscription: Subscription
    unfinished: frozenset[int]
    most: int
    now: int

    @property
    def of_objects(self) -> bool:
        """Whether it wants to know of objects: what was changed in them, or what web hooks tell."""
        large = {each.event_type for each in (DataChanged, ObjectReady, ObjectUpdated)}
        return not large.isdisjoint(self.subscription.types)

    @property
    def rows(self) -> int:
        """How many events a step looks at."""
        return LARGE_ROWS if self.of_objects else STEP_ROWS


def step(tx: Transaction, app_id: str, task: CampaignJob, now: int) -> Step:
    """Takes the next step of a campaign."""
    place = campaigns.lock(tx, app_id, task.endpoint_id)
    campaign = campaigns.find(tx, app_id, task.campaign_id)
    if campaign is None or campaign.state != "running" or campaign.turn != task.turn:
        return Step(over=True)
    # Whoever enables the endpoint again gives the campaign another turn.
    if place is None or place.state != "enabled":
        return Step(over=True)
    if campaign.next_at > now:
        return Step(wait_ms=campaign.next_at - now)
    subscription = subscriptions.find(tx, app_id, task.endpoint_id)
    assert subscription is not None
    lane = {"of_kind": subscription.kind, "of_lane": task.endpoint_id}
    unfinished = tx.execute(UNFINISHED, lane).scalars().all()
    if len(unfinished) >= UNFINISHED_MAX:
        return Step(full=True)
    scene = _Scene(
        campaign=campaign,
        place=place,
        subscription=subscription,
        unfinished=frozenset(unfinished),
        most=_most(campaign),
        now=now,
    )
    progress = _kept_to_rate(_carry_out(tx, scene), scene)
    campaigns.advance(tx, campaign, progress, now)
    return Step(over=progress.finished, wait_ms=max(0, progress.next_at - now))


def _carry_out(tx: Transaction, scene: _Scene) -> Progress:
    match scene.campaign.kind:
        case "catch_up":
            return _catch_up(tx, scene)
        case "replay":
            return _replay(tx, scene)
        case "retry":
            return _retry(tx, scene)
        case "backfill":
            return _backfill(tx, scene)
        case _:
            assert_never(scene.campaign.kind)


def _catch_up(tx: Transaction, scene: _Scene) -> Progress:
    """Tells what was missed; at the end of the log, where nobody records anything until the commit, the
    endpoint becomes live."""
    place, position = scene.place, scene.place.caught_up_to
    if position is None:
        return Progress(cursor=scene.campaign.cursor, made=0, seen=0, finished=True)
    head = None
    missed_events = _after(tx, scene, position)
    if len(missed_events) < scene.rows:
        head = log.audience_changes(tx, place.app_id)
        missed_events = _after(tx, scene, position)
    at_end = head is not None and len(missed_events) < scene.rows
    end = missed_events[-1].position if missed_events else position
    if at_end:
        assert head is not None
        end = head
    told = _of_the_living(tx, place.app_id, missed_events)
    due = [(scene.subscription, _fact(each)) for each in told if _is_wanted(scene, each)]
    # Nobody else tells this endpoint anything while it is behind, so the log need not be held.
    passed = subscriptions.not_told_yet(tx, place.app_id, due)
    for _, fact in passed:
        _tell(tx, scene, fact)
    tx.execute(
        CAUGHT_UP,
        {"app": place.app_id, "endpoint": place.endpoint_id, "position": None if at_end else end},
    )
    if at_end:
        subscriptions.put(tx, replace(scene.subscription, live=True))
    tx.signal(TOPIC, place.endpoint_id)
    return Progress(
        cursor=str(end),
        made=len(passed),
        seen=len(missed_events),
        missed=end - position - len(missed_events),
        finished=at_end,
    )


def _replay(tx: Transaction, scene: _Scene) -> Progress:
    """Tells what is wanted once more, `once` or not, unless it waits to be told already."""
    campaign = scene.campaign
    position, until = int(campaign.cursor), int(campaign.until)
    found = _after(tx, scene, position)
    within = [each for each in found if each.position <= until]
    living = {each.position for each in _of_the_living(tx, campaign.app_id, within)}
    made = seen = 0
    end = position
    for event in within:
        wanted = (
            event.occurred_at >= campaign.since
            and event.position in living
            and event.position not in scene.unfinished
            and _is_wanted(scene, event)
        )
        if wanted and made == scene.most:
            break
        seen, end = seen + 1, event.position
        if wanted:
            _tell(tx, scene, _fact(event))
            made += 1
    if len(within) < scene.rows and seen == len(within):
        end = until
    return Progress(
        cursor=str(end), made=made, seen=seen, missed=end - position - seen, finished=end >= until
    )


def _retry(tx: Transaction, scene: _Scene) -> Progress:
    """Makes deliveries due again that have failed, unless their event waits to be told already."""
    campaign = scene.campaign
    since, behind = key_of(campaign.cursor)
    rows = tx.execute(
        FAILED,
        {
            "app": campaign.app_id,
            "of_lane": campaign.endpoint_id,
            "since": since,
            "behind": behind,
            "until": int(campaign.until),
            "limit": scene.most,
        },
    ).all()
    # In the order of what happened, as far as one step sees.
    wanted = sorted(
        (row for row in rows if not row.sequence or row.sequence not in scene.unfinished),
        key=lambda row: row.sequence,
    )
    payloads = deliveries.payloads(
        tx, scene.place, [(row.job_id, row.sequence, row.subject) for row in wanted]
    )
    revivals = [
        Revival(app_id=campaign.app_id, job_id=job_id, payload=payload, now=scene.now)
        for job_id, payload in payloads.items()
        if payload is not None
    ]
    revival.revive(tx, revivals)
    return Progress(
        cursor=key_text((rows[-1].failed_at, rows[-1].job_id)) if rows else campaign.cursor,
        made=len(revivals),
        seen=len(rows),
        missed=len(payloads) - len(revivals),
        finished=len(rows) < scene.most,
    )


def _backfill(tx: Transaction, scene: _Scene) -> Progress:
    """Tells of people, devices or sessions in the order of their keys."""
    campaign, place = scene.campaign, scene.place
    assert campaign.of
    stops = people_walk.page(tx, place.app_id, campaign.of, key_of(campaign.cursor), STEP_ROWS)
    reach = log.reach(tx, place.app_id, hold=scene.subscription.once != "enrollment")
    found = [each.resident for each in stops if each.resident is not None]
    here = {id(each) for each in backfill.lived_here_before(tx, place, reach, campaign.of, found)}
    due: list[backfill.Told] = []
    seen = 0
    for stop in stops:
        told = None
        if stop.resident is not None and id(stop.resident) in here:
            told = backfill.told(place, campaign.of, stop.resident)
        if told is not None and subscriptions.wants(scene.subscription, told.fact):
            if len(due) == scene.most:
                break
            due.append(told)
        seen += 1
    passed = subscriptions.not_told_yet(tx, place.app_id, [(scene.subscription, each.fact) for each in due])
    let_through = {id(fact) for _, fact in passed}
    for each in due:
        if id(each.fact) in let_through:
            _leave(tx, scene, each.fact, delivery_id=each.delivery_id, payload=each.payload)
    return Progress(
        cursor=key_text(stops[seen - 1].key) if seen else campaign.cursor,
        made=len(passed),
        seen=seen,
        finished=len(stops) < STEP_ROWS and seen == len(stops),
    )


def _after(tx: Transaction, scene: _Scene, position: int) -> list[Recorded]:
    return log.after(tx, scene.place.app_id, position, scene.rows, lean=not scene.of_objects)


def _of_the_living(tx: Transaction, app_id: str, events: Sequence[Recorded]) -> list[Recorded]:
    """`events` but for those of people who were deleted since: of them only that is told."""
    uids = {event.uid for event in events if event.uid is not None}
    # Locked, so that nobody is deleted between this look and the delivery.
    here = {uid for _, uid in users.by_uid(tx, {(app_id, uid) for uid in uids}, lock=True)}
    return [
        event
        for event in events
        if event.uid is None or event.uid in here or event.type == UserDeleted.event_type
    ]


def _is_wanted(scene: _Scene, event: Recorded) -> bool:
    if not Audience([scene.subscription]).of(event.type):
        return False
    return subscriptions.wants(scene.subscription, _fact(event))


def _fact(event: Recorded) -> Fact:
    return Fact(event.type, event.uid, event.position, event.occurred_at, bytes(event.data).decode())


def _tell(tx: Transaction, scene: _Scene, fact: Fact) -> None:
    _leave(tx, scene, fact, delivery_id=clock.new_id("dlv"))


def _leave(tx: Transaction, scene: _Scene, fact: Fact, *, delivery_id: str, payload: str = "") -> None:
    """Leaves a delivery. It is made now, however long ago it was what it tells."""
    queue.enqueue(
        tx,
        app_id=scene.place.app_id,
        kind=scene.subscription.kind,
        payload=payload,
        now=scene.now,
        job_id=delivery_id,
        lane=scene.place.endpoint_id,
        subject=fact.uid,
        sequence=fact.position,
    )


def _most(campaign: Campaign) -> int:
    """How many deliveries one step may make: those of a second, where a rate was chosen."""
    if campaign.per_minute is None:
        return STEP_ROWS
    return max(1, min(STEP_ROWS, campaign.per_minute // 60))


def _kept_to_rate(progress: Progress, scene: _Scene) -> Progress:
    """`progress` with the time of the next step. What was not made in time is caught up for BURST_MS only."""
    per_minute = scene.campaign.per_minute
    if per_minute is None or not progress.made:
        return progress
    begin = max(scene.campaign.next_at, scene.now - BURST_MS)
    return replace(progress, next_at=begin + progress.made * 60_000 // per_minute)
