"""Where the answers of commands go: text for people, lines with tabs for pipes, JSON for programs."""

import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TextIO, TypeVar

import msgspec

from admit.cli.values import shown, shown_json

MEASURED_ROWS = 200
GAP = "  "

T = TypeVar("T")
Facts = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Column(Generic[T]):
    """One column of a list: its heading, and what it shows of a row."""

    heading: str
    cell: Callable[[T], str]


class Output:
    """Writes answers to `stream`: as JSON, aligned for a terminal, or separated by tabs for a pipe."""

    def __init__(self, *, json: bool, stream: TextIO | None = None) -> None:
        self.json = json
        self._stream = stream or sys.stdout
        self._for_people = self._stream.isatty()

    def one(self, value: object, facts: Facts) -> None:
        """Shows one thing: `value` as JSON, or `facts` line by line."""
        if self.json:
            self._document(value)
            return
        width = max(len(label) for label, _ in facts)
        for label, text in facts:
            if self._for_people:
                self._line(f"{label:<{width}}{GAP}{shown(text)}".rstrip())
            else:
                self._line(f"{label}\t{shown(text)}")

    def done(self, value: object, sentence: str) -> None:
        """Tells what has been done: `value` as JSON, or `sentence`."""
        if self.json:
            self._document(value)
        else:
            self._line(shown(sentence))

    def many(self, values: Iterable[T], columns: Sequence[Column[T]], *, none: str) -> None:
        """Lists `values` as they come; `none` is said to people when there are none.

        JSON is one array with a value a line. Columns are as wide as the first MEASURED_ROWS rows ask for.
        """
        if self.json:
            self._array(values)
            return
        rows = ([shown(column.cell(value)) for column in columns] for value in values)
        headings = [column.heading for column in columns]
        first = list(itertools.islice(rows, MEASURED_ROWS if self._for_people else 1))
        if not self._for_people:
            for row in itertools.chain([headings], first, rows):
                self._line("\t".join(row))
            return
        if not first:
            self._line(none)
            return
        widths = [max(map(_width, column)) for column in zip(headings, *first, strict=True)]
        self._line(_emphasised(_aligned(headings, widths), self._stream))
        for row in itertools.chain(first, rows):
            self._line(_aligned(row, widths))

    def next(self, value: object, cells: Sequence[str]) -> None:
        """Shows one more of what comes over time, at once: `value` as JSON on a line, or `cells` on one."""
        if self.json:
            self._line(shown_json(msgspec.json.encode(value).decode()))
        else:
            self._line((GAP if self._for_people else "\t").join(map(shown, cells)))
        self._stream.flush()

    def further(self, text: str) -> None:
        """Goes on with what `next` has shown, on a line below; JSON has it already."""
        if not self.json:
            self._line(f"    {shown(text)}")
            self._stream.flush()

    def picture(self, lines: str) -> None:
        """Draws something for who sits at a terminal; programs and pipes get none."""
        if self._for_people and not self.json:
            self._line("\n" + lines.rstrip("\n"))

    def note(self, sentence: str) -> None:
        """Tells people something beside the answer, on stderr. Programs, which ask for JSON, hear nothing."""
        if not self.json:
            say(sentence)

    def _document(self, value: object) -> None:
        encoded = msgspec.json.format(msgspec.json.encode(value), indent=2)
        self._line(shown_json(encoded.decode()))

    def _array(self, values: Iterable[object]) -> None:
        before = "[\n"
        for value in values:
            self._stream.write(before + shown_json(msgspec.json.encode(value).decode()))
            before = ",\n"
        self._line("[]" if before == "[\n" else "\n]")

    def _line(self, text: str) -> None:
        self._stream.write(text + "\n")


def say(sentence: str) -> None:
    """Writes `sentence` to stderr."""
    sys.stdout.flush()
    print("\n".join(map(shown, sentence.split("\n"))), file=sys.stderr, flush=True)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True))
    return GAP.join(padded).rstrip()


def _width(cell: str) -> int:
    """How many places of a terminal `cell` takes: two for most East Asian characters, none for accents."""
    if cell.isascii():
        return len(cell)
    from rich.cells import cell_len

    return cell_len(cell)


def _emphasised(line: str, stream: TextIO) -> str:
    """`line` in bold, unless the terminal cannot or NO_COLOR forbids it. https://no-color.org"""
    from rich.console import Console

    console = Console(file=stream)
    if console.color_system is None or console.no_color:
        return line
    return f"\x1b[1m{line}\x1b[0m"
