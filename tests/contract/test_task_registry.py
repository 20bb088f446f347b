"""The registry: folders become tasks, a fault leaves the last good version, all servers hear of changes."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from admit.accounts import addresses
from admit.accounts.apps import App
from admit.events import subscriptions
from admit.jobs.order import TOPIC as JOBS
from admit.jobs.order import topic_key
from admit.jobs.tables import jobs
from admit.tasks import code, env, registrations, run_starts
from admit.tasks.loading import AppReport
from admit.tasks.registrations import KIND, Registered
from admit.tasks.registry import Registry, Task
from admit.tasks.workshop import Workshop
from tests.contract.served import Served, serving

DOOR = """
from admit import task


@task.decides
def door(context):
    return task.admit(type="prod")


@task.on("user.enrolled", env=["CRM_TOKEN", "UNSET"])
def welcome(context):
    pass
"""
NIGHTLY = """
from admit import task


@task.every("0 3 * * *")
def nightly(context):
    pass
"""


class Folder:
    """The folder TASKS of a test."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str) -> Path:
        """Writes a file at once, as a careful editor does."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = self.root.parent / "draft"
        draft.write_text(text)
        os.replace(draft, file)
        return file

    def remove(self, path: str) -> None:
        """Removes a file or a folder."""
        target = self.root / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty folder."""
    root = tmp_path / "tasks"
    root.mkdir()
    return Folder(root)


@asynccontextmanager
async def serving_tasks(url: str, folder: Folder, reload: str = "command") -> AsyncIterator[Served]:
    """A server with TASKS."""
    async with serving(url, tasks=str(folder.root), tasks_reload=reload) as running:
        yield running


def registry_of(served: Served) -> Registry:
    assert served.gateway.registry is not None
    return served.gateway.registry


def named(served: Served, app: App, name: str = "welcome") -> Task:
    found = registry_of(served).find(app.app_id, name)
    assert found is not None
    return found


async def rows(served: Served, app: App) -> dict[str, Registered]:
    found = await served.gateway.db.read(partial(registrations.of_app, app_id=app.app_id))
    return {each.name: each for each in found}


async def until(met: Callable[[], bool]) -> None:
    """Waits for what another task of this loop brings about."""
    async with asyncio.timeout(20):
        while not met():
            await asyncio.sleep(0.02)


def complaints(report: AppReport) -> list[str]:
    return [f"{each.file}:{each.line}: {each.message}" for each in report.problems]


async def test_a_folder_is_loaded_when_it_is_reloaded(served_url: str, folder: Folder) -> None:
    async with serving_tasks(served_url, folder) as served:
        app = await served.app()
        assert registry_of(served).reports() == []
        assert registry_of(served).knows(app.app_id)
        folder.write("notes/door.py", DOOR)
        folder.write("notes/jobs/nightly.py", NIGHTLY)
        (report,) = await registry_of(served).reload()
        assert (report.app, report.tasks, report.problems) == ("notes", ("door", "nightly", "welcome"), ())
        assert report.changed
        assert registry_of(served).reports() == [report]
        task = named(served, app)
        assert (task.declaration.file, task.code.version) == ("door.py", report.version)
        assert task.declaration.about == ""
        assert registry_of(served).of_id(task.task_id) is task
        assert registry_of(served).serves(task.task_id)
        assert [each.declaration.name for each in registry_of(served).of_app(app.app_id)] == [*report.tasks]
        registered = await rows(served, app)
        assert {each.version for each in registered.values()} == {report.version}
        assert registered["welcome"].task_id == task.task_id
        (again,) = await registry_of(served).reload()
        assert (again.version, again.changed) == (report.version, False)
        assert named(served, app).task_id == task.task_id


async def test_a_server_that_starts_has_its_tasks_and_those_that_were_registered(
    served_url: str, folder: Folder
) -> None:
    folder.write("notes/door.py", DOOR)
    async with serving_tasks(served_url, folder) as served:
        app = await served.app()
        await registry_of(served).load()
        first = await rows(served, app)
    async with serving_tasks(served_url, folder) as served:
        assert named(served, app).task_id == first["welcome"].task_id
        assert await rows(served, app) == first


async def test_an_error_leaves_the_last_good_version(served_url: str, folder: Folder) -> None:
    folder.write("notes/door.py", DOOR)
    async with serving_tasks(served_url, folder) as served:
        app = await served.app()
        (good,) = await registry_of(served).reload()
        before = await rows(served, app)
        folder.write("notes/door.py", DOOR + "\n\nimport no_such_module\n")
        (report,) = await registry_of(served).reload()
        assert (report.version, report.tasks, report.changed) == (good.version, good.tasks, False)
        ((file, line, message),) = [(each.file, each.line, each.message) for each in report.problems]
        assert (file, line) == ("door.py", 15)
        assert "no_such_module" in message
        assert named(served, app).code.version == good.version
        assert await rows(served, app) == before
        # A rule that is broken is no better.
        folder.write("notes/door.py", DOOR.replace("user.enrolled", "user.enroled"))
        (report,) = await registry_of(served).reload()
        assert complaints(report) == [
            "door.py:11: 'user.enroled' is not a type of event. Is 'user.enrolled' meant? "
            "/schemas lists the types."
        ]
        assert named(served, app).code.version == good.version
        folder.write("notes/door.py", DOOR + "\n")
        (report,) = await registry_of(served).reload()
        assert (report.problems, report.changed) == ((), True)
        assert named(served, app).code.version == report.version != good.version


async def test_what_is_owed_while_the_code_is_broken_waits_and_begins_when_it_is_mended(
    served_url: str, folder: Folder
) -> None:
    """Also after a restart, when no version is known that was good."""
    good = "from admit import task\n\n\n@task.called\ndef tidy(context):\n    pass\n"
    folder.write("notes/tidy.py", good)
    async with serving_tasks(served_url, folder) as served:
        app = await served.app()
        await registry_of(served).load()
        task_id = named(served, app, "tidy").task_id
    folder.write("notes/tidy.py", "import no_such_module")
    async with serving_tasks(served_url, folder) as served:
        assert registry_of(served).reports()[0].problems
        assert registry_of(served).of_id(task_id) is None
        run = partial(
            run_starts.call, app_id=app.app_id, task_id=task_id, parameters=b"{}", now=served.hands()
        )
        run_id = await served.gateway.db.write(run)
        heard: list[str | None] = []
        served.gateway.db.signals.subscribe(JOBS, heard.append)
        folder.write("notes/tidy.py", good + "\n")
        await registry_of(served).reload()
        assert topic_key(KIND, task_id) in heard
        state = select(jobs.c.state).where(jobs.c.job_id == run_id)
        async with asyncio.timeout(60):
            while await served.gateway.db.read(lambda tx: tx.execute(state).scalar_one()) != "done":
                await asyncio.sleep(0.05)


async def test_code_that_never_comes_to_an_end_is_a_problem_and_nobody_waits(
    served_sqlite_url: str, folder: Folder
) -> None:
    folder.write("notes/door.py", "while True:\n    pass\n")
    folder.write("other/door.py", DOOR)
    async with serving_tasks(served_sqlite_url, folder) as served:
        await served.app()
        other = await served.app("other")
        loading = asyncio.create_task(registry_of(served).reload())
        answered = await served.ask("GET", "/notes/auth-providers")
        assert answered.status == 200
        assert not loading.done()
        notes, others = await loading
        assert "10 s" in notes.problems[0].message
        assert others.problems == ()
        assert named(served, other)


async def test_a_task_that_is_no_longer_declared_is_gone(served_url: str, folder: Folder) -> None:
    folder.write("notes/door.py", DOOR)
    folder.write("notes/nightly.py", NIGHTLY)
    async with serving_tasks(served_url, folder) as served:
        app = await served.app()
        await registry_of(served).reload()
        task = named(served, app)
        folder.remove("notes/door.py")
        (report,) = await registry_of(served).reload()
        assert report.tasks == ("nightly",)
        assert registry_of(served).find(app.app_id, "welcome") is None
        assert not registry_of(served).serves(task.task_id)
        assert (await rows(served, app))["welcome"].gone_at is not None
        told = await served.gateway.db.read(partial(subscriptions.of_app, app_id=app.app_id))
        assert told == {}
        folder.write("notes/door.py", DOOR)
        await registry_of(served).reload()
        assert named(served, app).task_id == task.task_id


async def test_files_and_folders_of_no_app_are_problems_with_a_sentence(door: Served, folder: Folder) -> None:
    folder.write("door.py", DOOR)
    folder.write("nobody/door.py", DOOR)
    folder.write("README.md", "Tasks.")
    folder.write(".git/door.py", DOOR)
    folder.write("__pycache__/door.py", DOOR)
    async with registry_beside(door, folder) as registry:
        listing = await registry.load()
    assert [(each.app, complaints(each)) for each in listing] == [
        (
            "",
            [
                "door.py:0: door.py lies in TASKS itself. Move it into a folder that bears the name of its "
                "app."
            ],
        ),
        (
            "nobody",
            [":0: The folder nobody bears the name of no app. Create one: admit app create nobody …"],
        ),
    ]


@asynccontextmanager
async def registry_beside(served: Served, folder: Folder, *, watch: bool = False) -> AsyncIterator[Registry]:
    """What another server would have, that is on the same gateway for the rest."""
    gateway = served.gateway
    workshop = Workshop(processes_max=4, memory_bytes=500_000_000)
    registry = Registry(
        gateway.db, gateway.ring, gateway.directory, workshop, folder.root, gateway.clock, watch=watch
    )
    try:
        yield registry
    finally:
        await registry.close()
        await workshop.close()


async def test_an_app_that_has_lost_its_folder_keeps_its_tasks_until_an_operator_is_sure(
    served_url: str, folder: Folder
) -> None:
    """It may be that the folder is only not mounted."""
    folder.write("notes/door.py", DOOR)
    async with serving_tasks(served_url, folder) as served:
        app = await served.app()
        await registry_of(served).load()
    folder.remove("notes")
    async with serving_tasks(served_url, folder) as served:
        (report,) = registry_of(served).reports()
        assert complaints(report) == [
            ":0: There is no folder notes in TASKS, but 2 tasks of notes are registered. Put it back; or, if "
            "they shall be no more: admit task reload."
        ]
        assert (report.app, report.tasks) == ("notes", ())
        assert all(each.live for each in (await rows(served, app)).values())
        assert registry_of(served).of_app(app.app_id) == []
        (report,) = await registry_of(served).reload()
        assert (report.app, report.tasks, report.problems, report.changed) == ("notes", (), (), True)
        assert not any(each.live for each in (await rows(served, app)).values())
        assert await registry_of(served).reload() == []


async def test_a_folder_that_cannot_be_read_costs_nobody_their_tasks(served_url: str, folder: Folder) -> None:
    folder.write("notes/door.py", DOOR)
    async with serving_tasks(served_url, folder) as served:
        app = await served.app()
        await registry_of(served).reload()
        folder.root.rename(folder.root.with_name("elsewhere"))
        (report,) = await registry_of(served).reload()
        assert complaints(report) == [":0: TASKS cannot be read: No such file or directory."]
        assert named(served, app)
        assert all(each.live for each in (await rows(served, app)).values())


async def test_a_former_name_of_an_app_is_a_problem_that_says_the_present_one(
    served_url: str, folder: Folder
) -> None:
    folder.write("notes/door.py", DOOR)
    async with serving_tasks(served_url, folder) as served:
        app = await served.app()
        await registry_of(served).reload()
        unit = partial(addresses.rename_app, app_id=app.app_id, name="papers", now=served.hands())
        assert await served.gateway.db.write(unit) is None
        await until(lambda: named(served, app).code.app == "papers")
        (report,) = await registry_of(served).reload()
        assert complaints(report) == [
            ":0: The folder notes bears a former name of the app papers. Rename the folder to papers."
        ]
        assert named(served, app)
        (folder.root / "notes").rename(folder.root / "papers")
        (report,) = await registry_of(served).reload()
        assert (report.app, report.problems, report.changed) == ("papers", (), False)


async def test_what_another_server_pauses_is_paused_here(served_postgres_url: str, folder: Folder) -> None:
    folder.write("notes/door.py", DOOR)
    async with (
        serving_tasks(served_postgres_url, folder) as here,
        serving(served_postgres_url) as there,
    ):
        app = await here.app()
        await registry_of(here).reload()
        pause = partial(registrations.set_paused, app_id=app.app_id, name="welcome", now=here.hands())
        await there.gateway.db.write(partial(pause, paused=True))
        await until(lambda: named(here, app).paused)
        await there.gateway.db.write(partial(pause, paused=False))
        await until(lambda: not named(here, app).paused)


async def test_a_reload_is_one_of_every_server(served_postgres_url: str, folder: Folder) -> None:
    folder.write("notes/door.py", DOOR)
    async with (
        serving_tasks(served_postgres_url, folder) as here,
        serving_tasks(served_postgres_url, folder) as there,
        serving(served_postgres_url) as without,
    ):
        app = await here.app()
        await registry_of(here).reload()
        await until(lambda: registry_of(there).find(app.app_id, "welcome") is not None)
        assert named(there, app).task_id == named(here, app).task_id

        def has_nightly(server: Served) -> bool:
            return registry_of(server).find(app.app_id, "nightly") is not None

        folder.write("notes/door.py", DOOR + NIGHTLY)
        await without.gateway.db.write(registrations.ask_reload)
        for server in (here, there):
            await until(partial(has_nightly, server))
        registered = await rows(here, app)
        assert {each.version for each in registered.values()} == {named(here, app).code.version}


async def test_of_two_servers_with_different_folders_the_newest_load_wins_and_nobody_takes_turns(
    served_postgres_url: str, folder: Folder, tmp_path: Path
) -> None:
    other = Folder(tmp_path / "newer")
    folder.write("notes/door.py", DOOR)
    other.write("notes/door.py", NIGHTLY)
    async with serving_tasks(served_postgres_url, folder) as older:
        app = await older.app()
        await registry_of(older).reload()
        task = named(older, app)
        async with serving_tasks(served_postgres_url, other) as newer:
            assert named(newer, app, "nightly")
            # What the newer code does not declare is no task of anybody's.
            await until(lambda: not registry_of(older).serves(task.task_id))
            (report,) = await registry_of(older).reload()
            assert complaints(report) == [
                ":0: Another server has loaded other code since. Give every server the same folder, or "
                "restart this one to have its own."
            ]
            registered = await rows(older, app)
            assert [name for name, each in sorted(registered.items()) if each.live] == ["nightly"]
            other.write("notes/door.py", DOOR)
            await registry_of(newer).reload()
            await until(lambda: registry_of(older).serves(task.task_id))


async def test_variables_are_those_that_a_task_has_asked_for(served_url: str, folder: Folder) -> None:
    folder.write("notes/door.py", DOOR + NIGHTLY)
    async with serving_tasks(served_url, folder) as served:
        app = await served.app()
        await registry_of(served).reload()
        task = named(served, app)
        gateway = served.gateway

        async def put(name: str, value: str) -> None:
            unit = partial(
                env.put, ring=gateway.ring, app_id=app.app_id, name=name, value=value, now=served.hands()
            )
            await gateway.db.write(unit)

        assert await registry_of(served).env_of(task) == {}
        await put("CRM_TOKEN", "first")
        await put("OTHER_SECRET", "not for this one")
        assert await registry_of(served).env_of(task) == {"CRM_TOKEN": "first"}
        await put("CRM_TOKEN", "second")
        assert await registry_of(served).env_of(task) == {"CRM_TOKEN": "second"}
        assert await registry_of(served).env_of(named(served, app, "nightly")) == {}
        await gateway.db.write(partial(env.remove, app_id=app.app_id, name="CRM_TOKEN"))
        assert await registry_of(served).env_of(task) == {}


async def test_a_variable_of_another_server_is_heard_of(served_postgres_url: str, folder: Folder) -> None:
    folder.write("notes/door.py", DOOR)
    async with serving_tasks(served_postgres_url, folder) as here, serving(served_postgres_url) as there:
        app = await here.app()
        await registry_of(here).reload()
        task, found = named(here, app), registry_of(here)
        assert await found.env_of(task) == {}
        unit = partial(
            env.put, ring=there.gateway.ring, app_id=app.app_id, name="CRM_TOKEN", value="x", now=1
        )
        await there.gateway.db.write(unit)
        async with asyncio.timeout(20):
            while await found.env_of(task) != {"CRM_TOKEN": "x"}:
                await asyncio.sleep(0.02)


async def test_files_that_change_are_loaded_at_once_where_one_develops(
    served_url: str, folder: Folder
) -> None:
    async with serving_tasks(served_url, folder, reload="change") as served:
        app = await served.app()
        found = registry_of(served)
        folder.write("notes/door.py", DOOR)
        await until(lambda: found.find(app.app_id, "welcome") is not None)
        folder.write("notes/nightly.py", NIGHTLY)
        await until(lambda: found.find(app.app_id, "nightly") is not None)
        version = named(served, app).code.version
        folder.write("notes/nightly.py", "def broken(:\n")
        await until(lambda: bool(found.reports()[0].problems))
        assert named(served, app, "nightly").code.version == version
        folder.remove("notes/nightly.py")
        await until(lambda: found.find(app.app_id, "nightly") is None)
        # What somebody removes whole may be there again in a moment.
        folder.remove("notes")
        await until(lambda: bool(found.reports()[0].problems))
        assert named(served, app)


async def test_an_app_that_is_made_after_its_folder_has_its_tasks_where_one_develops(
    served_url: str, folder: Folder
) -> None:
    folder.write("notes/door.py", DOOR)
    async with serving_tasks(served_url, folder, reload="change") as served:
        assert registry_of(served).reports()[0].problems
        app = await served.app()
        await until(lambda: registry_of(served).find(app.app_id, "welcome") is not None)


async def test_a_server_in_production_loads_on_command_only(served_sqlite_url: str, folder: Folder) -> None:
    folder.write("notes/door.py", DOOR)
    async with serving_tasks(served_sqlite_url, folder) as served:
        app = await served.app()
        await registry_of(served).reload()
        version = named(served, app).code.version
        async with registry_beside(served, folder, watch=True) as watching:
            await watching.start()
            folder.write("notes/door.py", DOOR + "\n")
            await until(lambda: watching.of_app(app.app_id)[0].code.version != version)
        assert named(served, app).code.version == version


async def test_what_is_tried_out_is_registered_nowhere(served_sqlite_url: str, folder: Folder) -> None:
    folder.write("notes/door.py", DOOR)
    async with serving_tasks(served_sqlite_url, folder) as served:
        app = await served.app()
        tried = await registry_of(served).try_out(app)
        assert [each.declaration.name for each in tried if isinstance(each, Task)] == ["door", "welcome"]
        assert await rows(served, app) == {}
        folder.write("notes/door.py", "import")
        (problem,) = await registry_of(served).try_out(app)
        assert not isinstance(problem, Task)


async def test_too_much_code_is_a_problem(served_sqlite_url: str, folder: Folder) -> None:
    async with serving_tasks(served_sqlite_url, folder) as served:
        await served.app()
        folder.write("notes/door.py", "#" * (code.BYTES_MAX + 1))
        (report,) = await registry_of(served).reload()
        assert complaints(report) == ["door.py:0: The files of an app have at most 10 MB."]
        folder.write("notes/door.py", "")
        for number in range(code.FILES_MAX):
            folder.write(f"notes/more/m{number}.py", "")
        (report,) = await registry_of(served).reload()
        assert [each.message for each in report.problems] == ["An app has at most 1,000 files of Python."]
