"""Where keys of objects are, how keys are made, and which objects a filter means."""

import json
from typing import Any

import pytest

from admit.data import new_objects, object_filters, object_keys, table_settings
from admit.data.generated_ids import new_key
from admit.data.new_objects import NewObject, NoKey, OtherKey
from admit.data.realms import PUBLIC_REALM, Realm
from admit.data.table_settings import TableSetting
from admit.errors import InvalidRequest

ADA = Realm("usr_1", "ada@example.com")


def table(primary_key: str = "id", **settings: Any) -> TableSetting:
    return TableSetting(name="todos", primary_key=primary_key, **settings)


@pytest.mark.parametrize(
    ("primary_key", "value", "key"),
    [
        ("id", {"id": "a"}, "a"),
        ("id", {"id": 7}, None),
        ("id", {}, None),
        ("a.b", {"a": {"b": "x"}}, "x"),
        ("a.b", {"a": "x"}, None),
        ("[a+b]", {"a": "x", "b": 1.0}, '["x",1]'),
        ("[a+b]", {"a": "x", "b": [1.5, "y"]}, '["x",[1.5,"y"]]'),
        ("[a+b]", {"a": "x"}, None),
        ("[a+b]", {"a": "x", "b": True}, None),
        ("", {"id": "a"}, None),
    ],
)
def test_the_key_is_where_the_table_has_it(primary_key: str, value: dict[str, Any], key: str | None) -> None:
    assert object_keys.key_in(table(primary_key), value) == key


def test_a_key_is_put_where_it_belongs_and_nothing_else_is_lost() -> None:
    assert object_keys.with_key(table("a.b"), {"a": {"c": 1}, "d": 2}, "k") == {
        "a": {"c": 1, "b": "k"},
        "d": 2,
    }
    assert object_keys.with_key(table("a.b"), {"a": 1}, "k") == {"a": {"b": "k"}}
    for primary_key in ("[a+b]", ""):
        assert object_keys.with_key(table(primary_key), {"a": 1}, "k") == {"a": 1}


@pytest.mark.parametrize(
    ("given", "kept"),
    [("a", "a"), ('[ "a", 1.0 ]', '["a",1]'), ("[no json", "[no json"), ("#x", "#x:ada@example.com"),
     ("#x:ada@example.com", "#x:ada@example.com")],
)  # fmt: skip
def test_a_key_is_kept_in_one_spelling(given: str, kept: str) -> None:
    assert new_objects.kept_key(given, ADA) == kept


def test_what_comes_gets_realm_and_owner_and_keeps_what_it_says() -> None:
    made = new_objects.new_object(table(), ADA, {"id": "a", "owner": "eve"}, key=None, at_ms=1)
    assert made == NewObject("a", {"id": "a", "owner": "eve", "realmId": ADA.realm_id})
    made = new_objects.new_object(table(), PUBLIC_REALM, {"realmId": "x"}, key="a", at_ms=1)
    assert made == NewObject("a", {"realmId": "rlm-public", "id": "a"})
    assert new_objects.new_object(table(), ADA, {}, key=None, at_ms=1) == NoKey()
    assert new_objects.new_object(table(), ADA, {"id": "b"}, key="a", at_ms=1) == OtherKey()


def test_keys_that_are_made_sort_by_when_and_say_where() -> None:
    keys = [new_key("tds", ADA.realm_id, 1_700_000_000_000 + at) for at in range(300)]
    assert keys == sorted(keys)
    assert {(key[:3], key[-3:], len(key)) for key in keys} == {("tds", "com", 30)}
    assert len({new_key("", "rlm-public", 1) for _ in range(1_000)}) == 1_000


@pytest.mark.parametrize(
    ("path", "text", "holds"),
    [
        ("a", "1", True),
        ("a", "1.0", True),
        ("a", "true", False),
        ("b", "1", True),
        ("b", "1.0", False),
        ("c", "true", True),
        ("c", "1", False),
        ("d", "null", True),
        ("e", "2026", True),
        ("e", '{"$t":"Date","v":"2026"}', True),
        ("e", "2027", False),
        ("f.g", "x", True),
        ("f", '{"g":"x"}', True),
        ("f.g.h", "x", False),
        ("z", "null", False),
        ("a", "[" * 5_000, False),
    ],
)
def test_a_filter_means_the_text_or_what_it_says_as_json(path: str, text: str, holds: bool) -> None:
    value = {"a": 1, "b": "1", "c": True, "d": None, "e": {"$t": "Date", "v": "2026"}, "f": {"g": "x"}}
    assert object_filters.holds([object_filters.condition(path, text)], json.dumps(value)) is holds


@pytest.mark.parametrize("primary_key", ["id", "", "a.b", "[a+b]", "[a.b+c]", "ålder"])
def test_primary_keys_as_dexie_writes_them(primary_key: str) -> None:
    table_settings.check(table(primary_key))


@pytest.mark.parametrize(
    "setting",
    [
        table("[a]"), table("[a+b"), table("a+b"), table("a..b"), table("@id"), table("++id"), table("a,b"),
        table("__proto__"), table("a.__proto__"), table("x" * 201), table("id", id_prefix="é"),
        table("id", id_prefix="x" * 21), table("[a+b]", generated=True), table("", generated=True),
    ],
)  # fmt: skip
def test_what_is_no_primary_key_is_refused(setting: TableSetting) -> None:
    with pytest.raises(InvalidRequest):
        table_settings.check(setting)
