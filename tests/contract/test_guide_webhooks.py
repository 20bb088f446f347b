"""docs/guides/webhooks.md: its commands are typed one after the other, and the example receiver is told."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from admit.cli.connection import target
from admit.outbound import signing
from tests.commands import Runner
from tests.contract.command_line import CommandLine
from tests.contract.signin_desk import device
from tests.contract.test_receivers import running
from tests.installation import Installation
from tests.structure.source import page

NEVER_END = ("admit listen",)
BEFORE, ADA = "before@example.com", "ada@example.com"


@pytest.fixture
def installation(database_url: str, tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path, database_url)
    with installation.serving():
        yield installation


@pytest.fixture
def admit(installation: Installation, runner: Runner) -> CommandLine:
    return CommandLine(runner, installation.folder, installation.environment)


async def test_guide_leads_from_nothing_to_a_verified_event_and_on(
    installation: Installation, admit: CommandLine
) -> None:
    typed = iter(re.findall(r"^admit .+$", page("guides/webhooks.md"), re.MULTILINE))
    secret = signing.new_secret()
    admit.done("app", "create", "notes", "--owner", "owner@example.com")
    admit.post(target("apps", "notes", "users"), [{"userId": BEFORE, "type": "prod"}])
    async with running("python", secret) as receiver:
        ids: dict[str, str] = {"http://127.0.0.1:9100/": receiver.url}

        def follow(until: str) -> Any:
            """Types the commands of the guide up to one that begins with `until`; returns its answer."""
            for line in typed:
                if line.startswith(NEVER_END):
                    continue
                words = [ids.get(word, word) for word in line.split()[1:]]
                answer = admit.json(*words, *(["--secret", secret] if receiver.url in words else []))
                if line.startswith(until):
                    return answer
            raise AssertionError(f"the guide has no (further) {until!r}")

        async def told(*lines: str) -> None:
            assert sorted([await receiver.line() for _ in lines]) == sorted(lines)

        ids["ep_…"] = follow("admit endpoint create")["id"]
        assert follow("admit endpoint test")["delivered"]
        await told(f"user.enrolled {ADA}")

        await sign_in(installation, ADA)
        enrolled = [f"user.enrolled {ADA}", f"device.enrolled {ADA}"]
        assert [await receiver.line() for _ in enrolled] == enrolled
        assert {each["type"] for each in follow("admit event list")} >= {"user.enrolled", "device.enrolled"}
        deliveries = follow("admit delivery list")
        assert len(deliveries) == 2
        ids["dlv_…"] = deliveries[0]["id"]
        assert follow("admit delivery show")["state"] == "delivered"

        assert follow("admit endpoint pause")["state"] == "paused"
        assert follow("admit endpoint resume")["state"] == "enabled"
        follow("admit endpoint replay")
        await told(f"user.enrolled {BEFORE}", *(f"{line} again" for line in enrolled))
        follow("admit endpoint backfill")
        await told(f"user.enrolled {BEFORE}")
        assert {each["kind"] for each in follow("admit endpoint campaigns")} >= {"replay", "backfill"}
        assert follow("admit endpoint rotate")["secret"] != secret
        assert len(follow("admit endpoint list")) == 2
        follow("admit delivery retry")
        await told(f"{deliveries[0]['type']} {ADA} again")  # both are of one moment
        follow("admit endpoint retry-failed")
    assert list(typed) == []


async def sign_in(installation: Installation, email: str) -> None:
    """Enrolls a person on a device, by a mailed code."""
    url = f"{installation.url}/notes/token"
    asked = {"grant_type": "otp", "email": email, "scopes": ["ACCESS_DB"]}
    async with aiohttp.ClientSession() as http:
        async with http.post(url, json=asked) as sent:
            otp_id = (await sent.json())["otp_id"]
        async with asyncio.timeout(20):
            while not installation.mails():
                await asyncio.sleep(0.05)  # another process writes the file
        otp, key = installation.mails()[-1]["otp"], device().public_key.pem
        async with http.post(url, json=asked | {"otp_id": otp_id, "otp": otp, "public_key": key}) as answer:
            assert answer.status == 200, await answer.text()
