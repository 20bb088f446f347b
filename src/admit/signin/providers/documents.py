"""The metadata and the keys of providers, as their own documents have them."""

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

from admit.accounts.providers import Provider
from admit.clock import Clock
from admit.errors import ProviderFault
from admit.signin.providers.calls import BUDGET_SECONDS, Budget, Calls, object_in
from admit.signin.providers.faults import KEYS, METADATA, UNREACHABLE, fault, restated
from admit.signin.providers.keys import ProviderKey, read_keys
from admit.signin.providers.metadata import (
    Metadata,
    configured_metadata,
    metadata_url,
    read_metadata,
    read_published,
)
from admit.signin.providers.shelf import Shelf

Document = Mapping[str, Any]
Keys = tuple[ProviderKey, ...]
T = TypeVar("T")


class ProviderDocuments:
    """Remembers what providers publish, for all apps alike.

    Whatever is checked on the way to what is remembered depends on the key alone, or the fault of one app's
    setting would be that of all.
    """

    def __init__(self, calls: Calls, clock: Clock) -> None:
        self._calls = calls
        self._metadata = Shelf[Document](clock)
        self._keys = Shelf[Keys](clock)

    async def close(self) -> None:
        """Ends what is being fetched."""
        await self._metadata.close()
        await self._keys.close()

    async def metadata(self, provider: Provider, budget: Budget, *, anew: bool = False) -> Metadata:
        """Where and how the provider is asked; `anew` without what is remembered. Raises ProviderFault."""
        if not provider.speaks_oidc:
            return configured_metadata(provider)
        take = self._metadata.fetch_anew if anew else self._metadata.take
        # Not by its address: issuers with and without a slash at the end have the same.
        key = (provider.type, provider.issuer)
        try:
            document = await take(key, partial(self._fetch_metadata, provider), budget.left())
        except (ProviderFault, TimeoutError) as error:
            raise _own(provider, error) from None
        return read_metadata(provider, document)

    async def keys(
        self, provider: Provider, metadata: Metadata, budget: Budget, *, anew: bool = False
    ) -> Keys:
        """The keys that sign its ID tokens. Raises ProviderFault."""
        take = self._keys.fetch_anew if anew else self._keys.take
        fetch = partial(self._fetch_keys, provider, metadata.jwks_uri)
        try:
            return await take(metadata.jwks_uri, fetch, budget.left())
        except (ProviderFault, TimeoutError) as error:
            raise _own(provider, error) from None

    async def newer_keys(
        self, provider: Provider, metadata: Metadata, used: Keys, budget: Budget
    ) -> Keys | None:
        """Newer keys than those `used`, which did not fit; None where there are none."""
        fetch = partial(self._fetch_keys, provider, metadata.jwks_uri)
        return await self._keys.renew(metadata.jwks_uri, used, fetch, budget.left())

    async def _fetch_metadata(self, provider: Provider) -> Document:
        reply = await self._calls.get(provider, metadata_url(provider), BUDGET_SECONDS)
        document = object_in(provider, reply, METADATA, "The discovery document")
        read_published(provider, document)  # what cannot be used must not replace what can
        return document

    async def _fetch_keys(self, provider: Provider, url: str) -> Keys:
        reply = await self._calls.get(provider, url, BUDGET_SECONDS)
        return read_keys(provider, object_in(provider, reply, KEYS, "The key set"))


def _own(provider: Provider, error: ProviderFault | TimeoutError) -> ProviderFault:
    """The fault in the words of this app: it may have been fetched for another."""
    if isinstance(error, ProviderFault):
        return restated(provider, error)
    return fault(provider, UNREACHABLE, "There was no time left to wait for its documents.")
