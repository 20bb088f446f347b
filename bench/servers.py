"""Starting what a bench measures: the server, a PostgreSQL cluster that really syncs, the receiver."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS_MAX = 30

_ADMIT = str(Path(sys.executable).with_name("admit"))


@dataclass(frozen=True)
class Server:
    """A running `admit serve` with one app, whose policy asks the receiver."""

    pid: int
    port: int
    app: str
    client_id: str
    client_secret: str
    command: Callable[..., Any]
    """Runs a command of this server, such as `command("policy", "set", "bench", "eval")`."""


@contextmanager
def receiver() -> Iterator[int]:
    """A decision endpoint in a process of its own; yields its port."""
    with _program("bench.receiver") as (_pid, port):
        yield port


@contextmanager
def bare_server(hook_port: int) -> Iterator[tuple[int, int]]:
    """A server that only asks the endpoint and answers; yields its pid and port."""
    with _program("bench.bare", str(hook_port)) as started:
        yield started


@contextmanager
def _program(module: str, *arguments: str) -> Iterator[tuple[int, int]]:
    """Runs a module that prints its port and ends with its standard input; yields its pid and port."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.pid, int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(timeout=10)


@contextmanager
def postgres(folder: Path) -> Iterator[tuple[str, int]]:
    """A PostgreSQL cluster with fsync and synchronous_commit on; yields the URL of a database and its pid."""
    programs = (
        max(Path("/usr/lib/postgresql").glob("*/bin"), default=None) if not shutil.which("initdb") else None
    )
    initdb = str(programs / "initdb") if programs else "initdb"
    server = str(programs / "postgres") if programs else "postgres"
    data, port = folder / "pg", free_port()
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        os.chown(folder, account.pw_uid, account.pw_gid)
        folder.chmod(0o755)
    subprocess.run(
        [initdb, "-D", data, "-U", "admit", "-A", "trust", "-E", "UTF8", "--locale=C"],
        check=True, stdout=subprocess.DEVNULL, cwd=folder, **as_user,
    )  # fmt: skip
    process = subprocess.Popen(
        [server, "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-c", "shared_buffers=512MB",
         "-c", "max_wal_size=4GB", "-c", "logging_collector=off"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, **as_user,
    )  # fmt: skip
    url = f"postgresql://admit@127.0.0.1:{port}/postgres"
    try:
        _wait_for_port(port)
        time.sleep(0.5)
        yield url, process.pid
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)


@contextmanager
def admit_server(
    folder: Path,
    database_url: str,
    hook_port: int,
    *,
    tasks: str = "",
    before_serving: Callable[[str, str], object] = lambda _database_url, _app: None,
) -> Iterator[Server]:
    """`admit serve` with a fresh app "bench" whose unknown people the receiver decides about.

    `tasks` is the folder of tasks. `before_serving(database_url, app)` may put people there, while nothing
    else holds the database.
    """
    place = Place(folder, database_url, free_port(), tasks)
    place.command("app", "create", "bench", "--owner", "owner@example.com")
    place.command("policy", "set", "bench", "webhook", f"http://127.0.0.1:{hook_port}/decide")
    client = place.command("client", "create", "bench", "--scopes", "ACCESS_DB,IMPERSONATE,GLOBAL_READ")
    before_serving(database_url, "bench")
    with running(place) as pid:
        yield Server(pid, place.port, "bench", client["client_id"], client["client_secret"], place.command)


@dataclass(frozen=True)
class Place:
    """Where a server is at home; its commands work whether it runs or not. `tasks` is the folder of tasks."""

    folder: Path
    database_url: str
    port: int
    tasks: str = ""

    def command(self, *words: str) -> Any:
        """Runs a command, and returns what it tells programs."""
        done = subprocess.run(
            [_ADMIT, *words, "--json"],
            env=self.environment,
            check=True,
            stdout=subprocess.PIPE,
            cwd=self.folder,
        )
        return json.loads(done.stdout)

    @property
    def environment(self) -> dict[str, str]:
        """The settings of the server and of its commands."""
        return os.environ | {
            "ADMIT_DATABASE_URL": self.database_url,
            "ADMIT_SECRET_KEY": "bench-key-" * 6,
            "ADMIT_PUBLIC_URL": f"http://localhost:{self.port}",
            "ADMIT_MAIL_URL": f"file://{self.folder}/mails.jsonl",
            "ADMIT_EGRESS_ALLOW": "127.0.0.1",
            "ADMIT_RATE_LIMITS": "off",
            "ADMIT_LOG_LEVEL": "warning",
            "ADMIT_TASKS": self.tasks,
        }


@contextmanager
def running(place: Place) -> Iterator[int]:
    """`admit serve` at a place, until the block ends; yields its pid."""
    process = subprocess.Popen(
        [_ADMIT, "serve", "--port", str(place.port)], env=place.environment, cwd=place.folder
    )
    try:
        _wait_until_ready(place.port)
        yield process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextmanager
def child(module: str, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """A program that says it is ready and then answers a line for each line; ended with its input."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    try:
        yield process
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()


def free_port() -> int:
    """A TCP port on loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_port(port: int) -> None:
    give_up_at = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < give_up_at:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


def _wait_until_ready(port: int) -> None:
    _wait_for_port(port)
    give_up_at = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < give_up_at:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except OSError:  # not yet, or too busy
            time.sleep(0.1)
    raise TimeoutError("the server did not become ready")
