"""A decision endpoint that costs next to nothing: it answers every POST with the same verdict.

Run as a program it prints its port, and serves until its standard input closes.
"""

import asyncio
import sys
from typing import cast

import uvloop

_REPLY = b'{"ok":true,"action":"prod","userData":{"displayName":"Ada Example","plan":"team"}}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(_REPLY),
    _REPLY,
)


class Endpoint(asyncio.Protocol):
    """Finds the end of each request by its Content-Length and answers it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by name
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._end_of_request()) is not None:
            self._buffer = self._buffer[end:]
            self._transport.write(ANSWER)

    def _end_of_request(self) -> int | None:
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return None
        head = self._buffer[:head_end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        end = head_end + 4 + length
        return end if len(self._buffer) >= end else None


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Endpoint, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(main())
