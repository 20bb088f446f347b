"""Files of people: what is read, line by line, and that what is written is read again."""

import csv
import io
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from admit.accounts import people_files
from admit.accounts.people_files import (
    COLUMNS,
    Format,
    NotReadable,
    PersonLine,
    Place,
    Read,
    format_of,
    read_people,
    write_people,
)
from admit.accounts.user_edits import UserChange


def read(text: str | bytes, format_: Format = "csv", begin: Place | None = None) -> list[Read]:
    data = text.encode() if isinstance(text, str) else text
    return list(read_people(io.BytesIO(data), format_, begin or Place()))


def entries(text: str | bytes, format_: Format = "csv") -> list[tuple[int, UserChange | str]]:
    return [(each.line, each.entry) for each in read(text, format_)]


def entry(text: str | bytes, format_: Format = "csv") -> UserChange:
    [(_, one)] = entries(text, format_)
    assert isinstance(one, UserChange), one
    return one


def fault(text: str | bytes, format_: Format = "csv") -> str:
    [(_, one)] = entries(text, format_)
    assert isinstance(one, str), one
    return one


def data_of(change: UserChange) -> bytes:
    assert isinstance(change.data, msgspec.Raw)
    return bytes(change.data)


def line_of(**changes: Any) -> PersonLine:
    facts: dict[str, Any] = {
        "user_id": "ada",
        "type": "prod",
        "valid_until": None,
        "eval_days_left": 30,
        "deactivated": None,
        "data": msgspec.Raw("null"),
        "email": "",
        "name": "",
        "created": "2026-01-01T00:00:00.000Z",
        "updated": "2026-01-01T00:00:00.000Z",
        "last_login": None,
        "max_allowed_eval_days_left": 30,
    }
    return PersonLine(**(facts | changes))


def written(format_: Format, *lines: PersonLine) -> str:
    stream = io.StringIO(newline="")
    write_people(lines, format_, stream)
    return stream.getvalue()


def test_endings_tell_the_format() -> None:
    assert [format_of(name) for name in ("a.csv", "A.CSV", "a.jsonl", "a.ndjson", "a.json", "csv")] == [
        "csv",
        "csv",
        "jsonl",
        "jsonl",
        None,
        None,
    ]


def test_a_row_says_what_its_cells_say_and_empty_cells_say_nothing() -> None:
    text = 'userId,type,validUntil,evalDaysLeft,deactivated,data\nada,prod,2030-01-01,7,true,"{""a"":1}"\n'
    change = entry(text)
    assert (change.user_id, change.type, change.valid_until) == ("ada", "prod", "2030-01-01")
    assert (change.eval_days_left, change.deactivated) == (7, True)
    assert data_of(change) == b'{"a":1}'
    nothing = entry("userId,type,validUntil,evalDaysLeft,deactivated,data\nada,,,,,\n")
    assert msgspec.json.encode(nothing) == b'{"userId":"ada"}'
    taken_away = entry("userId,validUntil,deactivated,data\nada,null,null,null\n")
    assert msgspec.json.decode(msgspec.json.encode(taken_away)) == {
        "userId": "ada",
        "validUntil": None,
        "deactivated": False,
        "data": None,
    }


def test_what_get_users_shows_is_read_and_what_nobody_can_set_is_passed_over() -> None:
    shown = (
        '{"userId":"ada@example.com","created":"2025-01-01T00:00:00.000Z","updated":"2025-01-01T00:00:00.000Z",'
        '"lastLogin":null,"type":"eval","evalDaysLeft":3,"maxAllowedEvalDaysLeft":30,"deactivated":null,"data":null}'
    )
    change = entry(shown, "jsonl")
    assert (change.type, change.eval_days_left, change.valid_until) == ("eval", 3, UNSET)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_spreadsheets_save_in_many_ways(delimiter: str, end: str, mark: bytes) -> None:
    rows = [("type", "userId"), ("prod", "ada"), ("eval", "bøb")]
    text = mark + end.join(delimiter.join(row) for row in rows).encode()
    assert [each.entry.user_id for each in read(text) if isinstance(each.entry, UserChange)] == ["ada", "bøb"]


def test_lines_are_those_that_an_editor_shows() -> None:
    text = 'userId,data\n\nada,"{""a"":\n1}"\n\nbob,{\ncy,\n'
    assert [(line, isinstance(one, str)) for line, one in entries(text)] == [
        (3, False),
        (6, True),
        (7, False),
    ]
    assert [line for line, _ in entries('\n{"userId":"ada"}\n \n{}\n{"userId":"bob"}', "jsonl")] == [2, 4, 5]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("ada,prod,1", "It has 3 cells"),
        ("ada", "It has 1 cells"),
        ('"ada"x,prod', "It is no CSV"),
        ('"ada', "It is no CSV"),
        ("ad\x00a,prod", "U+0000"),
        (b"ad\xffa,prod", "not UTF-8"),
        ("a" * 1_000_001 + ",prod", "longer than 1000000 bytes"),
    ],
)
def test_a_wrong_row_is_told_and_the_next_one_is_read(line: str | bytes, problem: str) -> None:
    raw = line.encode() if isinstance(line, str) else line
    read_lines = entries(b"userId,type\n" + raw + b"\n")
    assert read_lines[0][0] == 2
    assert problem in str(read_lines[0][1])
    if line != '"ada':  # nobody can say where an open quotation was to end
        both = entries(b"userId,type\n" + raw + b"\nbob,eval\n")
        assert [number for number, _ in both] == [2, 3]
        assert isinstance(both[1][1], UserChange)


@pytest.mark.parametrize(
    ("name", "cell", "problem"),
    [
        ("evalDaysLeft", "many", "evalDaysLeft is a whole number"),
        ("evalDaysLeft", "1.5", "evalDaysLeft is a whole number"),
        ("evalDaysLeft", "1" * 5_000, "evalDaysLeft is a whole number"),
        ("data", "{", "data is a JSON object"),
        ("data", "[" * 100_000, "data is a JSON object"),
        ("data", r'{""a"":""\u0000""}', "U+0000"),
    ],
)
def test_a_cell_that_no_request_can_carry_is_told(name: str, cell: str, problem: str) -> None:
    assert problem in fault(f'userId,{name}\nada,"{cell}"\n')


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("ada", "It is no JSON object"),
        ("[]", "It is not as a user should be"),
        ('{"type":"prod"}', "missing required field `userId`"),
        ('{"userId":"ada","role":"admin"}', "unknown field `role`"),
        ('{"userId":"ada","evalDaysLeft":"7"}', "Expected `int`"),
        (r'{"userId":"a\u0000"}', "U+0000"),
        (b'{"userId":"\xff"}', "not UTF-8"),
        ('{"userId":"ada","data":' + "[" * 100_000 + "}", "It is no JSON object"),
    ],
)
def test_a_wrong_line_of_json_is_told(line: str | bytes, problem: str) -> None:
    assert problem in fault(line, "jsonl")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "names its columns"),
        ("ada,prod\n", "names its columns"),
        ("userId,role\n", "no column 'role'"),
        ("userId,type,type\n", "twice"),
        ("userId,type\nada,prod\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_a_file_that_is_something_else_is_refused_as_a_whole(text: str | bytes, problem: str) -> None:
    with pytest.raises(NotReadable, match=problem):
        read(text)


@pytest.mark.parametrize("format_", ["csv", "jsonl"])
def test_reading_goes_on_behind_any_entry(format_: Format) -> None:
    lines = [line_of(user_id=f"u{n}ø\n" if n % 3 == 0 else f"u{n}", name="a\nb") for n in range(20)]
    text = written(format_, *lines)
    whole = read(text, format_)
    assert len(whole) == 20
    for place, each in enumerate(whole):
        assert read(text, format_, each.end) == whole[place + 1 :]


@pytest.mark.parametrize(
    "cell",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", "＝1", "'=1", "''@x", '=HYPERLINK("http://x")'],
)
def test_no_cell_of_an_export_is_a_formula(cell: str) -> None:
    text = written("csv", line_of(user_id=cell, name=cell, email=cell))
    row = list(csv.reader(io.StringIO(text, newline="")))[1]
    assert [row[COLUMNS.index(name)] for name in ("userId", "name", "email")] == ["'" + cell] * 3
    assert entry(text).user_id == cell


visible = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30)
formulas = st.text("'=+-@\t\r\n\"a,;", min_size=1, max_size=6)


@given(user_id=visible | formulas, name=visible, format_=st.sampled_from(["csv", "jsonl"]))
def test_what_is_written_is_read_again(user_id: str, name: str, format_: Format) -> None:
    data = msgspec.json.encode({"displayName": name})
    lines = [
        line_of(user_id=user_id, name=name, data=msgspec.Raw(data), valid_until="2030-01-01T00:00:00.000Z"),
        line_of(user_id="next", deactivated="2026-02-03T00:00:00.000Z"),
    ]
    first, second = (each.entry for each in read(written(format_, *lines), format_))
    assert isinstance(first, UserChange)
    assert isinstance(second, UserChange)
    assert (first.user_id, first.valid_until, data_of(first)) == (
        user_id,
        "2030-01-01T00:00:00.000Z",
        data,
    )
    assert (second.user_id, second.deactivated) == ("next", "2026-02-03T00:00:00.000Z")


@given(st.binary(max_size=300), st.sampled_from(["csv", "jsonl"]))
def test_any_bytes_are_entries_or_sentences(data: bytes, format_: Format) -> None:
    head = b"userId,type,data\n" if format_ == "csv" else b""
    ends = [each.end.offset for each in read(head + data, format_)]
    assert ends == sorted(set(ends))


def test_memory_does_not_grow_with_the_file() -> None:
    class Endless(io.BytesIO):
        left = 60_000

        def seek(self, offset: int, whence: int = 0, /) -> int:
            return offset

        def readline(self, size: int | None = None, /) -> bytes:
            self.left -= 1
            return b"" if self.left < 0 else b'{"userId":"somebody@example.com","type":"eval"}\n'

    tracemalloc.start()
    try:
        for _ in people_files.read_people(Endless(), "jsonl", Place()):
            pass
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
