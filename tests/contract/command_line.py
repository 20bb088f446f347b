"""The command line as tests use it, and a server that `admit serve` has started."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.commands import CLEAN, Ended, Runner

ADMIT = [sys.executable, "-m", "admit"]
READY = re.compile(r"Admit is at (\S+),")


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
