"""Receivers of events that cost next to nothing, one a port, and what they saw.

Run as a program with a number of ports and of ports that hang, it prints the ports and serves until its
standard input closes. `GET /` on the first port tells and forgets what has arrived.
"""

import asyncio
import json
import sys
import time
from datetime import datetime
from functools import partial
from typing import cast

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
STAMP = b'"timestamp":"'


class Seen:
    """What has arrived since it was told last."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.first_at = self.last_at = 0.0
        self.delays_ms: list[float] = []

    def note(self, body: bytes) -> None:
        now = time.time()
        self.first_at = self.first_at or now
        self.last_at = now
        at = body.find(STAMP) + len(STAMP)
        sent = datetime.fromisoformat(body[at : at + 24].decode()).timestamp() if at >= len(STAMP) else now
        self.delays_ms.append((now - sent) * 1_000)

    def tell(self) -> bytes:
        ordered = sorted(self.delays_ms) or [0.0]
        told = {
            "count": len(self.delays_ms),
            "seconds": self.last_at - self.first_at,
            "p50_ms": ordered[len(ordered) // 2],
            "p99_ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
        }
        return json.dumps(told).encode()


class Endpoint(asyncio.Protocol):
    """Finds the end of each request by its Content-Length, and answers unless it hangs."""

    def __init__(self, seen: Seen, *, hangs: bool) -> None:
        self._seen = seen
        self._hangs = hangs
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by name

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (head_end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:head_end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            end = head_end + 4 + length
            if len(self._buffer) < end:
                return
            self._take(head, self._buffer[head_end + 4 : end])
            self._buffer = self._buffer[end:]

    def _take(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"get /count"):
            self._answer(str(len(self._seen.delays_ms)).encode())
        elif head.startswith(b"get"):
            self._answer(self._seen.tell())
            self._seen.begin()
        elif not self._hangs:
            self._seen.note(body)
            self._transport.write(ANSWER)

    def _answer(self, body: bytes) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))


async def main(ports: int, hanging: int) -> None:
    loop, seen = asyncio.get_running_loop(), Seen()
    servers = [
        await loop.create_server(partial(Endpoint, seen, hangs=number >= ports), "127.0.0.1", 0)
        for number in range(ports + hanging)
    ]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    for server in servers:
        server.close()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
