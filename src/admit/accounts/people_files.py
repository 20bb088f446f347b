"""Files of people: CSV and JSON lines, read and written line by line, however long they are. Pure.

A line is what GET /users shows of a user. Reading takes what POST /users takes and passes over the rest that
such a line tells: nobody can choose when somebody was created.
"""

import codecs
import csv
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Literal, TextIO

import msgspec
from msgspec import UNSET, UnsetType

from admit.accounts.user_edits import ToldUser, UserChange

LINE_BYTES_MAX = 1_000_000
NOT_UTF8 = "It is not UTF-8."

Format = Literal["csv", "jsonl"]

COLUMNS = (
    "userId",
    "type",
    "validUntil",
    "evalDaysLeft",
    "deactivated",
    "data",
    "email",
    "name",
    "created",
    "updated",
    "lastLogin",
    "maxAllowedEvalDaysLeft",
)
READ = COLUMNS[:6]

_ENDINGS: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_NOT_UTF8 = re.compile("[\ud800-\udfff]")
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")
# What a spreadsheet would run, also in the wide forms of East Asian keyboards.
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")
_GUARDED = re.compile("'+[=+\\-@\t\r\n＝＋－＠]")


class NotReadable(Exception):
    """The file as a whole cannot be read; the text is the sentence to say."""


class Place(msgspec.Struct, frozen=True):
    """The end of a line: how many bytes and how many lines of the file lie behind it."""

    offset: int = 0
    line: int = 0


class Read(msgspec.Struct, frozen=True):
    """One entry of a file: the line that it begins in, from 1, and what it says, or why it says nothing."""

    line: int
    entry: UserChange | str
    end: Place


class _Wrong(Exception):
    """Carries the sentence about one line."""


class PersonLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A line that is written, in the order of its columns. Dates are ISO 8601 in UTC."""

    user_id: str
    type: str
    valid_until: str | None
    eval_days_left: int
    deactivated: str | None
    data: msgspec.Raw
    email: str
    name: str
    created: str
    updated: str
    last_login: str | None
    max_allowed_eval_days_left: int


_decode_line = msgspec.json.Decoder(ToldUser).decode


def format_of(name: str) -> Format | None:
    """The format that a file name ends with; None where it says nothing."""
    return next((format_ for ending, format_ in _ENDINGS.items() if name.lower().endswith(ending)), None)


def read_people(file: BinaryIO, format_: Format, begin: Place) -> Iterator[Read]:
    """The entries of `file` behind `begin`, the end of an earlier one or of nothing. Raises NotReadable."""
    lines = _Lines(file)
    if format_ == "jsonl":
        lines.go_to(begin)
        return _read_json(lines)
    columns = _read_head(lines)
    if begin.offset:
        lines.go_to(begin)
    return _read_csv(lines, columns)


def write_people(people: Iterable[PersonLine], format_: Format, stream: TextIO, *, head: bool = True) -> None:
    """Writes `people` as they come. What a spreadsheet would take for a formula is led by an apostrophe.

    `head`: a CSV begins with the names of its columns; without, it goes on.
    """
    if format_ == "jsonl":
        for person in people:
            stream.write(msgspec.json.encode(person).decode() + "\n")
        return
    rows = csv.writer(stream)
    if head:
        rows.writerow(COLUMNS)
    for person in people:
        rows.writerow([cell(value) for value in msgspec.structs.astuple(person)])


class _Lines:
    """The lines of a file as text, which know where they end. What is not UTF-8 becomes surrogates."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.place = Place()

    def go_to(self, place: Place) -> None:
        self._file.seek(place.offset)
        self.place = place

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        raw = self._file.readline(LINE_BYTES_MAX)
        if not raw:
            raise StopIteration
        size = len(raw)
        end = raw
        while not end.endswith(b"\n") and (end := self._file.readline(LINE_BYTES_MAX)):
            size += len(end)
        first = self.place.offset == 0
        self.place = Place(self.place.offset + size, self.place.line + 1)
        if size > len(raw):
            raise _Wrong(f"The line is longer than {LINE_BYTES_MAX} bytes.")
        if first and raw.startswith(_UTF16):
            raise NotReadable("The file is UTF-16. Save it as UTF-8.")
        return (raw.removeprefix(codecs.BOM_UTF8) if first else raw).decode(errors="surrogateescape")


class _Columns(msgspec.Struct, frozen=True):
    names: list[str]
    delimiter: str


def _read_json(lines: _Lines) -> Iterator[Read]:
    while True:
        try:
            text = next(lines)
            if not text.strip():
                continue
            entry: UserChange | str = _checked(_from_json(text))
        except StopIteration:
            return
        except _Wrong as wrong:
            entry = str(wrong)
        yield Read(lines.place.line, entry, lines.place)


def _from_json(text: str) -> UserChange:
    try:
        line = _decode_line(text.encode())
    except UnicodeEncodeError:
        raise _Wrong(NOT_UTF8) from None
    except msgspec.ValidationError as error:
        raise _Wrong(f"It is not as a user should be: {error}.") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise _Wrong(f"It is no JSON object: {error}.") from None
    return line.change(line.user_id)


def _read_head(lines: _Lines) -> _Columns:
    """The names in the first line, between commas, semicolons or tabs. Raises NotReadable."""
    try:
        head = next(lines, "")
    except _Wrong as wrong:
        raise NotReadable(f"The first line: {wrong}") from None
    for delimiter in ",;\t":
        try:
            [names] = csv.reader([head], delimiter=delimiter, strict=True)
        except (csv.Error, ValueError):
            continue
        names = [name.strip() for name in names]
        if "userId" in names:
            break
    else:
        raise NotReadable(f"The first line of a CSV names its columns: {', '.join(READ)}.")
    if strange := [name for name in names if name not in COLUMNS]:
        raise NotReadable(f"There is no column {strange[0][:40]!r}. Known are: {', '.join(COLUMNS)}.")
    if len(set(names)) < len(names):
        raise NotReadable("A column stands twice in the first line.")
    return _Columns(names, delimiter)


def _read_csv(lines: _Lines, columns: _Columns) -> Iterator[Read]:
    records = csv.reader(lines, delimiter=columns.delimiter, strict=True)
    while True:
        begun_in = lines.place.line + 1
        try:
            cells = next(records)
            if not cells:
                continue
            entry: UserChange | str = _checked(_from_cells(cells, columns.names))
        except StopIteration:
            return
        except csv.Error as error:
            entry = f"It is no CSV: {error}."
        except _Wrong as wrong:
            entry = str(wrong)
        yield Read(begun_in, entry, lines.place)


def _from_cells(cells: list[str], names: list[str]) -> UserChange:
    if len(cells) != len(names):
        raise _Wrong(f"It has {len(cells)} cells, and the first line names {len(names)} columns.")
    told = {name: _unguarded(cell) for name, cell in zip(names, cells, strict=True) if cell}
    if any(map(_NOT_UTF8.search, told.values())):
        raise _Wrong(NOT_UTF8)
    ends = told.get("validUntil", UNSET)
    return UserChange(
        user_id=told.get("userId", ""),
        type=told.get("type", UNSET),
        valid_until=None if ends == "null" else ends,
        eval_days_left=_days(told.get("evalDaysLeft")),
        deactivated=_deactivated(told.get("deactivated")),
        data=_data(told.get("data")),
    )


def _days(cell: str | None) -> int | UnsetType:
    if cell is None:
        return UNSET
    if not _WHOLE_NUMBER.fullmatch(cell):
        raise _Wrong("evalDaysLeft is a whole number.")
    return int(cell)


def _deactivated(cell: str | None) -> bool | str | UnsetType:
    match cell:
        case None:
            return UNSET
        case "true" | "TRUE":
            return True
        case "false" | "FALSE" | "null":
            return False
        case _:
            return cell


def _data(cell: str | None) -> msgspec.Raw | UnsetType:
    """The JSON in `cell`, which is to stand as it is in a request."""
    if cell is None:
        return UNSET
    try:
        msgspec.json.decode(cell)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        raise _Wrong("data is a JSON object, or null.") from None
    return msgspec.Raw(cell)


def _checked(change: UserChange) -> UserChange:
    if _NUL.search(msgspec.json.encode(change)):
        raise _Wrong("It holds the character U+0000.")
    return change


def cell(value: object) -> str:
    """A cell of CSV. What a spreadsheet would take for a formula is led by an apostrophe."""
    match value:
        case None:
            return ""
        case msgspec.Raw():
            text = bytes(value).decode()
            return "" if text == "null" else text
        case _:
            text = str(value)
            return f"'{text}" if _FORMULA.match(text) else text


def _unguarded(cell: str) -> str:
    """`cell` without the apostrophe that `cell`, or a spreadsheet, has set before a formula."""
    return cell[1:] if cell.startswith("'") and _GUARDED.match(cell) else cell
