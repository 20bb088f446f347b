"""Code, orders and visitors with good defaults, for tests of the workshop. All processes are real."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

from admit.task import wire
from admit.task.payloads import Call, Payload, Run
from admit.tasks.code import Code
from admit.tasks.workshop import Order, Workshop

MEMORY_BYTES = 1_000_000_000


def code_of(folder: Path, text: str, *, app_id: str = "app_notes", **more: str) -> Code:
    """The code of an app, which is also written into `folder`: `door.py`, and other files by their names."""
    files = {"door": dedent(text)} | {name: dedent(each) for name, each in more.items()}
    for name, each in files.items():
        (folder / f"{name}.py").write_text(each)
    sources = tuple(wire.Source(f"{name}.py", each.encode()) for name, each in sorted(files.items()))
    version = hashlib.sha256(repr((app_id, sources)).encode()).hexdigest()
    return Code(app_id=app_id, app="notes", folder=str(folder), version=version, sources=sources)


def order(
    task: str = "work",
    *,
    run_id: str = "run_1",
    parameters: bytes = b"{}",
    payload: Payload | None = None,
    env: Mapping[str, str] | None = None,
    timeout_seconds: float = 30.0,
    at_once: int = 16,
    urgent: bool = False,
) -> Order:
    """A call of `task`."""
    return Order(
        run=Run(run_id=run_id, attempt=1, task=task, app_id="app_notes", app="notes", now=1_700_000_000_000),
        payload=payload or Call(parameters=parameters),
        env=env or {},
        timeout_seconds=timeout_seconds,
        at_once=at_once,
        urgent=urgent,
    )


class Desk:
    """A visitor that remembers what it heard, and answers every question with nothing."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.questions: list[wire.Question] = []
        self._heard = asyncio.Event()

    async def answer(self, question: wire.Question) -> Any:
        self.questions.append(question)

    def said(self, line: wire.Said) -> None:
        self.lines.append(line.text)
        self._heard.set()

    async def hear(self, word: str) -> str:
        """Waits for the line that begins with `word`, and returns what follows."""
        async with asyncio.timeout(30):
            while True:
                self._heard.clear()
                for line in self.lines:
                    if line.startswith(word):
                        return line.removeprefix(word).strip()
                await self._heard.wait()


@asynccontextmanager
async def opened(
    *, processes_max: int = 16, memory_bytes: int = MEMORY_BYTES, user: str = ""
) -> AsyncIterator[Workshop]:
    """A workshop that is closed in the end."""
    workshop = Workshop(processes_max=processes_max, memory_bytes=memory_bytes, user=user)
    try:
        yield workshop
    finally:
        await workshop.close()


def shared(path: str) -> bool:
    """Whether any user of this machine may read and run it."""
    real = Path(path).resolve()
    return all(each.stat().st_mode & 0o005 == 0o005 for each in (real, *real.parents)) and all(
        each.stat().st_mode & 0o001 for each in Path(path).absolute().parents
    )


def is_gone(pid: int) -> bool:
    """Whether no process has this id, or only one that is dead and was not yet asked how it died."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):  # the latter where it went after the file was opened
        return True


async def gone(*pids: int) -> None:
    """Waits until none of them lives."""
    give_up_at = time.monotonic() + 20
    while not all(is_gone(pid) for pid in pids):
        assert time.monotonic() < give_up_at, f"{pids} still live"
        await asyncio.sleep(0.01)
