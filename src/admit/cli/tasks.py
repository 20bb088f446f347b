"""admit task: the operator's own Python, which tasks there are and whether they run."""

from typing import TYPE_CHECKING, Annotated, assert_never

import typer

from admit.cli.command import AppName, Refusal, Terminal, command, group
from admit.cli.connection import target
from admit.cli.output import Column
from admit.cli.values import duration, listed, moment

if TYPE_CHECKING:
    from admit.cli.output import Facts
    from admit.task.declarations import Trigger
    from admit.web.task_types import CodeView, TaskDetails, TaskView

tasks = group(
    "task",
    "Tasks: your own Python at the door and behind it.",
    example="admit task list notes",
)

TaskName = Annotated[
    str, typer.Argument(metavar="TASK", help="The name of its function.", show_default=False)
]


@command(tasks, "list", example="admit task list notes")
def list_tasks(terminal: Terminal, app: AppName) -> None:
    """Lists the tasks of an app, and says why its code was not taken where it was not.

    One that is gone is declared no more; its runs and lines are kept.
    """
    from admit.web.task_types import TaskList, TaskView

    found = terminal.call("GET", target("apps", app, "tasks"), None, TaskList)
    terminal.out.many(
        found.tasks,
        [
            Column[TaskView]("TASK", lambda task: task.name),
            Column("RUNS", lambda task: when(task.trigger)),
            Column("STATE", lambda task: task.state),
            Column("LAST RUN", lambda task: _last(task)),
            Column("WHERE", lambda task: f"{task.file}:{task.line}"),
            Column("ABOUT", lambda task: task.about),
        ],
        none=f"No tasks. Put Python files into the folder {app} of the folder that ADMIT_TASKS names.",
    )
    if found.code is not None:
        for sentence in complaints(found.code):
            terminal.out.note(sentence)


@command(tasks, "show", example="admit task show notes welcome")
def show(terminal: Terminal, app: AppName, task: TaskName) -> None:
    """Shows a task: when it runs, within which limits, and with which variables."""
    from admit.web.task_types import TaskDetails

    found = terminal.call("GET", target("apps", app, "tasks", task), None, TaskDetails)
    terminal.out.one(found, _facts(found))
    for name in found.env_missing:
        terminal.out.note(f"{name} is not set. Set it with: admit task env set {app} {name} < value.txt")


@command(tasks, "pause", example="admit task pause notes welcome")
def pause(terminal: Terminal, app: AppName, task: TaskName) -> None:
    """Has the runs of a task wait, until it is resumed. What it is owed meanwhile is kept.

    Runs that are under way end. A decision task that is paused is asked no more: the policy's own rule for
    failures holds.
    """
    _set_state(terminal, app, task, "pause", "Its runs wait.")


@command(tasks, "resume", example="admit task resume notes welcome")
def resume(terminal: Terminal, app: AppName, task: TaskName) -> None:
    """Lets a task run again that was paused, beginning with what it is owed."""
    _set_state(terminal, app, task, "resume", "Its runs go on.")


@command(tasks, "reload", example="admit task reload")
def reload(terminal: Terminal) -> None:
    """Has every server read its folder of tasks anew.

    It ends with 1 where the code of an app was not taken; then the former one goes on. Other servers on the
    same database load their own folders, and say in their logs what became of it.
    """
    from admit.web.task_types import CodeView

    terminal.require_server()
    found = terminal.call("POST", target("tasks", "reload"), None, list[CodeView])
    terminal.out.many(
        found,
        [
            Column[CodeView]("APP", lambda code: code.app),
            Column("VERSION", lambda code: code.version[:12] or "none"),
            Column("TASKS", lambda code: listed(code.tasks)),
            Column("PROBLEMS", lambda code: str(len(code.problems))),
        ],
        none="The servers were asked to; what became of it is in their logs, and in `admit task list`.",
    )
    wrong = [sentence for code in found for sentence in complaints(code)]
    for sentence in wrong:
        terminal.out.note(sentence)
    if wrong:
        raise Refusal("What is wrong was not taken. Mend it, and reload once more.")


def complaints(code: "CodeView") -> list[str]:
    """Why the code of an app was not taken, each with its place."""
    former = " The former code goes on." if code.version else ""
    return [
        f"{_place(code.app, each.file, each.line)}: {each.message}{former}"
        + (f"\n{each.traceback.rstrip()}" if each.traceback else "")
        for each in code.problems
    ]


def _place(app: str, file: str, line: int) -> str:
    where = "/".join(part for part in (app, file) if part) or "TASKS"
    return f"{where}:{line}" if line else where


def when(trigger: "Trigger") -> str:
    """When a task runs, in a few words."""
    from admit.task.declarations import Called, Decides, Every, Http, On

    match trigger:
        case Decides():
            return "to decide"
        case On():
            once = "" if trigger.once == "enrollment" else f", once per {trigger.once}"
            return f"on {listed(trigger.types)}{once}"
        case Every():
            zone = "" if trigger.timezone == "UTC" else f" {trigger.timezone}"
            return f"at {trigger.cron}{zone}"
        case Http():
            return f"{' '.join(trigger.methods)} {trigger.path}"
        case Called():
            return "when called"
        case _:
            assert_never(trigger)


def _set_state(terminal: Terminal, app: str, task: str, verb: str, sentence: str) -> None:
    from admit.web.task_types import TaskView

    changed = terminal.call("POST", target("apps", app, "tasks", task, verb), None, TaskView)
    terminal.out.done(changed, f"{task} is {'paused' if changed.state == 'paused' else 'ready'}. {sentence}")


def _facts(task: "TaskDetails") -> "Facts":
    return [
        ("task", task.name),
        ("about", task.about),
        ("runs", when(task.trigger)),
        *_conditions(task),
        ("state", task.state),
        *([("next run", moment(task.next_at))] if task.next_at is not None else []),
        ("last run", _last(task)),
        ("where", f"{task.file}:{task.line}"),
        ("time limit", "the policy's" if task.kind == "decides" else duration(task.timeout_seconds)),
        ("tried again after", _retries(task)),
        ("at once", str(task.at_once)),
        ("variables", listed(task.env, none="none")),
        ("version", task.version[:12]),
        ("task id", task.id),
        ("since", moment(task.created_at)),
        ("changed", moment(task.changed_at)),
        *([("gone", moment(task.gone_at))] if task.gone_at is not None else []),
    ]


def _last(task: "TaskView") -> str:
    """When the last run was made, and its state."""
    run = task.last_run
    return "never" if run is None else f"{moment(run.created_at)} {run.state}"


def _conditions(task: "TaskView") -> "Facts":
    """The filter of a task that runs on events."""
    from admit.task.declarations import On

    if not isinstance(task.trigger, On):
        return []
    told = {
        "only users of type": listed(task.trigger.user_types),
        "only sign-ins by": listed(task.trigger.methods),
        "only emails at": listed(task.trigger.email_domains),
        "only where": listed(f"{path} = {value!r}" for path, value in task.trigger.equals),
    }
    return [(label, text) for label, text in told.items() if text]


def _retries(task: "TaskView") -> str:
    if task.kind in ("decides", "http"):
        return "never by itself"
    if task.retries_seconds is None:
        return "5s, 1m, 10m, 1h, 6h"
    return listed(map(duration, task.retries_seconds), none="never")
