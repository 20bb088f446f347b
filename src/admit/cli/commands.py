"""`admit`: all commands under one name, and how each of them ends."""

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from admit.cli import (
    admissions,
    changes,
    clients,
    deliveries,
    devices,
    endpoint_figures,
    enrollments,
    events,
    hosts,
    listen,
    mails,
    models,
    notices,
    objects,
    operators,
    origins,
    overview,
    owners,
    policy_tests,
    providers,
    server,
    sessions,
    settings,
    tables,
    task_env,
    tokens,
    user_timeline,
)
from admit.cli.command import help_text
from admit.cli.failures import Exit, failure_of
from admit.cli.output import say

STDOUT = 1

NOUNS = (
    overview.apps,  # those of apps.py, and its own
    clients.clients,
    origins.origins,
    hosts.hosts,
    owners.owners,
    policy_tests.policies,  # those of policies.py, and its own
    providers.providers,
    settings.settings,
    user_timeline.users,  # those of users.py and identities.py, and its own
    devices.devices,
    sessions.sessions,
    enrollments.enrollments,
    admissions.admissions,
    tokens.tokens,
    operators.operators,
    changes.changes,
    mails.mails,
    tables.tables,
    objects.objects,
    models.models,
    notices.notices,
    endpoint_figures.endpoints,  # those of endpoints.py and campaigns.py, and its own
    deliveries.deliveries,
    events.events,
    task_env.tasks,  # those of tasks.py and the other task_….py, and its own
)


def main() -> None:
    """Runs the command of sys.argv and ends the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs one command and returns its exit code; what goes wrong is said on stderr."""
    try:
        code = root().main(arguments, prog_name="admit", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_gone()
    except SystemExit as ended:  # how typer answers a broken pipe inside a command
        if not isinstance(ended.__context__, BrokenPipeError):
            raise
        return _reader_gone()
    except typer.Abort:
        say("Nothing was changed.")
        return Exit.FAILED
    except typer.TyperException as error:
        return _usage(error)
    except (Exception, KeyboardInterrupt) as error:
        failure = failure_of(error)
        if failure.bug:
            import traceback

            traceback.print_exception(error)
        say(failure.sentence)
        return failure.exit_code
    return code if isinstance(code, int) else Exit.OK


def _reader_gone() -> int:
    """Nobody reads on, as behind `| head`. Without this Python would complain once more while it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
    return Exit.READER_GONE


def root() -> Any:
    """The tree of all commands."""
    tree = typer.Typer(
        name="admit",
        cls=Root,
        help=help_text(_EXAMPLE, _STORY),
        no_args_is_help=True,
        rich_markup_mode=None,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    tree.callback()(_options)
    server.register(tree)
    listen.register(tree)
    for noun in NOUNS:
        tree.add_typer(noun)
    return get_command(tree)


class Root(TyperGroup):
    """`admit` itself: its help ends with what the exit codes mean."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), text) for code, text in EXIT_CODES])


EXIT_CODES = (
    (Exit.OK, "Done."),
    (Exit.FAILED, "Refused or failed; the sentence on stderr says why."),
    (Exit.USAGE, "The command or a setting is wrong."),
    (Exit.NOT_FOUND, "There is no such app, user, session, client, token, endpoint or provider."),
    (Exit.CANNOT_REACH, "The server or the database cannot be reached."),
    (Exit.INTERRUPTED, "Interrupted from the keyboard."),
    (Exit.READER_GONE, "Who read the output went away."),
)

_EXAMPLE = "admit app create notes --owner ada@example.com\nadmit serve"
_STORY = "Runs Admit and everything in it. `admit NOUN --help` lists what can be done with a noun."


def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda wanted: _tell_version(wanted),
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None: ...


def _tell_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"admit {version('admit')}")
        raise typer.Exit


def _usage(error: typer.TyperException) -> int:
    """Says what is wrong with the command line, and where to read on."""
    message = error.format_message().replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(message, file=sys.stderr)
        return Exit.USAGE
    hint = f" `{context.command_path} --help` shows how it is used." if context is not None else ""
    say((message if message.endswith(("?", ".")) else message + ".") + hint)
    return Exit.USAGE
