"""Runs commands for tests, one after the other in a process of their own, which starts only once."""

import atexit
import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import msgspec

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("ADMIT_")}


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Runner:
    """A process that runs commands. Each gets the environment and the folder that it is given."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.commands"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=CLEAN,
        )

    def run(self, arguments: list[str], environ: Mapping[str, str], folder: Path, typed: str = "") -> Ended:
        """Runs one command, to which `typed` is typed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([arguments, dict(environ), str(folder), typed]) + "\n")
        self._process.stdin.flush()
        return Ended(*json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate()


@cache
def runner() -> Runner:
    """The one of this process."""
    made = Runner()
    atexit.register(made.close)
    return made


def _obey() -> None:
    """Runs the commands that come in, one a line, and tells how each ended."""
    from admit.cli.commands import run

    orders, answers = sys.stdin, sys.stdout
    for line in orders:
        arguments, environ, folder, typed = json.loads(line)
        out, err = io.StringIO(), io.StringIO()
        os.chdir(folder)
        sys.stdin = io.TextIOWrapper(io.BytesIO(typed.encode()))
        with (
            patch.dict(os.environ, environ),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = _post(*arguments[1:]) if arguments[0] == "POST" else run(arguments)
        answers.write(json.dumps([code, out.getvalue(), err.getvalue()]) + "\n")
        answers.flush()


def _post(where: str, body: str) -> int:
    from admit.cli.reach import Reach, connect

    api = connect(Reach(), os.environ)
    api.call("POST", where, msgspec.json.decode(body), object)
    api.close()
    return 0


if __name__ == "__main__":
    _obey()
