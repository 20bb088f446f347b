"""The decorators that make a function a task. The function stays as it is, and can be called in tests."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict, TypeVar, Unpack, overload

import msgspec

from admit.task.access import Authenticate, Bearer
from admit.task.contexts import CallContext, DecisionContext, EventContext, RequestContext, ScheduleContext
from admit.task.declarations import (
    AT_ONCE,
    BODY_BYTES_MAX,
    TIMEOUT_SECONDS,
    Called,
    Decides,
    Declaration,
    Every,
    Http,
    On,
    Once,
    Scalar,
    Trigger,
    Verb,
)
from admit.task.event_parts import EventType
from admit.task.verdicts import Verdict

MARK = "__admit_task__"
"""The attribute by which a function is known as a task."""


class Limits(TypedDict, total=False):
    """What every task can say of itself.

    `timeout`: seconds after which a run is ended. `retries`: seconds between attempts; () for one attempt.
    `at_once`: so many runs at the same time. `env`: the variables that it is given.
    """

    timeout: float
    retries: Sequence[float]
    at_once: int
    env: Sequence[str]


class Mark(msgspec.Struct, frozen=True):
    """What the decorator has said of a function. `shadows`: the line of another task in its file that has had
    its name before, 0: none."""

    declaration: Declaration
    authenticate: Authenticate | None = None
    shadows: int = 0


Decide = TypeVar("Decide", bound=Callable[[DecisionContext], Verdict])
React = TypeVar("React", bound=Callable[[EventContext], object])
Work = TypeVar("Work", bound=Callable[[ScheduleContext], object])
Answer = TypeVar("Answer", bound=Callable[[RequestContext], object])
Serve = TypeVar("Serve", bound=Callable[[CallContext], object])
Function = TypeVar("Function", bound=Callable[..., object])


@overload
def decides(function: Decide, /) -> Decide: ...
@overload
def decides(*, env: Sequence[str] = (), at_once: int = AT_ONCE) -> Callable[[Decide], Decide]: ...
def decides(
    function: Callable[..., object] | None = None,
    /,
    *,
    env: Sequence[str] = (),
    at_once: int = AT_ONCE,
) -> Any:
    """Makes a task that a policy may name: it returns admit(…) or refuse(…). Its time is the policy's."""
    decorate = _declaring(Decides(), {"env": env, "at_once": at_once})
    return decorate if function is None else decorate(function)


def on(
    *types: EventType,
    once: Once = "enrollment",
    user_types: Sequence[str] = (),
    methods: Sequence[str] = (),
    email_domains: Sequence[str] = (),
    equals: Mapping[str, Scalar] | None = None,
    **limits: Unpack[Limits],
) -> Callable[[React], React]:
    """Makes a task that runs after events of `types`, in the order of each person.

    `once`: at most once for each user, device, or enrollment. Of the filters, each that is given must hold:
    one of `user_types`, sign-in `methods` and `email_domains`; `equals` compares members of the event's data,
    by dotted path, such as {"user.data.plan": "team"}.
    """
    return _declaring(
        On(
            types=tuple(types),
            once=once,
            user_types=_texts(user_types),
            methods=_texts(methods),
            email_domains=_texts(email_domains),
            equals=tuple((equals or {}).items()),
        ),
        limits,
    )


def every(cron: str, *, timezone: str = "UTC", **limits: Unpack[Limits]) -> Callable[[Work], Work]:
    """Makes a task that runs at the times of a cron expression of five fields, such as "0 7 * * *".

    Its runs never overlap. `timezone` is a name such as Europe/Berlin.
    """
    return _declaring(Every(cron=cron, timezone=timezone), {"at_once": 1, **limits})


def http(
    path: str,
    *,
    authenticate: Authenticate,
    methods: Sequence[Verb] = ("POST",),
    body_bytes_max: int = BODY_BYTES_MAX,
    **limits: Unpack[Limits],
) -> Callable[[Answer], Answer]:
    """Makes a task that answers requests to PUBLIC_URL/<app>/tasks<path>.

    `authenticate` is asked first and must return True, else the answer is 401: `anybody`, `signed_in`,
    `bearer("NAME")`, or a function of your own. The task returns None (204), a text, what can be written as
    JSON, or response(…).
    """
    if isinstance(authenticate, Bearer):
        limits["env"] = (*_texts(limits.get("env", ())), authenticate.name)
    trigger = Http(path=path, methods=_verbs(methods), body_bytes_max=body_bytes_max)
    return _declaring(trigger, limits, authenticate)


@overload
def called(function: Serve, /) -> Serve: ...
@overload
def called(**limits: Unpack[Limits]) -> Callable[[Serve], Serve]: ...
def called(function: Callable[..., object] | None = None, /, **limits: Unpack[Limits]) -> Any:
    """Makes a task that runs when it is called by its name: by an operator, or by `context.call(…)`."""
    decorate = _declaring(Called(), limits)
    return decorate if function is None else decorate(function)


def mark_of(function: object) -> Mark | None:
    """What a decorator has said of `function`; None where it is no task."""
    mark = getattr(function, MARK, None)
    return mark if isinstance(mark, Mark) else None


def _declaring(
    trigger: Trigger, limits: Limits, authenticate: Authenticate | None = None
) -> Callable[[Function], Function]:
    """The decorator. Raises TypeError for what cannot be a task, or is of the wrong type."""
    if unknown := sorted(limits.keys() - Limits.__annotations__.keys()):
        raise TypeError(f"A task has no option {unknown[0]!r}. There are timeout, retries, at_once and env.")

    def decorate(function: Function) -> Function:
        written = inspect.unwrap(function)
        if not inspect.isfunction(written):
            raise TypeError(f"A task is a function, not {type(function).__name__}.")
        if written.__qualname__ != written.__name__:
            raise TypeError(
                f"{written.__qualname__} is inside something. A task stands at the top of a file."
            )
        if mark_of(function) is not None:
            raise TypeError(f"{written.__name__} has two decorators of tasks. Write a function for each.")
        declaration = _declaration_of(written, trigger, limits)
        earlier = mark_of(written.__globals__.get(written.__name__))
        shadowed = earlier is not None and earlier.declaration.file == declaration.file
        line = earlier.declaration.line if earlier is not None and shadowed else 0
        setattr(function, MARK, Mark(declaration, authenticate, 0 if line == declaration.line else line))
        return function

    return decorate


def _declaration_of(function: Any, trigger: Trigger, limits: Limits) -> Declaration:
    retries = limits.get("retries")
    declaration = Declaration(
        name=function.__name__,
        trigger=trigger,
        file=function.__code__.co_filename,
        line=function.__code__.co_firstlineno,
        about=(inspect.getdoc(function) or "").partition("\n")[0],
        timeout_seconds=limits.get("timeout", TIMEOUT_SECONDS),
        retries_seconds=None if retries is None else tuple(retries),
        at_once=limits.get("at_once", AT_ONCE),
        env=tuple(dict.fromkeys(_texts(limits.get("env", ())))),
    )
    try:
        return msgspec.convert(msgspec.to_builtins(declaration), Declaration)
    except msgspec.ValidationError as error:
        raise TypeError(f"The decorator of {declaration.name} is not as it should be: {error}") from None


def _texts(given: Sequence[str]) -> tuple[str, ...]:
    """`given`, where one text stands for itself, not for its letters."""
    return (given,) if isinstance(given, str) else tuple(given)


def _verbs(given: Sequence[Verb] | Literal["GET", "POST", "PUT", "PATCH", "DELETE"]) -> tuple[Verb, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
