"""A server with tasks of one app, for tests: their code is written, loaded and run by real processes."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from textwrap import dedent
from typing import Any, TypeVar

import pytest

from admit.accounts.apps import App
from admit.errors import NotFound
from admit.jobs import lines
from admit.jobs.lines import KeptLine, Query
from admit.tasks import run_changes, run_pages, run_starts
from admit.tasks.registry import Task
from admit.tasks.run_pages import History, Run
from admit.tasks.runs import Runs
from tests.contract.served import Hands, Served, serving

SECONDS_MAX = 20.0

T = TypeVar("T")


class TaskDesk:
    """One app of a server, and its tasks."""

    def __init__(self, served: Served, app: App, folder: Path) -> None:
        self.served = served
        self.app = app
        self.folder = folder

    @property
    def runs(self) -> Runs:
        """What runs them."""
        assert self.served.gateway.runs is not None
        return self.served.gateway.runs

    async def load(self, text: str, name: str = "tasks.py") -> None:
        """Writes a file of tasks and loads it. Raises AssertionError where it has problems."""
        folder = self.folder / self.app.name
        folder.mkdir(exist_ok=True)
        (folder / name).write_text("from admit import task\n" + dedent(text))
        assert self.served.gateway.registry is not None
        for report in await self.served.gateway.registry.load():
            assert not report.problems, report.problems

    def task(self, name: str) -> Task:
        """A task that is loaded."""
        assert self.served.gateway.registry is not None
        found = self.served.gateway.registry.find(self.app.app_id, name)
        assert found is not None, name
        return found

    async def call(self, name: str, parameters: bytes = b"{}", **options: Any) -> str:
        """Calls a task; returns the id of the run."""
        call = partial(
            run_starts.call,
            app_id=self.app.app_id,
            task_id=self.task(name).task_id,
            parameters=parameters,
            now=self.served.hands(),
            **options,
        )
        return await self.served.gateway.db.write(call)

    async def show(self, run_id: str) -> History:
        """A run with its attempts."""
        show = partial(run_pages.show, app_id=self.app.app_id, run_id=run_id)
        found = await self.served.gateway.db.read(show)
        assert found is not None, run_id
        return found

    async def page(self, **query: Any) -> list[Run]:
        """Runs, the newest first."""
        page = partial(run_pages.page, app_id=self.app.app_id, query=run_pages.Query(**query))
        return (await self.served.gateway.db.read(page)).runs

    async def until(self, run_id: str, *states: str, seconds: float = SECONDS_MAX) -> History:
        """A run, once it is in one of `states`."""
        return await until(lambda: self._in(run_id, states), seconds)

    async def all_done(self, name: str, count: int) -> list[Run]:
        """The runs of a task, once there are `count` and all of them are done; the first one first."""
        task_id = self.task(name).task_id

        async def found() -> list[Run] | None:
            runs = await self.page(task_id=task_id)
            done = len(runs) == count and all(run.state == "done" for run in runs)
            return runs[::-1] if done else None

        return await until(found)

    async def lines(self, **query: Any) -> list[KeptLine]:
        """Lines of the app."""
        page = partial(lines.page, app_id=self.app.app_id, query=Query(**query))
        return (await self.served.gateway.db.read(page)).lines

    async def said(self, run_id: str) -> list[str]:
        """What a run has said, without our own remarks."""
        return [each.line for each in await self.lines(job_id=run_id) if each.level != "error"]

    async def cancel(self, run_id: str) -> Any:
        """Cancels a run."""
        return await self.served.gateway.db.write(
            partial(
                run_changes.cancel,
                app_id=self.app.app_id,
                run_id=run_id,
                now=self.served.hands(),
                by="a test",
            )
        )

    async def retry(self, run_id: str) -> Any:
        """Asks for another try."""
        return await self.served.gateway.db.write(
            partial(run_changes.retry, app_id=self.app.app_id, run_id=run_id, now=self.served.hands())
        )

    async def _in(self, run_id: str, states: tuple[str, ...]) -> History | None:
        found = await self.show(run_id)
        return found if found.run.state in states else None


async def until(found: Callable[[], Awaitable[T | None]], seconds: float = SECONDS_MAX) -> T:
    """What `found` finds, as soon as it is something."""
    give_up_at = time.monotonic() + seconds
    while (result := await found()) is None:
        assert time.monotonic() < give_up_at, "it took too long"
        await asyncio.sleep(0.01)
    return result


async def overtaken(logs: list[Any], run_id: str) -> None:
    """Waits until a worker has tried to settle a run; it was not its any more."""

    async def settled() -> str | None:
        ends = (each["event"] for each in tuple(logs) if each.get("job_id") == run_id)
        return next((each for each in ends if each.startswith("job.")), None)

    assert await until(settled) == "job.overtaken"


@asynccontextmanager
async def tasks_at(
    url: str, folder: Path, *, hands: Hands | None = None, app: str = "notes", **settings: str
) -> AsyncIterator[TaskDesk]:
    """Serves the database at `url` with the tasks in `folder`. Makes the app where there is none."""
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240
    given = {"tasks": str(folder), "tasks_reload": "command"} | settings
    async with serving(url, hands=hands, **given) as served:
        try:
            known = await served.gateway.directory.app(app)
        except NotFound:
            known = await served.app(app)
        yield TaskDesk(served, known, folder)


@pytest.fixture
async def desk(served_url: str, tmp_path: Path) -> AsyncIterator[TaskDesk]:
    """A server with tasks, on each kind of database in turn."""
    async with tasks_at(served_url, tmp_path / "tasks") as running:
        yield running
