"""admit admission: the ledger of decisions."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

import msgspec
import typer

from admit import clock
from admit.cli.command import AppName, Terminal, Yes, command, duration_option, group
from admit.cli.connection import target
from admit.cli.export_files import ExportFile, ExportFormat, Format, format_to_write, personal_file
from admit.cli.output import Column
from admit.cli.values import moment

if TYPE_CHECKING:
    from admit.web.admin_types import AdmissionView

admissions = group(
    "admission",
    "Admissions: the ledger of who was let in, who was not, and why.",
    example="admit admission list notes --limit 20",
)

PAGE_SIZE = 500

Filters = dict[str, str | int | None]

User = Annotated[str | None, typer.Option(metavar="USER_ID", help="Only of this person.", show_default=False)]
Search = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="Only of people whose userId begins so: by person, the oldest first.",
        show_default=False,
    ),
]
Way = Annotated[
    str | None,
    typer.Option(
        metavar="WAY",
        help="Only who came this way: email_code, api, import, … or the name of a provider.",
        show_default=False,
    ),
]
Ended = Annotated[
    Literal["eval", "prod", "refused", "open"] | None,
    typer.Option(help="Only what ended so; open: is being decided.", show_default=False),
]
Code = Annotated[
    str | None,
    typer.Option(
        metavar="CODE", help="Only who was refused with this, e.g. WEBHOOK_ERROR.", show_default=False
    ),
]
Since = Annotated[float | None, duration_option("Only of that long back, such as 2h or 7d.")]


@command(admissions, "list", example="admit admission list notes --limit 20")
def list_admissions(
    terminal: Terminal,
    app: AppName,
    user: User = None,
    search: Search = None,
    way_in: Way = None,
    verdict: Ended = None,
    code: Code = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many.")] = 100,
) -> None:
    """Lists the decisions about unknown people, the newest first."""
    filters = _filters(user, search, way_in, verdict, code, since)
    terminal.out.many(
        _first(limit, _pages(terminal, app, filters, limit)),
        [
            Column["AdmissionView"]("OPENED", lambda admission: moment(admission.opened_at)),
            Column("USER ID", lambda admission: admission.user_id),
            Column("WAY IN", lambda admission: admission.way_in),
            Column("POLICY", lambda admission: admission.policy),
            Column("VERDICT", lambda admission: admission.verdict or "open"),
            Column("MS", lambda admission: str(admission.latency_ms) if admission.settled_at else ""),
            Column("CALLS", lambda admission: str(admission.attempts)),
            Column("REASON", _reason),
            Column("ADMISSION", lambda admission: admission.admission_id),
        ],
        none="No decision is like that."
        if any(each is not None for each in filters.values())
        else "Nobody unknown has come yet.",
    )


@command(admissions, "show", example="admit admission show notes adm_0199ab…")
def show(
    terminal: Terminal,
    app: AppName,
    admission: Annotated[str, typer.Argument(metavar="ADMISSION", help="Its id.", show_default=False)],
) -> None:
    """Shows a decision about an unknown person, with all that is kept of it."""
    from admit.web.admin_types import AdmissionView

    found = terminal.call("GET", target("apps", app, "admissions", admission), None, AdmissionView)
    facts = [
        ("user id", found.user_id),
        ("opened", moment(found.opened_at)),
        ("settled", moment(found.settled_at) or "not yet"),
        ("came by", found.way_in if found.way_in == found.method else f"{found.way_in} ({found.method})"),
        ("policy", f"{found.policy}, version {found.policy_version}"),
        ("verdict", found.verdict or "open"),
        ("code", found.code),
        ("told", found.message),
        ("why", found.reason),
        ("asked", f"{found.attempts} times, {found.latency_ms} ms" if found.attempts else "nobody"),
        ("too late", found.late),
        ("claims", "" if found.claims is None else msgspec.json.encode(found.claims).decode()),
        ("uid", found.uid or ""),
        ("digest of what was asked", found.input_digest),
    ]
    terminal.out.one(found, [(label, text) for label, text in facts if text])


@command(admissions, "export", example="admit admission export notes ledger.csv --since 90d")
def export(
    terminal: Terminal,
    app: AppName,
    file: ExportFile = None,
    format: ExportFormat = None,
    user: User = None,
    search: Search = None,
    way_in: Way = None,
    verdict: Ended = None,
    code: Code = None,
    since: Since = None,
    yes: Yes = False,
) -> None:
    """Writes the decisions about unknown people as CSV, or as JSON lines, the newest first.

    In CSV, a text that a spreadsheet would run as a formula is led by an apostrophe.
    """
    found = _pages(terminal, app, _filters(user, search, way_in, verdict, code, since))
    if file is None:
        _write(sys.stdout, format or "jsonl", found)
        return
    chosen = format_to_write(terminal, file, format, yes=yes)
    with personal_file(file) as stream:
        number = _write(stream, chosen, found)
    terminal.out.done(
        {"app": app, "file": str(file), "admissions": number}, f"{number} decisions are in {file}."
    )


def _write(stream: TextIO, format_: Format, pages: Iterator[list["AdmissionView"]]) -> int:
    from admit.web import admission_files

    stream.write(admission_files.head(format_))
    number = 0
    for page in pages:
        stream.write(admission_files.lines(page, format_))
        number += len(page)
    return number


def _reason(admission: "AdmissionView") -> str:
    return f"{admission.code}: {admission.reason}" if admission.code else admission.reason


def _filters(
    user: str | None,
    search: str | None,
    way_in: str | None,
    verdict: str | None,
    code: str | None,
    since: float | None,
) -> Filters:
    return {
        "user": user,
        "beginning": search,
        "way_in": way_in,
        "verdict": verdict,
        "code": code,
        "since": None if since is None else max(0, clock.now() - round(since * 1_000)),
    }


def _first(limit: int, pages: Iterator[list["AdmissionView"]]) -> Iterator["AdmissionView"]:
    for page in pages:
        yield from page[:limit]
        limit -= len(page)
        if limit <= 0:
            return


def _pages(
    terminal: Terminal, app: str, query: Filters, limit: int = PAGE_SIZE
) -> Iterator[list["AdmissionView"]]:
    """The pages of what `query` finds, as they are asked for."""
    from admit.web.admin_types import AdmissionPage

    before: str | None = None
    while True:
        where = target("apps", app, "admissions", **query, limit=min(limit, PAGE_SIZE), before=before)
        page = terminal.call("GET", where, None, AdmissionPage)
        yield page.admissions
        if (before := page.before) is None:
            return
