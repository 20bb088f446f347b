"""Load: POST requests over keep-alive connections, in a closed loop (K at once) or an open one (a rate)."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import cast


@dataclass
class Tally:
    """What came back: latencies in ms in order of arrival, and how many answers were not as wanted."""

    latencies_ms: list[float] = field(default_factory=list)
    failures: int = 0
    seconds: float = 0.0
    sample_failure: bytes = b""

    @property
    def per_second(self) -> float:
        return len(self.latencies_ms) / self.seconds

    def percentile(self, share: float) -> float:
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Connection(asyncio.Protocol):
    """One keep-alive connection that carries one request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by name

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._buffer[:head_end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(self._buffer) >= head_end + 4 + length and self._answer and not self._answer.done():
            self._answer.set_result(self._buffer)
            self._buffer = b""

    def connection_lost(self, _error: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_result(b"")

    async def send(self, request: bytes) -> bytes:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        self._transport.close()


async def connect(port: int) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return connection


def post(path: str, body: bytes) -> bytes:
    """One HTTP/1.1 request with a JSON body."""
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n%b" % (len(body), body)


def get(path: str, token: str) -> bytes:
    """One HTTP/1.1 request without a body, by the holder of an access token."""
    return f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n\r\n".encode()


async def answers(port: int, requests: Iterable[bytes], *, concurrency: int) -> list[bytes]:
    """The bodies of the answers to `requests`, in no particular order."""
    bodies: list[bytes] = []
    waiting = iter(requests)

    async def one_after_another() -> None:
        connection = await connect(port)
        for request in waiting:
            answer = await connection.send(request)
            bodies.append(answer.partition(b"\r\n\r\n")[2])
        connection.close()

    await asyncio.gather(*(one_after_another() for _ in range(concurrency)))
    return bodies


async def closed_loop(port: int, requests: Iterator[bytes], wanted: bytes, *, concurrency: int) -> Tally:
    """Sends all `requests`, `concurrency` at once; an answer counts when it contains `wanted`."""
    tally = Tally()

    async def one_after_another() -> None:
        connection = await connect(port)
        for request in requests:
            await _timed(connection, request, wanted, tally)
        connection.close()

    started = time.perf_counter()
    await asyncio.gather(*(one_after_another() for _ in range(concurrency)))
    tally.seconds = time.perf_counter() - started
    return tally


async def open_loop(port: int, requests: Iterator[bytes], wanted: bytes, *, per_second: float) -> Tally:
    """Sends `requests` at a fixed rate, whatever the answers do; latency counts from the due moment."""
    tally = Tally()
    idle: list[Connection] = []
    running: set[asyncio.Task[None]] = set()

    async def one(request: bytes, due: float) -> None:
        connection = idle.pop() if idle else await connect(port)
        await _timed(connection, request, wanted, tally, since=due)
        idle.append(connection)

    started = time.perf_counter()
    for number, request in enumerate(requests):
        due = started + number / per_second
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        task = asyncio.create_task(one(request, due))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    tally.seconds = time.perf_counter() - started
    for connection in idle:
        connection.close()
    return tally


async def _timed(
    connection: Connection, request: bytes, wanted: bytes, tally: Tally, *, since: float | None = None
) -> None:
    sent = time.perf_counter() if since is None else since
    answer = await connection.send(request)
    if wanted in answer:
        tally.latencies_ms.append((time.perf_counter() - sent) * 1000)
    else:
        tally.failures += 1
        tally.sample_failure = answer[:400]
