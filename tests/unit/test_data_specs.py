"""Change specs and PropModification, against what Dexie 4.4 comes to with the same objects."""

from typing import Any

import pytest

from admit.data import specs
from admit.data.propmods import number_text
from admit.data.values import Unacceptable

UNDEFINED = {"$t": "undefined"}
NAN = {"$t": "number", "v": "NaN"}
DATE = {"$t": "Date", "v": "2026-01-02T03:04:05.678Z"}


def change(value: dict[str, Any], path: str, new: Any) -> dict[str, Any]:
    return specs.apply({path: new}, value).value


def propmod(value: dict[str, Any], **spec: Any) -> Any:
    return specs.apply({"p": {"@@propmod": spec}}, value).value.get("p", UNDEFINED)


@pytest.mark.parametrize(
    ("value", "path", "new", "result"),
    [
        ({"a": 1}, "a", 2, {"a": 2}),
        ({"a": 1}, "b.c.d", 2, {"a": 1, "b": {"c": {"d": 2}}}),
        ({"a": {"b": 1, "c": 2}}, "a.b", UNDEFINED, {"a": {"c": 2}}),
        ({"a": 1}, "b.c", UNDEFINED, {"a": 1}),
        ({"a": ""}, "a.b", 1, {"a": {"b": 1}}),
        ({"a": None}, "a.b", 1, {"a": {"b": 1}}),
        ({"a": "text"}, "a.b", 1, {"a": "text"}),
        ({"a": 5}, "a.b", 1, {"a": 5}),
        ({"a": [1, 2, 3]}, "a.1", 9, {"a": [1, 9, 3]}),
        ({"a": [1, 2, 3]}, "a.1", UNDEFINED, {"a": [1, 3]}),
        ({"a": [1, 2]}, "a.3", 4, {"a": [1, 2, None, 4]}),
        ({"a": [{"b": 1}]}, "a.0.b", 2, {"a": [{"b": 2}]}),
        ({"$$ts": 1, "a": 1}, "$$ts", 2, {"$$ts": 2, "a": 1}),
        ({"a": {"$$ts": 1}}, "a.$ts", 2, {"a": {"$$ts": 2}}),
    ],
)
def test_path_is_set_and_removed_as_set_by_key_path_does(
    value: dict[str, Any], path: str, new: Any, result: dict[str, Any]
) -> None:
    assert change(value, path, new) == result


@pytest.mark.parametrize(
    ("before", "spec", "after"),
    [
        ({"p": 1}, {"add": 2}, 3),
        ({}, {"add": 2}, 2),
        ({"p": "5"}, {"add": 2}, 7),
        ({"p": "five"}, {"add": 2}, 2),
        ({"p": None}, {"add": 0.5}, 0.5),
        ({"p": DATE}, {"add": 0}, 1767323045678),
        ({"p": 9007199254740992}, {"add": 1}, 9007199254740992.0),
        ({"p": 1e308}, {"add": 1e308}, {"$t": "number", "v": "Infinity"}),
        ({"p": 5}, {"remove": 2}, 3),
        ({}, {"remove": 2}, NAN),
        ({"p": {"$t": "bigint", "v": "12345678901234567890"}}, {"add": {"$t": "bigint", "v": "1"}}, None),
        ({"p": [10, 9]}, {"add": [1]}, [1, 10, 9]),
        ({}, {"add": ["b", "a"]}, ["a", "b"]),
        ({"p": ["a", "b", "a"]}, {"remove": ["a"]}, ["b"]),
        ({"p": "a"}, {"remove": ["a"]}, []),
        ({"p": [True, 1]}, {"remove": [1]}, [True]),
        ({"p": ["\ufb00", "\U0001f600"]}, {"add": []}, ["\U0001f600", "\ufb00"]),
        ({"p": "/old/x"}, {"replacePrefix": ["/old", "/new"]}, "/new/x"),
        ({"p": 7}, {"replacePrefix": ["7", "8"]}, 7),
    ],
)
def test_property_is_modified_as_dexie_does(before: dict[str, Any], spec: Any, after: Any) -> None:
    if after is None:
        after = {"$t": "bigint", "v": "12345678901234567891"}
    assert propmod(before, **spec) == after


def test_both_forms_of_a_modification_are_read() -> None:
    assert change({"p": 1}, "p", {"$t": "PropModification", "add": 1}) == {"p": 2}
    assert change({"p": 1}, "p", {"@@propmod": {"add": 1}}) == {"p": 2}


def test_what_was_set_is_told_with_plain_values() -> None:
    applied = specs.apply({"n": {"@@propmod": {"add": 1}}, "x": UNDEFINED}, {"n": 1, "x": 1})
    assert applied.updates == {"n": 2, "x": UNDEFINED}
    assert applied.sure


def test_what_clients_may_do_in_another_way_is_not_sure() -> None:
    assert not specs.apply({"d.x": 1}, {"d": DATE}).sure
    assert not specs.apply({"a.name": 1}, {"a": []}).sure


@pytest.mark.parametrize(
    "spec",
    [
        {"__proto__.polluted": 1},
        {"a.__proto__": 1},
        {".".join("x" * 70): 1},
        {"a.999999999": 1},
        {"x" * 2_000: 1},
        {"p": {"@@propmod": {"add": "text"}}},
        {"p": {"@@propmod": {"add": True}}},
        {"p": {"@@propmod": {}}},
        {"p": {"@@propmod": {"replacePrefix": "x"}}},
    ],
)
def test_spec_that_harms_or_means_nothing_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(Unacceptable):
        specs.apply(spec, {"a": [1]})


@pytest.mark.parametrize(
    ("number", "text"),
    [(1.0, "1"), (0.1, "0.1"), (1e21, "1e+21"), (1.5e-7, "1.5e-7"), (0.000001, "0.000001"), (-2.5, "-2.5")],
)
def test_number_is_written_as_javascript_does(number: float, text: str) -> None:
    assert number_text(number) == text
