"""What commands print, for people, pipes and programs."""

import io
import json
from collections.abc import Iterator

import msgspec
import pytest

from admit.cli.output import MEASURED_ROWS, Column, Output


class Person(msgspec.Struct, frozen=True):
    name: str
    age: int


COLUMNS = [Column[Person]("NAME", lambda person: person.name), Column("AGE", lambda person: str(person.age))]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def many(stream: io.StringIO, people: list[Person], *, json: bool = False) -> str:
    Output(json=json, stream=stream).many(people, COLUMNS, none="Nobody.")
    return stream.getvalue()


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


def test_a_terminal_gets_aligned_columns() -> None:
    people = [Person("Ada", 36), Person("Grace Hopper", 7)]

    assert many(Terminal(), people) == "NAME          AGE\nAda           36\nGrace Hopper  7\n"


def test_wide_characters_and_accents_do_not_break_the_columns() -> None:
    lines = many(Terminal(), [Person("阿达", 1), Person("Ade\u0301", 2), Person("xxxx", 3)]).splitlines()

    assert lines[1:] == ["阿达  1", "Ade\u0301   2", "xxxx  3"]


def test_a_pipe_gets_tabs() -> None:
    assert many(io.StringIO(), [Person("Ada", 36)]) == "NAME\tAGE\nAda\t36\n"


def test_a_hostile_name_cannot_break_out_of_its_cell() -> None:
    hostile = Person("Eve\t99\nroot\t0\x1b]0;owned\x07\x1b[2J\u202e", 1)

    for stream in (io.StringIO(), Terminal()):
        output = many(stream, [hostile])
        assert len(output.splitlines()) == 2
        assert "\x1b" not in output
        assert "\u202e" not in output
    assert json.loads(many(io.StringIO(), [hostile], json=True))[0]["name"] == hostile.name


@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_of_many_is_one_array_with_a_value_a_line(count: int) -> None:
    output = many(io.StringIO(), [Person("Ada", age) for age in range(count)], json=True)

    assert [each["age"] for each in json.loads(output)] == list(range(count))
    assert len(output.splitlines()) == (count + 2 if count else 1)


def test_only_people_are_told_that_there_is_nothing() -> None:
    assert many(Terminal(), []) == "Nobody.\n"
    assert many(io.StringIO(), []) == "NAME\tAGE\n"


@pytest.mark.parametrize(("json", "ahead"), [(True, 1), (False, MEASURED_ROWS + 1)])
def test_rows_are_printed_as_they_come(json: bool, ahead: int) -> None:
    stream = Terminal()
    taken = 0
    printed_lines_at_end = 0

    def people() -> Iterator[Person]:
        nonlocal taken, printed_lines_at_end
        for age in range(MEASURED_ROWS * 3):
            taken += 1
            yield Person("Ada", age)
        printed_lines_at_end = len(stream.getvalue().splitlines())

    Output(json=json, stream=stream).many(people(), COLUMNS, none="Nobody.")

    assert taken == MEASURED_ROWS * 3
    assert printed_lines_at_end >= taken - ahead + 1


def test_colour_is_only_for_terminals_that_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm-256color")
    ada = [Person("Ada", 36)]

    assert "\x1b[1m" in many(Terminal(), ada)
    assert "\x1b" not in many(io.StringIO(), ada)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in many(Terminal(), ada)
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in many(Terminal(), ada)


def test_notes_reach_people_on_stderr_and_programs_not_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    Output(json=False).note("Keep it.")
    Output(json=True).note("Keep it.")

    assert capsys.readouterr() == ("", "Keep it.\n")
