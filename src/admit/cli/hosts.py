"""admit host: hosts whose root is an app."""

from typing import Annotated

import typer

from admit.cli.command import AppName, Terminal, Yes, command, group
from admit.cli.connection import target
from admit.cli.output import Column

hosts = group(
    "host",
    "Hosts: an app can be the root of a host of its own, such as https://auth.example.com.",
    example="admit host add notes auth.example.com",
)

HostName = Annotated[
    str,
    typer.Argument(
        metavar="HOST", help="As browsers send it, with a port only where it is unusual.", show_default=False
    ),
]


@command(hosts, "add", example="admit host add notes auth.example.com")
def add(terminal: Terminal, app: AppName, host: HostName) -> None:
    """Makes the root of a host lead to an app. Its first host becomes the issuer of its tokens."""
    from admit.web.admin_types import Host, HostsView

    answer = terminal.call("POST", target("apps", app, "hosts"), Host(host=host), HostsView)
    terminal.out.done(answer, f"{host} leads to {app}, whose database URL is {answer.database_url}.")
    terminal.out.note(
        "Point the name and its certificate at the server. Where backends compare the issuer of tokens, name "
        "them the new one; tokens issued before stay valid until they end."
    )


@command(hosts, "list", example="admit host list notes")
def list_hosts(terminal: Terminal, app: AppName) -> None:
    """Lists the hosts that lead to an app. The first is its address."""
    from admit.web.admin_types import HostsView

    answer = terminal.call("GET", target("apps", app, "hosts"), None, HostsView)
    terminal.out.many(
        answer.hosts,
        [Column[str]("HOST", lambda host: host)],
        none=f"No host leads to {app} yet. `admit host add {app} HOST` maps one.",
    )


@command(hosts, "remove", example="admit host remove notes auth.example.com")
def remove(terminal: Terminal, app: AppName, host: HostName, yes: Yes = False) -> None:
    """Stops a host from leading to an app."""
    from admit.web.admin_types import HostsView

    terminal.confirm(f"Clients that are configured with {host} can no longer reach {app}.", yes=yes)
    answer = terminal.call("DELETE", target("apps", app, "hosts", host=host), None, HostsView)
    terminal.out.done(answer, f"{host} no longer leads to {app}, whose address is {answer.database_url}.")
