"""admit user: the people of an app."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from admit.cli.command import AppName, Refusal, Terminal, Yes, command, group
from admit.cli.connection import target
from admit.cli.export_files import ExportFile, ExportFormat, Format, format_of_file, format_to_write
from admit.cli.output import Column
from admit.cli.values import moment

if TYPE_CHECKING:
    from admit.web.people_replies import Person

users = group("user", "Users: the people of an app.", example="admit user list notes --search ada")

PAGE_SIZE = 1_000
APP_LIMIT, NO_LIMIT = "app", "none"

UserId = Annotated[str, typer.Argument(metavar="USER_ID", help="The userId.", show_default=False)]


Type = Literal["eval", "prod", "demo"]
Sort = Literal[
    "created", "updated", "lastLogin", "validUntil", "evalDaysLeft", "userId", "type", "displayName"
]


@command(
    users, "list", example="admit user list notes --search ada --type prod --sort lastLogin --desc --limit 20"
)
def list_users(
    terminal: Terminal,
    app: AppName,
    search: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Only whose userId, email or a word of whose name begins so.",
            show_default=False,
        ),
    ] = None,
    type: Annotated[Type | None, typer.Option(help="Only of this type.", show_default=False)] = None,
    sort: Annotated[Sort, typer.Option(help="By what.")] = "created",
    desc: Annotated[bool, typer.Option("--desc", help="The largest or latest first.")] = False,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="At most so many.", show_default=False)
    ] = None,
) -> None:
    """Lists the people of an app, however many, as they are read."""
    query = {
        "search": search,
        "type": type,
        "sort": sort,
        "desc": "true" if desc else None,
    }
    terminal.out.many(
        pages(terminal, app, query, limit),
        [
            Column["Person"]("USER ID", lambda user: user.user_id),
            Column("NAME", lambda user: user.name),
            Column("EMAIL", lambda user: user.email if user.email != user.user_id else "="),
            Column("TYPE", lambda user: user.type),
            Column("LICENSE", lambda user: user.license),
            Column("CREATED", lambda user: moment(user.created_at)),
            Column("LAST LOGIN", lambda user: moment(user.last_login_at)),
        ],
        none="Nobody.",
    )


@command(users, "show", example="admit user show notes ada@example.com")
def show(terminal: Terminal, app: AppName, user_id: UserId) -> None:
    """Shows what is known of one person."""
    from admit.web.people_replies import Person

    user = terminal.call("GET", target("apps", app, "users", user_id), None, Person)
    facts = [
        ("user id", user.user_id),
        ("name", user.name),
        (
            "email",
            f"{user.email} ({'verified' if user.email_verified else 'not verified'})" if user.email else "",
        ),
        ("type", user.type),
        ("came by", user.way_in),
        ("license", user.license),
        ("trial", f"{user.eval_days_left} of {user.eval_days_max} active days left"),
        ("valid until", moment(user.valid_until) or "no end"),
        ("deactivated", moment(user.deactivated_at) or "no"),
        ("locked", moment(user.locked_at) or "no"),
        ("devices", _devices_text(user.devices_max)),
        ("created", moment(user.created_at)),
        ("updated", moment(user.updated_at)),
        ("last login", moment(user.last_login_at) or "never"),
        ("data", bytes(user.data).decode()),
        ("uid", user.uid),
    ]
    terminal.out.one(user, [fact for fact in facts if fact[0] != "trial" or user.type == "eval"])


@command(users, "deactivate", example="admit user deactivate notes ada@example.com")
def deactivate(terminal: Terminal, app: AppName, user_id: UserId, yes: Yes = False) -> None:
    """Keeps a person out until `admit user reactivate`. What they have is kept."""
    from admit.web.people_replies import Person

    terminal.confirm(f"{user_id} can no longer sign in to {app} or sync.", yes=yes)
    where = target("apps", app, "users", user_id, "deactivation")
    user = terminal.call("POST", where, None, Person)
    terminal.out.done(user, f"{user.user_id} is deactivated.")


@command(users, "reactivate", example="admit user reactivate notes ada@example.com")
def reactivate(terminal: Terminal, app: AppName, user_id: UserId) -> None:
    """Lets a deactivated person in again."""
    from admit.web.people_replies import Person

    where = target("apps", app, "users", user_id, "deactivation")
    user = terminal.call("DELETE", where, None, Person)
    terminal.out.done(user, f"{user.user_id} is active again.")


@command(users, "lock", example="admit user lock notes ada@example.com")
def lock(terminal: Terminal, app: AppName, user_id: UserId) -> None:
    """Locks a person out of every device until `admit user unlock`.

    Devices that are connected are told at once. Each open session is locked, which an event tells, and no new
    one is opened.
    """
    from admit.web.sessions_types import UserWithSessions

    user = terminal.call("POST", target("v4", app, "users", user_id, "lock"), None, UserWithSessions)
    terminal.out.done(user, f"{user.user_id} is locked.")
    terminal.out.note(f"Back: admit user unlock {app} {user_id}")


@command(users, "unlock", example="admit user unlock notes ada@example.com")
def unlock(terminal: Terminal, app: AppName, user_id: UserId) -> None:
    """Lets a locked person in again. The sessions that were locked with them go on, and no others."""
    from admit.web.sessions_types import UserWithSessions

    user = terminal.call("POST", target("v4", app, "users", user_id, "unlock"), None, UserWithSessions)
    terminal.out.done(user, f"{user.user_id} is unlocked.")


@command(users, "device-limit", example="admit user device-limit notes ada@example.com 3")
def set_device_limit(
    terminal: Terminal,
    app: AppName,
    user_id: UserId,
    devices_max: Annotated[
        str,
        typer.Argument(
            metavar="N|none|app",
            help="How many devices: a number, `none` for no limit, `app` for as many as the app allows.",
            show_default=False,
        ),
    ],
) -> None:
    """Says on how many devices a person may be enrolled at once, from the next login on.

    What becomes of one too many is set for the app: `admit setting set APP --when-devices-full`.
    """
    from admit.web.sessions_types import DeviceLimit, UserWithSessions

    body = DeviceLimit(devices_max=_limit_in(devices_max))
    user = terminal.call("PUT", target("v4", app, "users", user_id, "device-limit"), body, UserWithSessions)
    terminal.out.done(user, f"{user.user_id} may be enrolled on {_devices_text(user.devices_max)} at once.")


@command(users, "delete", example="admit user delete notes ada@example.com")
def delete(terminal: Terminal, app: AppName, user_id: UserId, yes: Yes = False) -> None:
    """Deletes a person with their devices, sessions and data. Who returns is a newcomer.

    Asks before, and says how much is erased and what is kept.
    """
    from admit.web.erasure_api import ErasureView, erased_text, kept_text

    if not yes:
        found = terminal.call("GET", target("apps", app, "users", user_id, "erasure"), None, ErasureView)
        terminal.out.note(f"Erased: {erased_text(found)}. Kept: {kept_text(found)}.")
    terminal.confirm(f"{user_id} is deleted from {app} for good, with devices, sessions and data.", yes=yes)
    terminal.call("DELETE", target("apps", app, "users", user_id), None, type(None))
    terminal.out.done({"user_id": user_id, "deleted": True}, f"{user_id} is deleted.")


@command(users, "import", example="admit user import notes people.csv --dry-run")
def import_users(
    terminal: Terminal,
    app: AppName,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="The file.", show_default=False),
    ],
    format: Annotated[
        Format | None, typer.Option(help="What FILE is, where its ending does not tell.", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would become of each line, and change nothing.")
    ] = False,
) -> None:
    """Creates and changes the people of a file: CSV with a head, or a JSON object a line.

    Columns are userId, type, validUntil, evalDaysLeft, deactivated and data; what else an export or GET
    /users shows is passed over. An empty cell leaves things as they are; null takes a validUntil or a
    deactivation away.

    A line that is wrong is named and left out, and the exit code is 1. An import that is interrupted goes on
    when the same command is typed again: FILE.admit-import keeps its place.
    """
    from admit.cli.user_import import import_file, try_file

    carry_out = try_file if dry_run else import_file
    done = carry_out(terminal, app, file, format_of_file(file, format))
    verb = "would be " if done.dry_run else ""
    terminal.out.one(
        done,
        [
            (f"{verb}created", str(done.created)),
            (f"{verb}changed", str(done.changed)),
            ("unchanged", str(done.unchanged)),
            (f"{verb}left out", str(done.refused)),
        ],
    )
    if done.refused:
        raise typer.Exit(1)


@command(users, "export", example="admit user export notes people.csv")
def export_users(
    terminal: Terminal,
    app: AppName,
    file: ExportFile = None,
    format: ExportFormat = None,
    yes: Yes = False,
) -> None:
    """Writes all people of an app as CSV, or as JSON lines: what `admit user import` reads.

    In CSV, a text that a spreadsheet would run as a formula is led by an apostrophe, which import takes away.
    """
    from admit.cli.user_export import export_file, export_to

    people = pages(terminal, app, {"sort": "userId"}, None)
    if file is None:
        export_to(sys.stdout, format or "jsonl", people)
        return
    number = export_file(file, format_to_write(terminal, file, format, yes=yes), people)
    terminal.out.done({"app": app, "file": str(file), "users": number}, f"{number} people are in {file}.")


def _limit_in(text: str) -> int | None:
    """The number of devices that `text` means: None as many as the app allows, 0 any number."""
    from admit.web.sessions_types import DEVICES_MAX_MAX

    if text == APP_LIMIT:
        return None
    if text == NO_LIMIT:
        return 0
    if text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= DEVICES_MAX_MAX:
        return int(text)
    raise Refusal(
        f"How many devices? A number from 1 to {DEVICES_MAX_MAX}, {NO_LIMIT} for no limit, or {APP_LIMIT}. "
        "To let somebody in on no device: admit user lock",
        2,
    )


def _devices_text(devices_max: int | None) -> str:
    match devices_max:
        case None:
            return "as many devices as the app allows"
        case 0:
            return "any number of devices"
        case 1:
            return "one device"
        case _:
            return f"{devices_max} devices"


def pages(
    terminal: Terminal, app: str, query: dict[str, str | None], limit: int | None
) -> Iterator["Person"]:
    """Everybody whom `query` finds, page by page as they are asked for, at most `limit`."""
    from admit.web.people_replies import People

    key: str | None = None
    left = limit
    while left is None or left > 0:
        size = PAGE_SIZE if left is None else min(left, PAGE_SIZE)
        where = target("apps", app, "users", **query, limit=size, paging_key=key)
        page = terminal.call("GET", where, None, People)
        yield from page.users
        if (key := page.paging_key) is None:
            return
        if left is not None:
            left -= len(page.users)
