"""The way to the admin API that a command takes.

A SQLite file belongs to one process. Where a server holds it, commands ask that server, with a short-lived
token that only who can read SECRET_KEY can make; where none does, they open the file themselves and call the
application without a network. On PostgreSQL they always do. `--url` asks a server elsewhere.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec.structs import replace

from admit import clock
from admit.cli.connection import TIMEOUT_SECONDS, Api, CannotReach, Connection, HttpConnection
from admit.cli.output import say
from admit.errors import ConfigError

if TYPE_CHECKING:
    from admit.config import Settings

LOCK_WAIT_SECONDS = 30.0
LOCK_POLL_SECONDS = 0.05
SILENT_SECONDS_MAX = 2.0
SAME_KEY = "Set ADMIT_SECRET_KEY as it is set for the server."


@dataclass(frozen=True)
class Reach:
    """Where a command was told to work: a server's `url` and `token`, or a `database`; None: not told."""

    url: str | None = None
    token: str | None = None
    database: str | None = None
    makes_database: bool = False
    """Whether the command may make a SQLite file that is not there."""


def connect(reach: Reach, environ: Mapping[str, str]) -> Api:
    """Opens the way that `reach` and `environ` ask for. Raises ConfigError, CannotReach."""
    if reach.url:
        return Api(_elsewhere(reach.url, reach.token))
    if reach.token:
        raise ConfigError("A token is given, but no server. Set ADMIT_URL, e.g. https://login.example.com")
    settings = local_settings(environ, database=reach.database)
    from admit.web.logs import configure_logs

    # Commands tell what goes wrong in a sentence of their own; what is left for the log are our bugs.
    configure_logs(replace(settings, log_level="error"))
    if not settings.on_sqlite:
        return Api(_in_process(settings))
    news = news_of_file(settings)
    return Api(_at_file(settings, reach), news)


def local_settings(environ: Mapping[str, str], **overrides: object) -> "Settings":
    """The settings of the server that would run here; `overrides` that are None do not count."""
    from admit.config import Settings

    given = {name: str(value) for name, value in overrides.items() if value is not None}
    if "database" in given:
        given["database_url"] = given.pop("database")
    theirs = {name: value for name, value in environ.items() if name not in ("ADMIT_URL", "ADMIT_TOKEN")}
    settings = Settings.load(theirs, given)
    if settings.on_sqlite and not (folder := sqlite_path(settings.database_url).absolute().parent).is_dir():
        raise ConfigError(f"DATABASE_URL names a file in {folder}, which is no folder. Make it first.")
    return settings


def _at_file(settings: "Settings", reach: Reach) -> Connection:
    """The server that holds the SQLite file, else the file itself. Waits for a command that is at it."""
    from admit.storage.lock import FileInUse, FileLock

    path = sqlite_path(settings.database_url)
    if not (reach.makes_database or path.exists()):
        raise CannotReach(
            f"There is no database at {path.absolute()}. Make one with `admit app create` or `admit serve`, "
            "or name another with --database or ADMIT_DATABASE_URL."
        )
    started = time.monotonic()
    told = False
    while True:
        try:
            if (address := FileLock(path).holder()) is None:
                return _in_process(settings)
            if _listens(address):
                return _holder(address, settings)
            problem = f"The server at {address} has {path} open, but does not answer."
        except FileInUse as error:
            problem = error.message
        waited = time.monotonic() - started
        if waited > LOCK_WAIT_SECONDS:
            raise CannotReach(problem)
        if waited > SILENT_SECONDS_MAX and not told:
            say(f"Waiting: {problem}")
            told = True
        time.sleep(LOCK_POLL_SECONDS)


def _listens(address: str) -> bool:
    """False for a server that is ending: it still finishes its work, but takes no more."""
    import socket

    parts = urlsplit(address)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 80), TIMEOUT_SECONDS).close()
    except OSError:
        return False
    return True


def _in_process(settings: "Settings") -> Connection:
    from admit.cli.in_process import InProcess

    return InProcess(settings, _short_lived(settings))


def _short_lived(settings: "Settings") -> Callable[[], str]:
    """Makes a token for each request: it lives a minute, a long list takes longer."""
    from admit.operators.tokens import short_lived
    from admit.storage.key_file import load_or_make_key
    from admit.storage.sealing import KeyRing

    key = settings.secret_key or load_or_make_key(key_path(sqlite_path(settings.database_url)))
    ring = KeyRing.parse(key)
    return lambda: short_lived(ring, clock.now())


def _holder(address: str, settings: "Settings") -> Connection:
    """The server at `address`, which holds our file and so has our key, unless it was given another."""
    path = key_path(sqlite_path(settings.database_url))
    if not settings.secret_key and not path.exists():
        raise ConfigError(f"There is no {path}: the server at {address} was given its key. {SAME_KEY}")
    unknown = f"The server at {address} has another key than this command. {SAME_KEY}"
    return HttpConnection(address, _short_lived(settings), if_unknown=unknown)


def _elsewhere(url: str, token: str | None) -> Connection:
    if not token:
        raise ConfigError(
            "ADMIT_TOKEN is not set. Make one on the server with `admit token create` and set it here."
        )
    if not token.isascii() or not token.isprintable():
        raise ConfigError("ADMIT_TOKEN is not a token: it has characters that none has. Copy it once more.")
    unknown = "ADMIT_TOKEN is not valid there. Make another on the server: admit token create"
    connection = HttpConnection(url, lambda: token, if_unknown=unknown)
    if connection.is_overheard:
        say(f"Whoever listens on the way to {connection.where} reads the token. Use https://")
    return connection


def sqlite_path(url: str) -> Path:
    """The file that `sqlite:///…` names."""
    return Path(url.removeprefix("sqlite:///"))


def news_of_file(settings: "Settings") -> str:
    """What opening the SQLite file makes, in a sentence; "" when everything is there. Asked before."""
    path = sqlite_path(settings.database_url).absolute()
    if path.exists():
        return ""
    if settings.secret_key:
        return f"Made the database {path}."
    return f"Made the database {path} and its secret key {key_path(path)}: back up both, apart."


def key_path(path: Path) -> Path:
    """Where the secret key of an installation is kept that was given none."""
    return path.with_name(path.name + ".key")
