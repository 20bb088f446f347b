"""The protocols of uvicorn, with the limits that they lack: nobody holds a connection by being slow."""

import asyncio
from typing import Any

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

HEAD_BYTES_MAX = HIGH_WATER_LIMIT
HEAD_SECONDS_MAX = 10.0
"""From the start of a connection, or the first byte of a further request, to the end of its headers."""
REST_SECONDS_MAX = 5.0
"""For the rest of a body that was answered before it was complete, such as one that is too large."""


class OneWrite:
    """A transport that sends the head of an answer together with its body: one packet, one system call.

    uvicorn writes them apart and uvloop sends every write at once.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._head:
            self._head, data = b"", self._head + data
        elif data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            self.write(b"")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class HttpProtocol(HttpToolsProtocol):
    """One connection. A body in time is the business of whoever reads it."""

    _head_bytes = 0
    _in_head = True
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(OneWrite(transport, self.loop))  # type: ignore[arg-type]
        self._set_deadline(HEAD_SECONDS_MAX)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lift_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES_MAX:
            self.send_400_response("The head of the request is too large.")
        elif self._deadline is None:
            self._set_deadline(HEAD_SECONDS_MAX)

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        self._lift_deadline()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._lift_deadline()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            self._set_deadline(REST_SECONDS_MAX)
        super().on_response_complete()

    def _set_deadline(self, seconds: float) -> None:
        self._lift_deadline()
        self._deadline = self.loop.call_later(seconds, self._too_slow)

    def _lift_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._set_deadline(HEAD_SECONDS_MAX)  # an earlier request of this connection is being answered
        else:
            self.transport.close()


class SocketProtocol(WebSocketsSansIOProtocol):
    """One web socket. uvicorn 0.54 logs an error for every handshake that is refused with an answer."""

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            self.handshake_complete = True
