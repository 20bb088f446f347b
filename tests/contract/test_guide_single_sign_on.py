"""docs/guides/single-sign-on.md: its commands are typed one after the other, with npm's oidc-provider."""

import base64
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import aiohttp
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from yarl import URL

from tests.commands import Runner
from tests.contract.command_line import CommandLine
from tests.contract.signin_desk import device
from tests.identity_provider import SUB, IdentityProvider
from tests.installation import Installation
from tests.receiver import PROD, always, receiving
from tests.structure.source import PACKAGE, page

GUIDE = page("guides/single-sign-on.md")
ORIGIN = "https://app.example.com"
APPLE_KEY = "AuthKey_FGHIJ67890.p8"
ADA, BOB, CARL = "ada@example.com", "bob@example.com", "carl@example.com"


@pytest.fixture
def installation(sqlite_url: str, tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path, sqlite_url)
    with installation.serving():
        yield installation


@pytest.fixture
def admit(installation: Installation, runner: Runner) -> CommandLine:
    return CommandLine(runner, installation.folder, installation.environment)


class Reader:
    """Whoever follows the guide. `known`: what stands for a word of the guide here."""

    def __init__(self, admit: CommandLine, known: dict[str, str]) -> None:
        self._admit = admit
        self._known = known
        self._lines = iter(re.findall(r"^admit .+$", GUIDE, re.MULTILINE))

    def follow(self, until: str) -> Any:
        """Types the lines up to one that begins with `until`; returns what came of it."""
        for line in self._lines:
            answer = self._type(line)
            if line.startswith(until):
                return answer
        raise AssertionError(f"the guide has no (further) {until!r}")

    def rest(self) -> list[str]:
        return list(self._lines)

    def _type(self, line: str) -> Any:
        words = [self._known.get(word, word) for word in shlex.split(line)[1:]]
        if words[:2] == ["provider", "add"] and "--secret-file" not in words:
            words += ["--secret-file", "secret.txt"]  # what the guide has people type when they are asked
        return self._admit.json(*words)


async def test_guide_leads_from_a_provider_to_people_who_come_by_it(
    installation: Installation, admit: CommandLine, identity_provider: IdentityProvider
) -> None:
    callback = f"{installation.url}/notes/oauth/callback/company"
    client = identity_provider.register(callback)
    desktop = identity_provider.register("http://127.0.0.1:7000/back")
    (installation.folder / "secret.txt").write_text(client.client_secret)
    (installation.folder / APPLE_KEY).write_bytes(a_key())
    admit.done("app", "create", "notes", "--owner", "owner@example.com")
    admit.done("origin", "add", "notes", ORIGIN)
    async with receiving(always(**PROD)) as receiver:
        known = {"https://id.example.com": identity_provider.issuer, "notes-web": client.client_id}
        known |= {"https://crm.example.com/decide": receiver.url, "notes-desktop": desktop.client_id}
        reader = Reader(admit, known)

        assert reader.follow("admit provider add notes oidc")["callback_url"] == callback
        examined = reader.follow("admit provider test notes company")
        assert examined["ok"], examined
        assert (await sign_in(installation, identity_provider))["claims"]["sub"] == ADA
        reader.follow("admit setting set notes --mailed-codes off")
        buttons = await asked(installation, "/notes/auth-providers")
        assert (buttons["otpEnabled"], len(buttons["providers"])) == (False, 1)

        reader.follow("admit provider add notes oauth2")
        added = {each["name"]: each["type"] for each in admit.json("provider", "list", "notes")}
        named = {"company": "oidc", "ghe": "github", "forum": "oauth2"}
        assert added == named | {type: type for type in ("google", "microsoft", "github", "apple")}

        reader.follow("admit policy set notes webhook")
        identity_provider.knows("bob", email=BOB, email_verified=True, groups=["a"], org={"department": "b"})
        told = await sign_in(installation, identity_provider, "bob")
        assert (told["claims"]["sub"], told["data"]) == (BOB, PROD["userData"])
        [question] = [call.json for call in receiver.calls]
        shown = json.loads(re.findall(r"```json\n(.+?)```", GUIDE, re.DOTALL)[0])
        assert members(question) == members(shown)
        assert question["claims"] == {"groups": ["a"], "department": "b"}

        reader.follow("admit policy set notes reject --for github")
        assert reader.follow("admit app seats")["limit"] == 50
        reader.follow("admit policy unset")
        assert admit.json("policy", "show", "notes")["policies"].keys() == {"company"}
        reader.follow("admit provider set notes company --audience")
        identity_provider.knows("carl", email=CARL, email_verified=True)
        exchanged = await type_curl(installation, await identity_provider.id_token(desktop, "carl"))
        assert exchanged["claims"]["sub"] == CARL
        for member in re.findall(r"`(\w+)`", GUIDE.split("has what the RFC wants beside it")[1])[:4]:
            assert exchanged[member]

        reader.follow("admit setting set notes --sso-any-network on")
        assert reader.rest() == []
    ledger = {each["user_id"]: each["way_in"] for each in admit.json("admission", "list", "notes")}
    assert ledger == {ADA: "company", BOB: "company", CARL: "company"}


def test_codes_of_the_guide_are_those_of_errors() -> None:
    explained = re.findall(r"^\| (`\w+`.*?) \|", GUIDE.split("## 8.")[1], re.MULTILINE)
    codes = {code for cell in explained for code in re.findall(r"`(\w+)`", cell)}
    documented = set(re.findall(r"^\| `(\w+)` \|", page("errors.md"), re.MULTILINE))
    logged = set(re.findall(r'"([a-z_]+)"', (PACKAGE / "web/oauth_api.py").read_text()))
    assert len(codes) > 15
    assert codes <= documented | logged


async def sign_in(installation: Installation, provider: IdentityProvider, sub: str = SUB) -> Any:
    """Goes from a page of the app to the provider and back, as a browser does, and to the tokens."""
    app = f"{installation.url}/notes"
    async with aiohttp.ClientSession() as browser:
        begin = f"{app}/oauth/login/company?redirect_uri={quote(ORIGIN + '/', safe='')}"
        async with browser.get(begin, allow_redirects=False) as away:
            back = await provider.log_in(away.headers["Location"], sub)
        async with browser.get(URL(back.url, encoded=True), allow_redirects=False) as landing:
            [mark] = parse_qs(urlsplit(landing.headers["Location"]).query)["dxc-auth"]
        code = json.loads(base64.urlsafe_b64decode(mark + "=="))["code"]
        asked = {"grant_type": "authorization_code", "code": code, "scopes": ["ACCESS_DB"]}
        asked |= {"public_key": device().public_key.pem}
        async with browser.post(f"{app}/token", json=asked, headers={"Origin": ORIGIN}) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()


async def asked(installation: Installation, path: str) -> Any:
    async with aiohttp.ClientSession() as http, http.get(installation.url + path) as answer:
        return await answer.json()


async def type_curl(installation: Installation, id_token: str) -> Any:
    """What the guide's curl is answered."""
    [line] = re.findall(r"^curl .+?[^\\]$", GUIDE, re.MULTILINE | re.DOTALL)
    line = line.replace("\\\n", "").replace("https://login.example.com", installation.url)
    url, *options = shlex.split(line.replace("$ID_TOKEN", id_token))[1:]
    fields = [tuple(each.split("=", 1)) for each in options if each != "-d"]
    async with aiohttp.ClientSession() as http, http.post(url, data=fields) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


def members(value: Any) -> Any:
    """The names in it, at every depth but that of claims, which are the operator's."""
    if not isinstance(value, dict):
        return None
    return {name: members(each) for name, each in value.items() if name != "claims"}


def a_key() -> bytes:
    """What Apple lets one download."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
