"""/api/apps/{app}/endpoint-figures: how endpoints are doing, in numbers."""

from typing import Annotated

import msgspec
from msgspec.structs import asdict
from starlette.responses import Response

from admit.clock import HOUR_MS
from admit.jobs.hours import Hour
from admit.storage.transaction import Transaction
from admit.web.admin_types import Text
from admit.web.endpoints_api import PAGE_MAX
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app
from admit.webhooks import endpoints, figures
from admit.webhooks.figures import Figures

HOURS_MAX = 7 * 24


class FiguresQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of which endpoints: those behind the id `after`."""

    after: Text = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = PAGE_MAX


class HoursQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many hours are told, up to the present one."""

    hours: Annotated[int, msgspec.Meta(ge=1, le=HOURS_MAX)] = 24


class EndpointFigures(Figures, frozen=True, kw_only=True):
    """How the endpoint `id` is doing. `accepted` and `failed` count the attempts of 24 hours.

    `answer_ms`: how long one took on the average; null: there was none. `waiting`: deliveries that are owed,
    10,000 standing for as many or more. `missed`: events that it is told of once it is enabled and has caught
    up. `oldest_at`: when the oldest of either came up; null: it was told of everything. `next_at`: when the
    next delivery may be tried; null: none waits for its time.
    """

    id: str


class FiguresPage(msgspec.Struct, frozen=True, kw_only=True):
    """Figures, of the oldest endpoint first. `after` leads to the next page; null: this is the last."""

    endpoints: list[EndpointFigures]
    after: str | None


class HourView(msgspec.Struct, frozen=True, kw_only=True):
    """The attempts of one hour, which began at `at`. `answer_ms`: how long one took; null: there was none."""

    at: int
    accepted: int
    failed: int
    answer_ms: int | None


class EndpointHours(EndpointFigures, frozen=True, kw_only=True):
    """The figures of an endpoint, and every hour of those that were asked for, the present one last."""

    hours: list[HourView]


async def list_figures(call: Call) -> Response:
    """A page of figures."""
    app, query, gateway = await permitted_app(call), call.query(FiguresQuery), call.gateway

    def find(tx: Transaction) -> tuple[dict[str, Figures], bool]:
        found = endpoints.page(tx, gateway.ring, app.app_id, after=query.after, limit=query.limit + 1)
        shown = found[: query.limit]
        return figures.of_endpoints(tx, shown, gateway.clock()), len(found) > len(shown)

    found, more = await gateway.db.read(find)
    return call.answer(
        FiguresPage(
            endpoints=[EndpointFigures(id=each, **asdict(of)) for each, of in found.items()],
            after=list(found)[-1] if more else None,
        )
    )


async def show_figures(call: Call) -> Response:
    """The figures of one endpoint."""
    app, query, gateway = await permitted_app(call), call.query(HoursQuery), call.gateway
    endpoint_id, now = call.param("endpoint"), call.gateway.clock()
    first = now - now % HOUR_MS - (query.hours - 1) * HOUR_MS

    def find(tx: Transaction) -> tuple[Figures, list[Hour]] | None:
        here = endpoints.find(tx, gateway.ring, app.app_id, endpoint_id)
        if here is None:
            return None
        return figures.of_endpoint(tx, here, now), figures.by_hour(tx, app.app_id, endpoint_id, first)

    found = await gateway.db.read(find)
    if found is None:
        raise endpoints.not_found(endpoint_id)
    of, seen = found
    return call.answer(
        EndpointHours(id=endpoint_id, **asdict(of), hours=_every_hour(seen, first, query.hours))
    )


def _every_hour(seen: list[Hour], first: int, count: int) -> list[HourView]:
    known = {each.hour: each for each in seen}
    moments = (first + place * HOUR_MS for place in range(count))
    return [_hour(known.get(at, Hour(at, 0, 0, 0))) for at in moments]


def _hour(hour: Hour) -> HourView:
    tried = hour.accepted + hour.failed
    return HourView(
        at=hour.hour,
        accepted=hour.accepted,
        failed=hour.failed,
        answer_ms=round(hour.duration_ms / tried) if tried else None,
    )


OPERATIONS = (
    admin(
        "GET",
        "/apps/{app}/endpoint-figures",
        list_figures,
        "Tells how the endpoints are doing, in numbers",
        "webhooks:read",
        query=FiguresQuery,
        answer=FiguresPage,
    ),
    admin(
        "GET",
        "/apps/{app}/endpoints/{endpoint}/figures",
        show_figures,
        "Tells how an endpoint is doing, in numbers and by the hour",
        "webhooks:read",
        query=HoursQuery,
        answer=EndpointHours,
        codes=("endpoint_not_found",),
    ),
)
