"""admit serve, admit migrate: what runs a server and prepares its database."""

import os
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from admit.cli.command import Refusal, register_plain
from admit.cli.failures import Exit
from admit.cli.output import Output, say
from admit.cli.reach import LOCK_WAIT_SECONDS, local_settings, news_of_file, sqlite_path
from admit.cli.values import listed

if TYPE_CHECKING:
    from admit.config import Settings
    from admit.web.processes import Started

UP_TO_DATE = "The database is up to date."

Database = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="sqlite:///FILE or postgresql://…; ADMIT_DATABASE_URL by default, else sqlite:///admit.db",
        show_default=False,
    ),
]


def register(root: typer.Typer) -> None:
    """Adds the commands to `root`."""
    register_plain(root, "serve", example="admit serve --port 8000 --database sqlite:///admit.db")(serve)
    register_plain(root, "migrate", example="admit migrate --check && echo up to date")(migrate)


def serve(
    host: Annotated[
        str | None,
        typer.Option(
            metavar="HOST", help="The address to listen on; 127.0.0.1 by default.", show_default=False
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", help="The port to listen on; 0 takes any.", show_default=False),
    ] = None,
    database: Database = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Server processes; more than one needs PostgreSQL.", show_default=False
        ),
    ] = None,
) -> None:
    """Runs the server until it is told to stop.

    It makes the database where there is none, a secret key beside a new SQLite file, and brings the database
    up to date unless ADMIT_MIGRATE=manual.
    """
    settings = local_settings(os.environ, host=host, port=port, database=database, workers=workers)
    from admit.web import server

    news = news_of_file(settings) if settings.on_sqlite else ""
    server.run(settings, lambda started: _welcome(settings, started, news))


def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Only list what is missing; exit 1 when something is.")
    ] = False,
    database: Database = None,
    json: Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")] = False,
) -> None:
    """Brings the database up to date with this version of Admit.

    Where there is none, it is made. A starting server does it itself unless ADMIT_MIGRATE=manual.
    """
    from admit.storage.migrate import migrate as apply
    from admit.storage.migrate import pending

    settings = local_settings(os.environ, database=database)
    out = Output(json=json)
    if check:
        missing = pending(settings.database_url)
        sentence = f"Missing: {listed(missing)}. `admit migrate` applies it." if missing else UP_TO_DATE
        out.done({"pending": missing, "applied": []}, sentence)
        if missing:
            raise typer.Exit(Exit.FAILED)
        return
    with _held(settings):
        applied = apply(settings.database_url)
    out.done({"pending": [], "applied": applied}, f"Applied: {listed(applied)}." if applied else UP_TO_DATE)


def _held(settings: "Settings") -> AbstractContextManager[object]:
    """Holds the SQLite file: nobody else may change its schema, or use it meanwhile."""
    from admit.storage.lock import FileLock

    if not settings.on_sqlite:
        return nullcontext()
    lock = FileLock(sqlite_path(settings.database_url))
    if (address := lock.holder()) is not None:
        raise Refusal(f"The server at {address} has the database open. Stop it first.")
    lock.acquire(None, wait_seconds=LOCK_WAIT_SECONDS)
    held = ExitStack()
    held.callback(lock.release)
    return held


def _welcome(settings: "Settings", started: "Started", news: str) -> None:
    """Tells, once the server answers, where it is and where to look next."""
    address = started.address
    if news:
        say(news)
    inbox = settings.mail_url == "inbox:"
    look = f"mails arrive at {address}/inbox" if inbox else f"its API is told at {address}/openapi.json"
    print(f"Admit is at {address}, {look}. Next: admit app create NAME --owner EMAIL", flush=True)
    if started.set_up:
        print(
            f"Become its first operator, with this link, which works once and for a day: {started.set_up}",
            flush=True,
        )
