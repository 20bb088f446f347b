"""The server's end of the line to `admit.task.nursery`, which starts and ends worker processes for it."""

import asyncio
import os
import pwd
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import structlog

import admit
from admit.errors import ConfigError
from admit.task.nursery import Dump, Exited, Kill, Report, Request, Start, Started

HANDED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
"""The variables of the server that tasks see. All others may hold secrets."""
END_SECONDS_MAX = 8.0

log = structlog.get_logger("admit.tasks")


Identity = Mapping[str, Any]
"""Whose process it is, as subprocess.Popen wants to be told."""


class Infant(msgspec.Struct):
    """A process as the nursery knows it. `exited` is called once; `pid` is 0 until it lives."""

    number: int
    exited: Callable[[Exited], None]
    pid: int = 0


class Nursery:
    """One process that lives beside the server. Made on the running event loop; close it at the end.

    `identity` as `identity_of` makes it. Raises ConfigError when its user may not run this Python.
    """

    def __init__(self, identity: Identity) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = _born(theirs.fileno(), identity)
            except PermissionError:
                self._connection.close()
                problem = f"that user cannot start {sys.executable}. Give them the right to read it"
                raise ConfigError(
                    f"TASKS_USER: {problem}, or choose another user, e.g. admit-tasks"
                ) from None
        self._connection.setblocking(False)
        self._infants: dict[int, Infant] = {}
        self._born = 0
        self._unread = bytearray()
        self._decoder = msgspec.json.Decoder(Report)
        self._encoder = msgspec.json.Encoder()
        self._loop.add_reader(self._connection, self._listen)
        self.gone = False

    def start(
        self, folder: str, connection: socket.socket, output: int, exited: Callable[[Exited], None]
    ) -> Infant:
        """Starts a process that talks over `connection` and writes the rest into the pipe `output`.

        Both belong to the caller, who may close them. `exited` is told its end, whatever happens.
        """
        self._born += 1
        infant = self._infants[self._born] = Infant(self._born, exited)
        self._tell(Start(infant.number, folder), (connection.fileno(), output))
        return infant

    def kill(self, infant: Infant) -> None:
        """Ends it and all that it has started; `exited` follows."""
        self._tell(Kill(infant.number))

    def dump(self, infant: Infant) -> None:
        """Lets it write where it stands into its pipe."""
        self._tell(Dump(infant.number))

    async def close(self) -> None:
        """Ends all processes, and waits until they are gone."""
        self._give_up("The server was stopped.")
        await asyncio.to_thread(_see_off, self._process)

    def _tell(self, request: Request, descriptors: tuple[int, ...] = ()) -> None:
        """It reads at once and requests are short, so where a line does not fit, nobody reads any more."""
        if self.gone:
            return
        line = self._encoder.encode(request) + b"\n"
        try:
            if descriptors:
                sent = socket.send_fds(self._connection, [line], descriptors)
            else:
                sent = self._connection.send(line)
        except OSError:
            sent = 0
        if sent < len(line):
            self._loop.call_soon(self._lose, "The parent of all worker processes did not answer.")

    def _listen(self) -> None:
        try:
            received = self._connection.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._lose("The parent of all worker processes has died, and they with it.")
            return
        self._unread += received
        while (end := self._unread.find(b"\n")) >= 0:
            line = bytes(self._unread[:end])
            del self._unread[: end + 1]
            self._hear(self._decoder.decode(line))

    def _hear(self, report: Report) -> None:
        match report:
            case Started():
                if (infant := self._infants.get(report.number)) is not None:
                    infant.pid = report.pid
            case Exited():
                if (infant := self._infants.pop(report.number, None)) is not None:
                    infant.exited(report)

    def _lose(self, sentence: str) -> None:
        if not self.gone:
            log.error("tasks.nursery_lost", pid=self._process.pid)
            self._give_up(sentence)
            self._loop.run_in_executor(None, _see_off, self._process)

    def _give_up(self, sentence: str) -> None:
        if self.gone:
            return
        self.gone = True
        self._loop.remove_reader(self._connection)
        self._connection.close()
        for infant in list(self._infants.values()):
            infant.exited(Exited(infant.number, error=sentence))
        self._infants.clear()


def identity_of(user: str) -> Identity:
    """That of a user of this machine; "" is who runs the server. Raises ConfigError when there is no such."""
    if not user:
        return {}
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        raise ConfigError(f"TASKS_USER: this machine has no user {user!r}, e.g. admit-tasks") from None
    return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": ()}


def _born(descriptor: int, identity: Identity) -> "subprocess.Popen[Any]":
    return subprocess.Popen(  # noqa: S603  (our own interpreter, our own module)
        [sys.executable, "-P", "-m", "admit.task.nursery", str(descriptor)],
        pass_fds=[descriptor],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=_environment(),
        cwd="/",
        start_new_session=True,
        **identity,
    )


def _see_off(process: "subprocess.Popen[Any]") -> None:
    """Waits for its end, which follows that of its connection."""
    try:
        process.wait(END_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment() -> dict[str, str]:
    handed_on = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
    root = str(Path(admit.__path__[0]).parent)
    if root in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        return handed_on
    return handed_on | {"PYTHONPATH": root}
