"""The secret key of an installation that was given none: made on its first start, beside the SQLite file."""

import os
import stat
import tempfile
from pathlib import Path

import structlog

from admit.clock import new_secret
from admit.errors import ConfigError

FILE_BYTES_MAX = 65_536

log = structlog.get_logger("admit.storage")


def load_or_make_key(path: Path) -> str:
    """Reads the key at `path`, or makes one that only this account can read. Rivals get the same key."""
    while (key := _load(path)) is None:
        _make(path)
    return key


def _load(path: Path) -> str | None:
    try:
        with path.open() as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            key = file.read(FILE_BYTES_MAX).strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The key file {path} cannot be read: {type(error).__name__}.") from error
    if not key:
        raise ConfigError(
            f"The key file {path} is empty. Put the key back, or delete the file if nothing was saved yet."
        )
    if mode & 0o077:
        log.warning("storage.key_file_open_to_others", path=str(path), do=f"chmod 600 {path}")
    return key


def _make(path: Path) -> None:
    """Writes the whole file under another name and links it, so that nobody ever reads half a key."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    draft = Path(name)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(new_secret() + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
        _sync_folder(path.parent)
    except FileExistsError:
        return  # a rival was first; theirs counts
    finally:
        draft.unlink()
    log.info("storage.key_made", path=str(path))


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
