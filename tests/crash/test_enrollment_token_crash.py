"""A server that is killed while a device enrolls by a token: asked again, it gives the same session."""

from pathlib import Path

import pytest

from admit.accounts.tables import devices, enrollment_token_uses, sessions
from admit.events.log import events
from tests.crash.test_first_login_crash import ask_until_answered, kept_alive, public_key
from tests.installation import Installation

ADA = "ada@example.com"
EVENTS = 3
"""user.enrolled of who was created, device.enrolled, session.started."""


@pytest.fixture
def installation(database_url: str, tmp_path: Path) -> Installation:
    return Installation(tmp_path, database_url)


@pytest.mark.parametrize("moment", ["before:redeem", "after:redeem"])
async def test_a_redemption_survives_a_kill(installation: Installation, moment: str) -> None:
    installation.admit("app", "create", "notes", "--owner", "owner@example.com")
    people = installation.folder / "people.csv"
    people.write_text(f"userId,type\n{ADA},prod\n")
    installation.admit("user", "import", "notes", str(people))
    issued = installation.admit("enrollment", "create", "notes", ADA)
    body = {
        "grant_type": "urn:admit:enrollment-token",
        "enrollment_token": issued["token"],
        "public_key": public_key(),
    }
    async with kept_alive(installation, moment) as exits:
        answers = [await ask_until_answered(f"{installation.url}/notes/token", body) for _ in range(2)]
    assert exits == [-9], "the server died once, and where it was told to"
    assert answers[0]["claims"]["sid"] == answers[1]["claims"]["sid"]
    for table in (sessions, devices, enrollment_token_uses):
        assert installation.count(table) == 1, table.name
    assert installation.count(events) == EVENTS
