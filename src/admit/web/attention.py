"""What needs attention in an app, from its figures: the worst first. Pure."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from admit.accounts.apps import App, PolicySetting
from admit.clock import HOUR_MS, MINUTE_MS
from admit.enrollment.hours import Answered
from admit.jobs.failures import COUNTED_MAX, Failed
from admit.web.overview_types import Attention, EndpointFigures, FailedRuns, SeatsFigures
from admit.webhooks.figures import COUNTED_MAX as WAITING_MAX

FAILING_MS = 5 * MINUTE_MS
"""A failure that the next try mends is nothing to look at."""
FEW_SEATS_SHARE = 0.05
FAILING_SHARE = 0.1
ASKED_MIN = 10
"""Fewer answers say nothing of how slow they are."""
SLOW_SHARE = 0.5


def of_endpoint(here: EndpointFigures, now: int) -> Attention | None:
    """What is wrong with an endpoint; None: nothing."""
    name = name_of(here)
    owed = _about(here.waiting, "delivery", "deliveries", more=here.waiting >= WAITING_MAX)
    if here.state == "disabled":
        return Attention(
            code="endpoint_disabled",
            urgent=True,
            title=f"Web hook “{name}” is switched off",
            text=f"{here.reason} It is told of nothing meanwhile. What it misses is kept as long as events "
            "are, and is sent when you switch it on.".strip(),
            about=here.id,
        )
    if here.state == "enabled" and here.failing_since is not None and now - here.failing_since >= FAILING_MS:
        return Attention(
            code="endpoint_failing",
            urgent=True,
            title=f"Web hook “{name}” has been failing",
            text=f"{owed} {'waits' if here.waiting == 1 else 'wait'}. Nothing is lost: each is tried again. "
            "After five days of nothing but failures it is switched off.",
            about=here.id,
            since=here.failing_since,
        )
    return None


def of_asked(app: App, whole: Answered | None, by_hour: list[Answered], now: int) -> Iterator[Attention]:
    """What is wrong with the web hook or the task that decides."""
    policy = next(filter(_asks, (app.policy, *app.policies.values())), None)
    if whole is None or policy is None:
        return
    who = "decision hook" if policy.kind == "webhook" else f"task {policy.task}"
    if whole.failed:
        last = by_hour[-1]
        mended = not last.failed and last.asked > 0 and now - last.at < 2 * HOUR_MS
        share = whole.failed / whole.asked
        if policy.on_failure == "eval":
            follows = "They were admitted as eval, as the policy has it."
        else:
            follows = "They were refused for now, and are asked about again when they come back."
        yield Attention(
            code="hook_failing",
            urgent=share >= FAILING_SHARE and not mended,
            title=f"The {who} had no answer for {whole.failed:,} of {whole.asked:,} people in 24 hours",
            text=f"{follows}{' It answers again.' if mended else ''}",
        )
    budget_ms = policy.timeout_seconds * 1_000
    if whole.p99_ms is not None and whole.asked >= ASKED_MIN and whole.p99_ms >= SLOW_SHARE * budget_ms:
        yield Attention(
            code="hook_slow",
            urgent=False,
            title=f"The {who} is slow",
            text=f"One answer in a hundred takes {whole.p99_ms / 1_000:.1f} s or longer; it has "
            f"{policy.timeout_seconds:g} s, and people wait for it at the door.",
        )


def of_seats(seats: SeatsFigures) -> Attention | None:
    """Whether seats run out."""
    if seats.limit is None:
        return None
    left = seats.limit - seats.taken
    follows = "become eval" if seats.when_full == "eval" else "are refused"
    if left <= 0:
        return Attention(
            code="seats_full",
            urgent=True,
            title=f"All {seats.limit:,} seats are taken",
            text=f"New production users {follows}. Whoever is in stays in.",
        )
    if left <= max(1, seats.limit * FEW_SEATS_SHARE):
        return Attention(
            code="seats_few",
            urgent=False,
            title=f"{left:,} of {seats.limit:,} seats {'is' if left == 1 else 'are'} free",
            text=f"When they are used up, new production users {follows}. Whoever is in stays in.",
        )
    return None


def of_runs(failed: list[FailedRuns]) -> Attention | None:
    """Whether runs of tasks were given up."""
    if not failed:
        return None
    number = sum(each.runs for each in failed)
    most = max(failed, key=lambda each: each.runs)
    return Attention(
        code="runs_failed",
        urgent=False,
        title=f"{_about(number, 'run', 'runs', more=most.runs >= COUNTED_MAX)} of tasks failed in 24 hours",
        text=f"Most of them of {most.task}. They are kept with their input: each can be run again."
        if len(failed) > 1
        else f"All of {most.task}. They are kept with their input: each can be run again.",
        about=most.task,
    )


def of_mails(failed: Failed | None) -> Attention | None:
    """Whether mails could not be sent."""
    if failed is None:
        return None
    mails = _about(failed.number, "mail", "mails", more=failed.number >= COUNTED_MAX)
    return Attention(
        code="mails_failed",
        urgent=True,
        title=f"{mails} could not be sent in 24 hours",
        text=f"The last time: {failed.detail.rstrip('.')}. Whoever waits for a code can ask for another one.",
    )


def of_origins(app: App) -> Attention | None:
    """Whether no page may call."""
    if app.origins:
        return None
    return Attention(
        code="no_origin",
        urgent=False,
        title="No web page may call this app yet",
        text="Browsers refuse what a page asks here until its origin is allowed. Mobile apps and programs "
        "are not concerned.",
    )


def name_of(endpoint: EndpointFigures) -> str:
    """What people call an endpoint: its description, or the host that it is at."""
    return endpoint.description or urlsplit(endpoint.url).hostname or endpoint.url


def _asks(policy: PolicySetting) -> bool:
    return policy.kind in ("webhook", "task")


def _about(number: int, one: str, many: str, *, more: bool) -> str:
    """`1 delivery`, `214 deliveries`, `100 or more runs`."""
    return f"{number:,}{' or more' if more else ''} {one if number == 1 else many}"
