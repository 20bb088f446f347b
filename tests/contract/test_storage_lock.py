"""The lock on a SQLite file, and the key that is made beside it."""

import json
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from admit.errors import ConfigError
from admit.storage.key_file import load_or_make_key
from admit.storage.lock import FileInUse, FileLock
from admit.storage.sealing import KeyRing

HOLD = """
import sys
from pathlib import Path
from admit.storage.lock import FileLock
FileLock(Path(sys.argv[1])).acquire(sys.argv[2] or None)
print("locked", flush=True)
sys.stdin.read()
"""

ADDRESS = "http://127.0.0.1:8080"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "admit.db"


def _hold(path: Path, address: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def _end(process: "subprocess.Popen[str]", how: signal.Signals = signal.SIGKILL) -> None:
    process.send_signal(how)
    process.communicate()


def test_second_server_is_refused_and_told_who_was_first(path: Path) -> None:
    process = _hold(path, ADDRESS)
    try:
        with pytest.raises(FileInUse, match=f"The server at {ADDRESS} .process {process.pid}. has {path}"):
            FileLock(path).acquire("http://127.0.0.1:9090")
        assert FileLock(path).holder() == ADDRESS
    finally:
        _end(process)


def test_killed_process_frees_the_file(path: Path) -> None:
    _end(_hold(path, ADDRESS))
    assert FileLock(path).holder() is None
    lock = FileLock(path)
    lock.acquire("http://127.0.0.1:9090")
    assert FileLock(path).holder() == "http://127.0.0.1:9090"
    lock.release()
    assert FileLock(path).holder() is None


def test_command_without_address_keeps_others_out_and_is_no_server(path: Path) -> None:
    process = _hold(path, "")
    try:
        assert FileLock(path).holder() is None
        with pytest.raises(FileInUse, match="Another command"):
            FileLock(path).acquire(ADDRESS)
    finally:
        _end(process)


def test_server_waits_for_a_command_that_ends_soon(path: Path) -> None:
    process = _hold(path, "")
    with ThreadPoolExecutor() as threads:
        lock = FileLock(path)
        waiting = threads.submit(lock.acquire, ADDRESS, wait_seconds=30)
        _end(process)
        waiting.result(30)
    assert FileLock(path).holder() == ADDRESS
    lock.release()


def test_file_that_nobody_ever_locked_has_no_holder(path: Path) -> None:
    assert FileLock(path).holder() is None
    assert not path.with_name("admit.db.lock").exists()


def test_asking_for_the_holder_never_keeps_a_server_out(path: Path) -> None:
    lock = FileLock(path)
    with ThreadPoolExecutor(2) as threads:
        asking = [threads.submit(FileLock(path).holder) for _ in range(500)]
        for _ in range(50):
            lock.acquire(ADDRESS)
            lock.release()
    assert {each.result() for each in asking} <= {None, ADDRESS}


def test_lock_survives_the_death_of_a_child_process(path: Path) -> None:
    lock = FileLock(path)
    lock.acquire(ADDRESS)
    subprocess.run([sys.executable, "-c", ""], check=True)
    assert FileLock(path).holder() == ADDRESS
    assert json.loads(path.with_name("admit.db.lock").read_text())["address"] == ADDRESS
    lock.release()


def test_key_is_made_once_and_for_this_account_only(tmp_path: Path) -> None:
    path = tmp_path / "admit.key"
    key = load_or_make_key(path)
    assert load_or_make_key(path) == key
    assert KeyRing.parse(key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_rivals_get_the_same_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        keys = set(threads.map(load_or_make_key, [tmp_path / "admit.key"] * 50))
    assert len(keys) == 1


def test_empty_key_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "admit.key").touch(mode=0o600)
    with pytest.raises(ConfigError, match="empty"):
        load_or_make_key(tmp_path / "admit.key")


def test_key_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "admit.key").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        load_or_make_key(tmp_path / "admit.key")
