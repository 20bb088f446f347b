"""A worker process or the whole server is killed in the middle of a run: its effects are there once."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from sqlalchemy import func, select

from admit.accounts.tables import users
from admit.data.tables import objects
from admit.events.log import events
from admit.jobs.tables import attempts, jobs
from tests.installation import CommandFailed, Installation
from tests.receiver import Receiver, always, receiving

WAIT_SECONDS = 60
MOMENTS = [f"{when}:{step}" for step in ("claim", "delivered") for when in ("before", "after")]
ADA, ECHO = "ada@example.com", "echo-ada@example.com"
TASKS = """
import os, signal
from pathlib import Path
from admit import task

@task.on("user.enrolled", retries=(0, 0))
def welcome(context):
    if context.user.user_id.startswith("echo-"):
        return
    context.db.users.create("echo-" + context.user.user_id, type="prod")
    context.call("greet", {"whom": context.user.user_id})
    counts = context.db.table("counts")
    known = counts.get("welcomed", realm="rlm-public")
    counts.put({"id": "welcomed", "count": known["count"] + 1 if known else 1}, realm="rlm-public")
    context.http.post(CRM, json={"attempt": context.run.attempt})
    mark = Path(MARK)
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)

@task.called
def greet(context):
    pass
"""


@pytest.fixture
def installation(database_url: str, tmp_path: Path) -> Installation:
    folder = tmp_path / "tasks"
    folder.mkdir()
    return Installation(tmp_path, database_url, {"ADMIT_TASKS": str(folder)})


def prepare(installation: Installation, crm: Receiver, *, worker_dies: bool) -> None:
    """Makes an app with tasks that tell `crm`."""
    installation.admit("app", "create", "notes", "--owner", "owner@example.com")
    folder, mark = installation.folder / "tasks" / "notes", installation.folder / "killed"
    folder.mkdir()
    if not worker_dies:
        mark.touch()
    code = TASKS.replace("CRM", repr(crm.url)).replace("MARK", repr(str(mark)))
    (folder / "tasks.py").write_text(dedent(code))
    (installation.folder / "people.csv").write_text(f"userId,type\n{ADA},eval\n")


@asynccontextmanager
async def kept_alive(installation: Installation, moment: str) -> AsyncIterator[list[int]]:
    """Serves, and starts the server again whenever it has died. Yields the exit codes so far."""
    exits: list[int] = []
    process = _start(installation, moment)

    async def watch() -> None:
        nonlocal process
        while True:
            if (code := process.poll()) is not None:
                exits.append(code)
                process = _start(installation, moment)
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    try:
        await until(lambda: installation.answers() or bool(exits))
        yield exits
    finally:
        watching.cancel()
        process.terminate()
        process.wait(timeout=30)


def _start(installation: Installation, moment: str) -> subprocess.Popen[bytes]:
    return installation.start("tests.crash.mortal_tasks", moment, str(installation.folder / "died"))


async def until(found: Callable[[], Any]) -> None:
    give_up_at = time.monotonic() + WAIT_SECONDS
    while not await asyncio.to_thread(found):
        assert time.monotonic() < give_up_at, "it took too long"
        await asyncio.sleep(0.05)


async def enroll(installation: Installation) -> None:
    """Enrolls Ada. The server may die before it has said so."""
    with suppress(CommandFailed):
        await asyncio.to_thread(
            installation.admit, "user", "import", "notes", str(installation.folder / "people.csv")
        )


def unfinished(installation: Installation) -> int:
    waiting = select(func.count()).select_from(jobs).where(jobs.c.finished_at.is_(None))
    [(number,)] = installation.rows(waiting)
    return int(number)


async def all_done(installation: Installation) -> None:
    """Waits until Ada's echo is there, and nothing waits any more."""
    await until(lambda: installation.count(users) == 2 and unfinished(installation) == 0)


def check(installation: Installation, crm: Receiver) -> None:
    """One echo, one object, one call, one completion; and the world outside was told under one key."""
    told = installation.rows(select(events.c.data).where(events.c.type == "user.enrolled"))
    assert len(told) == 2
    runs = installation.rows(select(jobs.c.job_id, jobs.c.state, jobs.c.payload).where(jobs.c.kind == "run"))
    assert sorted((state, "greet" in payload or "whom" in payload) for _, state, payload in runs) == [
        ("done", False),
        ("done", False),
        ("done", True),
    ]
    completed = installation.rows(select(attempts.c.job_id).where(attempts.c.outcome == "ok"))
    assert len(completed) == len(set(completed)) == 3
    [count] = installation.rows(select(objects.c.value))
    assert '"count":1' in count[0]
    keys = {call.headers["idempotency-key"] for call in crm.calls}
    assert len(keys) == 1
    assert {key.removesuffix(".1") for key in keys} <= {run_id for run_id, _, _ in runs}


async def test_worker_process_killed_between_effect_and_completion_applies_once(
    installation: Installation,
) -> None:
    async with receiving(always(200)) as crm:
        prepare(installation, crm, worker_dies=True)
        async with kept_alive(installation, "before:stop") as exits:
            await enroll(installation)
            await all_done(installation)

    assert exits == []
    assert [call.json for call in crm.calls] == [{"attempt": 1}, {"attempt": 2}]
    crashed = installation.rows(
        select(attempts.c.attempt, attempts.c.detail).where(attempts.c.outcome == "crashed")
    )
    assert [attempt for attempt, _ in crashed] == [1]
    assert "SIGKILL" in crashed[0][1]
    check(installation, crm)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_server_killed_around_a_commit_of_a_run_applies_it_once(
    installation: Installation, moment: str
) -> None:
    async with receiving(always(200)) as crm:
        prepare(installation, crm, worker_dies=False)
        async with kept_alive(installation, moment) as exits:
            await enroll(installation)
            await all_done(installation)

    assert exits == [-9]
    check(installation, crm)


async def test_server_killed_while_a_task_waits_for_an_answer_applies_it_once(
    installation: Installation,
) -> None:
    async with receiving(always(200), held=True) as crm:
        prepare(installation, crm, worker_dies=False)
        first = _start(installation, "before:stop")
        await until(installation.answers)
        await enroll(installation)
        await asyncio.wait_for(crm.arrived.wait(), WAIT_SECONDS)
        first.kill()
        first.wait()
        assert installation.count(users) == 1
        crm.gate.set()
        async with kept_alive(installation, "before:stop"):
            await all_done(installation)

    assert len(crm.calls) == 2
    check(installation, crm)
