"""docs/guides/python-client.md: its program is run as a person would, and so is everything else it shows."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from admit.accounts.tables import devices, sessions
from admit.client import SessionOver
from admit.client.errors import KINDS
from tests.commands import Runner
from tests.contract.command_line import CommandLine
from tests.installation import WAIT_SECONDS, Installation
from tests.structure.source import ROOT, page

PROGRAM = ROOT / "examples/python-client/sign_in.py"
GUIDE = page("guides/python-client.md")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
URL = "http://localhost:8080/demo"
ADA = "ada.lovelace@example.com"


@pytest.fixture
def installation(sqlite_url: str, tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path, sqlite_url)
    with installation.serving():
        yield installation


@pytest.fixture
def admit(installation: Installation, runner: Runner) -> CommandLine:
    return CommandLine(runner, installation.folder, installation.environment)


class Terminal:
    """Programs that somebody runs on one machine."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._environment = os.environ | {"XDG_DATA_HOME": str(installation.folder / "data")}

    def run(self, *words: str, typed: str = "") -> str:
        """What a program prints that is told `typed`."""
        process = self._start(*words)
        out, _ = process.communicate(typed, timeout=WAIT_SECONDS)
        assert process.returncode == 0, out
        return out

    def sign_in(self, *words: str, email: str = ADA) -> str:
        """What a program prints to somebody who types an email and the code that comes by mail."""
        before = len(self._installation.mails())
        process = self._start(*words)
        assert process.stdin is not None
        process.stdin.write(f"{email}\n00000000\n")
        process.stdin.flush()
        give_up_at = time.monotonic() + WAIT_SECONDS
        while len(mails := self._installation.mails()) == before:
            assert time.monotonic() < give_up_at
            time.sleep(0.05)  # another process writes the file
        out, _ = process.communicate(mails[-1]["otp"] + "\n", timeout=WAIT_SECONDS)
        assert process.returncode == 0, out
        return out

    def _start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *words],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def test_the_guide_shows_the_example() -> None:
    assert PROGRAM.read_text().partition('"""\n\n')[2] == BLOCKS[0]
    assert f"python {PROGRAM.relative_to(ROOT)} {URL}" in GUIDE


def test_every_error_of_a_session_is_in_the_guide() -> None:
    named = [(kind.__name__, code) for code, kind in KINDS.items() if issubclass(kind, SessionOver)]
    assert [each for each in named if "| `{}` | `{}` |".format(*each) not in GUIDE] == []


def test_the_guide_leads_from_a_sign_in_over_restarts_to_the_second_session(
    installation: Installation, admit: CommandLine
) -> None:
    admit.done("app", "create", "demo", "--owner", "owner@example.com")
    here = f"{installation.url}/demo"
    terminal = Terminal(installation)

    first = terminal.sign_in(str(PROGRAM), here)
    told = rf"{ADA} is signed in on (dev_\w+): eval, {{}}"
    [device_id] = re.findall(told, first)
    assert re.findall(told, terminal.run(str(PROGRAM), here)) == [device_id]
    assert (installation.count(devices), installation.count(sessions)) == (1, 1)

    asks_own_server, follows, hears_of_locks = (
        terminal.run("-c", block.replace(URL, here)) for block in BLOCKS[1:]
    )
    assert f'"sub":"{ADA}"' in asks_own_server
    assert (follows, hears_of_locks) == (f"{ADA}: ok\n", "")
    assert (installation.count(devices), installation.count(sessions)) == (1, 1)

    terminal.run(str(PROGRAM), here, "--sign-out")
    assert re.findall(told, terminal.sign_in(str(PROGRAM), here)) == [device_id]
    assert (installation.count(devices), installation.count(sessions)) == (1, 2)

    for line in re.findall(r"^admit .+$", GUIDE, re.MULTILINE):
        answer = admit.json(*line.split()[1:])
        link = f"import sys\nfrom admit.client import AdmitClient\nwith AdmitClient({here!r}) as client:\n"
        link += f"    print(client.sign_in_with_link({answer['url']!r}).user_id)"
        assert terminal.run("-c", link) == f"{ADA}\n"
