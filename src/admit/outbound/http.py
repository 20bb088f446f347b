"""The one HTTP client. Every request that leaves goes by the egress policy, at every dial.

No proxy from the environment, no cookies kept, no redirects followed, no compression undone; what is read of
the reply and the whole time from the first step to the last byte are bounded.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Literal

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult

from admit.outbound.addresses import EgressPolicy, Target
from admit.outbound.deadline import Deadline
from admit.outbound.gate import refuse_inside_a_unit

if TYPE_CHECKING:
    from aiohttp.connector import Connection

# Hosts that hang hold their connections until the deadline: enough must be left for all others.
CONNECTIONS_MAX = 4_096
# Node closes a connection that was idle for 5 s. A request that crosses with the close is lost, and a POST
# is not silently repeated; so we let go first.
KEEPALIVE_SECONDS = 4.0
HEADERS_MAX = 64
HEADER_BYTES_MAX = 8_190
# A name whose servers never answer holds one until the resolver gives up, long after the deadline.
LOOKUP_THREADS = 64
URLS_REMEMBERED_MAX = 1_024

Kind = Literal["url", "dns", "address", "connect", "tls", "timeout", "protocol"]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Lookup = Callable[[str, int], Sequence[str]]
"""Returns the addresses of a host name. Blocks; raises socket.gaierror."""


class Tls(msgspec.Struct, frozen=True):
    """How a connection is sealed: the version, such as TLSv1.3, and the receiver's certificate (DER)."""

    version: str
    certificate: bytes


class Reply(msgspec.Struct, frozen=True):
    """What the receiver answered, whatever the status. Names of headers are in lower case.

    `truncated`: there was more, and `body` is only its beginning. `tls` None: it came without.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    address: str
    elapsed_ms: int
    truncated: bool = False
    tls: Tls | None = None


class Failure(msgspec.Struct, frozen=True):
    """Why there is no answer: `detail` is a sentence for people. `may_retry`: soon it may be otherwise.

    `address` is the one that was dialled, or was not because it is forbidden; "" when it never came to that.
    """

    kind: Kind
    detail: str
    may_retry: bool
    elapsed_ms: int
    address: str = ""


class HttpClient:
    """Posts to receivers and gets from them over connections that are kept.

    Made on the running event loop; close it at the end. `tls` replaces the machine's own certificate
    authorities, `lookup` its resolver.
    """

    def __init__(
        self, policy: EgressPolicy, *, tls: ssl.SSLContext | None = None, lookup: Lookup | None = None
    ) -> None:
        self._policy = policy
        self._aim = lru_cache(URLS_REMEMBERED_MAX)(policy.aim)
        self._loop = asyncio.get_running_loop()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=_VettingResolver(policy, lookup or _addresses_of),
                socket_factory=self._open_socket,
                ssl=tls or True,
                limit=CONNECTIONS_MAX,
                # Endpoints of many apps may be at one host, and one that hangs must not use it up for others.
                limit_per_host=0,
                keepalive_timeout=KEEPALIVE_SECONDS,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "Admit", "Accept-Encoding": "identity"},
            response_class=_Response,
            timeout=aiohttp.ClientTimeout(),  # none: `_ask` holds the one deadline
            auto_decompress=False,
            trust_env=False,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            max_headers=HEADERS_MAX,
        )

    async def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout_seconds: float,
        reply_bytes_max: int,
    ) -> Reply | Failure:
        """Posts `body` once; `timeout_seconds` covers everything, also waiting for a free connection.

        Of the reply `reply_bytes_max` are kept; a connection on which more would come is closed.
        """
        return await self._ask("POST", url, body, headers, timeout_seconds, reply_bytes_max)

    async def get(
        self, url: str, headers: Mapping[str, str], *, timeout_seconds: float, reply_bytes_max: int
    ) -> Reply | Failure:
        """Gets `url` once, under the rules of `post`."""
        return await self._ask("GET", url, None, headers, timeout_seconds, reply_bytes_max)

    async def request(
        self,
        method: Method,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout_seconds: float,
        reply_bytes_max: int,
    ) -> Reply | Failure:
        """Sends any request once, under the rules of `post`. An empty `body` is none.

        Raises ValueError for headers that no request can have.
        """
        return await self._ask(method, url, body or None, headers, timeout_seconds, reply_bytes_max)

    async def _ask(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout_seconds: float,
        reply_bytes_max: int,
    ) -> Reply | Failure:
        refuse_inside_a_unit()
        started = self._loop.time()
        target = self._aim(url)
        if isinstance(target, str):
            return Failure("url", target, may_retry=False, elapsed_ms=0)
        if timeout_seconds <= 0:
            return Failure("timeout", f"There was no time left to ask {target.host}.", True, 0)
        dial = _Dial(target)
        token = _dials.set(dial)
        try:
            with Deadline(self._loop, timeout_seconds):
                response, received = await self._exchange(method, target, body, headers, reply_bytes_max)
        except Exception as error:
            problem = _problem(error, dial, timeout_seconds)
            if problem is None:
                raise
            return Failure(*problem, _elapsed_ms(self._loop.time() - started), dial.address)
        finally:
            _dials.reset(token)
        return Reply(
            response.status,
            _plain(response.headers),
            bytes(received[:reply_bytes_max]),
            dial.address,
            _elapsed_ms(self._loop.time() - started),
            truncated=len(received) > reply_bytes_max,
            tls=dial.tls,
        )

    async def _exchange(
        self,
        method: str,
        target: Target,
        body: bytes | None,
        headers: Mapping[str, str],
        reply_bytes_max: int,
    ) -> tuple[aiohttp.ClientResponse, bytearray]:
        """The response, and its body or more than `reply_bytes_max` of it."""
        response = await self._session.request(
            method, target.url, data=body, headers=headers, allow_redirects=False
        )
        try:
            if response.status < 200:
                raise _Unusable("protocol", f"{target.host} wants to speak something else than HTTP.")
            received = bytearray()
            while piece := await response.content.readany():
                received += piece
                if len(received) > reply_bytes_max:
                    response.close()
                    break
        except BaseException:
            response.close()
            raise
        return response, received

    async def close(self) -> None:
        """Closes all connections. Requests under way fail."""
        await self._session.close()

    def _open_socket(self, addr_info: aiohttp.AddrInfoType) -> socket.socket:
        """The last gate: literals pass by the resolver, and what it said may be old."""
        family, kind, protocol, _, (address, port, *_) = addr_info
        dial = _dials.get()
        if dial.refused is None:
            dial.address = str(address)
            dial.refused = self._policy.refusal(dial.target.host, str(address), int(port))
        if dial.refused is not None:
            raise PermissionError(errno.EACCES, dial.refused)
        return socket.socket(family, kind, protocol)


@dataclass
class _Dial:
    """On whose behalf sockets are opened, the address that was tried last or is spoken to, and why it had to
    end. aiohttp races several addresses and keeps what it learns from them to itself."""

    target: Target
    address: str = ""
    refused: str | None = None
    tls: Tls | None = None


_dials: ContextVar[_Dial] = ContextVar("admit_dial")


class _Unusable(Exception):
    """What came to light on the way and will not be otherwise in a moment."""

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(detail)
        self.kind: Kind = kind
        self.detail = detail


class _Response(aiohttp.ClientResponse):
    """Tells whom it comes from: with the last byte, the connection belongs to others again."""

    async def start(self, connection: "Connection") -> aiohttp.ClientResponse:
        if connection.transport is not None and (peer := connection.transport.get_extra_info("peername")):
            _dials.get().address = str(peer[0])
            _dials.get().tls = _tls_of(connection.transport.get_extra_info("ssl_object"))
        return await super().start(connection)


class _VettingResolver(AbstractResolver):
    """Refuses a name if any of its addresses is forbidden, so that there is nothing to choose from."""

    def __init__(self, policy: EgressPolicy, lookup: Lookup) -> None:
        self._policy = policy
        self._lookup = lookup
        # Threads of its own: names whose servers never answer must not hold up anything else.
        self._threads = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="admit-lookup")
        self._running: dict[tuple[str, int], asyncio.Future[Sequence[str]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await self._addresses(host, port)
        for address in addresses:
            if (refused := self._policy.refusal(host, address, port)) is not None:
                raise _Unusable("address", refused)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        """Looks a name up, or waits for whoever does: also for one who has been given up, whose thread is
        still at it, so that a dead name holds one thread and not one for every attempt."""
        running = self._running.get((host, port))
        if running is None:
            loop = asyncio.get_running_loop()
            running = loop.run_in_executor(self._threads, self._lookup, host, port)
            self._running[host, port] = running
            running.add_done_callback(partial(self._ended, (host, port)))
        return await asyncio.shield(running)

    def _ended(self, name: tuple[str, int], looked_up: "asyncio.Future[Sequence[str]]") -> None:
        del self._running[name]
        if not looked_up.cancelled():
            looked_up.exception()  # whoever waits has it; if nobody does, it is nobody's

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _tls_of(sealed: ssl.SSLObject | None) -> Tls | None:
    return None if sealed is None else Tls(sealed.version() or "", sealed.getpeercert(True) or b"")


def _addresses_of(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(address[0]) for _, _, _, _, address in found]


def _plain(headers: Mapping[str, str]) -> dict[str, str]:
    """Lower-case names; bytes that are no UTF-8 replaced, so that values can be stored and shown."""
    return {
        name.lower(): value if value.isascii() else value.encode(errors="replace").decode()
        for name, value in headers.items()
    }


def _problem(error: Exception, dial: _Dial, timeout_seconds: float) -> tuple[Kind, str, bool] | None:
    """Kind, sentence, and whether another attempt may fare better; None for errors of our own."""
    if dial.refused is not None:
        return "address", dial.refused, False
    host = dial.target.host
    match error:
        case _Unusable():
            return error.kind, error.detail, False
        case aiohttp.ClientConnectorDNSError():
            return "dns", f"The name {host} could not be resolved: {_reason(error)}.", True
        case aiohttp.ClientConnectorCertificateError():
            return "tls", f"The certificate of {host} is not valid: {_certificate(error)}.", False
        case aiohttp.ClientConnectorSSLError():
            return "tls", f"No TLS connection to {host} could be made: {_reason(error)}.", False
        case aiohttp.ClientConnectorError():
            return "connect", f"There is no connection to {host}: {_reason(error)}.", True
        case TimeoutError():
            return "timeout", f"{host} did not answer within {timeout_seconds:g} s.", True
        case aiohttp.ClientPayloadError():
            return "protocol", f"{host} broke off in the middle of its answer.", True
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return "connect", f"{host} closed the connection without an answer.", True
        case aiohttp.ClientError():
            return "protocol", f"{host} answered with something that is not HTTP.", False
        case _:
            return None


def _reason(error: aiohttp.ClientConnectorError) -> str:
    return (error.os_error.strerror or str(error.os_error)).lower()


def _certificate(error: aiohttp.ClientConnectorCertificateError) -> str:
    cause = error.certificate_error
    return cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else str(cause)


def _elapsed_ms(seconds: float) -> int:
    return round(seconds * 1_000)
