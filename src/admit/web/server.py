"""The server: takes the port, opens the gateway, answers until it is told to stop."""

import asyncio
import contextlib
import errno
import gc
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence

import structlog
import uvicorn
import uvloop
from msgspec.structs import replace
from starlette.types import ASGIApp

from admit.config import Settings
from admit.errors import ConfigError
from admit.gateway import Gateway
from admit.web.app import create_app
from admit.web.logs import configure_logs_for_good
from admit.web.operator_links import for_first_owner
from admit.web.processes import Ready, Started, open_many_files, serve_in_processes
from admit.web.protocol import HttpProtocol, SocketProtocol
from admit.web.sockets import MESSAGE_BYTES_MAX

BACKLOG = 2_048
GC_THRESHOLDS = (20_000, 50, 50)
SWITCH_SECONDS = 0.001
"""How long the writer, which lets go of the interpreter at each step of SQLite, waits to have it back."""
DRAIN_SECONDS_MAX = 15
"""For requests that are being answered when the server is asked to stop. A decision hook may take as long."""
KEEP_ALIVE_SECONDS = 75
"""Longer than load balancers keep idle connections, so that it is never us who hangs up on them first."""
SOCKET_PING_SECONDS = 20.0
TICK_SECONDS = 1.0

log = structlog.get_logger("admit.web")


def run(settings: Settings, ready: Ready | None = None) -> None:
    """Serves until SIGTERM or SIGINT, then answers what is under way and returns.

    `ready` is told where the server is once it answers. Raises AdmitError when it cannot start.
    """
    configure_logs_for_good(settings)
    open_many_files()
    listener = listen(settings)
    settings = _with_real_port(settings, listener)
    if settings.workers == 1:
        serve_until_signal(settings, listener, ready, (signal.SIGTERM, signal.SIGINT))
    else:
        serve_in_processes(serve_until_signal, settings, listener, ready)


def tune_the_interpreter() -> None:
    """For an event loop that is busy, and beside it a thread that writes.

    What start-up has made is taken out of the sight of the garbage collector, which looks less often: a login
    makes hundreds of small objects and hardly a cycle. The writer gets the interpreter back sooner.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_SECONDS)


def serve_until_signal(
    settings: Settings, listener: socket.socket, ready: Ready | None, signals: Sequence[signal.Signals]
) -> None:
    """Serves in this process, in a loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, listener, ready, signals))


async def serve(
    settings: Settings,
    listener: socket.socket,
    ready: Ready | None = None,
    signals: Sequence[signal.Signals] = (),
) -> None:
    """Serves on `listener` until one of `signals`, in this loop, with a gateway of its own."""
    address = address_of(listener)
    gateway = await Gateway.open(settings, serve_address=address)
    try:
        set_up = "" if ready is None else await for_first_owner(gateway)
        server = Server(
            config_for(create_app(gateway)),
            lambda: _tell(settings, Started(address, set_up), ready),
            when_stopping=gateway.end_waits,
        )
        loop = asyncio.get_running_loop()
        for number in signals:
            loop.add_signal_handler(number, server.stop)
        tune_the_interpreter()
        await server.serve(sockets=[listener])
    finally:
        await gateway.close()
        log.info("server.stopped", address=address)


class Server(uvicorn.Server):
    """uvicorn's server without its signals: it would raise them again before the gateway is closed."""

    def __init__(
        self,
        config: uvicorn.Config,
        when_started: Callable[[], None] | None = None,
        when_stopping: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(config)
        self._when_started = when_started
        self._when_stopping = when_stopping
        self._asked_to_stop = asyncio.Event()

    def stop(self) -> None:
        """Answers what is under way and ends; asked twice, ends at once."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self._asked_to_stop.set()
        if self._when_stopping is not None:
            self._when_stopping()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._when_started is not None:
            self._when_started()

    async def main_loop(self) -> None:
        while not self.should_exit:
            await self.on_tick(0)  # writes the header Date
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._asked_to_stop.wait()


def config_for(app: ASGIApp) -> uvicorn.Config:
    """How uvicorn serves `app`."""
    return uvicorn.Config(
        app,
        loop="none",
        http=HttpProtocol,
        ws=SocketProtocol,
        ws_max_size=MESSAGE_BYTES_MAX,
        ws_ping_interval=SOCKET_PING_SECONDS,
        ws_ping_timeout=SOCKET_PING_SECONDS,
        ws_per_message_deflate=False,
        lifespan="on",
        log_config=None,
        log_level="warning",  # below, it logs addresses whole, and sockets carry tokens there
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS_MAX,
    )


def listen(settings: Settings) -> socket.socket:
    """Takes the port. Raises ConfigError when that cannot be had."""
    host, port = settings.host.strip("[]"), settings.port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=host == "::")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"PORT is {port}, where another program listens already. Example: ADMIT_PORT={port + 1}"
            ) from error
        raise ConfigError(
            f"HOST is {host!r} and PORT is {port}, where this machine cannot listen: {error.strerror}. "
            "Example: ADMIT_HOST=127.0.0.1"
        ) from error


def address_of(listener: socket.socket) -> str:
    """The address at which this machine reaches what listens there."""
    host, port = listener.getsockname()[:2]
    own = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host)  # noqa: S104 - only compared
    return f"http://{own or (f'[{host}]' if ':' in host else host)}:{port}"


def _with_real_port(settings: Settings, listener: socket.socket) -> Settings:
    port = listener.getsockname()[1]
    public = settings.public_url
    if settings.port == 0 and public.endswith(":0"):
        public = public.removesuffix("0") + str(port)
    return replace(settings, port=port, public_url=public)


def _tell(settings: Settings, started: Started, ready: Ready | None) -> None:
    log.info("server.started", address=started.address, public_url=settings.public_url)
    if ready is not None:
        ready(started)
