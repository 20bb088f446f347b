"""GET /schemas: what the bodies of events look like, for programs and for whoever writes a receiver."""

from typing import Any

import msgspec
from starlette.responses import Response

from admit.errors import NotFound
from admit.events.catalog import TYPES
from admit.gateway import Gateway
from admit.web.operations import Call, Operation
from admit.webhooks.schemas import schema_of, summary_of

CACHE_SECONDS = 3_600

_HEADERS = {
    "Cache-Control": f"public, max-age={CACHE_SECONDS}",
    # They hold nobody's data: any page may read them.
    "Access-Control-Allow-Origin": "*",
}


class EventType(msgspec.Struct, frozen=True):
    """A type of event. `schema`: the address of the JSON Schema of its bodies."""

    type: str
    summary: str
    schema: str


class EventTypes(msgspec.Struct, frozen=True):
    """Every type of event."""

    types: list[EventType]


async def list_event_types(call: Call) -> Response:
    """Every type of event."""
    types = [EventType(each, summary_of(each), _address(call.gateway, each)) for each in TYPES]
    return call.answer(EventTypes(types), headers=_HEADERS)


async def show_schema(call: Call) -> Response:
    """The JSON Schema of the bodies of a type, with an example."""
    event_type = call.param("type")
    if event_type not in TYPES:
        raise NotFound("There is no event of this type. Every type is listed at /schemas.")
    return call.answer(schema_of(event_type, _address(call.gateway, event_type)), headers=_HEADERS)


def _address(gateway: Gateway, event_type: str) -> str:
    return f"{gateway.settings.public_url}/schemas/{event_type}"


OPERATIONS = (
    Operation(
        method="GET",
        path="/schemas",
        handler=list_event_types,
        summary="Lists the types of events",
        access="open",
        answer=EventTypes,
    ),
    Operation(
        method="GET",
        path="/schemas/{type}",
        handler=show_schema,
        summary="The JSON Schema of the bodies of a type of event, with an example",
        access="open",
        answer=dict[str, Any],
        codes=("not_found",),
    ),
)
