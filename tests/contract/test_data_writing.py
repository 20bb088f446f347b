"""Writing objects: what is taken, what is left, what is done once, and who hears of it."""

import asyncio
import threading
from functools import partial
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select, update

from admit.accounts.user_deletion import delete_user
from admit.clock import DAY_MS
from admit.data import pushing, reading, writing
from admit.data.changed import PUBLIC
from admit.data.criteria import Criteria
from admit.data.operations import UNKNOWN, Author, Batch, Operation, Written
from admit.data.tables import objects, pushes
from admit.events.log import logs
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from tests.contract.notes import Gate
from tests.residents import APP, NOW, move_in, person, start_app

UID, USER = "usr_ada", "ada@example.com"
ADA = Author(uid=UID, user_id=USER)
PROGRAM = Author(uid=None, user_id="", client_id="clt", may_write_public=True)
MINE = {"realmId": USER, "owner": USER}


async def opened(database: Database) -> None:
    await start_app(database)
    await move_in(database, person(USER, uid=UID), person("ben@example.com", uid="usr_ben"))


async def push(database: Database, *operations: Operation, client: str = "phone", **more: Any) -> Written:
    batch = Batch(
        app_id=APP,
        realm=UID,
        realm_id=USER,
        client=client,
        author=ADA,
        operations=operations,
        **({"now": NOW, "known": 0} | more),
    )
    return await pushing.push(database, batch)


async def rest(database: Database, *operations: Operation, realm: str = UID) -> Written:
    realm_id = USER if realm == UID else realm
    forgotten = tuple(msgspec.structs.replace(each, piece="") for each in operations)
    batch = Batch(app_id=APP, realm=realm, realm_id=realm_id, author=PROGRAM, operations=forgotten, now=NOW)
    return await database.write_together(writing.write, batch)


def put(key: str = "k", txid: str = "t", op: int = 1, **value: Any) -> Operation:
    return operation("upsert", (key,), txid, op, values=(MINE | value,))


def change(key: str = "k", txid: str = "t", op: int = 1, base: int = 0, **spec: Any) -> Operation:
    return operation("update", (key,), txid, op, base=base, specs=(spec,))


def operation(kind: Any, keys: tuple[str, ...], txid: str = "t", op: int = 1, **more: Any) -> Operation:
    given: dict[str, Any] = {"table": "todos", "base": 0, "rev": op, "piece": f"{txid}/{op}"} | more
    return Operation(type=kind, keys=keys, txid=txid, **given)


async def state(database: Database, key: str = "k", realm: str = UID) -> dict[str, Any] | None:
    [(_, _, text)] = await reading.of_keys(database, APP, realm, [("todos", key)])
    return None if text is None else msgspec.json.decode(text)


async def writer(database: Database, key: str = "k") -> str:
    query = select(objects.c.writer).where(objects.c.key == key, objects.c.realm == UID)
    return str(await database.read(lambda tx: tx.execute(query).scalar_one()))


async def behind(database: Database, after: int, client: str = "") -> list[str]:
    heads = await reading.heads(database, APP, [UID])
    found = reading.pages(database, APP, UID, after, heads.revisions[UID], client=client)
    return [key async for page in found for _, key, _ in page]


ADD = {"@@propmod": {"add": 1}}


async def test_a_push_is_stored_and_moves_the_revision(database: Database) -> None:
    await opened(database)
    first = await push(database, put(n=1))
    second = await push(database, change(txid="t2", base=1, n=ADD), known=1)
    assert (first.before, first.after, second.before, second.after) == (0, 1, 1, 2)
    assert await state(database) == MINE | {"n": 2}
    assert first.corrected == second.corrected == ()
    assert await writer(database) == "phone"


async def test_a_repeated_push_counts_once(database: Database) -> None:
    await opened(database)
    again = [put(n=0), change(op=2, n=ADD)]
    await push(database, *again)
    await push(database, *again)
    repeated = await push(database, *again, change(txid="t2", n=ADD))
    assert await state(database) == MINE | {"n": 2}
    assert (repeated.before, repeated.after) == (1, 2)


async def test_a_piece_twice_in_one_push_counts_once(database: Database) -> None:
    await opened(database)
    await push(database, put(n=0), change(txid="t2", n=ADD), change(txid="t2", n=ADD))
    assert await state(database) == MINE | {"n": 1}


async def test_pushes_at_the_same_time_come_in_some_order_and_none_is_lost(database: Database) -> None:
    await opened(database)
    await push(database, put(n=0))
    many = [push(database, change(txid=f"t{each}", n=ADD), client=f"c{each}") for each in range(30)]
    written = await asyncio.gather(*many)
    assert await state(database) == MINE | {"n": 30}
    assert sorted(each.after for each in written) == list(range(2, 32))


async def test_a_client_that_merges_with_others_gets_the_object_back(database: Database) -> None:
    await opened(database)
    await push(database, put(a=1))
    await push(database, change(txid="t2", base=1, b=2), client="laptop", known=1)
    merged = await push(database, change(txid="t3", base=1, a=3), known=1)
    assert await state(database) == MINE | {"a": 3, "b": 2}
    assert merged.corrected == (("todos", "k"),)
    assert await behind(database, 2, "phone") == ["k"]


async def test_a_client_is_spared_what_it_has_written(database: Database) -> None:
    await opened(database)
    await push(database, put())
    assert await behind(database, 0, "phone") == []
    assert await behind(database, 0, "laptop") == ["k"]


async def test_deletion_wins_over_a_put_that_did_not_know_of_it(database: Database) -> None:
    await opened(database)
    await push(database, put())
    await push(database, operation("delete", ("k",), "t2", base=1), client="laptop", known=1)
    late = await push(database, put(txid="t3", n=1), known=1)
    assert await state(database) is None
    assert late.corrected == (("todos", "k"),)


@pytest.mark.parametrize("how", ["knows of it", "inserts", "has deleted it itself"])
async def test_what_was_deleted_comes_back_for_who(database: Database, how: str) -> None:
    await opened(database)
    await push(database, put())
    deleter = "phone" if "itself" in how else "laptop"
    await push(database, operation("delete", ("k",), "t2", base=1), client=deleter, known=1)
    again = put(txid="t3", n=1)
    if how == "inserts":
        again = msgspec.structs.replace(again, type="insert")
    if how == "knows of it":
        again = msgspec.structs.replace(again, base=2)
    await push(database, again, known=2 if "knows" in how else 1)
    assert await state(database) == MINE | {"n": 1}


async def test_an_update_of_what_is_not_there_lets_the_client_drop_it(database: Database) -> None:
    await opened(database)
    written = await push(database, change(n=1))
    assert await state(database) is None
    assert written.corrected == (("todos", "k"),)
    # The answer may be lost: the next pull tells it, too.
    assert await behind(database, 0, "phone") == ["k"]


async def test_after_a_lost_answer_the_client_gets_what_it_may_have_dropped(database: Database) -> None:
    await opened(database)
    mine = put(n=1)
    await push(database, mine)
    await push(database, put(txid="t2", n=2), client="laptop", known=1)
    # Meanwhile it has heard of that by its socket, and has kept its own, which was still waiting.
    repeated = await push(database, mine, known=2)
    assert repeated.corrected == (("todos", "k"),)
    assert await behind(database, 2, "phone") == ["k"]


async def test_operations_of_a_table_are_done_in_the_order_of_their_numbers(database: Database) -> None:
    await opened(database)
    await push(database, put(txid="t2", op=2, n=2), put(txid="t1", op=1, n=1))
    assert await state(database) == MINE | {"n": 2}


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("foreign_realm", put("x", op=2, realmId="ben@example.com")),
        ("foreign_realm", put("x", op=2, realmId="rlm-public")),
        ("foreign_realm", put("x", op=2, realmId=7)),
        ("foreign_realm", change("k", op=2, realmId="rlm-other")),
        ("not_supported", operation("insert", ("x",), op=2, table="realms", values=({"name": "x"},))),
        ("other_user", operation("delete", ("k",), op=2, user_id="ben@example.com")),
        ("public", operation("delete", ("p",), op=2)),
        ("invalid", operation("delete", ("x" * 501,), op=2)),
        ("invalid", operation("delete", ("__proto__",), op=2)),
        ("invalid", operation("delete", ("k",), op=2, table="__proto__")),
        ("invalid", put("x", op=2, text="x" * 1_000_001)),
        ("invalid", put("x", op=2, deep={"__proto__": {"admin": True}})),
        ("invalid", operation("insert", ("x",), op=2, values=("a text",))),
        ("invalid", change("k", op=2, a={"__proto__": 1})),
        ("invalid", operation("update", ("k",), op=2, specs=({"a.__proto__.x": 1},))),
        ("invalid", change("k", op=2, n={"@@propmod": {"add": "x"}})),
    ],
)
async def test_a_transaction_is_taken_or_left_whole(database: Database, name: str, bad: Operation) -> None:
    await opened(database)
    await rest(database, operation("upsert", ("p",), values=({"v": 1},)), realm=PUBLIC)
    await push(database, put(txid="t0"))
    written = await push(database, put(n=1), bad, put("other", "t2", n=2), known=1)
    assert [(each.name, each.txid) for each in written.rejections] == [(name, "t")]
    assert await state(database) == MINE
    assert await state(database, "other") == MINE | {"n": 2}
    assert await state(database, "p") == {"v": 1, "realmId": PUBLIC}
    assert ("todos", "k") in written.corrected
    assert (bad.table, bad.keys[0]) in written.corrected
    # What the client has done on top of it is not taken for certain.
    assert await writer(database) != "phone"


async def test_what_was_rejected_once_is_rejected_again(database: Database) -> None:
    await opened(database)
    bad = put(realmId="rlm-other")
    assert (await push(database, bad)).rejections == (await push(database, bad)).rejections != ()


async def test_nobody_writes_to_the_public_realm_without_leave(database: Database) -> None:
    await opened(database)
    batch = Batch(app_id=APP, realm=PUBLIC, realm_id=PUBLIC, author=ADA, operations=(put(),), now=NOW)
    written = await database.write_together(writing.write, batch)
    assert [each.name for each in written.rejections] == ["read_only"]


async def test_realm_and_owner_are_set_where_they_are_missing(database: Database) -> None:
    await opened(database)
    bare = operation("upsert", ("k",), values=({"n": 1, "owner": "unauthorized"},))
    written = await push(database, bare)
    assert await state(database) == MINE | {"n": 1}
    assert written.corrected == (("todos", "k"),)


async def test_the_same_key_of_two_people_are_two_objects(database: Database) -> None:
    await opened(database)
    await push(database, put(n=1))
    ben = Author(uid="usr_ben", user_id="ben@example.com")
    batch = Batch(
        app_id=APP,
        realm="usr_ben",
        realm_id="ben@example.com",
        client="bens",
        author=ben,
        operations=(operation("delete", ("k",)),),
        now=NOW,
    )
    await pushing.push(database, batch)
    assert await state(database) == MINE | {"n": 1}


async def test_criteria_reach_what_the_client_did_not_know_and_nothing_else(database: Database) -> None:
    await opened(database)
    await push(database, put("known", n=1), put("mismatch", op=2, n=1), put("other", op=3, n=9))
    await push(database, put("new", "t2", n=1), change("mismatch", "t2", 2, n=2), client="laptop", known=1)
    equal = Criteria("n", {"type": 1, "lower": 1})
    modify = operation("modify", ("known", "mismatch"), "t3", base=1, specs=({"m": ADD},), criteria=equal)
    once = await push(database, modify, known=1)
    again = await push(database, modify, known=1)
    assert {("todos", "new"), ("todos", "mismatch")} <= set(once.corrected)
    assert again.after - again.before <= 1
    found = {
        key: (await state(database, key) or {}).get("m") for key in ("known", "new", "mismatch", "other")
    }
    assert found == {"known": 1, "new": 1, "mismatch": None, "other": None}


async def test_chunks_with_the_same_criteria_count_once(database: Database) -> None:
    await opened(database)
    await push(database, put("a", n=1), put("b", op=2, n=1))
    await push(database, put("new", "t2", n=1), client="laptop", known=1)
    equal = Criteria("n", {"type": 1, "lower": 1})
    first = operation("modify", ("a",), "t3", 1, base=1, specs=({"m": ADD},), criteria=equal)
    second = operation(
        "modify", ("b",), "t3", 2, base=1, specs=({"m": ADD},), criteria=equal, additional=True
    )
    await push(database, first, second, known=1)
    assert [(await state(database, key) or {})["m"] for key in ("a", "b", "new")] == [1, 1, 1]


async def test_a_large_push_is_divided_and_can_be_repeated(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await opened(database)
    monkeypatch.setattr(pushing, "UNIT_KEYS", 20)
    monkeypatch.setattr(pushing, "PIECE_KEYS", 20)
    keys = tuple(f"k{each:03}" for each in range(50))
    put_all = operation("insert", keys, values=tuple(MINE | {"n": 0} for _ in keys))
    add = operation("update", keys, op=2, specs=tuple({"n": ADD} for _ in keys))
    first = await push(database, put_all, add)
    await push(database, put_all, add)
    assert (first.before, first.after) == (0, 6)
    assert {(await state(database, key) or {})["n"] for key in keys} == {1}


async def test_a_large_transaction_with_one_bad_object_is_left_whole(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await opened(database)
    monkeypatch.setattr(pushing, "UNIT_KEYS", 20)
    monkeypatch.setattr(pushing, "PIECE_KEYS", 20)
    keys = tuple(f"k{each:03}" for each in range(50))
    values = (*(dict(MINE) for _ in keys[1:]), {"realmId": "rlm-other"})
    written = await push(database, operation("insert", keys, values=values))
    assert [each.name for each in written.rejections] == ["foreign_realm"]
    assert await behind(database, 0) == []


async def test_pieces_are_remembered_as_long_as_the_client_may_repeat_them(database: Database) -> None:
    async def remembered() -> set[str]:
        query = select(pushes.c.piece).where(pushes.c.piece != writing.SWEPT)
        return set(await database.read(lambda tx: tx.execute(query).scalars().all()))

    await opened(database)
    await push(database, put(n=0), change(op=2, n=ADD))
    late = NOW + 400 * DAY_MS
    # The answer was lost, and the device was away for more than a year.
    await push(database, put(n=0), change(op=2, n=ADD), put("x", "t2"), now=late)
    assert await state(database) == MINE | {"n": 1}
    assert await remembered() == {"t/1/0", "t/2/0", "t2/1/0"}
    await push(database, put("x", "t3"), now=late + 31 * DAY_MS)
    assert await remembered() == {"t3/1/0"}


async def test_marker_of_another_time_counts_for_nothing(database: Database) -> None:
    await opened(database)
    first = await push(database, put(n=1), known=UNKNOWN)
    await database.write(lambda tx: tx.execute(update(logs).values(epoch="epo_restored")) and None)
    later = change(txid="t2", base=first.after, n=2)
    written = await push(database, later, known=first.after, epoch=first.epoch)
    assert written.epoch == "epo_restored"
    assert written.corrected == (("todos", "k"),)


async def test_who_waits_for_another_server_to_make_a_realm_sees_what_it_wrote(
    postgres_url: str,
) -> None:
    servers = [Database(postgres_url) for _ in range(2)]
    for server in servers:
        server.signals.attach(asyncio.get_running_loop())
    await opened(servers[0])
    gate = Gate()

    def make(tx: Transaction) -> None:
        batch = Batch(app_id=APP, realm=UID, realm_id=USER, author=ADA, operations=(put(n=1),), now=NOW)
        writing.write(tx, [batch])
        gate(tx)

    making = asyncio.create_task(servers[0].write(make))
    await asyncio.to_thread(gate.entered.wait, 10)
    changing = asyncio.create_task(push(servers[1], change(m=2)))
    await asyncio.sleep(0.3)
    assert not changing.done()
    gate.opened.set()
    await making
    assert not (await changing).rejections
    assert await state(servers[1]) == MINE | {"n": 1, "m": 2}
    for server in servers:
        server.close()


async def test_nothing_is_written_for_somebody_who_was_deleted(database: Database) -> None:
    await opened(database)
    assert await delete_user(database, APP, USER, NOW)
    written = await push(database, put())
    assert [each.name for each in written.rejections] == [writing.GONE]
    assert (
        await database.read(lambda tx: tx.execute(select(func.count()).select_from(objects)).scalar_one())
        == 0
    )


ALL_OF_MANY = operation("upsert", tuple(f"k{each}" for each in range(500)), values=(MINE | {"n": 1},) * 500)


@pytest.mark.parametrize(
    ("there", "sent", "is_aside"),
    [
        ([], [put()], False),
        ([], [put(f"k{number}", f"t{number}") for number in range(500)], True),
        ([], [ALL_OF_MANY], True),
        (
            [ALL_OF_MANY],
            [
                operation(
                    "modify", (), "t2", specs=({"n": 2},), criteria=Criteria("n", {"type": 1, "lower": 1})
                )
            ],
            True,
        ),
    ],
)
async def test_what_is_large_does_not_hold_up_the_loop(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    there: list[Operation],
    sent: list[Operation],
    is_aside: bool,
) -> None:
    await opened(database)
    await push(database, *there, client="laptop")
    cut_by: list[threading.Thread] = []

    def remembered(*arguments: Any) -> Any:
        cut_by.append(threading.current_thread())
        return units(*arguments)

    units = pushing.units
    monkeypatch.setattr(pushing, "units", remembered)
    assert not (await push(database, *sent)).rejections
    assert [thread is not threading.main_thread() for thread in cut_by] == [is_aside]


async def test_pages_end_between_revisions_and_stay_small(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await opened(database)
    monkeypatch.setattr(reading, "SMALL_STEP", 0)
    monkeypatch.setattr(reading, "PAGE_ROWS", 4)
    monkeypatch.setattr(reading, "PAGE_BYTES_MAX", 2_000)
    monkeypatch.setattr(reading, "SIZES", reading.SIZES.limit(4))
    for each in range(10):
        await push(
            database, put(f"k{each}", f"t{each}"), put(f"l{each}", f"t{each}", 2, text="x" * each * 100)
        )
    sizes = [len(page) async for page in reading.pages(database, APP, UID, 0, 10)]
    assert sum(sizes) == 20
    assert max(sizes) <= 4
    assert sizes[-2:] == [2, 2]


async def test_a_private_object_comes_to_light_where_a_public_one_was_deleted(database: Database) -> None:
    await opened(database)
    await push(database, put(n=1))
    await rest(database, put(realmId=PUBLIC, v=1), realm=PUBLIC)
    assert (await state(database) or {})["realmId"] == PUBLIC
    await rest(database, operation("delete", ("k",)), realm=PUBLIC)
    found = reading.pages(database, APP, PUBLIC, 1, 2, beneath=UID)
    [[(_, key, text)]] = [page async for page in found]
    assert (key, msgspec.json.decode(text or "null")) == ("k", MINE | {"n": 1})


async def test_who_waits_hears_of_a_realm_that_has_changed(database: Database) -> None:
    await opened(database)
    heard: list[str | None] = []
    database.signals.subscribe(writing.TOPIC, heard.append)
    await push(database, put())
    await asyncio.sleep(0)
    assert heard == [f"{APP}/{UID}"]


async def test_held_realms_are_those_that_are_there(database: Database) -> None:
    await opened(database)
    await push(database, put())
    held = await database.write(partial(writing.lock, keys=[(APP, UID), (APP, "usr_ben")]))
    assert held == {(APP, UID): 1}
