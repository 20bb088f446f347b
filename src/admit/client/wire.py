"""The way to the server: one request, one answer, and what the answer tells about the time.

No proxies from the environment, no cookies, no redirects: credentials go to the database URL, nowhere else.
"""

import ssl
from email.utils import parsedate_to_datetime
from typing import TypeVar

import aiohttp
import msgspec

from admit.client.errors import CannotReach, refusal_of
from admit.clock import Clock

CONNECT_SECONDS = 15.0
ANSWER_BYTES_MAX = 4_000_000
SKEW_NOTICED_MS = 60_000
"""A difference below this is as likely the network's. The server allows 10 minutes."""
JSON = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "admit-client"}

T = TypeVar("T")


class Wire:
    """Posts to the app at `url`. `timeout_seconds` is for a whole request.

    Certificates are verified, with the authorities of the machine or those of `tls`. `skew_ms` is what was
    known of the server's clock. Made on the running event loop; close it at the end.
    """

    def __init__(
        self, url: str, clock: Clock, *, timeout_seconds: float, tls: ssl.SSLContext | None, skew_ms: int
    ) -> None:
        self._url = url
        self._clock = clock
        self.skew_ms = skew_ms
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls or True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=CONNECT_SECONDS),
            headers=JSON,
            trust_env=False,
        )

    def now(self) -> int:
        """UTC milliseconds by the server's clock, as far as it is known."""
        return self._clock() + self.skew_ms

    async def post(self, path: str, body: msgspec.Struct) -> bytes:
        """The body of the answer to `body` at `path` of the app. Raises Refusal, CannotReach."""
        try:
            async with self._http.post(
                f"{self._url}/{path}", data=msgspec.json.encode(body), allow_redirects=False
            ) as response:
                self._learn_time(response.headers.get("Date", ""))
                content = await _read(response)
        except TimeoutError as error:
            raise CannotReach("The server did not answer in time.") from error
        except aiohttp.ClientError as error:
            raise CannotReach(f"The server cannot be reached: {_cause(error)}.") from error
        if response.status >= 400:
            raise refusal_of(response.status, response.headers, content)
        if response.status >= 300:
            raise CannotReach(
                "The database URL leads elsewhere. Use the address that the app's server has itself."
            )
        return content

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.close()

    def _learn_time(self, date: str) -> None:
        try:
            there = round(parsedate_to_datetime(date).timestamp() * 1_000)
        except (ValueError, OverflowError):
            return
        skew = there - self._clock()
        self.skew_ms = skew if abs(skew) > SKEW_NOTICED_MS else 0


async def _read(response: aiohttp.ClientResponse) -> bytes:
    received = bytearray()
    async for piece in response.content.iter_any():
        received += piece
        if len(received) > ANSWER_BYTES_MAX:
            raise CannotReach("What answers at the database URL is not Admit: it says too much.")
    return bytes(received)


def read(content: bytes, kind: type[T]) -> T:
    """Reads an answer as `kind`. Raises CannotReach."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CannotReach(
            "What answers at the database URL is not Admit: its answer cannot be read."
        ) from error


def _cause(error: aiohttp.ClientError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        told = cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else str(cause)
        return f"its certificate is not valid ({told})"
    if isinstance(error, aiohttp.ClientConnectorError):
        return (error.os_error.strerror or str(error.os_error) or "no connection").lower()
    return str(error).lower() or "the connection broke"
