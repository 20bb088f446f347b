"""Which endpoint answers at which path."""

from collections.abc import Awaitable, Callable, Iterable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path

Endpoint = Callable[[Request], Awaitable[Response]]


class Place(msgspec.Struct, frozen=True):
    """An endpoint, the pattern of its path, and what the path says in the places of the pattern."""

    endpoint: Endpoint
    pattern: str
    params: dict[str, str]


class Paths:
    """Patterns such as `/{app}/token` and their endpoints; the first that fits is taken."""

    def __init__(self, endpoints: Iterable[tuple[str, Endpoint]]) -> None:
        told = tuple(endpoints)
        self.patterns = frozenset(pattern for pattern, _ in told)
        self._table = [(compile_path(pattern)[0], pattern, endpoint) for pattern, endpoint in told]

    def find(self, path: str) -> Place | None:
        """The place at `path`; None when there is nothing."""
        for regex, pattern, endpoint in self._table:
            if (match := regex.match(path)) is not None:
                return Place(endpoint, pattern, match.groupdict())
        return None
