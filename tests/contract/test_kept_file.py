"""The file of the Python client: whole after every crash, one for all processes, and never silently new."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from admit.client import KeptFileError
from admit.client.device_key import DeviceKey, new_private_key
from admit.client.kept import Farewell, Kept
from admit.client.kept_file import KeptFile

NOBODY_UID = 65_534
PROGRAM = """
import os, signal, sys
from pathlib import Path
from msgspec.structs import replace
from admit.client.kept import Farewell
from admit.client.kept_file import KeptFile
file = KeptFile(Path(sys.argv[1]))
"""
ADDS_FIFTY = """
for number in range(50):
    said = Farewell("logged_out", f"{sys.argv[2]}-{number}", "token")
    file.change(lambda kept: replace(kept, farewells=(*kept.farewells, said)))
"""
DIES_WHILE_WRITING = """
def die(_file):
    os.kill(os.getpid(), signal.SIGKILL)
os.fsync = die
file.change(lambda kept: replace(kept, private_key="x" * 100_000))
"""


@pytest.fixture
def path() -> Iterator[Path]:
    """A file that is not there yet, in a folder that every account may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "admit" / "notes.json"


@contextmanager
def as_an_ordinary_account() -> Iterator[None]:
    """No account but root's may pass by the rights of a file."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY_UID)
    try:
        yield
    finally:
        os.seteuid(0)


def run(program: str, path: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM + program, str(path), *arguments])


def test_what_was_kept_is_there_and_nobody_else_may_read_it(path: Path) -> None:
    file = KeptFile(path)
    assert file.read() is None
    key = new_private_key()
    made = file.change(lambda kept: replace(kept, private_key=key))
    assert made.device_id.startswith("dev_")
    assert KeptFile(path).read() == made
    assert DeviceKey(made.private_key or "").public_pem == DeviceKey(key).public_pem
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)] == [0o600, 0o700]
    assert {each.name for each in path.parent.iterdir()} == {"notes.json", "notes.json.lock"}


def test_process_that_dies_while_it_writes_changes_nothing(path: Path) -> None:
    before = KeptFile(path).change(lambda kept: kept)
    died = run(DIES_WHILE_WRITING, path)
    assert died.wait(30) == -signal.SIGKILL
    assert KeptFile(path).read() == before
    after = KeptFile(path).change(lambda kept: replace(kept, private_key="y"))
    assert KeptFile(path).read() == after == replace(before, private_key="y")


def test_processes_at_once_lose_no_change(path: Path) -> None:
    running = [run(ADDS_FIFTY, path, name) for name in ("a", "b", "c")]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    kept = KeptFile(path).read()
    assert kept is not None
    said = {farewell.session_id for farewell in kept.farewells}
    assert said == {f"{name}-{number}" for name in "abc" for number in range(50)}


def test_draft_that_somebody_has_laid_out_as_a_link_is_not_written_through(path: Path) -> None:
    file = KeptFile(path)
    file.change(lambda kept: kept)
    elsewhere = path.parent / "elsewhere"
    elsewhere.write_text("mine")
    (path.parent / "notes.json.new").symlink_to(elsewhere)
    file.change(lambda kept: replace(kept, private_key="y"))
    assert elsewhere.read_text() == "mine"
    assert not path.is_symlink()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"device_id":1}', b'{"version":2,"device_id":"dev_1"}', b"\xff\xfe", b"[" * 100_000],
)
def test_content_that_cannot_be_read_is_said_and_stays_as_it_is(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    path.chmod(0o600)
    file = KeptFile(path)
    for ask in (file.read, lambda: file.change(lambda kept: kept)):
        with pytest.raises(KeptFileError, match="Put it back from a copy, or move it away") as refused:
            ask()
        assert str(path) in refused.value.message
    assert path.read_bytes() == content


def test_file_that_may_not_be_read_makes_no_new_device(path: Path) -> None:
    before = KeptFile(path).change(lambda kept: kept)
    path.chmod(0)
    path.parent.chmod(0o777)
    (path.parent / "notes.json.lock").chmod(0o666)
    with as_an_ordinary_account():
        for ask in (KeptFile(path).read, lambda: KeptFile(path).change(lambda kept: kept)):
            with pytest.raises(KeptFileError, match="cannot be read: permission denied"):
                ask()
    path.chmod(0o600)
    assert KeptFile(path).read() == before


def test_folder_that_may_not_be_written_is_said(path: Path) -> None:
    path.parent.mkdir(mode=0o755)
    path.parent.chmod(0o555)
    with as_an_ordinary_account(), pytest.raises(KeptFileError, match="cannot be written: permission denied"):
        KeptFile(path).change(lambda kept: kept)
    assert list(path.parent.iterdir()) == []


def test_file_that_others_may_read_is_warned_of(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    KeptFile(path).change(lambda kept: kept)
    path.chmod(0o644)
    KeptFile(path).read()
    assert "chmod 600" in caplog.text


def test_lock_that_is_never_given_back_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("admit.client.kept_file.LOCK_SECONDS_MAX", 0.1)

    def again(kept: Kept) -> Kept:
        holder = subprocess.run(
            [sys.executable, "-c", WAITS_SHORTLY, str(path)], capture_output=True, text=True
        )
        assert "Another process has held" in holder.stderr
        return kept

    KeptFile(path).change(again)


WAITS_SHORTLY = f"""
import admit.client.kept_file
admit.client.kept_file.LOCK_SECONDS_MAX = 0.1
{PROGRAM}
file.change(lambda kept: kept)
"""


def test_secrets_stand_in_no_repr(path: Path) -> None:
    kept = KeptFile(path).change(lambda kept: replace(kept, private_key="hidden"))
    assert "hidden" not in f"{kept} {Farewell('wiped', 'ses_1', 'hidden')}"
