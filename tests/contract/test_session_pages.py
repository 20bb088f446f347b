"""Pages of sessions, and of users with theirs: whole, in order, with any filter, by the index."""

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Executable

from admit.accounts import counting, session_pages, tables, user_session_pages, user_totals
from admit.accounts.session_pages import Page, Which
from admit.accounts.sessions import Session
from admit.accounts.user_session_pages import Holder, HolderPage, WhichUsers
from admit.accounts.user_totals import Total, UserTotals
from admit.accounts.users import User
from admit.errors import InvalidRequest, StorageUnavailable
from admit.storage.database import Database
from admit.storage.transaction import Transaction, Unit
from tests.contract.crowded_devices import enrolled, move_onto_devices
from tests.residents import APP, NOW, day, move_in, person

ADA = person("ada@example.com", uid="usr_ada")
LATER = day(90)


async def ask(database: Database, user: User = ADA, *, idle_days: int = 0, **which: Any) -> Page:
    """A page of the sessions of `user`, as they are at LATER."""

    def find(tx: Transaction) -> Page:
        return session_pages.of_user(tx, user, Which(**which), now=LATER, idle_days=idle_days)

    return await database.read(find)


async def ask_all(database: Database, **which: Any) -> list[str]:
    """The ids on all pages of Ada's sessions, each from where the one before has ended."""
    found: list[str] = []
    while True:
        page = await ask(database, **which)
        found += [each.session_id for each in page.sessions]
        if page.next is None:
            return found
        which["after"] = page.next


async def on_device(database: Database, *, device: str, **which: Any) -> list[str]:
    """The ids of the sessions on `device`, whoever is on it."""

    def look(tx: Transaction) -> Page:
        return session_pages.of_device(tx, APP, device, Which(**which), now=LATER)

    return [each.session_id for each in (await database.read(look)).sessions]


def newest_first(sessions: list[Session]) -> list[str]:
    ordered = sorted(sessions, key=lambda each: (each.created_at, each.session_id), reverse=True)
    return [each.session_id for each in ordered]


def history(size: int, user: User = ADA) -> list[Session]:
    """Sessions with many ties, in every state."""
    return [
        enrolled(
            user,
            number,
            device_id=f"device{number % 5}",
            state=("ENROLLED", "LOCKED", "RESET")[number % 3],
            reason=("", "locked", "wiped")[number % 3],
            created_at=NOW + number // 4,
            authenticated_at=NOW + number % 7,
            refresh_until=(LATER, LATER + 1, day(180))[number % 4 % 3],
            connected_at=NOW + number,
        )
        for number in range(size)
    ]


async def test_pages_are_all_sessions_newest_first_without_repeats(database: Database) -> None:
    bob = person("bob@example.com")
    await move_in(database, ADA, bob, person("stranger", app_id="app_other", uid=ADA.uid))
    sessions = history(60)
    await move_onto_devices(database, [*sessions, *history(9, bob)])

    for limit in (1, 7, 60, 1_000):
        assert await ask_all(database, limit=limit) == newest_first(sessions)
    page = await ask(database, limit=7)
    assert (len(page.sessions), page.total) == (7, 60)


async def test_sessions_that_come_and_go_between_pages_neither_hide_nor_repeat_others(
    database: Database,
) -> None:
    await move_in(database, ADA)
    sessions = history(40)
    await move_onto_devices(database, sessions)
    first = await ask(database, limit=10)

    def forget_some(tx: Transaction) -> None:
        gone = [first.sessions[-1].session_id, first.sessions[2].session_id]
        tx.execute(tables.sessions.delete().where(tables.sessions.c.session_id.in_(gone)))

    await database.write(forget_some)
    await move_onto_devices(database, [enrolled(ADA, 100, created_at=NOW + 5_000)])

    rest = await ask_all(database, limit=10, after=first.next)
    assert [each.session_id for each in first.sessions] + rest == newest_first(sessions)


async def test_filters_find_what_they_say_and_count_it(database: Database) -> None:
    await move_in(database, ADA)
    sessions = history(40)
    await move_onto_devices(database, sessions)

    devices, states, actives = (None, "device3", "nothing"), (None, "ENROLLED", "RESET"), (None, True, False)
    for device, state, active, created, authenticated in product(
        devices, states, actives, (0, NOW + 5), (0, NOW + 4)
    ):
        which: dict[str, Any] = {
            "device": device,
            "state": state,
            "active": active,
            "created_since": created,
            "authenticated_since": authenticated,
        }
        wanted = [
            each
            for each in sessions
            if device in (None, each.device_id)
            and state in (None, each.state)
            and active in (None, each.state == "ENROLLED" and each.refresh_until > LATER)
            and each.created_at >= created
            and each.authenticated_at >= authenticated
        ]
        assert await ask_all(database, limit=3, **which) == newest_first(wanted), which
        for skip in (0, 1):
            assert (await ask(database, limit=1, skip=skip, **which)).total == len(wanted), which
        if device is not None:
            assert await on_device(database, limit=1_000, **which) == newest_first(wanted), which


async def test_nothing_is_active_of_who_may_not_sign_in_nor_what_was_idle_too_long(
    database: Database,
) -> None:
    locked = person("locked@example.com", locked_at=NOW)
    deactivated = person("deactivated@example.com", deactivated_at=NOW)
    await move_in(database, ADA, locked, deactivated)
    for user in (ADA, locked, deactivated):
        await move_onto_devices(database, [enrolled(user, connected_at=day(60))])

    async def active(user: User, idle_days: int) -> int:
        return len((await ask(database, user, active=True, idle_days=idle_days)).sessions)

    assert [await active(user, 0) for user in (ADA, locked, deactivated)] == [1, 0, 0]
    assert [await active(ADA, days) for days in (29, 30, 31)] == [0, 0, 1]
    assert (await ask(database, locked, active=False)).total == 1
    assert len(await on_device(database, device="device0", active=True)) == 1
    assert len(await on_device(database, device="device0", active=False)) == 2


async def test_sessions_on_one_device_are_those_of_everybody_on_it(database: Database) -> None:
    bob = person("bob@example.com")
    await move_in(database, ADA, bob)
    on_tablet = [
        enrolled(ADA, 1, device_id="tablet", created_at=NOW + 1),
        enrolled(bob, 2, device_id="tablet", created_at=NOW + 2, state="LOCKED", reason="locked"),
    ]
    await move_onto_devices(database, [*on_tablet, enrolled(bob, 3), enrolled(ADA, 4)])

    def look(tx: Transaction, **which: Any) -> Page:
        return session_pages.of_device(tx, APP, "tablet", Which(**which), now=LATER)

    page = await database.read(partial(look, limit=1))
    assert ([each.user_id for each in page.sessions], page.total) == (["bob@example.com"], 2)
    rest = await database.read(partial(look, limit=1, after=page.next))
    assert ([each.user_id for each in rest.sessions], rest.next) == (["ada@example.com"], None)
    assert (await database.read(partial(look, state="LOCKED"))).total == 1
    assert (await database.read(partial(look, skip=1))).sessions == rest.sessions


def crowded_tablet(size: int) -> list[Session]:
    """Sessions of Ada on one tablet, which has been enrolled again and again."""
    return [
        enrolled(
            ADA,
            number,
            device_id="tablet",
            state="ENROLLED" if number % 3 == 0 else "LOCKED",
            reason="" if number % 3 == 0 else "replaced",
            created_at=NOW + number // 2,
        )
        for number in range(size)
    ]


async def test_first_and_later_sessions_on_a_device_come_in_one_order_and_are_counted_while_few(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_pages, "COUNTED_ON_DEVICE_MAX", 29)
    others = [person(f"user{number}@example.com") for number in range(5)]
    await move_in(database, ADA, *others)
    sessions = crowded_tablet(30) + [
        enrolled(user, 900, device_id="tablet", ordinal=1, created_at=NOW + 4 * number)
        for number, user in enumerate(others)
    ]
    await move_onto_devices(database, sessions)
    expected = newest_first(sessions)

    async def ask_for(**which: Any) -> Page:
        return await database.read(
            partial(session_pages.of_device, app_id=APP, device="tablet", which=Which(**which), now=LATER)
        )

    for limit in (1, 4, 34, 35, 1_000):
        found: list[str] = []
        after = None
        while True:
            page = await ask_for(limit=limit, after=after)
            assert page.total == 35
            found += [each.session_id for each in page.sessions]
            if (after := page.next) is None:
                break
        assert found == expected
    for skip in range(37):
        page = await ask_for(limit=3, skip=skip)
        assert [each.session_id for each in page.sessions] == expected[skip : skip + 3]
    enrolled_ones = [each.session_id for each in sessions if each.state == "ENROLLED"]
    assert (await ask_for(limit=1, state="ENROLLED")).total == len(enrolled_ones)
    await move_onto_devices(database, crowded_tablet(31)[30:])
    assert (await ask_for(limit=1)).total is None
    assert (await ask_for(limit=1, state="ENROLLED")).total is None
    assert (await ask_for()).total == 36


async def test_id_that_too_many_devices_have_is_no_filter(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_pages, "ON_DEVICE_MAX", 2)
    users = crowd(3)
    await move_in(database, *users)
    await move_onto_devices(database, [enrolled(user, device_id="browser") for user in users[:2]])
    assert await all_people(database, device="browser") == [user.user_id for user in users[:2]]
    await move_onto_devices(database, [enrolled(users[2], device_id="browser")])
    with pytest.raises(InvalidRequest, match="tells nobody apart"):
        await people(database, device="browser")


async def test_session_of_another_user_is_not_found(database: Database) -> None:
    bob = person("bob@example.com")
    await move_in(database, ADA, bob)
    session = enrolled(ADA)
    await move_onto_devices(database, [session])

    async def find(user: User) -> bool:
        look = partial(session_pages.find_listed, user=user, session_id=session.session_id)
        return await database.read(look) is not None

    assert [await find(ADA), await find(bob)] == [True, False]


@pytest.mark.parametrize(
    ("which", "named"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1_001}, "limit"),
        ({"skip": -1}, "skip"),
        ({"skip": 100_001}, "`next`"),
        ({"skip": 1, "after": session_pages.cursor_at(1, "ses")}, "not both"),
        ({"after": "bm9uc2Vuc2U"}, "after"),
        ({"after": "\x00"}, "after"),
    ],
)
async def test_page_that_cannot_be_is_refused_with_a_sentence(
    database: Database, which: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidRequest, match=named):
        await ask(database, **which)
    with pytest.raises(InvalidRequest, match=named):
        await people(database, **which)


async def test_skip_goes_as_far_as_it_says(database: Database) -> None:
    await move_in(database, ADA)
    sessions = history(10)
    await move_onto_devices(database, sessions)

    page = await ask(database, limit=3, skip=4)
    assert [each.session_id for each in page.sessions] == newest_first(sessions)[4:7]
    assert (await ask(database, skip=100_000)).sessions == []


# Users


async def people(database: Database, **which: Any) -> HolderPage:
    return await database.read(partial(user_session_pages.page, app_id=APP, which=WhichUsers(**which)))


async def holder_of(database: Database, user: User) -> Holder:
    (holder,) = await database.read(partial(user_session_pages.with_sessions, people=[user]))
    return holder


async def all_people(database: Database, **which: Any) -> list[str]:
    found: list[str] = []
    while True:
        page = await people(database, **which)
        found += [each.user.user_id for each in page.holders]
        if page.next is None:
            return found
        which["after"] = page.next


def crowd(size: int) -> list[User]:
    """People who came in a few at a time, every fifth of them locked."""
    return [
        person(f"user{number:04d}", created_at=NOW + number // 4, locked_at=NOW if number % 5 == 0 else None)
        for number in range(size)
    ]


async def test_users_come_in_the_order_of_their_creation_with_their_own_sessions(
    database: Database,
) -> None:
    users = crowd(30)
    await move_in(database, *reversed(users), person("stranger", app_id="app_other"))
    for number, user in enumerate(users):
        await move_onto_devices(database, history(number % 4, user))

    for limit in (1, 7, 30):
        assert await all_people(database, limit=limit) == [user.user_id for user in users]
    for number, holder in enumerate((await people(database)).holders):
        assert [each.session_id for each in holder.sessions] == newest_first(
            history(number % 4, users[number])
        )
        assert not holder.sessions_more


async def test_users_are_found_by_lock_and_by_device(database: Database) -> None:
    users = crowd(30)
    await move_in(database, *users)
    on_device = users[3:17]
    await move_onto_devices(database, [enrolled(user, device_id="tablet") for user in on_device])

    for locked in (None, True, False):
        wanted = [user for user in users if locked in (None, user.locked_at is not None)]
        assert await all_people(database, locked=locked, limit=4) == [user.user_id for user in wanted]
        there = [user.user_id for user in wanted if user in on_device]
        assert await all_people(database, locked=locked, device="tablet", limit=4) == there
        assert (await people(database, locked=locked, device="tablet", limit=1)).total == len(there)


async def test_user_comes_with_their_newest_sessions_and_is_told_to_have_more(database: Database) -> None:
    await move_in(database, ADA)
    sessions = [enrolled(ADA, number, created_at=NOW + number) for number in range(101)]
    await move_onto_devices(database, sessions)

    holder = await holder_of(database, ADA)
    assert [each.session_id for each in holder.sessions] == newest_first(sessions)[:100]
    assert holder.sessions_more
    large = (await people(database, limit=1_000)).holders[0]
    assert (len(large.sessions), large.sessions_more) == (10, True)


@pytest.mark.parametrize("others", [0, 120])
async def test_who_is_enrolled_and_when_they_were_heard_of_counts_their_own_sessions_alone(
    database: Database, others: int
) -> None:
    await move_in(database, ADA)
    gone = {"state": "LOCKED", "reason": "logged_out"}
    past = [enrolled(ADA, 1000 + number, **gone) for number in range(others)]
    await move_onto_devices(database, past)
    assert not (await holder_of(database, ADA)).enrolled

    acting = enrolled(ADA, 1, actor="owner@example.com", connected_at=day(9))
    await move_onto_devices(
        database, [acting, enrolled(ADA, 2, created_at=NOW + 1, connected_at=day(3), **gone)]
    )
    holder = await holder_of(database, ADA)
    assert (holder.enrolled, holder.last_connected_at) == (False, day(3))

    await move_onto_devices(database, [enrolled(ADA, 3, created_at=NOW - 1, connected_at=day(1))])
    holder = await holder_of(database, ADA)
    assert (holder.enrolled, holder.last_connected_at) == (True, day(3))
    await move_onto_devices(database, [enrolled(ADA, 4, created_at=NOW - 2, connected_at=day(5))])
    assert (await holder_of(database, ADA)).last_connected_at == day(5)


async def test_who_has_no_session_was_never_heard_of(database: Database) -> None:
    await move_in(database, ADA)
    holder = await holder_of(database, ADA)
    assert (holder.sessions, holder.enrolled, holder.last_connected_at) == ([], False, None)


async def test_user_is_found_by_uid_before_user_id(database: Database) -> None:
    impostor = person(ADA.uid)
    await move_in(database, ADA, impostor)

    async def find(id_: str) -> User | None:
        return await database.read(partial(user_session_pages.find, app_id=APP, id_=id_, user_id=id_))

    assert await find(ADA.uid) == ADA
    assert await find(ADA.user_id) == ADA
    assert await find(impostor.uid) == impostor
    assert await find("nobody") is None


# Totals


async def test_few_users_are_counted_for_whoever_asks(database: Database) -> None:
    totals = UserTotals(database)
    await move_in(database, *crowd(10))
    assert await totals.of(APP) == Total(10, 2)
    await move_in(database, person("newcomer"))
    total = await totals.of(APP)
    assert [total.of(locked) for locked in (None, True, False)] == [11, 2, 9]
    await totals.close()


async def test_many_users_are_counted_once_for_all_and_again_when_it_is_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_totals, "EXACT_MAX", 5)
    monkeypatch.setattr(user_totals, "PIECE_ROWS", 4)
    seconds, countings = 0.0, 0

    async def read(query: Unit[Any]) -> Any:
        nonlocal countings
        countings += getattr(query, "keywords", {}).get("after") == ""
        return await real_read(query)

    real_read = database.read
    monkeypatch.setattr(database, "read", read)
    totals = UserTotals(database, monotonic=lambda: seconds)
    await move_in(database, *crowd(10))
    assert await asyncio.gather(*(totals.of(APP) for _ in range(20))) == [Total(10, 2)] * 20
    assert countings == 1

    await move_in(database, person("newcomer"))
    seconds = user_totals.GOOD_SECONDS - 1
    assert await totals.of(APP) == Total(10, 2)
    assert countings == 1
    seconds = user_totals.GOOD_SECONDS
    assert await totals.of(APP) == Total(10, 2)  # nobody waits for the new number
    await totals._countings.begin(APP)
    assert await totals.of(APP) == Total(11, 2)
    assert countings == 2
    await totals.close()


async def test_whoever_cannot_wait_is_told_of_many_users_when_they_are_counted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_totals, "EXACT_MAX", 5)
    may_go_on = threading.Event()
    count_piece = user_totals._count_piece

    def slowly(tx: Transaction, *, app_id: str, after: str) -> tuple[int, str]:
        may_go_on.wait(30)
        return count_piece(tx, app_id=app_id, after=after)

    monkeypatch.setattr(user_totals, "_count_piece", slowly)
    seconds = 0.0
    totals = UserTotals(database, monotonic=lambda: seconds)
    await move_in(database, *crowd(4))
    try:
        assert await totals.soon(APP) == Total(4, 1)
        await move_in(database, *crowd(10)[4:])
        assert await totals.soon(APP) is None
        monkeypatch.setattr(counting, "FIRST_SECONDS_MAX", 60.0)
        seconds = 61.0
        async with asyncio.timeout(10):
            assert await totals.soon(APP) is None
        seconds = 59.0
        waiting = asyncio.create_task(totals.soon(APP))
        may_go_on.set()
        assert await waiting == Total(10, 2)
    finally:
        may_go_on.set()
        await totals.close()


async def test_while_the_database_is_away_the_last_total_is_told(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_totals, "EXACT_MAX", 5)
    seconds = 0.0
    totals = UserTotals(database, monotonic=lambda: seconds)
    await move_in(database, *crowd(10))
    assert await totals.of(APP) == Total(10, 2)

    async def away(*_: object) -> None:
        raise StorageUnavailable("away")

    monkeypatch.setattr(database, "read", away)
    seconds = 1_000.0
    for _ in range(3):
        assert await totals.of(APP) == Total(10, 2)
        await asyncio.sleep(0)
    await totals.close()


# Plans


async def _analyze(database: Database) -> None:
    def analyze(tx: Transaction) -> None:
        for table in ("users", "devices", "sessions"):
            tx.connection.exec_driver_sql(f"ANALYZE {table}")

    await database.write(analyze)


async def _plan(database: Database, statement: Executable, values: Mapping[str, Any]) -> str:
    """How the database would run `statement`."""

    def explain(tx: Transaction) -> str:
        compiled: Any = statement.compile(dialect=tx.connection.dialect)  # type: ignore[attr-defined]
        parameters = compiled.construct_params(values)
        if tx.dialect == "sqlite":
            arguments = tuple(parameters[name] for name in compiled.positiontup or ())
            rows = tx.connection.exec_driver_sql("EXPLAIN QUERY PLAN " + str(compiled), arguments)
        else:
            rows = tx.connection.exec_driver_sql("EXPLAIN " + str(compiled), parameters)
        return "\n".join(str(row) for row in rows)

    return await database.read(explain)


FILTERS = {
    "app": APP,
    "uid": ADA.uid,
    "device": None,
    "state": None,
    "active": None,
    "now": LATER,
    "idle_since": -1,
    "created_since": 0,
    "authenticated_since": 0,
    "before_at": NOW + 100,
    "before_id": "ses",
    "after_at": NOW + 100,
    "after_id": "user0100",
    "limit": 50,
    "skip": 0,
    "locked": None,
}


@pytest.mark.parametrize("analyzed", [False, True])
async def test_every_page_is_found_by_an_index_and_in_its_order(database: Database, analyzed: bool) -> None:
    users = [person(f"user{number:04d}", created_at=NOW + number) for number in range(2_000)]
    await move_in(database, ADA, *users)
    await move_onto_devices(database, [enrolled(user) for user in users] + history(300))
    if analyzed:
        await _analyze(database)

    for statement in (
        session_pages.PAGE_OF_USER,
        session_pages.COUNT_OF_USER,
        session_pages.FIND_LISTED,
        user_session_pages.ALL,
        user_session_pages.LOCKED,
        user_session_pages.UNLOCKED,
    ):
        plan = await _plan(database, statement, FILTERS | {"session": "ses_1"})
        for costly in ("Seq Scan", "SCAN users", "SCAN sessions", "SCAN devices", "TEMP B-TREE"):
            assert costly not in plan, plan
    on_tablet = FILTERS | {"device": "tablet", "most": 10}
    assert "ix_devices_app_id_device_id_uid" in await _plan(database, session_pages.ON_DEVICE, on_tablet)


@pytest.mark.parametrize("analyzed", [False, True])
async def test_later_sessions_on_a_device_and_enrolled_ones_of_a_user_have_their_index(
    database: Database, analyzed: bool
) -> None:
    users = [person(f"user{number:04d}", created_at=NOW + number) for number in range(500)]
    await move_in(database, ADA, *users)
    await move_onto_devices(database, [enrolled(user, each) for user in users for each in (0, 1)])
    await move_onto_devices(database, crowded_tablet(2_000))
    if analyzed:
        await _analyze(database)

    values = FILTERS | {"device": "tablet", "most": 10}
    for statement in (session_pages.PAGE_OF_LATER, session_pages.COUNT_ALL_LATER):
        plan = await _plan(database, statement, values)
        assert "ix_sessions_later_on_device" in plan, plan
        for costly in ("Seq Scan", "SCAN users", "SCAN sessions", "SCAN devices", "TEMP B-TREE", "Sort"):
            assert costly not in plan, plan
    lookup = user_session_pages.NEWEST_ENROLLED
    is_sqlite = await database.read(lambda tx: tx.dialect == "sqlite")
    plan = await _plan(
        database,
        lookup._for_sqlite if is_sqlite else lookup._for_postgres,
        {"keys": msgspec.json.encode([(APP, ADA.uid)]).decode(), "most": 10},
    )
    assert "ix_sessions_enrolled" in plan, plan


async def _steps(database: Database, query: Callable[[Transaction], object]) -> int:
    """How many steps SQLite's machine takes for `query`."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    def find(tx: Transaction) -> None:
        plain = tx.connection.connection.driver_connection
        assert isinstance(plain, sqlite3.Connection)
        query(tx)  # a connection that is new reads the schema first, which takes steps of its own
        plain.set_progress_handler(count, 1)
        query(tx)
        plain.set_progress_handler(None, 0)

    await database.read(find)
    return steps


async def test_page_of_a_device_costs_the_same_however_many_sessions_one_user_has_had_on_it(
    tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_pages, "COUNTED_ON_DEVICE_MAX", 500)
    shutil.copy(sqlite_template, tmp_path / "few.db")
    database = Database(f"sqlite:///{tmp_path}/few.db")
    await move_in(database, ADA)
    await move_onto_devices(database, crowded_tablet(1_002))
    middle = session_pages.cursor_at(NOW + 300, "ses")

    def page(tx: Transaction, **which: Any) -> object:
        return session_pages.of_device(tx, APP, "tablet", Which(limit=20, **which), now=LATER)

    queries = [partial(page), partial(page, after=middle), partial(page, active=True)]
    before = [await _steps(database, query) for query in queries]
    await move_onto_devices(database, crowded_tablet(6_000)[1_002:])
    after = [await _steps(database, query) for query in queries]
    assert all(now < then * 1.1 for then, now in zip(before, after, strict=True)), (before, after)
    database.close()


async def test_page_of_users_costs_little_more_where_each_has_many_sessions_that_have_ended(
    tmp_path: Path, sqlite_template: Path
) -> None:
    shutil.copy(sqlite_template, tmp_path / "few.db")
    database = Database(f"sqlite:///{tmp_path}/few.db")
    users = [person(f"user{number:04d}", created_at=NOW + number) for number in range(20)]
    await move_in(database, *users)

    def ended(numbers: range) -> list[Session]:
        return [
            enrolled(user, each, state="LOCKED", reason="replaced", created_at=NOW + each)
            for user in users
            for each in numbers
        ]

    def page(tx: Transaction) -> object:
        return user_session_pages.page(tx, APP, WhichUsers(limit=1_000))

    await move_onto_devices(database, ended(range(20)))
    before = await _steps(database, page)
    await move_onto_devices(database, ended(range(20, 500)))
    assert await _steps(database, page) < before * 1.1
    database.close()


async def test_work_does_not_grow_with_the_sessions_of_others_nor_with_old_ones_of_ones_own(
    tmp_path: Path, sqlite_template: Path
) -> None:
    shutil.copy(sqlite_template, tmp_path / "few.db")
    database = Database(f"sqlite:///{tmp_path}/few.db")
    users = [person(f"user{number:04d}", created_at=NOW + number) for number in range(50)]
    await move_in(database, ADA, *users)
    old = [enrolled(ADA, number, created_at=NOW + number) for number in range(1_200)]
    await move_onto_devices(database, old)

    def of_ada(tx: Transaction) -> object:
        return session_pages.of_user(tx, ADA, Which(limit=20), now=LATER)

    def of_all(tx: Transaction) -> object:
        return user_session_pages.page(tx, APP, WhichUsers(limit=20))

    before = [await _steps(database, query) for query in (of_ada, of_all)]
    await move_onto_devices(
        database, [enrolled(user, number) for user in users[30:] for number in range(100)]
    )
    after = [await _steps(database, query) for query in (of_ada, of_all)]
    assert after[0] < before[0] * 1.1
    assert after[1] < before[1] * 1.1

    older = [enrolled(ADA, 9_000 + number, created_at=NOW - number) for number in range(3_000)]
    await move_onto_devices(database, older)
    assert await _steps(database, of_all) < before[1] * 1.1
    database.close()


@pytest.mark.parametrize("analyzed", [False, True])
async def test_locked_users_are_found_without_walking_past_everybody_else(
    database: Database, analyzed: bool
) -> None:
    users = [person(f"user{number:04d}", created_at=NOW + number) for number in range(2_000)]
    await move_in(database, *users)
    if analyzed:
        await _analyze(database)
    assert "ix_users_locked" in await _plan(database, user_session_pages.LOCKED, FILTERS)
