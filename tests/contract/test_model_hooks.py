"""Web hooks of the data model: `ready` once per object, `update` at every save, in the unit of the write."""

import asyncio
from functools import partial
from typing import Any

import pytest

from admit.accounts.user_deletion import delete_user
from admit.data import model_hooks, models, writing
from admit.data.authors import Author
from admit.data.changed import Changed
from admit.data.tables import readied
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from tests.contract.model_desk import (
    PROGRAM,
    TASKS,
    app_with,
    author,
    batch,
    data_of,
    fired,
    fires,
    operation,
    set_model,
    write,
)
from tests.residents import APP, NOW, login, move_in, person, sign_in

READY = """
[[models.task.webhooks]]
type = "ready"
fields = [{ name = "title" }]
"""
UPDATE = """
[[models.task.webhooks]]
type = "update"
fields = ["title"]
"""


async def test_ready_fires_once_when_what_it_requires_is_there(database: Database) -> None:
    ada = await app_with(database, READY)

    await write(database, ada, operation("insert", "t1", done=False))
    assert await fired(database) == []
    await write(database, ada, operation("update", "t1", title=""))
    assert await fired(database) == []
    await write(database, ada, operation("update", "t1", title="Call Grace"))
    assert await fired(database) == [("task_ready", "t1")]
    await write(database, ada, operation("upsert", "t1", title="Call Grace again"))
    await write(database, ada, operation("update", "t1", done=True))
    assert await fired(database) == [("task_ready", "t1")]

    (event,) = await fires(database)
    assert event.uid == ada.user.uid
    assert data_of(event) == {
        "hook": "task_ready",
        "model": "task",
        "realm_id": "ada@example.com",
        "operation": "update",
        "object": {
            "id": "t1",
            "type": "task",
            "title": "Call Grace",
            "done": False,
            "updated_at": "2024-10-04T12:00:00.000Z",
        },
    }


async def test_update_fires_at_every_save_while_what_it_requires_is_there(database: Database) -> None:
    ada = await app_with(database, UPDATE)

    await write(database, ada, operation("insert", "t1", title="Call Grace"))
    await write(database, ada, operation("update", "t1", done=True))
    await write(database, ada, operation("update", "t1", title=None))
    await write(database, ada, operation("update", "t1", done=False))
    await write(database, ada, operation("update", "t1", title="Write to Grace"))

    told = [data_of(each) for each in await fires(database)]
    assert [(each["operation"], each["object"]["title"]) for each in told] == [
        ("create", "Call Grace"),
        ("update", "Call Grace"),
        ("update", "Write to Grace"),
    ]
    assert {each.type for each in await fires(database)} == {"object.updated"}


async def test_an_object_that_was_deleted_and_made_anew_is_another(database: Database) -> None:
    ada = await app_with(database, READY)

    await write(database, ada, operation("insert", "t1", title="One"))
    await write(database, ada, operation("delete", "t1"))
    assert await fired(database) == [("task_ready", "t1")]
    await write(database, ada, operation("insert", "t1", title="Two"))
    assert [data_of(each)["object"]["title"] for each in await fires(database)] == ["One", "Two"]
    await write(
        database,
        ada,
        operation("delete", "t1"),
        operation("insert", "t1", title="Three"),
        operation("delete", "t1"),
        operation("insert", "t1", title="Four"),
    )
    await write(database, ada, operation("update", "t1", title="Five"))
    titles = [data_of(each)["object"]["title"] for each in await fires(database)]
    assert titles[:2] == ["One", "Two"]
    assert titles[-1] == "Four"


async def test_what_comes_and_goes_within_one_write_leaves_nothing_behind(database: Database) -> None:
    ada = await app_with(database, READY)
    author_ = author(ada)

    def change(value: dict[str, Any] | None, before: dict[str, Any] | None) -> Changed:
        return Changed(
            app_id=APP,
            realm=ada.user.uid,
            realm_id=ada.user.user_id,
            author=author_,
            table="tasks",
            key="t1",
            type="delete" if value is None else "upsert",
            value=value,
            before=before,
            now=NOW,
        )

    there = {"id": "t1", "title": "One"}
    version = await _version(database)
    both = [change(there, None), change(None, there), change(there, None), change(None, there)]
    await database.write(lambda tx: model_hooks.fire(tx, both, {APP: version}))
    assert await fired(database) == [("task_ready", "t1")] * 2
    assert await _readied(database) == []


async def test_two_who_write_at_once_fire_once(database: Database) -> None:
    ada = await app_with(database, READY)
    phone = await sign_in(database, login(ada.user, device_id="phone"))

    writes = [
        write(database, here, operation("upsert", "t1", title=f"From {here.device.device_id} {number}"))
        for number in range(10)
        for here in (ada, phone)
    ]
    await asyncio.gather(*writes)
    assert await fired(database) == [("task_ready", "t1")]


async def test_two_processes_that_write_at_once_fire_once(postgres_url: str) -> None:
    here, there = Database(postgres_url), Database(postgres_url)
    try:
        ada = await app_with(here, READY)
        titles = [operation("upsert", "t1", title=str(number)) for number in range(40)]
        writes = [write(db, ada, each) for db, each in zip((here, there) * 20, titles, strict=True)]
        await asyncio.gather(*writes)
        assert await fired(here) == [("task_ready", "t1")]
    finally:
        here.close()
        there.close()


async def test_what_is_not_committed_has_not_fired(database: Database) -> None:
    ada = await app_with(database, READY)

    def unit(tx: Transaction) -> None:
        writing.write(tx, [batch(ada, operation("insert", "t1", title="One"))])
        raise ValueError("the process dies here")

    with pytest.raises(ValueError, match="dies"):
        await database.write(unit)
    assert await fired(database) == []
    assert await _readied(database) == []
    await write(database, ada, operation("insert", "t1", title="One"))
    assert await fired(database) == [("task_ready", "t1")]


RELATED = """
[[models.task.webhooks]]
type = "update"
fields = ["title", "customer"]

[[models.task.webhooks]]
type = "update"
name = "lax"
fields = [{ name = "customer", required = false }]

[[models.task.webhooks]]
type = "update"
name = "bare"
fields = [{ name = "customer", embed = false }]
"""


async def test_a_relation_is_embedded_from_the_realm_or_the_public_one(database: Database) -> None:
    ada = await app_with(database, RELATED)
    await write(database, ada, operation("insert", "c1", table="customers", name="Own"))
    await write(
        database, ada, operation("insert", "c2", table="customers", name="Public"), public=True, by=PROGRAM
    )

    await write(database, ada, operation("insert", "t1", title="A", customer_id="c1"))
    await write(database, ada, operation("insert", "t2", title="B", customer_id="c2"))
    await write(database, ada, operation("insert", "t3", title="C", customer_id="c3"))
    await write(database, ada, operation("insert", "t4", title="D"))

    told = [data_of(each) for each in await fires(database)]
    by_hook = {
        (each["hook"], each["object"]["id"]): each["object"].get("customer", "absent") for each in told
    }
    own, public = ({"id": "c1", "type": "customer", "name": "Own"}, {"name": "Public"})
    public |= {"id": "c2", "type": "customer"}
    assert by_hook == {
        ("task_update", "t1"): own,
        ("task_update", "t2"): public,
        ("task_update", "t3"): None,
        ("lax", "t1"): own,
        ("lax", "t2"): public,
        ("lax", "t3"): None,
        ("lax", "t4"): None,
        ("bare", "t1"): "absent",
        ("bare", "t2"): "absent",
        ("bare", "t3"): "absent",
    }


async def test_another_persons_object_is_never_embedded(database: Database) -> None:
    ada = await app_with(database, RELATED)
    stranger = person("eve@example.com")
    await move_in(database, stranger)
    eve = await sign_in(database, login(stranger))
    await write(database, eve, operation("insert", "c9", table="customers", name="Of Eve"))

    await write(database, ada, operation("insert", "t1", title="A", customer_id="c9"))
    assert b"Of Eve" not in b"".join(bytes(each.data) for each in await fires(database))


async def test_both_sides_of_a_relation_may_come_in_one_write(database: Database) -> None:
    ada = await app_with(database, RELATED)
    task = operation("insert", "t1", title="A", customer_id="c1")
    await write(database, ada, task, operation("insert", "c1", table="customers", name="Own"))
    assert data_of((await fires(database))[0])["object"]["customer"]["name"] == "Own"


@pytest.mark.parametrize("field", ["user", "device", "session", "enrollment", "session.device", "user.name"])
async def test_who_has_written_an_object_can_be_required(database: Database, field: str) -> None:
    ada = await app_with(database, f'[[models.task.webhooks]]\ntype = "ready"\nfields = ["{field}"]')

    await write(database, ada, operation("insert", "t1", title="A"), by=PROGRAM)
    assert await fired(database) == []
    on_behalf = Author(uid=ada.user.uid, user_id=ada.user.user_id, client_id="cli_1")
    await write(database, ada, operation("insert", "t2", title="A"), by=on_behalf)
    gone = Author(uid=ada.user.uid, user_id=ada.user.user_id, session_id="ses_gone")
    await write(database, ada, operation("insert", "t3", title="A"), by=gone)
    assert await fired(database) == []
    await write(database, ada, operation("insert", "t4", title="A"))
    assert await fired(database) == [("task_ready", "t4")]


async def test_who_has_written_an_object_is_told_with_it(database: Database) -> None:
    fields = '["user", "session.device.identifier", { name = "enrollment", required = false }]'
    ada = await app_with(database, f'[[models.task.webhooks]]\ntype = "ready"\nfields = {fields}')
    await write(database, ada, operation("insert", "t1"))

    told = data_of((await fires(database))[0])["object"]
    session_id = ada.session.session_id
    assert told["user"] == {
        "id": "ada@example.com",
        "type": "user",
        "uid": ada.user.uid,
        "user_id": "ada@example.com",
        "email": "ada@example.com",
        "name": "Ada",
        "user_type": "eval",
    }
    laptop = {"id": "laptop", "type": "device", "identifier": "laptop"}
    assert told["session"] == {"id": session_id, "type": "session", "device": laptop}
    assert told["enrollment"] == {"id": session_id, "type": "enrollment", "ordinal": 1}


async def test_an_owner_who_acts_as_somebody_has_a_session_and_no_enrollment(database: Database) -> None:
    hooks = "".join(
        f'[[models.task.webhooks]]\ntype = "ready"\nname = "{each}"\nfields = ["{each}"]\n'
        for each in ("user", "session", "enrollment")
    )
    ada = await app_with(database, hooks)
    acting = await sign_in(database, login(ada.user, device_id="desk", actor="owner@example.com"))
    await write(database, acting, operation("insert", "t1"))
    assert await fired(database) == [("user", "t1"), ("session", "t1")]


async def test_attachments_and_dates_are_told_as_other_systems_read_them(database: Database) -> None:
    fields = '[{ name = "photo", state = "uploaded", required = false }]'
    hooks = f'[[models.task.webhooks]]\ntype = "update"\nname = "whole"\nfields = {fields}\n'
    ada = await app_with(database, hooks + '[[models.task.webhooks]]\ntype = "update"\nname = "bare"\n')
    photo = {"$t": "Uint8Array", "v": "AAEC"}
    due = {"$t": "Date", "v": "2026-11-22T08:45:13.123Z"}
    await write(database, ada, operation("insert", "t1", due=due, photo=photo, undeclared="x"))

    whole, bare = [data_of(each)["object"] for each in await fires(database)]
    assert (whole["due"], whole["photo"]) == (due["v"], photo)
    assert bare == {name: value for name, value in whole.items() if name != "photo"}
    assert "undeclared" not in whole


async def test_a_new_hook_fires_for_old_objects_when_they_are_saved(database: Database) -> None:
    ada = await app_with(database, READY)
    await write(database, ada, operation("insert", "t1", title="One"))
    again = READY.replace("[{", '[{ name = "done", required = false }, {').replace(
        'type = "ready"', 'type = "ready"\nname = "second"'
    )
    await set_model(database, TASKS + READY + again)
    assert await fired(database) == [("task_ready", "t1")]
    await write(database, ada, operation("update", "t1", done=True))
    assert await fired(database) == [("task_ready", "t1"), ("second", "t1")]

    await set_model(database, TASKS)
    await write(database, ada, operation("insert", "t2", title="Two"))
    assert len(await fired(database)) == 2
    await set_model(database, TASKS + READY)
    await write(database, ada, operation("upsert", "t1", title="One"), operation("upsert", "t2", title="Two"))
    assert await fired(database) == [("task_ready", "t1"), ("second", "t1"), ("task_ready", "t2")]


async def test_a_table_without_hooks_asks_the_database_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await app_with(database, READY)
    await write(database, ada, operation("insert", "t1", title="One"))
    version = await _version(database)
    asked: list[object] = []

    def unit(tx: Transaction) -> None:
        monkeypatch.setattr(tx, "execute", lambda *given: asked.append(given))
        change = Changed(
            app_id=APP,
            realm=ada.user.uid,
            realm_id=ada.user.user_id,
            author=author(ada),
            table="notes",
            key="n1",
            type="upsert",
            value={"title": "One"},
            before=None,
            now=NOW,
        )
        model_hooks.fire(tx, [change], {APP: version})
        monkeypatch.undo()

    await database.write(unit)
    assert asked == []


async def test_a_large_object_is_told_by_its_id(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_hooks, "OBJECT_BYTES_MAX", 1_000)
    ada = await app_with(database, READY)
    await write(database, ada, operation("insert", "t1", title="x" * 1_000))
    told = data_of((await fires(database))[0])["object"]
    assert told == {"id": "t1", "type": "task", "updated_at": told["updated_at"], "too_large": True}


async def test_a_large_relation_is_told_by_its_id(database: Database) -> None:
    ada = await app_with(database, RELATED)
    await write(database, ada, operation("insert", "c1", table="customers", name="x" * 20_000))
    await write(database, ada, operation("insert", "t1", title="A", customer_id="c1"))
    told = data_of((await fires(database))[0])["object"]
    assert told["customer"] == {"id": "c1", "type": "customer", "too_large": True}


async def test_what_one_unit_tells_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_hooks, "UNIT_BYTES_MAX", 10_000)
    monkeypatch.setattr(model_hooks, "OBJECT_BYTES_MAX", 10_000)
    ada = await app_with(database, UPDATE)
    await write(
        database, ada, operation("insert", *(f"t{number}" for number in range(20)), title="x" * 1_000)
    )
    told = [data_of(each)["object"] for each in await fires(database)]
    assert [bool(each.get("too_large")) for each in told] == [False] * 9 + [True] * 11


async def test_nothing_of_what_fired_is_left_of_somebody_who_is_deleted(database: Database) -> None:
    ada = await app_with(database, UPDATE + READY)
    await write(database, ada, operation("insert", "t1", title="A secret of Ada's"))
    assert await delete_user(database, APP, ada.user.user_id, NOW)
    kept = await fires(database)
    assert len(kept) == 2
    assert all("object" not in data_of(each) for each in kept)


async def test_who_writes_to_the_realm_of_somebody_else_is_not_told_of(database: Database) -> None:
    embeds = """
[[models.task.webhooks]]
type = "update"
fields = ["title", { name = "user", required = false }]
"""
    ada = await app_with(database, embeds)
    grace = person("grace@example.com")
    await move_in(database, grace)
    other = await sign_in(database, login(grace, device_id="phone"))

    await write(database, other, operation("insert", "t1", title="By a token of Ada's"), by=author(ada))
    await write(database, other, operation("insert", "t2", title="Her own"))
    told = [data_of(each)["object"] for each in await fires(database)]
    assert [(each.get("user") or {}).get("email") for each in told] == [None, "grace@example.com"]


async def _version(database: Database) -> int:
    stored = await database.read(partial(models.find, app_id=APP))
    assert stored is not None
    return stored.version


async def _readied(database: Database) -> list[Any]:
    return await database.read(lambda tx: list(tx.execute(readied.select()).all()))


async def test_what_is_left_of_a_deleted_persons_web_hook_says_which_it_was(database: Database) -> None:
    ada = await app_with(database, READY)
    await write(database, ada, operation("insert", "t1", title='A "secret", of Ada\'s: {,"object":1}'))
    assert await delete_user(database, APP, ada.user.user_id, NOW)
    (event,) = await fires(database)
    assert data_of(event) == {
        "hook": "task_ready",
        "model": "task",
        "realm_id": "ada@example.com",
        "operation": "create",
    }
