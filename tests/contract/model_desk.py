"""Objects written by people on their devices, and by programs, for tests of web hooks of the data model."""

import json
from functools import partial
from itertools import count
from typing import Any

from admit.accounts.session_opening import Opened
from admit.data import model_file, models, writing
from admit.data.authors import Author
from admit.data.operations import PUBLIC, Batch, Operation, Written
from admit.events.log import Recorded
from admit.storage.database import Database
from tests.residents import APP, NOW, events_of, login, move_in, person, sign_in, start_app

TASKS = """
[models.task]
table = "tasks"

[models.task.fields]
title = "text"
done = "boolean"
due = "date"
photo = "attachment"

[models.task.belongs_to]
customer = "customer"

[models.customer]
table = "customers"
fields = { name = "text" }
"""
PROGRAM = Author(uid=None, user_id="", client_id="cli_1", may_write_public=True)

_txids = count()


async def app_with(database: Database, hooks: str, *, model: str = TASKS) -> Opened:
    """An app with a data model, in which Ada has signed in on her laptop."""
    await start_app(database)
    ada = person(name="Ada")
    await move_in(database, ada)
    here = await sign_in(database, login(ada))
    await set_model(database, model + hooks)
    return here


async def set_model(database: Database, source: str) -> None:
    """Makes a text the model of the app."""
    model = model_file.read(source)
    await database.write(partial(models.put, app_id=APP, source=source, model=model, now=NOW))


def author(here: Opened) -> Author:
    """Somebody by their session."""
    return Author(uid=here.user.uid, user_id=here.user.user_id, session_id=here.session.session_id)


def operation(kind: Any, *keys: str, table: str = "tasks", **members: Any) -> Operation:
    """An operation of a transaction of its own on objects that all look the same."""
    values = tuple({"id": key, **members} for key in keys) if kind in ("insert", "upsert") else ()
    specs = () if values or not members else tuple(dict(members) for _ in keys)
    return Operation(table=table, type=kind, keys=keys, values=values, specs=specs, txid=str(next(_txids)))


def batch(here: Opened, *operations: Operation, public: bool = False, by: Author | None = None) -> Batch:
    """Operations on Ada's private realm, or on the public one."""
    return Batch(
        app_id=APP,
        realm=PUBLIC if public else here.user.uid,
        realm_id=PUBLIC if public else here.user.user_id,
        author=by or author(here),
        operations=operations,
        now=NOW,
    )


async def write(
    database: Database, here: Opened, *operations: Operation, public: bool = False, by: Author | None = None
) -> Written:
    """Writes; whatever is rejected is a mistake of the test."""
    written = await database.write_together(writing.write, batch(here, *operations, public=public, by=by))
    assert not written.rejections, written.rejections
    return written


async def fired(database: Database) -> list[tuple[str, str]]:
    """What has fired so far: the hook and the id of the object."""
    return [(each["hook"], each["object"]["id"]) for each in map(data_of, await fires(database))]


async def fires(database: Database) -> list[Recorded]:
    """The events of hooks."""
    return [each for each in await events_of(database) if each.type.startswith("object.")]


def data_of(event: Recorded) -> Any:
    """What an event carries."""
    return json.loads(bytes(event.data))
