"""admit policy: who may come in."""

from typing import TYPE_CHECKING, Annotated, Literal, assert_never

import msgspec
import typer

from admit.cli.command import AppName, Refusal, Terminal, Yes, command, duration_option, group
from admit.cli.connection import target
from admit.cli.values import duration, listed, parse_list

if TYPE_CHECKING:
    from admit.accounts.app_settings import PolicySetting
    from admit.cli.output import Facts
    from admit.web.admin_types import SimulationResult

policies = group(
    "policy",
    "Policy: the rule for people whom an app does not know.",
    example="admit policy set notes domains example.com,acme.org",
)


Kind = Literal["eval", "prod", "reject", "domains", "webhook", "task"]
OnFailure = Literal["refuse", "eval"]
Payload = Literal["contract", "full"]
Intent = Literal["login", "register"]

For = Annotated[
    str | None,
    typer.Option(
        "--for",
        metavar="WAY",
        help="Only of who comes this way: email_code, client_credentials, or the name of a provider.",
        show_default=False,
    ),
]


@command(policies, "set", example="admit policy set notes webhook https://example.com/decide --timeout 5s")
def set_policy(
    terminal: Terminal,
    app: AppName,
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="The rule, as above.", show_default=False)],
    value: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VALUE",
            help="The domains, the URL of the web hook, or the name of the task.",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        duration_option("webhook, task: how long it may take in all, 1s to 15s; 5s by default."),
    ] = None,
    on_failure: Annotated[
        OnFailure | None,
        typer.Option(
            help="webhook, task: who is let in when it does not answer as it should: nobody (refuse, the "
            "default) or everybody on trial (eval).",
            show_default=False,
        ),
    ] = None,
    payload: Annotated[
        Payload | None,
        typer.Option(
            help="webhook: what it is told: userId and email (contract, the default), or all that is known "
            "of the sign-in, with what a provider says of the person (full).",
            show_default=False,
        ),
    ] = None,
    way_in: For = None,
) -> None:
    """Sets the rule for people whom an app does not know. It holds from the next sign-in.

    \b
      admit policy set notes eval                          everybody, on trial
      admit policy set notes prod                          everybody
      admit policy set notes domains example.com,acme.org  who proves an email there
      admit policy set notes webhook URL                   whom your web hook says
      admit policy set notes task NAME                     whom your task says
      admit policy set notes reject                        nobody
      admit policy set notes prod --for google             who comes by google, everybody
    """
    from admit.web.admin_types import PolicyView

    setting = setting_of(kind, value or [], timeout, on_failure, payload)
    answer = terminal.call("PUT", _policy_of(app, way_in), setting, PolicyView)
    whose = f"{app} for {way_in}" if way_in else app
    terminal.out.done(answer, f"The policy of {whose} is {in_words(answer.policy)}.")
    if kind == "webhook":
        terminal.out.note(
            f"Its calls are signed (Standard Webhooks): `admit policy show {app} --secret` shows the secret."
        )


@command(policies, "show", example="admit policy show notes")
def show(
    terminal: Terminal,
    app: AppName,
    secret: Annotated[
        bool, typer.Option("--secret", help="Show the secret that signs the calls of a web hook, too.")
    ] = False,
    way_in: For = None,
) -> None:
    """Shows the rule for people whom an app does not know, and for ways in that have one of their own."""
    from admit.web.admin_types import PolicyView

    answer = terminal.call("GET", _policy_of(app, way_in, secret=secret), None, PolicyView)
    if secret and answer.hook_secret is None:
        raise Refusal("This operator token lacks the scope secrets:read.")
    facts = [("policy", in_words(answer.policy))]
    if way_in is None:
        facts += [(f"for {way}", in_words(policy)) for way, policy in answer.policies.items()]
    else:
        facts.append(("of", f"{way_in} alone" if answer.own else f"{app}: {way_in} has none of its own"))
    facts.append(("version", str(answer.version)))
    if answer.hook_secret:
        facts.append(("hook secret", answer.hook_secret))
    terminal.out.one(answer, facts)


@command(policies, "unset", example="admit policy unset notes --for google")
def unset(
    terminal: Terminal,
    app: AppName,
    way_in: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="WAY",
            help="Which way in: email_code, client_credentials, or the name of a provider.",
            show_default=False,
        ),
    ],
) -> None:
    """Takes a way in the rule of its own: that of the app holds for it again, from the next sign-in."""
    from admit.web.admin_types import PolicyView

    answer = terminal.call("DELETE", _policy_of(app, way_in), None, PolicyView)
    terminal.out.done(answer, f"For {way_in} holds the policy of {app} again: {in_words(answer.policy)}.")


@command(policies, "simulate", example="admit policy simulate notes --email new@example.com")
def simulate(
    terminal: Terminal,
    app: AppName,
    email: Annotated[
        str, typer.Option(metavar="EMAIL", help="The email of the person to imagine.", show_default=False)
    ],
    unverified: Annotated[
        bool,
        typer.Option(
            "--unverified", help="Imagine that neither they nor the provider have proved the email."
        ),
    ] = False,
    user_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Their userId, where it is not the email.", show_default=False),
    ] = None,
    intent: Annotated[
        Intent | None, typer.Option(help="What the client says that they want.", show_default=False)
    ] = None,
    way_in: Annotated[
        str,
        typer.Option(
            "--for", metavar="WAY", help="How they come: also client_credentials, or the name of a provider."
        ),
    ] = "email_code",
    subject: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Who they are at the provider; somebody new by default.", show_default=False
        ),
    ] = None,
    claims: Annotated[
        list[str] | None,
        typer.Option(
            "--claim",
            metavar="NAME=VALUE",
            help="What the provider says of them, as it names it: hd=example.com, 'groups=[\"staff\"]'. The "
            "value is read as JSON where it is JSON. As often as you like.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Says what would happen to a person at the door, and why. Asks nobody and changes nothing."""
    from admit.web.admin_types import Simulation, SimulationResult

    body = Simulation(
        email=email,
        user_id=user_id,
        email_verified=not unverified,
        intent=intent or "",
        way_in=way_in,
        subject=subject or "",
        claims=dict(map(claim_of, claims or ())),
    )
    result = terminal.call("POST", target("apps", app, "policy", "simulation"), body, SimulationResult)
    terminal.out.one(result, _outcome(result))


@command(policies, "rotate", example="admit policy rotate notes")
def rotate(terminal: Terminal, app: AppName, yes: Yes = False) -> None:
    """Makes a new secret for the calls of the web hook and shows it. The present one signs 24 hours more."""
    from admit.web.admin_types import PolicyView

    terminal.confirm(
        f"The present secret of {app} signs the calls of the web hook for 24 hours more, beside the new one. "
        "One that is being replaced already ends at once.",
        yes=yes,
    )
    answer = terminal.call("POST", target("apps", app, "policy", "secret"), None, PolicyView)
    terminal.out.one(answer, [("hook secret", answer.hook_secret or "")])


def in_words(policy: "PolicySetting") -> str:
    """The kind of `policy`, and what it means."""
    match policy.kind:
        case "eval":
            return "eval (everybody comes in, on trial)"
        case "prod":
            return "prod (everybody comes in)"
        case "reject":
            return "reject (nobody unknown comes in)"
        case "domains":
            return f"domains (who proves an email at {listed(policy.domains)} comes in)"
        case "webhook":
            told = ", told all that is known" if policy.payload == "full" else ""
            return f"webhook ({policy.url} decides within {_limits(policy, told)})"
        case "task":
            return f"task ({policy.task} decides within {_limits(policy)})"
        case _:
            assert_never(policy.kind)


def _limits(policy: "PolicySetting", told: str = "") -> str:
    failure = "nobody comes in" if policy.on_failure == "refuse" else "everybody does, on trial"
    return f"{duration(policy.timeout_seconds)}{told}; when it fails, {failure}"


def _policy_of(app: str, way_in: str | None, *, secret: bool = False) -> str:
    return target("apps", app, "policy", **{"for": way_in, "secret": "true" if secret else None})


def claim_of(text: str) -> tuple[str, object]:
    """The name and the value of a claim that was typed. Raises Refusal."""
    name, equals, value = text.partition("=")
    if not equals:
        raise Refusal(f"{text!r} is no claim. Write it like hd=example.com", 2)
    try:
        return name, msgspec.json.decode(value)
    except (msgspec.MsgspecError, UnicodeError):
        return name, value


def setting_of(
    kind: Kind,
    value: list[str],
    timeout: float | None,
    on_failure: OnFailure | None,
    payload: Payload | None,
) -> "PolicySetting":
    """The policy that was typed. Raises Refusal."""
    from admit.accounts.app_settings import PolicySetting

    if kind != "webhook" and payload is not None:
        raise Refusal(f"--payload belongs to the policy webhook, not to {kind}.", 2)
    if kind not in ("webhook", "task") and (timeout, on_failure) != (None, None):
        raise Refusal(
            f"--timeout and --on-failure belong to the policies webhook and task, not to {kind}.", 2
        )
    match kind:
        case "eval" | "prod" | "reject":
            if value:
                raise Refusal(f"The policy {kind} takes no value, but {value[0]!r} was given.", 2)
            return PolicySetting(kind=kind)
        case "domains":
            domains = parse_list(" ".join(value))
            if not domains:
                raise Refusal("Which domains? E.g. admit policy set APP domains example.com,acme.org", 2)
            return PolicySetting(kind="domains", domains=domains)
        case "webhook":
            if len(value) != 1:
                raise Refusal("A web hook has one URL, e.g. https://example.com/decide", 2)
            hook = PolicySetting(kind="webhook", url=value[0], payload=payload or "contract")
            return _within(hook, timeout, on_failure)
        case "task":
            if len(value) != 1:
                raise Refusal("A task has one name, e.g. admit policy set APP task decide_enrollment", 2)
            return _within(PolicySetting(kind="task", task=value[0]), timeout, on_failure)
        case _:
            assert_never(kind)


def _within(policy: "PolicySetting", timeout: float | None, on_failure: OnFailure | None) -> "PolicySetting":
    return msgspec.structs.replace(
        policy,
        timeout_seconds=policy.timeout_seconds if timeout is None else timeout,
        on_failure=on_failure or policy.on_failure,
    )


def _outcome(result: "SimulationResult") -> "Facts":
    match result.outcome:
        case "admit":
            said = "signs in" if result.known else f"comes in as {result.type}"
        case "refuse":
            said = f"is refused: {result.code}"
        case "ask":
            said = f"depends on {result.url or f'the task {result.task}'}"
        case _:
            assert_never(result.outcome)
    facts = [
        ("who", result.user_id or "nobody"),
        ("known", "yes" if result.known else "no"),
        ("outcome", said),
    ]
    if result.message:
        facts.append(("told", result.message))
    if result.told is not None:
        facts.append(("it is told", msgspec.json.encode(result.told).decode()))
    facts.append(("why", result.reason))
    return facts
