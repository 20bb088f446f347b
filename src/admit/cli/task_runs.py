"""admit task runs, inspect, cancel, retry: what became of each run of a task."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from admit.cli.command import AppName, Terminal, command, duration_option
from admit.cli.connection import target
from admit.cli.output import Column
from admit.cli.tasks import tasks
from admit.cli.values import listed, moment, shown_json

if TYPE_CHECKING:
    from admit.web.task_types import RunAttempt, RunView

PAGE_SIZE = 200
RESULT_CHARACTERS = 200

State = Literal["waiting", "blocked", "running", "done", "failed", "cancelled"]
RunId = Annotated[str, typer.Argument(metavar="RUN_ID", help="Its id.", show_default=False)]
Task = Annotated[str | None, typer.Argument(metavar="TASK", help="Only of this task.", show_default=False)]


@command(tasks, "runs", example="admit task runs notes welcome --state failed")
def list_runs(
    terminal: Terminal,
    app: AppName,
    task: Task = None,
    state: Annotated[State | None, typer.Option(help="Only those in this state.", show_default=False)] = None,
    user: Annotated[
        str | None,
        typer.Option(metavar="USER", help="Only about this person, a userId or a uid.", show_default=False),
    ] = None,
    about: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Only about this event, admission, session, or device:IDENTIFIER.",
            show_default=False,
        ),
    ] = None,
    since: Annotated[
        float | None, duration_option("Only those that were made since then, such as 2h.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many.")] = 100,
) -> None:
    """Lists runs, the newest first.

    A blocked one waits for an earlier run of the same task for the same person.
    """
    query: dict[str, str | int | None] = {"task": task, "state": state, "user": user, "about": about}
    query["since_seconds"] = None if since is None else round(since)
    terminal.out.many(
        _pages(terminal, app, query, limit),
        [
            Column["RunView"]("MADE", lambda run: moment(run.created_at)),
            Column("TASK", lambda run: run.task),
            Column("STATE", lambda run: run.state),
            Column("TRIES", lambda run: str(run.attempts)),
            Column("NEXT", lambda run: moment(run.next_at)),
            Column("RUN ID", lambda run: run.id),
            Column("LAST OUTCOME", lambda run: run.detail),
        ],
        none=f"No runs. `admit task list {app}` shows the tasks.",
    )


@command(tasks, "inspect", example="admit task inspect notes run_a47f")
def inspect(terminal: Terminal, app: AppName, run_id: RunId) -> None:
    """Shows a run: what it is about, and what each attempt has come to.

    What it has said is in `admit task logs APP --run RUN_ID`.
    """
    from admit.web.task_types import RunHistory

    run = terminal.call("GET", target("apps", app, "runs", run_id), None, RunHistory)
    terminal.out.one(
        run,
        [
            ("run id", run.id),
            ("task", run.task),
            ("state", run.state),
            ("user", run.user_id or ""),
            ("uid", run.uid or ""),
            ("about", listed(run.about)),
            (
                "given",
                "" if run.parameters is None else shown_json(msgspec.json.encode(run.parameters).decode()),
            ),
            ("for the time", moment(run.scheduled_at)),
            ("called by", run.by),
            ("queue", run.queue),
            ("next try", moment(run.next_at)),
            ("made", moment(run.created_at)),
            ("ended", moment(run.finished_at)),
            *((f"attempt {each.attempt}", in_words(each)) for each in run.history),
        ],
    )
    last = run.history[-1].traceback.rstrip() if run.history else ""
    for line in last.split("\n") if last else ():
        terminal.out.further(line)


@command(tasks, "cancel", example="admit task cancel notes run_a47f")
def cancel(terminal: Terminal, app: AppName, run_id: RunId) -> None:
    """Ends a run that waits or is under way.

    Nothing that it wanted to change is changed. Requests that it has sent are sent.
    """
    _ask(terminal, app, run_id, "cancel")


@command(tasks, "retry", example="admit task retry notes run_a47f")
def retry(terminal: Terminal, app: AppName, run_id: RunId) -> None:
    """Runs again what has ended, or at once what waits for its time.

    It is the same run: its attempts are kept, requests carry the same keys, and it has its whole schedule
    before it once more.
    """
    _ask(terminal, app, run_id, "retry")


def in_words(attempt: "RunAttempt") -> str:
    """An attempt on a line."""
    result = f" {attempt.result[:RESULT_CHARACTERS]}" if attempt.result not in ("", "null") else ""
    detail = attempt.detail or attempt.outcome
    return f"{moment(attempt.started_at)}, {attempt.duration_ms} ms: {detail}{result}"


def _ask(terminal: Terminal, app: str, run_id: str, verb: str) -> None:
    from admit.web.task_types import RunHistory

    run: RunHistory = terminal.call("POST", target("apps", app, "runs", run_id, verb), None, RunHistory)
    terminal.out.done(run, f"{run.id} is {run.state}. `admit task inspect {app} {run.id}` tells more.")


def _pages(
    terminal: Terminal, app: str, query: dict[str, str | int | None], limit: int
) -> Iterator["RunView"]:
    """However many pages are empty on the way."""
    from admit.web.task_types import RunPage

    before: str | None = None
    while limit > 0:
        where = target("apps", app, "runs", **query, limit=min(limit, PAGE_SIZE), before=before)
        page = terminal.call("GET", where, None, RunPage)
        yield from page.runs
        limit -= len(page.runs)
        if (before := page.before) is None:
            return
