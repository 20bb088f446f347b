"""What can be kept, and what is refused of anybody; keys in the order of IndexedDB; criteria."""

from typing import Any

import pytest

from admit.data.criteria import Criteria, matches
from admit.data.keys import ordered
from admit.data.values import (
    OBJECT_BYTES_MAX,
    Unacceptable,
    depth_of,
    fault_of_key,
    fault_of_object,
    fault_of_table,
    read_json,
)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b"{",
        b'{"a":1,"a":2}',
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"1" * 400,
        b"[" * 5_000,
    ],
)
def test_json_that_two_could_read_in_two_ways_is_refused(body: bytes) -> None:
    with pytest.raises(Unacceptable):
        read_json(body)


def test_json_is_read() -> None:
    assert read_json(b'{"a":[1,2.5,"x",null]}') == {"a": [1, 2.5, "x", None]}


@pytest.mark.parametrize("name", ["", "x" * 101, "$syncState", "__proto__", "a\x00b", "\ud800"])
def test_name_that_no_table_can_have_is_refused(name: str) -> None:
    assert fault_of_table(name) is not None


@pytest.mark.parametrize(
    "key", ["a", "#own:ada@example.com", '["a",1]', '["a",["b",2]]', "[draft]", "x" * 500]
)
def test_key_is_accepted(key: str) -> None:
    assert fault_of_key(key) is None


@pytest.mark.parametrize(
    "key",
    [
        "",
        "x" * 501,
        "a\x00",
        "\udfff",
        "__proto__",
        "[1]",
        "[]",
        '["a",true]',
        '["a",null]',
        '["a",{}]',
        '["__proto__"]',
        '["a",1e999]',
    ],
)
def test_key_that_no_client_can_have_is_refused(key: str) -> None:
    assert fault_of_key(key) is not None


def test_object_has_a_size_and_a_depth() -> None:
    assert fault_of_object({"a": "x" * (OBJECT_BYTES_MAX - 8)}) is None
    assert fault_of_object({"a": "x" * (OBJECT_BYTES_MAX - 7)}) is not None
    assert fault_of_object(nested(64)) is None
    assert fault_of_object(nested(65)) is not None
    assert depth_of(nested(5)) == 5
    assert depth_of([[], 1]) == 2


@pytest.mark.parametrize("body", [b'{"x":[{"__proto__":{"admin":true}}]}', b'{"\\u005f_proto__":1}'])
def test_objects_have_no_member_proto(body: bytes) -> None:
    assert fault_of_object(read_json(body)) == "There can be no member __proto__."
    assert fault_of_object({"a": '"__proto__"', "b": "__proto__"}) is None


@pytest.mark.parametrize("body", [b'{"x":[{"__proto__":{"admin":true}}]}', b'{"\\u005f_proto__":1}'])
def test_object_with_a_member_proto_is_refused(body: bytes) -> None:
    assert fault_of_object(read_json(body)) is not None


def test_text_proto_is_no_member() -> None:
    assert fault_of_object({"a": "__proto__"}) is None


@pytest.mark.parametrize("value", [[1], 1, {"$t": "Date", "v": "2026-01-01"}, {"a": "\ud800"}])
def test_what_is_no_object_is_refused(value: object) -> None:
    assert fault_of_object(value) is not None


def test_keys_compare_as_indexed_db_does() -> None:
    in_order = [
        {"$t": "number", "v": "-Infinity"},
        -1,
        2.5,
        10,
        {"$t": "Date", "v": "1970-01-01T00:00:00.000Z"},
        {"$t": "Date", "v": "2026-01-01T00:00:00.000Z"},
        "",
        "10",
        "9",
        "\U0001f600",
        "\ufb00",
        {"$t": "ArrayBuffer", "v": "00--"},
        {"$t": "Uint8Array", "v": "1F--"},
        [],
        [1],
        ["a"],
        ["a", 1],
        [[]],
    ]
    keys = [ordered(each) for each in in_order]
    assert None not in keys
    assert keys == sorted(keys)  # type: ignore[type-var]
    assert all(ordered(each) is None for each in (None, True, {}, {"$t": "number", "v": "NaN"}, [None]))


@pytest.mark.parametrize(
    ("index", "span", "is_in"),
    [
        ("n", {"type": 1, "lower": 5}, True),
        ("n", {"type": 1, "lower": "5"}, False),
        ("n", {"type": 2, "lower": 5, "lowerOpen": True}, False),
        ("n", {"type": 2, "lower": 4, "upper": 5}, True),
        ("n", {"type": 2, "lower": 4, "upper": 5, "upperOpen": True}, False),
        ("n", {"type": 2, "lower": {"$t": "undefined"}, "upper": [[]]}, True),
        ("a.b", {"type": 1, "lower": "x"}, True),
        ("[n+a.b]", {"type": 2, "lower": [5, ""], "upper": [5, "\uffff"]}, True),
        ("[n+missing]", {"type": 3}, False),
        ("missing", {"type": 3}, False),
        ("tags", {"type": 1, "lower": "t2"}, True),
        ("n", {"type": 4}, False),
        (None, {"type": 2, "lower": "k", "upper": "l"}, True),
        (None, {"type": 3}, True),
        ("n", {}, False),
    ],
)
def test_criteria_mean_what_is_in_the_range(index: str | None, span: dict[str, Any], is_in: bool) -> None:
    value = {"n": 5, "a": {"b": "x"}, "tags": ["t1", "t2"]}
    assert matches(Criteria(index, span), "k1", value, "ada") is is_in


def test_private_and_compound_keys_are_compared_as_their_client_has_them() -> None:
    assert matches(Criteria(None, {"type": 1, "lower": "#own"}), "#own:ada", {}, "ada")
    assert matches(Criteria(None, {"type": 1, "lower": ["a", 1]}), '["a",1]', {}, "ada")
