"""docs/guides/tasks.md: a folder that was empty gets the guide's files, and its commands are typed."""

import asyncio
import json
import os
import re
import shlex
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from admit import task, testing
from tests.commands import Runner
from tests.contract.command_line import CommandLine
from tests.installation import Installation, free_port
from tests.structure.source import ROOT, page

EXAMPLES = ROOT / "examples/tasks"
ENROLL = ROOT / "examples/enrollment-webhook/enroll.py"
GUIDE = page("guides/tasks.md")
SERVER = "http://localhost:8080"
RECEIVER = "http://127.0.0.1:9100/"
KEY = "the-key-of-our-own-page"
BLOCK = r"```python\n(.*?)```"
FILE = rf"[Ss]ave this as `([\w/.]+)`[^`]*{BLOCK}"
LINE = r"^((?:admit|curl|export|python|mkdir|PYTHONPATH=\S+) [^\n]+)$"


@pytest.fixture
def installation(database_url: str, tmp_path: Path) -> Iterator[Installation]:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "tasks").mkdir()
    settings = {"ADMIT_TASKS": str(folder / "tasks"), "ADMIT_TASKS_RELOAD": "command"}
    installation = Installation(folder, database_url, settings)
    with installation.serving():
        yield installation


@pytest.fixture
def admit(installation: Installation, runner: Runner) -> CommandLine:
    return CommandLine(runner, installation.folder, installation.environment)


class Reader:
    """Whoever follows the guide. `known`: what stands for a word of the guide here."""

    def __init__(self, installation: Installation, admit: CommandLine) -> None:
        self.known = {SERVER: installation.url, "$(cat key.txt)": KEY}
        self.folder = installation.folder
        self.admit = admit
        self._exported: dict[str, str] = {}
        self._steps = re.findall(f"{FILE}|{LINE}", GUIDE, re.MULTILINE | re.DOTALL)
        self._at = 0

    async def follow(self, until: str) -> Any:
        """Does what the guide says, up to the line that begins with `until`; returns what came of it."""
        while self._at < len(self._steps):
            file, text, line = self._steps[self._at]
            self._at += 1
            if file:
                self._save(file, text)
            elif line == "admit task logs notes --follow":
                continue  # it never ends
            else:
                came = await self.type(line)
                if line.startswith(until):
                    return came
        raise AssertionError(f"the guide has no (further) {until!r}")

    async def type(self, line: str) -> Any:
        for word, here in self.known.items():
            line = line.replace(word, here)
        typed, _, piped = line.partition(" < ")
        first, *words = shlex.split(typed)
        match first:
            case "admit":
                return await self._admit([word for word in words if word != "--json"], piped)
            case "export":
                self._exported |= dict(word.split("=", 1) for word in words)
            case "mkdir":
                (self.folder / words[-1]).mkdir(parents=True, exist_ok=True)
            case "curl":
                return await _fetched(*words)
            case "python":
                return await self._run(*words)
            case _:
                name, _, value = first.partition("=")
                self._exported[name] = value
                return await self._run(*words[1:])
        return None

    async def until(self, *words: str, state: str) -> Any:
        """The first run that a command lists, once it is in a state."""
        async with asyncio.timeout(60):
            while True:
                runs = await asyncio.to_thread(self.admit.json, *words)
                if runs and runs[0]["state"] == state:
                    return runs[0]
                await asyncio.sleep(0.1)

    async def until_taken(self, *names: str) -> None:
        """Waits until the server has taken the code: with PostgreSQL it hears of it by a signal."""
        async with asyncio.timeout(60):
            while True:
                tasks = await asyncio.to_thread(self.admit.json, "task", "list", "notes")
                if {each["name"] for each in tasks if each["state"] == "ready"} >= set(names):
                    return
                await asyncio.sleep(0.1)

    @property
    def is_through(self) -> bool:
        return self._at == len(self._steps)

    def _save(self, file: str, text: str) -> None:
        assert text == (EXAMPLES / file).read_text(), f"{file} is another in examples/tasks"
        path = self.folder / file
        assert path.parent.is_dir()
        path.write_text(text)

    async def _admit(self, words: list[str], piped: str) -> Any:
        if piped:
            words.append(KEY)
        ended = await asyncio.to_thread(self.admit, *words, "--json")
        assert ended.code in (0, 1), ended
        if words[:2] == ["task", "logs"]:
            return [json.loads(line) for line in ended.out.splitlines()]
        return json.loads(ended.out)

    async def _run(self, *words: str) -> str:
        """What a program prints; it may be refused."""
        program = ["-m", *words[1:]] if words[0] == "-m" else [str(_place(words[0], self.folder)), *words[1:]]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *program,
            cwd=self.folder,
            env=os.environ | self._exported,
            stdout=PIPE,
            stderr=PIPE,
        )
        out, err = await process.communicate()
        return out.decode() + err.decode()


def _place(program: str, folder: Path) -> Path:
    return ENROLL if program == ENROLL.name else folder / program


async def _fetched(*words: str) -> tuple[int, Any]:
    """What `curl -sS URL -H HEADER -d BODY` gets."""
    s, url, *options = words
    assert s == "-sS"
    pairs = dict(zip(options[::2], options[1::2], strict=True))
    headers = dict([pairs["-H"].split(": ", 1)]) if "-H" in pairs else {}
    asked: dict[str, Any] = {"data": pairs["-d"], "headers": headers}
    async with aiohttp.ClientSession() as http, http.post(url, **asked) as answer:
        return answer.status, await answer.json(content_type=None)


@asynccontextmanager
async def told_at(port: int) -> AsyncIterator[Process]:
    """The receiver of the guide, at work."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, EXAMPLES / "crm.py", env=os.environ | {"PORT": str(port)}, stdout=PIPE
    )
    try:
        assert (await line_of(process)).startswith("Waiting at")
        yield process
    finally:
        process.kill()
        await process.communicate()


async def line_of(process: Process) -> str:
    """The next thing that the receiver is told. What comes again, under the same key, it has heard."""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while (line := (await process.stdout.readline()).decode().strip()).endswith("again"):
            pass
        return line


async def test_guide_leads_from_an_empty_folder_to_tasks_that_work(
    installation: Installation, admit: CommandLine
) -> None:
    reader, port = Reader(installation, admit), free_port()
    reader.known[RECEIVER] = f"http://127.0.0.1:{port}/"

    # 1: a decision
    await reader.follow("mkdir")
    await reader.follow("admit task list")
    admit("task", "reload")  # where the guide's server watches the folder, this one waits for the command
    await reader.until_taken("door")
    assert (await reader.follow("admit policy set"))["policy"]["task"] == "door"
    client = await reader.follow("admit client create")
    reader.known |= {"cli_…": client["client_id"], "acs_…": client["client_secret"]}
    assert "ada@example.com is enrolled" in await reader.follow("python enroll.py")
    assert "Ask your administrator for an invitation. (NOT_INVITED)" in await reader.follow(
        "python enroll.py"
    )
    refused = (await reader.follow("admit admission list"))[0]
    assert (refused["user_id"], refused["verdict"]) == ("eve@example.net", "refused")
    assert len(await reader.follow("admit task runs notes door")) == 2

    # 2, 3: a welcome, which fails, is tried again, and arrives
    assert (await reader.follow("admit task env set"))["tasks"] == []
    await reader.follow("admit task reload")
    await reader.until_taken("welcome")
    await reader.follow("admit task list")
    await reader.follow("python enroll.py")
    failed = await reader.until("task", "runs", "notes", "welcome", state="waiting")
    said = await reader.follow("admit task logs")
    assert any("welcome.py:" in line["text"] for line in said)
    async with told_at(port) as receiver:
        reader.known["run_…"] = failed["id"]
        await reader.follow("admit task retry")
        assert '"user":"grace@example.com"' in await line_of(receiver)
        await reader.until("task", "runs", "notes", "welcome", state="done")
        inspected = await reader.follow("admit task inspect")
        assert (inspected["state"], inspected["history"][0]["outcome"]) == ("done", "raised")
        await reader.follow("python enroll.py")
        assert '"user":"bob@example.com"' in await line_of(receiver)
        assert (await reader.follow("admit task runs notes --user"))[0]["task"] == "welcome"

        # 4: nothing is kept, and nothing arrives
        tried = await reader.follow("admit task run notes door --test")
        assert tried["result"]["code"] == "NOT_INVITED"
        tried = await reader.follow("admit task run notes welcome --test")
        assert [each["method"] for each in tried["requests"]] == ["POST"]
        assert tried["error"]

        # 5: without any server
        assert "2 passed" in await reader.follow("PYTHONPATH")

        # 6: by name, by the clock, in a queue
        await reader.follow("admit task reload")
        await reader.until_taken("trials", "prolong")
        await reader.follow("python enroll.py")
        done = await reader.follow("admit task run notes prolong")
        assert done["run"]["state"] == "done"
        assert admit.json("user", "show", "notes", "dan@elsewhere.org")["eval_days_left"] > 14
        assert (await reader.follow("admit task run notes trials"))["outcome"] == "ok"
        reader.known["run_…"] = (await reader.follow("admit task run notes prolong"))["id"]
        assert (await reader.follow("admit task cancel"))["state"] == "cancelled"

        # 7: over HTTP
        await reader.follow("admit task env set")
        await reader.follow("admit task reload")
        await reader.until_taken("invite")
        assert await reader.follow("curl") == (200, {"invited": "erin@example.com"})
        assert (await reader.follow("curl"))[0] == 401

        # 8: what people keep
        await reader.follow("admit task reload")
        await reader.until_taken("first_note", "open_notes")
        await reader.follow("python enroll.py")
        await reader.until("task", "runs", "notes", "first_note", state="done")
        [note] = await reader.follow("admit object list")
        assert (note["value"]["title"], note["realm_id"]) == ("Welcome", "frank@elsewhere.org")
        tried = await reader.follow("admit task run notes open_notes")
        assert tried["result"] == {"open": 1}
        assert [(each["table"], each["realm"]) for each in tried["changes"]] == [("totals", "rlm-public")]

        # 9: the rest
        assert (await reader.follow("admit task show"))["env"] == ["RECEIVER_URL"]
        assert (await reader.follow("admit task pause"))["state"] == "paused"
        assert (await reader.follow("admit task resume"))["state"] == "ready"
        variables = await reader.follow("admit task env list")
        assert {each["name"]: each["tasks"] for each in variables}["INVITE_KEY"] == ["invite"]
    assert reader.is_through


def test_extract_identity_is_ported_as_the_guide_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = EXAMPLES / "from-journeyapps"
    assert (folder / "idp_app_user_task.py").read_text() in re.findall(BLOCK, GUIDE, re.S)
    monkeypatch.syspath_prepend(str(folder))
    from idp_app_user_task import idp_app_user_task

    claims = {"groups": ["app-users"], "department": "Field"}
    told = testing.decision("ada@example.com", name="Ada", device="phone", claims=claims)
    assert idp_app_user_task(told) == task.admit(
        "prod", name="Ada", data={"department": "Field", "enrolled_on": "phone"}
    )
    stranger = testing.decision("eve@example.com", claims={"groups": ["guests"]})
    assert idp_app_user_task(stranger) == task.refuse(
        "NOT_IN_GROUP", "Your account has no access to this app."
    )
