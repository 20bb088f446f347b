"""docs/guides/data.md: its commands are typed in order, beside a device that syncs as the addon does."""

import asyncio
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from admit.data import object_writing, table_settings, values
from admit.web import large_bodies, sync_api
from tests.commands import Runner
from tests.contract.command_line import CommandLine
from tests.installation import Installation
from tests.structure.source import page

GUIDE = page("guides/data.md")
ADA = "ada@example.com"
SERVER = "http://localhost:8080"
LINE = r"^((?:admit|curl|export) [^\n]+)$"
PUBLIC = "rlm-public"
ASK_FIRST = {("object", "delete"), ("event", "restored"), ("user", "delete")}
SCHEMA = {"notes": {"generatedGlobalId": True, "idPrefix": "nts", "primaryKey": "@id", "markedForSync": True}}


@pytest.fixture
def installation(database_url: str, tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path, database_url)
    with installation.serving():
        yield installation


@pytest.fixture
def admit(installation: Installation, runner: Runner) -> CommandLine:
    return CommandLine(runner, installation.folder, installation.environment)


class Reader:
    """Whoever follows the guide, line by line. `known`: what stands for a word of the guide here."""

    def __init__(self, installation: Installation, admit: CommandLine) -> None:
        self.known = {SERVER: installation.url}
        self.admit = admit
        self._exported: dict[str, str] = {}
        self._lines = iter(re.findall(LINE, "\n".join(re.findall(r"```sh\n(.*?)```", GUIDE, re.S)), re.M))

    async def follow(self, until: str) -> Any:
        """Types the lines up to the one that begins with `until`; returns what came of it."""
        for line in self._lines:
            came = await self.type(line)
            if line.startswith(until):
                return came
        raise AssertionError(f"the guide has no (further) {until!r}")

    async def type(self, line: str) -> Any:
        for word, here in self.known.items():
            line = line.replace(word, here)
        first, *words = shlex.split(line)
        if first == "admit" and words == ["serve"]:
            return None
        if first == "admit":
            words = [word for word in words if word != "--json"]
            agreed = ["--yes"] if tuple(words[:2]) in ASK_FIRST else []
            return await asyncio.to_thread(self.admit.json, *words, *agreed)
        if first == "export":
            return self._exported.update(dict(word.split("=", 1) for word in words))
        return await fetched([self._spelled_out(word) for word in words])

    def is_through(self) -> bool:
        return next(self._lines, None) is None

    def _spelled_out(self, word: str) -> str:
        for name, value in self._exported.items():
            word = word.replace(f"${name}", value)
        return word


async def fetched(words: list[str]) -> tuple[int, Any]:
    """What `curl -sS URL` gets, with its options."""
    assert words.pop(0) == "-sS"
    method, headers, data, url = "", dict[str, str](), None, ""
    while words:
        match word := words.pop(0):
            case "-X":
                method = words.pop(0)
            case "-H":
                headers |= dict([words.pop(0).split(": ", 1)])
            case "-u":
                user, _, password = words.pop(0).partition(":")
                headers["Authorization"] = aiohttp.encode_basic_auth(user, password)
            case "-d":
                data = words.pop(0)
            case _:
                url = word
    method = method or ("GET" if data is None else "POST")
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, url, data=data, headers=headers) as answer,
    ):
        return answer.status, await answer.json(content_type=None)


class Device:
    """Ada's page, as far as the server can tell."""

    def __init__(self, url: str, token: str) -> None:
        self.notes: dict[str, Any] = {}
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/tson"}
        self._pulled: dict[str, Any] = {}
        self._number = 0

    async def sync(self, *muts: dict[str, Any], table: str = "notes", y: Any = ()) -> tuple[int, Any]:
        """Pushes and pulls, and does with the answer what the addon does."""
        body = {
            "v": 3, "clientIdentity": "adas-device-0001", "schema": SCHEMA, "baseRevs": [], "dxcv": "4.4.14",
            "changes": [{"table": table, "muts": [self._mutation(each) for each in muts]}] if muts else [],
            "y": list(y), **self._pulled,
        }  # fmt: skip
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{self._url}/sync", data=json.dumps(body), headers=self._headers) as answer,
        ):
            told = await answer.json(content_type=None)
            if answer.status == 200:
                self._take(told)
            return answer.status, told

    def _mutation(self, given: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        common = {"ts": 1, "opNo": 1, "rev": self._number, "txid": f"tx{self._number:014d}", "userId": ADA}
        return common | given

    def _take(self, told: Any) -> None:
        names = "serverRevision", "realms", "inviteRealms"
        self._pulled = {"lastPull": {name: told[name] for name in names}}
        for change in told["changes"]:
            for mut in change["muts"]:
                for number, key in enumerate(mut["keys"]):
                    self.notes.pop(key, None)
                    if mut["type"] == "upsert":
                        self.notes[key] = mut["values"][number]


def insert(key: str, **value: object) -> dict[str, Any]:
    return {"type": "insert", "keys": [key], "values": [{"id": key, **value, "owner": ADA, "realmId": ADA}]}


async def test_guide_leads_from_an_empty_folder_to_objects_that_are_kept(
    installation: Installation, admit: CommandLine
) -> None:
    reader, notes = Reader(installation, admit), f"{installation.url}/notes"

    # 1: an app, and two tokens
    client = await reader.follow("admit client create")
    reader.known |= {"cli_…": client["client_id"], "acs_…": client["client_secret"]}
    for name in ("PROGRAM", "ADA"):
        _, tokens = await reader.follow("curl -sS http://localhost:8080/notes/token")
        reader.known["eyJ…"] = tokens["accessToken"]
        await reader.follow(f"export {name}")
    page = Device(notes, reader.known["eyJ…"])
    assert (await page.sync())[0] == 200
    assert (await page.sync(insert("nts1", title="Ada's own")))[0] == 200

    # 2: what everybody may read
    assert (await reader.follow("curl -sS http://localhost:8080/notes/public/notes -H"))[0] == 200
    status, public = await reader.follow("curl -sS http://localhost:8080/notes/public/notes")
    assert (status, [each["id"] for each in public]) == (200, ["welcome"])
    await page.sync()
    assert page.notes["welcome"]["title"] == "Welcome"

    # 4: programs, one by one and many at once
    assert (await reader.follow("curl -sS http://localhost:8080/notes/my/notes -H"))[0] == 200
    assert (await reader.follow("curl -sS http://localhost:8080/notes/my/notes/milk"))[1]["title"] == "Milk"
    _, found = await reader.follow('curl -sS "http://localhost:8080/notes/all/notes')
    assert [each["id"] for each in found] == ["milk"]
    await page.sync()
    assert page.notes["milk"]["done"] is False
    assert (await reader.follow("curl -sS -X DELETE"))[0] == 200
    await page.sync()
    assert "milk" not in page.notes
    status, done = await reader.follow("curl -sS http://localhost:8080/api/v4/notes/batch.json")
    assert status == 200, done
    await page.sync()
    assert page.notes["bread"]["title"] == "Bread"
    await reader.follow("admit table set")
    tables = {each["name"]: each for each in await reader.follow("admit table list")}
    assert tables["settings"]["primary_key"] == "key"
    assert tables["notes"]["id_prefix"] == "nts"  # as the page has told

    # 5: an operator
    listed = await reader.follow("admit object list")
    assert {each["key"] for each in listed} == {"welcome", "nts1", "bread"}
    await reader.follow("admit object get")
    await reader.follow("admit object put")
    await page.sync()
    assert page.notes["eggs"]["title"] == "Eggs"
    await reader.follow("admit object delete")
    await page.sync()
    assert "eggs" not in page.notes

    # 6: who wants to hear of it
    assert (await reader.follow("admit endpoint create"))["id"].startswith("ep_")

    # 9, 10: time goes back, and somebody goes
    await reader.follow("admit event restored")
    await page.sync()
    assert page.notes.keys() == {"welcome", "nts1", "bread"}
    await reader.follow("admit user delete")
    assert [each["key"] for each in await reader.follow("admit object list")] == ["welcome"]
    assert (await page.sync())[0] in (401, 403)
    assert reader.is_through()


async def test_what_is_not_supported_is_answered_as_the_guide_says(
    installation: Installation, admit: CommandLine
) -> None:
    reader, notes = Reader(installation, admit), f"{installation.url}/notes"
    client = await reader.follow("admit client create")
    reader.known |= {"cli_…": client["client_id"], "acs_…": client["client_secret"]}
    await reader.follow("curl -sS http://localhost:8080/notes/token")
    _, tokens = await reader.follow("curl -sS http://localhost:8080/notes/token")
    page = Device(notes, tokens["accessToken"])
    await page.sync()

    realm = {"type": "insert", "keys": ["rlm1"], "values": [{"realmId": "rlm1", "name": "Us", "owner": ADA}]}
    elsewhere = {
        "type": "insert",
        "keys": ["nts2"],
        "values": [{"id": "nts2", "owner": ADA, "realmId": "rlm1"}],
    }
    everybody = {
        "type": "insert",
        "keys": ["nts3"],
        "values": [{"id": "nts3", "owner": ADA, "realmId": PUBLIC}],
    }
    refused: list[tuple[str, str, dict[str, Any]]] = [
        ("realms", "rlm1", realm),
        ("notes", "nts2", elsewhere),
        ("notes", "nts3", everybody),
    ]
    for table, key, mutation in refused:
        page.notes[key] = {}  # as the addon has it, until it is taken back
        status, told = await page.sync(mutation, table=table)
        assert (status, len(told["rejections"])) == (200, 1), told
        assert page.notes == {}

    update = {"type": "u-c", "table": "notes", "prop": "text", "k": "nts1", "u": "", "i": 1}
    status, told = await page.sync(insert("nts1", title="Kept there"), y=[update])
    assert status == 501
    async with aiohttp.ClientSession() as http, http.put(f"{notes}/blob/some") as answer:
        assert answer.status == 404
    status, told = await fetched(
        ["-sS", f"{notes}/all/realms", "-H", f"Authorization: Bearer {tokens['accessToken']}"]
    )
    assert status in (403, 501), told


def test_limits_of_the_guide_are_those_of_the_code() -> None:
    told = [
        (values.OBJECT_BYTES_MAX, "| an object | 1 MB,"),
        (values.NESTING_MAX, "64 levels deep |"),
        (values.KEY_CHARACTERS_MAX, "| a key | 500 characters;"),
        (values.TABLE_CHARACTERS_MAX, "| a table's name | 100 characters,"),
        (table_settings.TABLES_MAX, "500 tables in an app |"),
        (sync_api.SYNC_BYTES_MAX, "| a push | 16 MB;"),
        (large_bodies.FREE_BYTES, "| requests over 1 MB at once |"),
        (large_bodies.TOTAL_BYTES, "64 MB in a process,"),
        (large_bodies.SHARE_BYTES, "32 MB of one network;"),
        (sync_api.ANONYMOUS_BYTES_MAX, "| a request of a stranger | 256 kB |"),
        (object_writing.OBJECTS_MAX, "| REST, batch | 1,000 objects at once |"),
    ]
    units = {"MB": 1_000_000, "kB": 1_024, "": 1}
    for limit, words in told:
        assert words in GUIDE
        found = re.search(r"(\d[\d,]*) ?(MB|kB|)", words)
        assert found is not None
        assert limit == int(found[1].replace(",", "")) * units[found[2]], words
