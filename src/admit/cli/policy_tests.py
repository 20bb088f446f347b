"""admit policy test: what who decides answers about somebody imagined."""

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from admit.cli.command import AppName, Refusal, Terminal, command, duration_option
from admit.cli.connection import target
from admit.cli.policies import Kind, OnFailure, Payload, claim_of, setting_of
from admit.cli.policies import policies as policies
from admit.cli.values import moment

if TYPE_CHECKING:
    from admit.cli.output import Facts
    from admit.web.admin_types import NewPolicy
    from admit.web.policy_test_types import PolicyTestResult, TestAttempt


Email = Annotated[
    str, typer.Option(metavar="EMAIL", help="The email of the person to imagine.", show_default=False)
]
Unverified = Annotated[bool, typer.Option("--unverified", help="Imagine that nobody has proved it.")]
UserId = Annotated[
    str | None,
    typer.Option(metavar="ID", help="Their userId, where it is not the email.", show_default=False),
]
Way = Annotated[
    str,
    typer.Option(
        "--for", metavar="WAY", help="How they come: also client_credentials, or the name of a provider."
    ),
]
Claims = Annotated[
    list[str] | None,
    typer.Option(
        "--claim",
        metavar="NAME=VALUE",
        help="What the provider says of them, as `admit policy simulate` takes it.",
        show_default=False,
    ),
]


@command(policies, "test", example="admit policy test notes --email new@example.com")
def try_policy(
    terminal: Terminal,
    app: AppName,
    kind: Annotated[
        Kind | None,
        typer.Argument(
            metavar="KIND",
            help="webhook or task, to try one that is not in force; by default the policy that is.",
            show_default=False,
        ),
    ] = None,
    value: Annotated[
        list[str] | None,
        typer.Argument(metavar="VALUE", help="The URL, or the name of the task.", show_default=False),
    ] = None,
    email: Email = "",
    unverified: Unverified = False,
    user_id: UserId = None,
    way_in: Way = "email_code",
    claims: Claims = None,
    timeout: Annotated[float | None, duration_option("How long it may take in all, 1s to 15s.")] = None,
    on_failure: Annotated[
        OnFailure | None,
        typer.Option(help="Who is let in when it does not answer as it should.", show_default=False),
    ] = None,
    payload: Annotated[
        Payload | None, typer.Option(help="webhook: what it is told.", show_default=False)
    ] = None,
) -> None:
    """Asks the web hook or the task about somebody imagined, and shows the answer and what it would mean.

    The question is a real one, with a `webhook-id` that begins with test_. Nobody is enrolled, and nothing is
    kept. The exit code is 1 where there was no answer that counts.
    """
    from admit.web.policy_test_types import NewPolicyTest, PolicyTestResult

    body = NewPolicyTest(
        email=email,
        user_id=user_id,
        email_verified=not unverified,
        way_in=way_in,
        claims=dict(map(claim_of, claims or ())),
        policy=_tried(kind, value or [], timeout, on_failure, payload),
    )
    result = terminal.call("POST", target("apps", app, "policy", "test"), body, PolicyTestResult)
    terminal.out.one(result, _facts(result))
    if result.fault is not None:
        raise typer.Exit(1)


def _tried(
    kind: Kind | None,
    value: list[str],
    timeout: float | None,
    on_failure: OnFailure | None,
    payload: Payload | None,
) -> "NewPolicy | None":
    """The policy that was given; None: none was. Raises Refusal."""
    from admit.web.admin_types import NewPolicy

    if kind is not None:
        setting = setting_of(kind, value, timeout, on_failure, payload)
        return NewPolicy(**msgspec.structs.asdict(setting))
    if (timeout, on_failure, payload) != (None, None, None):
        raise Refusal(
            "--timeout, --on-failure and --payload belong to a policy that is given, e.g. webhook URL.", 2
        )
    return None


def _facts(result: "PolicyTestResult") -> "Facts":
    said = (
        f"would come in as {result.type}" if result.outcome == "admit" else f"would be refused: {result.code}"
    )
    facts = [("who", result.user_id), ("outcome", said), ("why", result.reason)]
    if result.message:
        facts.append(("told", result.message))
    if result.fault is not None:
        facts.append(("no answer that counts", result.fault))
        facts.append(("when it fails", "nobody comes in" if result.on_failure == "refuse" else "eval"))
    if result.data is not None:
        facts.append(("data", msgspec.json.encode(result.data).decode()))
    facts.append(("attempts", f"{result.attempts_made} of at most {result.attempts_max}"))
    facts.append(("took", f"{result.duration_ms} ms of {result.timeout_seconds:g} s"))
    for each in result.attempts:
        facts += _of_attempt(each)
    if result.task is not None:
        facts += [("line", line.text) for line in result.task.lines]
        facts += [("not sent", request) for request in result.task.blocked]
    return facts


def _of_attempt(attempt: "TestAttempt") -> "Facts":
    facts = [("asked", f"POST {attempt.request.url}"), ("sent", attempt.request.body)]
    if attempt.address:
        facts.append(("address", attempt.address))
    if attempt.tls is not None:
        facts.append(
            ("sealed by", f"{attempt.tls.version}, certificate until {moment(attempt.tls.certificate_until)}")
        )
    if attempt.response is None:
        facts.append(("no answer", attempt.message))
    else:
        facts.append(("answered", f"{attempt.response.status} {attempt.response.body}"))
    return facts
