"""Endpoints: a row, a subscription, a lane and secrets, which come and go together."""

import asyncio
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select, text, update
from standardwebhooks import Webhook

from admit.clock import DAY_MS
from admit.errors import Conflict
from admit.events import log, subscriptions
from admit.events.catalog import Person, UserDeleted
from admit.events.log import Event, Recorded
from admit.events.subscriptions import Filter
from admit.jobs.tables import jobs, lanes
from admit.outbound import signing
from admit.storage.database import Database
from admit.storage.sealing import KeyRing, SealBroken
from admit.storage.transaction import Transaction
from admit.webhooks import campaigns, endpoint_states, endpoints, health
from admit.webhooks.book import GOOD_SECONDS, Book
from admit.webhooks.endpoint_settings import SettingsChange
from admit.webhooks.endpoint_states import DROPPED_AT_ONCE
from admit.webhooks.endpoints import ENDPOINTS_MAX, KIND, Endpoint
from admit.webhooks.secrets import SECRETS_MAX, new_secret
from admit.webhooks.tables import endpoint_secrets
from admit.webhooks.tables import endpoints as rows
from tests.residents import APP, NOW, start_app

URL = "https://crm.example.com/hooks"
OTHER = "app_other"
BODY = b'{"type":"test.ping"}'
WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted")


async def create(
    db: Database, ring: KeyRing, *, app_id: str = APP, secret: str = "", **chosen: Any
) -> Endpoint:
    """An endpoint in an app that has a log."""
    new, secret = SettingsChange(**{"url": URL} | chosen), secret or new_secret("hmac")
    made = await db.write(lambda tx: endpoints.create(tx, ring, app_id, new, secret, NOW))
    return await current(db, ring, made, app_id)


async def current(db: Database, ring: KeyRing, endpoint_id: str, app_id: str = APP) -> Endpoint:
    endpoint = await db.read(lambda tx: endpoints.find(tx, ring, app_id, endpoint_id))
    assert endpoint is not None
    return endpoint


async def happens(db: Database, name: str = "ada", app_id: str = APP) -> None:
    """Something of which endpoints are told."""
    person = Person(uid=f"usr_{name}", user_id=name, type="eval")
    event = Event(app_id=app_id, uid=person.uid, occurred_at=NOW, data=UserDeleted(user=person))
    await db.write(lambda tx: log.record(tx, event))


async def owed(db: Database, endpoint_id: str) -> list[tuple[int, str]]:
    """The deliveries of an endpoint: the position of the event, and the state."""
    which = select(jobs.c.sequence, jobs.c.state).where(jobs.c.kind == KIND, jobs.c.lane == endpoint_id)
    return await db.read(
        lambda tx: [(row.sequence, row.state) for row in tx.execute(which.order_by(jobs.c.sequence))]
    )


async def lane(db: Database, endpoint_id: str) -> Any:
    which = select(lanes).where(lanes.c.lane == endpoint_id)
    return await db.read(lambda tx: tx.execute(which).one_or_none())


async def is_live(db: Database, endpoint_id: str, app_id: str = APP) -> bool:
    return (await db.read(partial(subscriptions.of_app, app_id=app_id)))[endpoint_id].live


async def recorded(db: Database) -> list[Recorded]:
    return await db.read(partial(log.after, app_id=APP, position=0, limit=100))


async def catch_ups(db: Database) -> int:
    which = select(func.count()).select_from(jobs).where(jobs.c.kind == campaigns.JOB_KIND)
    return await db.read(lambda tx: int(tx.execute(which).scalar_one()))


async def test_endpoint_is_told_of_what_happens_after_it_was_made(database: Database, ring: KeyRing) -> None:
    await start_app(database)
    await happens(database, "before")
    made = await create(database, ring, at_once_max=3, per_minute=60)
    await happens(database, "after")

    assert await owed(database, made.endpoint_id) == [(2, "waiting")]
    row = await lane(database, made.endpoint_id)
    assert (row.app_id, row.kind, row.closed, row.at_once_max, row.per_minute) == (APP, KIND, "no", 3, 60)
    assert (made.state, made.reason, made.caught_up_to, made.failing_since) == ("enabled", "", None, None)


async def test_endpoint_comes_back_as_it_was_made(database: Database, ring: KeyRing) -> None:
    await start_app(database)
    condition = subscriptions.Equal(("user", "data", "plan"), "team")
    chosen: dict[str, Any] = {
        "description": "CRM",
        "events": ("user.enrolled",),
        "filter": Filter(user_types=("prod",), email_domains=("acme.org",), equals=(condition,)),
        "once": "user",
        "format": "full",
        "retry_delays": (5.0, 0.5e3),
        "at_once_max": 2,
        "per_minute": None,
    }
    made = await create(database, ring, **chosen, headers={"authorization": "Bearer x"})

    assert msgspec.structs.asdict(made.settings) == {"url": URL, **chosen}
    assert made.headers == {"authorization": "Bearer x"}
    assert made.full
    assert made.schedule is not None
    assert made.schedule.delays_ms == (5_000, 500_000)


async def test_secrets_and_headers_are_sealed_for_their_place(database: Database, ring: KeyRing) -> None:
    await start_app(database)
    one = await create(database, ring, headers={"authorization": "Bearer sesame"})
    other = await create(database, ring)
    texts = await database.read(
        lambda tx: [
            *tx.execute(select(endpoint_secrets.c.sealed)),
            *tx.execute(select(rows.c.sealed_headers)),
        ]
    )
    assert "sesame" not in str(texts)
    assert one.secrets[0].text not in str(texts)
    assert "sesame" not in repr(one)
    assert one.secrets[0].text.removeprefix("whsec_") not in repr(one)

    headers = await database.read(
        lambda tx: tx.execute(
            select(rows.c.sealed_headers).where(rows.c.endpoint_id == one.endpoint_id)
        ).scalar_one()
    )
    move = update(rows).where(rows.c.endpoint_id == other.endpoint_id).values(sealed_headers=headers)
    await database.write(lambda tx: tx.execute(move))
    with pytest.raises(SealBroken):
        await current(database, ring, other.endpoint_id)


async def fill(database: Database, ring: KeyRing) -> None:
    """Leaves room for one more endpoint."""
    new, secret = SettingsChange(url=URL), new_secret("hmac")

    def add(tx: Transaction, some: Sequence[int]) -> None:
        for _ in some:
            endpoints.create(tx, ring, APP, new, secret, NOW)

    await database.write_in_pieces(add, range(ENDPOINTS_MAX - 1), size=25)


async def test_no_app_has_more_endpoints_than_the_limit(database: Database, ring: KeyRing) -> None:
    await start_app(database)
    await start_app(database, OTHER)
    await fill(database, ring)
    rivals = await asyncio.gather(*(create(database, ring) for _ in range(5)), return_exceptions=True)
    refused = [each for each in rivals if isinstance(each, Conflict)]
    assert len(refused) == 4
    assert {each.code for each in refused} == {"too_many_endpoints"}
    await create(database, ring, app_id=OTHER)


async def test_two_processes_share_the_limit_of_endpoints(postgres_url: str, ring: KeyRing) -> None:
    here, there = Database(postgres_url), Database(postgres_url)
    made, go_on = threading.Event(), threading.Event()

    def add_the_last(tx: Transaction) -> None:
        endpoints.create(tx, ring, APP, SettingsChange(url=URL), new_secret("hmac"), NOW)
        made.set()
        go_on.wait(4)

    try:
        await start_app(here)
        await fill(here, ring)
        filling = asyncio.create_task(there.write(add_the_last))
        await asyncio.to_thread(made.wait, 4)
        rival = asyncio.create_task(create(here, ring))
        while not rival.done() and not await here.read(lambda tx: tx.execute(WAITING).scalar_one()):
            await asyncio.sleep(0)
        go_on.set()
        await filling
        with pytest.raises(Conflict):
            await rival
    finally:
        here.close()
        there.close()


async def test_paused_endpoint_is_owed_nothing_new_and_remembers_where_it_stopped(
    database: Database, ring: KeyRing
) -> None:
    await start_app(database)
    made = await create(database, ring)
    await happens(database, "told")
    assert await database.write(
        partial(endpoint_states.pause, app_id=APP, endpoint_id=made.endpoint_id, now=NOW + 1)
    )
    await happens(database, "missed")

    assert await owed(database, made.endpoint_id) == [(1, "waiting")]
    paused = await current(database, ring, made.endpoint_id)
    assert (paused.state, paused.caught_up_to, paused.reason) == ("paused", 1, "An operator has paused it.")
    assert (await lane(database, made.endpoint_id)).closed == "yes"


async def test_events_of_one_commit_are_told_before_a_pause_or_missed_but_never_both(
    database: Database, ring: KeyRing
) -> None:
    await start_app(database)
    made = await create(database, ring)
    pausing = partial(endpoint_states.pause, app_id=APP, endpoint_id=made.endpoint_id, now=NOW)
    await asyncio.gather(
        *(happens(database, f"p{number}") for number in range(10)),
        database.write(pausing),
        *(happens(database, f"q{number}") for number in range(10)),
    )
    stopped = (await current(database, ring, made.endpoint_id)).caught_up_to
    told = [position for position, _ in await owed(database, made.endpoint_id)]
    assert told == list(range(1, (stopped or 0) + 1))


async def test_a_pause_cuts_cleanly_through_what_other_processes_record(
    postgres_url: str, ring: KeyRing
) -> None:
    here, there = Database(postgres_url), Database(postgres_url)
    here.signals.attach(asyncio.get_running_loop())
    try:
        await start_app(here)
        made = await create(here, ring)
        pausing = partial(endpoint_states.pause, app_id=APP, endpoint_id=made.endpoint_id, now=NOW)

        async def keep_happening() -> None:
            for number in range(60):
                await happens(there, f"p{number}")

        happening = asyncio.create_task(keep_happening())
        while not await owed(here, made.endpoint_id):
            await asyncio.sleep(0)
        await here.write(pausing)
        await happening
        stopped = (await current(here, ring, made.endpoint_id)).caught_up_to
        told = [position for position, _ in await owed(here, made.endpoint_id)]
        assert told == list(range(1, (stopped or 0) + 1))
        assert 0 < len(told) < 60
    finally:
        here.close()
        there.close()


async def test_resumed_endpoint_stays_behind_until_it_has_caught_up(
    database: Database, ring: KeyRing
) -> None:
    await start_app(database)
    made = await create(database, ring)
    key: Any = {"app_id": APP, "endpoint_id": made.endpoint_id, "now": NOW}
    await database.write(partial(endpoint_states.pause, **key))
    await happens(database)
    assert await catch_ups(database) == 0
    await database.write(partial(endpoint_states.resume, **key))

    resumed = await current(database, ring, made.endpoint_id)
    assert (resumed.state, resumed.reason, resumed.caught_up_to) == ("enabled", "", 0)
    assert not await is_live(database, made.endpoint_id)
    assert (await lane(database, made.endpoint_id)).closed == "no"
    assert await catch_ups(database) == 1

    await database.write(partial(endpoint_states.resume, **key))
    assert await catch_ups(database) == 1


async def test_pausing_what_is_still_behind_keeps_where_it_stopped(database: Database, ring: KeyRing) -> None:
    await start_app(database)
    made = await create(database, ring)
    key: Any = {"app_id": APP, "endpoint_id": made.endpoint_id, "now": NOW}
    for step in (endpoint_states.pause, endpoint_states.resume, endpoint_states.pause):
        await database.write(partial(step, **key))
        await happens(database)
    assert (await current(database, ring, made.endpoint_id)).caught_up_to == 0


async def test_what_is_behind_stays_behind_when_it_is_changed(database: Database, ring: KeyRing) -> None:
    await start_app(database)
    made = await create(database, ring)
    key: Any = {"app_id": APP, "endpoint_id": made.endpoint_id, "now": NOW}
    await database.write(partial(endpoint_states.pause, **key))
    change = SettingsChange(events=("user.deleted",), once="device", at_once_max=1)
    assert await database.write(partial(endpoints.change, ring=ring, change=change, **key))
    await happens(database)

    assert await owed(database, made.endpoint_id) == []
    assert not await is_live(database, made.endpoint_id)
    changed = await current(database, ring, made.endpoint_id)
    assert (changed.settings.events, changed.settings.once) == (("user.deleted",), "device")
    row = await lane(database, made.endpoint_id)
    assert (row.closed, row.at_once_max) == ("yes", 1)


async def test_a_change_holds_from_the_next_event_and_leaves_the_rest(
    database: Database, ring: KeyRing
) -> None:
    await start_app(database)
    made = await create(database, ring, headers={"x-key": "1"}, description="CRM", at_once_max=2)
    key: Any = {"ring": ring, "app_id": APP, "endpoint_id": made.endpoint_id, "now": NOW + 1}
    await happens(database)
    await database.write(partial(endpoints.change, change=SettingsChange(events=("user.enrolled",)), **key))
    await happens(database)
    assert await owed(database, made.endpoint_id) == [(1, "waiting")]

    changed = await current(database, ring, made.endpoint_id)
    assert changed.settings == msgspec.structs.replace(made.settings, events=("user.enrolled",))
    assert changed.headers == made.headers
    assert (changed.created_at, changed.changed_at) == (NOW, NOW + 1)
    await database.write(
        partial(endpoints.change, change=SettingsChange(headers={}, at_once_max=None), **key)
    )
    changed = await current(database, ring, made.endpoint_id)
    assert changed.headers == {}
    assert (await lane(database, made.endpoint_id)).at_once_max is None


async def test_a_failing_endpoint_is_told_of_after_a_day_and_disabled_after_five(
    database: Database, ring: KeyRing
) -> None:
    await start_app(database)
    made = await create(database, ring, description="CRM")

    async def fails(now: int) -> Endpoint:
        here = await current(database, ring, made.endpoint_id)
        detail = "It answered 503."
        await database.write(partial(endpoint_states.failed, endpoint=here, detail=detail, now=now))
        return await current(database, ring, made.endpoint_id)

    assert (await fails(NOW)).failing_since == NOW
    assert (await fails(NOW + health.NOTICE_MS - 1)).noticed_at is None
    assert (await fails(NOW + health.NOTICE_MS)).noticed_at == NOW + health.NOTICE_MS
    await fails(NOW + 2 * DAY_MS)
    failed = await fails(NOW + health.DISABLE_MS)
    assert (failed.state, failed.caught_up_to) == ("disabled", 1)
    assert failed.reason == "For 5 days every attempt has failed. The last one: It answered 503."

    notice, end = await recorded(database)
    named = {"id": made.endpoint_id, "url": "https://crm.example.com", "description": "CRM"}
    assert notice.type == "endpoint.failing"
    assert msgspec.json.decode(notice.data) == {
        "endpoint": named,
        "failing_since": "2024-10-04T12:00:00.000Z",
        "reason": "It answered 503.",
    }
    assert end.type == "endpoint.disabled"
    assert msgspec.json.decode(end.data) == {
        "endpoint": named,
        "failing_since": "2024-10-04T12:00:00.000Z",
        "reason": failed.reason,
    }


async def test_recovery_and_resuming_begin_with_a_clean_record(database: Database, ring: KeyRing) -> None:
    await start_app(database)
    made = await create(database, ring)
    key: Any = {"app_id": APP, "endpoint_id": made.endpoint_id, "now": NOW + 5}
    fail = partial(endpoint_states.failed, endpoint=made, detail="It answered 500.", now=NOW)

    await database.write(fail)
    await database.write(partial(endpoint_states.recovered, endpoint=made))
    assert (await current(database, ring, made.endpoint_id)).failing_since is None

    await database.write(fail)
    await database.write(partial(endpoint_states.pause, **key))
    await database.write(partial(endpoint_states.resume, **key))
    assert (await current(database, ring, made.endpoint_id)).failing_since is None

    await database.write(fail)
    moved = SettingsChange(url="https://other.example.com/")
    await database.write(partial(endpoints.change, ring=ring, change=moved, **key))
    assert (await current(database, ring, made.endpoint_id)).failing_since is None


async def test_an_answer_from_where_it_was_before_disables_nothing(database: Database, ring: KeyRing) -> None:
    await start_app(database)
    made = await create(database, ring)
    key: Any = {"app_id": APP, "endpoint_id": made.endpoint_id, "now": NOW}
    moved = SettingsChange(url="https://other.example.com/")
    await database.write(partial(endpoints.change, ring=ring, change=moved, **key))

    gone = partial(endpoint_states.disable, endpoint=made, reason="It answered 410 Gone.", now=NOW)
    assert not await database.write(gone)
    await database.write(partial(endpoint_states.failed, endpoint=made, detail="It answered 500.", now=NOW))
    here = await current(database, ring, made.endpoint_id)
    assert (here.state, here.failing_since) == ("enabled", None)
    assert await recorded(database) == []


async def test_an_endpoint_is_disabled_once(database: Database, ring: KeyRing) -> None:
    await start_app(database)
    made = await create(database, ring)
    gone = partial(endpoint_states.disable, endpoint=made, reason="It answered 410 Gone.", now=NOW)
    outcomes = await asyncio.gather(*(database.write(gone) for _ in range(5)))

    assert sorted(outcomes) == [False] * 4 + [True]
    assert [each.type for each in await recorded(database)] == ["endpoint.disabled"]
    here = await current(database, ring, made.endpoint_id)
    assert (here.state, here.reason, here.caught_up_to) == ("disabled", "It answered 410 Gone.", 0)
    assert await owed(database, made.endpoint_id) == []


async def test_a_removed_endpoint_leaves_only_deliveries_that_have_ended(
    database: Database, ring: KeyRing
) -> None:
    await start_app(database)
    made, stays = await create(database, ring), await create(database, ring)
    await happens(database, "ada")
    await happens(database, "bob")
    finish = update(jobs).where(jobs.c.lane == made.endpoint_id, jobs.c.sequence == 1)
    await database.write(lambda tx: tx.execute(finish.values(state="done", finished_at=NOW)))

    remove = partial(endpoint_states.remove, app_id=APP, endpoint_id=made.endpoint_id, now=NOW)
    assert [await database.write(remove) for _ in range(3)] == ["more", "gone", "unknown"]
    assert await owed(database, made.endpoint_id) == [(1, "done"), (2, "dead")]
    assert await lane(database, made.endpoint_id) is None
    assert await database.read(lambda tx: endpoints.find(tx, ring, APP, made.endpoint_id)) is None
    left = await database.read(lambda tx: tx.execute(select(endpoint_secrets.c.endpoint_id)).scalars().all())
    assert left == [stays.endpoint_id]
    await happens(database, "eve")
    assert len(await owed(database, made.endpoint_id)) == 2
    assert len(await owed(database, stays.endpoint_id)) == 3


async def test_a_removal_that_is_cut_off_is_taken_up_again(database: Database, ring: KeyRing) -> None:
    await start_app(database)
    made = await create(database, ring)
    for start in range(0, DROPPED_AT_ONCE + 1, 100):
        await asyncio.gather(*(happens(database, f"p{number}") for number in range(start, start + 100)))
    remove = partial(endpoint_states.remove, app_id=APP, endpoint_id=made.endpoint_id, now=NOW)
    assert await database.write(remove) == "more"
    states = [state for _, state in await owed(database, made.endpoint_id)]
    assert states.count("dead") == DROPPED_AT_ONCE

    half = await current(database, ring, made.endpoint_id)
    assert (half.state, half.reason) == ("paused", "It is being removed.")
    assert (await lane(database, made.endpoint_id)).closed == "yes"
    await happens(database, "late")
    assert [await database.write(remove) for _ in range(2)] == ["more", "gone"]
    assert {state for _, state in await owed(database, made.endpoint_id)} == {"dead"}


def verifies(endpoint: Endpoint, now: int, secret: str) -> bool:
    """Whether the library that receivers use accepts a request at `now` with `secret`."""
    signed = signing.headers(endpoint.live_secrets(now), "evt_1", now // 1_000, BODY)
    signatures = signed["webhook-signature"].split(" ")
    at = datetime.fromtimestamp(now // 1_000, UTC)
    return Webhook(secret).sign("evt_1", at, BODY.decode()) in signatures


async def test_former_and_present_secret_sign_for_a_day_then_the_present_alone(
    database: Database, ring: KeyRing
) -> None:
    await start_app(database)
    former, present = new_secret("hmac"), new_secret("hmac")
    made = await create(database, ring, secret=former)
    key: Any = {"ring": ring, "app_id": APP, "endpoint_id": made.endpoint_id}
    rotate = partial(endpoints.rotate, secret=present, overlap_seconds=86_400, now=NOW, **key)
    assert await database.write(rotate)

    here = await current(database, ring, made.endpoint_id)
    last = NOW + DAY_MS - 1
    assert here.live_secrets(last) == (present, former)
    assert verifies(here, last, former)
    assert verifies(here, last, present)
    assert here.live_secrets(last + 1) == (present,)
    assert not verifies(here, last + 1, former)


async def test_a_second_rotation_takes_no_key_from_a_receiver_before_its_time(
    database: Database, ring: KeyRing
) -> None:
    await start_app(database)
    texts = [new_secret("hmac") for _ in range(SECRETS_MAX + 2)]
    made = await create(database, ring, secret=texts[0])
    key: Any = {"ring": ring, "app_id": APP, "endpoint_id": made.endpoint_id, "overlap_seconds": 86_400}
    for number, each in enumerate(texts[1:3], 1):
        await database.write(partial(endpoints.rotate, secret=each, now=NOW + number, **key))
    here = await current(database, ring, made.endpoint_id)
    assert here.live_secrets(NOW + 3) == (texts[2], texts[1], texts[0])
    assert here.live_secrets(NOW + 1 + DAY_MS) == (texts[2], texts[1])

    for number, each in enumerate(texts[3:], 3):
        await database.write(partial(endpoints.rotate, secret=each, now=NOW + number, **key))
    here = await current(database, ring, made.endpoint_id)
    assert here.live_secrets(NOW + 9) == tuple(reversed(texts))[:SECRETS_MAX]


async def test_a_secret_that_has_leaked_ends_at_once_with_all_former_ones(
    database: Database, ring: KeyRing
) -> None:
    await start_app(database)
    made = await create(database, ring)
    key: Any = {"ring": ring, "app_id": APP, "endpoint_id": made.endpoint_id}
    second, third = new_secret("hmac"), new_secret("ed25519")
    await database.write(partial(endpoints.rotate, secret=second, overlap_seconds=86_400, now=NOW + 1, **key))
    await database.write(partial(endpoints.rotate, secret=third, overlap_seconds=0, now=NOW + 2, **key))

    here = await current(database, ring, made.endpoint_id)
    assert here.live_secrets(NOW + 2) == (third,)
    assert [each.text for each in here.secrets] == [third]
    assert not verifies(here, NOW + 2, second)


async def test_apps_do_not_reach_each_others_endpoints(database: Database, ring: KeyRing) -> None:
    await start_app(database)
    await start_app(database, OTHER)
    made = await create(database, ring)
    key: Any = {"app_id": OTHER, "endpoint_id": made.endpoint_id, "now": NOW}
    assert await database.read(lambda tx: endpoints.find(tx, ring, OTHER, made.endpoint_id)) is None
    assert not await database.write(partial(endpoint_states.pause, **key))
    assert not await database.write(partial(endpoint_states.resume, **key))
    assert not await database.write(
        partial(endpoints.change, ring=ring, change=SettingsChange(description="x"), **key)
    )
    assert await database.write(partial(endpoint_states.remove, **key)) == "unknown"
    rotate = partial(endpoints.rotate, ring=ring, secret=new_secret("hmac"), overlap_seconds=0, **key)
    assert not await database.write(rotate)
    await happens(database, app_id=OTHER)
    assert await owed(database, made.endpoint_id) == []
    assert await current(database, ring, made.endpoint_id) == made


class Watch:
    """A clock of the book that the test moves."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def test_the_book_knows_a_change_as_soon_as_it_is_written(database: Database, ring: KeyRing) -> None:
    await start_app(database)
    made = await create(database, ring)
    book = Book(database, ring)
    key: Any = {"app_id": APP, "endpoint_id": made.endpoint_id, "now": NOW}
    assert await book.endpoint(APP, made.endpoint_id) == made
    assert await book.endpoint(OTHER, made.endpoint_id) is None
    for step in (endpoint_states.pause, endpoint_states.resume):
        await database.write(partial(step, **key))
        assert await book.endpoint(APP, made.endpoint_id) == await current(database, ring, made.endpoint_id)
    rotate = partial(endpoints.rotate, ring=ring, secret=new_secret("ed25519"), overlap_seconds=0, **key)
    assert await book.public_keys(APP, NOW) == ()
    await database.write(rotate)
    assert [each.kind for each in await book.public_keys(APP, NOW)] == ["ed25519"]
    assert await database.write(partial(endpoint_states.remove, **key)) == "gone"
    assert await book.endpoint(APP, made.endpoint_id) is None
    assert await book.public_keys(APP, NOW) == ()
    book.close()


async def test_the_book_reads_again_when_a_signal_was_lost(database: Database, ring: KeyRing) -> None:
    await start_app(database)
    made = await create(database, ring)
    watch = Watch()
    book = Book(database, ring, monotonic=watch)
    await book.endpoint(APP, made.endpoint_id)
    silent = update(rows).values(description="changed elsewhere")
    await database.write(lambda tx: tx.execute(silent))

    known = await book.endpoint(APP, made.endpoint_id)
    assert known is not None
    assert known.settings.description == ""
    watch.seconds = GOOD_SECONDS
    known = await book.endpoint(APP, made.endpoint_id)
    assert known is not None
    assert known.settings.description == "changed elsewhere"
    book.close()


async def test_a_change_while_the_book_reads_is_not_forgotten(
    database: Database, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    await start_app(database)
    made = await create(database, ring)
    book = Book(database, ring)
    has_read, go_on = asyncio.Event(), asyncio.Event()
    read = database.read

    async def slowly(query: Any) -> Any:
        found = await read(query)
        has_read.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(database, "read", slowly)
    reading = asyncio.create_task(book.endpoint(APP, made.endpoint_id))
    await has_read.wait()
    pause = partial(endpoint_states.pause, app_id=APP, endpoint_id=made.endpoint_id, now=NOW)
    await database.write(pause)
    go_on.set()
    old, new = await reading, await book.endpoint(APP, made.endpoint_id)
    assert old is not None
    assert new is not None
    assert (old.state, new.state) == ("enabled", "paused")
    book.close()
