"""One socket: what it still has to be told, who reads it and who writes it."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Literal

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from admit.accounts.apps import App
from admit.accounts.tokens import AccessClaims
from admit.data.change_news import Visitor
from admit.outbound.deadline import Deadline

MESSAGE_BYTES_MAX = 65_536
MESSAGES_MAX = 60
MESSAGES_WINDOW_SECONDS = 10.0
OUTBOX_MAX = 8
SEND_SECONDS_MAX = 10.0

POLICY_VIOLATION, TOO_BIG, TRY_LATER = 1008, 1009, 1013  # RFC 6455 §7.4.1, and IANA's registry

PONG = '{"type":"pong"}'
TOKEN_EXPIRED = '{"type":"token-expired"}'  # noqa: S105 - a message of the contract

Person = tuple[str, str]
"""An app_id and a userId in it."""
SessionKey = tuple[str, str]
"""An app_id and a session_id in it."""


class Message(msgspec.Struct, frozen=True):
    """What a client says: `ping`, or `ready` with how far it is. The rest is about shared texts (Yjs)."""

    type: str = ""
    rev: Any = None
    realm_set_hash: Any = msgspec.field(name="realmSetHash", default=None)


NOTHING = Message()


class Close(msgspec.Struct, frozen=True):
    """The end of a socket, in its outbox."""

    code: int
    reason: str


class Socket:
    """One open connection: whose it is, by the claims of its token, and what it still has to be told.

    `facts`: what its client knows of its user; `has_changed`: it is known to know too little. `client`: the
    identity of its local database; `visitor`: how it hears of changed data, None where it does not.
    """

    def __init__(self, app: App, claims: AccessClaims | None, address: str, client: str = "") -> None:
        self.app = app
        self.claims = claims
        self.person: Person | None = None if claims is None else (app.app_id, claims.sub)
        sid = None if claims is None else claims.sid
        self.session: SessionKey | None = None if sid is None else (app.app_id, sid)
        self.address = address
        self.client = client
        self.visitor: Visitor | None = None
        self.facts: object = None
        self.outbox: asyncio.Queue[str | Close] = asyncio.Queue(OUTBOX_MAX)
        self.timers: list[asyncio.TimerHandle] = []
        self.has_changed = False
        self.is_ending = False
        self._told = False

    def say(self, message: str | Close) -> None:
        """Leaves `message` in the outbox. Who does not read what it is told loses the socket."""
        if self.outbox.full():
            while not self.outbox.empty():
                self.outbox.get_nowait()
            message = Close(POLICY_VIOLATION, "reads too slowly")
        self.outbox.put_nowait(message)

    def awaits(self, said: Message) -> bool:
        """Whether `said` is the answer to changes that the client was told: as many as others make."""
        visitor = self.visitor
        if visitor is None or visitor.base is not None or visitor.until is None:
            return False
        return said.type == "ready" and said.rev == str(visitor.until)

    def refresh(self) -> None:
        """Tells the client to refresh its token now; once is enough until it has been sent."""
        if not self._told:
            self._told = True
            self.say(TOKEN_EXPIRED)

    def end(self, reason: str) -> None:
        """Has the client refresh its token, which tells it why it cannot, and closes the socket."""
        if self.is_ending:
            return
        self.is_ending = True
        self.refresh()
        self.say(Close(POLICY_VIOLATION, reason))

    def sent(self, message: str) -> None:
        """Notes that `message` has left."""
        if message is TOKEN_EXPIRED:
            self._told = False

    def later(self, seconds: float, message: Literal["refresh"] | Close) -> None:
        """Says something after a while, if the socket is still open."""
        loop = asyncio.get_running_loop()
        if isinstance(message, Close):
            self.timers.append(loop.call_later(seconds, self.say, message))
        else:
            self.timers.append(loop.call_later(seconds, self.refresh))


async def converse(websocket: WebSocket, socket: Socket, on_message: Callable[[Message], None]) -> int:
    """Reads until the client leaves; a task of its own writes. Returns the code that ended it.

    `on_message` is called for whatever the client says.
    """
    writer = asyncio.create_task(_write(websocket, socket))
    heard: list[float] = []
    try:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return int(message.get("code") or 0)
            text = message.get("text")
            size = len(text) if text is not None else len(message.get("bytes") or b"")
            said = NOTHING if text is None or size > MESSAGE_BYTES_MAX else _said(text)
            if not socket.awaits(said):
                heard = [at for at in heard if at > time.monotonic() - MESSAGES_WINDOW_SECONDS]
                heard.append(time.monotonic())
            if size > MESSAGE_BYTES_MAX:
                socket.say(Close(TOO_BIG, "message too big"))
            elif len(heard) > MESSAGES_MAX:
                socket.say(Close(POLICY_VIOLATION, "too many messages"))
            else:
                if said.type == "ping":
                    socket.say(PONG)
                on_message(said)
    finally:
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)


async def _write(websocket: WebSocket, socket: Socket) -> None:
    """Sends what is in the outbox until it holds the end."""
    loop = asyncio.get_running_loop()
    try:
        while True:
            message = await socket.outbox.get()
            with Deadline(loop, SEND_SECONDS_MAX):
                if isinstance(message, Close):
                    await websocket.close(message.code, message.reason)
                    return
                await websocket.send_text(message)
            socket.sent(message)
    except (TimeoutError, WebSocketDisconnect, RuntimeError):
        return  # gone; the reader hears of it


def _said(text: str) -> Message:
    try:
        return msgspec.json.decode(text, type=Message)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return NOTHING
