"""What hooks and large objects may cost those who write: never their push, and never what is others'."""

from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from admit.accounts.session_opening import Opened
from admit.data import announcing, model_hooks, pushing, writing
from admit.data.changed import Changed
from admit.data.operations import Batch, Operation, Written
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction
from tests.contract.campaign_desk import Desk
from tests.contract.change_desk import filtered
from tests.contract.model_desk import (
    TASKS,
    app_with,
    batch,
    data_of,
    fired,
    fires,
    operation,
    set_model,
    write,
)
from tests.residents import APP, login, move_in, person, sign_in

EIGHT_READY = "".join(
    f'[[models.task.webhooks]]\ntype = "ready"\nname = "ready_{number}"\nfields = ["title"]\n'
    for number in range(8)
)


async def push(database: Database, here: Opened, *operations: Operation, client: str = "laptop") -> Written:
    """As a client pushes, each operation a transaction of its own that is remembered."""
    remembered = tuple(replace(each, piece=each.txid) for each in operations)
    written = await pushing.push(database, replace(batch(here, *remembered), client=client))
    assert not written.rejections, written.rejections
    return written


async def test_push_of_many_objects_goes_through_whatever_fires_for_them(database: Database) -> None:
    ada = await app_with(database, EIGHT_READY)

    await push(database, ada, *(operation("insert", f"t{number}", title="One") for number in range(500)))
    assert len(await fired(database)) == 4_000
    await push(database, ada, *(operation("delete", f"t{number}") for number in range(500)))
    await push(database, ada, operation("insert", "t0", title="Two"))
    assert len(await fired(database)) == 4_008


async def test_units_are_the_smaller_the_more_is_told_of_each_object(
    database: Database, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "UNIT_KEYS", 64)
    units: list[int] = []

    def counted(tx: Transaction, batches: list[Batch]) -> list[Written]:
        units.append(sum(len(each.keys) for one in batches for each in one.operations))
        return writing.write(tx, batches)

    monkeypatch.setattr(pushing, "write", counted)
    ada = await app_with(database, EIGHT_READY)
    for _ in range(4):
        await Desk(database, ring).endpoint(events=("object.ready",))

    await push(database, ada, operation("insert", *(f"t{number}" for number in range(64)), title="One"))
    assert units == [16] * 4
    units.clear()
    await push(
        database,
        ada,
        operation("insert", *(f"c{number}" for number in range(64)), table="customers", name="Grace"),
    )
    assert units == [64]


@pytest.mark.parametrize("kind", ["upsert", "update"])
async def test_large_objects_are_not_all_looked_at_in_one_unit(
    database: Database, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(pushing, "UNIT_BYTES", 50_000)
    ada = await app_with(database, "")
    await database.write(_tell_of_changes)
    keys = [f"t{number}" for number in range(64)]
    await push(database, ada, operation("insert", *keys, title="x" * 2_000))
    looked_at: list[int] = []
    announce = announcing.announce

    def weighed(tx: Transaction, changes: list[Changed], listening: Any) -> None:
        looked_at.append(sum(len(str(each.before)) for each in changes))
        announce(tx, changes, listening)

    monkeypatch.setattr(announcing, "announce", weighed)
    await push(database, ada, operation(kind, *keys, title="One"))
    assert max(looked_at) < 60_000


def _tell_of_changes(tx: Transaction) -> None:
    tx.execute(announcing.SET_TELLS, {"app_id": APP, "tells": "yes", "model_version": 0})


async def test_one_spec_for_many_objects_is_weighed_with_each(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "UNIT_BYTES", 50_000)
    ada = await app_with(database, "")
    keys = [f"t{number}" for number in range(64)]
    await push(database, ada, operation("insert", *keys, title="One"))
    units: list[int] = []

    def counted(tx: Transaction, batches: list[Batch]) -> list[Written]:
        units.append(sum(len(each.keys) for one in batches for each in one.operations))
        return writing.write(tx, batches)

    monkeypatch.setattr(pushing, "write", counted)
    await push(database, ada, operation("update", *keys, title="x" * 2_000))
    assert max(units) <= 16


class Died(Exception):
    """The process, in the middle of a push."""


async def test_what_a_crash_has_left_of_a_push_is_done_though_objects_have_another_size_by_then(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "UNIT_BYTES", 50_000)
    ada = await app_with(database, "")
    keys = [f"t{number}" for number in range(64)]
    await push(database, ada, operation("insert", *keys, title="x" * 2_000))
    done = operation("update", *keys, done=True)
    parts = 0

    def dies(tx: Transaction, batches: list[Batch]) -> list[Written]:
        nonlocal parts
        parts += 1
        if parts == 2:
            raise Died
        return writing.write(tx, batches)

    with monkeypatch.context() as patched:
        patched.setattr(pushing, "write", dies)
        with pytest.raises(Died):
            await push(database, ada, done)
    await push(database, ada, operation("update", *keys, title="One"), client="tablet")
    await push(database, ada, done)

    rows = await database.read(
        lambda tx: writing.TEXTS.rows(tx, [(APP, "tasks", ada.user.uid, k) for k in keys])
    )
    assert [row[0] for row in rows if '"done":true' not in row[4].replace(" ", "")] == []


async def test_what_one_writes_takes_no_room_from_others_in_the_same_unit(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_hooks, "UNIT_BYTES_MAX", 16_000)
    monkeypatch.setattr(model_hooks, "OBJECT_BYTES_MAX", 8_000)
    ada = await app_with(database, EIGHT_READY)
    grace = person("grace@example.com")
    await move_in(database, grace)
    other = await sign_in(database, login(grace, device_id="phone"))
    batches = [
        batch(ada, operation("insert", *(f"t{number}" for number in range(20)), title="x" * 2_000)),
        batch(other, operation("insert", "theirs", title="One")),
    ]
    await database.write(partial(writing.write, batches=batches))

    told = [data_of(each)["object"] for each in await fires(database)]
    assert {bool(each.get("too_large")) for each in told if each["id"] != "theirs"} == {False, True}
    assert not any(each.get("too_large") for each in told if each["id"] == "theirs")


async def test_object_made_anew_is_ready_though_the_hook_was_away_when_the_former_one_went(
    database: Database,
) -> None:
    ready = '[[models.task.webhooks]]\ntype = "ready"\nfields = ["title"]\n'
    ada = await app_with(database, ready)
    await write(database, ada, operation("insert", "t1", title="One"))
    await set_model(database, TASKS)
    await write(database, ada, operation("delete", "t1"))
    await set_model(database, TASKS + ready)
    await write(database, ada, operation("insert", "t1", title="Two"))
    await write(database, ada, operation("update", "t1", title="Three"))
    assert [data_of(each)["object"]["title"] for each in await fires(database)] == ["One", "Two"]


async def test_filters_of_many_properties_do_not_stop_a_push_of_objects_with_many(
    database: Database, ring: KeyRing
) -> None:
    ada = await app_with(database, "")
    rules = [{"table": "tasks", "properties": tuple(f"a{n}_{m}" for m in range(100))} for n in range(5)]
    await Desk(database, ring).endpoint(format="dexie", filter=filtered(*rules))
    keys = [f"t{number}" for number in range(20)]
    await push(database, ada, operation("insert", *keys, title="One"))
    properties: dict[str, Any] = {f"b{number}": 1 for number in range(1_000)}
    written = await push(database, ada, operation("update", *keys, **properties))
    assert written.after > written.before
