"""The server as a program: its port, its signals, its processes, its log."""

import asyncio
import io
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import structlog

from admit.config import Settings
from admit.errors import ConfigError
from admit.web import logs
from admit.web.server import address_of, listen
from tests.contract.served import SECRET_KEY

PROGRAM = """
import os, sys
from admit.config import Settings
from admit.errors import AdmitError
from admit.web.server import run
if __name__ == "__main__":
    try:
        run(Settings.load(os.environ), lambda started: print(started.address, started.set_up, flush=True))
    except AdmitError as error:
        sys.exit(error.message)
"""


class Program:
    """A server that runs as a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, said: list[str], log: Path) -> None:
        self.process = process
        self.address = said[0]
        self.said = said
        self.log = log

    def logged(self, event: str) -> list[dict[str, object]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]

    def children(self) -> set[int]:
        """The server processes below it. Python's own helper of spawned processes is none."""
        found = set()
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            for pid in (task / "children").read_text().split():
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                if b"resource_tracker" not in line:
                    found.add(int(pid))
        return found

    async def alive(self) -> bool:
        try:
            async with aiohttp.ClientSession() as http, http.get(self.address + "/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def program(
    tmp_path: Path, environ: dict[str, str], *, files_max: int | None = None
) -> AsyncIterator[Program]:
    """Starts a server, waits until it answers, and sees to it that nothing of it is left.

    `files_max`: it starts with a limit of 200 open files, and may raise it to so many.
    """
    script = tmp_path / "serve.py"
    script.write_text(PROGRAM)
    given = {"PATH": os.environ["PATH"], "ADMIT_PORT": "0", "ADMIT_SECRET_KEY": SECRET_KEY} | environ
    log = tmp_path / "server.log"
    limited = f"ulimit -Sn 200; ulimit -Hn {files_max}; " if files_max else ""
    command = ["/bin/sh", "-c", f'{limited}exec "$@"', "sh", sys.executable, str(script)]
    with log.open("wb") as target:
        process = await asyncio.create_subprocess_exec(
            *command, env=given, stdout=asyncio.subprocess.PIPE, stderr=target
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(60):
                said = (await process.stdout.readline()).decode().split()
            assert said, log.read_text()
            yield Program(process, said, log)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def test_request_under_way_is_answered_before_the_server_stops(
    tmp_path: Path, served_sqlite_url: str
) -> None:
    async with program(tmp_path, {"ADMIT_DATABASE_URL": served_sqlite_url}) as server:
        host, port = server.address.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /notes/token HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{")
        await writer.drain()
        await asyncio.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        assert not await server.alive()
        writer.write(b"}")
        assert b"HTTP/1.1 400 " in await reader.read(100)
        async with asyncio.timeout(20):
            assert await server.process.wait() == 0
        writer.close()
        assert server.logged("server.started")
        assert server.logged("server.stopped")


async def test_second_signal_does_not_wait(tmp_path: Path, served_sqlite_url: str) -> None:
    async with program(tmp_path, {"ADMIT_DATABASE_URL": served_sqlite_url}) as server:
        host, port = server.address.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /notes/token HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{")
        await writer.drain()
        await asyncio.sleep(0.2)
        server.process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.3)
        server.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(5):
            assert await server.process.wait() == 0
        writer.close()


async def test_servers_that_start_together_print_one_link_which_outlives_a_process(
    tmp_path: Path, served_postgres_url: str
) -> None:
    environ = {"ADMIT_DATABASE_URL": served_postgres_url, "ADMIT_WORKERS": "2"}
    (tmp_path / "second").mkdir()
    async with program(tmp_path, environ) as first, program(tmp_path / "second", environ) as second:
        tokens = {each.said[1].rpartition("/")[2] for each in (first, second)}
        assert len(tokens) == 1
        await until(lambda: len(first.logged("server.started")) == 2)
        os.kill(min(first.children()), signal.SIGKILL)
        await until(lambda: len(first.logged("server.started")) == 3)
        where = f"{second.address}/manager/set-up/{tokens.pop()}"
        async with aiohttp.ClientSession() as http, http.get(where) as answer:
            assert answer.status == 200


async def test_process_that_dies_is_replaced_and_all_end_with_the_first(
    tmp_path: Path, served_postgres_url: str
) -> None:
    environ = {"ADMIT_DATABASE_URL": served_postgres_url, "ADMIT_WORKERS": "2"}
    async with program(tmp_path, environ) as server:
        before = server.children()
        assert len(before) == 2
        victim = min(before)
        await until(lambda: len(server.logged("server.started")) == 2)
        os.kill(victim, signal.SIGKILL)
        await until(lambda: len(server.logged("server.started")) == 3)
        after = server.children()
        assert len(after) == 2
        assert victim not in after
        assert [line["exit_code"] for line in server.logged("server.process_died")] == [-9]
        assert await server.alive()
        server.process.terminate()
        async with asyncio.timeout(30):
            assert await server.process.wait() == 0
        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in after))


async def test_processes_end_when_their_parent_is_killed(tmp_path: Path, served_postgres_url: str) -> None:
    environ = {"ADMIT_DATABASE_URL": served_postgres_url, "ADMIT_WORKERS": "2"}
    async with program(tmp_path, environ) as server:
        await until(lambda: len(server.logged("server.started")) == 2)
        orphans = server.children()
        server.process.kill()
        await server.process.wait()
        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans))


async def test_every_process_may_open_as_many_files_as_the_machine_allows(
    tmp_path: Path, served_postgres_url: str
) -> None:
    environ = {"ADMIT_DATABASE_URL": served_postgres_url, "ADMIT_WORKERS": "2"}
    async with program(tmp_path, environ, files_max=8_192) as server:
        limits = {open_files(pid) for pid in {server.process.pid, *server.children()}}
        assert limits == {8_192}
        assert server.logged("server.few_open_files") == []


async def test_limit_of_open_files_that_is_too_low_is_told(tmp_path: Path, served_sqlite_url: str) -> None:
    async with program(tmp_path, {"ADMIT_DATABASE_URL": served_sqlite_url}, files_max=8_191) as server:
        assert open_files(server.process.pid) == 8_191
        [line] = server.logged("server.few_open_files")
        assert (line["level"], line["limit"], line["wanted"]) == ("warning", 8_191, 8_192)


def open_files(pid: int) -> int:
    """The limit that holds for a process."""
    return resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]


async def test_server_that_cannot_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    script = tmp_path / "serve.py"
    script.write_text(PROGRAM)
    environ = {
        "PATH": os.environ["PATH"],
        "ADMIT_PORT": "0",
        "ADMIT_SECRET_KEY": "short",
        "ADMIT_DATABASE_URL": "postgresql://admit@127.0.0.1:1/nothing",
        "ADMIT_WORKERS": "2",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert (out, b"SECRET_KEY needs at least 32 characters" in errors) == (b"", True)


def test_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"PORT is {port}, where another program listens"):
            listen(Settings.load({"ADMIT_PORT": str(port)}))


def test_host_that_is_not_of_this_machine_is_named() -> None:
    environ = {
        "ADMIT_HOST": "192.0.2.7",
        "ADMIT_PUBLIC_URL": "http://x.example",
        "ADMIT_MAIL_URL": "smtp://x",
    }
    with pytest.raises(ConfigError, match=r"HOST is '192\.0\.2\.7'"):
        listen(Settings.load(environ))


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", "http://127.0.0.1:"), ("0.0.0.0", "http://127.0.0.1:"), ("::1", "http://[::1]:")],
)
def test_own_address_is_one_that_can_be_called(host: str, expected: str) -> None:
    try:
        listener = listen(
            Settings.load(
                {
                    "ADMIT_HOST": host,
                    "ADMIT_PORT": "0",
                    "ADMIT_PUBLIC_URL": "http://x.example",
                    "ADMIT_MAIL_URL": "smtp://x",
                }
            )
        )
    except ConfigError:
        pytest.skip("this machine has no IPv6")
    with listener:
        assert address_of(listener).startswith(expected)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["json", "terminal"])
def test_traceback_in_the_log_holds_no_values(stream: io.StringIO) -> None:
    """The tracebacks that structlog prints by default show every local variable."""
    canary = "whsec_" + "canary"
    before = structlog.get_config()
    try:
        logs.configure_logs(Settings.load({}), stream)
        try:
            _fail_holding(canary)
        except RuntimeError as error:
            structlog.get_logger("test").error("request.failed", exc_info=error)
    finally:
        structlog.configure(**before)
    assert "RuntimeError" in stream.getvalue()
    assert "the cause" in stream.getvalue()
    assert canary not in stream.getvalue()


def _fail_holding(secret: str) -> None:
    held = {"secret": secret}
    raise RuntimeError("the cause", *([] if held else [secret]))
