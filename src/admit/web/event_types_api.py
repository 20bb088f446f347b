"""/api/apps/{app}/event-types: every type of event, with its schema and an example."""

from typing import Any

import msgspec
from starlette.responses import Response

from admit.events import type_names
from admit.events.catalog import TYPES
from admit.events.feed import FOR_EVERYBODY
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app
from admit.webhooks import messages
from admit.webhooks.schemas import schema_of, summary_of


class EventTypeView(msgspec.Struct, frozen=True, kw_only=True):
    """A type of event. `for_everybody`: an endpoint that names no types is told of it.

    `schema_url`: where the JSON Schema of its bodies is published.
    """

    type: str
    summary: str
    for_everybody: bool
    schema_url: str


class EventTypeDetail(EventTypeView, frozen=True, kw_only=True):
    """A type of event with its schema and the body of an example, in both formats."""

    schema: dict[str, Any]
    full: dict[str, Any]
    thin: dict[str, Any]


class EventTypesView(msgspec.Struct, frozen=True):
    """Every type of event."""

    types: list[EventTypeView]


async def list_types_of_app(call: Call) -> Response:
    """Every type of event."""
    await permitted_app(call)
    return call.answer(EventTypesView([_view(call, each) for each in TYPES]))


async def show_event_type(call: Call) -> Response:
    """One type of event, with its schema and an example."""
    app, event_type = await permitted_app(call), type_names.check(call.param("type"))
    view = _view(call, event_type)

    def example(*, full: bool) -> dict[str, Any]:
        body = messages.sample(
            event_type, app.app_id, app.name, full=full, now=call.gateway.clock(), test=False
        )
        return msgspec.json.decode(body, type=dict[str, Any])

    return call.answer(
        EventTypeDetail(
            **msgspec.structs.asdict(view),
            schema=schema_of(event_type, view.schema_url),
            full=example(full=True),
            thin=example(full=False),
        )
    )


def _view(call: Call, event_type: str) -> EventTypeView:
    return EventTypeView(
        type=event_type,
        summary=summary_of(event_type),
        for_everybody=event_type in FOR_EVERYBODY,
        schema_url=f"{call.gateway.settings.public_url}/schemas/{event_type}",
    )


OPERATIONS = (
    admin(
        "GET",
        "/apps/{app}/event-types",
        list_types_of_app,
        "Lists the types of events",
        "events:read",
        answer=EventTypesView,
    ),
    admin(
        "GET",
        "/apps/{app}/event-types/{type}",
        show_event_type,
        "Shows a type of event with its schema and an example",
        "events:read",
        answer=EventTypeDetail,
        codes=("event_type_unknown",),
    ),
)
