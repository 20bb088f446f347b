"""admit endpoint: which URLs are told of what happens in an app."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer
from msgspec import UNSET

from admit.cli.command import AppName, Refusal, Terminal, Yes, command, duration_option, group
from admit.cli.connection import target
from admit.cli.endpoint_options import (
    DEFAULT,
    EVERY,
    AtOnce,
    ChangeFilters,
    Description,
    Ed25519,
    EmailDomains,
    EndpointId,
    Equals,
    Events,
    FormatOption,
    Full,
    Headers,
    Hook,
    Methods,
    NewUrl,
    OnceOption,
    OwnSecret,
    PerMinute,
    Retry,
    Url,
    UserTypes,
    everybody,
    filter_of,
    secret_of,
    settings_of,
)
from admit.cli.output import Column
from admit.cli.values import duration, listed, moment

if TYPE_CHECKING:
    from admit.cli.output import Facts
    from admit.events.change_filters import ChangeFilter
    from admit.events.subscriptions import Filter
    from admit.web.endpoint_types import EndpointSecret, EndpointView, TrialView

endpoints = group(
    "endpoint",
    "Endpoints: the URLs that are told of what happens in an app.",
    example="admit endpoint create notes https://crm.example.com/hooks --events user.enrolled",
)

NONE = "none"
PAGE_SIZE = 100


@command(
    endpoints,
    "create",
    example="admit endpoint create notes https://crm.example.com/hooks --events user.enrolled --once user",
)
def create(
    terminal: Terminal,
    app: AppName,
    address: Url,
    events: Events = None,
    once: OnceOption = None,
    full: Full = None,
    format_: FormatOption = None,
    hook: Hook = None,
    description: Description = None,
    user_types: UserTypes = None,
    methods: Methods = None,
    email_domains: EmailDomains = None,
    equals: Equals = None,
    changes: ChangeFilters = None,
    headers: Headers = None,
    retry: Retry = None,
    at_once: AtOnce = None,
    per_minute: PerMinute = None,
    ed25519: Ed25519 = False,
    secret: OwnSecret = None,
) -> None:
    """Makes an endpoint and shows the secret that verifies its requests, this once.

    It is told of everything that happens from now on. Requests are signed as Standard Webhooks asks for.
    """
    from admit.web.endpoint_types import EndpointSecret, NewEndpoint

    body = NewEndpoint(
        url=address,
        **settings_of(
            events=events,
            once=once,
            full=full,
            format_="journeyapps" if hook and format_ is None else format_,
            hook=hook,
            description=description,
            filter_=filter_of(user_types, methods, email_domains, equals, changes),
            headers=headers,
            retry=retry,
            at_once=at_once,
            per_minute=per_minute,
        ),
        signature="ed25519" if ed25519 else None,
        secret=secret_of(secret),
    )
    made = terminal.call("POST", target("apps", app, "endpoints"), body, EndpointSecret)
    terminal.out.one(made, [*_secret_facts(made), *_facts(made)])
    if made.secret:
        terminal.out.note("Keep the secret now: it cannot be shown again. Next: " + _next(app, made.id))
    else:
        terminal.out.note(
            f"Receivers verify v1a with the public key, also at /{app}/.well-known/webhook-keys.json. "
            "Next: " + _next(app, made.id)
        )


@command(endpoints, "list", example="admit endpoint list notes")
def list_endpoints(terminal: Terminal, app: AppName) -> None:
    """Lists the endpoints of an app and how they are doing."""
    terminal.out.many(
        _pages(terminal, app),
        [
            Column["EndpointView"]("ENDPOINT ID", lambda endpoint: endpoint.id),
            Column("STATE", _state),
            Column("EVENTS", lambda endpoint: listed(endpoint.events, none="*")),
            Column("FAILING SINCE", lambda endpoint: moment(endpoint.failing_since)),
            Column("URL", lambda endpoint: endpoint.url),
            Column("DESCRIPTION", lambda endpoint: endpoint.description),
        ],
        none=f"Nobody is told of what happens in {app}. `admit endpoint create {app} URL` lets somebody be.",
    )


@command(endpoints, "show", example="admit endpoint show notes ep_7k3m")
def show(terminal: Terminal, app: AppName, endpoint: EndpointId) -> None:
    """Shows an endpoint, without its secrets and the values of its headers."""
    from admit.web.endpoint_types import EndpointView

    shown = terminal.call("GET", target("apps", app, "endpoints", endpoint), None, EndpointView)
    terminal.out.one(shown, _facts(shown))


@command(endpoints, "set", example="admit endpoint set notes ep_7k3m --events user.enrolled,user.deleted")
def set_endpoint(
    terminal: Terminal,
    app: AppName,
    endpoint: EndpointId,
    to: NewUrl = None,
    events: Events = None,
    once: OnceOption = None,
    full: Full = None,
    format_: FormatOption = None,
    hook: Hook = None,
    description: Description = None,
    user_types: UserTypes = None,
    methods: Methods = None,
    email_domains: EmailDomains = None,
    equals: Equals = None,
    changes: ChangeFilters = None,
    no_filter: Annotated[bool, typer.Option("--no-filter", help="Tell it of everybody again.")] = False,
    headers: Headers = None,
    no_headers: Annotated[bool, typer.Option("--no-headers", help="Send no headers of your own.")] = False,
    retry: Retry = None,
    at_once: AtOnce = None,
    per_minute: PerMinute = None,
) -> None:
    """Changes some of the settings of an endpoint, and leaves the others.

    The filter (--user-type, --method, --email-domain, --equals, --filter) and the headers are replaced as a
    whole.
    """
    from admit.web.endpoint_types import EndpointView
    from admit.webhooks.endpoint_settings import SettingsChange

    given = settings_of(
        events=events,
        once=once,
        full=full,
        format_=format_,
        hook=hook,
        description=description,
        filter_=everybody() if no_filter else filter_of(user_types, methods, email_domains, equals, changes),
        headers=[] if no_headers else headers,
        retry=retry,
        at_once=at_once,
        per_minute=per_minute,
    )
    body = SettingsChange(url=UNSET if to is None else to, **given)
    if body == SettingsChange():
        raise Refusal("What is to change? `admit endpoint set --help` shows the options.", 2)
    changed = terminal.call("PUT", target("apps", app, "endpoints", endpoint), body, EndpointView)
    terminal.out.one(changed, _facts(changed))


@command(endpoints, "pause", example="admit endpoint pause notes ep_7k3m")
def pause(terminal: Terminal, app: AppName, endpoint: EndpointId) -> None:
    """Tells an endpoint of nothing until it is resumed; then it is told of what it has missed."""
    answer = _become(terminal, app, endpoint, "paused")
    terminal.out.done(
        answer, f"{endpoint} is told of nothing. `admit endpoint resume {app} {endpoint}` ends that."
    )


@command(endpoints, "resume", example="admit endpoint resume notes ep_7k3m")
def resume(terminal: Terminal, app: AppName, endpoint: EndpointId) -> None:
    """Lets an endpoint that is paused or disabled be told again, at first of what it has missed."""
    answer = _become(terminal, app, endpoint, "enabled")
    terminal.out.done(answer, f"{endpoint} is told again.")


@command(endpoints, "remove", example="admit endpoint remove notes ep_7k3m")
def remove(terminal: Terminal, app: AppName, endpoint: EndpointId, yes: Yes = False) -> None:
    """Removes an endpoint and ends what is still to be delivered to it."""
    terminal.confirm(
        f"{endpoint} is told of nothing any more, and of what it has not received yet neither.", yes=yes
    )
    terminal.call("DELETE", target("apps", app, "endpoints", endpoint), None, type(None))
    terminal.out.done({"id": endpoint, "removed": True}, f"{endpoint} is removed.")


@command(endpoints, "rotate", example="admit endpoint rotate notes ep_7k3m --overlap 24h")
def rotate(
    terminal: Terminal,
    app: AppName,
    endpoint: EndpointId,
    overlap: Annotated[
        float | None,
        duration_option(
            "How long the present secret signs beside the new one, to 7d; 24h by default. 0s: it has leaked."
        ),
    ] = None,
    ed25519: Ed25519 = False,
    secret: OwnSecret = None,
    yes: Yes = False,
) -> None:
    """Gives an endpoint a new secret and shows it, this once. The present one signs a while longer."""
    from admit.web.endpoint_types import EndpointSecret, NewSecret

    body = NewSecret(signature="ed25519" if ed25519 else None, secret=secret_of(secret))
    if overlap is not None:
        body = msgspec.structs.replace(body, overlap_seconds=round(overlap))
    terminal.confirm(
        f"The present secret of {endpoint} signs beside the new one for {duration(body.overlap_seconds)} "
        "more, and former ones no longer than that.",
        yes=yes,
    )
    where = target("apps", app, "endpoints", endpoint, "secret")
    made = terminal.call("POST", where, body, EndpointSecret)
    terminal.out.one(made, [*_secret_facts(made), ("former secret", _former(made))])
    if made.secret:
        terminal.out.note("Keep the new secret now: it cannot be shown again. Next: " + _next(app, made.id))
    else:
        terminal.out.note(f"Receivers find the new key at /{app}/.well-known/webhook-keys.json, too.")


@command(endpoints, "test", example="admit endpoint test notes ep_7k3m --type user.enrolled")
def try_out(
    terminal: Terminal,
    app: AppName,
    endpoint: EndpointId,
    event_type: Annotated[
        str, typer.Option("--type", metavar="TYPE", help="Of which type of event an example is sent.")
    ] = "test.ping",
) -> None:
    """Sends an example to an endpoint, at once, and shows what was sent and what came back.

    It ends with 1 where the endpoint did not accept it. Nothing is changed.
    """
    from admit.web.endpoint_types import NewTrial, TrialView

    where = target("apps", app, "endpoints", endpoint, "test")
    trial = terminal.call("POST", where, NewTrial(type=event_type), TrialView)
    terminal.out.one(trial, _trial_facts(trial))
    if not trial.delivered:
        raise typer.Exit(1)


def _become(
    terminal: Terminal, app: str, endpoint: str, state: Literal["enabled", "paused"]
) -> "EndpointView":
    from admit.web.endpoint_types import EndpointView, NewState

    where = target("apps", app, "endpoints", endpoint, "state")
    return terminal.call("PUT", where, NewState(state=state), EndpointView)


def _pages(terminal: Terminal, app: str) -> Iterator["EndpointView"]:
    from admit.web.endpoint_types import EndpointPage

    after: str | None = None
    while True:
        where = target("apps", app, "endpoints", after=after, limit=PAGE_SIZE)
        page = terminal.call("GET", where, None, EndpointPage)
        yield from page.endpoints
        if (after := page.after) is None:
            return


def _state(endpoint: "EndpointView") -> str:
    return "catching up" if endpoint.state == "enabled" and endpoint.behind else endpoint.state


def _secret_facts(made: "EndpointSecret") -> "Facts":
    facts = [("endpoint id", made.id)]
    if made.secret:
        facts.append(("secret", made.secret))
    if made.public_key:
        facts.append(("public key", made.public_key))
    return facts


def _former(made: "EndpointSecret") -> str:
    """Until when former secrets sign beside the new one."""
    ends_at = max((each.ends_at for each in made.secrets if each.ends_at is not None), default=None)
    return "signs no more" if ends_at is None else f"signs until {moment(ends_at)}"


def _facts(endpoint: "EndpointView") -> "Facts":
    facts = [("url", endpoint.url), ("state", _state(endpoint))]
    if endpoint.reason:
        facts.append(("reason", endpoint.reason))
    if endpoint.failing_since:
        facts.append(("failing since", moment(endpoint.failing_since)))
    if endpoint.behind:
        facts.append(("told up to", f"{endpoint.behind.caught_up_to} of {endpoint.behind.head}"))
    delays = None if endpoint.retry_delays is None else listed(map(duration, endpoint.retry_delays))
    facts += [
        ("events", listed(endpoint.events, none="*")),
        ("filter", _filter_text(endpoint.filter)),
        ("once per", endpoint.once),
        ("format", endpoint.format),
        *([("web hook", endpoint.hook)] if endpoint.hook else []),
        ("headers", listed(endpoint.headers, none=NONE)),
        ("retry", delays or DEFAULT),
        ("at once", str(endpoint.at_once_max or "as many as it bears")),
        ("per minute", str(endpoint.per_minute or "no limit")),
        ("description", endpoint.description),
    ]
    for secret in endpoint.secrets:
        ends = f", ends {moment(secret.ends_at)}" if secret.ends_at else ""
        key = f", {secret.public_key}" if secret.public_key else ""
        facts.append(("signed with", f"{secret.id} ({secret.signature}{key}{ends})"))
    return facts


def _filter_text(filter_: "Filter") -> str:
    parts = [
        f"{name} {listed(values)}"
        for name, values in (
            ("user type", filter_.user_types),
            ("method", filter_.methods),
            ("email domain", filter_.email_domains),
        )
        if values
    ]
    parts += [f"{'.'.join(each.path)}={msgspec.json.encode(each.value).decode()}" for each in filter_.equals]
    parts += map(_change_text, filter_.changes)
    return "; ".join(parts) or NONE


def _change_text(filter_: "ChangeFilter") -> str:
    """As it is given on the command line."""
    parts = [filter_.table or EVERY, ",".join(filter_.operations) or EVERY, ",".join(filter_.properties)]
    return ":".join(parts).removesuffix(":").removesuffix(f":{EVERY}")


def _trial_facts(trial: "TrialView") -> "Facts":
    facts = [("outcome", trial.message), ("request", f"POST {trial.request.url}")]
    facts += [("", f"{name}: {value}") for name, value in trial.request.headers.items()]
    facts += [("", trial.request.body), ("address", trial.address or NONE)]
    if trial.response:
        facts.append(("response", f"status {trial.response.status}"))
        facts += [("", f"{name}: {value}") for name, value in trial.response.headers.items()]
        facts.append(("", trial.response.body + (" …" if trial.response.truncated else "")))
    facts.append(("took", f"{trial.duration_ms} ms"))
    return facts


def _next(app: str, endpoint_id: str) -> str:
    return f"admit endpoint test {app} {endpoint_id}"
