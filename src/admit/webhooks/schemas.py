"""JSON Schema (2020-12) of the bodies that endpoints are sent, made from the structs of the catalog. Pure."""

import inspect
from functools import cache
from typing import Any

import msgspec

from admit.events.catalog import TYPES
from admit.events.examples import EXAMPLES, OCCURRED_AT
from admit.events.log import Recorded
from admit.webhooks.messages import Body, body

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/$defs/{name}"
_APP_ID, _APP_NAME = "app_a47f3b9c0e5d7781b2f3c9a6d4e8f0a1b2c3d4", "notes"


def summary_of(event_type: str) -> str:
    """What an event of the type says, in a sentence."""
    return _description(event_type).split("\n\n")[0].replace("\n", " ")


def example_of(event_type: str) -> bytes:
    """An example of the whole body, in the format full."""
    data = msgspec.Raw(msgspec.json.encode(EXAMPLES[event_type]))
    return body(Recorded(42, "", event_type, None, OCCURRED_AT, data), _APP_ID, _APP_NAME, full=True)


@cache
def schema_of(event_type: str, address: str) -> dict[str, Any]:
    """The schema of the whole body of a type, which is published at `address`. Raises KeyError.

    It lets unknown members pass: a type gains some over time. The caller does not change it.
    """
    data = TYPES[event_type]
    _, parts = msgspec.json.schema_components([Body, data], ref_template=_REF)
    told, around, whole = parts.pop(data.__name__), parts.pop("Around"), parts.pop("Body")
    for part in parts.values():
        part["description"] = inspect.cleandoc(part["description"])
    return {
        "$schema": DIALECT,
        "$id": address,
        "title": event_type,
        "description": _description(event_type),
        "type": "object",
        "required": whole["required"],
        "properties": whole["properties"]
        | {
            "type": {"const": event_type},
            "data": {
                "type": "object",
                "required": [*around["required"], *told.get("required", ())],
                "properties": around["properties"] | told["properties"],
            },
        },
        "$defs": dict(sorted(parts.items())),
        "examples": [msgspec.json.decode(example_of(event_type))],
    }


def _description(event_type: str) -> str:
    return inspect.cleandoc(TYPES[event_type].__doc__ or "")
