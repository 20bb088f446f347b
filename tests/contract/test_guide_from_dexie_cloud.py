"""docs/guides/from-dexie-cloud.md, step by step; another installation stands for the old home."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.contract.signin_desk import device
from tests.dexie_cloud.command import ROOT, DexieCloud
from tests.installation import Installation

OWNER = "you@example.com"
ADA = "ada@example.com"
SCRIPT = ROOT / "examples/from-dexie-cloud/fetch_users.py"
MANY = 1_010
PEOPLE = MANY + 2


@pytest.fixture
def installations(database_url: str, tmp_path: Path) -> Iterator[tuple[Installation, Installation]]:
    """The old home, and the new one on each kind of database, both served."""
    old_folder, new_folder = tmp_path / "old", tmp_path / "new"
    for folder in (old_folder, new_folder):
        folder.mkdir()
    old = Installation(old_folder, f"sqlite:///{old_folder}/old.db")
    new = Installation(new_folder, database_url)
    old.admit("app", "create", "z0000000", "--owner", OWNER)
    with ExitStack() as stack:
        for each in (old, new):
            stack.enter_context(each.serving())
        yield old, new


async def test_whoever_was_a_user_there_signs_in_here_as_the_same(
    installations: tuple[Installation, Installation], tmp_path: Path
) -> None:
    old, new = installations
    folder = tmp_path / "project"
    folder.mkdir()
    there = DexieCloud(folder, f"{old.url}/z0000000")
    await _live_there(old, there)

    new.admit("app", "create", "notes", "--owner", OWNER)
    new.admit("policy", "set", "notes", "reject")
    fetched = _fetch_users(there)
    assert new.admit("user", "import", "notes", fetched, "--dry-run")["created"] == PEOPLE
    assert new.admit("user", "import", "notes", fetched)["created"] == PEOPLE
    assert "https://app.example.com" in await there("whitelist")
    await there("export", "--demoUsers", "demo.json")
    await there("export", "notes.zip", "--table", "notes")
    await there("templates", "pull")

    here = DexieCloud(folder, f"{new.url}/notes")
    await here.connect(OWNER, lambda: _code_for(new, OWNER))
    await here("whitelist", "https://app.example.com")
    await here("import", "demo.json")
    await here("import", "notes.zip")
    assert "Number of updated templates: 1" in await here("templates", "push")
    await here("templates", "test-send", "otp")
    assert new.mails()[-1]["subject"] == "Welcome to z0000000"  # as the test data of the folder says

    tokens = await _sign_in(new, ADA)
    assert (tokens["claims"]["sub"], tokens["userType"], tokens["data"]) == (ADA, "prod", {"plan": "gold"})
    assert new.mails()[-1]["subject"] == "Welcome to notes"
    shown = new.admit("user", "show", "notes", ADA)
    assert shown["valid_until"] == 1_893_456_000_000
    demo = new.admit("user", "show", "notes", "alice@demo.local")
    assert demo["type"] == "demo"
    assert new.admit("object", "count", "notes", "notes") == {"objects": 3}
    note = new.admit("object", "get", "notes", "notes", "n1")
    assert (note["realm_id"], note["value"]["text"]) == (ADA, "Tea")


async def _live_there(old: Installation, there: DexieCloud) -> None:
    """What an app has gathered in its time."""
    lived = [{"userId": f"user{number:04}@example.com", "type": "eval"} for number in range(MANY)]
    ada = {"userId": ADA, "type": "prod", "validUntil": "2030-01-01T00:00:00Z", "data": {"plan": "gold"}}
    people = there.folder / "people.jsonl"
    people.write_text("".join(json.dumps(each) + "\n" for each in [*lived, ada]))
    old.admit("user", "import", "z0000000", str(people))
    await there.connect(OWNER, lambda: _code_for(old, OWNER))
    await there("whitelist", "https://app.example.com")
    rows = {ADA: {"n1": {"text": "Tea"}}, "alice@demo.local": {"n2": {}}, "rlm-public": {"n3": {}}}
    told = {
        "demoUsers": {"alice@demo.local": {}},
        "data": {realm: {"notes": by_key} for realm, by_key in rows.items()}
        | {ADA: {"notes": rows[ADA], "old": {"o": {}}}},
    }
    (there.folder / "importfile.json").write_text(json.dumps(told))
    await there("import", "importfile.json")
    await there("templates", "pull")
    subject = there.folder / "dexie-cloud/email-templates/otp-subject.handlebars"
    subject.write_text("{{#if otp}}Welcome to {{originName}}{{/if}}")
    await there("templates", "push")


def _fetch_users(there: DexieCloud) -> str:
    """Runs the script of the guide, and returns the path of what it writes."""
    subprocess.run([sys.executable, SCRIPT, there.database_url], cwd=there.folder, check=True)
    return str(there.folder / "users.jsonl")


async def _code_for(installation: Installation, email: str) -> str:
    async with asyncio.timeout(20):
        while not (codes := [mail["otp"] for mail in installation.mails() if mail["to"] == email]):
            await asyncio.sleep(0.05)  # another process writes the file
    return str(codes[-1])


async def _sign_in(installation: Installation, email: str) -> dict[str, Any]:
    """What the addon gets for the code that was mailed."""
    url = f"{installation.url}/notes/token"
    asked = {"grant_type": "otp", "email": email, "scopes": ["ACCESS_DB"]}
    async with aiohttp.ClientSession() as http:
        async with http.post(url, json=asked) as sent:
            otp_id = (await sent.json())["otp_id"]
        otp = await _code_for(installation, email)
        key = device().public_key.pem
        async with http.post(url, json=asked | {"otp_id": otp_id, "otp": otp, "public_key": key}) as answer:
            tokens: dict[str, Any] = await answer.json()
            return tokens
