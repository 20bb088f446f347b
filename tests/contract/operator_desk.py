"""A browser of an operator, for tests: it keeps cookies, fills in forms and holds a passkey."""

import html
import json
import re
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any

from admit.operators import links
from tests.authenticator import Authenticator
from tests.contract.served import Answered, Served

OWNER = "noor@example.com"
PASSWORD = "correct horse battery staple"

_CSRF = re.compile(r'name="csrf" (?:value|content)="([^"]+)"')


@dataclass
class Browser:
    """A browser at the Manager."""

    served: Served
    cookies: dict[str, str] = field(default_factory=dict)
    csrf: str = ""
    address: str = ""

    @property
    def origin(self) -> str:
        """Of the pages, as the server's PUBLIC_URL has it."""
        return self.served.gateway.settings.public_url

    def authenticator(self, **settings: Any) -> Authenticator:
        """A new passkey for this server."""
        return Authenticator(**{"origin": self.origin, "rp_id": "localhost", **settings})

    async def get(self, path: str) -> Answered:
        """Looks at a page, and remembers the token of its forms."""
        answer = await self._ask("GET", path)
        if found := _CSRF.search(answer.body.decode(errors="replace")):
            self.csrf = html.unescape(found[1])
        return answer

    async def post(
        self,
        path: str,
        fields: dict[str, str],
        *,
        headers: dict[str, str] | None = None,
        csrf: str | None = None,
    ) -> Answered:
        """Sends a form, as the page that was looked at last has it."""
        body = {"csrf": self.csrf if csrf is None else csrf, **fields}
        return await self._ask(
            "POST", path, headers={"Sec-Fetch-Site": "same-origin"} | (headers or {}), data=body
        )

    async def options(self, path: str, **fields: str) -> dict[str, Any]:
        """What our script is given for the authenticator."""
        answer = await self.post(path, fields, headers={"Accept": "application/json"})
        assert answer.status == 200, answer.body
        read: dict[str, Any] = json.loads(answer.body)
        return read

    async def sign_in(self, email: str = OWNER, password: str = PASSWORD) -> Answered:
        """Signs in by password."""
        await self.get("/manager/sign-in?again=1")
        return await self.post("/manager/sign-in", {"email": email, "password": password})

    async def sign_in_by_passkey(self, authenticator: Authenticator) -> Answered:
        """Signs in by a passkey."""
        await self.get("/manager/sign-in?again=1")
        credential = authenticator.use(await self.options("/manager/sign-in/options"))
        return await self.post("/manager/sign-in/passkey", {"credential": credential})

    async def set_up(
        self,
        path: str,
        *,
        email: str = OWNER,
        password: str = PASSWORD,
        authenticator: Authenticator | None = None,
    ) -> Answered:
        """Opens a link and sets up a way to sign in."""
        await self.get(path)
        credential = ""
        if authenticator is not None:
            credential = authenticator.make(await self.options(f"{path}/options", email=email, name="Noor"))
        fields = {"name": "Noor", "email": email, "password": password, "credential": credential}
        return await self.post(path, fields)

    async def is_signed_in(self) -> bool:
        """Whether the Manager shows itself, instead of the sign-in page."""
        answer = await self.get("/manager/account")
        assert answer.status in (200, 303), answer
        return answer.status == 200

    async def _ask(self, method: str, path: str, **options: Any) -> Answered:
        headers = options.pop("headers", {}) | {
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        }
        answer = await self.served.ask(method, path, headers=headers, allow_redirects=False, **options)
        for line in answer.headers.getall("Set-Cookie", []):  # type: ignore[attr-defined]
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0" or not morsel.value:
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        return answer


async def first_link(served: Served) -> str:
    """The path of the link that sets up the first owner."""
    gateway = served.gateway
    made = await gateway.db.write(lambda tx: links.for_first_owner(tx, gateway.ring, served.hands()))
    assert made is not None
    return f"/manager/set-up/{made.token}"


async def owner(served: Served, **settings: Any) -> Browser:
    """The browser of the first owner, who has just been set up."""
    browser = Browser(served)
    answer = await browser.set_up(await first_link(served), **settings)
    assert answer.status == 303, answer.body
    return browser


async def invited(served: Served, email: str, role: str) -> str:
    """The path of the link of somebody who is invited."""
    answer = await served.ask(
        "POST", "/api/operators", json={"email": email, "role": role}, headers=served.command()
    )
    assert answer.status == 200, answer.body
    link: str = answer.json["link"]
    return link.removeprefix(served.gateway.settings.public_url)


async def operators_of(served: Served) -> list[Any]:
    """All operators, as the API lists them."""
    answer = await served.ask("GET", "/api/operators", headers=served.command())
    listed: list[Any] = answer.json
    return listed
