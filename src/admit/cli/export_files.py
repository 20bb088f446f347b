"""Files that commands write and read: CSV or JSON lines."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, TextIO

import typer

from admit.cli.command import Refusal, Terminal

Format = Literal["csv", "jsonl"]

ExportFile = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", dir_okay=False, help="The file; stdout by default.", show_default=False),
]
ExportFormat = Annotated[
    Format | None,
    typer.Option(
        help="The format, where the ending of FILE does not tell; jsonl on stdout.", show_default=False
    ),
]

PERSONAL = 0o600


def format_of_file(file: Path, given: Format | None) -> Format:
    """The format that was `given`, or that the ending of `file` tells. Raises Refusal."""
    from admit.accounts.people_files import format_of

    if (format_ := given or format_of(file.name)) is None:
        raise Refusal(f"{file} ends neither in .csv nor in .jsonl. Add --format csv or --format jsonl.", 2)
    return format_


def format_to_write(terminal: Terminal, file: Path, given: Format | None, *, yes: bool) -> Format:
    """The format of a file that is about to be written. Asks before one that is there is replaced."""
    chosen = format_of_file(file, given)
    if file.exists():
        terminal.confirm(f"{file} is replaced.", yes=yes)
    return chosen


@contextmanager
def personal_file(path: Path) -> Iterator[TextIO]:
    """A file to write that nobody else may read. It is there once the block has ended well."""
    part = path.with_name(path.name + ".part")
    opened = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PERSONAL)
    with os.fdopen(opened, "w", encoding="utf-8", newline="") as stream:
        yield stream
    os.replace(part, path)
