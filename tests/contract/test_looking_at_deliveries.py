"""Looking at deliveries: pages that follow each other, and another try of one."""

from functools import partial
from typing import Any

import pytest

from admit.clock import DAY_MS, HOUR_MS
from admit.errors import Conflict
from admit.events import upkeep
from admit.jobs import attempts, claims, queue
from admit.jobs.attempts import Attempt
from admit.jobs.claims import Wanted
from admit.jobs.queue import Settlement
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from admit.webhooks import deliveries, endpoint_states, triggers
from admit.webhooks.deliveries import Delivery, Page, Query
from tests.contract.campaign_desk import LEASE_MS, Desk
from tests.residents import APP, NOW, start_app


@pytest.fixture
async def desk(database: Database, ring: KeyRing) -> Desk:
    await start_app(database)
    return Desk(database, ring)


async def page(desk: Desk, **chosen: Any) -> Page:
    return await desk.db.read(partial(deliveries.page, app_id=APP, query=Query(**chosen)))


async def everything(desk: Desk, **chosen: Any) -> list[Delivery]:
    """All pages, and never more on one than was asked for."""
    found: list[Delivery] = []
    query = Query(**chosen)
    while True:
        some = await desk.db.read(partial(deliveries.page, app_id=APP, query=query))
        assert len(some.deliveries) <= query.limit
        found += some.deliveries
        if some.before is None:
            return found
        query = Query(**chosen | {"before": some.before})


async def retry(desk: Desk, delivery_id: str) -> Any:
    return await desk.db.write(partial(deliveries.retry, app_id=APP, delivery_id=delivery_id, now=desk.now))


async def test_pages_hold_each_delivery_once_the_newest_first(desk: Desk) -> None:
    first, second = await desk.endpoint(), await desk.endpoint()
    for _ in range(7):
        desk.now += 1
        await desk.happens("ada", "bob")

    found = await everything(desk, limit=3)
    assert len({each.delivery_id for each in found}) == len(found) == 28
    moments = [(each.created_at, each.delivery_id) for each in found]
    assert moments == sorted(moments, reverse=True)
    assert {each.endpoint_id for each in found} == {first, second}
    mine = await everything(desk, limit=5, endpoint_id=first)
    assert {each.endpoint_id for each in mine} == {first}
    assert len(mine) == 14
    of_ada = await everything(desk, limit=4, uid="usr_ada")
    assert (len(of_ada), {each.uid for each in of_ada}) == (14, {"usr_ada"})
    both = await everything(desk, limit=4, uid="usr_ada", endpoint_id=second)
    assert (len(both), {each.endpoint_id for each in both}) == (7, {second})
    assert {each.type for each in found} == {"user.deleted"}
    assert found[0].event is not None
    assert await everything(desk, endpoint_id="ep_unknown") == []


async def test_states_can_be_asked_for(desk: Desk) -> None:
    told = await desk.endpoint()
    await desk.happens("ada", "bob")
    await desk.deliver(told)
    await desk.happens("ada")
    await desk.deliver(told, state="dead")
    await desk.happens("ada", "ada", "bob")
    wanted = [Wanted("delivery", told, False, 1, LEASE_MS)]
    await desk.db.write(partial(claims.claim, wanted=wanted, worker="w", now=desk.now + 1))

    async def count(**chosen: Any) -> int:
        return len(await everything(desk, **chosen))

    for chosen in ({}, {"endpoint_id": told}):
        assert await count(state="delivered", **chosen) == 2
        assert await count(state="failed", **chosen) == 1
        assert await count(state="blocked", **chosen) == 1
        assert await count(state="waiting", **chosen) == 1
        assert await count(state="sending", **chosen) == 1
    assert await count(state="failed", uid="usr_ada") == 1
    [blocked] = await everything(desk, state="blocked")
    assert blocked.due_at is None


async def test_page_looks_at_a_bounded_number_of_rows(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "SCANNED_MAX", 10)
    told = await desk.endpoint()
    await desk.happens("ada")
    await desk.happens(*["bob"] * 30)
    await desk.deliver(told, most=1, state="dead")

    some = await page(desk, endpoint_id=told, state="waiting")
    assert some.deliveries == []
    assert some.before is not None
    assert await everything(desk, endpoint_id=told, state="waiting") == []
    assert len(await everything(desk, endpoint_id=told, state="failed")) == 31
    assert len(await everything(desk, uid="usr_ada", endpoint_id=told)) == 1


async def test_delivery_shows_its_attempts_and_what_it_tells(desk: Desk) -> None:
    told = await desk.endpoint()
    await desk.happens("ada")
    [job] = await desk.deliver(told, state="dead")
    attempt = Attempt(
        app_id=APP,
        job_id=job.job_id,
        attempt=1,
        lane=told,
        started_at=NOW,
        duration_ms=12,
        outcome="http_500",
        status=500,
        address="192.0.2.1",
        detail="It answered 500.",
        reply="oh",
    )
    await desk.db.write(partial(attempts.note, attempt=attempt))

    history = await desk.db.read(partial(deliveries.show, app_id=APP, delivery_id=job.job_id))
    assert history is not None
    assert history.attempts == [attempt]
    assert history.delivery.event is not None
    assert (history.delivery.event.position, history.delivery.state) == (1, "failed")
    assert await desk.db.read(partial(deliveries.show, app_id="app_other", delivery_id=job.job_id)) is None
    assert await desk.db.read(partial(deliveries.show, app_id=APP, delivery_id="dlv_unknown")) is None


async def test_delivery_that_has_ended_is_tried_again_behind_what_waits_of_the_person(desk: Desk) -> None:
    told = await desk.endpoint()
    await desk.happens("ada", "bob")
    [first, _] = sorted(await desk.deliver(told, state="dead"), key=lambda job: job.sequence)
    await desk.happens("ada", "ada")

    assert await retry(desk, first.job_id) == "due"
    [blocked] = [each for each in await everything(desk, state="blocked") if each.delivery_id == first.job_id]
    assert blocked.attempts == 1
    delivered = await desk.deliver(told)
    assert [job.sequence for job in delivered] == [3, 4, 1]
    assert (delivered[-1].attempts, delivered[-1].tries) == (2, 1)
    assert await everything(desk, state="failed") != []
    assert await retry(desk, first.job_id) == "due"
    assert [job.attempts for job in await desk.deliver(told)] == [3]


async def test_delivery_that_waits_is_brought_forward_and_one_at_work_is_left(desk: Desk) -> None:
    told = await desk.endpoint()
    await desk.happens("ada", "ada")
    wanted = [Wanted("delivery", told, False, 1, LEASE_MS)]
    [claimed] = await desk.db.write(partial(claims.claim, wanted=wanted, worker="w", now=desk.now + 1))
    [job] = claimed.jobs
    [blocked] = await everything(desk, state="blocked")

    busy = await retry(desk, job.job_id)
    assert isinstance(busy, Conflict)
    assert busy.code == "delivery_busy"
    waits = await retry(desk, blocked.delivery_id)
    assert isinstance(waits, Conflict)
    assert waits.code == "delivery_blocked"

    again = Settlement(job=job, state="waiting", detail="", now=desk.now, due_at=desk.now + HOUR_MS)
    assert await desk.db.write(partial(queue.settle, items=[again])) == [True]
    assert await desk.deliver(told) == []
    assert await retry(desk, job.job_id) == "due"
    assert [each.sequence for each in await desk.deliver(told)] == [1, 2]


async def test_two_who_retry_a_delivery_make_it_due_once(desk: Desk) -> None:
    told = await desk.endpoint()
    await desk.happens("ada")
    [job] = await desk.deliver(told, state="dead")

    await desk.db.write(
        lambda tx: [deliveries.retry(tx, APP, job.job_id, desk.now) for _ in range(2)] and None
    )
    assert len(await desk.deliver(told)) == 1


async def test_delivery_of_what_is_no_longer_kept_cannot_be_tried_again(desk: Desk) -> None:
    told = await desk.endpoint()
    await desk.happens("ada")
    [job] = await desk.deliver(told, state="dead")
    desk.now += DAY_MS
    await desk.db.write(partial(upkeep.prune, app_id=APP, before=desk.now, rows_max=10))
    tried = await desk.db.write(
        lambda tx: triggers.trigger(tx, APP, "user.enrolled", told, "evt_test", desk.now)
    )
    assert tried is not None
    await desk.deliver(told)

    for delivery_id in (job.job_id, tried[0].delivery_id):
        outcome = await retry(desk, delivery_id)
        assert isinstance(outcome, Conflict)
        assert outcome.code == "delivery_gone"
    assert await retry(desk, "dlv_unknown") == "unknown"
    [shown] = await everything(desk, uid="usr_ada")
    assert (shown.event, shown.type) == (None, "")

    await desk.db.write(partial(endpoint_states.remove, app_id=APP, endpoint_id=told, now=desk.now))
    outcome = await retry(desk, job.job_id)
    assert isinstance(outcome, Conflict)
    assert [each.delivery_id for each in await everything(desk, uid="usr_ada")] == [job.job_id]
