"""Finds the tasks in the code of an app, or says with file and line why it cannot be taken."""

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from admit.task.declarations import Declaration, Problem
from admit.task.decorators import Mark, mark_of
from admit.task.environment import Masking
from admit.task.importing import KEPT_NAMES, Sources, import_module
from admit.task.running import raised, relative
from admit.task.wire import Source

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_DEF = re.compile(r"\s*(async\s+)?def\s")
_NO_MASKING = Masking({})


class Found(msgspec.Struct, frozen=True):
    """A task: what it says of itself, and what to call."""

    declaration: Declaration
    mark: Mark
    function: Callable[[Any], object]


def examine(folder: str, sources: Sequence[Source]) -> tuple[dict[str, Found], tuple[Problem, ...]]:
    """Imports the code and returns its tasks by name, and what is wrong with it, by file and line."""
    finder = Sources(folder, sources)
    problems = [problem for source in sources if (problem := _fault_of_path(source.path)) is not None]
    if not problems:
        finder.install()
        problems += _imported(finder)
    tasks: dict[str, Found] = {}
    for found in _tasks_of(finder):
        told = found.declaration
        if (sentence := _fault_of(found)) is not None:
            problems.append(Problem(file=told.file, line=told.line, message=sentence))
        elif (other := tasks.setdefault(told.name, found)) is not found:
            problems.append(_twice(told, f"{other.declaration.file}:{other.declaration.line}"))
    once = {(each.file, each.line, each.message): each for each in problems}
    return tasks, tuple(once[key] for key in sorted(once))


def _imported(finder: Sources) -> list[Problem]:
    problems = []
    for name, path in finder.modules:
        try:
            import_module(name)
        except BaseException as error:  # whatever it is, the code cannot be taken
            problems.append(_problem_of(error, path, finder.folder))
    return problems


def _problem_of(error: BaseException, path: str, folder: str) -> Problem:
    told = raised(error, _NO_MASKING, folder)
    message = f"{told.error}: {told.message}" if told.message else told.error
    if isinstance(error, SyntaxError) and error.filename:
        file, line = relative(error.filename, folder), error.lineno or 0
        return Problem(file=file, line=line, message=f"{told.error}: {error.msg}", traceback=told.traceback)
    file, _, number = told.place.rpartition(":")
    return Problem(file=file or path, line=int(number or 0), message=message, traceback=told.traceback)


def _tasks_of(finder: Sources) -> list[Found]:
    """Every function of these modules that a decorator has marked."""
    found = []
    for name, module in finder.own():
        for value in list(vars(module).values()):
            mark = mark_of(value)
            if mark is None or not callable(value) or getattr(value, "__module__", "") != name:
                continue
            declaration = replace(
                mark.declaration,
                file=relative(mark.declaration.file, finder.folder),
                line=_line_of(finder.get_source(name), mark.declaration.line),
            )
            found.append(Found(declaration, mark, value))
    unique = {id(each.function): each for each in found}
    return sorted(unique.values(), key=lambda each: (each.declaration.file, each.declaration.line))


def _line_of(text: str, first: int) -> int:
    """The line of the def behind decorators that begin at line `first`."""
    lines = text.splitlines()
    return next((at for at in range(first, len(lines) + 1) if _DEF.match(lines[at - 1])), first)


def _fault_of(found: Found) -> str | None:
    """Why the function cannot be a task; None where it can."""
    name, function = found.declaration.name, inspect.unwrap(found.function)
    if not NAME.fullmatch(name):
        return f"{name!r} is no name for a task: small letters, digits and _, at most 63, a letter first."
    if found.mark.shadows:
        return f"There is another task {name} in this file, at line {found.mark.shadows}."
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return f"{name} is an async def. Tasks are plain functions: write def {name}(context)."
    if inspect.isgeneratorfunction(function):
        return f"{name} has a yield, so that calling it does nothing. Tasks are plain functions."
    authenticate = found.mark.authenticate
    if inspect.iscoroutinefunction(authenticate):
        return f"authenticate of {name} is an async def. Write a plain function."
    for each, what in ((found.function, name), (authenticate, f"authenticate of {name}")):
        if each is not None and not _takes_one(each):
            return f"{what} is called with one argument, its context."
    return None


def _takes_one(function: Callable[..., object]) -> bool:
    try:
        inspect.signature(function).bind(object())
    except (TypeError, ValueError):
        return False
    return True


def _twice(told: Declaration, place: str) -> Problem:
    message = f"There is another task {told.name}, at {place}. Names are unique in an app."
    return Problem(file=told.file, line=told.line, message=message)


def _fault_of_path(path: str) -> Problem | None:
    """Why no module can have this path; None where one can."""
    parts = path.removesuffix(".py").split("/")
    top = parts[0]
    if wrong := [part for part in parts if not part.isidentifier()]:
        sentence = f"{wrong[0]!r} is no name for a module of Python: letters, digits and _, no digit first."
    elif top in sys.stdlib_module_names or top in KEPT_NAMES:
        sentence = f"{top} is the name of a module that others need. Rename it."
    else:
        return None
    return Problem(file=path, line=0, message=sentence)
