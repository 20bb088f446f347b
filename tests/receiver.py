"""A scripted decision endpoint: the far side of the network, which may answer, stall, drip or lie."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

PROD: dict[str, Any] = {
    "ok": True,
    "action": "prod",
    "userData": {"displayName": "Ada Example", "plan": "team"},
}

Script = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Received:
    """One call: its headers in lower case and its exact body."""

    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """Remembers every call and answers by `script`. `calls_waiting` counts those that `gate` holds."""

    script: Script
    port: int = 0
    calls: list[Received] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/decide"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.calls.append(Received(headers, await request.read()))
        self.arrived.set()
        await self.gate.wait()
        return await self.script(request)


def always(status: int = 200, headers: dict[str, str] | None = None, **members: Any) -> Script:
    """Answers every call with the same JSON."""

    async def script(_request: web.Request) -> web.StreamResponse:
        return web.json_response(members, status=status, headers=headers)

    return script


def in_turn(*scripts: Script) -> Script:
    """Answers the first call by the first script, and so on; the last one answers all that follow."""
    left = list(scripts)

    async def script(request: web.Request) -> web.StreamResponse:
        return await (left.pop(0) if len(left) > 1 else left[0])(request)

    return script


@asynccontextmanager
async def receiving(script: Script, *, held: bool = False) -> AsyncIterator[Receiver]:
    """A receiver on a free loopback port. `held`: calls wait until `gate` is set."""
    receiver = Receiver(script)
    if not held:
        receiver.gate.set()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    receiver.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    try:
        yield receiver
    finally:
        receiver.gate.set()
        await runner.cleanup()
