"""A server that is killed between two steps of a first login: nothing half done, no second mail needed."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from admit.accounts.tables import identities, sessions, users
from admit.enrollment.tables import admissions
from admit.events.log import events
from admit.jobs.tables import jobs
from tests.crash import forked_server
from tests.crash.mortal_server import OF_A_LOGIN
from tests.installation import Installation
from tests.receiver import PROD, always, receiving

WAIT_SECONDS = 30

EVENTS_OF_AN_ENROLLMENT = 3

MOMENTS = [f"{when}:{step}" for step in OF_A_LOGIN for when in ("before", "after")]


@pytest.fixture
def installation(database_url: str, tmp_path: Path) -> Installation:
    return Installation(tmp_path, database_url)


@asynccontextmanager
async def kept_alive(installation: Installation, moment: str) -> AsyncIterator[list[int | None]]:
    """A server that dies at `moment`, and one in its place from then on. Yields the exit codes so far."""
    start = partial(forked_server.start, installation, attempt_seconds_max=1)
    process = await asyncio.to_thread(start, moment=moment)
    exits: list[int | None] = []

    async def watch() -> None:
        nonlocal process
        while True:
            if not process.is_alive():
                exits.append(process.exitcode)
                process = await asyncio.to_thread(start)
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    try:
        yield exits
    finally:
        watching.cancel()
        forked_server.stop(process)


async def ask_until_answered(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """What a client does: sends the request again while nobody answers, and only then."""
    give_up_at = time.monotonic() + WAIT_SECONDS
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.post(url, json=body) as response:
                    text = await response.text()
                    if response.status != 503:
                        assert response.status == 200, text
                        answer: dict[str, Any] = json.loads(text)
                        return answer
            except aiohttp.ClientError:
                pass
            assert time.monotonic() < give_up_at, "nobody answered"
            await asyncio.sleep(0.05)


async def code_mailed(installation: Installation, *, codes: int) -> str:
    """The newest code, once mails with so many different `codes` have come."""
    give_up_at = time.monotonic() + WAIT_SECONDS
    while len(mailed := list(dict.fromkeys(mail["otp"] for mail in installation.mails()))) < codes:
        assert time.monotonic() < give_up_at, "no mail came"
        await asyncio.sleep(0.05)
    return str(mailed[-1])


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_first_login_survives_a_kill(installation: Installation, moment: str) -> None:
    # Who never heard of the otp_id has to ask again: the one case of a second code.
    codes = 2 if moment == "after:code" else 1
    async with receiving(always(**PROD)) as receiver:
        installation.admit("app", "create", "notes", "--owner", "owner@example.com")
        installation.admit("policy", "set", "notes", "webhook", receiver.url, "--timeout", "1s")
        url = f"{installation.url}/notes/token"
        async with kept_alive(installation, moment) as exits:
            step_1 = {"grant_type": "otp", "email": "ada@example.com", "scopes": ["ACCESS_DB"]}
            started = await ask_until_answered(url, step_1)
            otp = await code_mailed(installation, codes=codes)
            step_2 = step_1 | {"otp": otp, "otp_id": started["otp_id"], "public_key": public_key()}
            tokens = await ask_until_answered(url, step_2)
        assert exits == [-9], "the server died once, and where it was told to"

    assert tokens["type"] == "tokens"
    assert tokens["userType"] == "prod"
    assert tokens["data"] == PROD["userData"]
    for table in (users, identities, sessions, admissions):
        assert installation.count(table) == 1, table.name
    assert installation.count(events) == EVENTS_OF_AN_ENROLLMENT
    assert len({call.headers["webhook-id"] for call in receiver.calls}) == 1
    assert len({mail["otp"] for mail in installation.mails()}) == codes
    assert installation.count(jobs) == codes


def public_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode().strip()
