"""What a command says when it fails: one sentence and an exit code."""

import errno
import sys
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from admit.cli.command import Refusal
from admit.cli.connection import CannotReach, Rejection
from admit.errors import AdmitError, ConfigError, NotFound, Unavailable

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError

TOO_LONG_CHARACTERS = 300

NOT_BUILT = 501
"""What the server says of what it has not: it was reached well enough."""


class Exit(IntEnum):
    """The exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CANNOT_REACH = 4
    INTERRUPTED = 130
    READER_GONE = 141


@dataclass(frozen=True)
class Failure:
    """How a command ends. `bug`: nobody foresaw this, so the traceback is worth showing."""

    exit_code: int
    sentence: str
    bug: bool = False


def failure_of(error: BaseException) -> Failure:
    """What to say of `error`, which ended a command."""
    match error:
        case Refusal():
            return Failure(error.exit_code, error.message)
        case Rejection(status=404) | NotFound():
            return Failure(Exit.NOT_FOUND, error.message)
        case Rejection(status=403):
            return Failure(
                Exit.FAILED, f"{error.message} Check the token: `admit token list` shows what it may do."
            )
        case Rejection(status=status) if status >= 500 and status != NOT_BUILT:
            return Failure(Exit.CANNOT_REACH, error.message)
        case CannotReach() | Unavailable():
            return Failure(Exit.CANNOT_REACH, " ".join(error.message.split()))
        case ConfigError():
            return Failure(Exit.USAGE, error.message)
        case AdmitError():
            return Failure(Exit.FAILED, error.message)
        case KeyboardInterrupt():
            return Failure(Exit.INTERRUPTED, "Interrupted.")
        case OSError():
            return _of_system(error)
    if "sqlalchemy.exc" in sys.modules:
        from sqlalchemy.exc import DBAPIError

        if isinstance(error, DBAPIError):
            return _of_database(error)
    return Failure(Exit.FAILED, f"Internal error: {type(error).__name__}. Please report it.", bug=True)


def _of_system(error: OSError) -> Failure:
    name = f"{error.filename}: " if error.filename else ""
    match error.errno:
        case errno.EACCES | errno.EPERM:
            return Failure(
                Exit.FAILED,
                f"{name}permission denied. Run the command as the user that the server runs as.",
            )
        case errno.EADDRINUSE:
            return Failure(Exit.FAILED, "The port is in use. Choose another, e.g. admit serve --port 8001")
        case _:
            return Failure(Exit.FAILED, f"{name}{error.strerror or error}.")


def _of_database(error: "DBAPIError") -> Failure:
    cause = str(error.orig).strip().split("\n")[0][:TOO_LONG_CHARACTERS]
    return Failure(
        Exit.CANNOT_REACH,
        f"The database cannot be used: {cause}. Check ADMIT_DATABASE_URL and who may read and write there.",
    )
