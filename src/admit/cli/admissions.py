"""admit admission: the ledger of decisions."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from admit.cli.command import AppName, Terminal, command, group
from admit.cli.connection import target
from admit.cli.output import Column
from admit.cli.values import moment

if TYPE_CHECKING:
    from admit.web.admin_types import AdmissionView

admissions = group(
    "admission",
    "Admissions: the ledger of who was let in, who was not, and why.",
    example="admit admission list notes --limit 20",
)

PAGE_SIZE = 1_000


@command(admissions, "list", example="admit admission list notes --limit 20")
def list_admissions(
    terminal: Terminal,
    app: AppName,
    user: Annotated[
        str | None, typer.Option(metavar="USER_ID", help="Only of this person.", show_default=False)
    ] = None,
    way_in: Annotated[
        str | None,
        typer.Option(
            metavar="WAY",
            help="Only who came this way: email_code, api, import, … or the name of a provider.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many.")] = 100,
) -> None:
    """Lists the decisions about unknown people, the newest first."""
    terminal.out.many(
        _pages(terminal, app, {"user": user, "way_in": way_in}, limit),
        [
            Column["AdmissionView"]("OPENED", lambda admission: moment(admission.opened_at)),
            Column("USER ID", lambda admission: admission.user_id),
            Column("WAY IN", lambda admission: admission.way_in),
            Column("POLICY", lambda admission: admission.policy),
            Column("VERDICT", lambda admission: admission.verdict or "open"),
            Column("MS", lambda admission: str(admission.latency_ms) if admission.settled_at else ""),
            Column("CALLS", lambda admission: str(admission.attempts)),
            Column("REASON", _reason),
        ],
        none="Nobody unknown has come yet.",
    )


def _reason(admission: "AdmissionView") -> str:
    return f"{admission.code}: {admission.reason}" if admission.code else admission.reason


def _pages(
    terminal: Terminal, app: str, query: dict[str, str | None], limit: int
) -> Iterator["AdmissionView"]:
    from admit.web.admin_types import AdmissionPage

    before: str | None = None
    while limit > 0:
        where = target("apps", app, "admissions", **query, limit=min(limit, PAGE_SIZE), before=before)
        page = terminal.call("GET", where, None, AdmissionPage)
        yield from page.admissions
        limit -= len(page.admissions)
        if (before := page.before) is None:
            return
