"""JSON that was typed is refused with its line and the cause."""

import pytest

from admit.errors import InvalidRequest
from admit.web.manager.typed_json import read_object


def test_object_is_read() -> None:
    assert read_object(' {"a": [1, {"b": null}], "c": "ä\\n"}\n') == {"a": [1, {"b": None}], "c": "ä\n"}


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("", "Line 1, character 1: the JSON ends before it is complete."),
        ('{"a": 1,\n}', "Line 2, character 1: remove the comma before “}”."),
        ('{"a": [1, 2,]}', "Line 1, character 13: remove the comma before “]”."),
        ('{\n  "a": yes\n}', "Line 2, character 8: “y” cannot stand here."),
        ('{"a": 1 "b": 2}', "Line 1, character 9: a comma or a colon is missing before this quote."),
        ('{"a": "b\n"}', "a text ends on the line on which it begins"),
        ('{"a": "b', "Line 1, character 7: this text has no closing quote."),
        ('"a"', "Write a JSON object"),
        ("[{}]", "Write a JSON object"),
        ('{"a": NaN}', "are no JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": "\\ud800"}', "half characters"),
    ],
)
def test_what_is_no_object_is_refused_with_its_place(typed: str, sentence: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_object(typed)
    assert sentence in refused.value.message
