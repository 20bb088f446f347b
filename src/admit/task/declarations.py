"""What a decorator says of a task: when it runs, and within which limits. Values only; the server checks them
with `fault_of`, so that a folder is taken as a whole or not at all."""

from typing import Literal

import msgspec

Kind = Literal["decides", "on", "every", "http", "called"]
Once = Literal["user", "device", "enrollment"]
Verb = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Scalar = str | int | float | bool | None

TIMEOUT_SECONDS = 60.0
TIMEOUT_SECONDS_MAX = 300.0
AT_ONCE = 16
AT_ONCE_MAX = 64
RETRIES_MAX = 20
RETRY_SECONDS_MAX = 7 * 86_400.0
BODY_BYTES_MAX = 5_000_000


class Decides(msgspec.Struct, frozen=True, tag="decides"):
    """A policy may name it; it says who may come in. Its time is the policy's, not its own."""


class On(msgspec.Struct, frozen=True, kw_only=True, tag="on"):
    """Runs after events of `types`, in the order of each person. `once` and the filters as for endpoints."""

    types: tuple[str, ...]
    once: Once = "enrollment"
    user_types: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    email_domains: tuple[str, ...] = ()
    equals: tuple[tuple[str, Scalar], ...] = ()  # dotted path in the event's data, such as user.data.plan


class Every(msgspec.Struct, frozen=True, kw_only=True, tag="every"):
    """Runs at the times of a cron expression of five fields. `timezone` is a name of the IANA database."""

    cron: str
    timezone: str = "UTC"


class Http(msgspec.Struct, frozen=True, kw_only=True, tag="http"):
    """Answers requests to PUBLIC_URL/<app>/tasks<path>. `body_bytes_max`: a larger body is refused."""

    path: str
    methods: tuple[Verb, ...] = ("POST",)
    body_bytes_max: int = BODY_BYTES_MAX


class Called(msgspec.Struct, frozen=True, tag="called"):
    """Runs when it is called by its name: by an operator, or by another task."""


Trigger = Decides | On | Every | Http | Called


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """One task. `file` is relative to the folder of the app, `line` that of the function.

    `retries_seconds`: the pauses between attempts; None is the server's own schedule, () means one attempt.
    `env`: the names of the variables that it is given, and no others. `at_once`: so many runs of it at the
    same time, over all servers.
    """

    name: str
    trigger: Trigger
    file: str
    line: int
    about: str = ""  # the first line of its docstring
    timeout_seconds: float = TIMEOUT_SECONDS
    retries_seconds: tuple[float, ...] | None = None
    at_once: int = AT_ONCE
    env: tuple[str, ...] = ()


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why the code of an app cannot be taken. `file` is relative to its folder; `line` 0: of no line."""

    file: str
    line: int
    message: str
    traceback: str = ""


def kind_of(trigger: Trigger) -> Kind:
    """The word for a trigger in tables, answers and commands."""
    kind: Kind = type(trigger).__struct_config__.tag  # type: ignore[assignment]
    return kind
