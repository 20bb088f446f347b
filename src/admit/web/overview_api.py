"""/api/apps/{app}/overview: how an app is doing, from figures that cost the same however large it is."""

import asyncio
from collections.abc import Sequence

import msgspec
from starlette.responses import Response

from admit.accounts import seats
from admit.accounts.apps import App
from admit.clock import DAY_MS, HOUR_MS
from admit.enrollment import hours
from admit.enrollment.hours import Answered, Decided
from admit.gateway import Gateway
from admit.jobs import failures
from admit.jobs.failures import Failed
from admit.signin import mail_job
from admit.storage.transaction import Transaction
from admit.tasks import registrations, run_pages
from admit.web import attention
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_in_app
from admit.web.overview_types import (
    Attention,
    EndpointFigures,
    FailedRuns,
    Overview,
    OverviewQuery,
    SeatsFigures,
    Step,
)
from admit.webhooks import endpoints, figures
from admit.webhooks.endpoints import Standing

ENDPOINTS_MAX = 12
"""So many are looked at: those that fail or are switched off, then the oldest."""


async def show_overview(call: Call) -> Response:
    """The overview of an app."""
    days = call.query(OverviewQuery).days
    app, token = await permitted_in_app(call)
    gateway, now = call.gateway, call.gateway.clock()
    people, devices, known, told, runs = await asyncio.gather(
        _people(gateway, app) if "users:read" in token.scopes else _nothing(),
        gateway.device_totals.seen(app.app_id, days),
        gateway.db.read(lambda tx: _Decisions.read(tx, app, now, days)),
        _endpoints(gateway, app, now) if "webhooks:read" in token.scopes else _nothing(),
        _failed_runs(gateway, app, now) if "tasks:read" in token.scopes else _nothing(),
    )
    listed, total = (None, None) if told is None else told
    return call.answer(
        Overview(
            at=now,
            days=days,
            since=known.since,
            by="hour" if days == 1 else "day",
            people=people,
            devices=devices,
            seats=known.seats,
            decisions=known.decisions,
            asked=known.asked,
            asked_by_hour=known.asked_by_hour,
            endpoints=listed,
            endpoints_total=total,
            failed_runs=runs,
            failed_mails=known.failed_mails,
            attention=_attention(app, known, people, listed or [], runs or [], now),
            steps=[
                Step("origin", bool(app.origins)),
                Step("policy", app.policy_version > 1),
                Step("endpoint", bool(total)),
                Step("sign_in", bool(known.decisions)),
            ],
        )
    )


class _Decisions(msgspec.Struct, frozen=True, kw_only=True):
    """What one look into the database tells."""

    since: int
    seats: SeatsFigures
    decisions: list[Decided]
    asked: Answered | None
    asked_by_hour: list[Answered]
    failed_mails: Failed | None

    @classmethod
    def read(cls, tx: Transaction, app: App, now: int, days: int) -> "_Decisions":
        step = HOUR_MS if days == 1 else DAY_MS
        since = now - now % step - (24 * HOUR_MS if days == 1 else days * DAY_MS) + step
        whole, by_hour = hours.answered(tx, app.app_id, now - DAY_MS + HOUR_MS)
        taken = seats.of_app(tx, app.app_id)
        return cls(
            since=since,
            seats=SeatsFigures(taken.taken, taken.limit, taken.when_full),
            decisions=hours.decided(tx, app.app_id, since, by_day=days > 1),
            asked=whole if whole.asked else None,
            asked_by_hour=by_hour,
            failed_mails=failures.outside_lanes(tx, app.app_id, mail_job.KIND, now - DAY_MS),
        )


async def _nothing() -> None:
    return None


async def _people(gateway: Gateway, app: App) -> int | None:
    """How many people there are, where that is known by now."""
    total = await gateway.user_totals.soon(app.app_id)
    return None if total is None else total.users


async def _endpoints(gateway: Gateway, app: App, now: int) -> tuple[list[EndpointFigures], int]:
    def find(tx: Transaction) -> tuple[list[EndpointFigures], int]:
        found = endpoints.standings(tx, app.app_id)
        chosen = sorted(found, key=_need)[:ENDPOINTS_MAX]
        numbers = figures.of_endpoints(tx, chosen, now)
        return [
            EndpointFigures(
                **msgspec.structs.asdict(numbers[each.endpoint_id]),
                id=each.endpoint_id,
                url=each.url,
                description=each.settings.description,
                state=each.state,
                reason=each.reason,
                failing_since=each.failing_since,
            )
            for each in chosen
        ], len(found)

    return await gateway.db.read(find)


def _need(here: Standing) -> tuple[bool, bool, str]:
    return here.state != "disabled", here.failing_since is None, here.endpoint_id


async def _failed_runs(gateway: Gateway, app: App, now: int) -> list[FailedRuns]:
    def find(tx: Transaction) -> list[FailedRuns]:
        failed = failures.in_lanes(tx, app.app_id, registrations.KIND, now - DAY_MS)
        names = run_pages.names_of_lanes(tx, app.app_id) if failed else {}
        return [FailedRuns(names.get(lane, lane), failed[lane]) for lane in sorted(failed)]

    return await gateway.db.read(find)


def _attention(
    app: App,
    known: _Decisions,
    people: int | None,
    listed: Sequence[EndpointFigures],
    runs: list[FailedRuns],
    now: int,
) -> list[Attention]:
    found = [
        *(attention.of_endpoint(each, now) for each in listed),
        *attention.of_asked(app, known.asked, known.asked_by_hour, now),
        attention.of_mails(known.failed_mails),
        attention.of_seats(known.seats),
        attention.of_runs(runs),
        attention.of_origins(app) if people != 0 else None,
    ]
    return sorted((each for each in found if each is not None), key=lambda each: not each.urgent)


OPERATIONS = (
    admin(
        "GET",
        "/apps/{app}/overview",
        show_overview,
        "Shows how an app is doing: who came, how fast decisions are, what needs attention",
        "apps:read",
        query=OverviewQuery,
        answer=Overview,
    ),
)
