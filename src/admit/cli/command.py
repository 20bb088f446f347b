"""What every command has in common: its options, its help, its way to the API, its question before harm."""

import inspect
import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import unquote

import msgspec
import typer
from typer.core import TyperCommand

from admit.cli.connection import Api, Rejection, target
from admit.cli.output import Output, say
from admit.cli.reach import Reach, connect
from admit.cli.values import parse_duration, shown

P = ParamSpec("P")
T = TypeVar("T")

REACH_PANEL = "Where to work"

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
AppName = Annotated[str, typer.Argument(metavar="APP", help="The name of the app.", show_default=False)]


class Refusal(Exception):
    """The command stops before it did anything: `exit_code`, and a sentence for stderr."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


class Terminal:
    """What a command works with: the admin API, the output, and the person in front of it."""

    def __init__(self, reach: Reach, *, json: bool) -> None:
        self.out = Output(json=json)
        self._reach = reach
        self._api: Api | None = None

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._api is not None:
            self._api.close()

    def call(self, method: str, where: str, body: msgspec.Struct | None, reply_type: type[T]) -> T:
        """Asks the admin API, which is connected at the first call. See `Api.call`."""
        api = self._connected()
        try:
            return api.call(method, where, body, reply_type)
        except Rejection as error:
            if error.code != "app_not_found":
                raise
            first, _, rest = where.partition("/")
            in_path = first in ("apps", "v4")  # the admin API and the Sessions API
            name = unquote(rest.partition("/")[0]) if in_path else str(getattr(body, "app", ""))
            raise Rejection(
                error.status, error.code, f"There is no app {name!r}. {self._similar(name)}"
            ) from None

    @property
    def alone(self) -> bool:
        """Whether nothing can happen while the command runs: it has the SQLite file itself."""
        return self._connected().alone

    def require_server(self) -> None:
        """Raises Refusal where nothing can happen while the command runs."""
        if self.alone:
            raise Refusal("No server is running here, so nothing happens. Start one: admit serve")

    def _connected(self) -> Api:
        if self._api is None:
            self._api = connect(self._reach, os.environ)
            if self._api.news:
                say(self._api.news)
        return self._api

    def _similar(self, name: str) -> str:
        """Which app may have been meant by `name`, in a sentence."""
        from difflib import get_close_matches

        try:
            known = (
                [app.name for app in self._api.call("GET", target("apps"), None, list[_Named])]
                if self._api
                else []
            )
        except Rejection:
            known = []  # a token for one app may not list the others
        near = get_close_matches(name, known, n=3, cutoff=0.5)
        return (
            f"Is {' or '.join(map(repr, near))} meant?" if near else "`admit app list` shows those there are."
        )

    def confirm(self, consequence: str, *, yes: bool) -> None:
        """Tells the consequence and asks, unless `yes`. Raises Refusal when the answer is not yes."""
        if yes:
            return
        if not sys.stdin.isatty():
            raise Refusal(f"{consequence} Nobody is here to ask: add --yes to go ahead.", 2)
        # typer.confirm would write a part of its question to stdout, where the answer goes.
        print(f"{shown(consequence)} Go ahead? [y/N]: ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Refusal("Nothing was changed.")


class Command(TyperCommand):
    """A verb. The options that all commands share stand last in its help, apart from its own."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        names = [_argument(each) for each in self.get_params(ctx) if each.param_type_name == "argument"]
        return [*names, "[OPTIONS]"]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": [], REACH_PANEL: []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            if parameter.param_type_name == "argument":
                sections["Arguments"].append((_argument(parameter), record[1].replace("  [required]", "")))
            else:
                sections[getattr(parameter, "rich_help_panel", None) or "Options"].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def group(name: str, summary: str, *, example: str) -> typer.Typer:
    """A noun, `name`, whose commands are registered with `command`."""
    return typer.Typer(
        name=name,
        help=help_text(example, summary),
        short_help=summary,
        no_args_is_help=True,
        rich_markup_mode=None,
        add_completion=False,
    )


def command(
    noun: typer.Typer, verb: str, *, example: str, makes_database: bool = False
) -> Callable[[Callable[Concatenate[Terminal, P], None]], Callable[Concatenate[Terminal, P], None]]:
    """Registers a function of a Terminal and its own parameters as the command `noun verb`.

    It gets the options that all commands have. Its help is the example, then its docstring.
    """

    def register(
        function: Callable[Concatenate[Terminal, P], None],
    ) -> Callable[Concatenate[Terminal, P], None]:
        carry_out: Callable[..., None] = function

        def run(**arguments: Any) -> None:
            reach = Reach(
                url=arguments.pop("url"),
                token=arguments.pop("token"),
                database=arguments.pop("database"),
                makes_database=makes_database,
            )
            with Terminal(reach, json=arguments.pop("json")) as terminal:
                carry_out(terminal, **arguments)

        _take_parameters(run, function, [JSON, *REACH])
        register_plain(noun, verb, example=example)(run)
        return function

    return register


def register_plain(
    noun: typer.Typer, verb: str, *, example: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a command that does not speak to the admin API, with its own parameters only."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        story = inspect.cleandoc(function.__doc__ or "")
        summary = story.split("\n\n")[0].replace("\n", " ")
        noun.command(verb, cls=Command, help=help_text(example, story), short_help=summary)(function)
        return function

    return register


def help_text(example: str, story: str) -> str:
    """What a help page says: the example, as it is typed, and then the story."""
    typed = "\n".join("  " + line for line in example.splitlines())
    return f"\b\n{typed}\n\n{story}"


class _Named(msgspec.Struct, frozen=True):
    name: str


def _take_parameters(
    run: Callable[..., None],
    function: Callable[..., None],
    shared: list[inspect.Parameter],
) -> None:
    """Gives `run` the name, the docstring and the parameters of `function`, and the shared ones."""
    own = list(inspect.signature(function).parameters.values())[1:]
    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in [*own, *shared]]
    run.__name__ = function.__name__
    run.__doc__ = function.__doc__
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]


def _argument(parameter: Any) -> str:
    """`APP`, `[NAME]` or `[VALUE]...`, as usage lines have it."""
    name: str = parameter.metavar or parameter.name.upper()
    return name if parameter.required else f"[{name}]" + ("..." if parameter.nargs != 1 else "")


def _shared(name: str, annotation: Any, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


JSON = _shared("json", Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")], False)
REACH = (
    _shared(
        "database",
        Annotated[
            str | None,
            typer.Option(
                metavar="URL",
                help="The database, sqlite:///FILE or postgresql://…; ADMIT_DATABASE_URL by default.",
                rich_help_panel=REACH_PANEL,
            ),
        ],
        None,
    ),
    _shared(
        "url",
        Annotated[
            str | None,
            typer.Option(
                metavar="URL",
                envvar="ADMIT_URL",
                show_envvar=False,
                help="A server elsewhere; ADMIT_URL by default.",
                rich_help_panel=REACH_PANEL,
            ),
        ],
        None,
    ),
    _shared(
        "token",
        Annotated[
            str | None,
            typer.Option(
                metavar="TOKEN",
                envvar="ADMIT_TOKEN",
                show_envvar=False,
                help="The token for that server; ADMIT_TOKEN by default, which others on this machine "
                "cannot see.",
                rich_help_panel=REACH_PANEL,
            ),
        ],
        None,
    ),
)


def duration_option(help_text: str) -> Any:
    """An option such as `5s` or `1500ms`, given to the command in seconds."""
    return typer.Option(parser=_parse_duration, metavar="DURATION", help=help_text, show_default=False)


def _parse_duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
