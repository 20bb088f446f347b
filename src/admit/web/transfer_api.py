"""/export and /import: the users of an app, for the published `dexie-cloud` command, however many they are.

An export is read page by page and sent as it is read. An import is written page by page as it arrives, each
page whole or not at all; users are told apart by their userId, so that it can simply be sent again. Neither
holds more than a page. Source: dexie-cloud 3.0.7, its `export` and `import` (docs/compat.md).
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterator

import msgspec
import structlog
from starlette.responses import Response, StreamingResponse

from admit.accounts import user_pages
from admit.accounts.apps import App
from admit.accounts.user_changes import Rejected, Written
from admit.accounts.user_edits import UserChange
from admit.accounts.users import User, UserType
from admit.enrollment.creations import write_among_rivals, write_users
from admit.errors import AdmitError, InvalidRequest, TooLarge
from admit.gateway import Gateway
from admit.storage.transaction import Transaction
from admit.web import interchange
from admit.web.bearer import bearer, require
from admit.web.errors import BodyTooSlow
from admit.web.not_built_api import no_realms, no_tables
from admit.web.operations import BODY_SECONDS_MAX, Call, ClientGone, Operation
from admit.web.users_api import refusal_of

LINES_TYPE = "application/x-ndjson"
EXPORT_PAGE = 500
IMPORT_PAGE = 500
LINE_BYTES_MAX = 4_000_000
"""Of one line; that of all demo users is the longest."""
FILE_BYTES_MAX = 20_000_000
"""Of a file that is one JSON object, which must be read whole."""
IMPORT_BYTES_MAX = 8_000_000_000
"""Of an import, unpacked."""
PIECE_BYTES = 65_536

log = structlog.get_logger("admit.web")


Reader = Callable[[bytes], list[UserChange]]


class ExportQuery(msgspec.Struct, frozen=True, rename="camel"):
    """Only the rows of one table, or of one realm."""

    table: str = ""
    realm_id: str = ""


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """Everything is in: so many users were told, so many of them created and so many changed."""

    ok: bool
    users: int
    created: int
    changed: int


async def export_lines(call: Call) -> Response:
    """All users as lines of JSON. An export that breaks off ends the connection, so that it is noticed."""
    app = await call.app()
    require(await bearer(call, app), "ACCESS_DB", "GLOBAL_READ")
    _check_filter(call.query(ExportQuery))
    return StreamingResponse(_lines(call.gateway, app), media_type=LINES_TYPE)


async def export_whole(call: Call) -> Response:
    """Refuses with the way to go: the command has not asked for this since its version 3."""
    app = await call.app()
    require(await bearer(call, app), "ACCESS_DB", "GLOBAL_READ")
    raise InvalidRequest("An export is sent line by line: GET /export/stream, or dexie-cloud 3 and later.")


async def import_lines(call: Call) -> Response:
    """Takes the users of an export, line by line."""
    app, who = await _importer(call)
    progress = _Progress(call.gateway, app, who)
    number = 0
    async for line in _split(_unpacked(call)):
        number += 1
        if line.strip():
            await progress.take(interchange.changes_in_line, line, f"Line {number}")
    await progress.end()
    return call.answer(progress.imported)


async def import_file(call: Call) -> Response:
    """Takes the users of a file that is one JSON object."""
    app, who = await _importer(call)
    pieces: list[bytes] = []
    size = 0
    async for piece in _unpacked(call):
        size += len(piece)
        if size > FILE_BYTES_MAX:
            raise TooLarge(
                f"A file of one JSON object has at most {FILE_BYTES_MAX} bytes. Import the .zip of an export."
            )
        pieces.append(piece)
    progress = _Progress(call.gateway, app, who)
    await progress.take(interchange.changes_in_file, b"".join(pieces), "The file")
    await progress.end()
    return call.answer(progress.imported)


async def _importer(call: Call) -> tuple[App, str]:
    app = await call.app()
    claims = await bearer(call, app)
    require(claims, "ACCESS_DB", "GLOBAL_WRITE")
    return app, f"an import of the API client {claims.client_id or claims.sub}"


def _check_filter(query: ExportQuery) -> None:
    if query.table not in ("", interchange.USERS):
        raise no_tables()
    if query.realm_id not in ("", interchange.USERS):
        raise no_realms()


async def _lines(gateway: Gateway, app: App) -> AsyncIterator[bytes]:
    yield interchange.HEAD
    yield interchange.DEMO_BEGIN
    first = True
    async for page in _pages(gateway, app, "demo"):
        yield interchange.demo_users(page, first=first)
        first = False
    yield interchange.DEMO_END
    count = 0
    async for page in _pages(gateway, app, None):
        people = [user for user in page if user.type != "demo"]
        count += len(people)
        yield b"".join(map(interchange.row_line, people))
    log.info("export.done", app_id=app.app_id, users=count)


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


class _Progress:
    """An import on its way: what has been read and not written yet, and what has come of it so far."""

    def __init__(self, gateway: Gateway, app: App, who: str) -> None:
        self._gateway = gateway
        self._app = app
        self._who = who
        self._waiting: list[tuple[UserChange, str]] = []
        self._users = self._created = self._changed = 0

    @property
    def imported(self) -> Imported:
        return Imported(ok=True, users=self._users, created=self._created, changed=self._changed)

    async def take(self, read: Reader, text: bytes, place: str) -> None:
        """Reads `text`, and writes what makes a page. Raises with the place and with how far it came."""
        try:
            changes = read(text)
        except AdmitError as error:
            await self.end()
            raise self._stopped(error, place) from error
        self._waiting += [(change, place) for change in changes]
        while len(self._waiting) >= IMPORT_PAGE:
            await self._write(IMPORT_PAGE)

    async def end(self) -> None:
        """Writes what is left."""
        while self._waiting:
            await self._write(IMPORT_PAGE)

    async def _write(self, count: int) -> None:
        page, self._waiting = self._waiting[:count], self._waiting[count:]
        changes = [change for change, _ in page]
        outcome = await _write_page(self._gateway, self._app, changes, self._who)
        if isinstance(outcome, Rejected):
            raise self._stopped(refusal_of(outcome), page[outcome.index or 0][1])
        self._users += len(changes)
        self._created += len(outcome.created)
        self._changed += len(outcome.changed)

    def _stopped(self, error: AdmitError, place: str) -> AdmitError:
        log.warning("import.stopped", app_id=self._app.app_id, code=error.code, users=self._users)
        told = f"{place}: {error.message} {self._users} users before it are in; they may come again."
        return type(error)(told, code=error.code)


async def _write_page(gateway: Gateway, app: App, changes: list[UserChange], who: str) -> Written | Rejected:
    now = gateway.clock()

    def write(tx: Transaction) -> Written | Rejected:
        return write_users(tx, app, changes, who=who, source="import", now=now)

    return await write_among_rivals(gateway.db, write)


async def _unpacked(call: Call) -> AsyncIterator[bytes]:
    """The body in pieces, unpacked where it is gzip. Raises TooLarge, and InvalidRequest for half a body."""
    encoding = (call.header("content-encoding") or "identity").lower()
    if encoding not in ("gzip", "identity"):
        raise InvalidRequest("An import is sent as it is, or packed by gzip.")
    gunzip = zlib.decompressobj(wbits=31)
    size = 0
    async for chunk in _arriving(call):
        for piece in _gunzipped(gunzip, chunk) if encoding == "gzip" else (chunk,):
            size += len(piece)
            if size > IMPORT_BYTES_MAX:
                raise TooLarge(f"An import has at most {IMPORT_BYTES_MAX} bytes. Split the file.")
            yield piece
    if encoding == "gzip" and not gunzip.eof:
        raise InvalidRequest("The import ends in the middle. Send it again.")


def _gunzipped(gunzip: "zlib._Decompress", packed: bytes) -> Iterator[bytes]:
    """In pieces, however much a small body holds."""
    try:
        while packed and not gunzip.eof:
            yield gunzip.decompress(packed, PIECE_BYTES)
            packed = gunzip.unconsumed_tail
    except zlib.error:
        raise InvalidRequest("The import is not packed by gzip.") from None
    if gunzip.unused_data:
        raise InvalidRequest("Something follows the import.")


async def _arriving(call: Call) -> AsyncIterator[bytes]:
    """The body as it arrives; how long it takes in all is the client's affair."""
    while True:
        try:
            async with asyncio.timeout(BODY_SECONDS_MAX):
                message = await call.request.receive()
        except TimeoutError:
            raise BodyTooSlow(f"Nothing of the body arrived for {BODY_SECONDS_MAX:g} s.") from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        if chunk := message.get("body", b""):
            yield chunk
        if not message.get("more_body", False):
            return


async def _split(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines of the pieces."""
    rest: list[bytes] = []
    size = 0
    async for piece in pieces:
        *lines, end = piece.split(b"\n")
        for line in lines:
            yield b"".join([*rest, line])
            rest, size = [], 0
        rest.append(end)
        size += len(end)
        if size > LINE_BYTES_MAX:
            raise TooLarge(f"A line has at most {LINE_BYTES_MAX} bytes.")
    yield b"".join(rest)


_READ, _WRITE = ("ACCESS_DB", "GLOBAL_READ"), ("ACCESS_DB", "GLOBAL_WRITE")
_IMPORT_CODES = ("invalid_request", "too_large", "tables_not_built", "realms_not_built")
OPERATIONS = (
    Operation(
        method="GET",
        path="/{app}/export/stream",
        handler=export_lines,
        summary="All users and demo users, as lines of JSON (application/x-ndjson)",
        access="person",
        scopes=_READ,
        query=ExportQuery,
        codes=("tables_not_built", "realms_not_built"),
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
        summary="Takes the users and demo users of an export, line by line",
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
        summary="Takes the users and demo users of one JSON object",
        access="person",
        scopes=_WRITE,
        body=interchange.File,
        body_media_types=("application/x-tson", "application/json"),
        body_bytes_max=FILE_BYTES_MAX,
        answer=Imported,
        codes=_IMPORT_CODES,
    ),
)
