"""Writes docs/tasks.md from the kit of operators: its signatures, docstrings and limits."""

import ast
import inspect
from collections.abc import Iterator, Mapping
from types import ModuleType

from admit.task import (
    access,
    calls,
    contexts,
    db,
    declarations,
    decorators,
    environment,
    event_parts,
    fetching,
    log,
    payloads,
    people,
    responses,
    running,
    stage,
    synced,
    verdicts,
)
from admit.testing import apps, clocks, outside, residents
from admit.testing import contexts as made_up

INTRODUCTION = """\
# Tasks

What files of tasks can say and ask for: `from admit import task`. The [guide](guides/tasks.md) begins with an
empty folder; this page has all names. Programs read the schemas of what tasks are given and return at
`/schemas`.

A file can be type-checked as it is: `mypy --strict` knows every context, and that a decision returns a
verdict.
"""
Part = tuple[ModuleType, tuple[str, ...]]
SECTIONS: Mapping[str, tuple[str, tuple[Part, ...]]] = {
    "Decorators": (
        "Each makes a function at the top of a file a task, under the function's own name. The function "
        "takes one argument, its context. It stays as it is, so that tests call it.",
        ((decorators, ("decides", "on", "every", "http", "called", "Limits")),),
    ),
    "What a task is given": (
        "Every context has what `Context` has.",
        (
            (
                contexts,
                (
                    "Context",
                    "AppName",
                    "ThisRun",
                    "DecisionContext",
                    "EventContext",
                    "Happened",
                    "ScheduleContext",
                    "RequestContext",
                    "CallContext",
                ),
            ),
            (payloads, ("SignedIn", "AskedDevice", "Caller")),
            (
                event_parts,
                ("Person", "Device", "Session", "SignIn", "Identity", "DecidedAs", "Endpoint", "EventType"),
            ),
        ),
    ),
    "`context.env` and `context.log`": ("", ((environment, ("Env",)), (log, ("Log",)))),
    "`context.http`": ("", ((fetching, ("Http", "Reply", "HttpError")), (stage, ("NotAnswered",)))),
    "`context.db`": (
        "What was read once stays as it was for the run, with the task's own writes over it. Writes are "
        "committed with the end of the run, all of them or none. Where what was read has changed meanwhile, "
        "nothing is written, and the run is tried again.",
        (
            (db, ("Db", "Users", "Devices", "Sessions")),
            (people, ("User", "KnownDevice", "KnownSession")),
            (synced, ("Table", "TableObject")),
        ),
    ),
    "What a decision returns": ("", ((verdicts, ("admit", "refuse", "Admitted", "Refused", "Verdict")),)),
    "What an HTTP task returns": ("", ((responses, ("response", "Response", "BadRequest")),)),
    "Who may call an HTTP task": (
        "",
        ((access, ("Authenticate", "anybody", "signed_in", "bearer", "Bearer")),),
    ),
    "Testing": (
        "`from admit import testing` gives contexts as the server does, for plain pytest. Nothing leaves the "
        "process, and nothing is kept.",
        (
            (made_up, ("decision", "event", "schedule", "request", "call", "answer", "Around")),
            (clocks, ("Clock",)),
            (outside, ("Http", "Sent")),
            (apps, ("App",)),
            (residents, ("user", "device", "session")),
        ),
    ),
}
INNER = {
    "Context.effects",
    "EventContext.told",
    "EventContext.body",
    "Log.say",
    "Log.close",
    "Http.answer",
    "App.answer",
}
"""Members that are none of a task's business."""
LIMITS: tuple[tuple[str, object], ...] = (
    ("seconds of a run, unless `timeout` says otherwise", declarations.TIMEOUT_SECONDS),
    ("seconds of a run, at most", declarations.TIMEOUT_SECONDS_MAX),
    ("runs of a task at once, unless `at_once` says otherwise", declarations.AT_ONCE),
    ("bytes of a result", running.RESULT_BYTES_MAX),
    ("bytes of parameters", calls.PARAMETERS_BYTES_MAX),
    ("calls of a run", calls.CALLS_MAX),
    ("bytes of all that a run writes and calls", running.EFFECTS_BYTES_MAX),
    ("bytes of a request's body", declarations.BODY_BYTES_MAX),
    ("bytes of what is sent to the outside", fetching.BODY_BYTES_MAX),
    ("characters of a line of the log", log.LINE_CHARACTERS_MAX),
    ("lines of a run", log.LINES_MAX),
    ("bytes of a run's lines", log.LINES_BYTES_MAX),
    ("bytes of a user's data", verdicts.USER_DATA_BYTES_MAX),
    ("characters from which on the value of a variable is masked", environment.MASKED_CHARACTERS_MIN),
)


def page() -> str:
    """The text of docs/tasks.md, but for the line that says so."""
    sections = [_section(title, told, parts) for title, (told, parts) in SECTIONS.items()]
    limits = "".join(f"| {what} | {value:,} |\n" for what, value in LIMITS)
    return f"{INTRODUCTION}\n{''.join(sections)}## Limits\n\n| | |\n|---|---|\n{limits}"


def _section(title: str, told: str, parts: tuple[Part, ...]) -> str:
    prefix = "testing." if title == "Testing" else ""
    names = "".join(_name(module, name, prefix) for module, some in parts for name in some)
    return f"## {title}\n\n{told}{chr(10) * 2 if told else ''}{names}"


def _name(module: ModuleType, name: str, prefix: str) -> str:
    """A class, function or alias: what it says of itself, and its members."""
    found = [each for each in _tree(module).body if name in _names_of(each)]
    match found[-1]:
        case ast.ClassDef() as node:
            members = "".join(_members(node, module))
            return f"### `{prefix}{name}`\n\n{_text(node)}\n{members and chr(10)}{members}\n"
        case ast.FunctionDef() as node:
            told = found[-2] if len(found) > 1 else node  # the overload that has options
            assert isinstance(told, ast.FunctionDef)
            return f"### `{prefix}{name}`\n\n`{_signature(told, prefix + name, module)}`\n\n{_text(node)}\n\n"
        case ast.Assign(value=value):
            meant = ", ".join(_words(value)) or f"`{ast.unparse(value)}`"
            return f"### `{prefix}{name}`\n\n{meant}\n\n"
    raise LookupError(name)


def _members(node: ast.ClassDef, module: ModuleType) -> Iterator[str]:
    for each in node.body:
        match each:
            case ast.AnnAssign(target=ast.Name(id=name)) if f"{node.name}.{name}" not in INNER:
                yield f"- `{name}: {ast.unparse(each.annotation)}`\n"
            case ast.FunctionDef(name=name) if name[0] != "_" and f"{node.name}.{name}" not in INNER:
                is_property = any(ast.unparse(one) == "property" for one in each.decorator_list)
                shown = f"{name}: {_returned(each)}" if is_property else _signature(each, name, module)
                yield f"- `{shown}`. {_flowing(ast.get_docstring(each) or '')}\n"


def _signature(node: ast.FunctionDef, name: str, module: ModuleType) -> str:
    """How it is called, with the values of defaults, and without self."""
    arguments = node.args
    for defaults in (arguments.defaults, arguments.kw_defaults):
        for at, default in enumerate(defaults):
            if isinstance(default, ast.Name) and isinstance(
                value := getattr(module, default.id, None), int | float | str
            ):
                defaults[at] = ast.Constant(value)
    text = ast.unparse(arguments).removeprefix("self, ").removeprefix("self")
    returned = _returned(node)
    arrow = "" if returned in ("None", "") or "Callable" in returned else f" -> {returned}"
    return f"{name}({text.replace('msgspec.UNSET', 'UNSET')}){arrow}"


def _returned(node: ast.FunctionDef) -> str:
    return "" if node.returns is None else ast.unparse(node.returns).replace("'", "")


def _names_of(node: ast.stmt) -> list[str]:
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
            return [name]
        case ast.Assign(targets=[ast.Name(id=name)]):
            return [name]
    return []


def _words(node: ast.expr) -> list[str]:
    """The words of a Literal."""
    return [f"`{each.value!s}`" for each in ast.walk(node) if isinstance(each, ast.Constant)]


def _text(node: ast.ClassDef | ast.FunctionDef) -> str:
    return "\n\n".join(map(_flowing, (ast.get_docstring(node) or "").split("\n\n")))


def _flowing(text: str) -> str:
    return " ".join(text.split()).replace("<", "\\<")


def _tree(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))
