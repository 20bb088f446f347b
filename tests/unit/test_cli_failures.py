"""What a command says when it fails, and its exit code."""

import errno
import os

import pytest
from sqlalchemy.exc import DBAPIError, OperationalError

from admit.cli.command import Refusal
from admit.cli.connection import CannotReach, Rejection
from admit.cli.failures import Exit, failure_of
from admit.errors import ConfigError, Conflict, NotFound, StorageUnavailable
from admit.storage.lock import FileInUse


def system(number: int, name: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), name)


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (Refusal("Not so.", 2), Exit.USAGE, "Not so."),
        (Rejection(404, "user_not_found", "There is none."), Exit.NOT_FOUND, "There is none."),
        (Rejection(409, "name_taken", "There is one."), Exit.FAILED, "There is one."),
        (Rejection(400, "invalid_request", "Not so."), Exit.FAILED, "Not so."),
        (
            Rejection(403, "insufficient_scope", "It lacks apps:write."),
            Exit.FAILED,
            "It lacks apps:write. Check the token: `admit token list` shows what it may do.",
        ),
        (Rejection(503, "storage_unavailable", "Not now."), Exit.CANNOT_REACH, "Not now."),
        (NotFound("There is none."), Exit.NOT_FOUND, "There is none."),
        (Conflict("There is one."), Exit.FAILED, "There is one."),
        (FileInUse("Another has it open."), Exit.FAILED, "Another has it open."),
        (CannotReach("Nobody there."), Exit.CANNOT_REACH, "Nobody there."),
        (StorageUnavailable("It is\n\tgone."), Exit.CANNOT_REACH, "It is gone."),
        (ConfigError("PORT is wrong.\nHOST is wrong."), Exit.USAGE, "PORT is wrong.\nHOST is wrong."),
        (KeyboardInterrupt(), Exit.INTERRUPTED, "Interrupted."),
        (
            system(errno.EACCES, "admit.db.key"),
            Exit.FAILED,
            "admit.db.key: permission denied. Run the command as the user that the server runs as.",
        ),
        (system(errno.ENOSPC, "admit.db"), Exit.FAILED, "admit.db: No space left on device."),
        (
            OperationalError("SELECT 1", {}, Exception("attempt to write a readonly database")),
            Exit.CANNOT_REACH,
            "The database cannot be used: attempt to write a readonly database. "
            "Check ADMIT_DATABASE_URL and who may read and write there.",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_each_failure_has_its_sentence_and_exit_code(error: BaseException, code: Exit, sentence: str) -> None:
    failure = failure_of(error)

    assert (failure.exit_code, failure.sentence, failure.bug) == (code, sentence, False)


def test_a_statement_and_its_values_are_not_repeated() -> None:
    error = DBAPIError("SELECT digest", {"digest": "secret"}, Exception("server closed\nthe connection"))

    assert "secret" not in failure_of(error).sentence
    assert "SELECT" not in failure_of(error).sentence


def test_what_nobody_foresaw_is_a_bug() -> None:
    failure = failure_of(ZeroDivisionError("x"))

    assert (failure.exit_code, failure.bug) == (Exit.FAILED, True)
