"""`admit table …` and `admit object …`, alike by every way: into a file, through a server, on PostgreSQL."""

import itertools

import pytest

from admit.cli.connection import target
from tests.contract.command_line import CommandLine

SECRET_KEY = "the-secret-key-of-object-commands-01234567"
ADA, BOB = "ada@example.com", "bob@example.com"

_numbers = itertools.count(1)


@pytest.fixture
def app(admit: CommandLine) -> str:
    """The name of a new app in which Ada and Bob live."""
    name = f"app-{next(_numbers)}"
    admit.done("app", "create", name, "--owner", "owner@example.com")
    admit.post(
        target("apps", name, "users"), [{"userId": ADA, "type": "prod"}, {"userId": BOB, "type": "eval"}]
    )
    return name


def test_objects_are_put_shown_listed_counted_and_deleted(admit: CommandLine, app: str) -> None:
    put = ("object", "put", app, "todos")
    assert admit.done(*put, '{"id": "t1", "n": 1}', "--realm", ADA) == f"t1 is in todos of {ADA}.\n"
    (admit.folder / "t2.json").write_text('{"n": 2, "done": true}')
    admit.done(*put, "@t2.json", "--key", "t2", "--realm", "rlm-public")
    admit.done(*put, '{"id": "t1", "n": 3}')
    shown = admit.json("object", "get", app, "todos", "t1")
    assert (shown["realm_id"], shown["value"]) == (ADA, {"id": "t1", "n": 3, "realmId": ADA, "owner": ADA})
    assert [each["key"] for each in admit.json("object", "list", app, "todos")] == ["t2", "t1"]
    listed = ("object", "list", app, "todos")
    assert [each["key"] for each in admit.json(*listed, "--realm", ADA)] == ["t1"]
    assert [each["key"] for each in admit.json(*listed, "--where", "done=true")] == ["t2"]
    assert admit.json(*listed, "--where", "n=3", "--where", "done=true") == []
    assert len(admit.json(*listed, "--limit", "1")) == 1
    assert admit.json("object", "count", app, "todos") == {"objects": 2}
    assert admit.json("object", "count", app, "todos", "--realm", BOB) == {"objects": 0}
    assert "t1" in admit.done(*listed)
    assert "Nobody is here to ask" in admit("object", "delete", app, "todos", "t1").err
    assert admit.done("object", "delete", app, "todos", "t1", "--yes") == "t1 is deleted.\n"
    assert "There is no such object" in admit("object", "get", app, "todos", "t1").err
    assert admit.json("object", "count", app, "todos") == {"objects": 1}


def test_what_cannot_be_is_refused_with_a_sentence(admit: CommandLine, app: str) -> None:
    put = ("object", "put", app, "todos")
    for arguments, code, told in (
        ((*put, '{"id": "t"}'), 1, "Say the realmId"),
        ((*put, '{"id": "t"}', "--realm", "nobody"), 3, "There is no such realm"),
        ((*put, '{"n": 1}', "--realm", ADA), 1, "no key"),
        ((*put, "{", "--realm", ADA), 2, "not JSON"),
        ((*put, "@missing.json", "--realm", ADA), 1, "Cannot read missing.json"),
        ((*put, "[1]", "--realm", ADA), 1, "a JSON object"),
        (("object", "list", app, "todos", "--where", "n"), 2, "PROPERTY=VALUE"),
        (("object", "get", app, "todos", "none"), 3, "There is no such object"),
        (("table", "show", app, "todos"), 3, "No client and no operator"),
        (("table", "set", app, "todos", "--primary-key", "[a"), 1, "A primary key is"),
        (("table", "set", app, "members", "--generated"), 1, "rlm-public"),
    ):
        ended = admit(*arguments)
        assert (ended.code, told in ended.err) == (code, True), (arguments, ended)


def test_tables_are_told_of_and_corrected(admit: CommandLine, app: str) -> None:
    assert admit.json("table", "list", app) == []
    told = admit.done("table", "set", app, "todos", "--generated", "--id-prefix", "tds")
    assert told == "todos: the key is at id, keys are made: tds….\n"
    admit.done("object", "put", app, "todos", '{"n": 1}', "--realm", ADA)
    [made] = admit.json("object", "list", app, "todos")
    assert made["key"].startswith("tds")
    assert made["value"]["id"] == made["key"]
    admit.done("object", "put", app, "bare", '{"id": "b"}', "--realm", ADA)
    assert [(each["name"], each["known"]) for each in admit.json("table", "list", app)] == [
        ("bare", False),
        ("todos", True),
    ]
    corrected = admit.json("table", "set", app, "todos", "--no-generated", "--primary-key", "")
    assert (corrected["generated"], corrected["primary_key"], corrected["id_prefix"]) == (False, "", "tds")
    assert admit.json("table", "show", app, "todos") == corrected
    assert "beside the object" in admit.done("table", "list", app)
