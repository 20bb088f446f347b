"""Declarations of tasks as a folder would have made them, and how they are registered, for tests."""

from functools import partial
from typing import Any

from admit.storage.database import Database
from admit.task.declarations import Called, Declaration, Every, On, Trigger
from admit.tasks import registrations
from admit.tasks.registrations import Registered
from tests.residents import APP, NOW

WELCOME = On(types=("user.enrolled",))
NIGHTLY = Every(cron="0 3 * * *")


def declared(name: str, trigger: Trigger | None = None, **choices: Any) -> Declaration:
    """A task; one that is called, where nothing is said."""
    return Declaration(name=name, trigger=trigger or Called(), file="door.py", line=1, **choices)


async def register(
    database: Database, *tasks: Declaration, version: str = "v1", app_id: str = APP, now: int = NOW
) -> dict[str, Registered]:
    """Makes `tasks` those of the app; all it has or had, by name."""
    rows = await database.write(
        partial(registrations.register, app_id=app_id, version=version, declared=tasks, now=now)
    )
    return {each.name: each for each in rows}
