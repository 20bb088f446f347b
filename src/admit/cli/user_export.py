"""What `admit user export` does: all people of an app, page by page, as CSV or JSON lines."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from admit.cli.people_files import Format, PersonLine, write_people
from admit.cli.replies import Person
from admit.clock import iso_date

PERSONAL = 0o600


def export_to(stream: TextIO, format_: Format, people: Iterable[Person]) -> int:
    """Writes `people` to `stream` as they come, and says how many they were."""
    counted = _Counted(people)
    write_people(map(_line, counted), format_, stream)
    return counted.number


def export_file(path: Path, format_: Format, people: Iterable[Person]) -> int:
    """Writes `people` to a file that nobody else may read. It is there once it is whole."""
    part = path.with_name(path.name + ".part")
    opened = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PERSONAL)
    with os.fdopen(opened, "w", encoding="utf-8", newline="") as stream:
        number = export_to(stream, format_, people)
    os.replace(part, path)
    return number


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


def _line(person: Person) -> PersonLine:
    return PersonLine(
        user_id=person.user_id,
        type=person.type,
        valid_until=_date(person.valid_until),
        eval_days_left=person.eval_days_left,
        deactivated=_date(person.deactivated_at),
        data=person.data,
        email=person.email,
        name=person.name,
        created=iso_date(person.created_at),
        updated=iso_date(person.updated_at),
        last_login=_date(person.last_login_at),
        max_allowed_eval_days_left=person.eval_days_max,
    )


def _date(at_ms: int | None) -> str | None:
    return None if at_ms is None else iso_date(at_ms)
