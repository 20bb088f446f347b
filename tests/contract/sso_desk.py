"""Single sign-on as a browser goes through it: a page of the app, our doors, a provider, and back."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import aiohttp
import msgspec
from msgspec.structs import replace
from yarl import URL

from admit.accounts import app_providers, apps
from admit.accounts.apps import App
from admit.accounts.providers import Provider
from admit.storage.transaction import Transaction
from tests.contract.served import ORIGIN, Answered, Served, serving
from tests.contract.signin_desk import Device, device
from tests.hostile_provider import CLIENT_ID, HostileProvider, hostile_provider

PAGE = "https://app.example.com/notes/7?tab=2#top"
HOME = "203.0.113.7"
ELSEWHERE = "198.51.100.9"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"


class Browser:
    """A browser with its cookies, at a network address. It follows a redirect when it is told to."""

    def __init__(self, served: Served, address: str = HOME) -> None:
        self._served = served
        self.address = address
        self.cookies: dict[str, str] = {}
        self.set_cookies: list[str] = []

    async def get(self, url: str, **headers: str) -> Answered:
        return await self._ask("GET", url, headers)

    async def post(self, url: str, form: dict[str, str], *, with_cookies: bool = True) -> Answered:
        """A form that a page of elsewhere sends: Lax cookies stay at home."""
        return await self._ask("POST", url, {}, data=form, with_cookies=with_cookies)

    async def _ask(
        self, method: str, url: str, headers: dict[str, str], *, with_cookies: bool = True, **given: Any
    ) -> Answered:
        parts = urlsplit(url)
        sent = {"X-Forwarded-For": self.address, "Host": parts.netloc or self.host} | headers
        if self.cookies and with_cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        path = URL(f"{self._served.url}{parts.path}?{parts.query}".removesuffix("?"), encoded=True)
        async with self._served.http.request(
            method, path, headers=sent, allow_redirects=False, **given
        ) as response:
            answer = await Answered.read(response)
            self.set_cookies = response.headers.getall("Set-Cookie", [])
        for line in self.set_cookies:
            for name, morsel in SimpleCookie(line).items():
                self.cookies.pop(name, None)
                if morsel["max-age"] != "0":
                    self.cookies[name] = morsel.value
        return answer

    @property
    def host(self) -> str:
        """The one of PUBLIC_URL."""
        return urlsplit(self._served.gateway.settings.public_url).netloc


class Desk:
    """One app with a provider, and what people do there. Everything takes a browser of its own by default."""

    def __init__(self, served: Served, app: App, op: HostileProvider, provider: Provider) -> None:
        self.served = served
        self.app = app
        self.op = op
        self.provider = provider

    def browser(self, address: str = HOME) -> Browser:
        return Browser(self.served, address)

    async def put(self, provider: Provider, app: App | None = None) -> None:
        """Adds `provider` to an app, or changes it."""
        app = app or self.app
        now = self.served.hands()

        def unit(tx: Transaction) -> None:
            apps.mark_changed(tx, app.app_id, now)
            app_providers.put(tx, self.served.gateway.ring, app.app_id, provider, now)

        await self.served.gateway.db.write(unit)

    async def remove(self, name: str = "house") -> None:
        now = self.served.hands()

        def unit(tx: Transaction) -> None:
            apps.mark_changed(tx, self.app.app_id, now)
            app_providers.remove(tx, self.app.app_id, name)

        await self.served.gateway.db.write(unit)

    async def change(self, **settings: Any) -> None:
        """Settings of the app."""
        now = self.served.hands()
        await self.served.gateway.db.write(
            partial(apps.edit_settings, app_id=self.app.app_id, now=now, **settings)
        )

    async def begin(
        self,
        browser: Browser,
        redirect_uri: str = PAGE,
        *,
        at: str = "",
        provider: str = "house",
        **asked: str,
    ) -> Answered:
        """Opens the address that the addon leads to."""
        query = urlencode({"redirect_uri": redirect_uri} | asked)
        return await browser.get(f"{at}/notes/oauth/login/{provider}?{query}")

    async def sent_back(self, answer: Answered) -> str:
        """Follows the redirect to the provider, and says where that leads: to our callback."""
        assert answer.status == 302, answer.body
        async with (
            aiohttp.ClientSession() as http,
            http.get(URL(answer.headers["Location"], encoded=True), allow_redirects=False) as back,
        ):
            assert back.status == 302, await back.text()
            return back.headers["Location"]

    async def returned(
        self, browser: Browser | None = None, page: str = PAGE, **asked: str
    ) -> dict[str, str]:
        """All of it up to the page: what its `dxc-auth` says."""
        browser = browser or self.browser()
        callback = await self.sent_back(await self.begin(browser, page, **asked))
        return told(await browser.get(callback))

    async def exchange(
        self,
        code: str,
        *,
        by: Device | None = None,
        origin: str | None = ORIGIN,
        address: str = HOME,
        **fields: Any,
    ) -> Answered:
        """What the addon posts then."""
        body = {
            "grant_type": "authorization_code",
            "code": code,
            "public_key": (by or device()).public_key.pem,
            "scopes": ["ACCESS_DB"],
        } | fields
        sent = {name: value for name, value in body.items() if value is not None}
        return await self.post(sent, origin=origin, address=address)

    async def swap(self, token: str, *, by: Device | None = None, **fields: Any) -> Answered:
        """A token exchange."""
        body = {
            "grant_type": EXCHANGE,
            "subject_token": token,
            "subject_token_type": ID_TOKEN,
            "public_key": (by or device()).public_key.pem,
        } | fields
        return await self.post({name: value for name, value in body.items() if value is not None})

    async def post(self, body: object, *, origin: str | None = ORIGIN, address: str = HOME) -> Answered:
        headers = {"X-Forwarded-For": address} | ({"Origin": origin} if origin else {})
        return await self.served.ask("POST", "/notes/token", data=msgspec.json.encode(body), headers=headers)


@asynccontextmanager
async def sso_desk(url: str, **settings: Any) -> AsyncIterator[Desk]:
    """A server behind a proxy, with the app notes and its provider `house`."""
    async with hostile_provider() as op, desk_with(url, op, **settings) as desk:
        yield desk


@asynccontextmanager
async def desk_with(
    url: str, op: HostileProvider, *, origins: tuple[str, ...] = (ORIGIN,), **settings: Any
) -> AsyncIterator[Desk]:
    """The same, for a provider that outlives the server."""
    async with serving(url, trusted_proxies="127.0.0.1", **settings) as served:
        op.seconds = lambda: served.hands() / 1_000
        app = await served.app(origins=origins)
        desk = Desk(served, app, op, op.provider(audiences=(CLIENT_ID, "phone")))
        await desk.put(desk.provider)
        yield desk


def at_https(folder: Path) -> dict[str, Any]:
    """The settings of a server that browsers know by a name, whatever its port is."""
    return {"public_url": "https://login.example.com", "mail_url": f"file://{folder}/mails.jsonl"}


def told(answer: Answered) -> dict[str, str]:
    """What `dxc-auth` says at the page that `answer` leads to."""
    assert answer.status == 302, (answer.status, answer.body)
    [value] = parse_qs(urlsplit(answer.headers["Location"]).query)["dxc-auth"]
    read: dict[str, str] = json.loads(
        base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).decode("ascii")
    )
    return read


def asked(answer: Answered) -> dict[str, str]:
    """The query of the address that `answer` leads to."""
    return dict(parse_qsl(urlsplit(answer.headers["Location"]).query))


def refused_page(answer: Answered) -> bool:
    """Whether it is the page for people, leads nowhere and runs nothing."""
    return (
        answer.status in (400, 404)
        and "Location" not in answer.headers
        and answer.headers["Content-Type"].startswith("text/html")
        and answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        and answer.headers["Cache-Control"] == "no-store"
        and answer.headers["Referrer-Policy"] == "no-referrer"
    )


def without(provider: Provider, **changes: Any) -> Provider:
    """`provider` with other settings."""
    return replace(provider, **changes)
