"""admit app overview: how an app is doing, in a few lines."""

from typing import TYPE_CHECKING, Annotated

import typer

from admit.cli.apps import apps as apps
from admit.cli.command import AppName, Terminal, command
from admit.cli.connection import target
from admit.cli.output import Facts
from admit.cli.values import moment

if TYPE_CHECKING:
    from admit.web.overview_types import Attention, Overview


@command(apps, "overview", example="admit app overview notes --days 28")
def overview(
    terminal: Terminal,
    app: AppName,
    days: Annotated[int, typer.Option(min=1, max=90, metavar="N", help="How many days to look back.")] = 7,
) -> None:
    """Shows how an app is doing: who came, how fast decisions are, what needs attention.

    Decisions about people at the door are counted, not users whom a program or an import creates.
    """
    from admit.web.overview_types import Overview

    found = terminal.call("GET", target("apps", app, "overview", days=days), None, Overview)
    terminal.out.one(found, _facts(found))


def _facts(found: "Overview") -> Facts:
    admitted = sum(each.admitted_eval + each.admitted_prod for each in found.decisions)
    asked = found.asked
    return [
        *((f"attention ({each.code})", f"{_title(each)}. {each.text}") for each in found.attention),
        ("people", _counted(found.people)),
        (f"devices, {found.days} d", _counted(found.devices)),
        ("seats", f"{found.seats.taken} of {found.seats.limit or 'any number'}"),
        (f"admitted, {found.days} d", str(admitted)),
        (f"refused, {found.days} d", str(sum(each.refused for each in found.decisions))),
        (f"unanswered, {found.days} d", str(sum(each.unanswered for each in found.decisions))),
        ("asked, 24 h", "nobody" if asked is None else f"{asked.asked}, without an answer {asked.failed}"),
        *(
            [("answer", f"{asked.median_ms} ms in the middle, {asked.p99_ms} ms at most for 99 %")]
            if asked is not None and asked.median_ms is not None
            else []
        ),
        *(
            (f"endpoint {each.id}", f"{each.state}, told in time")
            if each.oldest_at is None
            else (
                f"endpoint {each.id}",
                f"{each.state}, {each.waiting} waiting since {moment(each.oldest_at)}",
            )
            for each in found.endpoints or []
        ),
        *((f"failed runs of {each.task}", str(each.runs)) for each in found.failed_runs or []),
    ]


def _title(needed: "Attention") -> str:
    return needed.title if needed.since is None else f"{needed.title} since {moment(needed.since)}"


def _counted(number: int | None) -> str:
    return "being counted" if number is None else str(number)
