"""Signs of life: when the devices of sessions were last heard of, noted in memory, written in batches."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import structlog
from sqlalchemy import bindparam, update

from admit.accounts.tables import sessions
from admit.clock import Clock
from admit.errors import AdmitError
from admit.storage.database import Database
from admit.storage.transaction import Transaction

FLUSH_SECONDS = 60.0
NOTES_MAX = 200_000

# The time never goes back: a refresh on another process may have written a later one.
HEARD = (
    update(sessions)
    .where(
        sessions.c.app_id == bindparam("of_app"),
        sessions.c.session_id == bindparam("of_session"),
        sessions.c.connected_at < bindparam("at"),
    )
    .values(connected_at=bindparam("at"))
)

log = structlog.get_logger("admit.accounts")

Note = tuple[str, str, int]
"""An app_id, a session_id, and when its device was heard of, in UTC ms."""


class Connections:
    """The sessions that were heard of since the last flush. Costs no write per request.

    A process that dies forgets what it has noted within FLUSH_SECONDS.
    """

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._heard: dict[tuple[str, str], int] = {}
        self._closing = asyncio.Event()
        self._flushing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Writes down every FLUSH_SECONDS what was noted, until `close`."""
        self._flushing = asyncio.create_task(self._keep_flushing())

    async def close(self) -> None:
        """Writes down what is left, and ends."""
        self._closing.set()
        if self._flushing is not None:
            await self._flushing
        await self.flush()

    def note(self, app_id: str, session_id: str) -> None:
        """The device of this session is there at this moment. Above NOTES_MAX sessions it is forgotten."""
        key = app_id, session_id
        if key in self._heard or len(self._heard) < NOTES_MAX:
            self._heard[key] = self._clock()

    async def flush(self) -> None:
        """Writes down what was noted. Where the database does not answer, it is kept for the next time."""
        noted, self._heard = self._heard, {}
        notes = sorted((*key, at) for key, at in noted.items())  # as refreshes hold these rows
        try:
            await self._db.write_in_pieces(write_down, notes)
        except AdmitError as error:
            log.warning("connections.not_written", code=error.code, sessions=len(notes))
            self._heard = noted | self._heard

    async def _keep_flushing(self) -> None:
        while not self._closing.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._closing.wait()
            try:
                await self.flush()
            except Exception:  # what is noted from now on is worth another try
                log.exception("connections.failed")


def write_down(tx: Transaction, notes: Sequence[Note]) -> None:
    """Writes when sessions were heard of, in the order of `notes`."""
    rows = [{"of_app": app_id, "of_session": session_id, "at": at} for app_id, session_id, at in notes]
    tx.execute(HEARD, rows)
