"""An import on its way: page by page as it arrives, each page whole or not at all.

Users are told apart by their userId and rows by their key, and a row that is as it is told stays as it is. So
an import that stopped can simply be sent again.
"""

from collections.abc import Callable
from functools import partial

import msgspec
import structlog

from admit.accounts.apps import App
from admit.accounts.user_changes import Rejected, Written
from admit.accounts.user_edits import UserChange
from admit.data import object_writing, table_settings
from admit.data.authors import Author
from admit.data.table_settings import TableSetting
from admit.enrollment.creations import write_among_rivals, write_users
from admit.errors import AdmitError
from admit.gateway import Gateway
from admit.storage.transaction import Transaction
from admit.web import row_changes
from admit.web.interchange import ObjectRow, Told
from admit.web.row_access import known_realms, no_such_realm
from admit.web.row_changes import Placed
from admit.web.users_api import refusal_of

PAGE = 500
PAGE_BYTES = 4_000_000

log = structlog.get_logger("admit.web")

Reader = Callable[[bytes], list[Told]]


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """Everything is in: so many users and rows were told, and so many of either created or changed."""

    ok: bool
    users: int
    created: int
    changed: int
    objects: int
    written: int


class Import:
    """What has been read and not written yet, and what has come of it so far."""

    def __init__(self, gateway: Gateway, app: App, author: Author) -> None:
        self._gateway = gateway
        self._app = app
        self._author = author
        self._waiting: list[tuple[Told, str]] = []
        self._bytes = 0
        self._users = self._created = self._changed = self._objects = self._written = 0

    @property
    def imported(self) -> Imported:
        return Imported(
            ok=True,
            users=self._users,
            created=self._created,
            changed=self._changed,
            objects=self._objects,
            written=self._written,
        )

    async def take(self, read: Reader, text: bytes, place: str) -> None:
        """Reads `text`, and writes what makes a page. Raises with the place and with how far it came."""
        try:
            told = read(text)
        except AdmitError as error:
            await self.end()
            raise self._stopped(error, place) from error
        for each in told:
            size = each.size if isinstance(each, ObjectRow) else 0
            if self._waiting and not self._fits(each, size):
                await self.end()
            self._waiting.append((each, place))
            self._bytes += size
        if len(self._waiting) >= PAGE:
            await self.end()

    async def end(self) -> None:
        """Writes what is left."""
        page, self._waiting, self._bytes = self._waiting, [], 0
        match [each for each, _ in page]:
            case []:
                return
            case [UserChange(), *_] as users:
                await self._write_users([each for each in users if isinstance(each, UserChange)], page)
            case [TableSetting(), *_] as tables:
                await self._write_tables([each for each in tables if isinstance(each, TableSetting)], page)
            case rows:
                await self._write_rows([each for each in rows if isinstance(each, ObjectRow)], page)

    def _fits(self, told: Told, size: int) -> bool:
        """Whether `told` belongs to the page that waits: one of a kind, and not too large."""
        same = type(told) is type(self._waiting[0][0])
        return same and len(self._waiting) < PAGE and self._bytes + size <= PAGE_BYTES

    async def _write_users(self, changes: list[UserChange], page: list[tuple[Told, str]]) -> None:
        gateway, app, now = self._gateway, self._app, self._gateway.clock()
        who = f"an import of the API client {self._author.client_id or self._author.user_id}"

        def write(tx: Transaction) -> Written | Rejected:
            return write_users(tx, app, changes, who=who, source="import", now=now)

        outcome = await write_among_rivals(gateway.db, write)
        if isinstance(outcome, Rejected):
            raise self._stopped(refusal_of(outcome), page[outcome.index or 0][1])
        self._users += len(changes)
        self._created += len(outcome.created)
        self._changed += len(outcome.changed)

    async def _write_tables(self, settings: list[TableSetting], page: list[tuple[Told, str]]) -> None:
        for setting, (_, place) in zip(settings, page, strict=True):
            try:
                row_changes.check_table(setting.name)
                table_settings.check(setting)
            except AdmitError as error:
                raise self._stopped(error, place) from error
        app_id, now = self._app.app_id, self._gateway.clock()
        put = partial(table_settings.put, app_id=app_id, settings=settings, now=now)
        if (refused := await self._gateway.db.write(put)) is not None:
            raise self._stopped(refused, page[0][1])

    async def _write_rows(self, rows: list[ObjectRow], page: list[tuple[Told, str]]) -> None:
        db, app = self._gateway.db, self._app
        wants = []
        for row, (_, place) in zip(rows, page, strict=True):
            try:
                row_changes.check_table(row.table)
            except AdmitError as error:
                raise self._stopped(error, place) from error
        tables = await row_changes.settings_of(db, app, {row.table for row in rows})
        realms = await known_realms(db, app, {row.realm_id for row in rows})
        now = self._gateway.clock()
        for row, (_, place) in zip(rows, page, strict=True):
            try:
                if row.realm_id not in realms:
                    raise no_such_realm(row.realm_id)
                placed = Placed(tables[row.table], realms[row.realm_id], row.value, row.key)
                wants.append(row_changes.to_put(placed, now))
            except AdmitError as error:
                raise self._stopped(error, place) from error
        outcomes = await row_changes.write(
            self._gateway, app, self._author, wants, atomic=True, spares_unchanged=True
        )
        for outcome, (_, place) in zip(outcomes, page, strict=True):
            if object_writing.has_failed(outcome) and outcome != "not_tried":
                raise self._stopped(row_changes.error_of(outcome), place)
        self._objects += len(outcomes)
        self._written += outcomes.count("done")

    def _stopped(self, error: AdmitError, place: str) -> AdmitError:
        done = self.imported
        log.warning(
            "import.stopped",
            app_id=self._app.app_id,
            code=error.code,
            users=done.users,
            objects=done.objects,
        )
        rows = f" and {done.objects} rows" if done.objects else ""
        told = f"{place}: {error.message} {done.users} users{rows} before it are in; they may come again."
        return type(error)(told, code=error.code)
