"""Runs commands for tests, one after the other in a process of their own, which starts only once."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

ADMIT = [sys.executable, "-m", "admit"]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("ADMIT_")}
READY = re.compile(r"Admit is at (\S+),")


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Runner:
    """A process that runs commands. Each gets the environment and the folder that it is given."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.command_line"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=CLEAN,
        )

    def run(self, arguments: list[str], environ: Mapping[str, str], folder: Path) -> Ended:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([arguments, dict(environ), str(folder)]) + "\n")
        self._process.stdin.flush()
        return Ended(*json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate()


@dataclass
class CommandLine:
    """The command line of somebody in `folder`, with `environ`."""

    runner: Runner
    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str) -> Ended:
        return self.runner.run(list(arguments), self.environ, self.folder)

    def done(self, *arguments: str) -> str:
        """The output of a command that works and has nothing to complain about."""
        ended = self(*arguments)
        assert ended.code == 0, ended
        return ended.out

    def json(self, *arguments: str) -> Any:
        """The answer for programs, who hear nothing else."""
        ended = self(*arguments, "--json")
        assert ended.code == 0, ended
        assert ended.err == ""
        return json.loads(ended.out)

    def post(self, where: str, body: object) -> None:
        """Asks the admin API for something for which there is no command."""
        ended = self("POST", where, json.dumps(body))
        assert ended.code == 0, ended

    def refused(self, *arguments: str, code: int = 1) -> str:
        """The sentence of a command that does not work."""
        ended = self(*arguments)
        assert (ended.code, ended.out) == (code, ""), ended
        assert ended.err.endswith("\n")
        return ended.err.removesuffix("\n")


@dataclass
class Serving:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    address: str
    said: list[str]

    def stop(self) -> int:
        """Asks it to stop, as a service manager does, and returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def serving(folder: Path, *arguments: str, **environ: str) -> Iterator[Serving]:
    """`admit serve` in `folder`, until the end of the block. It has said that it is ready."""
    with (folder / "serve.log").open("ab") as errors:
        process = subprocess.Popen(
            [*ADMIT, "serve", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=folder,
            env=CLEAN | environ,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = READY.search(line)
        assert match, (folder / "serve.log").read_text()
        yield Serving(process, match[1], [line.rstrip()])
    finally:
        process.kill()
        process.communicate()


def _obey() -> None:
    """Runs the commands that come in, one a line, and tells how each ended."""
    from admit.cli.commands import run

    answers = sys.stdout
    for line in sys.stdin:
        arguments, environ, folder = json.loads(line)
        out, err = io.StringIO(), io.StringIO()
        os.chdir(folder)
        os.environ.update(environ)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = _post(*arguments[1:]) if arguments[0] == "POST" else run(arguments)
        for name in environ:
            del os.environ[name]
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
