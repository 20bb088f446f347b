"""Change hooks step by step, by hand: who fixes what a body tells, and that nothing falls between two."""

import asyncio
import threading
from functools import partial
from typing import Any

import pytest
from sqlalchemy import delete, func, select, text

from admit.accounts.tables import users
from admit.data import announcing
from admit.data.announcing import PUBLIC, Changed, Listening
from admit.data.authors import Author
from admit.events import upkeep
from admit.events.data_facts import DataChanged
from admit.events.log import events
from admit.jobs import claims, queue
from admit.jobs.claims import Wanted
from admit.jobs.queue import Job, Settlement
from admit.jobs.tables import jobs
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Finisher, Transaction
from admit.webhooks import campaign_starts, change_delivery, change_hooks, change_portions
from admit.webhooks.change_delivery import KIND
from admit.webhooks.change_portions import Outlook
from tests.contract.campaign_desk import LEASE_MS, Desk
from tests.residents import APP, person, start_app


@pytest.fixture
async def desk(database: Database, ring: KeyRing) -> Desk:
    await start_app(database)
    return Desk(database, ring)


async def change(desk: Desk, *keys: str, db: Database | None = None, realm: str = PUBLIC) -> None:
    made = [changed(key, desk.now, realm) for key in keys]
    unit = partial(announcing.announce, changes=made, listening={APP: Listening(tells=True)})
    await (db or desk.db).write(unit)


def changed(key: str, now: int, realm: str = PUBLIC) -> Changed:
    return Changed(
        app_id=APP,
        realm=realm,
        realm_id=PUBLIC,
        author=Author(uid=None, user_id=""),
        table="todos",
        key=key,
        type="upsert",
        value={"id": key},
        before=None,
        now=now,
    )


async def claim(desk: Desk, hook: str, db: Database | None = None) -> Job | None:
    """Claims the job of the hook, where it is due."""
    wanted = [Wanted(KIND, hook, tried, 1, LEASE_MS) for tried in (True, False)]
    unit = partial(claims.claim, wanted=wanted, worker="wkr_1", now=desk.now)
    found = [job for each in await (db or desk.db).write(unit) for job in each.jobs]
    return found[0] if found else None


async def look(desk: Desk, hook: str, db: Database | None = None) -> Outlook:
    outlook = await (db or desk.db).read(partial(change_portions.look, app_id=APP, endpoint_id=hook))
    assert outlook is not None
    return outlook


async def fix(desk: Desk, job: Job, outlook: Outlook, db: Database | None = None) -> str:
    return await (db or desk.db).write(partial(change_delivery._fix, job=job, outlook=outlook))


async def settle(desk: Desk, job: Job, db: Database | None = None) -> None:
    unit = change_delivery._next(job, desk.now)
    items = [Settlement(job=job, state="done", detail="", now=desk.now, unit=unit)]
    assert await (db or desk.db).write(partial(queue.settle, items=items)) == [True]


async def told_until(desk: Desk, hook: str) -> int | None:
    return await desk.db.read(partial(change_hooks.told_until, app_id=APP, endpoint_id=hook))


async def keys_of(desk: Desk, outlook: Outlook) -> list[str] | None:
    read = partial(change_portions.changes_of, app_id=APP, portion=outlook.portion)
    changes = await desk.db.read(read)
    return None if changes is None else [each.key for each in changes]


async def rows(desk: Desk) -> list[Any]:
    query = select(jobs.c.state, jobs.c.payload).where(jobs.c.kind == KIND).order_by(jobs.c.job_id)
    return await desk.db.read(lambda tx: list(tx.execute(query)))


async def test_worker_whose_claim_was_taken_over_fixes_nothing(desk: Desk) -> None:
    hook = await desk.endpoint(format="dexie")
    await change(desk, "k0")
    stale = await claim(desk, hook)
    assert stale is not None
    outlook = await look(desk, hook)
    desk.now += LEASE_MS + 1
    mine = await claim(desk, hook)
    assert mine is not None

    assert await fix(desk, stale, outlook) == "lost"
    assert (await rows(desk))[0].payload == ""
    assert await told_until(desk, hook) == 0
    assert await fix(desk, mine, outlook) == "fixed"
    assert await told_until(desk, hook) == 1


async def test_body_that_was_looked_at_before_a_replay_is_not_begun(desk: Desk) -> None:
    hook = await desk.endpoint(format="dexie")
    await change(desk, "k0")
    first = await claim(desk, hook)
    assert first is not None
    assert await fix(desk, first, await look(desk, hook)) == "fixed"
    await settle(desk, first)
    await change(desk, "k1")
    second = await claim(desk, hook)
    assert second is not None
    outlook = await look(desk, hook)
    await desk.db.write(
        lambda tx: campaign_starts.start_replay(
            tx, APP, hook, since=None, after=0, per_minute=None, now=desk.now
        )
    )

    assert await fix(desk, second, outlook) == "moved"
    assert await keys_of(desk, await look(desk, hook)) == ["k0", "k1"]


async def test_hook_passes_over_events_of_other_types_a_few_at_a_time(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_portions, "LOOKED_AT_MAX", 5)
    hook = await desk.endpoint(format="dexie")
    await change(desk, "k0")
    await desk.happens(*map(str, range(12)))
    await change(desk, "k1")
    job = await claim(desk, hook)
    assert job is not None
    found = []
    for _ in range(4):
        outlook = await look(desk, hook)
        found.append((outlook.portion.until, outlook.anything, outlook.more))
        await desk.db.write(
            partial(
                change_hooks.move,
                app_id=APP,
                endpoint_id=hook,
                from_here=outlook.told_until,
                to_there=outlook.portion.until,
            )
        )
    assert found == [(5, True, True), (10, False, True), (14, True, False), (14, False, False)]


async def test_what_is_no_longer_kept_is_said_to_be_missed_and_not_sent_in_part(desk: Desk) -> None:
    hook = await desk.endpoint(format="dexie")
    await change(desk, "k0")
    await change(desk, "k1")
    begun = await look(desk, hook)
    desk.now += 1_000
    await change(desk, "k2")
    await desk.db.write(lambda tx: upkeep.prune(tx, APP, before=desk.now, rows_max=100))

    assert await keys_of(desk, begun) is None
    outlook = await look(desk, hook)
    assert (outlook.portion.missed, await keys_of(desk, outlook)) == (2, ["k2"])


async def test_nothing_is_told_of_who_is_deleted_also_before_their_events_are_erased(desk: Desk) -> None:
    hook, ada = await desk.endpoint(format="dexie"), person()
    await desk.move_in(ada)
    await change(desk, "k0", realm=ada.uid)
    await change(desk, "k1")
    before = await look(desk, hook)
    assert await keys_of(desk, before) == ["k0", "k1"]

    await desk.db.write(lambda tx: tx.execute(delete(users).where(users.c.uid == ada.uid)))
    assert await keys_of(desk, before) == ["k1"]
    assert await keys_of(desk, await look(desk, hook)) == ["k1"]


async def test_nothing_falls_between_a_change_and_the_end_of_a_body(desk: Desk, database_url: str) -> None:
    """One process records changes while another one ends bodies: there is always who tells the rest."""
    hook = await desk.endpoint(format="dexie")
    here = desk.db
    there = here if database_url.startswith("sqlite") else Database(database_url)
    told: list[str] = []

    async def record() -> None:
        for number in range(150):
            await change(desk, f"k{number}", db=here)

    async def tell() -> None:
        while len(told) < 150:
            if (job := await claim(desk, hook, there)) is None:
                assert not recorded.done() or await left(desk, hook) == 0
                await asyncio.sleep(0)
                continue
            outlook = await look(desk, hook, there)
            if outlook.anything:
                assert await fix(desk, job, outlook, there) == "fixed"
                told.extend(await keys_of(desk, outlook) or ())
            await settle(desk, job, there)

    recorded = asyncio.create_task(record())
    async with asyncio.timeout(60):
        await asyncio.gather(recorded, tell())
    if there is not here:
        there.close()

    assert told == [f"k{number}" for number in range(150)]
    assert await left(desk, hook) == 0


async def test_body_that_ends_while_a_change_is_about_to_be_committed_waits_for_it(
    postgres_url: str, ring: KeyRing
) -> None:
    """The change has seen that a body is under way and leaves no job; so the end of that must see it."""
    here, there = Database(postgres_url), Database(postgres_url)
    await start_app(here)
    desk = Desk(here, ring)
    hook = await desk.endpoint(format="dexie")
    await change(desk, "k0")
    job = await claim(desk, hook)
    assert job is not None
    assert await fix(desk, job, await look(desk, hook)) == "fixed"
    placed, go = threading.Event(), threading.Event()

    def wait(_tx: Transaction, _items: list[None]) -> None:
        placed.set()
        assert go.wait(4)

    def record(tx: Transaction) -> None:
        announcing.announce(tx, [changed("k1", desk.now)], {APP: Listening(tells=True)})
        tx.defer(Finisher(rank=120, run=wait), None)

    recording = asyncio.create_task(there.write(record))
    assert await asyncio.to_thread(placed.wait, 4)
    ending = asyncio.create_task(settle(desk, job))
    while not ending.done() and not await waits_for_a_lock(there):
        await asyncio.sleep(0.01)
    go.set()
    await asyncio.gather(recording, ending)

    assert [row.state for row in await rows(desk)] == ["done", "waiting"]
    assert await keys_of(desk, await look(desk, hook)) == ["k1"]
    here.close()
    there.close()


async def waits_for_a_lock(db: Database) -> bool:
    asked = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    return await db.read(lambda tx: tx.execute(asked).scalar_one() > 0)


async def left(desk: Desk, hook: str) -> int:
    """How many changes nobody is about to tell."""
    unfinished = select(func.count()).where(jobs.c.kind == KIND, jobs.c.finished_at.is_(None))
    behind = select(func.count()).where(
        events.c.app_id == APP,
        events.c.type == DataChanged.event_type,
        events.c.position > (await told_until(desk, hook) or 0),
    )
    found: int = await desk.db.read(
        lambda tx: 0 if tx.execute(unfinished).scalar_one() else tx.execute(behind).scalar_one()
    )
    return found


async def test_two_bodies_that_end_in_one_commit_leave_one_job(desk: Desk) -> None:
    hook = await desk.endpoint(format="dexie")
    await change(desk, "k0")
    first = await claim(desk, hook)
    assert first is not None
    assert await fix(desk, first, await look(desk, hook)) == "fixed"
    await change(desk, "k1")
    await desk.db.write(lambda tx: change_hooks.go_on(tx, APP, hook, desk.now))
    assert len(await rows(desk)) == 1
    unit = change_delivery._next(first, desk.now)
    done = Settlement(job=first, state="done", detail="", now=desk.now, unit=unit)

    def both(tx: Any) -> None:
        queue.settle(tx, [done])
        change_hooks.go_on(tx, APP, hook, desk.now)

    await desk.db.write(both)
    assert [row.state for row in await rows(desk)] == ["done", "waiting"]
