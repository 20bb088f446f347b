"""admit task run: a run that somebody asks for, followed until it ends, or tried without effects."""

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from admit.cli.command import AppName, Refusal, Terminal, command, duration_option
from admit.cli.connection import target
from admit.cli.task_logs import LATEST, Lines, tell
from admit.cli.tasks import TaskName
from admit.cli.tasks import tasks as tasks
from admit.cli.values import moment, shown_json

if TYPE_CHECKING:
    from admit.web.task_types import LineView, NewRehearsal, Rehearsed, RunHistory, RunView, WouldChange

INPUT_CHARACTERS_MAX = 1_100_000
LOOK_SECONDS = 0.5
FINISHED = ("done", "failed", "cancelled")
STDIN = "-"


Given = Annotated[
    str | None,
    typer.Argument(
        metavar="JSON",
        help="What it is given, a JSON object; `-` reads it from the standard input.",
        show_default=False,
    ),
]
Event = Annotated[
    str | None,
    typer.Option(
        metavar="EVENT_ID|TYPE",
        help="The event that it is given; with --test also an example of a type.",
        show_default=False,
    ),
]
At = Annotated[
    datetime | None, typer.Option(metavar="TIME", help="Begin at this time, UTC.", show_default=False)
]
Queue = Annotated[
    str | None,
    typer.Option(metavar="QUEUE", help="In a queue, where runs never overlap.", show_default=False),
]


@command(tasks, "run", example="""admit task run notes remind '{"days": 3}'""")
def run_task(
    terminal: Terminal,
    app: AppName,
    task: TaskName,
    given: Given = None,
    test: Annotated[
        bool, typer.Option("--test", help="Show what it would do: nothing is kept, and nothing is sent.")
    ] = False,
    event: Event = None,
    after: Annotated[float | None, duration_option("Begin after so long, such as 5s.")] = None,
    at: At = None,
    queue: Queue = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait for its end.")] = False,
) -> None:
    """Runs a task, shows what it says while it runs, and what it returns. It ends with 1 where it fails.

    \b
      admit task run notes remind '{"days": 3}'
      admit task run notes remind '{"days": 3}' --after 5m --queue mails --no-wait
      admit task run notes welcome --test                          an example of its event
      admit task run notes door --test '{"email": "a@example.com", "claims": {"groups": ["staff"]}}'
      admit task run notes hello --test '{"method": "POST", "json": {"name": "Ada"}}'

    A task that decides or answers requests can only be tried, with --test. A test shows what the task says,
    and the changes, calls and requests that would have been. Instead of an answer from elsewhere the task
    gets an error.
    """
    parameters = _object(given)
    if test:
        _rehearse(terminal, app, task, parameters, event)
        return
    from admit.web.task_types import NewRun, RunView

    waits = not (no_wait or after or at)
    if waits:
        terminal.require_server()
    body = NewRun(parameters=parameters, event=event, after_seconds=after or 0, at=_ms(at), queue=queue)
    lines = Lines(terminal, app, cursor=LATEST)
    if waits:
        lines.page()
    made = terminal.call("POST", target("apps", app, "tasks", task, "runs"), body, RunView)
    if not waits:
        due = f"is due at {moment(made.next_at)}" if after or at else "is on its way"
        terminal.out.done(made, f"{made.id} {due}. `admit task inspect {app} {made.id}` tells its outcome.")
        return
    _follow(terminal, app, made, Lines(terminal, app, cursor=lines.cursor, run=made.id))


class Outcome(msgspec.Struct, frozen=True):
    """A run that has ended, and what it has said."""

    run: Any
    lines: list[Any]


def _follow(terminal: Terminal, app: str, made: "RunView", lines: Lines) -> None:
    """Shows what a run says until it has ended, and how. Ctrl-C leaves it going."""
    from admit.web.task_types import RunHistory

    said: list[LineView] = []
    told_attempts = 0
    try:
        while True:
            run = terminal.call("GET", target("apps", app, "runs", made.id), None, RunHistory)
            page = lines.page(wait=0 if run.state in FINISHED else LOOK_SECONDS)
            said += page.lines
            if not terminal.out.json:
                for line in page.lines:
                    tell(terminal, line, whose=False)
            if run.state in FINISHED and not page.more:
                break
            if run.state == "waiting" and run.attempts > told_attempts:
                told_attempts = run.attempts
                again = f"Trying again at {moment(run.next_at)}; Ctrl-C leaves it to that."
                terminal.out.note(f"Attempt {run.attempts}: {run.detail} {again}")
    except KeyboardInterrupt:
        raise Refusal(f"{made.id} goes on. `admit task cancel {app} {made.id}` ends it.", 130) from None
    _tell_end(terminal, run, said)


def _tell_end(terminal: Terminal, run: "RunHistory", said: "list[LineView]") -> None:
    if run.state == "done":
        result = run.history[-1].result if run.history else ""
        terminal.out.done(Outcome(run, said), result or "null")
        return
    if terminal.out.json:
        terminal.out.done(Outcome(run, said), "")
    raise Refusal(f"{run.id} is {run.state}. {run.detail}")


def _rehearse(
    terminal: Terminal, app: str, task: str, parameters: dict[str, Any] | None, event: str | None
) -> None:
    from admit.web.task_types import Rehearsed, TaskDetails

    kind = terminal.call("GET", target("apps", app, "tasks", task), None, TaskDetails).kind
    body = _rehearsal(kind, parameters, event)
    done = terminal.call("POST", target("apps", app, "tasks", task, "rehearsals"), body, Rehearsed)
    if terminal.out.json:
        terminal.out.done(done, "")
    else:
        _tell_rehearsed(terminal, done)
    if done.error:
        raise Refusal(f"It {_ending(done.outcome)}: {done.error}")


def _rehearsal(kind: str, parameters: dict[str, Any] | None, event: str | None) -> "NewRehearsal":
    """What is given, under the name that belongs to the kind of the task."""
    from admit.web.task_types import NewRehearsal, RehearsedDecision, RehearsedRequest

    try:
        match kind:
            case "decides":
                return NewRehearsal(decision=msgspec.convert(parameters or {}, RehearsedDecision))
            case "http":
                return NewRehearsal(request=msgspec.convert(parameters or {}, RehearsedRequest))
            case "on":
                is_type = event is not None and "." in event
                return NewRehearsal(event=None if is_type else event, type=event if is_type else None)
            case "every":
                return NewRehearsal()
            case _:
                return NewRehearsal(parameters=parameters or {})
    except msgspec.ValidationError as error:
        raise typer.BadParameter(f"What it is given is not as it should be: {error}") from None


def _tell_rehearsed(terminal: Terminal, done: "Rehearsed") -> None:
    for line in done.lines:
        tell(terminal, line, whose=False)
    facts = [
        *(("would change", _change(each)) for each in done.changes),
        *(("would call", f"{each.task} {_json(each.parameters)}") for each in done.calls),
        *(("would send", f"{each.method} {each.url}") for each in done.requests),
        ("returned", "nothing: it failed" if done.error else _json(done.result)),
        ("took", f"{done.duration_ms} ms; nothing of it was kept"),
    ]
    terminal.out.one(done, facts)
    for text in done.traceback.rstrip().split("\n") if done.traceback else ():
        terminal.out.further(text)


def _change(change: "WouldChange") -> str:
    what = change.what.replace("_", " ")
    whose = change.user_id or change.session_id or f"{change.table} {change.key} in {change.realm}"
    entry = {name: value for name, value in change.entry.items() if name != "userId"}
    return f"{what} {whose}" + (f" {_json(entry)}" if entry else "")


def _ending(outcome: str) -> str:
    return {"timeout": "took too long", "memory": "took too much memory", "crashed": "crashed"}.get(
        outcome, "failed"
    )


def _json(value: Any) -> str:
    return shown_json(msgspec.json.encode(value).decode())


def _object(given: str | None) -> dict[str, Any] | None:
    """The JSON object that was typed, or piped in. Raises BadParameter."""
    text = sys.stdin.read(INPUT_CHARACTERS_MAX) if given == STDIN else given
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise typer.BadParameter(
            f"What it is given is no JSON object: {error}. Example: '{{\"days\": 3}}'"
        ) from None


def _ms(at: datetime | None) -> int | None:
    from datetime import UTC

    return None if at is None else round(at.replace(tzinfo=at.tzinfo or UTC).timestamp() * 1_000)
