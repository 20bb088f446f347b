"""admit origin: which web pages may call an app."""

from typing import Annotated

import typer

from admit.cli.command import AppName, Terminal, Yes, command, group
from admit.cli.connection import target
from admit.cli.output import Column

origins = group(
    "origin",
    "Origins: the web pages and mobile apps that may call an app.",
    example="admit origin add notes http://localhost:3000",
)

OriginText = Annotated[
    str,
    typer.Argument(
        metavar="ORIGIN", help="As `location.origin` says, e.g. https://app.example.com", show_default=False
    ),
]


@command(origins, "add", example="admit origin add notes http://localhost:3000")
def add(
    terminal: Terminal,
    app: AppName,
    origin: OriginText,
    force: Annotated[
        bool, typer.Option("--force", help="Let in what is not one of the usual forms.")
    ] = False,
) -> None:
    """Lets the pages of an origin call an app."""
    from admit.web.admin_types import Origin, OriginsView

    body = Origin(origin=origin, force=force)
    answer = terminal.call("POST", target("apps", app, "origins"), body, OriginsView)
    terminal.out.done(answer, f"The pages of {origin.rstrip('/')} may call {app}.")


@command(origins, "list", example="admit origin list notes")
def list_origins(terminal: Terminal, app: AppName) -> None:
    """Lists the origins that may call an app."""
    from admit.web.admin_types import OriginsView

    answer = terminal.call("GET", target("apps", app, "origins"), None, OriginsView)
    terminal.out.many(
        answer.origins,
        [Column[str]("ORIGIN", lambda origin: origin)],
        none=f"No page may call {app} yet. `admit origin add {app} ORIGIN` lets one.",
    )


@command(origins, "remove", example="admit origin remove notes http://localhost:3000")
def remove(terminal: Terminal, app: AppName, origin: OriginText, yes: Yes = False) -> None:
    """Stops the pages of an origin from calling an app."""
    from admit.web.admin_types import OriginsView

    terminal.confirm(f"The pages of {origin} can no longer call {app}.", yes=yes)
    answer = terminal.call("DELETE", target("apps", app, "origins", origin=origin), None, OriginsView)
    terminal.out.done(answer, f"The pages of {origin} can no longer call {app}.")
