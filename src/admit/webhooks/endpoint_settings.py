"""What an operator may choose for an endpoint, and the rules that a choice must keep. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from admit.accounts.domains import parse_domain
from admit.clock import DAY_MS
from admit.errors import InvalidRequest
from admit.events import type_names
from admit.events.catalog import UserType
from admit.events.change_filters import ChangeFilter
from admit.events.data_facts import DataChanged
from admit.events.hook_filters import OfHook
from admit.events.subscriptions import Equal, Filter, Once
from admit.jobs.lanes import Limits
from admit.jobs.pace import AT_ONCE_MAX
from admit.jobs.retry import Schedule
from admit.outbound.addresses import EgressPolicy
from admit.signin import proof

Format = Literal["thin", "full", "dexie", "journeyapps"]

EVERY_TYPE = "*"
DESCRIPTION_CHARACTERS_MAX = 200
FILTER_VALUES_MAX = 100
EQUALS_MAX = 20
CHANGES_MAX = 100
PROPERTIES_MAX = 500
"""Of all filters for changes together: they are looked at in the unit that writes the objects."""
PATH_NAMES_MAX = 8
NAME_CHARACTERS_MAX = 100
TEXT_CHARACTERS_MAX = 500
HEADERS_MAX = 20
HEADER_NAME_CHARACTERS_MAX = 100
HEADER_VALUE_CHARACTERS_MAX = 4_000
HEADERS_CHARACTERS_MAX = 6_000
"""In all. Many servers refuse a request whose headers are longer than 8 kB, and ours are among them."""
RETRY_DELAYS_MAX = 24
DELAY_SECONDS_MIN = 1.0
DELAY_SECONDS_MAX = 7 * DAY_MS / 1_000
DELAYS_SECONDS_MAX = 14 * DAY_MS / 1_000
PER_MINUTE_MAX = 60_000

_USER_TYPES = frozenset(get_args(UserType))
_METHODS = frozenset(get_args(proof.Method)) | frozenset(get_args(proof.VisitMethod))
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")  # RFC 9110 §5.6.2, in lower case
_HEADER_VALUE = re.compile(r"(?! )[\x20-\x7e]+(?<! )")
_OURS = frozenset({"accept-encoding", "expect", "host", "date"})
# RFC 9110 §7.6.1: they are about the connection, and one of them wrong makes two requests of one.
_OF_THE_CONNECTION = frozenset(
    {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings"}
)
_FAMILIES = ("webhook-", "content-", "proxy-")


class EndpointSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is chosen for an endpoint. `events` empty: every type but tests.

    `format` full: with email, name and data of the person; dexie: changes of objects, as Dexie Cloud tells
    them. `retry_delays` are seconds, None: those of every delivery. `at_once_max` None: as many as it bears;
    `per_minute` None: no limit.
    """

    url: str
    description: str = ""
    events: tuple[str, ...] = ()
    filter: Filter = Filter()
    once: Once = "enrollment"
    format: Format = "thin"
    retry_delays: tuple[float, ...] | None = None
    at_once_max: int | None = None
    per_minute: int | None = None

    @property
    def schedule(self) -> Schedule | None:
        """When a delivery that failed is tried again; None: as every delivery is."""
        if self.retry_delays is None:
            return None
        return Schedule(tuple(round(seconds * 1_000) for seconds in self.retry_delays))

    @property
    def hook(self) -> str:
        """The web hook of the data model that it is told of; "": of none."""
        return self.filter.hook.name if self.filter.hook else ""

    @property
    def gathers(self) -> bool:
        """Whether it is a change hook: one request tells all changes that have come until then."""
        return self.format == "dexie"

    @property
    def limits(self) -> Limits:
        """What its lane takes."""
        return Limits(at_once_max=self.at_once_max, per_minute=self.per_minute)


class SettingsChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be chosen from now on. What is left out stays as it is.

    `headers` are the operator's own, which go with every request. `hook`: a web hook of the data model, of
    endpoints of the format journeyapps.
    """

    url: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    events: tuple[str, ...] | UnsetType = UNSET
    filter: Filter | UnsetType = UNSET
    once: Once | UnsetType = UNSET
    format: Format | UnsetType = UNSET
    hook: str | UnsetType = UNSET
    headers: dict[str, str] | UnsetType = UNSET
    retry_delays: tuple[float, ...] | UnsetType | None = UNSET
    at_once_max: int | UnsetType | None = UNSET
    per_minute: int | UnsetType | None = UNSET


def changed(settings: EndpointSettings, change: SettingsChange) -> EndpointSettings:
    """`settings` with what `change`, which has been checked, names. Raises InvalidRequest where what comes of
    it does not go together."""
    given = _given(change)
    given.pop("headers", None)
    hook = given.pop("hook", settings.hook)
    chosen = replace(settings, **given)
    if hook or chosen.format == "journeyapps":
        return _of_hook(chosen, change, hook)
    return _coherent(chosen)


def leads_secrets_away(settings: EndpointSettings, change: SettingsChange, *, own_headers: bool) -> bool:
    """Whether what goes with every request would be told to somebody who has not been told it yet.

    That are the operator's own headers, and the secret itself where changes are told as Dexie Cloud does.
    `change` has been checked.
    """
    if change.url is UNSET or _origin(change.url) == _origin(settings.url):
        return False
    return settings.gathers or (own_headers and change.headers is UNSET)


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def check(change: SettingsChange, egress: EgressPolicy) -> SettingsChange:
    """The normal form of `change`. Raises InvalidRequest with a code and a sentence.

    Whether the URL's name leads to where we may go is asked again at every dial.
    """
    given = _given(change)
    if "url" in given:
        _check_url(given["url"], egress)
    if "description" in given:
        _check_description(given["description"])
    if "events" in given:
        given["events"] = _check_events(given["events"])
    if "filter" in given:
        given["filter"] = _check_filter(given["filter"])
    if "headers" in given:
        given["headers"] = _check_headers(given["headers"])
    if given.get("retry_delays") is not None:
        _check_delays(given["retry_delays"])
    _check_number("at_once_max", given.get("at_once_max"), AT_ONCE_MAX)
    _check_number("per_minute", given.get("per_minute"), PER_MINUTE_MAX)
    return replace(change, **given)


def _coherent(settings: EndpointSettings) -> EndpointSettings:
    """`settings`, where they go together: a change hook is told of changes of objects and of nothing else."""
    rule, of_objects = settings.filter, (DataChanged.event_type,)
    if not settings.gathers:
        if rule.changes and of_objects[0] not in settings.events:
            raise _filter_problem(
                f"tables are what {of_objects[0]} is about, which is not among its events. Endpoints of the "
                "format dexie are told of it."
            )
        return settings
    if settings.events not in ((), of_objects) or settings.once != "enrollment":
        raise InvalidRequest(
            f"An endpoint of the format dexie is told of {of_objects[0]} alone: leave out events and once."
        )
    if rule != Filter(changes=rule.changes):
        raise _filter_problem("in the format dexie it can only ask for changes.")
    return replace(settings, events=of_objects)


def _of_hook(settings: EndpointSettings, change: SettingsChange, hook: str) -> EndpointSettings:
    """`settings` of an endpoint of a web hook. What it is told of is for the data model to say."""
    if not hook or settings.format != "journeyapps":
        raise _hook_problem("hook and the format journeyapps go together.")
    if not {change.events, change.once, change.filter} <= {UNSET, (), "enrollment", Filter()}:
        raise _hook_problem(
            "The data model says what an endpoint of a hook is told of: leave out events, once and filter."
        )
    return replace(settings, filter=Filter(hook=OfHook(name=hook)))


def _hook_problem(sentence: str) -> InvalidRequest:
    return InvalidRequest(sentence, code="hook_refused")


def _given(change: SettingsChange) -> dict[str, Any]:
    names = SettingsChange.__struct_fields__
    return {name: value for name in names if (value := getattr(change, name)) is not UNSET}


def _check_url(url: str, egress: EgressPolicy) -> None:
    if (refusal := egress.url_refusal(url)) is not None:
        raise InvalidRequest(refusal, code="url_refused")


def _check_description(text: str) -> None:
    if len(text) > DESCRIPTION_CHARACTERS_MAX or not text.isprintable():
        raise InvalidRequest(f"A description is one line of at most {DESCRIPTION_CHARACTERS_MAX} characters.")


def _check_events(events: tuple[str, ...]) -> tuple[str, ...]:
    if EVERY_TYPE in events:
        events = ()
    return tuple(dict.fromkeys(type_names.check(each) for each in events))


def _check_filter(filter_: Filter) -> Filter:
    for name in ("user_types", "methods", "email_domains"):
        if len(getattr(filter_, name)) > FILTER_VALUES_MAX:
            raise _filter_problem(f"{name} has at most {FILTER_VALUES_MAX} values.")
    _check_words("user_types", filter_.user_types, _USER_TYPES)
    _check_words("methods", filter_.methods, _METHODS)
    if len(filter_.equals) > EQUALS_MAX:
        raise _filter_problem(f"equals has at most {EQUALS_MAX} conditions.")
    for each in filter_.equals:
        _check_equal(each)
    if filter_.hook is not UNSET:
        raise _filter_problem("a web hook of the data model is named by hook, beside the filter.")
    if len(filter_.changes) > CHANGES_MAX:
        raise _filter_problem(f"changes has at most {CHANGES_MAX} filters.")
    for of_changes in filter_.changes:
        _check_changes(of_changes)
    if sum(len(each.properties) for each in filter_.changes) > PROPERTIES_MAX:
        raise _filter_problem(f"its changes name at most {PROPERTIES_MAX} properties in all.")
    try:
        domains = tuple(dict.fromkeys(parse_domain(each.strip()) for each in filter_.email_domains))
    except InvalidRequest as error:
        raise _filter_problem(error.message) from None
    return replace(
        filter_,
        user_types=tuple(dict.fromkeys(filter_.user_types)),
        methods=tuple(dict.fromkeys(filter_.methods)),
        email_domains=domains,
    )


def _check_words(name: str, words: tuple[str, ...], known: frozenset[str]) -> None:
    for each in words:
        if each not in known:
            raise _filter_problem(f"{name} knows {', '.join(sorted(known))}, and not {each[:80]!r}.")


def _check_equal(equal: Equal) -> None:
    if not 1 <= len(equal.path) <= PATH_NAMES_MAX:
        raise _filter_problem(f"A path has 1 to {PATH_NAMES_MAX} names, such as user, data and plan.")
    if any(not 1 <= len(name) <= NAME_CHARACTERS_MAX for name in equal.path):
        raise _filter_problem(f"A name in a path has 1 to {NAME_CHARACTERS_MAX} characters.")
    if isinstance(equal.value, str) and len(equal.value) > TEXT_CHARACTERS_MAX:
        raise _filter_problem(f"A text to compare with has at most {TEXT_CHARACTERS_MAX} characters.")


def _check_changes(filter_: ChangeFilter) -> None:
    if len(filter_.table) > NAME_CHARACTERS_MAX:
        raise _filter_problem(f"The name of a table has at most {NAME_CHARACTERS_MAX} characters.")
    if len(filter_.properties) > FILTER_VALUES_MAX:
        raise _filter_problem(f"properties has at most {FILTER_VALUES_MAX} values.")
    if any(not 1 <= len(each) <= TEXT_CHARACTERS_MAX for each in filter_.properties):
        raise _filter_problem(f"The path of a property has 1 to {TEXT_CHARACTERS_MAX} characters.")


def _filter_problem(sentence: str) -> InvalidRequest:
    return InvalidRequest(f"The filter cannot be used: {sentence}", code="filter_refused")


def _check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    if len(headers) > HEADERS_MAX:
        raise _headers_problem(f"There are at most {HEADERS_MAX} of them.")
    checked: dict[str, str] = {}
    for given, value in headers.items():
        name = given.lower()
        if len(name) > HEADER_NAME_CHARACTERS_MAX or not _HEADER_NAME.fullmatch(name):
            raise _headers_problem(f"{given[:80]!r} cannot be the name of a header.")
        if name in _OURS or name in _OF_THE_CONNECTION or name.startswith(_FAMILIES):
            raise _headers_problem(f"{name} is set by the server itself.")
        if name in checked:
            raise _headers_problem(f"{name} stands twice.")
        # Without the value: it may be a secret.
        if len(value) > HEADER_VALUE_CHARACTERS_MAX or not _HEADER_VALUE.fullmatch(value):
            raise _headers_problem(
                f"The value of {name} is not 1 to {HEADER_VALUE_CHARACTERS_MAX} printable ASCII characters "
                "without a space at either end."
            )
        checked[name] = value
    if sum(len(name) + len(value) for name, value in checked.items()) > HEADERS_CHARACTERS_MAX:
        raise _headers_problem(f"All together they have at most {HEADERS_CHARACTERS_MAX} characters.")
    return checked


def _headers_problem(sentence: str) -> InvalidRequest:
    return InvalidRequest(f"The headers cannot be used: {sentence}", code="headers_refused")


def _check_delays(delays: tuple[float, ...]) -> None:
    if not 1 <= len(delays) <= RETRY_DELAYS_MAX:
        raise _delays_problem(f"There are 1 to {RETRY_DELAYS_MAX} of them.")
    if not all(DELAY_SECONDS_MIN <= each <= DELAY_SECONDS_MAX for each in delays):  # NaN lies nowhere
        raise _delays_problem("Each is from 1 second to 7 days.")
    if sum(delays) > DELAYS_SECONDS_MAX:
        raise _delays_problem("All together they are at most 14 days.")


def _delays_problem(sentence: str) -> InvalidRequest:
    return InvalidRequest(f"The retry delays cannot be used: {sentence}", code="retry_delays_refused")


def _check_number(name: str, value: int | None, most: int) -> None:
    if value is not None and not 1 <= value <= most:
        raise InvalidRequest(f"{name} is a whole number from 1 to {most}.")
