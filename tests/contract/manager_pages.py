"""A signed-in operator for tests of pages, who asks for pages and posts their forms, without scripts."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser
from urllib.parse import urljoin

import aiohttp
from aiohttp import ClientSession
from sqlalchemy import insert
from yarl import URL

from admit.operators import sessions
from admit.operators.roles import Role
from admit.operators.tables import operators
from admit.storage.transaction import Transaction
from tests.contract.served import Served

_WITHOUT_END = frozenset({"input", "meta", "link", "br", "hr", "img", "use"})


@dataclass
class FoundForm:
    """A form on a page: where it is posted, and its fields as they stand there."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)


@dataclass
class Shown:
    """A page as it came. `text` is what people read, with single spaces."""

    status: int
    url: str
    html: str
    headers: Mapping[str, str]
    text: str = ""
    links: dict[str, str] = field(default_factory=dict)
    """Addresses by what the link says."""
    forms: list[FoundForm] = field(default_factory=list)

    def form(self, action_end: str) -> FoundForm:
        """The form that is posted to an address with this end."""
        found = [each for each in self.forms if each.action.endswith(action_end)]
        assert len(found) == 1, f"{len(found)} forms to …{action_end}: {[each.action for each in self.forms]}"
        return found[0]


class Operator:
    """A browser of one operator. Redirects are followed after forms, as browsers do."""

    def __init__(self, http: ClientSession, url: str) -> None:
        self.http = http
        self._url = url

    async def get(self, path: str) -> Shown:
        """A page; `path` below /manager, or an address that a page told."""
        async with self.http.get(self._address(path)) as answer:
            return _read(answer.status, str(answer.url), await answer.text(), answer.headers)

    async def fragment(self, path: str, *, target: str = "") -> Shown:
        """What htmx gets there, for the element with the id `target`."""
        headers = {"HX-Request": "true"} | ({"HX-Target": target} if target else {})
        async with self.http.get(self._address(unescape(path)), headers=headers) as answer:
            return _read(answer.status, str(answer.url), await answer.text(), answer.headers)

    async def post(self, form: FoundForm, **typed: str) -> Shown:
        """The page that follows when `form` is sent with `typed` in its fields."""
        return await self.send(form.action, form.fields | typed)

    async def send(self, action: str, fields: dict[str, str] | aiohttp.FormData) -> Shown:
        """The page that follows when `fields` are sent, such as with a file."""
        headers = {"Origin": self._url, "Sec-Fetch-Site": "same-origin"}
        async with self.http.post(urljoin(self._url, action), data=fields, headers=headers) as answer:
            return _read(answer.status, str(answer.url), await answer.text(), answer.headers)

    def _address(self, path: str) -> str:
        return urljoin(self._url, path if path.startswith(("/manager/", "http")) else f"/manager{path}")


@asynccontextmanager
async def signed_in(served: Served, role: Role = "owner") -> AsyncIterator[Operator]:
    """An operator with `role`, whose session was opened without a proof."""
    operator_id, now, gateway = f"opr_of_test_{role}", served.hands(), served.gateway

    def enter(tx: Transaction) -> str:
        tx.execute(
            insert(operators),
            {
                "operator_id": operator_id,
                "email": f"{role}@example.com",
                "name": "Noor Haddad",
                "password": "",
                "role": role,
                "created_at": now,
            },
        )
        return sessions.open_session(
            tx, gateway.ring, operator_id, method="password", address="192.0.2.7", user_agent="test", now=now
        )

    cookie = await gateway.db.write(enter)
    jar = aiohttp.CookieJar(unsafe=True)
    async with ClientSession(cookie_jar=jar) as http:
        name = sessions.cookie_name(gateway.settings.public_url)
        jar.update_cookies({name: cookie}, URL(served.url))
        yield Operator(http, served.url)


def _read(status: int, url: str, html: str, headers: Mapping[str, str]) -> Shown:
    reader = _Reader()
    reader.feed(html)
    return Shown(
        status=status,
        url=url,
        html=html,
        headers=headers,
        text=" ".join("".join(reader.said).split()),
        links=reader.links,
        forms=reader.forms,
    )


class _Reader(HTMLParser):
    """Collects text, links and forms."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.links: dict[str, str] = {}
        self.forms: list[FoundForm] = []
        self._link: tuple[str, int] | None = None
        self._form: FoundForm | None = None
        self._area = ""
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag not in _WITHOUT_END:
            self.said.append(" ")
        if tag == "a" and "href" in given:
            self._link = (given["href"], len(self.said))
        elif tag == "form":
            self._form = FoundForm(given.get("action", ""))
            self.forms.append(self._form)
        elif self._form is not None:
            self._field(tag, given)

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._link is not None:
            href, at = self._link
            self.links[" ".join("".join(self.said[at:]).split())] = href
            self._link = None
        elif tag == "form":
            self._form = None
        elif tag == "textarea":
            self._area = ""
        elif tag == "select":
            self._select = ""
        self.said.append(" ")

    def handle_data(self, data: str) -> None:
        self.said.append(data)
        if self._area and self._form is not None:
            self._form.fields[self._area] += data.removeprefix("\n")

    def _field(self, tag: str, given: dict[str, str]) -> None:
        assert self._form is not None
        name, kind = given.get("name", ""), given.get("type", "text")
        if tag == "textarea":
            self._area = name
            self._form.fields[name] = ""
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select:
            if "selected" in given or self._select not in self._form.fields:
                self._form.fields[self._select] = given.get("value", "")
        elif tag == "input" and name and (kind not in ("radio", "checkbox") or "checked" in given):
            self._form.fields[name] = given.get("value", "on")
