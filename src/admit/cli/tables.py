"""admit table: the tables of an app, and where the keys of their objects are."""

from typing import Annotated

import msgspec
import typer

from admit.cli.command import AppName, Terminal, command, group
from admit.cli.connection import target
from admit.cli.output import Column

tables = group("table", "Tables: what clients sync.", example="admit table list notes")

TableName = Annotated[str, typer.Argument(metavar="TABLE", help="The name of the table.", show_default=False)]


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table, as the admin API tells it."""

    name: str
    primary_key: str
    id_prefix: str
    generated: bool
    known: bool


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is to be known of a table."""

    primary_key: str | None = None
    id_prefix: str | None = None
    generated: bool | None = None


@command(tables, "list", example="admit table list notes")
def list_tables(terminal: Terminal, app: AppName) -> None:
    """Lists the tables that clients or operators have told of, or that have had objects."""
    terminal.out.many(
        terminal.call("GET", target("apps", app, "tables"), None, list[Table]),
        [
            Column["Table"]("TABLE", lambda table: table.name),
            Column("KEY AT", lambda table: table.primary_key or "beside the object"),
            Column("KEYS ARE MADE", lambda table: _made(table)),
            Column("TOLD", lambda table: "yes" if table.known else "no"),
        ],
        none="No tables.",
    )


@command(tables, "show", example="admit table show notes todos")
def show(terminal: Terminal, app: AppName, table: TableName) -> None:
    """Shows where the keys of a table are."""
    found = terminal.call("GET", target("apps", app, "tables", table), None, Table)
    terminal.out.one(
        found,
        [
            ("table", found.name),
            ("key at", found.primary_key or "beside the object"),
            ("keys are made", _made(found)),
        ],
    )


@command(tables, "set", example="admit table set notes todos --primary-key id --generated --id-prefix tds")
def set_table(
    terminal: Terminal,
    app: AppName,
    table: TableName,
    primary_key: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help='Where the key is: `id`, `a.b`, `[a+b]`; "" where keys stand beside the objects.',
            show_default=False,
        ),
    ] = None,
    id_prefix: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What keys that are made begin with.", show_default=False),
    ] = None,
    generated: Annotated[
        bool | None,
        typer.Option(
            "--generated/--no-generated",
            help="Whether an object without a key is given one.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Tells of a table before any client has, or corrects what is known. What is stored stays as it is.

    Clients tell of their tables when they sync. The REST API needs to know where the key of an object is, and
    takes `id` where nobody has said so.
    """
    change = Change(primary_key=primary_key, id_prefix=id_prefix, generated=generated)
    found = terminal.call("PUT", target("apps", app, "tables", table), change, Table)
    where = found.primary_key or "beside the object"
    terminal.out.done(found, f"{found.name}: the key is at {where}, keys are made: {_made(found)}.")


def _made(table: Table) -> str:
    if not table.generated:
        return "no"
    return f"{table.id_prefix}…" if table.id_prefix else "yes"
