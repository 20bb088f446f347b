"""Order: one person's deliveries to one endpoint wait for each other, and nobody else's do."""

import asyncio
from functools import partial
from typing import Any

from sqlalchemy import select

from admit.jobs import claims, emptying, lanes, order, queue
from admit.jobs.claims import Wanted
from admit.jobs.lanes import Limits
from admit.jobs.order import BLOCKED_MS, FAR
from admit.jobs.queue import Job, Settlement
from admit.jobs.tables import jobs
from admit.storage.database import Database

NOW = 1_764_000_000_000
LEASE_MS = 60_000
LANE = "ep_1"


async def open_lane(db: Database, lane: str = LANE, **limits: Any) -> None:
    await db.write(
        partial(
            lanes.open_lane, app_id="app_1", kind="delivery", lane=lane, limits=Limits(**limits), closed=False
        )
    )


async def owe(db: Database, subject: str | None, job_id: str, *, lane: str = LANE, now: int = NOW) -> None:
    await db.write(
        partial(
            queue.enqueue,
            app_id="app_1",
            kind="delivery",
            payload="",
            now=now,
            job_id=job_id,
            lane=lane,
            subject=subject,
        )
    )


async def claim(
    db: Database, *, lane: str = LANE, most: int = 10, now: int = NOW, failed_before: int | None = None
) -> list[Job]:
    wanted = [
        Wanted("delivery", lane, True, most, LEASE_MS, failed_before=failed_before),
        Wanted("delivery", lane, False, most, LEASE_MS),
    ]
    taken = await db.write(partial(claims.claim, wanted=wanted, worker="wkr_1", now=now))
    return [job for each in taken for job in each.jobs]


async def claimed_ids(db: Database, **options: Any) -> set[str]:
    return {job.job_id for job in await claim(db, **options)}


async def settle(db: Database, job: Job, *, now: int = NOW + 1, **changes: Any) -> None:
    values: dict[str, Any] = {"state": "done", "detail": "", "now": now} | changes
    assert await db.write_together(queue.settle, Settlement(job=job, **values))


async def again(db: Database, job: Job, *, due_at: int, now: int = NOW + 1) -> None:
    await settle(db, job, state="waiting", due_at=due_at, now=now)


async def states(db: Database) -> dict[str, tuple[str, int]]:
    rows = await db.read(lambda tx: list(tx.execute(select(jobs).order_by(jobs.c.job_id))))
    return {row.job_id: (row.state, row.due_at) for row in rows}


async def test_later_job_of_a_person_is_not_due_while_the_earlier_one_is_unfinished(
    database: Database,
) -> None:
    await open_lane(database)
    for job_id in ("a1", "a2", "a3"):
        await owe(database, "usr_ada", job_id)
    await owe(database, "usr_bob", "b1")
    await owe(database, None, "n1")
    await owe(database, None, "n2")

    assert await claimed_ids(database) == {"a1", "b1", "n1", "n2"}
    assert await claimed_ids(database) == set()
    assert (await states(database))["a2"] == ("blocked", NOW + BLOCKED_MS)
    assert (await states(database))["a3"] == ("blocked", FAR)


async def test_end_of_a_job_lets_the_next_of_the_person_go_and_only_that(database: Database) -> None:
    await open_lane(database)
    for job_id in ("a1", "a2", "a3"):
        await owe(database, "usr_ada", job_id)

    for job_id in ("a1", "a2", "a3"):
        [job] = await claim(database, now=NOW + 2)
        assert (job.job_id, job.out_of_order) == (job_id, False)
        await settle(database, job, state="dead" if job_id == "a2" else "done")


async def test_persons_order_holds_per_endpoint(database: Database) -> None:
    for lane in ("ep_1", "ep_2"):
        await open_lane(database, lane)
        await owe(database, "usr_ada", f"{lane}_first", lane=lane)
        await owe(database, "usr_ada", f"{lane}_second", lane=lane)
    [first] = await claim(database, lane="ep_1")
    await settle(database, first)

    assert await claimed_ids(database, lane="ep_1", now=NOW + 2) == {"ep_1_second"}
    assert await claimed_ids(database, lane="ep_2") == {"ep_2_first"}


async def test_job_that_arrives_in_the_commit_that_ends_the_one_before_it_is_due(database: Database) -> None:
    await open_lane(database)
    await owe(database, "usr_ada", "a1")
    [first] = await claim(database)

    await asyncio.gather(settle(database, first), owe(database, "usr_ada", "a2"))

    assert await claimed_ids(database, now=NOW + 2) == {"a2"}


async def test_after_an_hour_the_later_job_passes_and_is_marked(database: Database) -> None:
    await open_lane(database)
    await owe(database, "usr_ada", "a1")
    await owe(database, "usr_ada", "a2", now=NOW + 1_000)
    await owe(database, "usr_ada", "a3", now=NOW + 2_000)
    [first] = await claim(database)
    await again(database, first, due_at=NOW + 10 * BLOCKED_MS)

    hour_over = NOW + 1_000 + BLOCKED_MS
    assert await claimed_ids(database, now=hour_over - 1) == set()
    [second] = await claim(database, now=hour_over)
    assert (second.job_id, second.out_of_order) == ("a2", True)
    await settle(database, second, now=hour_over + 5)

    [third] = await claim(database, now=hour_over + 2_000)
    assert (third.job_id, third.out_of_order) == ("a3", True)


async def test_job_that_passed_and_failed_stays_marked_and_holds_up_the_next(database: Database) -> None:
    await open_lane(database)
    for job_id in ("a1", "a2", "a3"):
        await owe(database, "usr_ada", job_id)
    [first] = await claim(database)
    await again(database, first, due_at=NOW + 100 * BLOCKED_MS)
    [second] = await claim(database, now=NOW + BLOCKED_MS)
    await again(database, second, due_at=NOW + BLOCKED_MS + 5_000, now=NOW + BLOCKED_MS)

    [third_or_second, *rest] = await claim(database, now=NOW + BLOCKED_MS + 5_000)

    found = {job.job_id: job.out_of_order for job in (third_or_second, *rest)}
    assert found == {"a2": True, "a3": True}


async def test_earlier_job_that_ends_while_the_later_has_passed_frees_nobody_before_it(
    database: Database,
) -> None:
    await open_lane(database)
    for job_id in ("a1", "a2", "a3"):
        await owe(database, "usr_ada", job_id)
    [first] = await claim(database)
    await again(database, first, due_at=NOW + BLOCKED_MS)
    late = {job.job_id: job for job in await claim(database, now=NOW + BLOCKED_MS)}
    assert set(late) == {"a1", "a2"}

    await settle(database, late["a1"], now=NOW + BLOCKED_MS + 1)
    assert (await states(database))["a3"][0] == "blocked"
    await settle(database, late["a2"], now=NOW + BLOCKED_MS + 2)

    assert await claimed_ids(database, now=NOW + BLOCKED_MS + 3) == {"a3"}


async def test_nobody_passes_in_a_lane_that_was_closed_meanwhile(database: Database) -> None:
    await open_lane(database)
    for job_id in ("a1", "a2", "a3"):
        await owe(database, "usr_ada", job_id)
    opened = NOW + 3 * BLOCKED_MS
    await database.write(
        partial(lanes.change, kind="delivery", lane=LANE, limits=Limits(), closed=False, opened_at=opened)
    )

    for number, job_id in enumerate(("a1", "a2", "a3")):
        [job] = await claim(database, now=opened + number)
        assert (job.job_id, job.out_of_order) == (job_id, False)
        await settle(database, job, now=opened + number)


async def test_nobody_passes_where_it_is_the_lane_that_is_slow(database: Database) -> None:
    await open_lane(database)
    for job_id in ("a1", "a2"):
        await owe(database, "usr_ada", job_id)
    [first] = await claim(database)
    await again(database, first, due_at=NOW + 9 * BLOCKED_MS)
    later = NOW + 2 * BLOCKED_MS
    wanted = [Wanted("delivery", LANE, False, 10, LEASE_MS, in_order=True)]

    [claimed] = await database.write(partial(claims.claim, wanted=wanted, worker="wkr_1", now=later))

    assert claimed.jobs == []
    assert (await states(database))["a2"] == ("blocked", later + BLOCKED_MS)


async def test_job_that_another_server_has_just_claimed_is_not_given_back(postgres_url: str) -> None:
    """What is blocked is read, and written once the other's commit is over: then it is blocked no more."""
    db = Database(postgres_url)
    await open_lane(db)
    for job_id in ("a1", "a2"):
        await owe(db, "usr_ada", job_id)
    [first] = await claim(db)
    await again(db, first, due_at=NOW + 9 * BLOCKED_MS)
    [second] = await claim(db, now=NOW + BLOCKED_MS)
    before = (await states(db))["a2"]

    await db.write(lambda tx: tx.write(order.FREE, [("app_1", "a2", "waiting", NOW)]))

    assert (await states(db))["a2"] == before == ("claimed", second.lease_until)
    await settle(db, second)
    db.close()


async def test_end_of_one_job_and_arrival_of_the_next_on_two_servers_leave_nobody_behind(
    postgres_url: str,
) -> None:
    one, two = Database(postgres_url), Database(postgres_url)
    await open_lane(one)
    for number in range(60):
        person = f"usr_{number}"
        await owe(one, person, f"first_{number}")
        [first] = await claim(one, now=NOW + number)
        await asyncio.gather(settle(one, first), owe(two, person, f"second_{number}"))
        [second] = await claim(two, now=NOW + 60_000)
        assert second.job_id == f"second_{number}"
        await settle(two, second)
    for db in (one, two):
        db.close()


async def test_jobs_of_a_person_can_be_dropped_in_every_lane(database: Database) -> None:
    for lane in ("ep_1", "ep_2"):
        await open_lane(database, lane)
        await owe(database, "usr_ada", f"{lane}_1", lane=lane)
        await owe(database, "usr_ada", f"{lane}_2", lane=lane)
        await owe(database, "usr_bob", f"{lane}_b", lane=lane)

    drop = partial(emptying.drop, app_id="app_1", subject="usr_ada", sentence="Deleted.", now=NOW, most=3)
    assert [await database.write(drop) for _ in range(3)] == [3, 1, 0]

    assert await claimed_ids(database, lane="ep_1") == {"ep_1_b"}
    assert await claimed_ids(database, lane="ep_2") == {"ep_2_b"}


# Lanes


async def test_nothing_in_a_closed_lane_is_claimed_until_it_is_opened(database: Database) -> None:
    await open_lane(database)
    await owe(database, None, "n1")
    await database.write(partial(lanes.change, kind="delivery", lane=LANE, limits=Limits(), closed=True))
    assert await claimed_ids(database) == set()

    await database.write(partial(lanes.change, kind="delivery", lane=LANE, limits=Limits(), closed=False))
    assert await claimed_ids(database) == {"n1"}


async def test_jobs_of_a_lane_that_was_removed_are_left_alone(database: Database) -> None:
    await open_lane(database)
    await owe(database, None, "n1")
    await database.write(partial(lanes.remove, lane=LANE))

    assert await claimed_ids(database) == set()


async def test_lane_begins_no_more_at_once_than_it_takes(database: Database) -> None:
    await open_lane(database, at_once_max=3)
    for number in range(8):
        await owe(database, None, f"n{number}")

    def wanted(busy: int) -> list[Wanted]:
        return [Wanted("delivery", LANE, tried, 10, LEASE_MS, busy) for tried in (False, True)]

    async def count(busy: int) -> int:
        taken = await database.write(partial(claims.claim, wanted=wanted(busy), worker="wkr_1", now=NOW))
        return sum(len(each.jobs) for each in taken)

    assert await count(0) == 3
    assert await count(3) == 0
    assert await count(1) == 2


async def test_lane_with_a_rate_begins_at_that_rate_and_saves_up_a_second_at_most(
    database: Database,
) -> None:
    await open_lane(database, per_minute=600)
    for number in range(60):
        await owe(database, None, f"n{number:02}")

    # Idle until now, it has saved up a second's worth; then one every 100 ms.
    assert len(await claim(database, most=40)) == 11
    assert len(await claim(database, most=40)) == 0
    assert len(await claim(database, most=40, now=NOW + 99)) == 0
    assert len(await claim(database, most=40, now=NOW + 100)) == 1
    assert len(await claim(database, most=40, now=NOW + 600)) == 5
    assert len(await claim(database, most=40, now=NOW + 60_000)) == 11


async def test_lane_with_limits_is_served_by_one_worker_at_a_time(database: Database) -> None:
    await open_lane(database, at_once_max=2)
    for number in range(9):
        await owe(database, None, f"n{number}")
    wanted = [Wanted("delivery", LANE, False, 1, LEASE_MS)]

    async def serve(worker: str, now: int) -> tuple[int, int | None]:
        [claimed] = await database.write(partial(claims.claim, wanted=wanted, worker=worker, now=now))
        return len(claimed.jobs), claimed.next_due

    assert (await serve("wkr_1", NOW))[0] == 1
    assert await serve("wkr_2", NOW + 10) == (0, NOW + lanes.HELD_MS)
    assert (await serve("wkr_1", NOW + 1_000))[0] == 1
    assert (await serve("wkr_2", NOW + 1_000 + lanes.HELD_MS))[0] == 1
    assert (await serve("wkr_1", NOW + 1_000 + lanes.HELD_MS))[0] == 0


async def test_who_failed_before_an_endpoint_came_back_is_taken_up_early_and_once(database: Database) -> None:
    await open_lane(database)
    for number in range(3):
        await owe(database, None, f"n{number}")
    for job in await claim(database):
        await again(database, job, due_at=NOW + 10 * BLOCKED_MS, now=NOW + 5)
    assert await claim(database, now=NOW + 10, failed_before=NOW + 5) == []

    early = await claim(database, now=NOW + 10, failed_before=NOW + 10)
    assert len(early) == 3
    await again(database, early[0], due_at=NOW + 10 * BLOCKED_MS, now=NOW + 12)

    assert await claim(database, now=NOW + 20, failed_before=NOW + 10) == []
