"""admit app: the apps of this installation."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from admit.cli.command import AppName, Refusal, Terminal, Yes, command, group
from admit.cli.connection import target
from admit.cli.output import Column, Facts
from admit.cli.values import listed, moment

if TYPE_CHECKING:
    from admit.web.admin_types import AppView, SeatsView, WaySeats

apps = group(
    "app",
    "Apps: each has its own people, settings and data.",
    example="admit app create notes --owner ada@example.com",
)


UserIds = Literal["email", "opaque"]
WhenFull = Literal["refuse", "eval"]


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


@command(apps, "seats", example="admit app seats notes 50 --when-full eval")
def seats(
    terminal: Terminal,
    app: AppName,
    limit: Annotated[
        str | None,
        typer.Argument(
            metavar="N", help="How many there are to be, or none for no limit.", show_default=False
        ),
    ] = None,
    when_full: Annotated[
        WhenFull | None,
        typer.Option(
            help="A newcomer for whom no seat is left is turned away (refuse), or comes in on trial (eval).",
            show_default=False,
        ),
    ] = None,
    recount: Annotated[
        bool, typer.Option("--recount", help="Count the users, and correct the number where it is wrong.")
    ] = False,
    way_in: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="WAY",
            help="The seats of who first came this way: email_code, client_credentials, api, import, or the "
            "name of a provider. They are seats of the app, too.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Shows how many production users an app has and may have, or sets how many it may have.

    Who is deactivated or deleted gives a seat back; who has expired keeps it.

    \b
      admit app seats notes                     who has how many
      admit app seats notes 50                  50 for the whole app
      admit app seats notes 10 --for google     of them 10 for who signs in with google
      admit app seats notes none --for google   as many for them as the app has
    """
    from admit.web.admin_types import NewSeats, SeatsRecount, SeatsView

    where = target("apps", app, "seats", **{"for": way_in})
    if limit is not None or when_full is not None:
        now = terminal.call("GET", where, None, SeatsView)
        new = NewSeats(
            limit=now.limit if limit is None else _parse_seats(limit), when_full=when_full or now.when_full
        )
        terminal.call("PUT", where, new, SeatsView)
    if recount:
        counted = terminal.call(
            "POST", target("apps", app, "seats", "count", **{"for": way_in}), None, SeatsRecount
        )
        terminal.out.one(counted, [*_seat_facts(counted), ("corrected by", f"{counted.drift:+}")])
    else:
        found = terminal.call("GET", where, None, SeatsView)
        terminal.out.one(found, _seat_facts(found))


def _parse_seats(text: str) -> int | None:
    if text == "none":
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Refusal(f"{text[:40]!r} is no number of seats. Give one such as 50, or none for no limit.", 2)
    return int(text)


def _seat_facts(seats: "SeatsView") -> Facts:
    return [
        ("taken", str(seats.taken)),
        ("limit", "none" if seats.limit is None else str(seats.limit)),
        ("when full", seats.when_full),
        *((f"by {way.way_in}", _way_facts(way)) for way in seats.by_way_in),
    ]


def _way_facts(way: "WaySeats") -> str:
    if way.limit is None:
        return f"{way.taken}, no limit"
    return f"{way.taken} of {way.limit}, when full {way.when_full}"


@command(apps, "rename", example="admit app rename notes journal")
def rename(
    terminal: Terminal,
    app: AppName,
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Lower-case letters, digits and hyphens.", show_default=False),
    ],
) -> None:
    """Gives an app another name, and so another address. It goes on answering to the former one."""
    from admit.web.admin_types import AppView, NewName

    renamed = terminal.call("PUT", target("apps", app, "name"), NewName(name=name), AppView)
    terminal.out.done(renamed, f"{app} is {renamed.name} now. Its database URL is {renamed.database_url}.")
    terminal.out.note(
        f"Clients that are configured with the former address go on as before, until `admit app release "
        f"{renamed.name} {app}`."
    )


@command(apps, "release", example="admit app release journal notes")
def release(
    terminal: Terminal,
    app: AppName,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A former name.", show_default=False)],
    yes: Yes = False,
) -> None:
    """Gives a former name of an app away. Whoever takes it gets what clients still send there."""
    from admit.web.admin_types import AppView

    terminal.confirm(
        f"Clients that still use {name} can no longer reach {app}, and another app may take the name.",
        yes=yes,
    )
    answer = terminal.call("DELETE", target("apps", app, "names", name=name), None, AppView)
    terminal.out.done(answer, f"{app} no longer answers to {name}.")


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
        ("former names", listed(app.former_names, none="none")),
        ("hosts", listed(app.hosts, none="none")),
        ("policy", in_words(app.policy)),
        *((f"policy for {way}", in_words(policy)) for way, policy in app.policies.items()),
        ("providers", listed(app.providers, none="none")),
        ("user ids", app.user_ids),
        ("owners", listed(app.owners, none="none")),
        ("origins", listed(app.origins, none="none")),
        ("clients", listed(app.clients, none="none")),
        ("app id", app.app_id),
        ("created", moment(app.created_at)),
    ]
