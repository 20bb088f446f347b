"""admit task logs: what runs have said, and what they say now."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from admit.cli.command import AppName, Terminal, command
from admit.cli.connection import target
from admit.cli.task_runs import Task
from admit.cli.tasks import tasks
from admit.cli.values import shown_json

if TYPE_CHECKING:
    from admit.web.task_types import LinePage, LineView

PAGE_LINES = 500
LATEST = "latest"
BEGINNING = "beginning"

Level = Literal["debug", "info", "warning", "error"]


class Lines:
    """What runs of an app say from `cursor` on: a cursor, "beginning" or "latest". None: whatever it is."""

    def __init__(
        self,
        terminal: Terminal,
        app: str,
        *,
        cursor: str,
        task: str | None = None,
        run: str | None = None,
        level: str | None = None,
        search: str | None = None,
    ) -> None:
        self.cursor = cursor
        self._terminal = terminal
        self._app = app
        self._query = {"task": task, "run": run, "level": level, "search": search}

    def page(self, wait: float = 0) -> "LinePage":
        """The next page; it goes on behind it. `wait` seconds at most where there is none yet."""
        from admit.web.task_types import LinePage

        waits = None if not wait else f"{wait:g}"
        where = target(
            "apps", self._app, "lines", **self._query, after=self.cursor, limit=PAGE_LINES, wait=waits
        )
        page = self._terminal.call("GET", where, None, LinePage)
        self.cursor = page.cursor
        return page

    def last(self, number: int) -> "LinePage":
        """The newest `number` lines, the oldest of them first; it goes on behind them."""
        from admit.web.task_types import LinePage

        where = target("apps", self._app, "lines", **self._query, last=number)
        page = self._terminal.call("GET", where, None, LinePage)
        self.cursor = page.cursor
        return page

    def kept(self) -> Iterator["LineView"]:
        """What there is by now."""
        while True:
            page = self.page()
            yield from page.lines
            if not page.more:
                return


@command(tasks, "logs", example="admit task logs notes welcome --follow")
def logs(
    terminal: Terminal,
    app: AppName,
    task: Task = None,
    run: Annotated[
        str | None, typer.Option(metavar="RUN_ID", help="Only of this run.", show_default=False)
    ] = None,
    level: Annotated[
        Level | None, typer.Option(help="Only lines of this level or worse.", show_default=False)
    ] = None,
    search: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only lines that hold this text.", show_default=False)
    ] = None,
    last: Annotated[
        int, typer.Option(metavar="N", min=0, max=1_000, help="How many of the newest lines.")
    ] = 100,
    after: Annotated[
        str | None,
        typer.Option(
            metavar="CURSOR",
            help="Instead of the newest, all that lie behind this cursor; `beginning` is one, too.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="And what is said from now on, until Ctrl-C.")
    ] = False,
) -> None:
    """Shows what tasks have said: their log lines, what they print, and their errors with file and line.

    Followed, a server that goes away for a while is waited for, and nothing is missed. With --json, each
    line is one of JSON.
    """
    if follow:
        terminal.require_server()
    lines = Lines(terminal, app, cursor=after or LATEST, task=task, run=run, level=level, search=search)
    if after is not None:
        _tell_all(terminal, lines.kept())
    elif last:
        _tell_all(terminal, lines.last(last).lines)
    else:
        lines.page()
    if not follow:
        return
    from admit.cli.following import persistently

    if sys.stderr.isatty():
        terminal.out.note(f"Waiting for lines of {task or app}. Ctrl-C ends this.")
    for page in persistently(lines.page):
        _tell_all(terminal, page.lines)


def tell(terminal: Terminal, line: "LineView", *, whose: bool = True) -> None:
    """Shows a line of a run. `whose`: with the task and the id of the run in front."""
    from admit.clock import iso_date

    first, *further = line.text.split("\n")
    cells = [iso_date(line.at), f"{line.level:<7}", *([line.task, line.run] if whose else []), first]
    if line.fields:
        cells.append(_fields(line))
    terminal.out.next(line, cells)
    for text in further:
        terminal.out.further(text)


def _tell_all(terminal: Terminal, lines: "Iterator[LineView] | list[LineView]") -> None:
    for line in lines:
        tell(terminal, line)


def _fields(line: "LineView") -> str:
    """`plan="team" seats=3`."""
    import msgspec

    return " ".join(
        f"{name}={shown_json(msgspec.json.encode(value).decode())}" for name, value in line.fields.items()
    )
