"""The code of an app: the files of its folder, read whole into memory, so that one version of them runs."""

import os
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import msgspec

from admit.task.declarations import Problem
from admit.task.wire import Source

FILES_MAX = 1_000
BYTES_MAX = 10_000_000

Fingerprint = tuple[tuple[str, int, int, int], ...]
"""Path, size, time of change in ns and inode of each file: it changes with them."""


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """The files of one app at one moment. `app` is its name, `folder` where they lie, `version` the SHA-256
    of their paths and of what is in them, in hex."""

    app_id: str
    app: str
    folder: str
    version: str
    sources: tuple[Source, ...]

    def __repr__(self) -> str:
        """Without the files: it ends up in tracebacks."""
        return f"Code({self.app!r}, {self.version[:12]!r}, {len(self.sources)} files)"


def read(folder: Path, app_id: str, app: str) -> Code | Problem:
    """The code in `folder`, from the disk. A Problem: it cannot be read, or is more than an app may have."""
    sources: list[Source] = []
    size = 0
    try:
        for path in _files(folder):
            name = path.relative_to(folder).as_posix()
            if len(sources) == FILES_MAX:
                return _problem(name, f"An app has at most {FILES_MAX:,} files of Python.")
            size += path.stat().st_size
            if size > BYTES_MAX:
                return _problem(name, f"The files of an app have at most {BYTES_MAX // 1_000_000} MB.")
            sources.append(Source(name, path.read_bytes()))
    except OSError as error:
        return _problem(_below(folder, error.filename), f"It cannot be read: {error.strerror}.")
    version = version_of(sources)
    return Code(app_id=app_id, app=app, folder=str(folder), version=version, sources=tuple(sources))


def version_of(sources: Sequence[Source]) -> str:
    """The SHA-256 of paths and contents, in hex, whatever the order of `sources`."""
    digest = sha256()
    for source in sorted(sources, key=lambda each: each.path):
        for part in (source.path.encode(errors="surrogateescape"), source.text):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def fingerprint(folder: Path) -> Fingerprint:
    """How the files of `folder` stand, without a look into them. Raises OSError."""
    found = []
    for path in _files(folder):
        status = path.stat()
        found.append((path.as_posix(), status.st_size, status.st_mtime_ns, status.st_ino))
        if len(found) > FILES_MAX:
            break
    return tuple(found)


def _files(folder: Path) -> Iterator[Path]:
    """The files of Python below `folder`, in the order of their paths. Links are followed, once."""
    seen = set()
    for here, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        status = os.stat(here)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(each for each in folders if not each.startswith(".") and each != "__pycache__")
        for name in sorted(names):
            if name.endswith(".py") and not name.startswith("."):
                yield Path(here, name)


def _raise(error: OSError) -> None:
    raise error


def _below(folder: Path, name: object) -> str:
    path = Path(str(name))
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(name)


def _problem(file: str, message: str) -> Problem:
    return Problem(file=file, line=0, message=message)
