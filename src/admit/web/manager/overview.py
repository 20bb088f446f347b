"""/apps/APP: what needs attention first, then how the app is doing, and what happens now."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from starlette.responses import Response

from admit.clock import DAY_MS, HOUR_MS
from admit.enrollment.hours import Answered, Decided
from admit.errors import InvalidRequest
from admit.events.feed import LATEST
from admit.web import attention
from admit.web.admin_types import AppView
from admit.web.events_api import EventPage, EventView
from admit.web.manager import charts, live, words
from admit.web.manager.charts import Column, Columns, Lines
from admit.web.manager.pages import Page, page
from admit.web.overview_types import Attention, EndpointFigures, Overview

PERIODS = {1: "24 hours", 7: "7 days", 28: "28 days"}
EVENTS = 8
FEED = "/apps/{app}/events"


class Decisions(msgspec.Struct, frozen=True, kw_only=True):
    """The chart of decisions. `finding` is its sentence; `rows` the numbers of its table."""

    chart: Columns
    finding: str
    labels: list[str]
    rows: list[tuple[str, Decided]]


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """The chart of how long whoever decides takes."""

    whole: Answered
    chart: Lines
    finding: str
    labels: list[str]
    rows: list[tuple[str, Answered]]


class Action(msgspec.Struct, frozen=True):
    """Where something that needs attention is looked after."""

    url: str
    label: str


async def show(page: Page) -> Response:
    """The overview of an app."""
    days = _days(page)
    app, overview, feed = await page.together(
        page.get("/apps/{app}", AppView),
        page.get("/apps/{app}/overview", Overview, {"days": days}),
        page.get(FEED, EventPage, {"before": LATEST, "limit": EVENTS}),
    )
    return page.render(
        "overview.html",
        app=app,
        days=days,
        periods=[(page.here(days=each if each != 7 else None), name) for each, name in PERIODS.items()],
        period=PERIODS[days],
        overview=overview,
        new=not overview.people and not all(step.done for step in overview.steps),
        steps={step.name: step.done for step in overview.steps},
        numbers=numbers_of(overview),
        attention=[(each, action_for(page, each)) for each in overview.attention],
        decisions=decisions_of(overview),
        hook=hook_of(overview),
        endpoints=[
            (each, attention.name_of(each), _state(each, page.now)) for each in overview.endpoints or []
        ],
        feed=[_happened(each) for each in feed.events],
        cursor=feed.back or feed.cursor,
    )


async def follow(page: Page) -> Response:
    """The newest events as they happen, and the numbers that they change."""
    days = _days(page)

    def rows(events: Sequence[EventView]) -> str:
        return page.block("happened.html", "rows", feed=[_happened(each) for each in events])

    async def numbers() -> dict[str, str]:
        return numbers_of(await page.get("/apps/{app}/overview", Overview, {"days": days}))

    return await live.stream(page, rows, numbers=numbers)


def numbers_of(overview: Overview) -> dict[str, str]:
    """The numbers that change while somebody looks, by the id of the element that shows each."""
    came = _sum(overview.decisions)
    seats = overview.seats
    asked = overview.asked
    return {
        "n-people": "…" if overview.people is None else words.number(overview.people),
        "n-devices": "…" if overview.devices is None else words.number(overview.devices),
        "n-devices-note": _devices_each(overview),
        "n-decided": words.number(came.admitted_eval + came.admitted_prod + came.refused + came.unanswered),
        "n-decided-note": _outcomes(came) or "Nobody new has come",
        "n-seats": words.number(seats.taken),
        "n-median": "" if asked is None or asked.median_ms is None else words.duration(asked.median_ms),
        "n-p99": "" if asked is None or asked.p99_ms is None else words.duration(asked.p99_ms),
        "n-failed": "" if asked is None else words.number(asked.failed),
        "n-asked": "" if asked is None else words.number(asked.asked),
    }


def action_for(page: Page, needed: Attention) -> Action | None:
    """The one thing to do about it; None: there is no page for it."""
    match needed.code:
        case "endpoint_failing" | "endpoint_disabled":
            return Action(page.here("endpoints", needed.about), "See the attempts")
        case "hook_failing" | "hook_slow":
            return Action(page.here("policy"), "Test the policy")
        case "mails_failed":
            return Action(page.here("sign-in", "mail"), "Test the mail server")
        case "runs_failed":
            return Action(page.here("runs", state="failed"), "See the runs")
        case "seats_few" | "seats_full":
            return Action(page.here("settings"), "Set seats")
        case "no_origin":
            return Action(page.here("clients"), "Allow an origin")


def decisions_of(overview: Overview) -> Decisions:
    """The chart of decisions, a column for every hour or day."""
    step = HOUR_MS if overview.by == "hour" else DAY_MS
    known = {each.at: each for each in overview.decisions}
    places = range(overview.since, overview.at + 1, step)
    whole = [known.get(at, Decided(at=at)) for at in places]
    named = [(_name(each.at, overview.by), each) for each in whole]
    chart = charts.columns(
        [
            Column(
                title=f"{name}: {_outcomes(each) or 'nobody'}",
                values=(each.admitted_eval + each.admitted_prod, each.unanswered, each.refused),
            )
            for name, each in named
        ]
    )
    week = len(whole) <= 7
    every = 6 if overview.by == "hour" else 1 if week else 7
    return Decisions(
        chart=chart,
        finding=_finding(named, PERIODS.get(overview.days, f"{overview.days} days")),
        labels=[
            _name(each.at, "day")[:3] if week else _short(each.at, overview.by) for each in whole[::every]
        ],
        rows=[(name, each) for name, each in reversed(named) if _total(each)],
    )


def hook_of(overview: Overview) -> Hook | None:
    """The chart of the last 24 hours of whoever decides; None: nobody was asked."""
    if overview.asked is None:
        return None
    first = overview.at - overview.at % HOUR_MS - 23 * HOUR_MS
    known = {each.at: each for each in overview.asked_by_hour}
    hours = [known.get(first + place * HOUR_MS) for place in range(24)]
    slowest = max(
        (each for each in hours if each and each.p99_ms), key=lambda each: each.p99_ms or 0, default=None
    )
    finding = "It had no answer in 24 hours."
    if overview.asked.median_ms is not None:
        finding = f"Half of the answers came within {words.duration(overview.asked.median_ms)}."
    if slowest is not None and slowest.p99_ms is not None:
        finding += (
            f" The slowest hour began at {_short(slowest.at, 'hour')}: {words.duration(slowest.p99_ms)}."
        )
    return Hook(
        whole=overview.asked,
        chart=charts.lines(
            [
                [None if each is None else each.median_ms for each in hours],
                [None if each is None else each.p99_ms for each in hours],
            ]
        ),
        finding=finding,
        labels=[_short(first + place * HOUR_MS, "hour") for place in range(0, 24, 6)],
        rows=[(_short(each.at, "hour"), each) for each in reversed(hours) if each is not None],
    )


def _days(page: Page) -> int:
    text = page.query("days", "7")
    if text not in map(str, PERIODS):
        raise InvalidRequest("The overview looks back 1, 7 or 28 days.")
    return int(text)


def _sum(decisions: Sequence[Decided]) -> Decided:
    return Decided(
        at=0,
        admitted_eval=sum(each.admitted_eval for each in decisions),
        admitted_prod=sum(each.admitted_prod for each in decisions),
        refused=sum(each.refused for each in decisions),
        unanswered=sum(each.unanswered for each in decisions),
    )


def _total(each: Decided) -> int:
    return each.admitted_eval + each.admitted_prod + each.refused + each.unanswered


def _outcomes(each: Decided) -> str:
    """`171 admitted, 9 refused, 4 unanswered`; "" where nobody came."""
    parts = (
        (each.admitted_eval + each.admitted_prod, "admitted"),
        (each.refused, "refused"),
        (each.unanswered, "unanswered"),
    )
    return ", ".join(f"{words.number(number)} {word}" for number, word in parts if number)


def _finding(named: Sequence[tuple[str, Decided]], period: str) -> str:
    whole = _sum([each for _, each in named])
    if not _total(whole):
        return f"Nobody new came to the door in {period}."
    name, most = max(named, key=lambda each: _total(each[1]))
    when = f"at {name}" if ":" in name else f"on {name}"
    return f"{_outcomes(whole)} in {period}. Most came {when}: {_total(most):,}."


def _devices_each(overview: Overview) -> str:
    if not overview.people or overview.devices is None:
        return ""
    return f"{overview.devices / overview.people:.1f} for each person"


def _state(each: EndpointFigures, now: int) -> tuple[str, str]:
    """What to call it, and its tone."""
    if each.state != "enabled":
        return ("Switched off", "bad") if each.state == "disabled" else ("Paused", "")
    if each.failing_since is not None:
        urgent = now - each.failing_since >= attention.FAILING_MS
        return ("Failing", "bad") if urgent else ("Trying again", "warn")
    return ("Healthy", "good") if each.accepted else ("Not told yet", "")


class Happened(msgspec.Struct, frozen=True, kw_only=True):
    """An event as a row. `tone` and `verdict`: of a decision; `how`: what led to it."""

    id: str
    type: str
    at: int
    user_id: str
    gone: bool
    device: str
    how: str
    verdict: str
    tone: str


_SOURCES = {
    "webhook": "Decision hook",
    "task": "Task",
    "domains": "Email domains",
    "eval": "Policy: eval",
    "prod": "Policy: prod",
    "reject": "Policy: reject",
    "api": "A program",
    "import": "Import",
}
_REASONS = {
    "device_limit": "A newer device",
    "locked": "An operator",
    "user_locked": "With the person",
    "reauthenticate": "To sign in anew",
    "logged_out": "Signed out",
    "replaced": "Enrolled anew",
    "expired": "Expired",
    "inactive": "Not heard of",
}
_METHODS = {"email_code": "Mailed code", "client_credentials": "API client"}


def _happened(event: EventView) -> Happened:
    data = event.data
    user, device, verdict = data.get("user", {}), data.get("device", {}), data.get("verdict", {})
    method = data.get("sign_in", {}).get("method", "")
    decided = verdict.get("type", "")
    return Happened(
        id=event.id,
        type=event.type,
        at=round(datetime.fromisoformat(event.timestamp).astimezone(UTC).timestamp() * 1_000),
        user_id=user.get("user_id", ""),
        gone=event.type in ("user.refused", "user.deleted"),
        device=device.get("label") or device.get("platform") or "",
        how=_SOURCES.get(verdict.get("source", ""))
        or _REASONS.get(data.get("reason", ""))
        or _METHODS.get(method, method),
        verdict=decided,
        tone={"prod": "good", "eval": "plum", "refused": "bad"}.get(decided, ""),
    )


def _name(at: int, by: str) -> str:
    """`Thu 19 Feb`, or `14:00`."""
    moment = datetime.fromtimestamp(at / 1_000, UTC)
    return f"{moment:%H:%M}" if by == "hour" else f"{moment:%a} {moment.day} {moment:%b}"


def _short(at: int, by: str) -> str:
    """`19 Feb`, or `14:00`."""
    moment = datetime.fromtimestamp(at / 1_000, UTC)
    return f"{moment:%H:%M}" if by == "hour" else f"{moment.day} {moment:%b}"


PAGES = (
    page("GET", "/apps/{app}", show, nav="overview"),
    page("GET", "/apps/{app}/live", follow, nav="overview"),
)
