"""admit owner: who answers for an app."""

from typing import Annotated

import typer

from admit.cli.command import AppName, Terminal, Yes, command, group
from admit.cli.connection import target
from admit.cli.output import Column

owners = group(
    "owner",
    "Owners: who answers for an app, by email.",
    example="admit owner add notes grace@example.com",
)

OwnerEmail = Annotated[
    str, typer.Argument(metavar="EMAIL", help="The owner's email address.", show_default=False)
]


@command(owners, "add", example="admit owner add notes grace@example.com")
def add(terminal: Terminal, app: AppName, email: OwnerEmail) -> None:
    """Makes somebody an owner of an app."""
    from admit.web.admin_types import AppView, Owner

    answer = terminal.call("POST", target("apps", app, "owners"), Owner(email=email), AppView)
    terminal.out.done(answer.owners, f"{email.strip().lower()} is an owner of {app}.")


@command(owners, "list", example="admit owner list notes")
def list_owners(terminal: Terminal, app: AppName) -> None:
    """Lists the owners of an app."""
    from admit.web.admin_types import AppView

    answer = terminal.call("GET", target("apps", app), None, AppView)
    terminal.out.many(
        answer.owners,
        [Column[str]("OWNER", lambda email: email)],
        none=f"{app} has no owner. `admit owner add {app} EMAIL` makes one.",
    )


@command(owners, "remove", example="admit owner remove notes grace@example.com")
def remove(terminal: Terminal, app: AppName, email: OwnerEmail, yes: Yes = False) -> None:
    """Ends an ownership. The last owner stays."""
    from admit.web.admin_types import AppView

    terminal.confirm(f"{email} no longer answers for {app}, and loses what only its owners may do.", yes=yes)
    answer = terminal.call("DELETE", target("apps", app, "owners", email=email), None, AppView)
    terminal.out.done(answer.owners, f"{email.strip().lower()} is no owner of {app} any more.")
