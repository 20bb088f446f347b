"""The bodies of deliveries, and the schemas that they keep."""

from typing import Any

import msgspec
import pytest
from jsonschema_rs import Draft202012Validator, meta

from admit.events.catalog import TYPES
from admit.events.examples import EXAMPLES
from admit.events.log import Recorded
from admit.events.privacy import KEPT_OF_HOOK, OF_HOOK, OF_IDENTITY, OF_OBJECT, PERSONAL
from admit.webhooks.messages import body, sample
from admit.webhooks.schemas import example_of, schema_of, summary_of

AT = 1_795_337_113_123
ADDRESS = "https://login.example.com/schemas/"


def recorded(data: str, position: int = 42, event_type: str = "user.updated") -> Recorded:
    return Recorded(position, "evt_1", event_type, "usr_1", AT, msgspec.Raw(data))


def example(event_type: str, position: int = 42) -> Recorded:
    return recorded(msgspec.json.encode(EXAMPLES[event_type]).decode(), position, event_type)


def schema(event_type: str) -> dict[str, Any]:
    return schema_of(event_type, ADDRESS + event_type)


def faults(event_type: str, told: bytes) -> list[str]:
    """The paths of the members that are not as the schema has them."""
    validator = Draft202012Validator(schema(event_type), validate_formats=True)
    return [".".join(map(str, fault.instance_path)) for fault in validator.iter_errors(_read(told))]


def _read(told: bytes) -> Any:
    return msgspec.json.decode(told)


USER = '"uid":"usr_1","user_id":"ada","type":"eval"'


def test_body_is_what_was_stored_between_what_is_known_when_it_is_sent() -> None:
    stored = f'{{"user":{{{USER},"email":"ada@example.com"}},"changed":["email"]}}'
    assert body(recorded(stored), "app_1", "notes", full=True).decode() == (
        '{"type":"user.updated","timestamp":"2026-11-22T08:45:13.123Z","data":{"sequence":"42",'
        '"app":{"id":"app_1","name":"notes"},' + stored[1:] + "}"
    )


def test_thin_body_has_no_personal_member_and_everything_else() -> None:
    stored = f'{{"user":{{{USER},"email":"a@b.c","name":"Ada","data":{{"plan":"x"}}}},"changed":["name"]}}'
    assert body(recorded(stored), "app_1", "notes", full=False).decode() == (
        '{"type":"user.updated","timestamp":"2026-11-22T08:45:13.123Z","data":{"sequence":"42",'
        '"app":{"id":"app_1","name":"notes"},"user":{' + USER + '},"changed":["name"]}}'
    )


@pytest.mark.parametrize("event_type", TYPES)
def test_thin_and_full_differ_by_the_person_only(event_type: str) -> None:
    thin, full = (_read(body(example(event_type), "app_1", "notes", full=full)) for full in (False, True))
    for name in PERSONAL:
        full["data"].get("user", {}).pop(name, None)
    full["data"].get("identity", {}).pop(OF_IDENTITY, None)
    for change in full["data"].get("changes", ()):
        for name in OF_OBJECT:
            change.pop(name, None)
    kept = full["data"].get(OF_HOOK, {})
    for name in kept.keys() - set(KEPT_OF_HOOK):
        del kept[name]
    assert thin == full


def test_marks_stand_where_they_apply_and_nowhere_else() -> None:
    def told(**marks: bool) -> dict[str, Any]:
        data: dict[str, Any] = _read(body(example("test.ping"), "app_1", "notes", full=True, **marks))["data"]
        return data

    app = {"sequence": "42", "app": {"id": "app_1", "name": "notes"}}
    assert told() == app
    for mark in ("out_of_order", "backfill", "test"):
        assert told(**{mark: True}) == app | {mark: True}


def test_sequence_is_a_text_that_keeps_every_digit() -> None:
    data = _read(body(example("test.ping", 2**53 + 1), "app_1", "notes", full=True))["data"]
    assert data["sequence"] == "9007199254740993"


def test_what_has_no_place_in_the_log_has_no_sequence() -> None:
    assert "sequence" not in _read(body(example("user.enrolled", 0), "a", "n", full=True))["data"]


@pytest.mark.parametrize("data", ['{ "a":\n1 }', '{"user":1}', '{"email":"x","big":1e999}', "{}"])
def test_data_of_the_operator_is_passed_on_to_the_byte(data: str) -> None:
    stored = f'{{"user":{{{USER},"data":{data}}}}}'
    assert f'"data":{data}'.encode() in body(recorded(stored), "app_1", "notes", full=True)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("event_type", TYPES)
def test_bodies_keep_their_schema(event_type: str, full: bool) -> None:
    told = body(example(event_type), "app_1", "notes", full=full, out_of_order=True, backfill=True)
    assert faults(event_type, told) == []
    assert faults(event_type, sample(event_type, "app_1", "notes", full=full, now=AT)) == []
    assert faults(event_type, example_of(event_type)) == []


@pytest.mark.parametrize("event_type", TYPES)
def test_schema_is_one_and_names_itself_and_describes_every_member(event_type: str) -> None:
    found = schema(event_type)
    assert meta.is_valid(found)
    assert (found["$id"], found["title"]) == (ADDRESS + event_type, event_type)
    assert found["examples"] == [_read(example_of(event_type))]
    assert summary_of(event_type).endswith(".")
    parts = [*found["$defs"].values(), found["properties"]["data"]]
    assert all("description" in each for each in parts[:-1])
    members = [member for each in parts for member in each["properties"].items()]
    said = {"description", "enum", "items", "$ref"}
    assert [name for name, member in members if member.keys().isdisjoint(said)] == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"type": "user.deleted"}, "type"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"data": {"app": {"id": "a", "name": "n"}}}, "data"),
        ({"data": 1}, "data"),
    ],
)
def test_schema_finds_what_is_wrong(changes: dict[str, Any], fault: str) -> None:
    told = msgspec.json.encode(_read(example_of("user.enrolled")) | changes)
    assert set(faults("user.enrolled", told)) == {fault}


@pytest.mark.parametrize("event_type", TYPES)
def test_schema_lets_members_pass_that_a_later_version_adds(event_type: str) -> None:
    told = _read(example_of(event_type))
    told["later"] = told["data"]["later"] = told["data"]["app"]["later"] = 1
    assert faults(event_type, msgspec.json.encode(told)) == []


def test_sample_is_marked_as_a_test_and_happens_now() -> None:
    told = _read(sample("user.enrolled", "app_1", "notes", full=False, now=0))
    assert (told["type"], told["timestamp"]) == ("user.enrolled", "1970-01-01T00:00:00.000Z")
    assert told["data"]["test"] is True
    assert "sequence" not in told["data"]
    assert set(told["data"]["user"]) == {"uid", "user_id", "type"}


def test_sample_of_an_unknown_type_is_refused() -> None:
    with pytest.raises(KeyError):
        sample("user.vanished", "app_1", "notes", full=False, now=0)
