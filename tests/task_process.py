"""A real worker process of tasks, and a test in the place of the server."""

import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from admit.task import payloads, wire

PATIENCE_SECONDS = 60
FOLDER = "/srv/tasks/notes"
MEMORY_BYTES = 300_000_000
SOURCE = Path(__file__).resolve().parent.parent / "src"

NOW = 1_795_337_113_123


class WorkerProcess:
    """Started at once, with the code `files`: the text of each by its path. `first` is what it said of it."""

    def __init__(
        self, files: Mapping[str, str | bytes], *, memory_bytes: int = MEMORY_BYTES, folder: str = FOLDER
    ) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(PATIENCE_SECONDS)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "admit.task.process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={"PYTHONPATH": str(SOURCE)},
                start_new_session=True,
            )
        self._decoder: msgspec.msgpack.Decoder[wire.FromWorker] = msgspec.msgpack.Decoder(wire.FromWorker)
        sources = tuple(
            wire.Source(path, text.encode() if isinstance(text, str) else text)
            for path, text in files.items()
        )
        self.send(wire.Load(app="notes", folder=folder, sources=sources, memory_bytes=memory_bytes))
        self.first = self.receive()

    def __enter__(self) -> "WorkerProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)
        if self.process.stderr is not None:
            self.process.stderr.close()

    @property
    def problems(self) -> tuple[Any, ...]:
        """What it has found wrong with the code."""
        assert isinstance(self.first, wire.Broken), self.first
        return self.first.problems

    @property
    def tasks(self) -> dict[str, Any]:
        """The declarations of the code, by name."""
        assert isinstance(self.first, wire.Loaded), self.first
        return {each.name: each for each in self.first.tasks}

    def send(self, said: wire.ToWorker) -> None:
        """Sends a frame."""
        body = msgspec.msgpack.encode(said)
        self.socket.sendall(wire.LENGTH.pack(len(body)) + body)

    def receive(self) -> wire.FromWorker:
        """The next frame. Raises EOFError where there is none."""
        [size] = wire.LENGTH.unpack(self._take(wire.LENGTH.size))
        return self._decoder.decode(self._take(size))

    def begin(
        self,
        task: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        payload: payloads.Payload | None = None,
        env: Mapping[str, str] | None = None,
        run_id: str = "run_1",
        authenticate_only: bool = False,
    ) -> None:
        """Begins a run of a task."""
        run = payloads.Run(run_id=run_id, attempt=1, task=task, app_id="app_1", app="notes", now=NOW)
        called = payloads.Call(parameters=msgspec.json.encode(dict(parameters or {})))
        self.send(
            wire.Begin(run=run, payload=payload or called, env=env or {}, authenticate_only=authenticate_only)
        )

    def run(self, task: str, parameters: Mapping[str, Any] | None = None, **given: Any) -> list[Any]:
        """Begins a run and returns all that the process says until its end, which is the last."""
        self.begin(task, parameters, **given)
        return self.rest()

    def rest(self) -> list[Any]:
        """All that it says from now on until the end of the run."""
        said: list[Any] = []
        while not said or not isinstance(said[-1], wire.Ended | wire.Declined | wire.Raised):
            said.append(self.receive())
        return said

    def report(self) -> str:
        """Waits for its end and returns what it wrote to its standard error."""
        _, error = self.process.communicate(timeout=PATIENCE_SECONDS)
        return error.decode() if isinstance(error, bytes) else ""

    def _take(self, count: int) -> bytes:
        taken = b""
        while len(taken) < count:
            read = self.socket.recv(count - len(taken))
            if not read:
                raise EOFError("The process has closed its end.")
            taken += read
        return taken
