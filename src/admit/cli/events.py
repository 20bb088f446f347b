"""admit event: what has happened in an app."""

import itertools
import sys
from typing import Annotated

import typer

from admit.cli.command import AppName, Terminal, Yes, command, group
from admit.cli.connection import target
from admit.cli.output import Column
from admit.cli.values import listed, parse_list

events = group(
    "event",
    "Events: what has happened in an app.",
    example="admit event tail notes --type user.enrolled,user.refused",
)

Types = Annotated[
    str | None,
    typer.Option(
        "--type", metavar="TYPE,…", help="Only of these types, separated by commas.", show_default=False
    ),
]
User = Annotated[
    str | None,
    typer.Option(metavar="USER", help="Only of this person, a userId or a uid.", show_default=False),
]
CURSOR_HELP = "Only what lies behind this cursor; `beginning` and `latest` are cursors, too."


@command(events, "list", example="admit event list notes --type user.enrolled --user ada@example.com")
def list_events(
    terminal: Terminal,
    app: AppName,
    type: Types = None,
    user: User = None,
    after: Annotated[str, typer.Option(metavar="CURSOR", help=CURSOR_HELP)] = "beginning",
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="At most so many.", show_default=False)
    ] = None,
) -> None:
    """Lists the events that are kept, the oldest first, as they are read.

    The cursor to go on with next time is told at the end.
    """
    from admit.cli.following import FedEvent, Feed

    feed = Feed(terminal, app, after=after, types=_types(type), user=user)
    terminal.out.many(
        feed.events(limit),
        [
            Column[FedEvent]("TIME", lambda event: event.timestamp),
            Column("TYPE", lambda event: event.type),
            Column("ABOUT", lambda event: event.about),
            Column("EVENT ID", lambda event: event.id),
        ],
        none="Nothing has happened.",
    )
    terminal.out.note(f"Go on with: --after {feed.cursor}")


@command(events, "tail", example="admit event tail notes --type user.enrolled --json")
def tail(
    terminal: Terminal,
    app: AppName,
    type: Types = None,
    user: User = None,
    after: Annotated[str, typer.Option(metavar="CURSOR", help=CURSOR_HELP)] = "latest",
) -> None:
    """Shows events as they happen, a line each, until Ctrl-C.

    A server that goes away for a while is waited for, and nothing is missed. With --json, each line is an
    event.
    """
    from admit.cli.following import Feed

    terminal.require_server()
    feed = Feed(terminal, app, after=after, types=_types(type), user=user)
    first = feed.page()  # what is wrong with the question is told before we say that we wait
    if sys.stderr.isatty():
        terminal.out.note(_waiting_for(app, type, user))
    for event in itertools.chain(first.events, feed.follow()):
        terminal.out.next(event, [event.timestamp, event.type, event.about, event.id])


@command(events, "trigger", example="admit event trigger notes user.enrolled --endpoint ep_a47f0c11d2")
def trigger(
    terminal: Terminal,
    app: AppName,
    type: Annotated[str, typer.Argument(metavar="TYPE", help="The type of the event.", show_default=False)],
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="ENDPOINT_ID",
            help="To this endpoint only. Without it, to all that are told of the type.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Sends endpoints an example of an event, marked as a test.

    Nothing has happened, and nothing is recorded. Filters of endpoints are not asked.
    """
    from admit.web.events_api import Deliveries, Trigger

    body = Trigger(type=type, endpoint=endpoint)
    left = terminal.call("POST", target("apps", app, "events", "trigger"), body, Deliveries)
    number = len(left.deliveries)
    sentence = (
        f"{left.event_id} is on its way to {number} endpoint{'s' if number != 1 else ''}."
        if number
        else f"No endpoint of {app} is told of {type}. Name one with --endpoint."
    )
    terminal.out.done(left, sentence)


@command(events, "restored", example="admit event restored --all")
def restored(
    terminal: Terminal,
    app: Annotated[
        str | None, typer.Argument(metavar="APP", help="The name of the app.", show_default=False)
    ] = None,
    all_apps: Annotated[bool, typer.Option("--all", help="Every app of the database.")] = False,
    yes: Yes = False,
) -> None:
    """Says that the database was restored from a copy. Run it after every restore, before the server starts.

    Events that were recorded after the copy was made are gone, and others will take their places. So whoever
    follows the feed by a cursor is told that it has expired, and reads again from the beginning.
    """
    from admit.web.events_api import Restored

    if (app is None) is not all_apps:
        raise typer.BadParameter("Name an app, or say --all.")
    whose = f"of {app}" if app else "of all apps"
    terminal.confirm(f"Every cursor into the events {whose} expires.", yes=yes)
    where = target("events", "restored") if app is None else target("apps", app, "events", "restored")
    done = terminal.call("POST", where, None, Restored)
    terminal.out.done(done, f"{done.logs} log{'s begin' if done.logs != 1 else ' begins'} a new epoch.")


def _waiting_for(app: str, types: str | None, user: str | None) -> str:
    """What `event tail` says while nothing happens."""
    what = "events" if types is None else listed(parse_list(types))
    whom = "" if user is None else f" about {user}"
    return f"Waiting for {what} of {app}{whom}. Ctrl-C ends this."


def _types(text: str | None) -> str | None:
    return None if text is None else ",".join(parse_list(text))
