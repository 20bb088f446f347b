"""The directory: every app as a snapshot in memory, so that a request need not ask the database for it."""

import asyncio
import math
import time
from collections.abc import Callable
from functools import partial

import msgspec
import structlog
from sqlalchemy import bindparam, func, select

from admit.accounts.apps import App, load_app
from admit.accounts.tables import apps
from admit.errors import NotFound, StorageUnavailable
from admit.storage.database import Database
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction

GOOD_SECONDS = 10.0
LOOK_SECONDS_MAX = 2.0
LOOK_AGAIN_SECONDS = 1.0
LOOKS_MAX = 3
SNAPSHOTS_MAX = 2_000
PAGE_APPS = 2_000

STAMP = select(
    func.count().label("number"),
    func.coalesce(func.sum(apps.c.version), 0).label("versions"),
    func.coalesce(func.max(apps.c.created_at), 0).label("youngest"),
).select_from(apps)
PAGE = (
    select(apps.c.name, apps.c.app_id, apps.c.version)
    .where(apps.c.name > bindparam("after"))
    .order_by(apps.c.name)
    .limit(bindparam("limit"))
)

log = structlog.get_logger("admit.accounts")

Stamp = tuple[int, int, int]


class Listed(msgspec.Struct, frozen=True):
    """What the directory knows of every app, loaded or not."""

    app_id: str
    version: int


class Directory:
    """Finds apps by name without touching the database.

    What it guarantees: a change made through this process's `Database` is visible as soon as the write has
    been awaited. A change made by another process is visible when its signal arrives, and without any signal
    after GOOD_SECONDS at the latest, because what is older than that is compared with the database before it
    is used. While the database does not answer, the last snapshots go on being served, however old; a name
    that is not among them is then StorageUnavailable, because it may be new. The names of all apps are known,
    so that a name nobody bears costs neither memory nor a question to the database.
    """

    def __init__(
        self, db: Database, ring: KeyRing, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._db = db
        self._ring = ring
        self._monotonic = monotonic
        self._stamp: Stamp | None = None
        self._listed: dict[str, Listed] = {}
        self._names: dict[str, str] = {}
        self._snapshots: dict[str, App] = {}
        self._good_until = -math.inf
        self._silent = False
        self._looking: asyncio.Task[None] | None = None
        self._loading: dict[str, asyncio.Task[App | None]] = {}
        self._end_subscription = db.signals.subscribe("app", self._heard)

    def close(self) -> None:
        """Ends the subscription and lets go of what is being read."""
        self._end_subscription()
        for task in (self._looking, *self._loading.values()):
            if task is not None:
                task.cancel()

    def cached(self, name: str) -> App | None:
        """The app where it is at hand; None says nothing but that `app` must be asked."""
        return self._snapshots.get(name) if self._monotonic() < self._good_until else None

    async def app(self, name: str) -> App:
        """The app of this name. Raises NotFound (code app_not_found) or StorageUnavailable."""
        if app := self.cached(name):
            return app
        sure = await self._make_sure()
        if app := self._snapshots.get(name):
            return app
        if name not in self._listed:
            raise _not_found() if sure else _storage_unavailable()
        return await self._load(name)

    async def app_by_id(self, app_id: str) -> App:
        """The app of this app_id, for work that outlives its request. Raises as `app` does."""
        sure = await self._make_sure()
        name = self._names.get(app_id)
        if name is None:
            raise _not_found() if sure else _storage_unavailable()
        return await self.app(name)

    def _heard(self, app_id: str | None) -> None:
        """Drops what may be old, and lets go of what is being read: it may be older than the change."""
        name = self._names.get(app_id) if app_id is not None else None
        if name is not None:
            self._snapshots.pop(name, None)
            self._loading.pop(name, None)
        else:  # a new app, or signals were missed
            self._good_until = -math.inf
            self._looking = None
            self._loading.clear()

    async def _make_sure(self) -> bool:
        """Compares the snapshots with the database where it is time to. False: it does not answer."""
        for _ in range(LOOKS_MAX):
            if self._monotonic() < self._good_until:
                return True
            if self._looking is None:
                self._looking = asyncio.create_task(self._look())
            if self._silent:
                return False
            try:
                async with asyncio.timeout(LOOK_SECONDS_MAX):
                    await asyncio.shield(self._looking)
            except TimeoutError:
                self._fall_silent()
        return False

    async def _look(self) -> None:
        """Looks until the database answers, or until this look is let go of."""
        this = asyncio.current_task()
        try:
            while self._looking is this:
                began_at = self._monotonic()
                try:
                    stamp = await self._db.read(_stamp)
                    listed = None if stamp == self._stamp else await self._list()
                except StorageUnavailable:
                    self._fall_silent()
                    await asyncio.sleep(LOOK_AGAIN_SECONDS)
                else:
                    if self._looking is this:
                        return self._take(stamp, listed, began_at)
        finally:
            if self._looking is this:
                self._looking = None

    async def _list(self) -> dict[str, Listed]:
        """Reads what changes the stamp, after the stamp was read: what is newer than it is read again."""
        listed: dict[str, Listed] = {}
        while True:
            page = await self._db.read(partial(_page, after=max(listed, default="")))
            listed |= page
            if len(page) < PAGE_APPS:
                return listed

    def _fall_silent(self) -> None:
        if not self._silent:
            log.warning("directory.database_silent", apps=len(self._listed))
        self._silent = True

    def _take(self, stamp: Stamp, listed: dict[str, Listed] | None, began_at: float) -> None:
        self._silent = False
        self._stamp = stamp
        self._good_until = began_at + GOOD_SECONDS
        if listed is None:
            return
        self._listed = listed
        self._names = {each.app_id: name for name, each in listed.items()}
        for name in [name for name, app in self._snapshots.items() if not self._is_current(app)]:
            del self._snapshots[name]

    def _is_current(self, app: App) -> bool:
        listed = self._listed.get(app.name)
        return listed is not None and listed.app_id == app.app_id and listed.version <= app.version

    async def _load(self, name: str) -> App:
        task = self._loading.get(name)
        if task is None:
            task = self._loading[name] = asyncio.create_task(self._fetch(name))
        app = await asyncio.shield(task)
        if app is None:
            raise _not_found()
        return app

    async def _fetch(self, name: str) -> App | None:
        this = asyncio.current_task()
        try:
            app = await self._db.read(lambda tx: load_app(tx, self._ring, name))
            if app is not None and self._loading.get(name) is this and self._is_current(app):
                self._keep(app)
            return app
        finally:
            if self._loading.get(name) is this:
                del self._loading[name]

    def _keep(self, app: App) -> None:
        if len(self._snapshots) >= SNAPSHOTS_MAX:
            del self._snapshots[next(iter(self._snapshots))]
        self._snapshots[app.name] = app


def _stamp(tx: Transaction) -> Stamp:
    """Versions only grow and a new app is the youngest, so that no change leaves the stamp as it was."""
    row = tx.execute(STAMP).one()
    return int(row.number), int(row.versions), int(row.youngest)


def _page(tx: Transaction, *, after: str) -> dict[str, Listed]:
    rows = tx.execute(PAGE, {"after": after, "limit": PAGE_APPS})
    return {row.name: Listed(row.app_id, row.version) for row in rows}


def _not_found() -> NotFound:
    return NotFound("There is no such app.", code="app_not_found")


def _storage_unavailable() -> StorageUnavailable:
    return StorageUnavailable("The database does not answer. Try again in a moment.")
