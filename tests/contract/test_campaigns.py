"""Campaigns: what an endpoint has missed, is told once more or was never told, once each and in order."""

import asyncio
import base64
from collections import Counter, defaultdict
from functools import partial

import pytest
from sqlalchemy import select, update

from admit.accounts import people_walk, user_deletion, users
from admit.accounts.devices import DeviceSent
from admit.accounts.facts import person_of
from admit.accounts.tables import sessions
from admit.accounts.tables import users as user_rows
from admit.accounts.users import NewUser, User
from admit.clock import DAY_MS, HOUR_MS
from admit.errors import Conflict
from admit.events import log, upkeep
from admit.events.catalog import UserEnrolled
from admit.events.log import Event
from admit.events.subscriptions import Filter
from admit.jobs import claims
from admit.jobs.claims import Wanted
from admit.jobs.queue import Job
from admit.jobs.tables import jobs
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction
from admit.webhooks import campaign_steps, campaigns, delivery
from admit.webhooks.campaign_steps import STEP_ROWS, UNFINISHED_MAX
from admit.webhooks.campaigns import Campaign, CampaignJob
from tests.contract.campaign_desk import LEASE_MS, Desk
from tests.residents import APP, NOW, person, start_app

PEOPLE = [f"u{number % 20}" for number in range(500)]
"""Names of 20 people, of whom much happens."""


@pytest.fixture
async def desk(database: Database, ring: KeyRing) -> Desk:
    await start_app(database)
    return Desk(database, ring)


def positions(delivered: list[Job]) -> list[int]:
    return [job.sequence for job in delivered]


def in_order_of_each_person(delivered: list[Job]) -> bool:
    by_person = defaultdict(list)
    for job in delivered:
        by_person[job.subject].append(job.sequence)
    return all(each == sorted(each) for each in by_person.values())


async def test_endpoint_that_was_paused_is_told_what_it_missed_in_order_and_then_lives(desk: Desk) -> None:
    told = await desk.endpoint()
    await desk.happens("ada")
    await desk.pause(told)
    for _ in range(3):
        await desk.happens(*PEOPLE[:150])
    campaign = await desk.resume(told)
    assert campaign.total == 450

    ended, delivered = await desk.work_off(campaign, between=lambda: desk.happens("ada", "bob"))
    assert ended.state == "done"
    assert (await desk.standing(told)).caught_up_to is None
    await desk.happens("bob", "ada")
    delivered += await desk.deliver(told)

    head = (await desk.db.read(partial(log.reach, app_id=APP))).position
    assert sorted(positions(delivered)) == list(range(1, head + 1))
    assert head == 451 + 2 * 2 + 2
    assert in_order_of_each_person(delivered)
    assert not any(job.out_of_order for job in delivered)


async def test_events_beside_the_last_step_are_told_once(desk: Desk) -> None:
    told = await desk.endpoint()
    await desk.pause(told)
    await desk.happens("ada")
    campaign = await desk.resume(told)

    await asyncio.gather(
        *(desk.happens("ada") for _ in range(5)),
        desk.step(campaign),
        *(desk.happens("bob") for _ in range(5)),
    )
    while not (await desk.step(campaign)).over:
        pass

    delivered = await desk.deliver(told)
    assert sorted(positions(delivered)) == list(range(1, 12))
    assert in_order_of_each_person(delivered)


async def test_step_that_is_lost_is_taken_again(desk: Desk) -> None:
    told = await desk.endpoint()
    await desk.pause(told)
    await desk.happens(*PEOPLE[: STEP_ROWS + 50])
    campaign = await desk.resume(told)
    task = CampaignJob(campaign.campaign_id, told, campaign.turn)

    def dies(tx: Transaction) -> None:
        campaign_steps.step(tx, APP, task, desk.now)
        raise KeyError("killed")

    for _ in range(2):
        with pytest.raises(KeyError):
            await desk.db.write(dies)
        await desk.step(campaign)

    ended, delivered = await desk.work_off(campaign)
    assert (ended.done, ended.seen) == (STEP_ROWS + 50, STEP_ROWS + 50)
    assert sorted(positions(delivered)) == list(range(1, STEP_ROWS + 51))


async def test_two_who_work_at_one_campaign_do_everything_once(desk: Desk, database_url: str) -> None:
    told = await desk.endpoint()
    await desk.pause(told)
    await desk.happens(*PEOPLE[: 2 * STEP_ROWS])
    campaign = await desk.resume(told)
    other = desk.db
    if database_url.startswith("postgres"):
        other = Database(database_url)
        other.signals.attach(asyncio.get_running_loop())

    await asyncio.gather(*(desk.step(campaign, db=db) for db in (desk.db, other) * 4))

    if other is not desk.db:
        other.close()
    assert (await desk.current(campaign)).done == 2 * STEP_ROWS
    delivered = await desk.deliver(told)
    assert sorted(positions(delivered)) == list(range(1, 2 * STEP_ROWS + 1))
    assert in_order_of_each_person(delivered)


async def test_pause_in_the_middle_stops_it_and_it_goes_on_where_it_was(desk: Desk) -> None:
    told = await desk.endpoint()
    await desk.pause(told)
    await desk.happens(*PEOPLE[: 2 * STEP_ROWS])
    campaign = await desk.resume(told)
    former = CampaignJob(campaign.campaign_id, told, campaign.turn)
    assert not (await desk.step(campaign)).over

    await desk.pause(told)
    await desk.happens("ada")
    assert (await desk.step(campaign)).over
    [shown] = await desk.db.read(partial(campaigns.page, app_id=APP, endpoint_id=told, before="", limit=10))
    assert shown.waits
    assert (await desk.standing(told)).caught_up_to == STEP_ROWS

    again = await desk.resume(told)
    assert (again.campaign_id, again.total) == (campaign.campaign_id, 2 * STEP_ROWS + 1)
    # What is left of the former turn does nothing: two would work at it.
    late = await desk.db.write(partial(campaign_steps.step, app_id=APP, task=former, now=desk.now))
    assert late.over
    ended, delivered = await desk.work_off(again)
    assert ended.seen == 2 * STEP_ROWS + 1
    assert sorted(positions(delivered)) == list(range(1, 2 * STEP_ROWS + 2))
    assert in_order_of_each_person(delivered)


async def test_once_and_filter_hold_for_what_was_missed(desk: Desk) -> None:
    await desk.move_in(person("ada", uid="usr_ada"), person("bob", uid="usr_bob"))
    told = await desk.endpoint(events=("device.enrolled",), once="device")
    few = await desk.endpoint(filter=Filter(user_types=("prod",)))
    await desk.enrolls("ada", "phone")
    for endpoint_id in (told, few):
        await desk.pause(endpoint_id)
    await desk.enrolls("ada", "phone")
    await desk.enrolls("ada", "laptop")
    await desk.enrolls("ada", "laptop")
    await desk.happens("bob")

    _, delivered = await desk.work_off(await desk.resume(told))
    assert positions(delivered) == [1, 3]
    await desk.enrolls("ada", "laptop")
    assert await desk.deliver(told) == []

    ended, delivered = await desk.work_off(await desk.resume(few))
    assert (ended.done, ended.seen, delivered) == (0, 5, [])


async def test_what_is_no_longer_kept_is_counted(desk: Desk) -> None:
    told = await desk.endpoint()
    await desk.pause(told)
    await desk.happens(*["ada"] * 10)
    desk.now += DAY_MS
    await desk.happens("ada", "ada")
    prune = partial(upkeep.prune, app_id=APP, before=NOW + 1, rows_max=100)
    assert await desk.db.write(prune) == 10

    ended, delivered = await desk.work_off(await desk.resume(told))
    assert (ended.missed, ended.seen, ended.state) == (10, 2, "done")
    assert positions(delivered) == [11, 12]

    await desk.pause(told)
    await desk.happens("ada")
    desk.now += DAY_MS
    assert await desk.db.write(partial(prune, before=desk.now)) == 3
    ended, delivered = await desk.work_off(await desk.resume(told))
    assert (ended.missed, delivered, (await desk.standing(told)).caught_up_to) == (1, [], None)


async def test_endpoint_is_not_flooded(desk: Desk) -> None:
    told = await desk.endpoint()
    await desk.pause(told)
    for _ in range(3):
        await desk.happens(*(f"u{number}" for number in range(500)))
    campaign = await desk.resume(told)

    for _ in range(20):
        step = await desk.step(campaign)
    assert step.full
    waiting = await desk.db.read(
        lambda tx: len(tx.execute(select(jobs.c.job_id).where(jobs.c.lane == told)).all())
    )
    assert waiting == UNFINISHED_MAX

    ended, delivered = await desk.work_off(campaign)
    assert (ended.done, len(delivered)) == (1_500, 1_500)


async def test_replay_since_a_time_tells_again_whatever_once_says(desk: Desk) -> None:
    await desk.move_in(person("ada", uid="usr_ada"), person("bob", uid="usr_bob"))
    told = await desk.endpoint(events=("device.enrolled",), once="user")
    await desk.enrolls("ada", "phone")
    desk.now += DAY_MS
    await desk.enrolls("ada", "laptop")
    desk.now += HOUR_MS // 2
    since = desk.now
    await desk.enrolls("bob", "phone")
    await desk.enrolls("bob", "laptop")
    await desk.happens("ada")
    assert positions(await desk.deliver(told)) == [1, 3]

    campaign = await desk.replay(told, since=since)
    assert isinstance(campaign, Campaign)
    ended, delivered = await desk.work_off(campaign)
    assert positions(delivered) == [3, 4]
    assert (ended.state, ended.done) == ("done", 2)

    again = await desk.replay(told, after=0)
    assert isinstance(again, Campaign)
    assert sorted(positions((await desk.work_off(again))[1])) == [1, 2, 3, 4]


async def test_replay_does_not_double_what_waits_and_keeps_the_order_of_each_person(desk: Desk) -> None:
    told = await desk.endpoint()
    await desk.happens("ada", "bob", "ada")
    await desk.deliver(told, most=1)
    await desk.happens("ada", "bob")

    campaign = await desk.replay(told, after=0)
    assert isinstance(campaign, Campaign)
    ended, delivered = await desk.work_off(campaign, between=lambda: desk.happens("ada"))
    assert ended.done == 3
    assert sorted(positions(delivered)) == [1, 2, 3, 4, 5]
    again = await desk.replay(told, after=2)
    assert isinstance(again, Campaign)
    await desk.happens("ada")
    _, delivered = await desk.work_off(again)
    assert positions([job for job in delivered if job.subject == "usr_ada"]) == [6, 3, 4]


async def test_replay_leaves_to_an_endpoints_catching_up_what_that_will_tell(desk: Desk) -> None:
    told = await desk.endpoint()
    await desk.happens("ada", "ada")
    await desk.deliver(told)
    await desk.pause(told)
    await desk.happens("ada")
    campaign = await desk.replay(told, after=0)
    assert isinstance(campaign, Campaign)
    assert (await desk.step(campaign)).over  # paused: it waits
    catching_up = await desk.resume(told)

    ended, delivered = await desk.work_off(campaign)
    assert positions(delivered) == [1, 2]
    assert ended.state == "done"
    assert positions((await desk.work_off(catching_up))[1]) == [3]


async def test_replay_says_that_the_log_does_not_go_back_that_far(desk: Desk) -> None:
    told = await desk.endpoint()
    await desk.happens(*["ada"] * 5)
    desk.now += DAY_MS
    await desk.happens("ada")
    await desk.deliver(told)
    await desk.db.write(partial(upkeep.prune, app_id=APP, before=NOW + 1, rows_max=100))

    campaign = await desk.replay(told, since=NOW - DAY_MS)
    assert isinstance(campaign, Campaign)
    assert "first event that is kept" in campaign.detail
    assert positions((await desk.work_off(campaign))[1]) == [6]
    campaign = await desk.replay(told, after=2)
    assert isinstance(campaign, Campaign)
    ended, delivered = await desk.work_off(campaign)
    assert (ended.missed, positions(delivered)) == (3, [6])


async def test_one_campaign_of_a_kind_runs_at_a_time(desk: Desk) -> None:
    told, other = await desk.endpoint(), await desk.endpoint()
    await desk.happens("ada")
    begun = await asyncio.gather(*(desk.replay(told, after=0) for _ in range(3)))
    assert sum(isinstance(each, Campaign) for each in begun) == 1
    refusal = await desk.retry(told)
    assert isinstance(refusal, Conflict)
    assert refusal.code == "campaign_running"
    assert isinstance(await desk.replay(other, after=0), Campaign)
    assert isinstance(await desk.backfill(told), Campaign)
    assert isinstance(await desk.backfill(told, "device"), Conflict)
    assert await desk.replay("ep_unknown", after=0) is None

    [campaign] = [each for each in begun if isinstance(each, Campaign)]
    cancelled = await desk.db.write(lambda tx: campaigns.cancel(tx, APP, campaign.campaign_id, desk.now))
    assert isinstance(cancelled, Campaign)
    assert cancelled.state == "cancelled"
    assert (await desk.step(campaign)).over
    assert isinstance(await desk.retry(told), Campaign)


async def test_catching_up_is_not_cancelled(desk: Desk) -> None:
    told = await desk.endpoint()
    await desk.pause(told)
    campaign = await desk.resume(told)

    refusal = await desk.db.write(lambda tx: campaigns.cancel(tx, APP, campaign.campaign_id, desk.now))
    assert isinstance(refusal, Conflict)
    assert (await desk.current(campaign)).state == "running"


async def test_failed_deliveries_are_tried_again_with_their_attempts(desk: Desk) -> None:
    told = await desk.endpoint()
    await desk.happens("ada", "bob", "ada")
    await desk.deliver(told, state="dead")
    since = desk.now = desk.now + HOUR_MS
    await desk.happens("ada", "bob", "ada")
    failed = await desk.deliver(told, state="dead")
    assert sorted(positions(failed)) == [4, 5, 6]

    campaign = await desk.retry(told, since)
    assert isinstance(campaign, Campaign)
    assert campaign.total == 3
    ended, delivered = await desk.work_off(campaign)
    assert (ended.done, ended.state) == (3, "done")
    assert sorted(positions(delivered)) == [4, 5, 6]
    assert in_order_of_each_person(delivered)
    assert {(job.attempts, job.tries) for job in delivered} == {(2, 1)}
    assert {job.job_id for job in delivered} == {job.job_id for job in failed}

    again = await desk.retry(told, since)
    assert isinstance(again, Campaign)
    assert (await desk.work_off(again))[1] == []


async def test_failed_deliveries_whose_event_waits_or_is_gone_are_left(desk: Desk) -> None:
    told = await desk.endpoint()
    await desk.happens("ada")
    desk.now += DAY_MS
    await desk.happens("bob", "eve")
    await desk.deliver(told, state="dead")
    campaign = await desk.replay(told, after=2)
    assert isinstance(campaign, Campaign)
    assert not (await desk.step(campaign)).wait_ms
    await desk.db.write(partial(upkeep.prune, app_id=APP, before=NOW + 1, rows_max=100))

    retry = await desk.retry(told)
    assert isinstance(retry, Campaign)
    ended, delivered = await desk.work_off(retry)
    assert (ended.done, ended.missed) == (1, 1)
    assert sorted(positions(delivered)) == [2, 3]


async def test_backfill_tells_of_ten_thousand_people_once(desk: Desk) -> None:
    for start in range(0, 10_000, 1_000):
        await desk.move_in(
            *(
                person(f"u{number}@example.com", created_at=NOW - DAY_MS)
                for number in range(start, start + 1_000)
            )
        )
    told = await desk.endpoint(events=("user.enrolled",), once="user")
    total = await people_walk.count(desk.db, APP, "user")
    campaign = await desk.backfill(told, total=total)

    ended, delivered = await desk.work_off(campaign)
    assert (ended.total, ended.seen, ended.done) == (10_000, 10_000, 10_000)
    assert len({job.subject for job in delivered}) == len(delivered) == 10_000
    again = await desk.backfill(told)
    ended, delivered = await desk.work_off(again)
    assert (ended.done, delivered) == (0, [])


async def test_backfilled_body_says_so_and_has_a_stable_id(desk: Desk) -> None:
    ada = person(name="Ada", created_at=NOW - DAY_MS)
    await desk.move_in(ada)
    told = await desk.endpoint(format="full")
    campaign = await desk.backfill(told)
    await desk.step(campaign)

    wanted = [Wanted("delivery", told, False, 10, LEASE_MS)]
    [claimed] = await desk.db.write(partial(claims.claim, wanted=wanted, worker="wkr_1", now=desk.now))
    [owed] = await desk.db.read(lambda tx: delivery.load(tx, claimed.jobs))
    assert owed.backfill
    assert owed.event is not None
    assert (owed.event.event_id, owed.event.type) == (f"evt_backfill_{ada.uid}", "user.enrolled")
    assert owed.event.occurred_at == NOW - DAY_MS
    assert b'"name":"Ada"' in bytes(owed.event.data)


async def test_backfill_leaves_out_whom_the_endpoint_was_told_of_when_they_came(desk: Desk) -> None:
    """Clocks do not decide: who was recorded before the endpoint is told of, whatever their time says."""
    early = person("early@example.com", created_at=NOW + 5_000)
    late = person("late@example.com", created_at=NOW - 5_000)
    very_late = person("very-late@example.com", created_at=NOW + DAY_MS)

    async def comes(user: User) -> None:
        def unit(tx: Transaction) -> None:
            users.create(tx, [NewUser(user)])
            data = UserEnrolled(user=person_of(user))
            log.record(tx, Event(app_id=APP, uid=user.uid, occurred_at=user.created_at, data=data))

        await desk.db.write(unit)

    await comes(early)
    told = await desk.endpoint(events=("user.enrolled",))
    await comes(late)
    await comes(very_late)
    desk.now += 2 * DAY_MS
    live = await desk.deliver(told)
    assert {job.subject for job in live} == {late.uid, very_late.uid}

    _, delivered = await desk.work_off(await desk.backfill(told))
    assert [job.subject for job in delivered] == [early.uid]


async def test_cancelled_backfill_goes_on_where_it_was(desk: Desk) -> None:
    await desk.move_in(*(person(f"u{number}@example.com", created_at=0) for number in range(300)))
    told = await desk.endpoint()
    campaign = await desk.backfill(told)
    assert not (await desk.step(campaign)).over
    await desk.db.write(lambda tx: campaigns.cancel(tx, APP, campaign.campaign_id, desk.now))
    delivered = await desk.deliver(told)
    assert len(delivered) == STEP_ROWS

    ended, more = await desk.work_off(await desk.backfill(told))
    assert len(more) == ended.done == 100
    assert len({job.subject for job in delivered + more}) == 300


async def test_backfill_keeps_to_its_rate(desk: Desk) -> None:
    await desk.move_in(*(person(f"u{number}@example.com", created_at=0) for number in range(30)))
    told = await desk.endpoint()
    campaign = await desk.backfill(told, per_minute=120)

    begin = desk.now
    ended, _ = await desk.work_off(campaign)
    assert ended.done == 30
    assert 12_000 <= desk.now - begin <= 15_500
    step = await desk.step(await desk.backfill(await desk.endpoint(), per_minute=1))
    assert step.wait_ms >= 59_000


async def test_filter_and_once_hold_for_a_backfill(desk: Desk) -> None:
    await desk.move_in(
        person("ada@example.com", type="prod", created_at=0),
        person("bob@example.com", type="eval", created_at=0),
    )
    told = await desk.endpoint(filter=Filter(user_types=("prod",)), once="user")
    _, delivered = await desk.work_off(await desk.backfill(told))
    assert len(delivered) == 1

    deaf = await desk.endpoint(events=("user.deleted",))
    refusal = await desk.backfill(deaf)
    assert isinstance(refusal, Conflict)
    assert refusal.code == "backfill_not_wanted"
    choosy = await desk.endpoint(filter=Filter(methods=("email_code",)))
    assert isinstance(await desk.backfill(choosy), Conflict)


async def test_backfill_of_devices_and_sessions(desk: Desk) -> None:
    ada, bob = person("ada@example.com", created_at=0), person("bob@example.com", created_at=0)
    await desk.move_in(ada, bob)
    before = NOW - 2 * DAY_MS
    phone = await desk.log_in(ada, device_id="phone", now=before)
    laptop = await desk.log_in(ada, device_id="lap/top ü", now=before)
    ended = await desk.log_in(bob, device_id="phone", now=before)
    acted = await desk.log_in(bob, device_id="owners", now=before, actor="owner@example.com")
    await desk.db.write(
        lambda tx: (
            tx.execute(
                update(sessions)
                .where(sessions.c.session_id == ended.session.session_id)
                .values(state="LOCKED")
            )
            and None
        )
    )
    told = await desk.endpoint()

    _, delivered = await desk.work_off(await desk.backfill(told, "device"))
    assert Counter(job.subject for job in delivered) == Counter([ada.uid, ada.uid, bob.uid])
    assert len({job.job_id for job in delivered}) == 3
    _, delivered = await desk.work_off(await desk.backfill(told, "session"))
    told_of = {job.job_id.rpartition("_ses_")[2] for job in delivered}
    assert told_of == {each.session.session_id.removeprefix("ses_") for each in (phone, laptop, acted)}

    once = await desk.endpoint(once="user", events=("session.started",))
    _, delivered = await desk.work_off(await desk.backfill(once, "session"))
    assert Counter(job.subject for job in delivered) == Counter([ada.uid, bob.uid])


async def test_failed_delivery_of_a_backfill_is_made_once_more(desk: Desk) -> None:
    ada, bob = person("ada@example.com", created_at=0), person("bob@example.com", created_at=0)
    await desk.move_in(ada, bob)
    await desk.log_in(ada, device_id="lap/top ü", now=NOW - DAY_MS)
    await desk.log_in(ada, sent=DeviceSent(), now=NOW - DAY_MS)  # its identifier is derived
    await desk.log_in(bob, device_id="lap/top ü", now=NOW - DAY_MS)
    told = await desk.endpoint()
    for of in ("user", "device", "session"):
        campaign = await desk.backfill(told, of)
        while not (await desk.step(campaign)).over:
            pass
    assert len(await desk.deliver(told, state="dead")) == 8
    await user_deletion.delete_user(desk.db, APP, bob.user_id, desk.now)
    renamed = update(user_rows).where(user_rows.c.uid == ada.uid).values(name="Ada L")
    await desk.db.write(lambda tx: tx.execute(renamed) and None)

    retry = await desk.retry(told)
    assert isinstance(retry, Campaign)
    ended, delivered = await desk.work_off(retry)
    assert (ended.done, ended.missed) == (5, 3)
    again = [job for job in delivered if job.attempts == 2]
    assert len(again) == 5
    assert all('"name":"Ada L"' in job.payload and '"backfill":true' in job.payload for job in again)


async def test_ids_of_a_backfill_do_not_keep_what_a_device_was_called(desk: Desk) -> None:
    ada = person("ada@example.com", created_at=0)
    await desk.move_in(ada)
    for named in ("Ada Lovelace's iPhone", "AdaLovelace"):
        await desk.log_in(ada, device_id=named, now=NOW - DAY_MS)
    told = await desk.endpoint()
    _, delivered = await desk.work_off(await desk.backfill(told, "device"))
    await user_deletion.delete_user(desk.db, APP, ada.user_id, desk.now)

    kept = await desk.db.read(lambda tx: tx.execute(select(jobs)).all())
    assert {job.job_id for job in delivered} <= {row.job_id for row in kept}
    assert len(delivered) == 2
    for row in kept:
        assert "Lovelace" not in str(row)
        for word in row.job_id.split("_"):
            assert b"Lovelace" not in base64.urlsafe_b64decode(word + "=" * (-len(word) % 4))


async def test_person_who_is_deleted_is_not_told_of(desk: Desk) -> None:
    ada, bob = person("ada@example.com", created_at=0), person("bob@example.com", created_at=0)
    await desk.move_in(ada, bob)
    told = await desk.endpoint(events=("user.enrolled",))
    campaign = await desk.backfill(told)
    await desk.step(campaign)
    await user_deletion.delete_user(desk.db, APP, ada.user_id, desk.now)

    assert [job.subject for job in await desk.deliver(told)] == [bob.uid]
    rows = await desk.db.read(
        lambda tx: tx.execute(select(jobs.c.payload).where(jobs.c.subject == ada.uid)).all()
    )
    assert [row.payload for row in rows] == [""]


async def test_walk_counts_more_than_a_piece(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people_walk, "COUNTED_AT_ONCE", 3)
    await desk.move_in(*(person(f"u{number}@example.com") for number in range(7)))
    assert await people_walk.count(desk.db, APP, "user") == 7
    assert await people_walk.count(desk.db, APP, "device") == 0
    assert await people_walk.count(desk.db, APP, "session") == 0


async def test_missed_and_failed_events_of_somebody_who_was_deleted_are_not_told(desk: Desk) -> None:
    await desk.move_in(person("bob", uid="usr_bob"))
    told = await desk.endpoint(events=("device.enrolled", "user.deleted"))
    await desk.pause(told)
    await desk.enrolls("ada", "phone")
    await desk.enrolls("bob", "phone")
    await desk.happens("ada")

    _, delivered = await desk.work_off(await desk.resume(told))
    assert positions(delivered) == [2, 3]

    again = await desk.replay(told, after=0)
    assert isinstance(again, Campaign)
    assert sorted(positions((await desk.work_off(again))[1])) == [2, 3]
