"""Seats: the last one goes to exactly one, and the number stays right whatever becomes of users."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from functools import partial

import msgspec
import pytest
import structlog
from msgspec.structs import replace

from admit.accounts import seats, tables, user_changes
from admit.accounts.apps import PolicySetting
from admit.accounts.seats import WHOLE_APP, Key, Left, WhenFull
from admit.accounts.user_changes import Rejected, Source, Written
from admit.accounts.user_deletion import delete_user
from admit.accounts.user_edits import UserChange
from admit.enrollment.admit import Door
from admit.enrollment.hopeless import hopeless
from admit.enrollment.policy import NO_SEATS, NO_SEATS_THIS_WAY
from admit.errors import NO_SEATS_AVAILABLE, Refused
from admit.signin.proof import Proof
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction
from tests.contract.served import Answered, Served
from tests.contract.test_door import House, open_door, open_house, proof
from tests.residents import APP, NOW, move_in, person, start_app

PROD = PolicySetting(kind="prod")


@pytest.fixture
async def house(database: Database, ring: KeyRing) -> AsyncIterator[House]:
    """An app whose policy admits everybody as prod."""
    async with open_house(database, ring) as house:
        await house.choose(PROD)
        yield house


@pytest.fixture
async def two_nodes(postgres_url: str, ring: KeyRing) -> AsyncIterator[tuple[House, Door]]:
    """Such an app, and a second process's door to it."""
    here, there = Database(postgres_url), Database(postgres_url)
    for each in (here, there):
        each.signals.attach(asyncio.get_running_loop())
    async with open_house(here, ring) as house, open_door(there, ring) as (_, door):
        await house.choose(PROD)
        yield house, door
    here.close()
    there.close()


async def limit(
    database: Database,
    app_id: str,
    number: int | None,
    when_full: WhenFull = "refuse",
    *,
    way_in: str = WHOLE_APP,
) -> None:
    await database.write(lambda tx: seats.set_limit(tx, app_id, number, when_full, way_in=way_in))


async def taken(database: Database, app_id: str, way_in: str = WHOLE_APP) -> int:
    """The number that is known, once a count has shown that it and those of all ways in are right."""

    def count(tx: Transaction) -> dict[str, int]:
        ways = {way_in, WHOLE_APP, *(each.way_in for each in seats.ways_of_app(tx, app_id))}
        counts = [seats.recount(tx, app_id, each) for each in ways]
        assert {each.seats.way_in: each.drift for each in counts} == dict.fromkeys(ways, 0)
        known = {each.seats.way_in: each.seats.taken for each in counts}
        assert known[WHOLE_APP] * 2 == sum(known.values())
        return known

    return (await database.read(count))[way_in]


async def change(database: Database, text: str, source: Source = "api") -> Written | Rejected:
    changes = msgspec.json.decode(text, type=list[UserChange])
    unit = partial(user_changes.write_many, app_id=APP, changes=changes, eval_days=30, now=NOW, source=source)
    return await database.write(unit)


def by_google(name: str) -> Proof:
    """Somebody for whom the provider `google` vouches."""
    return replace(
        proof(name), method="sso", provider="google", issuer="https://accounts.google.com", subject=name
    )


async def outcome(door: Door, house: House, who: str | Proof) -> str:
    """The type of user that came of a login, or the code of its refusal."""
    try:
        login = await door.admit(house.app, who if isinstance(who, Proof) else proof(who))
    except Refused as refusal:
        return refusal.code
    return login.user.type


# First logins


async def test_a_prod_verdict_takes_a_seat_and_an_eval_verdict_none(house: House) -> None:
    await house.admit("ada")
    await house.admit("ada")
    await house.choose(PolicySetting(kind="eval"))
    await house.admit("bob")

    assert await taken(house.db, house.app.app_id) == 1


async def test_without_a_seat_nothing_is_stored_but_the_ledger_row(house: House) -> None:
    await limit(house.db, house.app.app_id, 0)

    with pytest.raises(Refused) as refusal:
        await house.admit("ada")

    assert (refusal.value.code, refusal.value.message) == (NO_SEATS_AVAILABLE, NO_SEATS)
    [row] = await house.ledger()
    assert (row.verdict, row.code, row.uid) == ("refused", NO_SEATS_AVAILABLE, None)
    assert row.reason == "The policy admits everyone as prod. All 0 seats of the app are taken."
    for table in (tables.users, tables.identities, tables.devices, tables.sessions, tables.user_words):
        assert await house.count(table) == 0
    assert [kind for kind, _ in await house.events()] == ["user.refused"]


async def test_a_mail_to_whom_no_seat_is_left_for_would_be_in_vain(house: House) -> None:
    await limit(house.db, house.app.app_id, 1)
    assert await hopeless(house.db, house.app, "ada@example.com", "") is None
    await house.admit("ada")

    refusal = await hopeless(house.db, house.app, "bob@example.com", "")

    assert refusal is not None
    assert refusal.code == NO_SEATS_AVAILABLE
    assert await hopeless(house.db, house.app, "ada@example.com", "") is None


async def test_where_the_app_wants_it_who_finds_no_seat_comes_in_on_trial(house: House) -> None:
    await limit(house.db, house.app.app_id, 1, "eval")

    assert [(await house.admit(name)).user.type for name in ("ada", "bob")] == ["prod", "eval"]
    assert {row.verdict: row.reason for row in await house.ledger()}["eval"].endswith("Admitted as eval.")
    assert await taken(house.db, house.app.app_id) == 1


async def test_first_logins_of_one_batch_share_the_seats_that_are_left(house: House) -> None:
    await limit(house.db, house.app.app_id, 3)

    with structlog.testing.capture_logs() as logged:
        outcomes = await asyncio.gather(*(outcome(house.door, house, f"person{n}") for n in range(20)))

    assert sorted(outcomes) == [NO_SEATS_AVAILABLE] * 17 + ["prod"] * 3
    assert await taken(house.db, house.app.app_id) == 3
    assert [line for line in logged if line["event"].startswith("storage.")] == [], "nobody had to wait"


@pytest.mark.parametrize("left", [1, 7])
@pytest.mark.parametrize("when_full", ["refuse", "eval"])
async def test_the_last_seats_go_to_exactly_as_many_on_two_processes(
    two_nodes: tuple[House, Door], left: int, when_full: WhenFull
) -> None:
    house, other = two_nodes
    await limit(house.db, house.app.app_id, left, when_full)

    doors = [house.door, other] * 15
    outcomes = await asyncio.gather(
        *(outcome(door, house, f"person{number}") for number, door in enumerate(doors))
    )

    others = "eval" if when_full == "eval" else NO_SEATS_AVAILABLE
    assert sorted(outcomes) == sorted(["prod"] * left + [others] * (30 - left))
    assert await taken(house.db, house.app.app_id) == left


async def test_who_is_overtaken_between_looking_and_committing_looks_again(
    two_nodes: tuple[House, Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process takes the last seat exactly when the first one has seen it free."""
    house, other = two_nodes
    await limit(house.db, house.app.app_id, 1)
    loop, looks = asyncio.get_running_loop(), list[int]()
    look = seats.left_for

    def look_slowly(tx: Transaction, ways: Iterable[Key]) -> Left:
        asked = list(ways)
        seen = look(tx, asked)
        if asked and not looks:
            looks.append(1)
            asyncio.run_coroutine_threadsafe(outcome(other, house, "rival"), loop).result(4)
        return seen

    monkeypatch.setattr(seats, "left_for", look_slowly)
    assert await outcome(house.door, house, "ada") == NO_SEATS_AVAILABLE
    monkeypatch.undo()
    assert await outcome(other, house, "rival") == "prod"
    assert await taken(house.db, house.app.app_id) == 1


# What operators do


async def test_every_change_of_a_user_keeps_the_number_right(database: Database) -> None:
    await start_app(database)
    steps = [
        ('[{"userId":"ada","type":"prod"},{"userId":"bob","type":"eval"},{"userId":"cy","type":"prod"}]', 2),
        ('[{"userId":"bob","type":"prod"}]', 3),
        ('[{"userId":"ada","deactivated":true}]', 2),
        ('[{"userId":"ada","deactivated":true},{"userId":"ada","data":{"x":1}}]', 2),
        ('[{"userId":"ada","type":"eval"}]', 2),
        ('[{"userId":"ada","deactivated":false,"type":"prod"}]', 3),
        ('[{"userId":"cy","type":"eval"},{"userId":"cy","type":"prod"}]', 3),
        ('[{"userId":"bob","validUntil":"2001-01-01"}]', 3),
        ('[{"userId":"dan","type":"prod","deactivated":true}]', 3),
    ]
    for text, expected in steps:
        assert isinstance(await change(database, text), Written)
        assert await taken(database, APP) == expected, text
    for user_id, expected in (("ada", 2), ("dan", 2), ("nobody", 2), ("bob", 1), ("cy", 0)):
        await delete_user(database, APP, user_id, NOW)
        assert await taken(database, APP) == expected, user_id


@pytest.mark.parametrize(
    "entry",
    [
        '{"userId":"new","type":"prod"}',
        '{"userId":"eve","type":"prod"}',
        '{"userId":"out","deactivated":null}',
    ],
    ids=["creation", "promotion", "reactivation"],
)
async def test_an_array_that_needs_a_seat_too_many_changes_nothing(database: Database, entry: str) -> None:
    await start_app(database)
    await move_in(
        database,
        person("ada", type="prod"),
        person("eve"),
        person("out", type="prod", deactivated_at=NOW),
    )
    await limit(database, APP, 2)

    refused = await change(database, f'[{{"userId":"one-more","type":"prod"}},{entry}]')

    assert isinstance(refused, Rejected)
    assert (refused.index, refused.code) == (1, NO_SEATS_AVAILABLE)
    assert await taken(database, APP) == 1
    assert isinstance(await change(database, f'[{{"userId":"ada","deactivated":true}},{entry}]'), Written)
    assert await taken(database, APP) == 1


async def test_a_lowered_limit_puts_nobody_out_and_lets_nobody_in(database: Database) -> None:
    await start_app(database)
    await change(database, '[{"userId":"ada","type":"prod"},{"userId":"bob","type":"prod"}]')
    await limit(database, APP, 1)

    assert isinstance(await change(database, '[{"userId":"ada","data":{"x":1}}]'), Written)
    assert isinstance(await change(database, '[{"userId":"cy","type":"prod"}]'), Rejected)
    await delete_user(database, APP, "ada", NOW)
    assert isinstance(await change(database, '[{"userId":"cy","type":"prod"}]'), Rejected)
    await limit(database, APP, None)
    assert isinstance(await change(database, '[{"userId":"cy","type":"prod"}]'), Written)
    assert await taken(database, APP) == 2


async def test_arrays_of_two_servers_share_the_last_seats(postgres_url: str) -> None:
    servers = [Database(postgres_url) for _ in range(2)]
    await start_app(servers[0])
    await limit(servers[0], APP, 5)

    async def create(number: int) -> bool:
        text = f'[{{"userId":"user{number}","type":"prod"}},{{"userId":"other{number}","type":"prod"}}]'
        return isinstance(await change(servers[number % 2], text), Written)

    assert sum(await asyncio.gather(*(create(number) for number in range(16)))) == 2
    assert await taken(servers[0], APP) == 4
    for server in servers:
        server.close()


async def test_units_of_one_commit_see_the_seats_that_others_of_it_take(database: Database) -> None:
    await start_app(database)
    await limit(database, APP, 5)

    def unit(tx: Transaction) -> list[int]:
        seen = [seats.of_app(tx, APP).taken]
        seats.move(tx, APP, "google", 2)
        seats.move(tx, "app_other", "google", 9)
        seen.append(seats.of_app(tx, APP).taken)
        seats.move(tx, APP, "api", -1)
        return [*seen, seats.of_app(tx, APP).taken, seats.of_app(tx, APP, "google").taken]

    assert await database.write(unit) == [0, 2, 1, 2]


async def test_a_deletion_beside_a_login_leaves_the_seat_for_one(house: House) -> None:
    await limit(house.db, house.app.app_id, 1)
    await house.admit("ada")

    async def delete() -> str:
        return str(await delete_user(house.db, house.app.app_id, "ada@example.com", NOW))

    await asyncio.gather(delete(), *(outcome(house.door, house, f"person{n}") for n in range(5)))
    late = await outcome(house.door, house, "late")
    assert await taken(house.db, house.app.app_id) == 1
    assert late in ("prod", NO_SEATS_AVAILABLE)


# Seats of a way in


async def test_a_way_in_may_be_full_while_others_are_not(house: House) -> None:
    await limit(house.db, house.app.app_id, 1, way_in="google")

    outcomes = [await outcome(house.door, house, who) for who in (by_google("ada"), by_google("bob"), "cy")]

    assert outcomes == ["prod", NO_SEATS_AVAILABLE, "prod"]
    row = next(row for row in await house.ledger() if row.verdict == "refused")
    assert row.reason == "The policy admits everyone as prod. All 1 seats for google are taken."
    assert row.message == NO_SEATS_THIS_WAY
    assert await taken(house.db, house.app.app_id) == 2
    assert await taken(house.db, house.app.app_id, "google") == 1


async def test_a_full_app_has_no_seat_for_any_way_in(house: House) -> None:
    await limit(house.db, house.app.app_id, 1)
    await limit(house.db, house.app.app_id, 5, "eval", way_in="google")

    assert [await outcome(house.door, house, who) for who in ("ada", by_google("bob"))] == [
        "prod",
        NO_SEATS_AVAILABLE,
    ]
    reason = next(row.reason for row in await house.ledger() if row.verdict == "refused")
    assert reason.endswith("All 1 seats of the app are taken.")


@pytest.mark.parametrize(
    ("of_app", "of_way", "expected"),
    [
        ("eval", "eval", "eval"),
        ("eval", "refuse", NO_SEATS_AVAILABLE),
        ("refuse", "eval", NO_SEATS_AVAILABLE),
    ],
)
async def test_where_both_are_full_the_stricter_wish_counts(
    house: House, of_app: WhenFull, of_way: WhenFull, expected: str
) -> None:
    await limit(house.db, house.app.app_id, 0, of_app)
    await limit(house.db, house.app.app_id, 0, of_way, way_in="google")
    assert await outcome(house.door, house, by_google("ada")) == expected
    [row] = await house.ledger()
    assert "All 0 seats of the app are taken. All 0 seats for google are taken." in row.reason


async def test_first_logins_of_one_batch_share_the_seats_of_their_way(house: House) -> None:
    await limit(house.db, house.app.app_id, 9)
    await limit(house.db, house.app.app_id, 3, "eval", way_in="google")

    with structlog.testing.capture_logs() as logged:
        outcomes = await asyncio.gather(
            *(outcome(house.door, house, by_google(f"person{number}")) for number in range(10)),
            *(outcome(house.door, house, f"other{number}") for number in range(10)),
        )

    assert sorted(outcomes[:10]) == ["eval"] * 7 + ["prod"] * 3
    assert sorted(outcomes[10:]) == [NO_SEATS_AVAILABLE] * 4 + ["prod"] * 6
    assert await taken(house.db, house.app.app_id, "google") == 3
    assert await taken(house.db, house.app.app_id) == 9
    assert [line for line in logged if line["event"].startswith("storage.")] == [], "nobody had to wait"


@pytest.mark.parametrize("left", [1, 7])
@pytest.mark.parametrize("when_full", ["refuse", "eval"])
async def test_the_last_seats_of_a_way_go_to_exactly_as_many_on_two_processes(
    two_nodes: tuple[House, Door], left: int, when_full: WhenFull
) -> None:
    """Others come by another way at the same time, and are not held up."""
    house, other = two_nodes
    await limit(house.db, house.app.app_id, left, when_full, way_in="google")

    people = [by_google(f"person{number}") for number in range(20)] + [
        proof(f"by-mail{n}") for n in range(10)
    ]
    outcomes = await asyncio.gather(
        *(outcome([house.door, other][place % 2], house, who) for place, who in enumerate(people))
    )

    others = "eval" if when_full == "eval" else NO_SEATS_AVAILABLE
    assert sorted(outcomes[:20]) == sorted(["prod"] * left + [others] * (20 - left))
    assert set(outcomes[20:]) == {"prod"}
    assert await taken(house.db, house.app.app_id, "google") == left
    assert await taken(house.db, house.app.app_id) == left + 10


async def test_who_is_overtaken_at_the_last_seat_of_a_way_looks_again(
    two_nodes: tuple[House, Door], monkeypatch: pytest.MonkeyPatch
) -> None:
    house, other = two_nodes
    await limit(house.db, house.app.app_id, 1, way_in="google")
    loop, looks = asyncio.get_running_loop(), list[int]()
    look = seats.left_for

    def look_slowly(tx: Transaction, ways: Iterable[Key]) -> Left:
        asked = list(ways)
        seen = look(tx, asked)
        if asked and not looks:
            looks.append(1)
            asyncio.run_coroutine_threadsafe(outcome(other, house, by_google("rival")), loop).result(4)
        return seen

    monkeypatch.setattr(seats, "left_for", look_slowly)
    assert await outcome(house.door, house, by_google("ada")) == NO_SEATS_AVAILABLE
    monkeypatch.undo()
    assert await taken(house.db, house.app.app_id, "google") == 1


async def test_a_limit_for_a_way_that_had_none_counts_who_came_before_and_meanwhile(
    two_nodes: tuple[House, Door],
) -> None:
    """Set while people move in by that way on two processes: whoever is in is counted, and nobody else."""
    house, other = two_nodes
    doors = [house.door, other]
    for number in range(4):
        await outcome(doors[number % 2], house, by_google(f"early{number}"))

    outcomes = await asyncio.gather(
        *(outcome(doors[number % 2], house, by_google(f"person{number}")) for number in range(10)),
        limit(other._db, house.app.app_id, 9, way_in="google"),
        *(outcome(doors[number % 2], house, by_google(f"late{number}")) for number in range(10)),
    )

    assert await taken(house.db, house.app.app_id, "google") == max(9, outcomes.count("prod") + 4)
    assert await outcome(other, house, by_google("one-more")) == NO_SEATS_AVAILABLE


async def test_every_change_of_a_user_moves_the_seat_of_the_way_they_came_by(house: House) -> None:
    app, where = house.app.app_id, (house.db, house.app.app_id)
    await house.door.admit(house.app, by_google("ada"))
    await house.door.admit(house.app, proof("bob"))

    async def write(text: str, source: Source) -> dict[str, int]:
        changes = msgspec.json.decode(text, type=list[UserChange])
        unit = partial(
            user_changes.write_many, app_id=app, changes=changes, eval_days=30, now=NOW, source=source
        )
        assert isinstance(await house.db.write(unit), Written)
        return {way: await taken(*where, way) for way in ("google", "email_code", "api", "import", WHOLE_APP)}

    steps: list[tuple[str, Source, list[int]]] = [
        ('[{"userId":"cy","type":"prod"},{"userId":"dan","type":"eval"}]', "api", [1, 1, 1, 0, 3]),
        ('[{"userId":"eve","type":"prod"},{"userId":"dan","type":"prod"}]', "import", [1, 1, 2, 1, 5]),
        ('[{"userId":"ada@example.com","deactivated":true}]', "api", [0, 1, 2, 1, 4]),
        ('[{"userId":"ada@example.com","deactivated":null}]', "import", [1, 1, 2, 1, 5]),
        ('[{"userId":"bob@example.com","type":"eval"}]', "api", [1, 0, 2, 1, 4]),
    ]
    for text, source, expected in steps:
        assert list((await write(text, source)).values()) == expected, text
    await delete_user(house.db, app, "ada@example.com", NOW)
    await delete_user(house.db, app, "cy", NOW)
    assert [await taken(*where, way) for way in ("google", "api", WHOLE_APP)] == [0, 1, 2]


async def test_an_entry_finds_no_seat_where_those_of_its_persons_way_are_taken(house: House) -> None:
    """Upgrading somebody takes a seat of the way by which they came, not of the API that does it."""
    await house.choose(PolicySetting(kind="eval"))
    await house.door.admit(house.app, by_google("ada"))
    await limit(house.db, house.app.app_id, 0, way_in="google")
    await limit(house.db, house.app.app_id, 1, way_in="import")

    async def write(text: str, source: Source) -> str:
        changes = msgspec.json.decode(text, type=list[UserChange])
        unit = partial(
            user_changes.write_many,
            app_id=house.app.app_id,
            changes=changes,
            eval_days=30,
            now=NOW,
            source=source,
        )
        done = await house.db.write(unit)
        return "" if isinstance(done, Written) else done.sentence

    assert await write('[{"userId":"ada@example.com","type":"prod"}]', "api") == (
        "All 0 seats for google are taken."
    )
    two = '[{"userId":"bob","type":"prod"},{"userId":"cy","type":"prod"}]'
    assert await write(two, "import") == "All 1 seats for import are taken."
    assert await write(two, "api") == ""


async def test_a_limit_that_is_taken_away_lets_everybody_in_again(house: House) -> None:
    await limit(house.db, house.app.app_id, 0, way_in="google")
    assert await outcome(house.door, house, by_google("ada")) == NO_SEATS_AVAILABLE
    await limit(house.db, house.app.app_id, None, way_in="google")
    assert await outcome(house.door, house, by_google("ada")) == "prod"
    assert await taken(house.db, house.app.app_id, "google") == 1


async def test_a_mail_would_be_in_vain_where_those_who_come_by_mail_have_no_seat_left(house: House) -> None:
    await limit(house.db, house.app.app_id, 0, way_in="google")
    assert await hopeless(house.db, house.app, "ada@example.com", "") is None
    await limit(house.db, house.app.app_id, 0, way_in="email_code")
    refusal = await hopeless(house.db, house.app, "ada@example.com", "")
    assert refusal is not None
    assert refusal.message == NO_SEATS_THIS_WAY


# Counting anew


async def test_a_recount_repairs_what_somebody_has_broken_while_others_go_on(database: Database) -> None:
    await start_app(database)
    await change(database, '[{"userId":"ada","type":"prod"},{"userId":"bob","type":"prod"}]')
    await database.write(lambda tx: tx.execute(tables.seats.update().values(taken=7)) and None)
    counted = await database.read(partial(seats.recount, app_id=APP))
    await change(database, '[{"userId":"cy","type":"prod"}]')

    assert counted.drift == -5
    assert await database.write(lambda tx: seats.repair(tx, APP, counted))
    assert not await database.write(lambda tx: seats.repair(tx, APP, counted)), "once only"
    by_api = await database.read(partial(seats.recount, app_id=APP, way_in="api"))
    assert by_api.drift == -5
    assert await database.write(lambda tx: seats.repair(tx, APP, by_api))
    assert await taken(database, APP) == 3


async def test_a_row_that_is_gone_is_made_anew(database: Database) -> None:
    await start_app(database)
    await change(database, '[{"userId":"ada","type":"prod"}]')
    await database.write(lambda tx: tx.execute(tables.seats.delete()) and None)
    counted = await database.read(partial(seats.recount, app_id=APP))

    assert await database.write(lambda tx: seats.repair(tx, APP, counted))
    by_api = await database.read(partial(seats.recount, app_id=APP, way_in="api"))
    assert await database.write(lambda tx: seats.repair(tx, APP, by_api))
    assert await taken(database, APP, "api") == 1


async def test_operators_set_see_and_recount_seats(served: Served) -> None:
    app = await served.app()
    where, headers = "/api/apps/notes/seats", served.command()

    async def ask(method: str, path: str = where, **body: object) -> tuple[int, dict[str, object]]:
        data = msgspec.json.encode(body) if method == "PUT" else None
        answer = await served.ask(method, path, headers=headers, data=data)
        return answer.status, answer.json

    told: dict[str, object] = {
        "way_in": "",
        "taken": 0,
        "limit": None,
        "when_full": "refuse",
        "by_way_in": [],
    }
    assert await ask("GET") == (200, told)
    told |= {"limit": 2, "when_full": "eval"}
    assert await ask("PUT", limit=2, when_full="eval") == (200, told)
    await served.write(app, {"userId": "ada@example.com", "type": "prod"})
    await served.gateway.db.write(lambda tx: tx.execute(tables.seats.update().values(taken=2)) and None)
    by_api = {"way_in": "api", "taken": 2, "limit": None, "when_full": "refuse"}
    told |= {"taken": 1, "drift": -1, "by_way_in": [by_api]}
    assert await ask("POST", where + "/count") == (200, told)
    assert await ask("POST", where + "/count") == (200, told | {"drift": 0})
    told |= {"way_in": "api", "limit": None, "when_full": "refuse", "by_way_in": []}
    assert await ask("POST", where + "/count?for=api") == (200, told)
    for wrong in (-1, 2.5, "many", 10**12):
        assert (await ask("PUT", limit=wrong))[0] == 400


async def test_operators_set_and_see_seats_of_a_way_in(served: Served) -> None:
    app = await served.app()
    where, headers = "/api/apps/notes/seats", served.command()

    async def put(way_in: str, limit: int | None) -> Answered:
        body = msgspec.json.encode({"limit": limit})
        return await served.ask("PUT", f"{where}?for={way_in}", headers=headers, data=body)

    answer = await put("api", 1)
    assert answer.json == {
        "way_in": "api",
        "taken": 0,
        "limit": 1,
        "when_full": "refuse",
        "by_way_in": [],
    }
    await served.write(app, {"userId": "ada@example.com", "type": "prod"})
    seen = await served.ask("GET", where, headers=headers)
    assert (seen.json["limit"], seen.json["taken"]) == (None, 1)
    assert seen.json["by_way_in"] == [{"way_in": "api", "taken": 1, "limit": 1, "when_full": "refuse"}]
    wrong = await put("gogle", 1)
    assert (wrong.status, wrong.json["code"]) == (400, "invalid_request")
    assert "no way into notes" in wrong.json["message"]


async def test_what_a_removed_provider_has_left_behind_is_seen_and_changed(served: Served) -> None:
    app = await served.app()
    await limit(served.gateway.db, app.app_id, 3, way_in="google")
    where, headers = "/api/apps/notes/seats?for=google", served.command()
    assert (await served.ask("GET", where, headers=headers)).json["limit"] == 3
    answer = await served.ask("PUT", where, headers=headers, data=b"{}")
    assert (answer.status, answer.json["limit"]) == (200, None)


async def test_the_users_endpoint_names_the_entry_that_found_no_seat(served: Served) -> None:
    app = await served.app()
    await limit(served.gateway.db, app.app_id, 1)
    headers = served.bearer(app, "program", ("ACCESS_DB", "GLOBAL_WRITE"))
    entries = [{"userId": "ada@example.com", "type": "prod"}, {"userId": "bob@example.com", "type": "prod"}]

    answer = await served.ask("POST", "/notes/users", headers=headers, data=msgspec.json.encode(entries))

    assert (answer.status, answer.json["code"]) == (409, NO_SEATS_AVAILABLE)
    assert answer.json["message"] == "Entry 1: All 1 seats of the app are taken."
    assert await taken(served.gateway.db, app.app_id) == 0


async def test_a_simulation_tells_that_no_seat_is_left(served: Served) -> None:
    app = await served.app()
    await limit(served.gateway.db, app.app_id, 0)
    body = {"email": "ada@example.com", "policy": {"kind": "prod"}}
    answer = await served.ask(
        "POST", "/api/apps/notes/policy/simulation", headers=served.command(), data=msgspec.json.encode(body)
    )
    assert (answer.json["outcome"], answer.json["code"]) == ("refuse", NO_SEATS_AVAILABLE)


async def test_a_first_login_that_is_undone_takes_no_seat(house: House) -> None:
    """What dies before the commit leaves the number as it was: it is a row of the same transaction."""

    def fail(tx: Transaction) -> None:
        seats.move(tx, house.app.app_id, "email_code", 1)
        raise RuntimeError("the unit fails")

    with contextlib.suppress(RuntimeError):
        await house.db.write(fail)
    await house.admit("ada")
    assert await taken(house.db, house.app.app_id) == 1
