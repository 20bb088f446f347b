"""admit user timeline: everything that happened to a person, under one heading."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from admit.cli.command import AppName, Terminal, command
from admit.cli.connection import target
from admit.cli.identities import users as users
from admit.cli.output import Column
from admit.cli.values import moment

if TYPE_CHECKING:
    from admit.web.timeline_api import TimelineEntry

PAGE_SIZE = 200

Kind = Literal["decision", "event", "delivery", "run"]
Whom = Annotated[
    str,
    typer.Argument(
        metavar="USER", help="A userId, or the uid of somebody who was deleted.", show_default=False
    ),
]


@command(users, "timeline", example="admit user timeline notes ada@example.com --kind event")
def show_timeline(
    terminal: Terminal,
    app: AppName,
    user: Whom,
    kind: Annotated[Kind | None, typer.Option(help="Only of this kind.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many.")] = 100,
) -> None:
    """Lists what happened to a person, newest first: decisions, events, deliveries and runs.

    Of somebody who was refused there are decisions.
    """
    from admit.web.timeline_words import heading, sentence

    terminal.out.many(
        _pages(terminal, app, user, kind, limit),
        [
            Column["TimelineEntry"]("AT", lambda entry: moment(entry.at)),
            Column("KIND", lambda entry: entry.kind),
            Column("WHAT", heading),
            Column("MORE", sentence),
            Column("ID", lambda entry: entry.id),
        ],
        none="Nothing.",
    )


def _pages(
    terminal: Terminal, app: str, user: str, kind: Kind | None, limit: int
) -> Iterator["TimelineEntry"]:
    from admit.web.timeline_api import Timeline

    before: str | None = None
    left = limit
    while left > 0:
        where = target(
            "apps", app, "users", user, "timeline", kind=kind, limit=min(left, PAGE_SIZE), before=before
        )
        page = terminal.call("GET", where, None, Timeline)
        yield from page.entries
        left -= len(page.entries)
        if (before := page.before) is None:
            return
