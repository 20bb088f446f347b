"""admit client: what other programs call an app with."""

from typing import TYPE_CHECKING, Annotated

import typer

from admit.cli.command import AppName, Terminal, Yes, command, group
from admit.cli.connection import target
from admit.cli.output import Column
from admit.cli.values import moment, parse_list

if TYPE_CHECKING:
    from admit.web.admin_types import ClientSecret

clients = group(
    "client",
    "API clients: what your servers call an app with.",
    example="admit client create notes --scopes ACCESS_DB,IMPERSONATE",
)

ClientId = Annotated[str, typer.Argument(metavar="CLIENT_ID", help="The client's id.", show_default=False)]
Scopes = Annotated[
    str | None,
    typer.Option(
        metavar="SCOPE,…",
        help="What it may do, separated by commas. Without it, everything a client can.",
        show_default=False,
    ),
]


@command(clients, "create", example="admit client create notes --scopes ACCESS_DB,IMPERSONATE")
def create(
    terminal: Terminal,
    app: AppName,
    scopes: Scopes = None,
    owner: Annotated[
        str | None, typer.Option(metavar="EMAIL", help="Who is responsible for it.", show_default=False)
    ] = None,
) -> None:
    """Makes a client and shows its secret, this once."""
    from admit.web.admin_types import ClientSecret, NewClient

    body = NewClient(scopes=None if scopes is None else list(parse_list(scopes)), owner=owner)
    client = terminal.call("POST", target("apps", app, "clients"), body, ClientSecret)
    _show_secret(terminal, client)


@command(clients, "list", example="admit client list notes")
def list_clients(terminal: Terminal, app: AppName) -> None:
    """Lists the clients of an app, without their secrets."""
    from admit.web.admin_types import ClientView

    terminal.out.many(
        terminal.call("GET", target("apps", app, "clients"), None, list[ClientView]),
        [
            Column[ClientView]("CLIENT ID", lambda client: client.client_id),
            Column("SCOPES", lambda client: " ".join(client.scopes)),
            Column("OWNER", lambda client: client.owner or ""),
            Column("CREATED", lambda client: moment(client.created_at)),
            Column("SECRET CHANGED", lambda client: moment(client.secret_changed_at)),
            Column("STATE", lambda client: client.state),
            Column("EXPIRES", lambda client: moment(client.expires_at)),
        ],
        none=f"{app} has no client. `admit client create {app}` makes one.",
    )


@command(clients, "rotate", example="admit client rotate notes cli_7k3m")
def rotate(terminal: Terminal, app: AppName, client_id: ClientId, yes: Yes = False) -> None:
    """Gives a client a new secret and shows it, this once. The old one stops working at once."""
    from admit.web.admin_types import ClientSecret

    terminal.confirm(
        f"The secret of {client_id} stops working at once, and sessions that it opened must sign in again.",
        yes=yes,
    )
    client = terminal.call("POST", target("apps", app, "clients", client_id, "secret"), None, ClientSecret)
    _show_secret(terminal, client)


@command(clients, "revoke", example="admit client revoke notes cli_7k3m")
def revoke(terminal: Terminal, app: AppName, client_id: ClientId, yes: Yes = False) -> None:
    """Takes a client's access away, for good and at once."""
    terminal.confirm(
        f"{client_id} loses access to {app} at once and for good, with the sessions that it opened.", yes=yes
    )
    terminal.call("DELETE", target("apps", app, "clients", client_id), None, type(None))
    terminal.out.done({"client_id": client_id, "revoked": True}, f"{client_id} is revoked.")


def _show_secret(terminal: Terminal, client: "ClientSecret") -> None:
    terminal.out.one(
        client,
        [
            ("client id", client.client_id),
            ("client secret", client.client_secret),
            ("scopes", " ".join(client.scopes)),
            ("owner", client.owner or "none"),
            ("database URL", client.database_url),
        ],
    )
    terminal.out.note("Keep the secret now: it cannot be shown again.")
