"""Pages about what strangers have chosen: nothing of it becomes markup, and every link leads to its page."""

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import pytest
from sqlalchemy import insert
from starlette.responses import StreamingResponse

from admit.accounts import users
from admit.accounts.apps import App
from admit.accounts.tables import devices, sessions
from admit.operators.roles import Role
from admit.storage.transaction import Transaction
from admit.web.manager.pages import Page
from admit.web.manager.routes import PAGES
from tests.contract.manager_pages import Operator, Shown, signed_in
from tests.contract.served import Served
from tests.contract.test_admin_api import api
from tests.contract.test_manager_endpoints import endpoint
from tests.contract.test_manager_people import device_row, session_row
from tests.receiver import always, receiving

MARKUP = "\"'`><xss onxss=1>&lt;</script></textarea></title>"
BIDI = "\u202egnp.exe\u2066\u200b\ufeff"
NAMES = (
    "new",
    "import",
    "export",
    "run",
    ".",
    "..",
    "~..",
    "~~.",
    "~",
    "a/b",
    "%2F",
    "%2e%2e",
    "a?b=c#d",
    "a;b&c=d+e",
    "\\..\\a",
    BIDI,
    "é" * 255,
    MARKUP,
    "=cmd|' /C calc'!A0",
)
PAGES_MAX = 400


class Markup(HTMLParser):
    """The addresses of a page, where its buttons post to, and what of MARKUP has become a part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.wrong: list[str] = []
        self.posted_to: set[str] = set()
        self._form = ""
        self._forms: dict[str, str] = {}
        self._disabled: list[bool] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "xss" or any(name.startswith("on") or name == "style" for name in given):
            self.wrong.append(self.get_starttag_text() or tag)
        href = given.get("href") or ""
        if tag == "a" and href:
            self.links.append(href)
            if urlsplit(href).scheme not in ("", "http", "https", "mailto"):
                self.wrong.append(href)
        if tag == "form":
            self._form = given.get("action") or "" if given.get("method") == "post" else ""
            self._forms[given.get("id") or ""] = self._form
        elif tag == "fieldset":
            self._disabled.append("disabled" in given)
        elif tag == "button" and given.get("type", "submit") == "submit" and "disabled" not in given:
            to = given.get("formaction") or self._forms.get(given.get("form") or "-", self._form)
            if to and not any(self._disabled):
                self.posted_to.add(to)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = ""
        elif tag == "fieldset":
            self._disabled.pop()


def look(page: Shown) -> Markup:
    markup = Markup()
    of_a_mail = "/mail-texts/frame" in page.url  # a document of its own, in a sandbox
    if "text/html" in page.headers["content-type"] and not of_a_mail:
        markup.feed(page.html)
    assert not markup.wrong, f"{page.url}: {markup.wrong}"
    return markup


async def walk(operator: Operator, *begin: str) -> dict[str, int]:
    """Every page that links lead to from where we begin, with its status."""
    found: dict[str, int] = {}
    due = list(begin)
    while due and len(found) < PAGES_MAX:
        address = due.pop(0).partition("#")[0]
        if address in found or not address.startswith("/manager/") or "/changes/" in address:
            continue
        page = await operator.get(address)
        found[address] = page.status
        due += [urljoin(address, link) for link in look(page).links]
    return found


async def move_in_with_devices(served: Served, app: App) -> None:
    people = [
        {"userId": name, "type": "prod", "data": {"displayName": f"{name} {MARKUP}"[:200]}} for name in NAMES
    ]
    await served.write(app, *people)
    found = await api(served, "GET", f"apps/notes/users/{quote(MARKUP, safe='')}")
    uid, now = found.json["uid"], served.hands()

    def write(tx: Transaction) -> None:
        name = f"{MARKUP}\r\nevent: ended\rdata: x"
        row = device_row(app.app_id, uid, "laptop", now)
        about = '{"user_agent": "\\"><xss onxss=1>", "platform": "<xss onxss=1>"}'
        tx.execute(insert(devices), row | {"label": name, "about": about})
        tx.execute(insert(sessions), session_row(app.app_id, uid, "laptop", now))

    await served.gateway.db.write(write)


async def furnish(served: Served, app: App, url: str) -> None:
    await move_in_with_devices(served, app)
    for key in (".", "..", "new", "a/b", MARKUP, BIDI):
        body = {"value": {"id": key, "title": MARKUP}, "realm_id": "rlm-public"}
        answered = await api(served, "POST", "apps/notes/objects/todos", body)
        assert answered.status == 200, answered.json
    for path, wanted in (
        ("apps/notes/notices", {"message": MARKUP, "type": "warning"}),
        ("tokens", {"label": MARKUP, "scopes": ["apps:read"]}),
        ("apps/notes/clients", {}),
        (
            "apps/notes/providers",
            {
                "name": "keycloak",
                "type": "oidc",
                "client_id": MARKUP,
                "client_secret": "s",
                "display_name": MARKUP[:60],
                "issuer": "https://id.example.com",
            },
        ),
    ):
        answered = await api(served, "POST", path, wanted)
        assert answered.status in (200, 201), (path, answered.json)
    made = await endpoint(served, url, description=MARKUP[:80])
    await api(served, "POST", f"apps/notes/endpoints/{made}/test", {"type": "test.ping"})


async def test_no_value_becomes_markup_and_every_link_leads_to_a_page(served: Served) -> None:
    app = await served.app()
    hostile = always(500, {"x-answer": "<xss onxss=1>"}, text=f"{MARKUP}\0\x1b[31m", content_type="text/html")
    async with receiving(hostile) as receiver, signed_in(served) as operator:
        await furnish(served, app, receiver.url)
        found = await walk(
            operator,
            "/manager/apps",
            "/manager/apps/notes",
            "/manager/apps/notes/data/todos",
            *(f"/manager/apps/notes/people?q={quote(name)}" for name in NAMES[:4]),
            f"/manager/apps/notes/people?q={quote(MARKUP)}",
            f"/manager/apps/notes/events?q={quote(MARKUP)}",
            f"/manager/apps/notes/policy/ledger?search={quote(MARKUP)}",
            f"/manager/apps/notes/runs?user={quote(MARKUP)}",
        )
    wrong = {
        address: status for address, status in found.items() if status != 200 and "?q=%22" not in address
    }
    assert not wrong


async def test_every_person_has_a_page_whatever_their_user_id(served: Served) -> None:
    app = await served.app()
    await served.write(app, *({"userId": name, "type": "prod"} for name in NAMES))
    async with signed_in(served) as operator:
        people = await operator.get("/apps/notes/people")
        for name in NAMES:
            to = people.links[" ".join(name.split())]
            page = await operator.get(to)
            assert page.status == 200, (name, page.url)
            form = page.form("/deactivate")
            done = await operator.post(form)
            assert (await person(served, app, name)).deactivated_at, (name, form.action, done.status)
            assert urlsplit(done.url).path == urlsplit(page.url).path


async def person(served: Served, app: App, user_id: str) -> Any:
    key = (app.app_id, user_id)
    return (await served.gateway.db.read(lambda tx: users.by_user_id(tx, [key])))[key]


async def test_a_line_end_in_a_value_begins_no_field_of_a_live_feed() -> None:
    async def told() -> AsyncIterator[tuple[str, str]]:
        yield "rows", "one\r\ntwo\revent: ended\rdata: forged\n"

    response = Page.stream(object.__new__(Page), told())
    assert isinstance(response, StreamingResponse)
    body = "".join([str(each, "utf-8") async for each in response.body_iterator])  # type: ignore[arg-type]
    fields = [line for line in re.split("\r\n|\r|\n", body) if line and not line.startswith((": ", "data: "))]
    assert fields == ["event: rows"]


STRANGE = ("..", "9" * 30, "1.evt_1", MARKUP, "eyJhIjoxfQ", "\u202e", "x" * 1_500)
FIELDS = (
    "q",
    "before",
    "after",
    "key",
    "back",
    "kind",
    "type",
    "standing",
    "sort",
    "state",
    "user",
    "about",
    "task",
    "search",
    "since",
    "until",
    "way_in",
    "verdict",
    "code",
    "days",
    "who",
    "realm",
    "where",
    "format",
    "for",
    "devices",
    "hook",
    "table",
    "run",
    "event",
    "name",
    "seen",
    "current",
    "email",
)
NUMBERS = (
    "seconds",
    "uses",
    "days",
    "limit",
    "eval_days",
    "overlap",
    "devices_max",
    "minutes",
    "line",
    "head",
)
ODD_FORMS: tuple[dict[str, str], ...] = (
    {},
    dict.fromkeys(FIELDS, MARKUP),
    dict.fromkeys(NUMBERS, "9" * 15),
    dict.fromkeys(NUMBERS, "-5"),
)


def addresses(method: str, values: dict[str, str]) -> list[str]:
    found = [each.path for each in PAGES if each.method == method and "{rest" not in each.path]
    for name, value in values.items():
        found = [each.replace(f"{{{name}}}", quote(value, safe="")) for each in found]
    return [f"/manager{re.sub(r'{[a-z_]+}', quote(MARKUP, safe=''), each)}" for each in found]


async def test_no_query_and_no_form_breaks_a_page(served: Served) -> None:
    app = await served.app()
    await served.write(app, {"userId": "ada@example.com", "type": "prod"})
    made = await endpoint(served, "https://hooks.example.com/admit")
    known = {
        "app": "notes",
        "user_id": "ada@example.com",
        "endpoint": made,
        "table": "todos",
        "type": "user.enrolled",
    }
    broken = []
    async with signed_in(served) as operator:
        csrf = (await operator.get("/apps/notes/people-import")).form("/people-import").fields["csrf"]
        for address in addresses("GET", known):
            if address.endswith("/live"):
                continue
            for value in STRANGE:
                query = "&".join(f"{name}={quote(value[:100], safe='')}" for name in FIELDS)
                for asked in (query, f"before={quote(value, safe='')}"):
                    page = await operator.get(f"{address}?{asked}")
                    look(page)
                    if page.status >= 500:
                        broken.append((address, asked[:80]))
        for address in addresses("POST", known):
            if "/sign-out" in address or "/sessions/" in address or address.endswith(("/remove", "/delete")):
                continue
            for fields in ODD_FORMS:
                page = await operator.send(address, {"csrf": csrf, **fields})
                look(page)
                if page.status >= 500:
                    broken.append((address, str(fields)[:80]))
    assert not broken


async def test_a_form_in_another_charset_that_is_no_text_is_refused(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        csrf = (await operator.get("/apps/notes/people-import")).form("/people-import").fields["csrf"]
        parts = "".join(
            f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in (("csrf", csrf.replace("+", "+-")), ("text", "userId\r\n+2AA-"))
        )
        answer = await operator.http.post(
            f"{served.url}/manager/apps/notes/people-import",
            data=f"{parts}--b--\r\n".encode(),
            headers={
                "Content-Type": "multipart/form-data; boundary=b; charset=utf-7",
                "Origin": served.url,
            },
        )
        assert answer.status == 400
        assert "The form is not UTF-8." in await answer.text()


OF_EVERYBODY = ("/theme", "/sign-out", "/account", "/preview", "/frame", "/check")


@pytest.mark.parametrize("role", ["support", "read-only"])
async def test_no_form_is_shown_that_would_be_refused(served: Served, role: Role) -> None:
    app = await served.app()
    async with receiving(always(500)) as receiver:
        await furnish(served, app, receiver.url)
        async with signed_in(served, role) as operator:
            refused = []
            seen: set[str] = set()
            due = ["/manager/apps", "/manager/apps/notes", "/manager/apps/notes/data/todos"]
            while due:
                address = due.pop(0).partition("#")[0]
                if (
                    address in seen
                    or not address.startswith("/manager/")
                    or "?" in address
                    or len(seen) > 150
                ):
                    continue
                seen.add(address)
                page = await operator.get(address)
                if page.status == 403:
                    refused.append(("link", address))
                shown = look(page)
                due += [urljoin(address, link) for link in shown.links]
                csrf = page.form("/theme").fields["csrf"] if page.status == 200 else ""
                for action in shown.posted_to:
                    if any(each in action for each in OF_EVERYBODY):
                        continue
                    if (await operator.send(action, {"csrf": csrf})).status == 403:
                        refused.append((address, action))
            assert not refused


async def test_a_slash_at_the_end_leads_to_the_page(served: Served) -> None:
    await served.app()
    async with signed_in(served) as operator:
        for path in ("/", "/apps/notes/", "/apps/notes/people/"):
            page = await operator.get(path)
            assert (page.status, page.url.endswith("/")) == (200, False)
