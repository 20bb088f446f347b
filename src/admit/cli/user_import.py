"""What `admit user import` does: a file goes to the admin API in pieces, and goes on where it stopped."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from admit.accounts.people_files import Format, NotReadable, Place, Read, read_people
from admit.accounts.user_edits import UserChange
from admit.cli.command import Refusal, Terminal
from admit.cli.connection import target
from admit.cli.output import say
from admit.web.admin_types import UserImport, UserImported

if TYPE_CHECKING:
    from rich.progress import Progress

PIECE_USERS = 500
PIECE_BYTES = 3_000_000
ERRORS_SHOWN_MAX = 200
JOURNAL_ENDING = ".admit-import"


class LineError(msgspec.Struct, frozen=True):
    """Why the entry in this line was left out."""

    line: int
    message: str


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How far an import has come: what became of the entries before `place`."""

    place: Place = Place()
    created: int = 0
    changed: int = 0
    unchanged: int = 0
    refused: int = 0


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did, or would do. `errors` are the first ERRORS_SHOWN_MAX of this run."""

    app: str
    file: str
    dry_run: bool
    created: int
    changed: int
    unchanged: int
    refused: int
    errors: list[LineError]


class _Piece(msgspec.Struct, frozen=True):
    """Some entries of the file with their lines, those that say nothing, and where they all end."""

    entries: list[tuple[int, UserChange]]
    errors: list[LineError]
    end: Place


class _Kept(msgspec.Struct, frozen=True):
    """What is kept beside the file: how far which file has come into which app."""

    app_id: str
    size: int
    modified_ns: int
    tally: Tally


class Journal:
    """Remembers in a small file beside `path` how far it has come, until its import is whole.

    A file that has been changed since, or is meant for another app, begins anew.
    """

    def __init__(self, path: Path, app_id: str) -> None:
        self.path = path.with_name(path.name + JOURNAL_ENDING)
        stat = path.stat()
        self._kept = _Kept(app_id, stat.st_size, stat.st_mtime_ns, Tally())
        self._told = False
        self.tally = Tally()

    def begin(self) -> Tally:
        """How far an earlier import has come."""
        with suppress(OSError, msgspec.MsgspecError):
            earlier = msgspec.json.decode(self.path.read_bytes(), type=_Kept)
            if replace(earlier, tally=Tally()) == self._kept:
                self.tally = earlier.tally
        return self.tally

    def keep(self, tally: Tally) -> None:
        """Keeps the place. Where that cannot be written, the import goes on without."""
        self.tally = tally
        part = self.path.with_name(self.path.name + ".part")
        try:
            part.write_bytes(msgspec.json.encode(replace(self._kept, tally=tally)))
            os.replace(part, self.path)
        except OSError as error:
            if not self._told:
                say(f"Cannot write {self.path}: {error.strerror}. An interrupted import would begin anew.")
                self._told = True

    def end(self) -> None:
        """Forgets the place: the import is whole."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


def import_file(terminal: Terminal, app: str, path: Path, format_: Format) -> Summary:
    """Imports the people of a file into an app, from where an earlier import of it was interrupted."""
    journal = Journal(path, _ask(terminal, app, [], dry_run=True).app_id)
    begin = journal.begin()
    if begin.place.line:
        terminal.out.note(f"Going on behind line {begin.place.line}, which an earlier import has come to.")
    errors: list[LineError] = []
    try:
        tally = _carry_out(terminal, app, path, format_, begin, errors, journal.keep, dry_run=False)
    except BaseException:
        if line := journal.tally.place.line:
            say(f"The import has come to line {line}. The same command goes on from there.")
        raise
    journal.end()
    return _summary(app, path, tally, errors, dry_run=False)


def try_file(terminal: Terminal, app: str, path: Path, format_: Format) -> Summary:
    """What `import_file` would do from the beginning. Nothing is changed."""
    errors: list[LineError] = []
    tally = _carry_out(terminal, app, path, format_, Tally(), errors, lambda tally: None, dry_run=True)
    return _summary(app, path, tally, errors, dry_run=True)


def _carry_out(
    terminal: Terminal,
    app: str,
    path: Path,
    format_: Format,
    tally: Tally,
    errors: list[LineError],
    keep: Callable[[Tally], None],
    *,
    dry_run: bool,
) -> Tally:
    """Sends piece after piece of what lies behind `tally`, and keeps how far it has come behind each."""
    with path.open("rb") as file, _bar(path, terminal, tally.place) as show:
        try:
            for piece in _pieces(read_people(file, format_, tally.place)):
                done = _ask(terminal, app, piece.entries, dry_run=dry_run)
                refused = _refused(piece, done)
                for error in refused:
                    _complain(terminal, error, errors)
                tally = Tally(
                    place=piece.end,
                    created=tally.created + done.created,
                    changed=tally.changed + done.changed,
                    unchanged=tally.unchanged + done.unchanged,
                    refused=tally.refused + len(refused),
                )
                keep(tally)
                show(tally.place)
        except NotReadable as problem:
            raise Refusal(f"{path}: {problem}") from None
    return tally


def _ask(
    terminal: Terminal, app: str, entries: list[tuple[int, UserChange]], *, dry_run: bool
) -> UserImported:
    body = UserImport(users=[change for _, change in entries], dry_run=dry_run)
    return terminal.call("POST", target("apps", app, "user-imports"), body, UserImported)


def _pieces(reads: Iterable[Read]) -> Iterator[_Piece]:
    """`reads` in portions that one request may carry, however many of them are wrong."""
    entries: list[tuple[int, UserChange]] = []
    errors: list[LineError] = []
    size, end = 0, Place()
    for read in reads:
        size_of_this = 0
        if isinstance(read.entry, UserChange):
            size_of_this = len(msgspec.json.encode(read.entry))
            if entries and size + size_of_this > PIECE_BYTES:
                yield _Piece(entries, errors, end)
                entries, errors, size = [], [], 0
            entries.append((read.line, read.entry))
        else:
            errors.append(LineError(read.line, read.entry))
        size, end = size + size_of_this, read.end
        if len(entries) + len(errors) == PIECE_USERS:
            yield _Piece(entries, errors, end)
            entries, errors, size = [], [], 0
    if entries or errors:
        yield _Piece(entries, errors, end)


def _refused(piece: _Piece, done: UserImported) -> list[LineError]:
    """Everything that was left out of `piece`, in the order of the lines."""
    theirs = [LineError(piece.entries[each.index][0], each.message) for each in done.refused]
    return sorted([*piece.errors, *theirs], key=lambda error: error.line)


def _complain(terminal: Terminal, error: LineError, errors: list[LineError]) -> None:
    if len(errors) < ERRORS_SHOWN_MAX:
        errors.append(error)
        terminal.out.note(f"Line {error.line}: {error.message}")
        if len(errors) == ERRORS_SHOWN_MAX:
            terminal.out.note("There are many: what else is wrong is counted, and not shown.")


def _summary(app: str, path: Path, tally: Tally, errors: list[LineError], *, dry_run: bool) -> Summary:
    return Summary(
        app=app,
        file=str(path),
        dry_run=dry_run,
        created=tally.created,
        changed=tally.changed,
        unchanged=tally.unchanged,
        refused=tally.refused,
        errors=errors,
    )


@contextmanager
def _bar(path: Path, terminal: Terminal, begin: Place) -> Iterator[Callable[[Place], None]]:
    """Shows people how much of the file is done. Programs and files see nothing of it."""
    if terminal.out.json or not sys.stderr.isatty():
        yield lambda place: None
        return
    with progress() as bar:
        task = bar.add_task(path.name, total=path.stat().st_size, completed=begin.offset)
        yield lambda place: bar.update(task, completed=place.offset)


def progress() -> "Progress":
    """A bar on stderr that goes away when it is done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True)
