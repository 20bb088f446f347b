"""Requests to providers: within one budget of time, with bounded answers, and few at once for each."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakValueDictionary

from admit.accounts.providers import Provider
from admit.outbound.http import Failure, HttpClient, Reply
from admit.outbound.strict_json import Unreadable, read_object
from admit.signin.providers.faults import UNREACHABLE, FaultCode, fault

BUDGET_SECONDS = 10.0
REPLY_BYTES_MAX = 262_144
AT_ONCE_MAX = 64
JSON = {"Accept": "application/json"}


class Budget:
    """The time that is left for one sign-in, from now on."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.time() + BUDGET_SECONDS

    def left(self) -> float:
        """Seconds; none or less when it is spent."""
        return self._end - self._loop.time()


class Calls:
    """Asks providers. What is no answer at all is a ProviderFault, whoever asked."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self._places: WeakValueDictionary[tuple[str, str], asyncio.Semaphore] = WeakValueDictionary()

    async def get(
        self, provider: Provider, url: str, seconds: float, headers: Mapping[str, str] = JSON
    ) -> Reply:
        """What `url` answers, whatever the status."""
        reply = await self._http.get(url, headers, timeout_seconds=seconds, reply_bytes_max=REPLY_BYTES_MAX)
        return _answered(provider, reply)

    async def post(
        self, provider: Provider, url: str, body: bytes, headers: Mapping[str, str], seconds: float
    ) -> Reply:
        """What `url` answers to the form `body`, whatever the status."""
        form = {**JSON, "Content-Type": "application/x-www-form-urlencoded", **headers}
        reply = await self._http.post(
            url, body, form, timeout_seconds=seconds, reply_bytes_max=REPLY_BYTES_MAX
        )
        return _answered(provider, reply)

    @asynccontextmanager
    async def place(self, provider: Provider, budget: Budget) -> AsyncIterator[None]:
        """One of the places that the app has at the provider: one that hangs must not hold up the others."""
        key = (provider.issuer, provider.client_id)
        places = self._places.get(key)
        if places is None:
            places = self._places[key] = asyncio.Semaphore(AT_ONCE_MAX)
        try:
            await asyncio.wait_for(places.acquire(), budget.left())
        except TimeoutError:
            raise fault(
                provider, UNREACHABLE, f"{AT_ONCE_MAX} sign-ins wait for the provider already."
            ) from None
        try:
            yield
        finally:
            places.release()


def object_in(provider: Provider, reply: Reply, code: FaultCode, what: str) -> dict[str, Any]:
    """The JSON object that `what` answered with 200. Raises ProviderFault (`code`)."""
    if reply.status >= 500 or reply.status == 429:
        raise fault(provider, UNREACHABLE, f"{what} answered with status {reply.status}.")
    if 300 <= reply.status < 400:
        raise fault(provider, code, f"{what} leads elsewhere (status {reply.status}); nobody follows it.")
    if reply.status != 200:
        raise fault(provider, code, f"{what} answered with status {reply.status} and not with 200.")
    if reply.truncated:
        raise fault(provider, code, f"{what} answered with more than {REPLY_BYTES_MAX} bytes.")
    try:
        return read_object(reply.body)
    except Unreadable as error:
        raise fault(provider, code, f"The answer of {what} {error}.") from None


def _answered(provider: Provider, reply: Reply | Failure) -> Reply:
    if isinstance(reply, Failure):
        raise fault(provider, UNREACHABLE, reply.detail)
    return reply
