"""The certified `oidc-provider` of npm on loopback, with the people, clients and keys that a test wants."""

import base64
import hashlib
import itertools
import json
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import aiohttp
from yarl import URL

from tests.dexie_cloud.command import node

SCRIPT = Path(__file__).with_suffix(".mjs")
PACKAGES = Path(__file__).parents[1] / "examples/identity-provider/node_modules"
SUB = "p-1815"
ADA: dict[str, Any] = {
    "sub": SUB,
    "name": "Ada Lovelace",
    "email": "ada@example.com",
    "email_verified": True,
    "groups": ["engineering", "chess"],
    "org": {"name": "Analytical Engines", "department": "Numbers"},
}
REDIRECTS_MAX = 10
STOP_SECONDS_MAX = 20

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Client:
    """What an operator is given when they register an app at a provider."""

    client_id: str
    client_secret: str = field(repr=False)
    callback: str


@dataclass(frozen=True)
class WayBack:
    """What a browser brings from the provider: a GET of `url`, or a POST of `form` to it."""

    url: str
    form: dict[str, str] | None = None

    @property
    def says(self) -> dict[str, str]:
        """code, state and iss, or an error, wherever they stand."""
        return self.form or dict(parse_qsl(urlsplit(self.url).query))


@dataclass
class IdentityProvider:
    """A provider that runs at `issuer`, and knows Ada."""

    issuer: str
    process: "subprocess.Popen[str]"

    def knows(self, sub: str = SUB, **claims: Any) -> str:
        """Somebody: Ada, with some claims changed, or whoever has that `sub`. Returns the `sub`."""
        person = {"sub": sub, **(ADA if sub == SUB else {"name": sub.title()}), **claims}
        self._order("person", person)
        return sub

    def register(self, *callbacks: str, **metadata: object) -> Client:
        """A client that may be returned to at `callbacks`; `metadata` in the words of RFC 7591."""
        public = metadata.get("token_endpoint_auth_method") == "none"
        secret = "" if public else secrets.token_urlsafe(32)
        client = Client(f"client-{next(_numbers)}", secret, callbacks[0])
        told = {"client_id": client.client_id, "client_name": "Notes", "redirect_uris": callbacks}
        self._order("client", told | ({"client_secret": secret} if secret else {}) | metadata)
        return client

    def rotate_keys(self, *, keep: bool = True) -> list[str]:
        """New keys sign from now on. The ids of all published ones; `keep` leaves the old among them."""
        return self._order("rotate", {"keep": keep})

    def be_lean(self, wanted: bool = True) -> None:
        """Whether ID tokens say no more than who signed in, so that the email is at the userinfo endpoint."""
        self._order("lean", wanted)

    def begin_anew(self) -> None:
        """Knows Ada again, and nobody else. Clients and keys stay."""
        self._order("forget", None)
        self._order("lean", False)
        self.knows()

    async def log_in(self, url: str, sub: str = SUB) -> WayBack:
        """Goes to the authorization request at `url` with a fresh browser and signs in as `sub`."""
        return await self._choose(url, sub)

    async def cancel(self, url: str) -> WayBack:
        """Goes there and signs in as nobody."""
        return await self._choose(url, "")

    async def id_token(self, client: Client, sub: str = SUB, **asked: str) -> str:
        """The ID token that another program of the client's has for somebody; `asked`, such as a nonce."""
        verifier = secrets.token_urlsafe(32)
        digest = hashlib.sha256(verifier.encode()).digest()
        question = {
            "client_id": client.client_id,
            "redirect_uri": client.callback,
            "response_type": "code",
            "scope": "openid email profile",
            "state": "-",
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        back = await self.log_in(f"{self.issuer}/auth?{urlencode(question | asked)}", sub)
        given = {
            "grant_type": "authorization_code",
            "client_id": client.client_id,
            "code": back.says["code"],
            "redirect_uri": client.callback,
            "code_verifier": verifier,
        }
        secret = aiohttp.encode_basic_auth(client.client_id, client.client_secret)
        headers = {"Authorization": secret} if client.client_secret else {}
        async with (
            aiohttp.ClientSession() as program,
            program.post(f"{self.issuer}/token", data=given, headers=headers) as answer,
        ):
            told = await answer.json()
        assert answer.status == 200, told
        return str(told["id_token"])

    async def _choose(self, url: str, sub: str) -> WayBack:
        jar = aiohttp.CookieJar(unsafe=True)  # unsafe: cookies of an address that is no name
        async with aiohttp.ClientSession(cookie_jar=jar) as browser:
            page = await self._follow(browser, "GET", url)
            assert isinstance(page, _Page), page
            assert f'value="{sub}"' in page.text, page.text
            back = await self._follow(browser, "POST", page.url, data={"person": sub})
            return back if isinstance(back, WayBack) else back.submitted()

    async def _follow(self, browser: aiohttp.ClientSession, method: str, url: str, **given: Any) -> Any:
        """Follows redirects as long as they lead to pages of the provider."""
        for _ in range(REDIRECTS_MAX):
            target = URL(url, encoded=True)
            async with browser.request(method, target, allow_redirects=False, **given) as answer:
                if answer.status not in (302, 303):
                    return _Page(url, answer.status, await answer.text())
                url, method, given = urljoin(url, answer.headers["Location"]), "GET", {}
            if not url.startswith(f"{self.issuer}/"):
                return WayBack(url)
        raise AssertionError(f"redirected {REDIRECTS_MAX} times, last to {url}")

    def _order(self, order: str, value: object) -> list[str]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([order, value]) + "\n")
        self.process.stdin.flush()
        answer: list[str] = json.loads(self.process.stdout.readline())
        return answer


@dataclass(frozen=True)
class _Page:
    url: str
    status: int
    text: str

    def submitted(self) -> WayBack:
        """What its form would send, which a browser submits by itself (OAuth 2.0 Form Post Response Mode)."""
        action = re.search(r'<form method="post" action="([^"]+)"', self.text)
        assert action, self.text
        fields = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', self.text)
        return WayBack(unescape(action[1]), {name: unescape(value) for name, value in fields})


@contextmanager
def running() -> Iterator[IdentityProvider]:
    """A provider on a free port, until the end of the block."""
    assert PACKAGES.exists(), "npm's oidc-provider is missing. Run: make test"
    process = subprocess.Popen(
        [node(), str(SCRIPT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"it did not start; `node {SCRIPT}` says why"
        provider = IdentityProvider(json.loads(line), process)
        provider.begin_anew()
        yield provider
    finally:
        with process:
            process.communicate(timeout=STOP_SECONDS_MAX)  # it ends when its input does
