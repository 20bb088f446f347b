"""admit change: what operators changed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from admit import clock
from admit.cli.command import Terminal, command, duration_option, group
from admit.cli.connection import target
from admit.cli.output import Column
from admit.cli.values import moment

if TYPE_CHECKING:
    from admit.web.changes_api import ChangeView

changes = group(
    "change",
    "Changes: what operators changed in the Manager, by commands and by programs with a token.",
    example="admit change list notes --since 7d",
)

PAGE_SIZE = 200
SUCCESS = range(200, 400)


@command(changes, "list", example="admit change list notes --who noor@example.com --since 7d")
def list_changes(
    terminal: Terminal,
    app: Annotated[
        str | None,
        typer.Argument(metavar="[APP]", help="Only in this app. Without it, everywhere.", show_default=False),
    ] = None,
    who: Annotated[
        str,
        typer.Option(
            metavar="WHO",
            help="Only by this operator or token: an email, a label, or an id such as opr_… or opt_….",
            show_default=False,
        ),
    ] = "",
    since: Annotated[float | None, duration_option("Only of the time since, from now, e.g. 7d.")] = None,
    search: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            help="Only where the path holds this, such as endpoints or the id of a person.",
            show_default=False,
        ),
    ] = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many.")] = 100,
) -> None:
    """Lists what operators changed or tried to change, the newest first."""
    query = {
        "who": who or None,
        "since": None if since is None else clock.now() - round(since * clock.SECOND_MS),
        "search": search or None,
    }
    terminal.out.many(
        _pages(terminal, app, query, limit),
        [
            Column["ChangeView"]("AT", lambda change: moment(change.at)),
            Column("WHO", lambda change: change.who),
            Column("APP", lambda change: change.app or ""),
            Column("WHAT", lambda change: change.summary),
            Column("PATH", lambda change: f"{change.method} {change.path}"),
            Column("OUTCOME", outcome),
            Column("CHANGE", lambda change: change.change_id),
        ],
        none="No operator has changed anything yet.",
    )


@command(changes, "show", example="admit change show chg_7k3m")
def show(
    terminal: Terminal,
    change_id: Annotated[
        str, typer.Argument(metavar="CHANGE", help="The id of the change.", show_default=False)
    ],
) -> None:
    """Shows a change with what was asked, and what there was before and after."""
    from admit.web.changes_api import ChangeDetails

    change = terminal.call("GET", target("changes", change_id), None, ChangeDetails)
    terminal.out.one(
        change,
        [
            ("change", change.change_id),
            ("at", moment(change.at)),
            ("who", f"{change.who} ({change.who_kind} {change.who_id})"),
            ("address", change.address),
            ("app", change.app or "none"),
            ("what", change.summary),
            ("path", f"{change.method} {change.path}"),
            ("outcome", outcome(change)),
            ("query", _json(change.query)),
            ("asked", _json(change.asked)),
            ("before", _json(change.before)),
            ("after", _json(change.after)),
        ],
    )


def outcome(change: "ChangeView") -> str:
    """How it came out, in a word."""
    if change.status is None:
        return "unknown"
    if change.status not in SUCCESS:
        return f"refused: {change.code}" if change.status < 500 else f"failed: {change.code}"
    return "tested" if change.kind == "test" else "done"


def _json(value: object) -> str:
    return "" if value is None else msgspec.json.encode(value).decode()


def _pages(
    terminal: Terminal, app: str | None, query: dict[str, str | int | None], limit: int
) -> Iterator["ChangeView"]:
    from admit.web.changes_api import ChangePage

    place = ("changes",) if app is None else ("apps", app, "changes")
    before: str | None = None
    while limit > 0:
        where = target(*place, **query, limit=min(limit, PAGE_SIZE), before=before)
        page = terminal.call("GET", where, None, ChangePage)
        yield from page.changes
        limit -= len(page.changes)
        if (before := page.before) is None:
            return
