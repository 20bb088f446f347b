"""Registrations: what code declares becomes subscriptions, lanes and schedules, all at once or not at all."""

import asyncio
from functools import partial

from sqlalchemy import select

from admit.data.tables import data_apps
from admit.events import log, subscriptions
from admit.events.examples import EXAMPLES
from admit.events.log import Event
from admit.events.subscriptions import Equal, Filter
from admit.jobs import claims, queue
from admit.jobs.claims import Wanted
from admit.jobs.queue import Job, Settlement
from admit.jobs.tables import jobs, lanes
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from admit.task.declarations import Declaration, On
from admit.tasks import registrations
from admit.tasks.env import TOPIC
from admit.tasks.registrations import KIND
from admit.tasks.tempo import CLAIMED_MAX
from tests.declared_tasks import NIGHTLY, WELCOME, declared, register
from tests.residents import APP, NOW, start_app

OTHER = "app_other"


async def record(database: Database, name: str = "ada", app_id: str = APP) -> None:
    """Records that somebody was enrolled."""
    event = Event(app_id=app_id, uid=f"usr_{name}", occurred_at=NOW, data=EXAMPLES["user.enrolled"])
    await database.write(partial(log.record, event=event))


async def runs(database: Database, lane: str) -> list[tuple[str, int, str]]:
    """State, position of the event and id of the jobs in a lane."""
    chosen = (
        select(jobs.c.state, jobs.c.sequence, jobs.c.job_id)
        .where(jobs.c.lane == lane)
        .order_by(jobs.c.sequence)
    )
    return await database.read(lambda tx: [tuple(row) for row in tx.execute(chosen)])


async def lane_of(database: Database, lane: str) -> tuple[str, int | None] | None:
    """Whether a lane is closed, and how many it takes at once; None: there is none."""
    chosen = select(lanes.c.closed, lanes.c.at_once_max).where(lanes.c.lane == lane)
    row = await database.read(lambda tx: tx.execute(chosen).one_or_none())
    return None if row is None else (row.closed, row.at_once_max)


async def claim(database: Database, lane: str, now: int = NOW) -> list[Job]:
    """What may begin in a lane."""
    wanted = [Wanted(KIND, lane, tried, 10, 60_000) for tried in (False, True)]
    claimed = await database.write(partial(claims.claim, wanted=wanted, worker="wkr_1", now=now))
    return [job for each in claimed for job in each.jobs]


async def audience(database: Database) -> str:
    chosen = select(log.logs.c.audience).where(log.logs.c.app_id == APP)
    return await database.read(lambda tx: str(tx.execute(chosen).scalar_one()))


async def test_a_task_is_told_of_its_events_from_its_registration_on(database: Database) -> None:
    await start_app(database)
    await record(database, "before")
    tasks = await register(database, declared("welcome", WELCOME, at_once=7))
    await record(database, "after")
    task = tasks["welcome"]
    ((state, position, job_id),) = await runs(database, task.task_id)
    assert (state, position) == ("waiting", 2)
    assert job_id.startswith("run_")
    assert await lane_of(database, task.task_id) == ("no", CLAIMED_MAX)
    assert (task.kind, task.version, task.paused, task.gone_at) == ("on", "v1", False, None)
    assert [each.job_id for each in await claim(database, task.task_id)] == [job_id]


async def test_every_condition_of_a_declaration_is_one_of_its_subscription(database: Database) -> None:
    await start_app(database)
    on = On(
        types=("user.enrolled", "device.enrolled"),
        once="device",
        user_types=("prod",),
        methods=("sso",),
        email_domains=("example.com",),
        equals=(("user.data.plan", "team"),),
    )
    task = (await register(database, declared("welcome", on)))["welcome"]
    told = await database.read(partial(subscriptions.find, app_id=APP, subscriber_id=task.task_id))
    assert told is not None
    assert (told.kind, told.types, told.once) == (KIND, on.types, "device")
    assert told.filter == Filter(
        user_types=("prod",),
        methods=("sso",),
        email_domains=("example.com",),
        equals=(Equal(("user", "data", "plan"), "team"),),
    )


async def test_what_is_registered_already_changes_nothing(database: Database) -> None:
    await start_app(database)
    tasks = [declared("welcome", WELCOME), declared("nightly", NIGHTLY), declared("tidy")]
    first = await register(database, *tasks)
    before = await audience(database)
    heard: list[str | None] = []
    database.signals.subscribe(TOPIC, heard.append)
    assert await register(database, *tasks, now=NOW + 1_000) == first
    assert await audience(database) == before
    assert not any(heard)


async def test_a_new_version_of_the_same_declarations_leaves_the_audience_alone(database: Database) -> None:
    await start_app(database)
    first = await register(database, declared("welcome", WELCOME))
    before = await audience(database)
    second = await register(database, declared("welcome", WELCOME, about="Says hello."), version="v2")
    assert await audience(database) == before
    assert second["welcome"].task_id == first["welcome"].task_id
    assert (second["welcome"].version, second["welcome"].declaration.about) == ("v2", "Says hello.")


async def test_changed_conditions_hold_from_then_on(database: Database) -> None:
    await start_app(database)
    task = (await register(database, declared("welcome", WELCOME)))["welcome"]
    await record(database, "ada")
    await register(database, declared("welcome", On(types=("user.deleted",)), at_once=2), version="v2")
    await record(database, "bea")
    assert [position for _, position, _ in await runs(database, task.task_id)] == [1]
    assert await lane_of(database, task.task_id) == ("no", CLAIMED_MAX)


async def test_changes_of_objects_are_recorded_while_a_task_asks_for_them(database: Database) -> None:
    await start_app(database)
    tells = select(data_apps.c.tells).where(data_apps.c.app_id == APP)
    told = []
    for number, task in enumerate((WELCOME, On(types=("data.changed",)), WELCOME)):
        await register(database, declared("welcome", task), version=f"v{number}")
        told.append(await database.read(lambda tx: tx.execute(tells).scalar_one_or_none()))
    assert told == [None, "yes", "no"]


async def test_a_task_that_becomes_another_kind_is_told_of_nothing_more(database: Database) -> None:
    await start_app(database)
    task = (await register(database, declared("welcome", WELCOME)))["welcome"]
    changed = (await register(database, declared("welcome", NIGHTLY), version="v2"))["welcome"]
    await record(database)
    assert (changed.task_id, changed.kind) == (task.task_id, "every")
    ((state, position, job_id),) = await runs(database, task.task_id)
    assert (state, position, job_id.partition(".")[0]) == ("waiting", 0, task.task_id)
    await register(database, declared("welcome", WELCOME), version="v3")
    assert await runs(database, task.task_id) == []
    await record(database)
    assert [position for _, position, _ in await runs(database, task.task_id)] == [2]


async def test_a_task_that_is_gone_is_told_of_nothing_and_what_waited_for_it_ends(database: Database) -> None:
    await start_app(database)
    task = (await register(database, declared("welcome", WELCOME), declared("tidy")))["welcome"]
    await record(database)
    gone = (await register(database, declared("tidy"), version="v2", now=NOW + 5))["welcome"]
    assert (gone.gone_at, gone.version) == (NOW + 5, "v1")
    await record(database)
    assert [state for state, _, _ in await runs(database, task.task_id)] == ["waiting"]
    assert await claim(database, task.task_id) == []  # it has no lane
    ended = partial(registrations.end_runs_of_gone, app_id=APP, task_id=task.task_id, now=NOW)
    assert [await database.write(ended), await database.write(ended)] == [1, 0]
    assert [state for state, _, _ in await runs(database, task.task_id)] == ["dead"]


async def test_a_run_under_way_of_a_task_that_goes_cannot_settle(database: Database) -> None:
    await start_app(database)
    task = (await register(database, declared("welcome", WELCOME)))["welcome"]
    await record(database)
    (job,) = await claim(database, task.task_id)
    await register(database, version="v2")
    await database.write(partial(registrations.end_runs_of_gone, app_id=APP, task_id=task.task_id, now=NOW))
    settled = Settlement(job=job, state="done", detail="", now=NOW)
    assert not await database.write_together(queue.settle, settled)


async def test_a_task_that_comes_back_is_the_one_that_it_was(database: Database) -> None:
    await start_app(database)
    welcome = declared("welcome", On(types=("user.enrolled",), once="user"))
    first = (await register(database, welcome))["welcome"]
    await record(database)
    await register(database, version="v2")
    back = (await register(database, welcome, version="v3"))["welcome"]
    assert (back.task_id, back.created_at, back.gone_at) == (first.task_id, first.created_at, None)
    ended = partial(registrations.end_runs_of_gone, app_id=APP, task_id=first.task_id, now=NOW)
    assert await database.write(ended) == 0  # it is not gone any more
    await record(database)  # told once: the same person
    await record(database, "bea")
    assert [(state, position) for state, position, _ in await runs(database, first.task_id)] == [
        ("waiting", 1),
        ("waiting", 3),
    ]
    assert len(await claim(database, first.task_id)) == 2


async def test_a_paused_task_is_told_and_nothing_of_it_begins_until_it_is_resumed(database: Database) -> None:
    await start_app(database)
    task = (await register(database, declared("welcome", WELCOME)))["welcome"]
    pause = partial(registrations.set_paused, app_id=APP, name="welcome", now=NOW)
    heard: list[str | None] = []
    database.signals.subscribe(TOPIC, heard.append)
    paused = await database.write(partial(pause, paused=True))
    assert paused is not None
    assert paused.paused
    assert [each for each in heard if each] == [APP]
    await record(database)
    assert await claim(database, task.task_id) == []
    # Neither a new version nor its absence makes it run.
    await register(database, declared("welcome", WELCOME, at_once=2), version="v2")
    assert await lane_of(database, task.task_id) == ("yes", CLAIMED_MAX)
    await register(database, version="v3")
    assert (await register(database, declared("welcome", WELCOME), version="v4"))["welcome"].paused
    assert await claim(database, task.task_id) == []
    resumed = await database.write(partial(pause, paused=False))
    assert resumed is not None
    assert not resumed.paused
    assert len(await claim(database, task.task_id)) == 1


async def test_a_task_of_no_name_cannot_be_paused(database: Database) -> None:
    await start_app(database)
    unit = partial(registrations.set_paused, app_id=APP, name="welcome", paused=True, now=NOW)
    assert await database.write(unit) is None


async def test_apps_have_tasks_of_their_own(database: Database) -> None:
    await start_app(database)
    await start_app(database, OTHER)
    mine = await register(database, declared("welcome", WELCOME))
    others = await register(database, declared("welcome", WELCOME), app_id=OTHER)
    await record(database, app_id=OTHER)
    assert await runs(database, mine["welcome"].task_id) == []
    assert len(await runs(database, others["welcome"].task_id)) == 1
    assert await database.read(registrations.apps_with_tasks) == [(APP, 1), (OTHER, 1)]
    await register(database, version="v2")
    assert await database.read(registrations.apps_with_tasks) == [(OTHER, 1)]


async def test_two_servers_that_register_the_same_version_at_once_make_one_task(
    database: Database, database_url: str
) -> None:
    await start_app(database)
    other = Database(database_url) if database_url.startswith("postgres") else database
    try:
        tasks = [declared("welcome", WELCOME), declared("nightly", NIGHTLY), declared("tidy")]
        both = await asyncio.gather(*(register(each, *tasks) for each in (database, other) * 4))
        assert all(each == both[0] for each in both)
        await record(database)
        assert len(await runs(database, both[0]["welcome"].task_id)) == 1
        assert len(await runs(database, both[0]["nightly"].task_id)) == 1
    finally:
        if other is not database:
            other.close()


async def test_of_two_servers_with_different_versions_one_wins_whole(
    database: Database, database_url: str
) -> None:
    await start_app(database)
    other = Database(database_url) if database_url.startswith("postgres") else database
    old = [declared("welcome", WELCOME), declared("nightly", NIGHTLY)]
    new = [declared("nightly", WELCOME), declared("tidy")]

    async def at_once(db: Database, version: str, tasks: list[Declaration]) -> None:
        await register(db, *tasks, version=version)

    try:
        for _ in range(5):
            await register(database, *map(declared, ("welcome", "nightly", "tidy")), version="v0")
            await asyncio.gather(at_once(database, "v1", old), at_once(other, "v2", new))
            rows = await database.read(partial(registrations.of_app, app_id=APP))
            live = {each.name: each for each in rows if each.live}
            (version,) = {each.version for each in live.values()}
            assert set(live) == ({"welcome", "nightly"} if version == "v1" else {"nightly", "tidy"})
            told = await database.read(partial(subscriptions.of_app, app_id=APP))
            assert set(told) == {each.task_id for each in live.values() if each.kind == "on"}
            assert all([await lane_of(database, each.task_id) for each in live.values()])
            planned = [each for name in live for each in await runs(database, live[name].task_id)]
            assert len(planned) == (1 if version == "v1" else 0)
    finally:
        if other is not database:
            other.close()


async def test_events_that_are_recorded_meanwhile_are_told_exactly_once(
    database: Database, database_url: str
) -> None:
    """Whatever the order of commits: from one position on all of them, and none before."""
    await start_app(database)
    other = Database(database_url) if database_url.startswith("postgres") else database
    try:

        async def recording(db: Database, name: str) -> None:
            for number in range(40):
                await record(db, f"{name}{number}")

        async def registering() -> str:
            for _ in range(5):
                await asyncio.sleep(0)
            tasks = await register(database, declared("welcome", WELCOME))
            return tasks["welcome"].task_id

        task_id, *_ = await asyncio.gather(registering(), recording(database, "a"), recording(other, "b"))
        told = [position for _, position, _ in await runs(database, task_id)]
        assert told == list(range(81 - len(told), 81))
        assert told
    finally:
        if other is not database:
            other.close()


async def test_a_unit_that_fails_registers_nothing(database: Database) -> None:
    """As a server that dies before the commit."""
    await start_app(database)

    def fails(tx: Transaction) -> None:
        registrations.register(
            tx, APP, "v1", [declared("welcome", WELCOME), declared("nightly", NIGHTLY)], NOW
        )
        raise RuntimeError

    results = await asyncio.gather(database.write(fails), return_exceptions=True)
    assert isinstance(results[0], RuntimeError)
    assert await database.read(partial(registrations.of_app, app_id=APP)) == []
    assert await database.read(partial(subscriptions.of_app, app_id=APP)) == {}
    assert await database.read(lambda tx: tx.execute(select(lanes)).all()) == []
    assert await database.read(lambda tx: tx.execute(select(jobs)).all()) == []


async def test_tasks_that_are_gone_for_long_are_forgotten_with_whom_they_were_told_of(
    database: Database,
) -> None:
    await start_app(database)
    once = On(types=("user.enrolled",), once="user")
    task = (await register(database, declared("welcome", once), declared("tidy")))["welcome"]
    for number in range(3):
        await record(database, str(number))
    await register(database, declared("tidy"), version="v2")
    prune = partial(registrations.prune, rows_max=2, kept_ms=1_000)
    assert await database.write(partial(prune, now=NOW + 2_000)) == 0
    found = await database.read(partial(registrations.find, app_id=APP, name="welcome"))
    assert found is not None
    assert [await database.write(partial(prune, now=NOW + 2_001)) for _ in range(3)] == [2, 0, 0]
    assert await database.read(partial(registrations.find, app_id=APP, name="welcome")) is None
    assert await database.read(partial(registrations.find, app_id=APP, name="tidy")) is not None
    told = select(subscriptions.told).where(subscriptions.told.c.subscriber_id == task.task_id)
    assert await database.read(lambda tx: tx.execute(told).all()) == []
