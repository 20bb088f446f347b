"""/apps/APP/people-import: people from a file, tried out first, then portion by portion.

A browser with scripts reads the file itself and sends it in portions, however long it is; one without sends
it whole, and each press of a button imports the next portions.
"""

import asyncio
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec
from msgspec.structs import replace
from starlette.responses import Response

from admit.accounts.people_files import READ, Format, NotReadable, Place, Read, format_of, read_people
from admit.accounts.user_edits import UserChange
from admit.errors import AdmitError, Conflict, InvalidRequest, TooLarge
from admit.web.admin_types import UserImport, UserImported
from admit.web.manager.forms import Form
from admit.web.manager.pages import Page, page

PORTION = 500
PORTIONS_A_PRESS = 4
SHOWN = 10
ERRORS_SHOWN_MAX = 200
WHOLE_BYTES_MAX = 2_000_000
"""Of a file that comes whole. It comes back with each press, encoded for a form."""
BODY_BYTES_MAX = 3 * WHOLE_BYTES_MAX + 100_000

COLUMNS = (
    ("userId", "Who: the email address or what a provider calls them. Needed."),
    ("type", "prod, eval or demo. Needed for people who are new."),
    ("validUntil", "A day such as 2030-12-31, or a time with its zone. null: no end."),
    ("evalDaysLeft", "Active days of the trial that are left."),
    ("deactivated", "true or a date: they cannot come in. false or null: they can."),
    ("data", "A JSON object. displayName in it is the name. null: none."),
)
assert tuple(name for name, _ in COLUMNS) == READ


class LineError(msgspec.Struct, frozen=True):
    """Why the entry that begins in this line is left out."""

    line: int
    message: str


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the entries so far, which end at `offset` behind `line` lines."""

    offset: int = 0
    line: int = 0
    created: int = 0
    changed: int = 0
    unchanged: int = 0
    refused: int = 0
    errors: list[LineError] = []

    @property
    def entries(self) -> int:
        """How many there were."""
        return self.created + self.changed + self.unchanged + self.refused

    def with_portion(self, done: "Tally") -> "Tally":
        """Both, where `done` came behind this."""
        return Tally(
            offset=done.offset,
            line=done.line,
            created=self.created + done.created,
            changed=self.changed + done.changed,
            unchanged=self.unchanged + done.unchanged,
            refused=self.refused + done.refused,
            errors=[*self.errors, *done.errors][:ERRORS_SHOWN_MAX],
        )


class Row(msgspec.Struct, frozen=True):
    """One entry of the preview, and what would become of it."""

    line: int
    user_id: str
    type: str
    becomes: str
    message: str


async def show(page: Page) -> Response:
    """The form for a file, and what its columns mean."""
    return _page(page)


async def preview(page: Page) -> Response:
    """What would become of the first entries. Nothing is changed."""
    form = page.form
    try:
        raw, format_ = _given(form)
        reads, more, errors = await asyncio.to_thread(_first, raw, format_, whole=not form.flag("more"))
        done = await _send(page, reads, dry_run=True)
    except (InvalidRequest, Conflict, TooLarge) as error:
        return _page(page, error, text=form.verbatim("text"))
    rows, tried = _rows(reads, done), _tally(reads, done)
    return page.render(
        "people_preview.html",
        rows=[*rows[:SHOWN], *[each for each in rows[SHOWN:] if each.becomes == "refused"][:SHOWN]],
        tried=tried,
        more=more or form.flag("more"),
        wrong_beyond=errors,
        format=format_,
        text=raw.decode(errors="surrogateescape").encode(errors="replace").decode(),
        name=form.text("name"),
        counts=_counts(tried, dry=True),
    )


async def run(page: Page) -> Response:
    """Imports the next portions of what came whole, for browsers without scripts."""
    form = page.form
    raw, format_ = _content(form.verbatim("text").encode()), _format(form.text("format"))
    tally = _kept(form)
    more = True
    try:
        for _ in range(PORTIONS_A_PRESS):
            reads = await asyncio.to_thread(_next, raw, format_, tally)
            if not reads:
                more = False
                break
            done = await _send(page, reads, dry_run=False)
            tally = tally.with_portion(_tally(reads, done))
    except (InvalidRequest, Conflict) as error:
        return _page(page, error, text=form.verbatim("text"))
    return page.render(
        "people_imported.html",
        tally=tally,
        counts=_counts(tally, dry=False),
        more=more,
        text=form.verbatim("text"),
        format=format_,
        kept=msgspec.json.encode(tally).decode(),
    )


async def portion(page: Page) -> Response:
    """Imports one portion that a script has cut out of a file behind `line` lines: PORTION entries at most.

    Answers how far into the cut it came: the cut may end anywhere, unless it is the `last`. In front of it
    are the first `head` bytes of the file, where they name columns.
    """
    form = page.form
    format_, line = _format(form.text("format")), form.integer("line", "line") or 0
    raw, head = form.file("file") or b"", form.integer("head", "head") or 0
    reads = await asyncio.to_thread(_cut_out, raw, format_, last=form.flag("last"))
    done = await _send(page, reads, dry_run=False)
    told = _tally(reads, done, skipped=line - raw[:head].count(b"\n"))
    told = replace(told, offset=told.offset - head if reads else len(raw) - head)
    return Response(msgspec.json.encode(told), media_type="application/json")


def _page(page: Page, refused: AdmitError | None = None, text: str = "") -> Response:
    return page.render(
        "people_import.html",
        status=page.status_of(refused),
        columns=COLUMNS,
        problem="" if refused is None else refused.message,
        text=text,
        whole_max=WHOLE_BYTES_MAX,
    )


def _given(form: Form) -> tuple[bytes, Format]:
    """What was chosen or pasted. Raises InvalidRequest, TooLarge."""
    raw = form.file("file")
    if raw is None:
        raw = form.verbatim("text").encode()
    raw = _content(raw)
    wanted = form.text("format")
    if wanted:
        return raw, _format(wanted)
    by_name = format_of(form.text("name") or form.file_name("file"))
    return raw, by_name or ("jsonl" if raw.lstrip()[:1] == b"{" else "csv")


def _content(raw: bytes) -> bytes:
    if not raw.strip():
        raise InvalidRequest("Choose a file, or paste its lines.")
    if len(raw) > WHOLE_BYTES_MAX:
        raise TooLarge(
            f"Without scripts a file has at most {WHOLE_BYTES_MAX // 1_000_000} MB. Turn scripts on, or use "
            "admit user import."
        )
    return raw


def _format(text: str) -> Format:
    match text:
        case "csv" | "jsonl":
            return text
        case _:
            raise InvalidRequest("A file of people is csv or jsonl.")


def _kept(form: Form) -> Tally:
    """How far the portions before have come, as our page had it."""
    text = form.text("kept")
    if not text:
        return Tally()
    try:
        return msgspec.json.decode(text, type=Tally)
    except (msgspec.MsgspecError, RecursionError):
        raise InvalidRequest("The form does not say how far the import has come.") from None


def _first(raw: bytes, format_: Format, *, whole: bool) -> tuple[list[Read], bool, int]:
    """The first PORTION entries, whether there are more, and how many of those cannot be read.

    Without `whole` an entry at the very end may be cut, and is left to the next portion.
    """
    reads = _read(raw, format_, Place())
    found = list(islice(reads, PORTION))
    if not whole and _is_cut(found, raw):
        found.pop()
    beyond = wrong = 0
    for each in reads:  # counted, not kept: a file may have a line in every other byte
        if whole or each.end.offset < len(raw):
            beyond, wrong = beyond + 1, wrong + isinstance(each.entry, str)
    return found, beyond > 0, wrong


def _cut_out(raw: bytes, format_: Format, *, last: bool) -> list[Read]:
    """The first PORTION entries of a cut, without the one at its end that may be cut."""
    found = list(islice(_read(raw, format_, Place()), PORTION))
    if not last and _is_cut(found, raw):
        found.pop()
    return found


def _is_cut(found: Sequence[Read], raw: bytes) -> bool:
    return len(found) > 1 and found[-1].end.offset == len(raw)


def _next(raw: bytes, format_: Format, tally: Tally) -> list[Read]:
    if not 0 <= tally.offset <= len(raw):
        raise InvalidRequest("The form does not say how far the import has come.")
    return list(islice(_read(raw, format_, Place(tally.offset, tally.line)), PORTION))


def _read(raw: bytes, format_: Format, begin: Place) -> Iterator[Read]:
    try:
        yield from read_people(io.BytesIO(raw), format_, begin)
    except NotReadable as error:
        raise InvalidRequest(str(error)) from None


async def _send(page: Page, reads: Sequence[Read], *, dry_run: bool) -> UserImported:
    entries = [each.entry for each in reads if isinstance(each.entry, UserChange)]
    if not entries:
        return UserImported(app_id="", created=0, changed=0, unchanged=0, refused=[])
    asked = UserImport(users=entries, dry_run=dry_run)
    return await page.send("POST", "/apps/{app}/user-imports", UserImported, asked)


def _tally(reads: Sequence[Read], done: UserImported, *, skipped: int = 0) -> Tally:
    """What became of `reads`. `skipped`: lines of the file that were not sent with them."""
    errors = [LineError(each.line + skipped, each.entry) for each in reads if isinstance(each.entry, str)]
    entries = [each for each in reads if not isinstance(each.entry, str)]
    errors += [LineError(entries[each.index].line + skipped, each.message) for each in done.refused]
    end = reads[-1].end if reads else Place()
    return Tally(
        offset=end.offset,
        line=end.line + skipped,
        created=done.created,
        changed=done.changed,
        unchanged=done.unchanged,
        refused=len(errors),
        errors=sorted(errors, key=lambda error: error.line)[:ERRORS_SHOWN_MAX],
    )


def _rows(reads: Sequence[Read], done: UserImported) -> list[Row]:
    why = {each.index: each.message for each in done.refused}
    rows, index = [], 0
    for each in reads:
        if isinstance(each.entry, str):
            rows.append(Row(each.line, "", "", "refused", each.entry))
            continue
        type_ = each.entry.type if isinstance(each.entry.type, str) else ""
        row = Row(each.line, each.entry.user_id, type_, done.becomes[index], why.get(index, ""))
        rows.append(row)
        index += 1
    return rows


def _counts(tally: Tally, *, dry: bool) -> list[tuple[str, int]]:
    would = "Would be " if dry else ""
    return [
        (f"{would}created".capitalize(), tally.created),
        (f"{would}changed".capitalize(), tally.changed),
        ("Stay as they are" if dry else "Unchanged", tally.unchanged),
        (f"{would}left out".capitalize(), tally.refused),
    ]


_SETTINGS: dict[str, Any] = {"nav": "people", "body_bytes_max": BODY_BYTES_MAX}
PAGES = (
    page("GET", "/apps/{app}/people-import", show, nav="people"),
    page("POST", "/apps/{app}/people-import", preview, **_SETTINGS),
    page("POST", "/apps/{app}/people-import/run", run, **_SETTINGS),
    page("POST", "/apps/{app}/people-import/portion", portion, **_SETTINGS),
)
