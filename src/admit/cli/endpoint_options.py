"""What can be chosen for an endpoint on the command line, and how it is read."""

import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import typer
from msgspec import UNSET, UnsetType

from admit.cli.command import Refusal
from admit.cli.values import parse_duration, parse_list

if TYPE_CHECKING:
    from admit.events.change_filters import ChangeFilter
    from admit.events.subscriptions import Equal, Filter

Format = Literal["thin", "full", "dexie", "journeyapps"]
Once = Literal["user", "device", "enrollment"]

DEFAULT = "default"
EVERY = "*"

EndpointId = Annotated[
    str, typer.Argument(metavar="ENDPOINT_ID", help="The endpoint's id.", show_default=False)
]
Url = Annotated[str, typer.Argument(metavar="URL", help="Where it listens, by https.", show_default=False)]
NewUrl = Annotated[
    str | None, typer.Option("--to", metavar="URL", help="Where it listens now.", show_default=False)
]
Description = Annotated[
    str | None, typer.Option(metavar="TEXT", help="What it is, in one line.", show_default=False)
]
Events = Annotated[
    str | None,
    typer.Option(
        metavar="TYPE,…",
        help="Of what it is told, such as user.enrolled,user.deleted; `*` is everything, the default.",
        show_default=False,
    ),
]
OnceOption = Annotated[
    Once | None,
    typer.Option(
        help="Of enrollments: it is told once per user, once per user and device, or of every one "
        "(enrollment, the default).",
        show_default=False,
    ),
]
Full = Annotated[
    bool | None,
    typer.Option(
        "--full/--thin",
        help="With email, name and data of the person, or without, the default.",
        show_default=False,
    ),
]
FormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help="How it is told. dexie: of changed objects, as Dexie Cloud's web hooks are, and of nothing "
        "else; many at once, with the secret in X-DexieCloud-Token. It stays as it was made.",
        show_default=False,
    ),
]
Hook = Annotated[
    str | None,
    typer.Option(
        "--hook",
        metavar="NAME",
        help="A web hook of the data model, told as JourneyApps would: the format journeyapps.",
        show_default=False,
    ),
]
ChangeFilters = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="TABLE[:OPERATION,…[:PROPERTY,…]]",
        help="Only changes of objects such as todos:upsert,update:title,done; `*` is every table or "
        "operation. As often as you like: one is enough.",
        show_default=False,
    ),
]
UserTypes = Annotated[
    str | None,
    typer.Option(
        "--user-type", metavar="TYPE,…", help="Only of users of a type: eval, prod, demo.", show_default=False
    ),
]
Methods = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="METHOD,…",
        help="Only of sign-ins by a method, such as email_code.",
        show_default=False,
    ),
]
EmailDomains = Annotated[
    str | None,
    typer.Option(
        "--email-domain", metavar="DOMAIN,…", help="Only of people with an email there.", show_default=False
    ),
]
Equals = Annotated[
    list[str] | None,
    typer.Option(
        "--equals",
        metavar="PATH=VALUE",
        help="Only where a member of the event's data has a value, such as user.data.plan=team. The value is "
        "read as JSON where it is JSON. As often as you like: all must hold.",
        show_default=False,
    ),
]
Headers = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        metavar="'NAME: VALUE'",
        help="A header of your own on every request, as often as you like. `-` reads them from the standard "
        "input, one a line, so that nobody else on this machine sees them.",
        show_default=False,
    ),
]
Retry = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION,…",
        help="The pauses between attempts, such as 5s,5m,2h; `default` is nine over about three days.",
        show_default=False,
    ),
]
AtOnce = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        help="At most so many requests at once, to 32; 0: as many as it bears.",
        show_default=False,
    ),
]
PerMinute = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=0, help="At most so many requests a minute; 0: no limit.", show_default=False
    ),
]
Ed25519 = Annotated[
    bool,
    typer.Option(
        "--ed25519",
        help="Sign with a key pair (v1a), of which receivers get the public half, not with a shared secret.",
    ),
]
OwnSecret = Annotated[
    str | None,
    typer.Option(
        "--secret",
        metavar="SECRET",
        help="One of your own (whsec_… or whsk_…). `-` reads it from the standard input, so that nobody else "
        "on this machine sees it.",
        show_default=False,
    ),
]


def settings_of(
    *,
    events: str | None,
    once: Once | None,
    full: bool | None,
    format_: Format | None,
    hook: str | None,
    description: str | None,
    filter_: "Filter | UnsetType",
    headers: list[str] | None,
    retry: str | None,
    at_once: int | None,
    per_minute: int | None,
) -> dict[str, Any]:
    """What was given, as the API names it."""
    if full is not None:
        if format_ is not None:
            raise Refusal("--full and --thin are formats: give one of them, or --format.", 2)
        format_ = "full" if full else "thin"
    given = {
        "events": UNSET if events is None else parse_list(events),
        "once": UNSET if once is None else once,
        "format": UNSET if format_ is None else format_,
        "hook": UNSET if hook is None else hook,
        "description": UNSET if description is None else description,
        "filter": filter_,
        "headers": UNSET if headers is None else _headers(headers),
        "retry_delays": UNSET if retry is None else _delays(retry),
        "at_once_max": UNSET if at_once is None else at_once or None,
        "per_minute": UNSET if per_minute is None else per_minute or None,
    }
    return {name: value for name, value in given.items() if value is not UNSET}


def filter_of(
    user_types: str | None,
    methods: str | None,
    email_domains: str | None,
    equals: list[str] | None,
    changes: list[str] | None,
) -> "Filter | UnsetType":
    """The conditions that were given; UNSET: none were."""
    from admit.events.subscriptions import Filter

    if (user_types, methods, email_domains) == (None, None, None) and not equals and not changes:
        return UNSET
    return Filter(
        user_types=parse_list(user_types or ""),
        methods=parse_list(methods or ""),
        email_domains=parse_list(email_domains or ""),
        equals=tuple(map(_equal, equals or ())),
        changes=tuple(map(_change_filter, changes or ())),
    )


def everybody() -> "Filter":
    """The filter without conditions."""
    from admit.events.subscriptions import Filter

    return Filter()


def _equal(text: str) -> "Equal":
    from admit.events.subscriptions import Equal, Scalar

    path, equals, value = text.partition("=")
    if not equals or not all(path.split(".")):
        raise Refusal(f"{text!r} is no condition. Write it like user.data.plan=team", 2)
    try:
        read: Scalar = msgspec.json.decode(value, type=Scalar)
    except (msgspec.MsgspecError, UnicodeError):
        read = value
    return Equal(path=tuple(path.split(".")), value=read)


def _change_filter(text: str) -> "ChangeFilter":
    from admit.events.change_filters import ChangeFilter

    table, _, rest = text.partition(":")
    operations, _, properties = rest.partition(":")
    given = {
        "table": "" if table == EVERY else table,
        "operations": () if operations == EVERY else parse_list(operations),
        "properties": parse_list(properties),
    }
    try:
        return msgspec.convert(given, ChangeFilter)
    except msgspec.ValidationError:
        raise Refusal(
            f"{text!r} is no filter. Write it like todos:upsert,update:title,done; operations are upsert, "
            "update and delete.",
            2,
        ) from None


def _headers(given: list[str]) -> dict[str, str]:
    lines = [line.strip() for each in given for line in (sys.stdin if each == "-" else [each])]
    headers = {}
    for line in filter(None, lines):
        name, colon, value = line.partition(":")
        if not colon:
            # Without the text: it may be a secret.
            raise Refusal("A header is a name, a colon and a value, such as 'Authorization: Bearer …'.", 2)
        headers[name.strip()] = value.strip()
    return headers


def _delays(text: str) -> tuple[float, ...] | None:
    if text == DEFAULT:
        return None
    try:
        return tuple(parse_duration(part) for part in text.replace(",", " ").split())
    except ValueError as error:
        raise Refusal(str(error), 2) from None


def secret_of(given: str | None) -> str | None:
    """The secret that was given, or stands in the standard input."""
    return sys.stdin.readline().strip() if given == "-" else given
