"""A proxy between us and PostgreSQL that misbehaves on demand: cuts, freezes, or acts like a pooler.

It speaks enough of the protocol to see single messages (PostgreSQL documentation, 55.7).
"""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

COMMITS = (
    b"Q" + struct.pack("!I", 11) + b"COMMIT\0",
    b"P" + struct.pack("!I", 14) + b"\0COMMIT\0" + struct.pack("!H", 0),
)
"""As a statement by itself, and as Parse of a pipeline."""
BACKEND_KEY = b"K"
COMMAND_COMPLETE = b"C"
NOTIFICATION = b"A"


@dataclass(eq=False)
class Proxy:
    """Forwards to the server at `url`. Set the flags at any time."""

    url: str
    cut_before_commit: bool = False
    """Loses the next COMMIT and the connection."""
    cut_after_commit: bool = False
    """Lets the next COMMIT happen, then loses its answer and the connection."""
    refuse: bool = False
    """Closes every new connection."""
    acts_as_pooler: bool = False
    """Hides the server's process and swallows notifications, as pgbouncer does in transaction mode."""
    commits: int = 0
    parsed: list[bytes] = field(default_factory=list)
    """The Parse messages that asked for a named prepared statement."""
    _flowing: threading.Event = field(default_factory=threading.Event)
    _pairs: list[tuple[socket.socket, socket.socket]] = field(default_factory=list)
    _listening: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> str:
        """Starts and returns the URL that leads through here."""
        self._flowing.set()
        self._spawn(self._accept)
        parts = urlsplit(self.url)
        port = self._listening.getsockname()[1]
        return (
            f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}?sslmode=disable&gssencmode=disable"
        )

    def cut(self) -> None:
        """Loses every connection."""
        for pair in self._pairs:
            _close(*pair)
        self._pairs.clear()

    def freeze(self) -> None:
        """From now on nothing passes, and nobody is told."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    def close(self) -> None:
        self.refuse = True
        self._flowing.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def _spawn(self, run: object, *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        parts = urlsplit(self.url)
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if self.refuse:
                client.close()
                continue
            server = socket.create_connection((parts.hostname, parts.port))
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs.append((client, server))
            self._spawn(self._pump_requests, client, server)
            self._spawn(self._pump_replies, client, server)

    def _pump_requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            for message in _messages(client, startup=True):
                self._flowing.wait()
                if message[:1] == b"P" and message[5:6] != b"\0":
                    self.parsed.append(message)
                if message in COMMITS:
                    self.commits += 1
                    if self.cut_before_commit:
                        self.cut_before_commit = False
                        break
                server.sendall(message)
        _close(client, server)

    def _pump_replies(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            for message in _messages(server, startup=False):
                self._flowing.wait()
                if self.acts_as_pooler and message[:1] == NOTIFICATION:
                    continue
                if self.acts_as_pooler and message[:1] == BACKEND_KEY:
                    message = message[:5] + b"\x7f\x12\x34\x56" + message[9:]
                if self.cut_after_commit and message.startswith(COMMAND_COMPLETE) and b"COMMIT" in message:
                    self.cut_after_commit = False
                    break
                client.sendall(message)
        _close(client, server)


def _messages(source: socket.socket, *, startup: bool) -> Iterator[bytes]:
    """Single messages of one direction; the first of a client has no type byte."""
    buffer = b""
    kind = 0 if startup else 1
    while chunk := source.recv(65_536):
        buffer += chunk
        while len(buffer) >= kind + 4:
            size = kind + int(struct.unpack_from("!I", buffer, kind)[0])
            if len(buffer) < size:
                break
            yield buffer[:size]
            buffer = buffer[size:]
            kind = 1


def _close(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
