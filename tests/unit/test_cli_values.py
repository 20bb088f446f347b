"""What operators type and read."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admit.cli.values import (
    duration,
    listed,
    moment,
    parse_duration,
    parse_list,
    shown,
    shown_json,
    to_the_second,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5.0), ("1500ms", 1.5), ("2.5s", 2.5), ("1m", 60.0), ("12h", 43_200.0), (" 90D ", 7_776_000.0)],
)
def test_durations_are_read_with_their_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-5s", "5 sec", "1e3s", "inf", "nan", "0x5s", "5s5s", "١s", "5.5555s"]
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as 5s"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=1_000_000))
def test_a_duration_reads_as_it_was_written(milliseconds: int) -> None:
    assert parse_duration(duration(milliseconds / 1_000)) == milliseconds / 1_000


def test_lists_are_separated_by_commas_or_spaces_and_keep_their_order() -> None:
    assert parse_list("b.org, a.org,,c.org a.org\n") == ("b.org", "a.org", "c.org")


def test_moments_are_shown_in_utc() -> None:
    assert moment(1_777_624_200_000) == "2026-05-01T08:30:00Z"
    assert moment(None) == ""


def test_times_of_the_sessions_api_are_shown_as_moments_are() -> None:
    assert to_the_second("2026-05-01T08:30:00.123Z") == "2026-05-01T08:30:00Z"
    assert to_the_second("2026-05-01T08:30:00Z") == "2026-05-01T08:30:00Z"
    assert to_the_second(None) == ""
    assert listed([], none="none") == "none"


@given(st.text())
def test_shown_text_has_no_power_over_a_terminal(text: str) -> None:
    for character in shown(text):
        assert unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
        assert unicodedata.bidirectional(character) not in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI")


@given(st.recursive(st.text() | st.none() | st.integers(), lambda inner: st.dictionaries(st.text(), inner)))
def test_json_means_the_same_after_its_marks_are_escaped(value: object) -> None:
    encoded = json.dumps(value, ensure_ascii=False)

    safe = shown_json(encoded)

    assert json.loads(safe) == value
    assert not set(safe) & set("\x1b\x7f\x9b\u202e\u2066\u200f")
