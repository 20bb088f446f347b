"""admit event: what has happened in an app."""

import itertools
import sys
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from admit.cli.command import AppName, Terminal, Yes, command, group
from admit.cli.connection import target
from admit.cli.output import Column
from admit.cli.values import listed, parse_list

if TYPE_CHECKING:
    from admit.cli.following import FedEvent

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
    after: Annotated[
        str | None, typer.Option(metavar="CURSOR", help=CURSOR_HELP, show_default="beginning")
    ] = None,
    before: Annotated[
        str | None,
        typer.Option(
            metavar="CURSOR",
            help="Only what lies before this cursor, the newest first: `--before latest`.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE",
            help="Only about the device of this identifier, the newest first.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="At most so many.", show_default=False)
    ] = None,
) -> None:
    """Lists the events that are kept, the oldest first, as they are read; with --before the newest first.

    The cursor to go on with next time is told at the end.
    """
    from admit.cli.following import LATEST, Feed, LookBack

    if after is not None and (before is not None or device is not None):
        raise typer.BadParameter("--after goes neither with --before nor with --device.")
    if before is not None or device is not None:
        back = LookBack(terminal, app, before=before or LATEST, types=_types(type), user=user, device=device)
        terminal.out.many(back.events(limit), _columns(), none="Nothing has happened.")
        terminal.out.note(f"Go on with: --before {back.cursor}")
        return
    feed = Feed(terminal, app, after=after or "beginning", types=_types(type), user=user)
    terminal.out.many(feed.events(limit), _columns(), none="Nothing has happened.")
    terminal.out.note(f"Go on with: --after {feed.cursor}")


@command(events, "show", example="admit event show notes evt_a47f3b9d42")
def show(
    terminal: Terminal,
    app: AppName,
    event: Annotated[str, typer.Argument(metavar="EVENT_ID", help="Its id.", show_default=False)],
) -> None:
    """Shows an event as endpoints are told it. `admit delivery list --event` shows who was."""
    from admit.web.events_api import EventView

    shown = terminal.call("GET", target("apps", app, "events", event), None, EventView)
    terminal.out.one(
        shown,
        [
            ("event id", shown.id),
            ("type", shown.type),
            ("time", shown.timestamp),
            ("data", msgspec.json.format(msgspec.json.encode(shown.data)).decode()),
        ],
    )


@command(events, "types", example="admit event types notes")
def list_types(terminal: Terminal, app: AppName) -> None:
    """Lists the types of events, and what each says."""
    from admit.web.event_types_api import EventTypesView, EventTypeView

    found = terminal.call("GET", target("apps", app, "event-types"), None, EventTypesView)
    terminal.out.many(
        found.types,
        [
            Column[EventTypeView]("TYPE", lambda type: type.type),
            Column("TOLD TO", lambda type: "everybody" if type.for_everybody else "who names it"),
            Column("WHAT IT SAYS", lambda type: type.summary),
        ],
        none="There are none.",
    )


@command(events, "describe", example="admit event describe notes user.enrolled")
def describe(
    terminal: Terminal,
    app: AppName,
    type: Annotated[str, typer.Argument(metavar="TYPE", help="The type of the event.", show_default=False)],
) -> None:
    """Shows what an event of a type says, with the body of an example; with --json its schema, too."""
    from admit.web.event_types_api import EventTypeDetail

    shown = terminal.call("GET", target("apps", app, "event-types", type), None, EventTypeDetail)
    terminal.out.one(
        shown,
        [
            ("type", shown.type),
            ("says", shown.summary),
            ("schema", shown.schema_url),
            ("example", msgspec.json.format(msgspec.json.encode(shown.full)).decode()),
        ],
    )


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


def _columns() -> "list[Column[FedEvent]]":
    return [
        Column("TIME", lambda event: event.timestamp),
        Column("TYPE", lambda event: event.type),
        Column("ABOUT", lambda event: event.about),
        Column("EVENT ID", lambda event: event.id),
    ]


def _waiting_for(app: str, types: str | None, user: str | None) -> str:
    """What `event tail` says while nothing happens."""
    what = "events" if types is None else listed(parse_list(types))
    whom = "" if user is None else f" about {user}"
    return f"Waiting for {what} of {app}{whom}. Ctrl-C ends this."


def _types(text: str | None) -> str | None:
    return None if text is None else ",".join(parse_list(text))
