"""admit endpoint figures: how endpoints are doing, in numbers."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from admit import clock
from admit.cli.campaigns import endpoints as endpoints
from admit.cli.command import AppName, Terminal, command
from admit.cli.connection import target
from admit.cli.endpoints import PAGE_SIZE
from admit.cli.output import Column
from admit.cli.values import duration

if TYPE_CHECKING:
    from admit.web.endpoint_figures_api import EndpointFigures


@command(endpoints, "figures", example="admit endpoint figures notes")
def figures(terminal: Terminal, app: AppName) -> None:
    """Tells of each endpoint what its attempts of 24 hours came to, what waits, and for how long."""
    terminal.out.many(
        _pages(terminal, app),
        [
            Column["EndpointFigures"]("ENDPOINT ID", lambda endpoint: endpoint.id),
            Column("ACCEPTED", lambda endpoint: str(endpoint.accepted)),
            Column("FAILED", lambda endpoint: str(endpoint.failed)),
            Column("ANSWERED IN", _answered_in),
            Column("WAITING", lambda endpoint: str(endpoint.waiting + endpoint.missed)),
            Column("BEHIND BY", _behind_by),
        ],
        none=f"Nobody is told of what happens in {app}. `admit endpoint create {app} URL` lets somebody be.",
    )


def _pages(terminal: Terminal, app: str) -> "Iterator[EndpointFigures]":
    from admit.web.endpoint_figures_api import FiguresPage

    after: str | None = None
    while True:
        where = target("apps", app, "endpoint-figures", after=after, limit=PAGE_SIZE)
        page = terminal.call("GET", where, None, FiguresPage)
        yield from page.endpoints
        if (after := page.after) is None:
            return


def _answered_in(endpoint: "EndpointFigures") -> str:
    return "" if endpoint.answer_ms is None else f"{endpoint.answer_ms} ms"


def _behind_by(endpoint: "EndpointFigures") -> str:
    if endpoint.oldest_at is None:
        return ""
    return duration(max(0, clock.now() - endpoint.oldest_at) // 1_000)
