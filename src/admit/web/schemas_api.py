"""GET /schemas: what the bodies of events look like, for programs and for whoever writes a receiver."""

from typing import Any

import msgspec
from starlette.responses import Response

from admit.errors import NotFound
from admit.events.catalog import TYPES
from admit.gateway import Gateway
from admit.task import schemas as task_schemas
from admit.task.schemas import TYPES as TASKS
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


class TaskPart(msgspec.Struct, frozen=True):
    """What tasks are given or return, by its name. `schema`: the address of its JSON Schema."""

    name: str
    summary: str
    schema: str


class EventTypes(msgspec.Struct, frozen=True):
    """Every type of event, and what tasks are given and return."""

    types: list[EventType]
    tasks: list[TaskPart]


async def list_event_types(call: Call) -> Response:
    """Every type of event, and what tasks are given and return."""
    types = [EventType(each, summary_of(each), _address(call.gateway, each)) for each in TYPES]
    tasks = [TaskPart(each, task_schemas.SUMMARIES[each], _address(call.gateway, each)) for each in TASKS]
    return call.answer(EventTypes(types, tasks), headers=_HEADERS)


async def show_schema(call: Call) -> Response:
    """The JSON Schema of the bodies of a type, with an example, or of what tasks are given or return."""
    event_type = call.param("type")
    if event_type in TASKS:
        schema = task_schemas.schema_of(event_type, _address(call.gateway, event_type))
        return call.answer(schema, headers=_HEADERS)
    if event_type not in TYPES:
        raise NotFound("There is no schema of this name. Every one is listed at /schemas.")
    return call.answer(schema_of(event_type, _address(call.gateway, event_type)), headers=_HEADERS)


def _address(gateway: Gateway, event_type: str) -> str:
    return f"{gateway.settings.public_url}/schemas/{event_type}"


OPERATIONS = (
    Operation(
        method="GET",
        path="/schemas",
        handler=list_event_types,
        summary="Lists the types of events, and what tasks are given and return",
        access="open",
        answer=EventTypes,
    ),
    Operation(
        method="GET",
        path="/schemas/{type}",
        handler=show_schema,
        summary="The JSON Schema of the bodies of a type of event, with an example, or of a part of tasks",
        access="open",
        answer=dict[str, Any],
        codes=("not_found",),
    ),
)
