"""What tasks see of events is what the catalog says, though the kit knows nothing of the server."""

import re
from datetime import datetime
from typing import Any, get_args

import msgspec
import pytest

from admit import task, testing
from admit.events import catalog
from admit.events.data_facts import DataChange
from admit.events.endpoint_facts import Endpoint
from admit.events.examples import EXAMPLES
from admit.task import event_parts, verdicts
from admit.task.schemas import SUMMARIES, TYPES, schema_of
from tests.structure.source import PACKAGE, modules, page

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT")

PAIRS: list[tuple[type[msgspec.Struct], tuple[type[msgspec.Struct], ...]]] = [
    (event_parts.Person, (catalog.Person, catalog.Stranger)),
    (event_parts.Device, (catalog.Device, catalog.RefusedDevice)),
    (event_parts.Session, (catalog.Session,)),
    (event_parts.SignIn, (catalog.SignIn,)),
    (event_parts.Identity, (catalog.Identity,)),
    (event_parts.DecidedAs, (catalog.Verdict,)),
    (event_parts.Endpoint, (Endpoint,)),
    (event_parts.DataChange, (DataChange,)),
    (event_parts.EventData, tuple(catalog.TYPES.values())),
]


def fields(structs: tuple[type[msgspec.Struct], ...]) -> set[str]:
    return {name for struct in structs for name in struct.__struct_fields__}


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda each: getattr(each, "__name__", ""))
def test_tasks_see_every_member_of_events_and_no_other(
    ours: type[msgspec.Struct], theirs: tuple[type[msgspec.Struct], ...]
) -> None:
    assert set(ours.__struct_fields__) == fields(theirs)


def test_tasks_can_name_every_type_of_event_and_no_other() -> None:
    assert list(get_args(event_parts.EventType)) == list(catalog.TYPES)


@pytest.mark.parametrize("event_type", catalog.TYPES)
def test_the_example_of_every_event_is_read_without_loss(event_type: str) -> None:
    written = msgspec.json.encode(EXAMPLES[event_type])
    told = msgspec.json.decode(written, type=event_parts.EventData)
    assert _as_seen(msgspec.json.decode(msgspec.json.encode(told))) == _as_seen(msgspec.json.decode(written))


def test_limits_of_verdicts_are_those_of_the_hook() -> None:
    from admit.enrollment import hook_reply

    assert hook_reply.USER_DATA_BYTES_MAX == verdicts.USER_DATA_BYTES_MAX
    assert hook_reply.NESTING_MAX == verdicts.NESTING_MAX
    assert hook_reply.NAME_CHARS_MAX == verdicts.NAME_CHARACTERS_MAX


def test_the_kit_knows_nothing_of_the_server() -> None:
    known = ("admit.task", "admit.clock", "admit.testing")
    strange = [
        f"{module.name} imports {name}"
        for module in modules()
        if module.room in ("task", "testing")
        for name in module.imports.values()
        if name.startswith("admit.") and not name.startswith(known)
    ]
    assert strange == []


def test_no_module_of_the_kit_hides_a_name_that_operators_use() -> None:
    files = {path.stem for path in (PACKAGE / "task").glob("*.py")}
    assert files & set(task.__all__) == set()
    assert {path.stem for path in (PACKAGE / "testing").glob("*.py")} & set(testing.__all__) == set()


@pytest.mark.parametrize("name", TYPES)
def test_every_schema_holds_what_it_describes(name: str) -> None:
    import jsonschema_rs

    schema = schema_of(name, f"https://login.example.com/schemas/{name}")
    validator = jsonschema_rs.validator_for(schema)
    for value in _values_of(name):
        assert list(validator.iter_errors(value)) == []
    assert SUMMARIES[name]
    assert not validator.is_valid({"nothing": "of it"})


def test_every_name_that_operators_use_is_documented() -> None:
    documented = page("tasks.md")
    assert [name for name in task.__all__ if f"`{name}" not in documented] == []
    assert [name for name in testing.__all__ if f"`testing.{name}" not in documented] == []


def _values_of(name: str) -> list[Any]:
    """What the schema called `name` is about, as JSON."""
    match name:
        case "task.decision":
            return [_shown(testing.decision()), _shown(testing.decision(device=None, claims={"hd": "x"}))]
        case "task.event":
            return [
                _shown(testing.event("user.enrolled", device="d")),
                _shown(testing.event("test.ping", user=None)),
            ]
        case "task.schedule":
            return [_shown(testing.schedule())]
        case "task.request":
            return [_shown(testing.request("POST", "/x", json={}, caller="ada"))]
        case "task.call":
            return [_shown(testing.call({"a": 1}))]
        case "task.verdict":
            made = task.admit("prod", data={"a": 1}), task.refuse("NO", "No.")
            return [msgspec.to_builtins(each) for each in made]
        case "task.response":
            return [msgspec.to_builtins(task.response(json=1))]
    raise AssertionError(name)


def _shown(context: task.Context) -> Any:
    """The members of a context that are values."""
    services = {"env", "log", "http", "db", "effects"}
    values = {name: getattr(context, name) for name in context.__struct_fields__ if name not in services}
    if isinstance(context, task.EventContext):
        values["data"] = values.pop("told")
        del values["body"]
    elif isinstance(context, task.RequestContext):
        values |= {"body": context.text, "headers": dict(context.headers)}
    return msgspec.to_builtins(values)


def _as_seen(value: Any) -> Any:
    """`value` with moments as such, and without members that say that something does not apply."""
    if isinstance(value, dict):
        return {name: _as_seen(each) for name, each in value.items() if each not in (None, "", False)}
    if isinstance(value, list):
        return [_as_seen(each) for each in value]
    if isinstance(value, str) and MOMENT.match(value):
        return datetime.fromisoformat(value)
    return value
