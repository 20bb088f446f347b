"""What `admit user export` does: all people of an app, page by page, as CSV or JSON lines."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from admit.accounts.people_files import write_people
from admit.cli.export_files import Format, personal_file
from admit.web.people_replies import Person, line_of


def export_to(stream: TextIO, format_: Format, people: Iterable[Person]) -> int:
    """Writes `people` to `stream` as they come, and says how many they were."""
    counted = _Counted(people)
    write_people(map(line_of, counted), format_, stream)
    return counted.number


def export_file(path: Path, format_: Format, people: Iterable[Person]) -> int:
    """Writes `people` to a file that nobody else may read. It is there once it is whole."""
    with personal_file(path) as stream:
        return export_to(stream, format_, people)


class _Counted:
    """Passes people on, counts them, and shows the number to who waits in front of a terminal."""

    SHOWN_EVERY = 1_000

    def __init__(self, people: Iterable[Person]) -> None:
        self._people = people
        self.number = 0

    def __iter__(self) -> Iterator[Person]:
        shows = sys.stderr.isatty() and not sys.stdout.isatty()
        for person in self._people:
            yield person
            self.number += 1
            if shows and self.number % self.SHOWN_EVERY == 0:
                print(f"\r{self.number} people", end="", file=sys.stderr, flush=True)
        if shows and self.number >= self.SHOWN_EVERY:
            print("\r", end="\x1b[K", file=sys.stderr, flush=True)
