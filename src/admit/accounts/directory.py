"""The directory: every app as a snapshot in memory, so that a request need not ask the database for it."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
import structlog
from sqlalchemy import Row, bindparam, func, select

from admit.accounts.apps import App, load_app
from admit.accounts.tables import apps, hosts, names
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
PAGE_OF_NAMES = (
    select(names.c.name, apps.c.app_id, apps.c.version)
    .join_from(names, apps, names.c.app_id == apps.c.app_id)
    .where(names.c.name > bindparam("after"))
    .order_by(names.c.name)
    .limit(bindparam("limit"))
)
PAGE_OF_HOSTS = (
    select(hosts.c.host, apps.c.name)
    .join_from(hosts, apps, hosts.c.app_id == apps.c.app_id)
    .where(hosts.c.host > bindparam("after"))
    .order_by(hosts.c.host)
    .limit(bindparam("limit"))
)

log = structlog.get_logger("admit.accounts")

Stamp = tuple[int, int, int]


class Listing(msgspec.Struct, frozen=True):
    """What the directory knows of all apps, loaded or not.

    `ids`: by their names, former ones too; `versions`: by app_id; `hosts`: the name of the app at each.
    """

    ids: dict[str, str] = {}
    versions: dict[str, int] = {}
    hosts: dict[str, str] = {}


class Directory:
    """Finds apps by name, and names by host, without touching the database.

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
        self._listed = Listing()
        self._snapshots: dict[str, App] = {}  # by app_id
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
        if self._monotonic() >= self._good_until:
            return None
        return self._snapshots.get(self._listed.ids.get(name, ""))

    async def app(self, name: str) -> App:
        """The app that answers to this name. Raises NotFound (code app_not_found) or StorageUnavailable."""
        if app := self.cached(name):
            return app
        sure = await self._make_sure()
        app_id = self._listed.ids.get(name)
        if app_id is None:
            raise _not_found() if sure else _storage_unavailable()
        return self._snapshots.get(app_id) or await self._load(app_id)

    async def app_by_id(self, app_id: str) -> App:
        """The app of this app_id, for work that outlives its request. Raises as `app` does."""
        sure = await self._make_sure()
        if app_id not in self._listed.versions:
            raise _not_found() if sure else _storage_unavailable()
        return self._snapshots.get(app_id) or await self._load(app_id)

    async def name_at(self, host: str) -> str | None:
        """The name of the app whose root is at `host`; None: none is. Raises StorageUnavailable."""
        if self._monotonic() >= self._good_until and not await self._make_sure() and self._stamp is None:
            raise _storage_unavailable()
        return self._listed.hosts.get(host)

    def _heard(self, app_id: str | None) -> None:
        """Drops what may be old, and lets go of what is being read: it may be older than the change."""
        if app_id is not None and app_id in self._listed.versions:
            self._snapshots.pop(app_id, None)
            self._loading.pop(app_id, None)
        else:  # a new app or address, or signals were missed
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

    async def _list(self) -> Listing:
        """Reads what changes the stamp, after the stamp was read: what is newer than it is read again."""
        ids: dict[str, str] = {}
        versions: dict[str, int] = {}
        hosts: dict[str, str] = {}
        while True:
            named, hosted = await self._db.read(
                partial(_page, name=max(ids, default=""), host=max(hosts, default=""))
            )
            ids |= {row.name: row.app_id for row in named}
            versions |= {row.app_id: row.version for row in named}
            hosts |= {row.host: row.name for row in hosted}
            if max(len(named), len(hosted)) < PAGE_APPS:
                return Listing(ids, versions, hosts)

    def _fall_silent(self) -> None:
        if not self._silent:
            log.warning("directory.database_silent", apps=len(self._listed.versions))
        self._silent = True

    def _take(self, stamp: Stamp, listed: Listing | None, began_at: float) -> None:
        self._silent = False
        self._stamp = stamp
        self._good_until = began_at + GOOD_SECONDS
        if listed is None:
            return
        self._listed = listed
        for app_id in [each.app_id for each in self._snapshots.values() if not self._is_current(each)]:
            del self._snapshots[app_id]

    def _is_current(self, app: App) -> bool:
        version = self._listed.versions.get(app.app_id)
        return version is not None and version <= app.version

    async def _load(self, app_id: str) -> App:
        task = self._loading.get(app_id)
        if task is None:
            task = self._loading[app_id] = asyncio.create_task(self._fetch(app_id))
        app = await asyncio.shield(task)
        if app is None:
            raise _not_found()
        return app

    async def _fetch(self, app_id: str) -> App | None:
        this = asyncio.current_task()
        try:
            app = await self._db.read(lambda tx: load_app(tx, self._ring, app_id))
            if app is not None and self._loading.get(app_id) is this and self._is_current(app):
                self._keep(app)
            return app
        finally:
            if self._loading.get(app_id) is this:
                del self._loading[app_id]

    def _keep(self, app: App) -> None:
        if len(self._snapshots) >= SNAPSHOTS_MAX:
            del self._snapshots[next(iter(self._snapshots))]
        self._snapshots[app.app_id] = app


def _stamp(tx: Transaction) -> Stamp:
    """Versions only grow and a new app is the youngest, so that no change leaves the stamp as it was."""
    row = tx.execute(STAMP).one()
    return int(row.number), int(row.versions), int(row.youngest)


def _page(tx: Transaction, *, name: str, host: str) -> tuple[Sequence[Row[Any]], Sequence[Row[Any]]]:
    """The names behind `name` and the hosts behind `host`, PAGE_APPS of each at most."""
    return (
        tx.execute(PAGE_OF_NAMES, {"after": name, "limit": PAGE_APPS}).all(),
        tx.execute(PAGE_OF_HOSTS, {"after": host, "limit": PAGE_APPS}).all(),
    )


def _not_found() -> NotFound:
    return NotFound("There is no such app.", code="app_not_found")


def _storage_unavailable() -> StorageUnavailable:
    return StorageUnavailable("The database does not answer. Try again in a moment.")
