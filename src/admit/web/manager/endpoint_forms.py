"""The form of an endpoint: what is typed in it, as the admin API wants it, and back. Pure."""

import re
from typing import Any

import msgspec

from admit.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from admit.errors import InvalidRequest
from admit.events.change_filters import ChangeFilter
from admit.events.subscriptions import Equal, Filter, Scalar
from admit.web.endpoint_types import EndpointView
from admit.web.manager.forms import Form

EVERY = "every"
SOME = "some"
CHANGES = "changes"
HOOK = "hook"
"""What an endpoint is told of: all events, some types, changes of objects, a web hook of the data model."""

METHODS = (
    ("email_code", "A code by mail"),
    ("sso", "Single sign-on"),
    ("token_exchange", "Another server’s token"),
    ("client_credentials", "An API client"),
    ("enrollment_token", "An enrollment token"),
    ("demo", "As a demo user"),
    ("acting", "An owner who acts as somebody"),
)
USER_TYPES = ("prod", "eval", "demo")
ONCE = (
    ("enrollment", "Every time somebody signs in"),
    ("device", "Once per person and device"),
    ("user", "Once per person"),
)

_UNITS = {"ms": 1, "s": SECOND_MS, "min": MINUTE_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}
_DELAY = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*(ms|min|s|m|h|d)")
_OPERATIONS = ("upsert", "update", "delete")


class Typed(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the form. The fields have the names of its inputs."""

    url: str = ""
    description: str = ""
    told_of: str = EVERY
    events: tuple[str, ...] = ()
    changes: str = ""
    hook: str = ""
    format: str = "thin"
    once: str = "enrollment"
    user_types: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    email_domains: str = ""
    equals: str = ""
    headers: str = ""
    no_headers: bool = False
    retry_delays: str = ""
    at_once_max: str = ""
    per_minute: str = ""
    signature: str = "hmac"
    secret: str = ""

    @property
    def narrows(self) -> bool:
        """Whether a filter is set."""
        return bool(self.user_types or self.methods or self.email_domains or self.equals)

    @property
    def limits(self) -> bool:
        """Whether something of how it is delivered is set."""
        return bool(self.headers or self.retry_delays or self.at_once_max or self.per_minute)


def typed_in(form: Form) -> Typed:
    """The form as it was typed."""
    texts: dict[str, Any] = {name: form.text(name) for name in Typed.__struct_fields__ if name not in _MANY}
    return Typed(
        **texts
        | {
            "events": tuple(form.many("events")),
            "user_types": tuple(form.many("user_types")),
            "methods": tuple(form.many("methods")),
            "no_headers": form.flag("no_headers"),
        }
    )


_MANY = frozenset({"events", "user_types", "methods", "no_headers"})


def typed_of(endpoint: EndpointView) -> Typed:
    """The form of an endpoint that there is. The values of its headers are never told."""
    rule = endpoint.filter
    gathers = endpoint.format == "dexie"
    told_of = HOOK if endpoint.hook else CHANGES if gathers else SOME if endpoint.events else EVERY
    return Typed(
        url=endpoint.url,
        description=endpoint.description,
        told_of=told_of,
        events=endpoint.events,
        changes="\n".join(map(change_text, rule.changes)),
        hook=endpoint.hook,
        format=endpoint.format,
        once=endpoint.once,
        user_types=rule.user_types,
        methods=rule.methods,
        email_domains=", ".join(rule.email_domains),
        equals="\n".join(map(equal_text, rule.equals)),
        retry_delays="" if endpoint.retry_delays is None else ", ".join(map(delay, endpoint.retry_delays)),
        at_once_max="" if endpoint.at_once_max is None else str(endpoint.at_once_max),
        per_minute="" if endpoint.per_minute is None else str(endpoint.per_minute),
    )


def new(typed: Typed) -> dict[str, Any]:
    """The body that makes the endpoint. Raises InvalidRequest where something cannot be read."""
    body = _settings(typed) | {"url": typed.url, "headers": _headers(typed.headers)}
    if typed.told_of == CHANGES:
        body["format"] = "dexie"
    elif typed.told_of == HOOK:
        body |= {"format": "journeyapps", "hook": typed.hook}
    if typed.secret:
        return body | {"secret": typed.secret}
    # A change hook is sent its secret, which a private key must not be.
    return body if typed.told_of == CHANGES else body | {"signature": typed.signature}


def change(typed: Typed) -> dict[str, Any]:
    """The body that changes an endpoint. Headers that are not typed stay. Raises InvalidRequest."""
    body = _settings(typed) | {"url": typed.url}
    if typed.headers or typed.no_headers:
        body["headers"] = {} if typed.no_headers else _headers(typed.headers)
    return body


def _settings(typed: Typed) -> dict[str, Any]:
    common = {
        "description": typed.description,
        "retry_delays": _delays(typed.retry_delays),
        "at_once_max": _number(typed.at_once_max, "At once"),
        "per_minute": _number(typed.per_minute, "Per minute"),
    }
    match typed.told_of:
        case "hook":
            return common
        case "changes":
            return common | {"filter": Filter(changes=_changes(typed.changes))}
        case "some" if not typed.events:
            raise InvalidRequest("Choose at least one type of event, or every event.")
        case "every" | "some":
            events = typed.events if typed.told_of == SOME else ()
            return common | {
                "events": events,
                "once": typed.once,
                "format": typed.format,
                "filter": _filter(typed),
            }
        case _:
            raise InvalidRequest("Choose what the endpoint is told of.")


def _filter(typed: Typed) -> Filter:
    return Filter(
        user_types=typed.user_types,
        methods=typed.methods,
        email_domains=tuple(re.split(r"[,\s]+", typed.email_domains)) if typed.email_domains else (),
        equals=tuple(_equal(line) for line in _lines(typed.equals)),
        # Typed in the same words as for changes of objects, where one of the types is about them.
        changes=_changes(typed.changes) if "data.changed" in typed.events else (),
    )


def _equal(line: str) -> Equal:
    path, equals, value = line.partition("=")
    names = tuple(each.strip() for each in path.split("."))
    if not equals or not all(names):
        raise InvalidRequest(f"“{line[:80]}” is no condition. Write it like user.data.plan = team")
    try:
        read: Scalar = msgspec.json.decode(value.strip(), type=Scalar)
    except msgspec.MsgspecError:
        read = value.strip()
    return Equal(path=names, value=read)


def _changes(text: str) -> tuple[ChangeFilter, ...]:
    return tuple(_change(line) for line in _lines(text))


def _change(line: str) -> ChangeFilter:
    table, _, rest = (part.strip() for part in line.partition(":"))
    operations, _, properties = (part.strip() for part in rest.partition(":"))
    given = {
        "table": "" if table == "*" else table,
        "operations": () if operations == "*" else _list(operations),
        "properties": _list(properties),
    }
    try:
        return msgspec.convert(given, ChangeFilter)
    except msgspec.ValidationError:
        known = ", ".join(_OPERATIONS)
        raise InvalidRequest(
            f"“{line[:80]}” is no filter. Write it like todos:upsert,update:title,done. Operations: {known}."
        ) from None


def _headers(text: str) -> dict[str, str]:
    headers = {}
    for number, line in enumerate(_lines(text), 1):
        name, colon, value = line.partition(":")
        if not colon:
            # Without the text: it may be a secret.
            raise InvalidRequest(f"Header {number}: write a name, a colon and a value, such as X-Team: crm")
        headers[name.strip()] = value.strip()
    return headers


def _delays(text: str) -> tuple[float, ...] | None:
    if not text:
        return None
    return tuple(_seconds(part) for part in re.split(r"\s*,\s*", text) if part)


def _seconds(part: str) -> float:
    found = _DELAY.fullmatch(part)
    if found is None:
        raise InvalidRequest(f"“{part[:80]}” is no pause. Write them like 5 s, 5 min, 2 h")
    return float(found[1]) * _UNITS[found[2]] / SECOND_MS


def _number(text: str, label: str) -> int | None:
    digits = text.replace(",", "")
    if not digits:
        return None
    if not (digits.isascii() and digits.isdigit() and len(digits) < 16):
        raise InvalidRequest(f"{label}: write a whole number, such as 30.")
    return int(digits)


def delay(seconds: float) -> str:
    """A pause as it is typed: `5 s`, `30 min`, `2 h`."""
    for unit in ("d", "h", "min", "s"):
        ms = seconds * SECOND_MS
        if ms >= _UNITS[unit] and ms % _UNITS[unit] == 0:
            return f"{round(ms) // _UNITS[unit]} {unit}"
    return f"{round(seconds * SECOND_MS)} ms"


def equal_text(equal: Equal) -> str:
    """A condition as it is typed."""
    return f"{'.'.join(equal.path)} = {msgspec.json.encode(equal.value).decode()}"


def change_text(rule: ChangeFilter) -> str:
    """A filter for changes as it is typed: `todos:upsert,update:title`."""
    parts = [rule.table or "*", ",".join(rule.operations) or "*", ",".join(rule.properties)]
    return ":".join(parts).removesuffix(":").removesuffix(":*")


def _list(text: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"[,\s]+", text) if part)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
