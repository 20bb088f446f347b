"""The application in this process, called without a network."""

import asyncio
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from admit.cli.connection import Answer
from admit.gateway import Gateway
from admit.web.app import create_app

if TYPE_CHECKING:
    from admit.config import Settings

Message = MutableMapping[str, Any]


class InProcess:
    """Holds the database open; the event loop runs only while a request is answered."""

    where = "the database"
    if_unknown = "This command was not believed to be one. Please report it."

    def __init__(self, settings: "Settings", token: Callable[[], str]) -> None:
        self._token = token
        self.alone = settings.on_sqlite
        self._runner = asyncio.Runner()
        try:
            self._gateway = self._runner.run(Gateway.open(settings, serve_address=None))
        except BaseException:
            self._runner.close()
            raise
        self._app = create_app(self._gateway)

    def send(self, method: str, target: str, body: bytes) -> Answer:
        return self._runner.run(request(self._app, method, target, self._token(), body))

    def close(self) -> None:
        try:
            self._runner.run(self._gateway.close())
        finally:
            self._runner.close()


async def request(app: Any, method: str, target: str, token: str, body: bytes) -> Answer:
    """Sends one HTTP request to the ASGI application `app`. https://asgi.readthedocs.io/en/latest/specs/www.html"""
    path, _, query = target.partition("?")
    scope: Message = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [
            (b"host", b"localhost"),
            (b"authorization", f"Bearer {token}".encode()),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ],
        "client": ("127.0.0.1", 0),
        "server": ("localhost", 80),
        "state": {},
    }
    status = 500
    content = bytearray()
    received = False

    async def receive() -> Message:
        nonlocal received
        if received:
            await asyncio.Event().wait()  # nobody hangs up
        received = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            content.extend(message.get("body", b""))

    await app(scope, receive, send)
    return Answer(status, bytes(content))
