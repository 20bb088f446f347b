"""admit user identities, admit user unlink: by which accounts at providers somebody is known."""

from typing import Annotated

import typer

from admit.cli.command import AppName, Terminal, Yes, command
from admit.cli.connection import target
from admit.cli.output import Column
from admit.cli.users import UserId
from admit.cli.users import users as users
from admit.cli.values import moment


@command(users, "identities", example="admit user identities notes ada@example.com")
def list_identities(terminal: Terminal, app: AppName, user_id: UserId) -> None:
    """Lists what leads to a person: accounts at providers, and the userId that brought them.

    An account at a provider is its issuer and subject. It leads to the person whatever its email is by now.
    """
    from admit.web.admin_identities_api import IdentitiesView, IdentityView

    found = terminal.call("GET", target("apps", app, "users", user_id, "identities"), None, IdentitiesView)
    terminal.out.many(
        found.identities,
        [
            Column[IdentityView]("ISSUER", lambda identity: identity.issuer),
            Column("SUBJECT", lambda identity: identity.subject),
            Column("LINKED", lambda identity: moment(identity.linked_at)),
            Column("UNLINKABLE", lambda identity: "yes" if identity.unlinkable else "no: the userId"),
        ],
        none="Known by the userId alone.",
    )


@command(
    users,
    "unlink",
    example="admit user unlink notes ada@example.com --issuer https://accounts.google.com --subject 1101",
)
def unlink(
    terminal: Terminal,
    app: AppName,
    user_id: UserId,
    issuer: Annotated[
        str,
        typer.Option(metavar="ISSUER", help="As `admit user identities` tells it.", show_default=False),
    ],
    subject: Annotated[
        str,
        typer.Option(metavar="SUBJECT", help="As `admit user identities` tells it.", show_default=False),
    ],
    yes: Yes = False,
) -> None:
    """Lets an account at a provider lead to a person no more. Their sessions go on.

    When it comes again with an email that its provider is trusted about, it leads to the owner of that email
    again. To keep its owner out: narrow `admit provider set --trust-email`, or `admit user deactivate`. To
    end what is open: `admit user lock`, or `admit session wipe`.
    """
    terminal.confirm(
        f"{subject} of {issuer} does not lead to {user_id} of {app} any more. Sessions go on, and it is "
        "linked again when it comes with an email that leads there.",
        yes=yes,
    )
    where = target("apps", app, "users", user_id, "identities", issuer=issuer, subject=subject)
    terminal.call("DELETE", where, None, type(None))
    terminal.out.done(
        {"user_id": user_id, "issuer": issuer, "subject": subject, "unlinked": True},
        f"{subject} of {issuer} is unlinked from {user_id}.",
    )
    terminal.out.note(
        f"Sessions go on: admit user lock {app} {user_id} ends that. With an email that its provider is "
        "trusted about it is linked again: narrow admit provider set --trust-email, or admit user deactivate."
    )
