"""A PostgreSQL cluster of our own for the tests: started when first needed, ended with them."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

USER = "admit"
START_SECONDS_MAX = 60.0
DEBIAN = Path("/usr/lib/postgresql")


@dataclass(eq=False)
class Cluster:
    """A cluster in a temporary folder, on a free port of the loopback. Commits do not wait for the disk
    unless `durable`."""

    durable: bool = False
    home: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="admit-pg-")))
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def create(self) -> None:
        """Makes the cluster's files and starts it."""
        if (account := _account()) is not None:
            os.chown(self.home, account.pw_uid, account.pw_gid)
        self._run(
            "initdb",
            *("--pgdata", str(self.home / "data"), "--username", USER, "--auth", "trust"),
            *("--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync", "--no-instructions"),
        )
        self.start()

    def start(self) -> None:
        """Starts the server and waits until it answers. A restart keeps the port."""
        for last_try in (False, False, True):
            port = self.port or _free_port()
            # With the thread that started it gone, however it ended, the server goes too.
            command = ["setpriv", "--pdeathsig", "INT", *self._as_account(), *self._server_command(port)]
            with (self.home / "log").open("ab") as output:
                self._process = subprocess.Popen(command, stdout=output, stderr=output, cwd=self.home)
            if self._answers(port):
                self.port = port
                return
            self.stop()
            if last_try:
                raise RuntimeError("PostgreSQL does not start:\n" + (self.home / "log").read_text()[-2_000:])

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Ends the server: SIGQUIT at once, as a crash would, SIGINT properly."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        """Ends the server and deletes its files."""
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str, template: str = "template0") -> str:
        """Makes a database as a copy of `template`, which nobody may have open, and returns its URL."""
        self.administer("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY", name, template)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        self.administer("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def administer(self, command: str, *names: str) -> None:
        """Executes `command`, with each {} replaced by a quoted name."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL(command).format(*map(sql.Identifier, names)))

    def _server_command(self, port: int) -> list[str]:
        settings = {
            "port": str(port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.home),
            "max_connections": "200",
            "shared_buffers": "64MB",
            "fsync": "on" if self.durable else "off",
            "synchronous_commit": "on" if self.durable else "off",
            "full_page_writes": "on" if self.durable else "off",
            "autovacuum": "off",
        }
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        return [str(programs() / "postgres"), "-D", str(self.home / "data"), *options]

    def _answers(self, port: int) -> bool:
        give_up_at = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < give_up_at and self._process is not None and self._process.poll() is None:
            try:
                psycopg.connect(f"postgresql://{USER}@127.0.0.1:{port}/postgres", connect_timeout=5).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return self._process.poll() is None
        return False

    def _run(self, program: str, *arguments: str) -> None:
        command = ["setpriv", *self._as_account(), str(programs() / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.home)
        if done.returncode != 0:
            raise RuntimeError(f"{program} fails:\n{done.stdout}{done.stderr}")

    def _as_account(self) -> list[str]:
        account = _account()
        if account is None:
            return ["--"]
        return [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--"]


def programs() -> Path:
    """The folder of PostgreSQL's server programs, the newest that is installed."""
    for folder in sorted(DEBIAN.glob("*/bin"), key=lambda each: int(each.parent.name), reverse=True):
        if (folder / "postgres").exists():
            return folder
    if (found := shutil.which("postgres")) is not None:
        return Path(found).parent
    if (config := shutil.which("pg_config")) is not None:
        folder = Path(subprocess.check_output([config, "--bindir"], text=True).strip())
        if (folder / "postgres").exists():
            return folder
    raise RuntimeError("PostgreSQL is not installed. On Debian: apt-get install postgresql")


def _account() -> pwd.struct_passwd | None:
    """The account that runs the server when the tests run as root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("The tests run as root and there is no other account that could run PostgreSQL.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
