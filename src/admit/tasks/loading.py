"""Loading: from the folder of an app to tasks that are registered, or to sentences that say why not."""

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec
import structlog
from msgspec.structs import replace

from admit.accounts.apps import App
from admit.accounts.directory import Directory
from admit.clock import Clock
from admit.errors import AdmitError
from admit.storage.database import Database
from admit.task.declarations import Declaration, Problem
from admit.tasks import code, declared_rules, folders, registrations
from admit.tasks.code import Code
from admit.tasks.registrations import ENDED_AT_ONCE

log = structlog.get_logger("admit.tasks")


class AppReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of loading a folder of TASKS; `app` is its name, "" for TASKS itself.

    `version` and `tasks` are what this server runs, "" and () for nothing; `problems`, why that is not what
    lies in the folder, or what else is not in order; `changed`: this load has brought another version.
    """

    app: str
    version: str = ""
    tasks: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    changed: bool = False


class Loaded(msgspec.Struct, frozen=True):
    """The last version of an app's code that could be taken."""

    code: Code
    declared: tuple[Declaration, ...]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one folder. `app_id` None: it belongs to no app. `loaded`: what is to run from now on."""

    folder: str
    app_id: str | None = None
    loaded: Loaded | None = None
    problems: tuple[Problem, ...] = ()
    changed: bool = False

    @property
    def report(self) -> AppReport:
        """In the words of an operator."""
        return AppReport(
            app=self.folder,
            version=self.loaded.code.version if self.loaded else "",
            tasks=tuple(sorted(each.name for each in self.loaded.declared)) if self.loaded else (),
            problems=self.problems,
            changed=self.changed,
        )


class Examiner(Protocol):
    """The processes in which the code runs, as far as loading it goes."""

    async def examine(self, code: Code) -> tuple[Declaration, ...] | tuple[Problem, ...]:
        """Imports `code` in a process of its own."""

    async def retire(self, app_id: str, version: str) -> None:
        """Ends the processes of other versions of the app when their runs are done."""

    async def keep_warm(self, code: Code, task: str) -> None:
        """Has a process ready for a task that decides."""


class Loader:
    """Loads folders, one after the other."""

    def __init__(
        self, db: Database, directory: Directory, workshop: Examiner, root: Path, clock: Clock
    ) -> None:
        self._db = db
        self._directory = directory
        self._workshop = workshop
        self._root = root
        self._clock = clock

    async def load(self, folder: str, before: Mapping[str, Loaded]) -> Outcome:
        """Loads one folder and registers what is in it. `before` is what was loaded, by app."""
        outcome = Outcome(folder=folder)
        try:
            app = await folders.app_of(folder, self._directory)
            if app is None:
                return replace(outcome, problems=(folders.of_nobody(folder),))
            outcome = replace(outcome, app_id=app.app_id, loaded=before.get(app.app_id))
            if app.name != folder:
                return replace(outcome, problems=(folders.of_former_name(folder, app),))
            found = await asyncio.to_thread(code.read, self._root / folder, app.app_id, app.name)
            if isinstance(found, Problem):
                return replace(outcome, problems=(found,))
            if outcome.loaded is not None and outcome.loaded.code.version == found.version:
                return replace(outcome, problems=await self._again(outcome.loaded))
            return await self._take(outcome, found)
        except AdmitError as error:
            return replace(outcome, problems=(_problem(error.message),))
        except Exception as error:
            log.exception("tasks.not_loaded", folder=folder)
            return replace(outcome, problems=(_problem(f"It could not be loaded: {type(error).__name__}."),))

    async def try_out(self, app: App) -> Loaded | tuple[Problem, ...]:
        """What lies in the folder of an app, examined and not registered. Raises AdmitError."""
        found = await asyncio.to_thread(code.read, self._root / app.name, app.app_id, app.name)
        return (found,) if isinstance(found, Problem) else await self._examine(found)

    async def lose(self, app_id: str) -> None:
        """Registers that an app has no tasks any more. Raises StorageUnavailable."""
        await self._register(app_id, "", ())

    async def _take(self, outcome: Outcome, found: Code) -> Outcome:
        examined = await self._examine(found)
        if not isinstance(examined, Loaded):
            return replace(outcome, problems=examined)
        await self._register(found.app_id, found.version, examined.declared)
        return replace(outcome, loaded=examined, changed=True)

    async def _examine(self, found: Code) -> Loaded | tuple[Problem, ...]:
        examined = await self._workshop.examine(found)
        declared = tuple(each for each in examined if isinstance(each, Declaration))
        problems = tuple(each for each in examined if isinstance(each, Problem))
        return problems or declared_rules.faults_of(declared) or Loaded(found, declared)

    async def _again(self, loaded: Loaded) -> tuple[Problem, ...]:
        """Mends what is registered of a version that runs already, where nobody has registered another since.

        Or two servers with different folders would take turns.
        """
        app_id, version = loaded.code.app_id, loaded.code.version
        rows = await self._db.read(partial(registrations.of_app, app_id=app_id))
        if {each.version for each in rows if each.live} != ({version} if loaded.declared else set()):
            return (
                _problem(
                    "Another server has loaded other code since. Give every server the same folder, or "
                    "restart this one to have its own."
                ),
            )
        await self._register(app_id, version, loaded.declared)
        return ()

    async def _register(self, app_id: str, version: str, declared: tuple[Declaration, ...]) -> None:
        rows = await self._db.write(
            partial(
                registrations.register, app_id=app_id, version=version, declared=declared, now=self._clock()
            )
        )
        for each in rows:
            if not each.live:
                await self._end_runs(app_id, each.task_id)

    async def _end_runs(self, app_id: str, task_id: str) -> None:
        ended = ENDED_AT_ONCE
        while ended == ENDED_AT_ONCE:
            unit = partial(registrations.end_runs_of_gone, app_id=app_id, task_id=task_id, now=self._clock())
            ended = await self._db.write(unit, patient=True)


def _problem(message: str) -> Problem:
    return Problem(file="", line=0, message=message)
