"""How the Manager writes values."""

import pytest

from admit.clock import DAY_MS
from admit.web.manager import words
from admit.web.manager.rendering import json_marks, pretty_json, shell_words

NOON = 1_773_835_200_000  # 18 March 2026, 12:00:00 UTC


@pytest.mark.parametrize(
    ("ms", "written"),
    [
        (0, "0 ms"),
        (91.4, "91 ms"),
        (999, "999 ms"),
        (5_000, "5.0 s"),
        (59_900, "59.9 s"),
        (60_000, "1 min"),
        (200_000, "3 min 20 s"),
        (3_600_000, "1 h"),
        (19_200_000, "5 h 20 min"),
        (12 * DAY_MS, "12 days"),
    ],
)
def test_durations(ms: float, written: str) -> None:
    assert words.duration(ms) == written


@pytest.mark.parametrize(
    ("count", "written"),
    [(1, "1 byte"), (85, "85 bytes"), (1_240, "1.2 kB"), (3_400_000, "3.4 MB")],
)
def test_sizes(count: int, written: str) -> None:
    assert words.size(count) == written


def test_counts_have_thousands_and_their_word() -> None:
    assert words.counted(1, "person", "people") == "1 person"
    assert words.counted(12_408, "person", "people") == "12,408 people"
    assert words.counted(2, "attempt") == "2 attempts"


def test_time_of_today_is_short_and_its_title_is_whole() -> None:
    assert words.moment(NOON - 61_993, NOON) == (
        '<time datetime="2026-03-18T11:58:58.007Z" title="18 Mar 2026, 11:58:58 UTC">11:58:58</time>'
    )


def test_time_of_another_day_has_its_date_and_zone() -> None:
    assert ">17 Mar 2026, 12:00 UTC<" in words.moment(NOON - DAY_MS, NOON)


@pytest.mark.parametrize(
    ("apart", "written"),
    [
        (-1_000, "now"),
        (-360_000, "6 min ago"),
        (-7_200_000, "2 h ago"),
        (-DAY_MS, "1 day ago"),
        (-7 * DAY_MS, "7 days ago"),
        (-8 * DAY_MS, "10 Mar 2026, 12:00 UTC"),
        (10_000, "in less than a minute"),
        (10_800_000, "in 3 h"),
    ],
)
def test_relative_times_reach_a_week(apart: int, written: str) -> None:
    assert f">{written}</time>" in words.ago(NOON + apart, NOON)


def test_command_is_quoted_as_a_shell_needs_it() -> None:
    typed = shell_words("admit", "user", "show", "notes", "o'hara@example.com", None, False, 5)
    assert typed == """admit user show notes 'o'"'"'hara@example.com' 5"""


def test_json_is_laid_out_and_what_is_none_stays_as_it_came() -> None:
    assert pretty_json(b'{"a":[1,{"b":null}]}').splitlines()[0] == "{"
    assert pretty_json("not json") == "not json"
    assert pretty_json({"ok": True}) == '{\n  "ok": true\n}'


def test_json_is_marked_and_never_becomes_a_tag() -> None:
    marked = json_marks({"a<b": "</span><script>", "n": -1.5e3, "t": True})
    assert "<script>" not in marked
    assert '<span class="k">&#34;a&lt;b&#34;</span>' in marked
    assert '<span class="s">&#34;&lt;/span&gt;&lt;script&gt;&#34;</span>' in marked
    assert '<span class="n">-1500.0</span>' in marked
    assert '<span class="n">true</span>' in marked


@pytest.mark.parametrize("text", ["[" * 8_000, "[" * 8_000 + "]" * 8_000, '{"a":' * 8_000, '"' + "[" * 8_000])
def test_json_that_is_nested_deeply_stays_as_it_came(text: str) -> None:
    assert pretty_json(text) == json_marks(text).unescape() == text


def test_long_json_neither_grows_nor_takes_long() -> None:
    numbers = "[" + "1," * 400_000 + "1]"
    brackets = "[" + ("[" * 900 + "]" * 900 + ",") * 400 + "1]"
    for text in (numbers, brackets):
        assert len(json_marks(text)) < 2 * len(text)
    assert "<span" not in json_marks("[" + "1," * 8_000 + "1]")
    assert "<span" in json_marks("[" + "1," * 1_000 + "1]")
