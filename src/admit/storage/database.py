"""The database as the other rooms see it: write a unit, read a snapshot, hear of changes."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import URL

from admit import clock
from admit.storage.readers import Readers
from admit.storage.signals import Signals
from admit.storage.sqlite import SqliteEngine
from admit.storage.transaction import Transaction, Unit
from admit.storage.url import parse_url
from admit.storage.watchdog import Watchdog
from admit.storage.work import Work
from admit.storage.writer import Writer

if TYPE_CHECKING:
    from admit.storage.listen import Listener
    from admit.storage.postgres import PostgresEngine

READERS = 4
PIECE_ITEMS = 200

T = TypeVar("T")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Database:
    """An open database. Units are written in groups by one thread; reads go to their own connections."""

    def __init__(self, url: str, *, listen_url: str | None = None) -> None:
        """`listen_url` leads to the same PostgreSQL without a pooler in between. Raises ConfigError."""
        self.url = parse_url("DATABASE_URL", url)
        self.listener: Listener | None = None
        self.signals = Signals(self._listen)
        self._listen_url = parse_url("DATABASE_LISTEN_URL", listen_url) if listen_url else self.url
        self._writer_id = clock.new_id("wrt")
        self._watchdog = Watchdog()
        self._engine = _engine_for(self.url, self._writer_id, self._watchdog)
        self._writer = Writer(self._engine, self.signals.deliver, self.signals.look_yourselves)
        self._readers = Readers(self._engine, READERS)

    async def write(self, unit: Unit[T], *, patient: bool = False) -> T:
        """Runs `unit` in a transaction and returns its result once it is committed.

        The unit may run more than once and shares its commit with others. What it expects to go wrong it
        returns as a value: an exception rolls it back alone, after its neighbours were run again. Patient
        units are housekeeping that lets others pass. A caller that is cancelled does not know whether its
        unit was committed.

        Raises StorageUnavailable when the database stays away, and UnitTooLarge.
        """
        loop = asyncio.get_running_loop()
        work = Work(unit, loop.create_future(), loop, at_once=not patient)
        self._writer.submit(work, patient=patient)
        return await work.answer  # type: ignore[no-any-return]

    async def write_together(
        self,
        unit: Callable[[Transaction, list[Item]], list[Result]],
        item: Item,
        *,
        at_once: bool = False,
    ) -> Result:
        """Like `write`, for a unit that serves many callers with the same statements.

        `unit(tx, items)` gets the items of all who wait and returns one result per item, in order. It must
        be a module-level function: callers are put together by its identity. `at_once`: no more callers are
        waited for, as in `write`.
        """
        loop = asyncio.get_running_loop()
        work = Work(unit, loop.create_future(), loop, together=True, item=item, at_once=at_once)
        self._writer.submit(work)
        return await work.answer  # type: ignore[no-any-return]

    async def write_in_pieces(
        self,
        unit: Callable[[Transaction, Sequence[Item]], T],
        items: Sequence[Item],
        *,
        size: int = PIECE_ITEMS,
    ) -> list[T]:
        """Chops long work: runs `unit` on `size` items at a time, with a commit each, and lets others pass.

        Not all or nothing: when a piece fails, those before it are committed.
        """

        def on(piece: Sequence[Item]) -> Unit[T]:
            return lambda tx: unit(tx, piece)

        starts = range(0, len(items), size)
        return [await self.write(on(items[start : start + size]), patient=True) for start in starts]

    async def read(self, query: Unit[T]) -> T:
        """Runs `query` on a consistent snapshot, apart from the writer. It cannot change anything.

        Raises StorageUnavailable and UnitTooLarge.
        """
        loop = asyncio.get_running_loop()
        work = Work(query, loop.create_future(), loop)
        self._readers.submit(work)
        return await work.answer  # type: ignore[no-any-return]

    async def read_together(
        self, query: Callable[[Transaction, list[Item]], list[Result]], item: Item
    ) -> Result:
        """Like `read`, for a query that serves many callers with the same statements, as `write_together`."""
        loop = asyncio.get_running_loop()
        work = Work(query, loop.create_future(), loop, together=True, item=item)
        self._readers.submit(work)
        return await work.answer  # type: ignore[no-any-return]

    def close(self) -> None:
        """Commits what is waiting and closes every connection. Blocks until done."""
        if self.listener is not None:
            self.listener.close()
        self._readers.close()
        self._writer.close()
        self._watchdog.close()

    def _listen(self) -> None:
        """Hears of other processes from now on; on SQLite there are none."""
        if self.listener is None and not isinstance(self._engine, SqliteEngine):
            from admit.storage.listen import Listener

            self.listener = Listener(self.url, self._listen_url, self._writer_id, self.signals)


def _engine_for(url: URL, writer_id: str, watchdog: Watchdog) -> "SqliteEngine | PostgresEngine":
    """A server on SQLite does without the 10 MB of psycopg."""
    if url.get_backend_name() == "postgresql":
        from admit.storage.postgres import PostgresEngine

        return PostgresEngine(url, writer_id=writer_id, watchdog=watchdog)
    return SqliteEngine(Path(url.database or ""), watchdog=watchdog)
