"""Hosts of apps: a request for the root of a mapped host is one for the app that is mapped to it.

What a Host header says is never trusted: it only chooses which app answers, which the path could choose as
well. Addresses in answers, issuers and mails come from the settings and the database alone.
"""

from urllib.parse import urlsplit

from starlette.types import Scope

from admit.accounts.addresses import DEFAULT_PORTS
from admit.accounts.directory import Directory
from admit.config import Network, Settings
from admit.web import health, proxies

_DEFAULT_PORTS = frozenset(map(str, DEFAULT_PORTS.values()))


class Hosts:
    """Finds the path below PUBLIC_URL of what a request asks its host for."""

    def __init__(self, directory: Directory, settings: Settings) -> None:
        self._directory = directory
        self._trusted = settings.trusted_proxies
        self._own = own_host(settings)

    async def path_of(self, scope: Scope) -> str:
        """The path, with the name of the app in front where the host is mapped to one.

        Health is told on every host. Raises StorageUnavailable while no host is known yet.
        """
        path: str = scope["path"]
        host = asked_host(scope, self._trusted)
        if not host or host == self._own or path in health.PATHS:
            return path
        name = await self._directory.name_at(host)
        return path if name is None else f"/{name}{path}"


def own_host(settings: Settings) -> str:
    """The host of PUBLIC_URL, which is the server's own and can be mapped to no app."""
    return plain_host(urlsplit(settings.public_url).netloc)


def asked_host(scope: Scope, trusted: tuple[Network, ...]) -> str:
    """The host that the client asked for; "" where the request does not say so in one way."""
    told = [value for name, value in scope["headers"] if name == b"host"]
    forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-host"]
    if forwarded and proxies.is_trusted(scope["peer"], trusted):
        told = [forwarded[-1].rpartition(b",")[2]]
    return plain_host(told[0].decode("latin-1").strip()) if len(told) == 1 else ""


def plain_host(host: str) -> str:
    """`host` in the spelling of `parse_mapped_host`, if it is one at all."""
    name, _, port = host.lower().partition(":")
    name = name.removesuffix(".")
    return f"{name}:{port}" if port and port not in _DEFAULT_PORTS else name
