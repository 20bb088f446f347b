"""JSON Schema (2020-12) of what tasks are given and what they return, made from the structs. Pure."""

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any, get_type_hints

import msgspec

from admit.task.contexts import (
    CallContext,
    Context,
    DecisionContext,
    EventContext,
    RequestContext,
    ScheduleContext,
)
from admit.task.event_parts import EventData
from admit.task.responses import Response
from admit.task.verdicts import Verdict

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/$defs/{name}"
_SERVICES = frozenset({"env", "log", "http", "db", "effects"})
_SHOWN_AS = {"told": ("data", EventData), "body": ("body", str)}
"""Members that a context has in another form than tasks see."""


def _members_of(context: type[Context]) -> dict[str, Any]:
    """The members of a context that are values, with their types."""
    hints = get_type_hints(context)
    names = [name for name in context.__struct_fields__ if name not in _SERVICES]
    if context is EventContext:
        names.remove("body")
    return dict(_SHOWN_AS.get(name, (name, hints[name])) for name in names)


def _struct_of(context: type[Context]) -> type[msgspec.Struct]:
    """A struct of what the context holds, with its docstring."""
    made = msgspec.defstruct(context.__name__, list(_members_of(context).items()), kw_only=True)
    made.__doc__ = context.__doc__
    return made


TYPES: Mapping[str, Any] = {
    "task.decision": _struct_of(DecisionContext),
    "task.event": _struct_of(EventContext),
    "task.schedule": _struct_of(ScheduleContext),
    "task.request": _struct_of(RequestContext),
    "task.call": _struct_of(CallContext),
    "task.verdict": Verdict,
    "task.response": Response,
}
"""What is published, by its name."""

SUMMARIES: Mapping[str, str] = {
    "task.decision": "What a task that decides is given",
    "task.event": "What a task that runs after an event is given",
    "task.schedule": "What a task that runs on a schedule is given",
    "task.request": "What an HTTP task is given",
    "task.call": "What a task that is called is given",
    "task.verdict": "What a task that decides returns",
    "task.response": "What an HTTP task returns",
}
"""Each in a few words."""


@cache
def schema_of(name: str, address: str) -> dict[str, Any]:
    """The schema called `name`, which is published at `address`. Raises KeyError. The caller leaves it as it
    is."""
    [whole], parts = msgspec.json.schema_components([TYPES[name]], ref_template=_REF)
    for part in parts.values():
        if "description" in part:
            part["description"] = inspect.cleandoc(part["description"])
    if "$ref" in whole:
        whole = parts.pop(whole["$ref"].rpartition("/")[2])
    return {
        "$schema": DIALECT,
        "$id": address,
        **whole,
        "title": name,
        **({"$defs": dict(sorted(parts.items()))} if parts else {}),
    }
