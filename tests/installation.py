"""An installation under test: a database, a key and the mails, which outlive the server processes."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from sqlalchemy import Select, create_engine, func, select

from tests.commands import CLEAN, runner

WAIT_SECONDS = 45
ANSWER_SECONDS = 5


class CommandFailed(Exception):
    """A command did not work. It says how that ended."""


@dataclass
class Installation:
    """Runs `admit` as an operator does. `settings` are further ADMIT_ variables."""

    folder: Path
    database_url: str
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=lambda: free_port())

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return CLEAN | self._own_environment

    @property
    def _own_environment(self) -> dict[str, str]:
        return {
            "ADMIT_DATABASE_URL": self.database_url,
            "ADMIT_SECRET_KEY": "the-secret-key-of-this-installation-0123",
            "ADMIT_PORT": str(self.port),
            "ADMIT_MAIL_URL": f"file://{self.folder}/mails.jsonl",
            "ADMIT_EGRESS_ALLOW": "127.0.0.1",
            **self.settings,
        }

    def admit(self, *words: str, typed: str = "") -> Any:
        """Runs one command, to which `typed` is typed, and returns what it printed as JSON.

        Raises CommandFailed.
        """
        ended = runner().run([*words, "--json"], self._own_environment, self.folder, typed)
        if ended.code != 0:
            raise CommandFailed(ended)
        return json.loads(ended.out) if ended.out.strip() else None

    def start(self, *program: str) -> subprocess.Popen[bytes]:
        """Starts a server process; `program` stands in for `admit serve`."""
        with (self.folder / "server.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *(program or ("admit", "serve"))],
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    @contextmanager
    def serving(self) -> Iterator[subprocess.Popen[bytes]]:
        """A server that answers, until the block ends."""
        process = self.start()
        try:
            self.wait_until_answers(process)
            yield process
        finally:
            process.terminate()
            process.wait(timeout=30)

    def wait_until_answers(self, process: subprocess.Popen[bytes]) -> None:
        give_up_at = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < give_up_at:
            if self.answers():
                return
            assert process.poll() is None, (self.folder / "server.log").read_text()
            time.sleep(0.05)
        raise AssertionError("the server did not start")

    def answers(self) -> bool:
        """Whether a server is ready where it should be."""
        try:
            with urlopen(f"{self.url}/readyz", timeout=ANSWER_SECONDS):
                return True
        except OSError:
            return False

    def mails(self) -> list[dict[str, Any]]:
        """Every mail so far, oldest first."""
        path = self.folder / "mails.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def count(self, table: Any) -> int:
        """The rows of `table`, read behind the server's back."""
        [(number,)] = self.rows(select(func.count()).select_from(table))
        return int(number)

    def rows(self, query: Select[Any]) -> list[tuple[Any, ...]]:
        """What `query` finds, read behind the server's back."""
        engine = create_engine(self.database_url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.connect() as connection:
            found = [tuple(row) for row in connection.execute(query)]
        engine.dispose()
        return found


def free_port() -> int:
    """A TCP port on loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
