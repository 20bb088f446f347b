"""What the tests of the Python client share: clients of a served app, and a line to it that can break."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from admit.accounts import sessions
from admit.accounts.sessions import Session
from admit.accounts.tables import sessions as sessions_table
from admit.client import AsyncAdmitClient, Claims, CurrentUser
from admit.client.kept import Kept
from admit.client.observable import Observable
from admit.storage.transaction import Transaction
from tests.contract.served import Served
from tests.contract.token_desk import code_mailed_to

ADA, BOB = "ada@example.com", "bob@example.com"
WAIT_SECONDS = 20

T = TypeVar("T")


@dataclass
class Home:
    """A machine on which programs use the app notes of `served`. What they keep is in `folder`."""

    served: Served
    folder: Path
    address: str = ""
    """Where the programs find the server, where that is not its own address."""

    def client(self, **options: Any) -> AsyncAdmitClient:
        """A client of a program on this machine."""
        url = f"{self.address or self.served.url}/notes"
        return AsyncAdmitClient(url, **{"directory": self.folder, **options})

    def kept(self) -> Kept:
        """What is kept."""
        [path] = self.folder.glob("*.json")
        return msgspec.json.decode(path.read_bytes(), type=Kept)

    async def sign_in(self, client: AsyncAdmitClient, email: str = ADA) -> CurrentUser:
        """Signs in by mailed code."""
        before = sum(each.mail.to == email for each in self.served.mails)
        sent = await client.send_code(email)
        return await client.sign_in_with_code(sent, await code_mailed_to(self.served, email, after=before))

    async def sessions(self) -> list[Session]:
        """All sessions of the app, in the order in which they were opened."""

        def read(tx: Transaction) -> list[Session]:
            rows = tx.execute(sessions_table.select().order_by(sessions_table.c.created_at)).all()
            found = [sessions.find(tx, row.app_id, row.session_id) for row in rows]
            return [each for each in found if each is not None]

        return await self.served.gateway.db.read(read)

    async def session(self) -> Session:
        """The only session of the app."""
        [only] = await self.sessions()
        return only

    async def write(self, unit: Callable[..., T], *arguments: Any) -> T:
        """Does to the only session what an operator does: `unit` is one of accounts/session_states.py."""
        session = await self.session()
        now = self.served.hands()
        return await self.served.gateway.db.write(
            lambda tx: unit(tx, session.app_id, session.session_id, now, *arguments)
        )

    async def vouched(self, client: AsyncAdmitClient, email: str = ADA) -> CurrentUser:
        """Signs in by an API client, without a mail."""
        app = await self.served.gateway.directory.app("notes")
        known = await self.served.client(app)
        claims = Claims(sub=email, email=email, email_verified=True, name=email.partition("@")[0])
        return await client.sign_in_with_client(known.client_id, known.client_secret, claims)


async def becomes(observable: Observable[T], wanted: Callable[[T], bool]) -> T:
    """The first value that is as `wanted`."""
    found: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def look(value: T) -> None:
        if wanted(value) and not found.done():
            found.set_result(value)

    unsubscribe = observable.subscribe(look)
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            return await found
    finally:
        unsubscribe()


@dataclass(eq=False)
class Line:
    """A line to a server. `broken`: nobody gets through; `loses_answers`: only what is asked gets through."""

    url: str = ""
    broken: bool = False
    loses_answers: bool = False
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def cut(self) -> None:
        """Breaks it, connections that are open included."""
        self.broken = True
        for writer in self._writers:
            writer.close()

    async def _serve(
        self, there: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self.broken:
            writer.close()
            return
        theirs, ours = await asyncio.open_connection(*there)
        self._writers += [writer, ours]
        await asyncio.gather(self._pump(reader, ours, asks=True), self._pump(theirs, writer, asks=False))

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, asks: bool) -> None:
        with suppress(ConnectionError):
            while piece := await source.read(65_536):
                if self.loses_answers and not asks:
                    self.cut()
                    break
                target.write(piece)
                await target.drain()
        target.close()


@asynccontextmanager
async def line_to(url: str) -> AsyncIterator[Line]:
    """A line to the server at `url`, until the block ends."""
    parts = urlsplit(url)
    line = Line()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(ConnectionError, asyncio.CancelledError):
            await line._serve((parts.hostname or "", parts.port or 80), reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    line.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield line
    finally:
        server.close()
        line.cut()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
