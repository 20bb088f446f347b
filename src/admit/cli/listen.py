"""admit listen: a developer's machine receives an app's events as an endpoint would."""

from typing import Annotated

import typer

from admit.cli.command import AppName, Terminal, command
from admit.cli.values import parse_list


def register(root: typer.Typer) -> None:
    """Adds the command to `root`."""
    command(root, "listen", example="admit listen notes --forward http://localhost:3000/hooks")(listen)


def listen(
    terminal: Terminal,
    app: AppName,
    forward: Annotated[
        str, typer.Option(metavar="URL", help="Where to post each event.", show_default=False)
    ],
    events: Annotated[
        str | None,
        typer.Option(metavar="TYPE,…", help="Only of these types, separated by commas.", show_default=False),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="With email, name and data of the person.")] = False,
    secret: Annotated[
        str | None,
        typer.Option(
            metavar="WHSEC",
            help="The secret that signs, `whsec_…`. Without it, one is made and shown.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Posts the events of an app to a URL that this machine reaches, as they happen, until Ctrl-C.

    They are signed as those of endpoints are, and bear the same ids. One line tells what became of each.
    What fails is not sent again later: it is a tool for development. A server that goes away for a while is
    waited for.
    """
    from admit.cli.forwarding import Forwarder

    with Forwarder(forward, secret) as forwarder:
        terminal.require_server()
        types = None if events is None else ",".join(parse_list(events))
        forwarder.run(terminal, app, types=types, full=full)
