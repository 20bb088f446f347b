"""What the tasks of an app must keep to be taken. Pure: declarations in, sentences out."""

import re
from collections.abc import Iterator, Sequence
from typing import assert_never, get_args

from admit.accounts.domains import parse_domain
from admit.errors import InvalidRequest
from admit.events import type_names
from admit.events.catalog import UserType
from admit.signin import proof
from admit.task.declarations import (
    AT_ONCE_MAX,
    BODY_BYTES_MAX,
    RETRIES_MAX,
    RETRY_SECONDS_MAX,
    TIMEOUT_SECONDS_MAX,
    Called,
    Decides,
    Declaration,
    Every,
    Http,
    On,
    Problem,
)
from admit.tasks import timetable
from admit.tasks.env import NAME as VARIABLE

TASKS_MAX = 500
VARIABLES_MAX = 50
TYPES_MAX = 100
VALUES_MAX = 100
EQUALS_MAX = 20
PATH_NAMES_MAX = 8
PATH_CHARACTERS_MAX = 200
TEXT_CHARACTERS_MAX = 500
LONG_AGO = 0

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_PATH = re.compile(r"/|(/[A-Za-z0-9][A-Za-z0-9._~-]*)+")
_USER_TYPES = frozenset(get_args(UserType))
_METHODS = frozenset(get_args(proof.Method)) | frozenset(get_args(proof.VisitMethod))


def faults_of(declared: Sequence[Declaration]) -> tuple[Problem, ...]:
    """Why `declared` cannot be the tasks of an app; () where they can. In the order of files and lines."""
    found = [
        Problem(file=each.file, line=each.line, message=message)
        for each in declared
        for message in _faults(each)
    ]
    found += _twice(declared)
    if len(declared) > TASKS_MAX:
        found.append(Problem(file="", line=0, message=f"An app has at most {TASKS_MAX} tasks."))
    return tuple(sorted(found, key=lambda each: (each.file, each.line)))


def _faults(task: Declaration) -> Iterator[str]:
    if not _NAME.fullmatch(task.name):
        yield (
            f"{task.name[:80]!r} cannot be the name of a task: small letters, digits and _, a letter first, "
            "63 characters at most."
        )
    if not 0 < task.timeout_seconds <= TIMEOUT_SECONDS_MAX:
        yield f"timeout= is more than 0 and at most {TIMEOUT_SECONDS_MAX:g} seconds."
    if not 1 <= task.at_once <= AT_ONCE_MAX:
        yield f"at_once= is a whole number from 1 to {AT_ONCE_MAX}."
    if len(task.env) > VARIABLES_MAX:
        yield f"env= has at most {VARIABLES_MAX} names."
    for name in task.env:
        if not VARIABLE.fullmatch(name):
            yield (
                f"{name[:80]!r} in env= is not the name of a variable: capitals, digits and _, such as "
                "CRM_TOKEN."
            )
    yield from _of_retries(task)
    match task.trigger:
        case On() as on:
            yield from _of_events(on)
        case Every() as every:
            yield from _of_times(every)
        case Http() as http:
            yield from _of_requests(http)
        case Decides() | Called():
            pass
        case _ as never:
            assert_never(never)


def _of_retries(task: Declaration) -> Iterator[str]:
    if not task.retries_seconds:
        return
    if isinstance(task.trigger, Decides):
        yield "A task that decides has no retries=: somebody waits, and the policy says how long."
    elif isinstance(task.trigger, Http):
        yield "A task that answers requests has no retries=: it runs once, and whoever asks may ask again."
    if len(task.retries_seconds) > RETRIES_MAX:
        yield f"retries= has at most {RETRIES_MAX} pauses."
    if not all(0 <= each <= RETRY_SECONDS_MAX for each in task.retries_seconds):  # NaN lies nowhere
        yield f"Each pause in retries= is from 0 to {RETRY_SECONDS_MAX:,.0f} seconds."


def _of_events(on: On) -> Iterator[str]:
    if not 1 <= len(on.types) <= TYPES_MAX:
        yield 'Name the events to run after, such as @task.on("user.enrolled").'
    for type_ in on.types:
        try:
            type_names.check(type_)
        except InvalidRequest as error:
            yield error.message
    yield from _of_words("user_types", on.user_types, _USER_TYPES)
    yield from _of_words("methods", on.methods, _METHODS)
    if len(on.email_domains) > VALUES_MAX:
        yield f"email_domains= has at most {VALUES_MAX} values."
    for domain in on.email_domains:
        try:
            normal = parse_domain(domain.strip())
        except InvalidRequest as error:
            yield f"email_domains=: {error.message}"
        else:
            if normal != domain:
                yield f"{domain[:80]!r} in email_domains= is written {normal!r}."
    if len(on.equals) > EQUALS_MAX:
        yield f"equals= has at most {EQUALS_MAX} conditions."
    for path, value in on.equals:
        if not 1 <= len(path.split(".")) <= PATH_NAMES_MAX or not all(path.split(".")):
            yield (
                f"{path[:80]!r} in equals= is not a path: 1 to {PATH_NAMES_MAX} names with dots between, "
                "such as user.data.plan."
            )
        if isinstance(value, str) and len(value) > TEXT_CHARACTERS_MAX:
            yield f"A text in equals= has at most {TEXT_CHARACTERS_MAX} characters."


def _of_words(name: str, words: Sequence[str], known: frozenset[str]) -> Iterator[str]:
    for each in words:
        if each not in known:
            yield f"{name}= knows {', '.join(sorted(known))}, and not {each[:80]!r}."


def _of_times(every: Every) -> Iterator[str]:
    try:
        timetable.next_after(every.cron, every.timezone, LONG_AGO)
    except timetable.CannotTell as error:
        yield str(error)


def _of_requests(http: Http) -> Iterator[str]:
    if len(http.path) > PATH_CHARACTERS_MAX or not _PATH.fullmatch(http.path):
        yield (
            f"{http.path[:80]!r} cannot be the path of a task: it begins with / and has letters, digits and "
            "-._~ between slashes, such as /welcome."
        )
    if not http.methods:
        yield 'methods= names at least one verb, such as ["POST"].'
    if not 0 <= http.body_bytes_max <= BODY_BYTES_MAX:
        yield f"A body has at most {BODY_BYTES_MAX:,} bytes."


def _twice(declared: Sequence[Declaration]) -> Iterator[Problem]:
    """What two tasks claim that only one can have: a name, or the same requests."""
    names: dict[str, Declaration] = {}
    doors: dict[tuple[str, str], Declaration] = {}
    for task in sorted(declared, key=lambda each: (each.file, each.line)):
        if (other := names.setdefault(task.name, task)) is not task:
            yield _problem(task, f"There is a task {task.name!r} already, in {_place(other)}.")
        if isinstance(task.trigger, Http):
            for verb in dict.fromkeys(task.trigger.methods):
                if (other := doors.setdefault((task.trigger.path, verb), task)) is not task:
                    path = task.trigger.path
                    yield _problem(task, f"{other.name!r} in {_place(other)} answers {verb} {path} already.")


def _problem(task: Declaration, message: str) -> Problem:
    return Problem(file=task.file, line=task.line, message=message)


def _place(task: Declaration) -> str:
    return f"{task.file}:{task.line}"
