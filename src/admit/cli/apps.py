"""admit app: the apps of this installation."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from admit.cli.command import AppName, Terminal, command, group
from admit.cli.connection import target
from admit.cli.output import Column, Facts
from admit.cli.values import listed, moment

if TYPE_CHECKING:
    from admit.web.admin_types import AppView

apps = group(
    "app",
    "Apps: each has its own people, settings and data.",
    example="admit app create notes --owner ada@example.com",
)


UserIds = Literal["email", "opaque"]


@command(apps, "create", makes_database=True, example="admit app create notes --owner ada@example.com")
def create(
    terminal: Terminal,
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Lower-case letters, digits and hyphens.", show_default=False),
    ],
    owner: Annotated[str, typer.Option(metavar="EMAIL", help="Who owns it.", show_default=False)],
    user_ids: Annotated[
        UserIds,
        typer.Option(
            help="What a userId is: the email, or an opaque text that says nothing of it. It can never be "
            "changed afterwards.",
        ),
    ] = "email",
) -> None:
    """Makes an app. Everybody may come in on trial at first: `admit policy set` changes that."""
    from admit.web.admin_types import AppView, NewApp

    body = NewApp(name=name, owner=owner, user_ids=user_ids)
    app = terminal.call("POST", target("apps"), body, AppView)
    terminal.out.one(app, _facts(app))
    terminal.out.note(
        f"Next: admit origin add {app.name} http://localhost:3000, then admit policy set {app.name} …"
    )


@command(apps, "list", example="admit app list")
def list_apps(terminal: Terminal) -> None:
    """Lists all apps."""
    terminal.out.many(
        _pages(terminal),
        [
            Column["AppView"]("NAME", lambda app: app.name),
            Column("POLICY", lambda app: app.policy.kind),
            Column("USER IDS", lambda app: app.user_ids),
            Column("DATABASE URL", lambda app: app.database_url),
            Column("CREATED", lambda app: moment(app.created_at)),
        ],
        none="There is no app yet. `admit app create NAME --owner EMAIL` makes one.",
    )


@command(apps, "show", example="admit app show notes")
def show(terminal: Terminal, app: AppName) -> None:
    """Shows an app: its addresses, its rule for unknown people, who may call it."""
    from admit.web.admin_types import AppView

    found = terminal.call("GET", target("apps", app), None, AppView)
    terminal.out.one(found, _facts(found))


def _pages(terminal: Terminal) -> Iterator["AppView"]:
    from admit.web.admin_types import AppView

    page = terminal.call("GET", target("apps"), None, list[AppView])
    while page:
        yield from page
        page = terminal.call("GET", target("apps", after=page[-1].name), None, list[AppView])


def _facts(app: "AppView") -> Facts:
    from admit.cli.policies import in_words

    return [
        ("name", app.name),
        ("database URL", app.database_url),
        ("policy", in_words(app.policy)),
        ("user ids", app.user_ids),
        ("owners", listed(app.owners, none="none")),
        ("origins", listed(app.origins, none="none")),
        ("clients", listed(app.clients, none="none")),
        ("app id", app.app_id),
        ("created", moment(app.created_at)),
    ]
