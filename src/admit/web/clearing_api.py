"""/clear-table and /clear-realm: deleting much at once, for the published `dexie-cloud` command.

Rows are deleted as clients delete them, some hundred a commit, so that open clients hear of it and logins
pass. What was interrupted can simply be asked for again.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

import msgspec
from starlette.responses import Response

from admit.accounts.apps import App
from admit.data import object_walk, object_writing, realms
from admit.data.authors import Author
from admit.data.object_pages import Page
from admit.data.object_writing import Want, Wanted
from admit.data.realms import Realm
from admit.gateway import Gateway
from admit.web import row_changes
from admit.web.bearer import holder, require
from admit.web.operations import Call, Operation
from admit.web.row_access import author_of, find_realms

PIECE_ROWS = 500


class ClearTable(msgspec.Struct, frozen=True):
    """The table whose rows are to go, in every realm."""

    table: str


class ClearRealm(msgspec.Struct, frozen=True, rename="camel"):
    """The realm whose rows are to go, of every table."""

    realm_id: str


class Cleared(msgspec.Struct, frozen=True, rename="camel"):
    """So many rows are gone."""

    message: str
    deleted_count: int


async def clear_table(call: Call) -> Response:
    """Deletes all rows of a table."""
    app, author = await _asking(call)
    table = (await call.json(ClearTable)).table
    row_changes.check_table(table)
    deleted = await _clear(call.gateway, app, author, table, None)
    return call.answer(Cleared(f"The table {table} is empty.", deleted))


async def clear_realm(call: Call) -> Response:
    """Deletes all rows of a realm."""
    app, author = await _asking(call)
    realm_id = (await call.json(ClearRealm)).realm_id
    realm = (await find_realms(call.gateway.db, app, {realm_id}))[realm_id]
    deleted = 0
    async for table in object_walk.tables(call.gateway.db, app.app_id):
        deleted += await _clear(call.gateway, app, author, table, realm)
    return call.answer(Cleared(f"The realm {realm.realm_id} is empty.", deleted))


async def _asking(call: Call) -> tuple[App, Author]:
    """Whoever may write everywhere. The command asks for no other scope."""
    app = await call.app()
    asking = await holder(call, app)
    require(asking.claims, "GLOBAL_WRITE")
    return app, author_of(asking)


async def _clear(gateway: Gateway, app: App, author: Author, table: str, realm: Realm | None) -> int:
    deleted = 0
    async with aclosing(_pages(gateway, app, table, realm)) as pages:
        async for page in pages:
            names = await gateway.db.read(
                partial(realms.named, app_id=app.app_id, realms={row.realm for row in page.rows})
            )
            wants = [
                Want(method="delete", realm=names[row.realm], table=table, key=row.key)
                for row in page.rows
                if row.realm in names
            ]
            for start in range(0, len(wants), PIECE_ROWS):
                deleted += await _delete(gateway, app, author, wants[start : start + PIECE_ROWS])
    return deleted


def _pages(gateway: Gateway, app: App, table: str, realm: Realm | None) -> AsyncGenerator[Page]:
    return object_walk.walk(gateway.db, app.app_id, table, None if realm is None else realm.realm)


async def _delete(gateway: Gateway, app: App, author: Author, wants: list[Want]) -> int:
    wanted = Wanted(app_id=app.app_id, author=author, wants=wants, now=gateway.clock())
    outcomes = await gateway.db.write(partial(object_writing.write, wanted=wanted), patient=True)
    return outcomes.count("done")


_CODES = ("invalid_request", "realm_not_found", "realms_not_built")
OPERATIONS = (
    Operation(
        method="POST",
        path="/{app}/clear-table",
        handler=clear_table,
        summary="Deletes all rows of a table, in every realm",
        access="person",
        scopes=("GLOBAL_WRITE",),
        body=ClearTable,
        answer=Cleared,
        codes=_CODES,
    ),
    Operation(
        method="POST",
        path="/{app}/clear-realm",
        handler=clear_realm,
        summary="Deletes all rows of a realm, of every table",
        access="person",
        scopes=("GLOBAL_WRITE",),
        body=ClearRealm,
        answer=Cleared,
        codes=_CODES,
    ),
)
