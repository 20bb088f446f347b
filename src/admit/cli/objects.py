"""admit object: what people keep in their tables, and what is public."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from admit.cli.command import AppName, Refusal, Terminal, Yes, command, group
from admit.cli.connection import target
from admit.cli.output import Column
from admit.cli.tables import TableName
from admit.cli.values import moment

objects = group(
    "object",
    "Objects: the rows of tables, of each person and of the public realm.",
    example="admit object list notes todos --realm ada@example.com",
)

PAGE_SIZE = 500
VALUE_CHARACTERS_SHOWN = 80

Key = Annotated[str, typer.Argument(metavar="KEY", help="The key of the object.", show_default=False)]
Realm = Annotated[
    str | None,
    typer.Option(metavar="REALM", help="Whose: a userId, or `rlm-public`.", show_default=False),
]


class Object(msgspec.Struct, frozen=True, kw_only=True):
    """An object, as the admin API tells it."""

    realm_id: str
    table: str
    key: str
    value: msgspec.Raw
    revision: int
    changed_at: int


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some objects; `after` leads to the next."""

    objects: list[Object]
    after: str | None


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """So many objects up to `after`."""

    objects: int
    after: str | None


class Counted(msgspec.Struct, frozen=True):
    """How many objects there are."""

    objects: int


class Put(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An object to put."""

    value: msgspec.Raw
    realm_id: str | None = None


@command(objects, "list", example="admit object list notes todos --realm ada@example.com --limit 20")
def list_objects(
    terminal: Terminal,
    app: AppName,
    table: TableName,
    realm: Realm = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PROPERTY=VALUE",
            help="Only where the property is this; may be given several times. Looks at every object.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="At most so many.", show_default=False)
    ] = None,
) -> None:
    """Lists the objects of a table, however many, as they are read."""
    conditions = dict(_condition(each) for each in where or ())
    terminal.out.many(
        _pages(terminal, app, table, realm, conditions, limit),
        [
            Column["Object"]("KEY", lambda each: each.key),
            Column("REALM", lambda each: each.realm_id),
            Column("CHANGED", lambda each: moment(each.changed_at)),
            Column("VALUE", lambda each: _short(each.value)),
        ],
        none="No objects.",
    )


@command(objects, "get", example="admit object get notes todos tds1")
def get(terminal: Terminal, app: AppName, table: TableName, key: Key, realm: Realm = None) -> None:
    """Shows an object. --realm says whose, where several people have one with this key."""
    where = target("apps", app, "objects", table, key, realm_id=realm)
    found = terminal.call("GET", where, None, Object)
    terminal.out.one(
        found,
        [
            ("table", found.table),
            ("key", found.key),
            ("realm", found.realm_id),
            ("changed", moment(found.changed_at)),
            ("revision", str(found.revision)),
            ("value", bytes(found.value).decode()),
        ],
    )


@command(
    objects, "put", example='admit object put notes todos \'{"id": "t1", "title": "Tea"}\' --realm rlm-public'
)
def put(
    terminal: Terminal,
    app: AppName,
    table: TableName,
    value: Annotated[
        str,
        typer.Argument(
            metavar="JSON", help="The whole object; @FILE reads a file, - stdin.", show_default=False
        ),
    ],
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Its key, where the object does not carry it.", show_default=False),
    ] = None,
    realm: Realm = None,
) -> None:
    """Puts a whole object, whether there is one or not. Open clients get it at once.

    A new one needs --realm: whose it is, or `rlm-public` for everybody, also people who have not signed in.
    """
    body = Put(value=msgspec.Raw(_json(value)), realm_id=realm)
    if key is None:
        found = terminal.call("POST", target("apps", app, "objects", table), body, Object)
    else:
        found = terminal.call("PUT", target("apps", app, "objects", table, key), body, Object)
    terminal.out.done(found, f"{found.key} is in {found.table} of {found.realm_id}.")


@command(objects, "delete", example="admit object delete notes todos t1 --realm ada@example.com --yes")
def delete(
    terminal: Terminal, app: AppName, table: TableName, key: Key, realm: Realm = None, yes: Yes = False
) -> None:
    """Deletes an object, here and on every device that has it."""
    terminal.confirm(f"The object {key} of {table} goes, also from the devices that have it.", yes=yes)
    terminal.call("DELETE", target("apps", app, "objects", table, key, realm_id=realm), None, type(None))
    terminal.out.done(None, f"{key} is deleted.")


@command(objects, "count", example="admit object count notes todos")
def count(terminal: Terminal, app: AppName, table: TableName, realm: Realm = None) -> None:
    """Counts the objects of a table, of one realm or of all."""
    total, after = 0, None
    shows = sys.stderr.isatty()
    while True:
        where = target("apps", app, "object-counts", table, realm_id=realm, after=after)
        piece = terminal.call("GET", where, None, Count)
        total, after = total + piece.objects, piece.after
        if after is None:
            break
        if shows:
            print(f"\r{total} objects", end="", file=sys.stderr, flush=True)
    if shows:
        print("\r", end="\x1b[K", file=sys.stderr, flush=True)
    terminal.out.done(Counted(total), str(total))


def _pages(
    terminal: Terminal,
    app: str,
    table: str,
    realm: str | None,
    conditions: dict[str, str],
    limit: int | None,
) -> Iterator[Object]:
    left, after = limit, None
    while left is None or left > 0:
        size = PAGE_SIZE if left is None else min(PAGE_SIZE, left)
        asked = {**conditions, "realm_id": realm, "after": after, "limit": size}
        page = terminal.call("GET", target("apps", app, "objects", table, **asked), None, Page)
        yield from page.objects
        left = None if left is None else left - len(page.objects)
        if (after := page.after) is None:
            return


def _condition(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise Refusal("A condition is of the form PROPERTY=VALUE.", 2)
    if name in ("realm_id", "after", "limit"):
        raise Refusal(f"A property named {name} cannot be asked for here.", 2)
    return name, value


def _json(text: str) -> bytes:
    """What was typed, or what a file or stdin holds. Raises Refusal for what is no JSON."""
    try:
        if text == "-":
            given = sys.stdin.buffer.read()
        elif text.startswith("@"):
            given = Path(text[1:]).read_bytes()
        else:
            given = text.encode()
        msgspec.json.decode(given)
    except OSError as error:
        raise Refusal(f"Cannot read {text[1:]}: {error.strerror}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(f"The object is not JSON: {error}.", 2) from error
    return given


def _short(value: msgspec.Raw) -> str:
    text = bytes(value).decode()
    return text if len(text) <= VALUE_CHARACTERS_SHOWN else text[: VALUE_CHARACTERS_SHOWN - 1] + "…"
