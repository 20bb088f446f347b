"""The registry: the tasks of every app, with the code that this process has for them.

What is loaded is examined in a process of its own first. Where that, or a rule, finds a fault, the version
that was loaded before goes on.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import msgspec
import structlog
from msgspec.structs import replace

from admit.accounts.apps import App
from admit.accounts.directory import Directory
from admit.clock import Clock, jitter, new_id
from admit.errors import NotFound
from admit.jobs.order import TOPIC as JOBS
from admit.jobs.order import topic_key
from admit.storage.database import Database
from admit.storage.sealing import KeyRing, SealBroken
from admit.storage.transaction import Signal
from admit.task.declarations import Decides, Declaration, Problem
from admit.tasks import env, folders, registrations
from admit.tasks.code import Code, Fingerprint
from admit.tasks.env import TOPIC
from admit.tasks.loading import AppReport as AppReport
from admit.tasks.loading import Examiner, Loaded, Loader, Outcome
from admit.tasks.registrations import KIND, RELOAD, Registered

START_SECONDS_MAX = 15.0
LOOK_SECONDS = 0.5
SWEEP_SECONDS = 1.0
TROUBLE_SECONDS = 1.0

Prints = Mapping[str, Fingerprint | None] | None
"""How the folders in TASKS stand; None: it cannot be read."""

log = structlog.get_logger("admit.tasks")


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task that this process can run. `paused`: its runs wait."""

    app_id: str
    task_id: str
    declaration: Declaration
    code: Code
    paused: bool


class Registry:
    """Knows the tasks of all apps. Loads when it starts, when it is told to and, where it watches, when files
    have changed.

    What other processes write is seen when their signal arrives.
    """

    def __init__(
        self,
        db: Database,
        ring: KeyRing,
        directory: Directory,
        workshop: Examiner,
        folder: Path,
        clock: Clock,
        *,
        watch: bool,
    ) -> None:
        self._id = new_id("reg")
        self._db = db
        self._ring = ring
        self._directory = directory
        self._workshop = workshop
        self._folder = folder
        self._watch = watch
        self._loader = Loader(db, directory, workshop, folder, clock)
        self._loading = asyncio.Lock()
        self._loaded: dict[str, Loaded] = {}
        self._tasks: dict[str, dict[str, Task]] = {}
        self._by_id: dict[str, Task] = {}
        self._known: set[str] = set()
        self._reports: list[AppReport] = []
        self._env: dict[str, Mapping[str, str | SealBroken]] = {}
        self._env_changes = 0
        self._asked = 0
        self._answered: dict[str, int] = {}
        self._stale: set[str] = set()
        self._renamed: set[str] = set()
        self._sweeps = self._reload_wanted = False
        self._looked = self._unplaced = False
        self._news = asyncio.Event()
        self._under_way: list[asyncio.Task[None]] = []
        self._end_subscriptions: list[Callable[[], None]] = [
            db.signals.subscribe(TOPIC, self._heard),
            db.signals.subscribe("app", self._heard_of_app),
        ]

    async def start(self) -> None:
        """Loads, and goes on following what changes. Code that takes its time is not waited for for long:
        people sign in meanwhile."""
        seen = await asyncio.to_thread(_prints, self._folder) if self._watch else None
        first = asyncio.create_task(self._first_load())
        self._under_way = [first, asyncio.create_task(self._follow())]
        if self._watch:
            self._under_way.append(asyncio.create_task(self._watch_files(seen)))
        await asyncio.wait({first}, timeout=START_SECONDS_MAX)

    async def close(self) -> None:
        """Ends what is under way."""
        for end in self._end_subscriptions:
            end()
        self._end_subscriptions.clear()
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    # Finding

    def find(self, app_id: str, name: str) -> Task | None:
        """The task of this name, if this process can run it."""
        return self._tasks.get(app_id, {}).get(name)

    def of_id(self, task_id: str) -> Task | None:
        """The task of this id, if this process can run it."""
        return self._by_id.get(task_id)

    def of_app(self, app_id: str) -> list[Task]:
        """The tasks of an app that this process can run, by name."""
        return [task for _, task in sorted(self._tasks.get(app_id, {}).items())]

    def serves(self, lane: str) -> bool:
        """Whether a lane is that of a task which this process can run."""
        return lane in self._by_id

    def knows(self, app_id: str) -> bool:
        """Whether this process has looked for tasks of the app, and had an answer."""
        return self._looked or app_id in self._known

    def reports(self) -> list[AppReport]:
        """What came of the last load."""
        return list(self._reports)

    async def env_of(self, task: Task) -> dict[str, str]:
        """The variables that a task has asked for; one that nobody has set is absent.

        Raises SealBroken and StorageUnavailable.
        """
        if not task.declaration.env:
            return {}
        values = self._env.get(task.app_id)
        if values is None:
            changes = self._env_changes
            values = await self._db.read(partial(env.values, ring=self._ring, app_id=task.app_id))
            if changes == self._env_changes:
                self._env[task.app_id] = values
        given = {}
        for name in task.declaration.env:
            value = values.get(name)
            if isinstance(value, SealBroken):
                raise value
            if value is not None:
                given[name] = value
        return given

    # Loading

    async def reload(self) -> list[AppReport]:
        """Loads here, and asks every other server to. Raises StorageUnavailable."""
        reports = await self.load()
        await self._db.write(partial(registrations.ask_reload, by=self._id))
        return reports

    async def load(self, *, sure: bool = True) -> list[AppReport]:
        """Loads every folder of TASKS. `sure`: an app that has none any more loses its tasks.

        Otherwise a folder that was not mounted would cost an app all that waits.
        """
        async with self._loading:
            try:
                listing = await asyncio.to_thread(folders.look, self._folder)
            except OSError as error:
                problem = _problem(f"TASKS cannot be read: {error.strerror}.")
                self._reports = [AppReport(app="", problems=(problem,))]
                return self.reports()
            outcomes = [await self._load_folder(each) for each in listing.folders]
            self._unplaced = any(each.app_id is None for each in outcomes)
            reports = [each.report for each in outcomes]
            if listing.strays:
                reports.insert(0, AppReport(app="", problems=tuple(map(folders.stray, listing.strays))))
            reports += await self._without_folder({each.app_id for each in outcomes}, sure=sure)
            self._reports, self._looked = reports, True
            for report in reports:
                _tell(report)
            return self.reports()

    async def try_out(self, app: App) -> tuple[Task, ...] | tuple[Problem, ...]:
        """The tasks that lie in the folder of an app, with no id, for a process that shall not register them.

        Raises StorageUnavailable.
        """
        found = await self._loader.try_out(app)
        if not isinstance(found, Loaded):
            return found
        return tuple(
            Task(app_id=app.app_id, task_id="", declaration=each, code=found.code, paused=False)
            for each in found.declared
        )

    async def _load_folder(self, folder: str) -> Outcome:
        outcome = await self._loader.load(folder, self._loaded)
        if outcome.app_id is None:
            return outcome
        self._known.add(outcome.app_id)
        if outcome.loaded is not None:
            self._loaded[outcome.app_id] = outcome.loaded
            await self._refresh(outcome.app_id)
        if outcome.loaded is not None and outcome.changed:
            await self._begin_with(outcome.loaded)
        return outcome

    async def _begin_with(self, loaded: Loaded) -> None:
        """Puts the processes of a new version in the place of others, and looks for what waits for it."""
        code = loaded.code
        await self._workshop.retire(code.app_id, code.version)
        for each in loaded.declared:
            if isinstance(each.trigger, Decides):
                await self._workshop.keep_warm(code, each.name)
        waiting = [Signal(JOBS, topic_key(KIND, task.task_id)) for task in self.of_app(code.app_id)]
        self._db.signals.deliver(waiting)

    async def _without_folder(self, present: set[str | None], *, sure: bool) -> list[AppReport]:
        """Apps whose tasks are registered, and which have no folder here."""
        reports = []
        for app_id, number in await self._db.read(registrations.apps_with_tasks):
            if app_id in present:
                continue
            try:
                name = (await self._directory.app_by_id(app_id)).name
            except NotFound:
                name = app_id
            if sure:
                await self._loader.lose(app_id)
                self._loaded.pop(app_id, None)
                await self._refresh(app_id)
                reports.append(AppReport(app=name, changed=True))
            else:
                reports.append(self._missed(app_id, name, number))
        return reports

    def _missed(self, app_id: str, name: str, number: int) -> AppReport:
        loaded = self._loaded.get(app_id)
        sentence = (
            f"There is no folder {name} in TASKS, but {number} tasks of {name} are registered. Put it back; "
            "or, if they shall be no more: admit task reload."
        )
        return replace(Outcome(folder=name, loaded=loaded).report, problems=(_problem(sentence),))

    # Following

    async def _first_load(self) -> None:
        """A database that does not answer yet is asked again."""
        while not await self._tried_to_load():  # noqa: ASYNC110 - nobody tells us when it answers
            await asyncio.sleep(jitter(TROUBLE_SECONDS))

    async def _tried_to_load(self) -> bool:
        try:
            await self.load(sure=False)
        except Exception as error:
            log.warning("tasks.cannot_load", cause=type(error).__name__)
            return False
        return True

    def _heard(self, key: str | None) -> None:
        self._env_changes += 1
        if key is None:
            self._env.clear()
            self._stale |= self._loaded.keys()
        elif key.startswith(RELOAD):
            self._reload_wanted |= key != RELOAD + self._id
        else:
            self._env.pop(key, None)
            self._stale |= {key} & self._loaded.keys()
        self._sweeps |= key is None
        self._news.set()

    def _heard_of_app(self, app_id: str | None) -> None:
        if app_id is not None and (self._unplaced or app_id in self._loaded):
            self._renamed.add(app_id)
            self._news.set()

    async def _follow(self) -> None:
        """Does what signals ask for, whatever the database does."""
        while True:
            await self._news.wait()
            self._news.clear()
            sweeps, self._sweeps = self._sweeps, False
            stale, self._stale = self._stale, set()
            renamed, self._renamed = self._renamed, set()
            try:
                for app_id in renamed & self._loaded.keys():
                    await self._follow_name(app_id)
                for app_id in stale:
                    await self._refresh(app_id)
            except Exception as error:
                log.warning("tasks.cannot_follow", cause=type(error).__name__)
                self._stale |= stale
                self._renamed |= renamed
                self._news.set()
                await asyncio.sleep(jitter(TROUBLE_SECONDS))
                continue
            reload, self._reload_wanted = self._reload_wanted, False
            if reload or (renamed and self._watch and self._unplaced):
                await self._load_for_others(sure=reload)
            if sweeps:
                await asyncio.sleep(SWEEP_SECONDS)

    async def _load_for_others(self, *, sure: bool) -> None:
        try:
            await self.load(sure=sure)
        except Exception as error:
            log.warning("tasks.cannot_load", cause=type(error).__name__)
            self._reload_wanted |= sure
            self._news.set()
            await asyncio.sleep(jitter(TROUBLE_SECONDS))

    async def _follow_name(self, app_id: str) -> None:
        try:
            name = (await self._directory.app_by_id(app_id)).name
        except NotFound:
            return
        loaded = self._loaded[app_id]
        if name != loaded.code.app:
            self._loaded[app_id] = replace(loaded, code=replace(loaded.code, app=name))
            await self._refresh(app_id)

    async def _refresh(self, app_id: str) -> None:
        """Reads anew what is registered of an app. Of two at once, the one that began later is right."""
        self._asked += 1
        asked = self._asked
        rows = await self._db.read(partial(registrations.of_app, app_id=app_id))
        if self._answered.get(app_id, 0) > asked:
            return
        self._answered[app_id] = asked
        tasks = _tasks_of(self._loaded.get(app_id), rows)
        for former in self._tasks.get(app_id, {}).values():
            del self._by_id[former.task_id]
        self._tasks[app_id] = tasks
        self._by_id |= {task.task_id: task for task in tasks.values()}

    async def _watch_files(self, seen: Prints) -> None:
        """Loads when the files have changed, and have stopped to change."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = await asyncio.to_thread(_prints, self._folder)
            if now == seen:
                continue
            await asyncio.sleep(LOOK_SECONDS)
            if now == await asyncio.to_thread(_prints, self._folder):
                seen = now if await self._tried_to_load() else None


def _prints(folder: Path) -> Prints:
    try:
        return folders.fingerprints(folder)
    except OSError:
        return None


def _tasks_of(loaded: Loaded | None, rows: list[Registered]) -> dict[str, Task]:
    """The tasks that are both declared by the code which this process has, and registered."""
    if loaded is None:
        return {}
    live = {row.name: row for row in rows if row.live}
    return {
        each.name: Task(
            app_id=loaded.code.app_id,
            task_id=live[each.name].task_id,
            declaration=each,
            code=loaded.code,
            paused=live[each.name].paused,
        )
        for each in loaded.declared
        if each.name in live
    }


def _tell(report: AppReport) -> None:
    if report.changed:
        log.info("tasks.loaded", app=report.app, version=report.version[:12], tasks=len(report.tasks))
    for problem in report.problems:
        log.error(
            "tasks.problem", app=report.app, file=problem.file, line=problem.line, problem=problem.message
        )


def _problem(message: str) -> Problem:
    return Problem(file="", line=0, message=message)
