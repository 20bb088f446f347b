"""GET /openapi.json tells every route, as it is."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from admit.web.app import OPERATIONS
from tests.contract.served import Served

NOT_TOLD = {
    *("/inbox", "/inbox/newest", "/inbox/mails/{key}", "/inbox/inbox.css", "/inbox/inbox.js"),
    "/{app}/tasks/{path:path}",
}
"""Pages for people, and what operators write. The socket is no HTTP operation."""


@pytest.fixture
async def document(door: Served) -> dict[str, Any]:
    answer = await door.ask("GET", "/openapi.json")
    assert answer.status == 200
    told: dict[str, Any] = answer.json
    return told


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


async def test_every_route_that_is_served_is_told(door: Served, document: dict[str, Any]) -> None:
    served = door.application.paths.patterns
    assert served > NOT_TOLD
    pages = {path for path in served if path == "/manager" or path.startswith("/manager/")}
    assert served - NOT_TOLD - pages == set(document["paths"])


async def test_every_operation_is_told_with_its_scope_and_body(document: dict[str, Any]) -> None:
    for operation in OPERATIONS:
        told = document["paths"][operation.path][operation.method.lower()]
        assert told["summary"] == operation.summary
        assert ("requestBody" in told) is (operation.body is not None)
        for scope in operation.scopes:
            assert scope in told["description"]
        names = {each["name"] for each in told["parameters"] if each["in"] == "path"}
        assert names == set(re.findall(r"{(\w+)}", operation.path))
    assert document["openapi"].startswith("3.1")


async def test_ids_are_unique_and_references_lead_somewhere(document: dict[str, Any]) -> None:
    ids = [told["operationId"] for path in document["paths"].values() for told in path.values()]
    assert len(ids) == len(set(ids))
    for reference in references(document):
        name = reference.removeprefix("#/components/schemas/")
        assert name in document["components"]["schemas"]


async def test_contract_is_told_in_its_own_names(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert {"userId", "validUntil", "evalDaysLeft", "deactivated", "data"} <= set(
        schemas["UserChange"]["properties"]
    )
    parameters = document["paths"]["/{app}/users"]["get"]["parameters"]
    assert {"search", "active", "type", "sort", "desc", "limit", "pagingKey"} <= {
        each["name"] for each in parameters
    }
    sync = document["paths"]["/{app}/sync"]["post"]
    assert set(sync["requestBody"]["content"]) == {"application/tson", "application/json"}
    assert sync["security"] == [{}, {"access_token": []}]
