"""admit task env: the variables that tasks are given, such as keys to other systems."""

import sys
from typing import Annotated

import typer

from admit.cli.command import AppName, Terminal, Yes, command, group
from admit.cli.connection import target
from admit.cli.output import Column
from admit.cli.task_run import tasks as tasks
from admit.cli.values import listed, moment

VALUE_CHARACTERS_MAX = 10_000

variables = group(
    "env",
    "Variables of tasks: keys to other systems, sealed, and shown to nobody.",
    example="admit task env set notes CRM_KEY < key.txt",
)
tasks.add_typer(variables)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name, such as CRM_KEY.", show_default=False)]


@command(variables, "set", example="admit task env set notes CRM_KEY < key.txt")
def set_variable(
    terminal: Terminal,
    app: AppName,
    name: Name,
    value: Annotated[
        str | None,
        typer.Argument(
            metavar="VALUE",
            help="What is no secret. Without it, the value is read from the standard input, so that nobody "
            "else on this machine sees it.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Sets a variable. A task is given those that its decorator names, from its next run on.

    The value is sealed with SECRET_KEY, and no command and no page ever shows it.
    """
    from admit.web.task_types import NewValue, Variable

    body = NewValue(value=_read(name) if value is None else value)
    kept = terminal.call("PUT", target("apps", app, "task-env", name), body, Variable)
    given = (
        f"It is given to {listed(kept.tasks)}."
        if kept.tasks
        else f'No task asks for it yet: say env=["{name}"] in its decorator.'
    )
    terminal.out.done(kept, f"{name} is set. {given}")


@command(variables, "list", example="admit task env list notes")
def list_variables(terminal: Terminal, app: AppName) -> None:
    """Lists the variables of an app, never their values."""
    from admit.web.task_types import Variable

    terminal.out.many(
        terminal.call("GET", target("apps", app, "task-env"), None, list[Variable]),
        [
            Column[Variable]("NAME", lambda variable: variable.name),
            Column("SET", lambda variable: moment(variable.changed_at)),
            Column("GIVEN TO", lambda variable: listed(variable.tasks, none="no task")),
        ],
        none=f"No variables. Set one: admit task env set {app} NAME < value.txt",
    )


@command(variables, "remove", example="admit task env remove notes CRM_KEY")
def remove(terminal: Terminal, app: AppName, name: Name, yes: Yes = False) -> None:
    """Forgets a variable. Tasks go on without it from their next run on."""
    terminal.confirm(f"The value of {name} is forgotten, and tasks that ask for it go without.", yes=yes)
    terminal.call("DELETE", target("apps", app, "task-env", name), None, type(None))
    terminal.out.done({"name": name, "removed": True}, f"{name} is removed.")


def _read(name: str) -> str:
    """What is typed or piped in, without the line break at its end."""
    if not sys.stdin.isatty():
        return sys.stdin.read(VALUE_CHARACTERS_MAX + 2).removesuffix("\n").removesuffix("\r")
    from getpass import getpass

    return getpass(f"{name} (it is not shown): ")
