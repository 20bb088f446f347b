"""GET /schemas: open to everybody, any page included."""

import pytest
from jsonschema_rs import Draft202012Validator, meta

from admit.accounts.app_settings import parse_app_name
from admit.errors import InvalidRequest
from admit.events.catalog import TYPES
from admit.task.schemas import TYPES as TASKS
from tests.contract.served import Answered, Served

ANYWHERE = {"Origin": "https://nobody.example"}


def is_public(answer: Answered) -> bool:
    return (
        answer.headers["Access-Control-Allow-Origin"] == "*"
        and answer.headers["Cache-Control"] == "public, max-age=3600"
    )


async def test_every_type_is_listed_with_the_address_of_its_schema(door: Served) -> None:
    listed = await door.ask("GET", "/schemas", headers=ANYWHERE)

    assert is_public(listed)
    assert [each["type"] for each in listed.json["types"]] == list(TYPES)
    for each in listed.json["types"]:
        assert each["schema"] == f"{door.gateway.settings.public_url}/schemas/{each['type']}"
        path = each["schema"].removeprefix(door.gateway.settings.public_url)
        answer = await door.ask("GET", path, headers=ANYWHERE)
        assert (answer.status, is_public(answer)) == (200, True)
        assert answer.json["$id"] == each["schema"]
        assert answer.json["description"].replace("\n", " ").startswith(each["summary"])
        assert meta.is_valid(answer.json)
        (example,) = answer.json["examples"]
        assert Draft202012Validator(answer.json, validate_formats=True).is_valid(example)


async def test_what_tasks_are_given_and_return_is_listed_with_its_schema(door: Served) -> None:
    listed = await door.ask("GET", "/schemas", headers=ANYWHERE)

    assert [each["name"] for each in listed.json["tasks"]] == list(TASKS)
    assert {"task.decision", "task.event", "task.request", "task.verdict"} <= TASKS.keys()
    for each in listed.json["tasks"]:
        path = each["schema"].removeprefix(door.gateway.settings.public_url)
        answer = await door.ask("GET", path, headers=ANYWHERE)
        assert (answer.status, is_public(answer)) == (200, True)
        assert (answer.json["$id"], answer.json["title"]) == (each["schema"], each["name"])
        assert meta.is_valid(answer.json)


@pytest.mark.parametrize("name", ["user.vanished", "User.Enrolled", "%00", "..", "a%2Fb"])
async def test_schema_of_an_unknown_type_is_not_found(door: Served, name: str) -> None:
    assert (await door.ask("GET", f"/schemas/{name}")).status in (400, 404)


async def test_schemas_are_read_only(door: Served) -> None:
    answer = await door.ask("POST", "/schemas", data=b"{}")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, OPTIONS")


def test_no_app_can_take_their_address() -> None:
    with pytest.raises(InvalidRequest, match="reserved"):
        parse_app_name("schemas")
