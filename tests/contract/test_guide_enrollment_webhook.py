"""docs/guides/enrollment-webhook.md: its commands are typed one after the other, and its programs are run."""

import asyncio
import json
import os
import re
import shlex
import sqlite3
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from admit.outbound import signing
from tests.commands import Runner
from tests.contract.command_line import CommandLine
from tests.installation import Installation
from tests.structure.source import ROOT, page

EXAMPLES = ROOT / "examples/enrollment-webhook"
GUIDE = page("guides/enrollment-webhook.md")
ADA, BOB, EVE = "ada@example.com", "bob@example.com", "eve@example.com"
SERVER = "http://localhost:8080"


@pytest.fixture
def installation(database_url: str, tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path, database_url)
    with installation.serving():
        yield installation


@pytest.fixture
def admit(installation: Installation, runner: Runner) -> CommandLine:
    return CommandLine(runner, installation.folder, installation.environment)


@dataclass
class Receiver:
    """The receiver of the guide, at work."""

    process: Process
    url: str = ""

    async def line(self) -> str:
        """The next line that it prints, with `dev_…` for the identifiers of devices."""
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            line = (await self.process.stdout.readline()).decode().rstrip("\n")
        return re.sub("dev_[0-9a-f]+", "dev_…", line)


@asynccontextmanager
async def receiving(folder: Path, secret: str) -> AsyncIterator[Receiver]:
    environ = {"PATH": os.environ["PATH"], "ENDPOINT_SECRET": secret, "PORT": "0"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, EXAMPLES / "receive_enrollments.py", cwd=folder, env=environ, stdout=PIPE
    )
    try:
        receiver = Receiver(process)
        receiver.url = (await receiver.line()).removeprefix("Waiting for enrollments at ")
        yield receiver
    finally:
        process.kill()
        await process.communicate()


class Reader:
    """Whoever follows the guide, line by line. `known`: what stands for a word of the guide here."""

    def __init__(self, installation: Installation, admit: CommandLine, secret: str) -> None:
        self.known = {SERVER: installation.url}
        self._installation = installation
        self._admit = admit
        self._secret = secret
        self._lines = iter(re.findall(r"^ *((?:admit|curl|export|python) .+)$", GUIDE, re.MULTILINE))
        self._exported: dict[str, str] = {}

    async def follow(self, until: str) -> Any:
        """Types the lines up to one that begins with `until`; returns what came of it."""
        for line in self._lines:
            came = await self.type(line)
            if line.startswith(until):
                return came
        raise AssertionError(f"the guide has no (further) {until!r}")

    async def type(self, line: str) -> Any:
        for word, here in self.known.items():
            line = line.replace(word, here)
        first, *words = shlex.split(line)
        if first == "admit":
            words = [word for word in words if word != "--json"]
            if words[:2] == ["endpoint", "create"]:
                words += ["--secret", self._secret]
            return self._admit.json(*words)
        if first == "export":
            return self._exported.update(
                {name: value for name, _, value in (w.partition("=") for w in words)}
            )
        if first == "curl":
            return await fetched(*words)
        return await self.run(*words)

    async def run(self, *words: str) -> str:
        """What a program of the guide prints."""
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            EXAMPLES / words[0],
            *words[1:],
            cwd=self._installation.folder,
            env=os.environ | self._exported,
            stdout=PIPE,
            stderr=STDOUT,
        )
        out, _ = await program.communicate()
        assert program.returncode == 0, out.decode()
        return out.decode()

    def is_through(self) -> bool:
        return next(self._lines, None) is None


async def fetched(u: str, credentials: str, url: str) -> Any:
    """What `curl -u` shows."""
    assert u == "-u"
    user, _, password = credentials.partition(":")
    headers = {"Authorization": aiohttp.encode_basic_auth(user, password)}
    async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def test_guide_leads_from_an_enrollment_to_the_end_of_the_workaround(
    installation: Installation, admit: CommandLine, tmp_path: Path
) -> None:
    secret = signing.new_secret()
    reader = Reader(installation, admit, secret)
    enroll = f"python enroll.py {SERVER}/notes"
    async with receiving(tmp_path, secret) as receiver:
        reader.known["http://127.0.0.1:9100/"] = receiver.url
        reader.known["https://crm.example.com/enrollments"] = receiver.url

        # 1: an enrollment, one more device, and a login that is no enrollment
        await reader.follow("admit app create")
        reader.known["ep_…"] = (await reader.follow("admit endpoint create"))["id"]
        client = await reader.follow("admit client create")
        reader.known |= {"cli_…": client["client_id"], "acs_…": client["client_secret"]}
        phone = (await reader.follow(enroll)).split()[-1]
        assert await receiver.line() == f"{ADA} on dev_…: a new person"
        await reader.follow(enroll)
        assert await receiver.line() == f"{ADA} on dev_…: one more device"
        assert (await reader.follow(enroll)).split()[-1] == phone

        # 2: the phone enrolls again, and is told of with its number and what was before
        of_phone = admit.json("session", "list", "notes", "--device", phone)[0]["id"]
        admit.done("session", "lock", "notes", of_phone)
        await reader.type(f"{enroll} {ADA} phone")
        assert await receiver.line() == f"{ADA} on dev_…: dealt with before, number 2"
        told = admit.json("event", "list", "notes", "--type", "device.enrolled")[-1]["data"]
        assert told["session"]["previous"] == of_phone
        assert (told["device"]["first_for_user"], told["device"]["first_for_device"]) == (False, False)
        assert members(shown_event()["data"]) <= members(told)
        assert (await reader.follow("admit endpoint set"))["once"] == "device"

        # 3: nobody was here before
        assert (await reader.follow("admit endpoint backfill"))["done"] == 0

        # 4: the same, asked
        assert len(await reader.follow("admit session list")) == 2
        assert len(await reader.follow("admit device list")) == 2
        reader.known |= {"adm_…": (await reader.follow("admit token create"))["token"], "dev_…": phone}
        assert (await reader.follow("curl"))["total"] == 1

        # 5: Bob and Eve enrolled while nobody was told; the workaround has dealt with Bob
        admit.done("endpoint", "remove", "notes", reader.known["ep_…"], "--yes")
        of_bob = (await reader.type(f"{enroll} {BOB} phone-of-bob")).split()[-1]
        await reader.type(f"{enroll} {EVE} phone-of-eve")
        assert workaround(tmp_path, BOB, of_bob)
        assert not workaround(tmp_path, BOB, of_bob)
        reader.known["ep_…"] = (await reader.follow("admit endpoint create"))["id"]
        assert (await reader.follow("admit endpoint backfill"))["done"] == 4
        assert sorted([await receiver.line() for _ in range(4)]) == [
            f"{ADA} on dev_…: dealt with before, number 1",
            f"{ADA} on dev_…: dealt with before, number 2",
            f"{BOB} on dev_…: dealt with before, number 1",
            f"{EVE} on dev_…: one more device",
        ]
        # Side by side: the event comes first, and the workaround finds it done.
        later = (await reader.type(f"{enroll} {BOB} laptop-of-bob")).split()[-1]
        assert await receiver.line() == f"{BOB} on dev_…: one more device"
        assert not workaround(tmp_path, BOB, later)
        active = await reader.follow("admit session list")
        assert {each["device"]["id"] for each in active} == processed(tmp_path)

        # The table has gone, and an enrollment that is none the first is not told of again.
        newest = admit.json("session", "list", "notes", "--device", later)[0]["id"]
        admit.done("session", "lock", "notes", newest)
        await reader.type(f"{enroll} {BOB} laptop-of-bob")
        await reader.type(f"{enroll} {BOB} tablet-of-bob")
        assert await receiver.line() == f"{BOB} on dev_…: one more device"
    assert reader.is_through()


def shown_event() -> Any:
    """The event that the guide shows."""
    [block] = re.findall(r"^```json\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    return json.loads(block)


def members(value: Any, path: str = "") -> set[str]:
    """The paths of what stands in a JSON object."""
    if not isinstance(value, dict):
        return {path}
    return {inner for name, each in value.items() for inner in members(each, f"{path}.{name}")}


def workaround(folder: Path, user_id: str, device_id: str) -> bool:
    """Enters the table first, as the guide has the old task do; whether there is something left to do."""
    [statement] = re.findall(r"^ *(INSERT INTO processed .+)$", GUIDE, re.MULTILINE)
    with sqlite3.connect(folder / "enrollments.db") as db:
        return db.execute(statement, [user_id, device_id]).rowcount == 1


def processed(folder: Path) -> set[str]:
    """The devices of those who were dealt with."""
    with sqlite3.connect(folder / "enrollments.db") as db:
        return {device_id for (device_id,) in db.execute("SELECT device_id FROM processed")}
