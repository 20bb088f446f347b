"""The folder TASKS: a folder for each app, by its name, and what lies there and belongs to none."""

import os
from pathlib import Path

import msgspec

from admit.accounts.apps import App
from admit.accounts.directory import Directory
from admit.errors import NotFound
from admit.task.declarations import Problem
from admit.tasks import code


class Listing(msgspec.Struct, frozen=True):
    """The folders in TASKS that have files of Python, by their names, and the files that are in none."""

    folders: tuple[str, ...]
    strays: tuple[str, ...]


def look(root: Path) -> Listing:
    """What lies in `root`. Raises OSError."""
    folders, strays = [], []
    with os.scandir(root) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            if entry.name.startswith((".", "_")):
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.name.endswith(".py"):
                strays.append(entry.name)
    return Listing(tuple(folders), tuple(strays))


def fingerprints(root: Path) -> dict[str, code.Fingerprint | None]:
    """How the folders in `root` stand, by their names; None: it cannot be read. Raises OSError."""
    listing = look(root)
    found: dict[str, code.Fingerprint | None] = {"": tuple((each, 0, 0, 0) for each in listing.strays)}
    for name in listing.folders:
        try:
            found[name] = code.fingerprint(root / name)
        except OSError:
            found[name] = None
    return found


def stray(name: str) -> Problem:
    """The complaint about a file that lies in TASKS itself."""
    return Problem(
        file=name,
        line=0,
        message=f"{name} lies in TASKS itself. Move it into a folder that bears the name of its app.",
    )


async def app_of(name: str, directory: Directory) -> App | None:
    """The app that answers to the name of a folder. Raises StorageUnavailable."""
    try:
        return await directory.app(name)
    except NotFound:
        return None


def of_nobody(name: str) -> Problem:
    """The complaint about a folder that bears the name of no app."""
    message = f"The folder {name} bears the name of no app. Create one: admit app create {name} …"
    return Problem(file="", line=0, message=message)


def of_former_name(name: str, app: App) -> Problem:
    """The complaint about a folder that bears a former name of `app`."""
    message = f"The folder {name} bears a former name of the app {app.name}. Rename the folder to {app.name}."
    return Problem(file="", line=0, message=message)
