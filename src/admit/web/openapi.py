"""GET /openapi.json: every operation, from the same structs that the doors read and write."""

import re
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import msgspec
from starlette.responses import Response

from admit.web.errors import ErrorBody
from admit.web.operations import Call, Operation

TITLE = "Admit"
_REF = "#/components/schemas/{name}"
_SECURITY: dict[str, list[dict[str, list[str]]]] = {
    "open": [],
    "person_or_open": [{}, {"access_token": []}],
    "person": [{"access_token": []}],
    "operator": [{"operator_token": []}],
    "operator_or_client": [{"operator_token": []}, {"basic": []}],
}
_TAGS = {"operator": "Admin", "operator_or_client": "Sessions"}
_PARAMETER = re.compile(r"{(\w+)}")


def document(operations: Iterable[Operation], *, server: str) -> dict[str, Any]:
    """OpenAPI 3.1 of `operations`, which are served at `server`."""
    listed = list(operations)
    kinds = [
        kind
        for each in listed
        for kind in (each.query, each.body, each.answer, ErrorBody)
        if kind is not None
    ]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    # Types such as list[AppLine] cannot be looked up by themselves, only by their place.
    by_kind = dict(zip(map(repr, kinds), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in listed:
        described = _described(operation, by_kind, components)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": TITLE,
            "version": version("admit"),
            "description": "Enrollment: who is at the door, may they come in, and who needs to know.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "access_token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "From POST /{app}/token.",
                },
                "operator_token": {"type": "http", "scheme": "bearer", "description": "Of the admin API."},
                "basic": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "The app and an operator token, or an API client and its secret.",
                },
            },
        },
    }


def operation_for(others: tuple[Operation, ...]) -> Operation:
    """The operation that tells `others` and itself."""
    made: dict[str, dict[str, Any]] = {}

    async def get_openapi(call: Call) -> Response:
        """The document, made once."""
        server = call.gateway.settings.public_url
        if server not in made:
            made[server] = document((*others, call.operation), server=server)
        return call.answer(made[server])

    return Operation(
        method="GET",
        path="/openapi.json",
        handler=get_openapi,
        summary="This document",
        access="open",
        answer=dict[str, Any],
    )


def _described(
    operation: Operation, by_kind: dict[str, dict[str, Any]], components: dict[str, Any]
) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Done"}
    if operation.answer is not None:
        success = {
            "description": "The answer",
            "content": {"application/json": {"schema": by_kind[repr(operation.answer)]}},
        }
    failure = {
        "description": _failures(operation),
        "content": {"application/json": {"schema": by_kind[repr(ErrorBody)]}},
    }
    described: dict[str, Any] = {
        "operationId": operation.handler.__name__,
        "summary": operation.summary,
        "tags": [_TAGS.get(operation.access, "Apps" if "{app}" in operation.path else "Server")],
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in _names(operation)
            ),
            *_query_parameters(operation, by_kind, components),
        ],
        "responses": {
            str(204 if operation.answer is None and operation.status == 200 else operation.status): success,
            "default": failure,
        },
        "security": _SECURITY[operation.access],
    }
    if operation.scopes:
        described["description"] = f"Needs the scope {' and '.join(operation.scopes)}."
    if operation.body is not None:
        schema = by_kind[repr(operation.body)]
        described["requestBody"] = {
            "required": True,
            "content": {kind: {"schema": schema} for kind in operation.body_media_types},
        }
    return described


def _names(operation: Operation) -> list[str]:
    return _PARAMETER.findall(operation.path)


def _query_parameters(
    operation: Operation, by_kind: dict[str, dict[str, Any]], components: dict[str, Any]
) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    name = by_kind[repr(operation.query)]["$ref"].rpartition("/")[2]
    table = components[name]
    return [
        {"name": field, "in": "query", "required": field in table.get("required", ()), "schema": schema}
        for field, schema in table["properties"].items()
    ]


def _failures(operation: Operation) -> str:
    return f"Refused: {', '.join(operation.codes)}" if operation.codes else "Refused"
