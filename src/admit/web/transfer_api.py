"""/export and /import: people and rows, for the published `dexie-cloud` command, however many they are.

An export is read page by page and sent as it is read. An import is written page by page as it arrives
(`imports`). Neither holds more than a page. Source: dexie-cloud 3.0.7, its `export` and `import`
(docs/compat.md).
"""

from collections.abc import AsyncIterator
from functools import partial

import msgspec
import structlog
from starlette.responses import Response, StreamingResponse

from admit.accounts import user_pages
from admit.accounts.apps import App
from admit.accounts.users import User, UserType
from admit.data import object_walk, realms, table_settings
from admit.data.realms import Realm
from admit.errors import InvalidRequest, TooLarge
from admit.gateway import Gateway
from admit.storage.database import Database
from admit.storage.transaction import Transaction
from admit.web import incoming, interchange
from admit.web.bearer import bearer, holder, require
from admit.web.imports import Import, Imported
from admit.web.incoming import IMPORT_BYTES_MAX
from admit.web.not_built_api import no_realms
from admit.web.operations import Call, Operation
from admit.web.row_access import TABLES_OF_REALMS, author_of, find_realms

LINES_TYPE = "application/x-ndjson"
EXPORT_PAGE = 500
FILE_BYTES_MAX = 20_000_000
"""Of a file that is one JSON object, which must be read whole."""

log = structlog.get_logger("admit.web")


class ExportQuery(msgspec.Struct, frozen=True, rename="camel"):
    """Only the rows of one table, or of one realm."""

    table: str = ""
    realm_id: str = ""


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """What an export holds. `table` "": all of them; `realm` None: all of them."""

    people: bool
    rows: bool
    table: str
    realm: Realm | None


async def export_lines(call: Call) -> Response:
    """Everything as lines of JSON. An export that breaks off ends the connection, so that it is noticed."""
    app = await call.app()
    require(await bearer(call, app), "ACCESS_DB", "GLOBAL_READ")
    chosen = await _chosen(call, app)
    return StreamingResponse(_lines(call.gateway, app, chosen), media_type=LINES_TYPE)


async def export_whole(call: Call) -> Response:
    """Refuses with the way to go: the command has not asked for this since its version 3."""
    app = await call.app()
    require(await bearer(call, app), "ACCESS_DB", "GLOBAL_READ")
    raise InvalidRequest("An export is sent line by line: GET /export/stream, or dexie-cloud 3 and later.")


async def import_lines(call: Call) -> Response:
    """Takes what an export tells, line by line."""
    import_ = await _import(call)
    number = 0
    async for line in incoming.lines_of(incoming.unpacked(call)):
        number += 1
        if line.strip():
            await import_.take(interchange.told_in_line, line, f"Line {number}")
    await import_.end()
    return call.answer(import_.imported)


async def import_file(call: Call) -> Response:
    """Takes what a file of one JSON object tells."""
    import_ = await _import(call)
    pieces: list[bytes] = []
    size = 0
    async for piece in incoming.unpacked(call):
        size += len(piece)
        if size > FILE_BYTES_MAX:
            raise TooLarge(
                f"A file of one JSON object has at most {FILE_BYTES_MAX} bytes. Import the .zip of an export."
            )
        pieces.append(piece)
    await import_.take(interchange.told_in_file, b"".join(pieces), "The file")
    await import_.end()
    return call.answer(import_.imported)


async def _import(call: Call) -> Import:
    app = await call.app()
    asking = await holder(call, app)
    require(asking.claims, "ACCESS_DB", "GLOBAL_WRITE")
    return Import(call.gateway, app, author_of(asking))


async def _chosen(call: Call, app: App) -> Chosen:
    """What the query asks for. Raises NotFound and NotBuilt for a realm that there is not."""
    query = call.query(ExportQuery)
    if query.table in TABLES_OF_REALMS:
        raise no_realms()
    realm = None
    if query.realm_id not in ("", interchange.USERS):
        realm = (await find_realms(call.gateway.db, app, {query.realm_id}))[query.realm_id]
    people = query.table in ("", interchange.USERS) and realm is None
    rows = interchange.USERS not in (query.table, query.realm_id)
    return Chosen(people=people, rows=rows, table=query.table, realm=realm)


async def _lines(gateway: Gateway, app: App, chosen: Chosen) -> AsyncIterator[bytes]:
    yield interchange.head(await gateway.db.read(partial(table_settings.of_app, app_id=app.app_id)))
    users = objects = 0
    yield interchange.DEMO_BEGIN
    if chosen.people:
        async for page in _pages(gateway, app, "demo"):
            yield interchange.demo_users(page, first=users == 0)
            users += len(page)
    yield interchange.DEMO_END
    if chosen.people:
        async for page in _pages(gateway, app, None):
            people = [user for user in page if user.type != "demo"]
            users += len(people)
            yield b"".join(map(interchange.row_line, people))
    if chosen.rows:
        async for lines in _object_lines(gateway.db, app, chosen):
            objects += len(lines)
            yield b"".join(lines)
    log.info("export.done", app_id=app.app_id, users=users, objects=objects)


async def _object_lines(db: Database, app: App, chosen: Chosen) -> AsyncIterator[list[bytes]]:
    """The rows of one table after the other. Those of a person who is being deleted are left out."""
    async for table in object_walk.tables(db, app.app_id):
        if chosen.table not in ("", table):
            continue
        realm = None if chosen.realm is None else chosen.realm.realm
        async for page in object_walk.walk(db, app.app_id, table, realm):
            kept_in = {row.realm for row in page.rows}
            names = await db.read(partial(realms.named, app_id=app.app_id, realms=kept_in))
            yield [
                interchange.object_line(row, names[row.realm].realm_id)
                for row in page.rows
                if row.realm in names
            ]


async def _pages(gateway: Gateway, app: App, type_: UserType | None) -> AsyncIterator[list[User]]:
    key: str | None = None
    while True:
        query = user_pages.Query(type=type_, limit=EXPORT_PAGE, paging_key=key)

        def find(tx: Transaction, query: user_pages.Query = query) -> user_pages.Page:
            return user_pages.page(tx, app.app_id, query)

        page = await gateway.db.read(find)
        if page.users:
            yield page.users
        key = page.paging_key
        if key is None:
            return


_READ, _WRITE = ("ACCESS_DB", "GLOBAL_READ"), ("ACCESS_DB", "GLOBAL_WRITE")
_IMPORT_CODES = (
    "invalid_request",
    "too_large",
    "conflict",
    "object_exists",
    "realm_not_found",
    "realms_not_built",
)
OPERATIONS = (
    Operation(
        method="GET",
        path="/{app}/export/stream",
        handler=export_lines,
        summary="People and rows, as lines of JSON (application/x-ndjson)",
        access="person",
        scopes=_READ,
        query=ExportQuery,
        codes=("realm_not_found", "realms_not_built"),
    ),
    Operation(
        method="GET",
        path="/{app}/export",
        handler=export_whole,
        summary="Refers to /export/stream",
        access="person",
        scopes=_READ,
        codes=("invalid_request",),
    ),
    Operation(
        method="POST",
        path="/{app}/import/stream",
        handler=import_lines,
        summary="Takes the people and rows of an export, line by line",
        access="person",
        scopes=_WRITE,
        body=interchange.Line,
        body_media_types=(LINES_TYPE,),
        body_bytes_max=IMPORT_BYTES_MAX,
        answer=Imported,
        codes=_IMPORT_CODES,
    ),
    Operation(
        method="POST",
        path="/{app}/import",
        handler=import_file,
        summary="Takes the people and rows of one JSON object",
        access="person",
        scopes=_WRITE,
        body=interchange.File,
        body_media_types=("application/x-tson", "application/json"),
        body_bytes_max=FILE_BYTES_MAX,
        answer=Imported,
        codes=_IMPORT_CODES,
    ),
)
