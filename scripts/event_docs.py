"""Writes docs/events.md from the catalog of events."""

from collections.abc import Iterator
from typing import Any

import msgspec

from admit.events.catalog import TYPES
from admit.webhooks.schemas import example_of, schema_of

INTRODUCTION = """\
# Events

An event is a fact that was committed, in the same transaction as the fact itself. It has a place in the log
of its app: places have no gaps, and nothing ever appears behind one that was already handed out. Programs
read the schema of every body below at `/schemas`.

Endpoints are sent events; programs can also [read them by a cursor](guides/event-feed.md). Events are kept
for `RETENTION_DAYS`, 30 unless set.

## The body of a request

Endpoints are sent events as [Standard Webhooks](https://www.standardwebhooks.com) has them, signed, with the
id of the event in the header `webhook-id`: the same at every attempt and for every endpoint.

```json
{example}
```

Members are in snake_case, one that does not apply is absent, and times are ISO 8601 in UTC. A type, once
published, only ever gains members, and so may a list of words (types, methods, sources, codes): let what you
do not know pass. `data` begins with these:

{around}
An endpoint is sent thin bodies unless it asks for full ones: without `email`, `name` and `data` of the user,
and without the `subject` of an identity. They are personal, a copy of them at every receiver is one more that
must be erased, and what was true when the event happened may be outdated when it arrives. The `user_id` leads
to the person as they are now, through the admin API. Filters of an endpoint see everything, whatever is sent
to it.

## What events tell of

"""
PARTS = {
    "user": "Person",
    "device": "Device",
    "session": "Session",
    "identity": "Identity",
    "sign_in": "SignIn",
    "verdict": "Verdict",
    "endpoint": "Endpoint",
}
"""The members that several types have, and the struct that each is."""


def page() -> str:
    """The text of docs/events.md, but for the line that says so."""
    schemas = {each: schema_of(each, "") for each in TYPES}
    first = schemas["user.enrolled"]
    data = first["properties"]["data"]
    around = {name: data["properties"][name] for name in data["properties"] if name not in PARTS}
    example = msgspec.json.format(example_of("user.enrolled"), indent=2).decode()
    introduction = INTRODUCTION.replace("{example}", example).replace(
        "{around}", _table(around, data["required"], first["$defs"])
    )
    parts = {name: part for schema in schemas.values() for name, part in schema["$defs"].items()}
    return "".join(
        [
            introduction,
            *(_part(member, parts[name]) for member, name in PARTS.items()),
            "## The types\n",
            *(_section(name, schema) for name, schema in schemas.items()),
        ]
    )


def _part(member: str, schema: dict[str, Any]) -> str:
    table = _table(schema["properties"], schema["required"], {})
    return f"**{member}**: {_flowing(schema['description'])}\n\n{table}\n"


def _section(name: str, schema: dict[str, Any]) -> str:
    data = schema["properties"]["data"]
    everywhere = schema_of("test.ping", "")["properties"]["data"]["properties"]
    own = {member: value for member, value in data["properties"].items() if member not in everywhere}
    required = data["required"]
    shared = [
        f"`{each}`" if each in required else f"`{each}` (where it applies)" for each in own if each in PARTS
    ]
    rest = {member: value for member, value in own.items() if member not in PARTS}
    lines = [f"\n### `{name}`\n\n{_paragraphs(schema['description'])}\n"]
    if shared:
        lines.append(f"\nCarries {', '.join(shared)}.\n")
    if rest:
        lines.append("\n" + _table(rest, required, schema["$defs"]))
    return "".join(lines)


def _table(members: dict[str, Any], required: list[str], parts: dict[str, Any]) -> str:
    rows = [
        f"| `{name}`{'' if name in required else ', optional'} | {' '.join(_told(schema, parts))} |\n"
        for name, schema in members.items()
    ]
    return "| member | |\n|---|---|\n" + "".join(rows)


def _told(schema: dict[str, Any], parts: dict[str, Any]) -> Iterator[str]:
    """What a schema says, in sentences."""
    if "$ref" in schema:
        part = parts[schema["$ref"].rpartition("/")[2]]
        names = ", ".join(f"`{each}`" for each in part["properties"])
        yield f"{_flowing(part['description'])} {names}."
        return
    if "description" in schema:
        yield schema["description"]
    if words := schema.get("enum") or schema.get("items", {}).get("enum"):
        kind = "A list of" if "items" in schema else "One of"
        yield f"{kind} {', '.join(f'`{each}`' for each in words)}."


def _paragraphs(text: str) -> str:
    return "\n\n".join(_flowing(each) for each in text.split("\n\n"))


def _flowing(text: str) -> str:
    return text.replace("\n", " ")
