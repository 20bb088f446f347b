"""admit model: the data model of an app, whose web hooks fire for what is written."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from admit.cli.command import AppName, Refusal, Terminal, Yes, command, group, register_plain
from admit.cli.connection import target
from admit.cli.output import say
from admit.cli.values import listed, moment

if TYPE_CHECKING:
    from admit.cli.output import Facts
    from admit.web.model_types import HookView, ModelView

models = group(
    "model",
    "The data model of an app: what its objects look like, and the web hooks that fire for them.",
    example="admit model set notes model.toml",
)

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="The data model, in TOML; `-`: the standard input.", show_default=False
    ),
]


@register_plain(models, "check", example="admit model check model.toml")
def check(file: File) -> None:
    """Reads a data model and says all that is wrong with it. It needs no server.

    On success it says which web hooks there are.
    """
    from admit.data import model_file
    from admit.data.model_file import ModelRefused

    try:
        model = model_file.read(_text(file))
    except ModelRefused as refused:
        for each in refused.problems:
            say(f"{file}:{each.line}: {each.message}" if each.line else f"{file}: {each.message}")
        raise typer.Exit(1) from None
    hooks = [hook.name for _, hook in model.hooks()]
    print(f"{file} is a data model. Models: {listed([each.name for each in model.models], none='none')}.")
    print(f"Web hooks: {listed(hooks, none='none')}.")


@command(models, "set", example="admit model set notes model.toml")
def set_model(terminal: Terminal, app: AppName, file: File) -> None:
    """Makes a file the data model of an app. What is written from then on fires its web hooks.

    Objects that are there already fire when they are next saved. A web hook for an endpoint is silent until
    there is one: admit endpoint create APP URL --hook NAME
    """
    from admit.web.model_types import ModelView, NewModel

    made = terminal.call("PUT", target("apps", app, "model"), NewModel(source=_text(file)), ModelView)
    terminal.out.one(made, _facts(made))
    for hook in made.hooks:
        if hook.task and not hook.task_declared:
            terminal.out.note(
                f"{hook.name} waits: no code of {app} declares {hook.task} with @task.called yet."
            )


@command(models, "show", example="admit model show notes")
def show(
    terminal: Terminal,
    app: AppName,
    source: Annotated[bool, typer.Option("--source", help="Show the TOML, as it was set.")] = False,
) -> None:
    """Shows the models of an app, and where its web hooks lead."""
    from admit.web.model_types import ModelView

    shown = terminal.call("GET", target("apps", app, "model"), None, ModelView)
    if not shown.version:
        raise Refusal(f"{app} has no data model. Set one: admit model set {app} model.toml")
    if source:
        sys.stdout.write(shown.source)
    else:
        terminal.out.one(shown, _facts(shown))


@command(models, "rotate-key", example="admit model rotate-key notes")
def rotate_key(terminal: Terminal, app: AppName, yes: Yes = False) -> None:
    """Gives an app a new RSA key for X-Journey-Signature-Rsa-Sha256.

    It is published at once, and signs ten minutes later; the former one is published for another day.
    """
    terminal.confirm(
        f"Receivers that know the present RSA key of {app} by heart refuse requests in ten minutes.", yes=yes
    )
    terminal.call("POST", target("apps", app, "model", "key"), None, type(None))
    terminal.out.done({"rotated": True}, f"The new key is at /{app}/.well-known/webhook-keys.json.")


def _text(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Refusal(f"{file} cannot be read: {reason}.", 2) from None


def _facts(shown: "ModelView") -> "Facts":
    facts = [("models", listed(shown.models, none="none")), ("set", moment(shown.changed_at))]
    return [*facts, *((hook.name, _story(hook)) for hook in shown.hooks)]


def _story(hook: "HookView") -> str:
    needs = f" when {listed(hook.required)} is there" if hook.required else ""
    if hook.task:
        told = f"starts {hook.task}" + ("" if hook.task_declared else ", which is not declared")
    else:
        told = f"tells {listed(hook.endpoints)}" if hook.endpoints else "tells nobody yet"
    return f"{hook.type} of {hook.model}{needs}: {told}"
