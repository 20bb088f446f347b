"""The end of a license is told once, by whoever notices first."""

import asyncio
from functools import partial

import msgspec
from msgspec.structs import replace

from admit.accounts import expiry
from admit.accounts.active_days import Activity, count_active_days
from admit.accounts.users import User
from admit.jobs import claims
from admit.jobs.claims import Wanted
from admit.jobs.queue import Job
from admit.jobs.worker import Done
from admit.storage.database import Database
from tests.residents import APP, NOW, day, events_of, move_in, person, start_app, told, user_now


async def watch(database: Database, user: User) -> None:
    await database.write(partial(expiry.watch, user=user, now=NOW))


async def due_jobs(database: Database, now: int) -> list[Job]:
    wanted = [Wanted(expiry.JOB_KIND, "", tried, 10, lease_ms=60_000) for tried in (False, True)]
    taken = await database.write(partial(claims.claim, wanted=wanted, worker="wkr_1", now=now))
    return [job for each in taken for job in each.jobs]


async def work_off(database: Database, job: Job, now: int) -> None:
    """What a worker does with the job."""
    outcome = await expiry.handler(lambda: now)(job)
    assert isinstance(outcome, Done)
    assert outcome.unit is not None
    await database.write(outcome.unit)


async def test_end_is_told_when_it_comes_and_reaches_open_clients(database: Database) -> None:
    await start_app(database)
    ada = person(type="prod", valid_until=day(3))
    await move_in(database, ada)
    await watch(database, ada)
    heard: list[str | None] = []
    database.signals.subscribe("user", heard.append)

    assert await due_jobs(database, day(3) - 1) == []
    (job,) = await due_jobs(database, day(3))
    await work_off(database, job, day(3))

    stored = await user_now(database, ada)
    assert stored is not None
    assert stored.expired_at == day(3)
    (event,) = await events_of(database)
    assert (event.type, event.uid) == ("user.expired", ada.uid)
    assert msgspec.json.decode(event.data)["reason"] == "valid_until"
    await asyncio.sleep(0)
    assert heard == [f"{APP}/ada@example.com"]


async def test_job_that_runs_twice_tells_once(database: Database) -> None:
    await start_app(database)
    ada = person(valid_until=day(3))
    await move_in(database, ada)
    await watch(database, ada)
    (job,) = await due_jobs(database, day(3))

    await asyncio.gather(*(work_off(database, job, day(3) + turn) for turn in range(5)))

    assert await told(database) == ["user.expired"]


async def test_job_and_a_sync_at_the_same_moment_tell_once(database: Database) -> None:
    await start_app(database)
    ada = person(valid_until=day(3))
    await move_in(database, ada)
    await watch(database, ada)
    (job,) = await due_jobs(database, day(3))

    await asyncio.gather(
        database.write_together(count_active_days, Activity(APP, ada.uid, day(3))),
        work_off(database, job, day(3)),
    )

    assert await told(database) == ["user.expired"]


async def test_end_that_was_moved_is_not_told_by_the_old_job(database: Database) -> None:
    await start_app(database)
    ada = person(valid_until=day(3))
    await move_in(database, replace(ada, valid_until=day(9)))
    await watch(database, ada)
    (job,) = await due_jobs(database, day(3))

    await work_off(database, job, day(3))

    assert await told(database) == []


async def test_end_of_somebody_who_was_deleted_is_told_to_nobody(database: Database) -> None:
    await start_app(database)
    ada = person(valid_until=day(3))
    await watch(database, ada)
    (job,) = await due_jobs(database, day(3))

    await work_off(database, job, day(3))

    assert await told(database) == []


async def test_user_without_an_end_needs_no_job(database: Database) -> None:
    await watch(database, person())
    await watch(database, person(valid_until=NOW))

    assert await due_jobs(database, day(100_000)) == []


async def test_servers_tell_one_end(postgres_url: str) -> None:
    servers = [Database(postgres_url) for _ in range(2)]
    await start_app(servers[0])
    people = [person(f"user{number}", valid_until=day(1)) for number in range(10)]
    await move_in(servers[0], *people)

    await asyncio.gather(
        *(
            servers[turn % 2].write(partial(expiry.expire, app_id=APP, uid=user.uid, now=day(1)))
            for user in people
            for turn in range(4)
        )
    )

    assert await told(servers[0]) == ["user.expired"] * 10
    for server in servers:
        server.close()
