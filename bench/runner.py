"""What the bench of runs does in processes of their own: it fills a log, runs what is owed, or passes frames.

    python -m bench.runner fill DATABASE_URL TASKS EVENTS
    python -m bench.runner run DATABASE_URL TASKS
    python -m bench.runner frames PROCESSES (as many as standard input says)

`run` opens the rooms of a server without its HTTP doors, and prints how many runs are done for each line of
its standard input; "stop" ends it.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from functools import partial
from typing import cast

import uvloop
from msgspec.structs import replace
from sqlalchemy import func, select

from admit import clock
from admit.accounts import apps
from admit.accounts.apps import NameTaken
from admit.config import Settings
from admit.events import log
from admit.events.catalog import UserEnrolled
from admit.events.examples import EXAMPLES
from admit.events.log import Event
from admit.gateway import Gateway
from admit.jobs.tables import jobs
from admit.storage.transaction import Transaction
from admit.task.wire import LENGTH
from admit.web.logs import configure_logs_for_good
from admit.web.server import tune_the_interpreter

PIECE = 200
FRAME_BYTES = 1_200
"""About what Begin takes for an event; Ended is shorter."""

DONE = select(func.count()).where(jobs.c.kind == "run", jobs.c.state == "done")


def settings_of(url: str, tasks: str) -> Settings:
    """The settings of a server on loopback, with tasks."""
    return Settings.load(
        {},
        {
            "database_url": url,
            "secret_key": "bench-key-" * 6,
            "tasks": tasks,
            "tasks_reload": "command",
            "log_level": "warning",
        },
    )


async def fill(url: str, tasks: str, events: int) -> None:
    """Makes the app, registers its tasks, and records `events`, after which nobody runs yet."""
    gateway = await Gateway.open(settings_of(url, tasks), serve_address=None)
    made = await gateway.db.write(
        lambda tx: apps.create_app(
            tx, gateway.ring, name="bench", owner="owner@example.com", user_ids="email", now=clock.now()
        )
    )
    assert not isinstance(made, NameTaken)
    assert gateway.registry is not None
    for report in await gateway.registry.load():
        assert not report.problems, report.problems
    for _ in range(0, events, PIECE):
        await gateway.db.write(partial(_record, app_id=made.app_id, count=PIECE))
    await gateway.close()


def _record(tx: Transaction, app_id: str, count: int) -> None:
    example = EXAMPLES["user.enrolled"]
    assert isinstance(example, UserEnrolled)
    for _ in range(count):
        uid = clock.new_id("usr")
        data = replace(example, user=replace(example.user, uid=uid))
        log.record(tx, Event(app_id=app_id, uid=uid, occurred_at=clock.now(), data=data))


async def run(url: str, tasks: str) -> None:
    """Runs what there is."""
    gateway = await Gateway.open(settings_of(url, tasks), serve_address="http://127.0.0.1:1")
    tune_the_interpreter()
    print("ready", flush=True)
    while (await asyncio.to_thread(sys.stdin.readline)).strip() not in ("", "stop"):
        print(await gateway.db.read(lambda tx: tx.execute(DONE).scalar_one()), flush=True)
    await gateway.close()


class Passing(asyncio.Protocol):
    """Sends a frame as soon as one has come, until there are none left to send."""

    def __init__(self, left: list[int]) -> None:
        self._left = left
        self._frame = LENGTH.pack(FRAME_BYTES) + b"x" * FRAME_BYTES
        self._unread = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def begin(self) -> None:
        """Sends the first."""
        if not self._left[0]:
            self.done.set_result(None)
            return
        self._left[0] -= 1
        self._transport.write(self._frame)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if len(self._unread) >= LENGTH.size:
            (size,) = LENGTH.unpack_from(self._unread)
            if len(self._unread) == LENGTH.size + size:
                self._unread = b""
                self.begin()


def echo(line: socket.socket) -> None:
    """A bare process: it reads a frame and writes a short one."""
    answer = LENGTH.pack(40) + b"y" * 40
    while head := line.recv(LENGTH.size, socket.MSG_WAITALL):
        line.recv(LENGTH.unpack(head)[0], socket.MSG_WAITALL)
        line.sendall(answer)
    os._exit(0)


async def frames(lines: Sequence[socket.socket]) -> None:
    """Passes frames to and from bare processes, as many as standard input says."""
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    left = [0]
    ends = [(await loop.create_unix_connection(lambda: Passing(left), sock=line))[1] for line in lines]
    while count := (await asyncio.to_thread(sys.stdin.readline)).strip():
        left[0] = int(count)
        for end in ends:
            end.done = loop.create_future()
            end.begin()
        await asyncio.gather(*(end.done for end in ends))
        print("done", flush=True)


def _fork(processes: int) -> list[socket.socket]:
    lines: list[socket.socket] = []
    for _ in range(processes):
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            ours.close()
            for line in lines:
                line.close()
            echo(theirs)
        theirs.close()
        lines.append(ours)
    return lines


def main() -> None:
    match sys.argv[1:]:
        case ["fill", url, tasks, events]:
            work = fill(url, tasks, int(events))
        case ["run", url, tasks]:
            configure_logs_for_good(settings_of(url, tasks))
            work = run(url, tasks)
        case ["frames", processes]:
            work = frames(_fork(int(processes)))
        case _:
            sys.exit(__doc__)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


if __name__ == "__main__":
    main()
