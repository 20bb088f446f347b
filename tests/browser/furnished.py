"""A house in which something has happened: an app with people, web hooks, tasks, tables and an operator.

What is in it is invented, and the same each time but for ids and times.
"""

import json
import re
import textwrap
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.routing import compile_path

from admit.web.manager import routes
from tests.installation import Installation

APP = "fieldnotes"
OPERATOR = "noor@example.com"
PASSWORD = "a sentence of four words"
WAIT_SECONDS = 30.0

TASKS = '''
    """Tasks of Fieldnotes."""

    from admit import task


    @task.on("device.enrolled", once="device")
    def welcome_pack(context: task.EventContext) -> None:
        """Greets everybody, once on each of their devices."""
        context.log.info(f"Welcome, {context.user.user_id}", device=context.deviceIdentifier)


    @task.on("user.refused")
    def tell_sales(context: task.EventContext) -> None:
        """Tells sales who wanted in, and cannot."""
        raise ConnectionError("sales.example.com does not answer")


    @task.every("0 6 * * 1", timezone="Europe/Oslo")
    def weekly_report(context: task.ScheduleContext) -> None:
        """Counts the week."""


    @task.decides
    def staff_only(context: task.DecisionContext) -> task.Verdict:
        """Lets staff in."""
        return task.admit("prod", name=context.email)
'''

MODEL = """
    [models.todo]
    table = "todos"

    [models.todo.fields]
    title = "text"
    done = "boolean"

    [[models.todo.webhooks]]
    type = "ready"
    name = "todo-ready"
    receiver = "cloudcode"
    action = "welcome_pack"
    fields = [{ name = "title" }]
"""

PEOPLE = (
    ("ada.lindqvist@example.com", "Work laptop", "prod"),
    ("bo.hansen@example.com", "iPhone 15", "prod"),
    ("chidi.okafor@example.com", "Pixel 9", "prod"),
    ("dana.brandt@example.net", "iPad", "eval"),
    ("eva.moreau@example.com", "Work laptop", "prod"),
    ("mallory@blocked.example", "", "refused"),
)


@dataclass
class Furnished:
    """The house while it is served. `pages`: for each pattern of a page, the path of one that can be seen.

    `outside`: by their names, the paths of those that are seen before one has signed in.
    """

    installation: Installation
    cookie: tuple[str, str]
    pages: Mapping[str, str]
    outside: Mapping[str, str]


@contextmanager
def furnished(folder: Path, database_url: str) -> Iterator[Furnished]:
    """Serves the house until the block ends."""
    tasks = folder / "tasks" / APP
    tasks.mkdir(parents=True)
    (tasks / "welcome.py").write_text(textwrap.dedent(TASKS).lstrip())
    settings = {"ADMIT_TASKS": str(tasks.parent), "ADMIT_TASKS_RELOAD": "change"}
    installation = Installation(folder, database_url, settings)
    with _receiver() as receiver_url, installation.serving():
        api = _Api(installation)
        _set_up(api, receiver_url)
        for email, device, _ in PEOPLE:
            _sign_in(installation, email, device)
        cookie = _operator(installation)
        invitation = _happen(api)
        [welcome, *_] = api("GET", f"/apps/{APP}/endpoints")["endpoints"]
        best = ("", f"/people/{PEOPLE[0][0]}", f"/endpoints/{welcome['id']}", "/runs", "/tasks/welcome_pack")
        first = ["/manager/account", *(f"/manager/apps/{APP}{each}" for each in best)]
        outside = {"sign-in": "/manager/sign-in", "set-up": urlsplit(invitation).path}
        yield Furnished(installation, cookie, _pages(installation, cookie, first), outside)


class _Api:
    """The admin API, for whoever has SECRET_KEY: all that is set up here goes by it."""

    def __init__(self, installation: Installation) -> None:
        self._url = f"{installation.url}/api"
        self._token = str(installation.admit("token", "create", "--label", "the builder")["token"])

    def __call__(self, method: str, path: str, body: object = None) -> Any:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        raw = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}{path}", raw, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            content = answer.read()
        return json.loads(content) if content else None


def _set_up(api: _Api, receiver_url: str) -> None:
    for name in (APP, "harvest"):
        api("POST", "/apps", {"name": name, "owner": OPERATOR})
    of_app = f"/apps/{APP}"
    api("POST", f"{of_app}/origins", {"origin": "https://app.example.com"})
    hook = {"kind": "webhook", "url": f"{receiver_url}/decide"}
    api("PUT", f"{of_app}/policy", hook)
    api("PUT", f"{of_app}/seats", {"limit": 50})
    api("POST", f"{of_app}/settings", {"devices_max": 3})
    api("POST", f"{of_app}/clients", {"owner": OPERATOR})
    api("POST", f"{of_app}/notices", {"message": "The server rests on Sunday, 02:00 to 03:00 UTC."})
    google = {"name": "google", "type": "google", "client_id": "fieldnotes", "client_secret": "a-secret"}
    api("POST", f"{of_app}/providers", google)
    todos = {"changes": [{"table": "todos"}]}
    for path, about in (
        ("welcome", {"description": "Welcome mails", "events": ["user.enrolled", "device.enrolled"]}),
        ("broken", {"description": "CRM", "events": ["user.enrolled", "user.updated"]}),
        (
            "index",
            {"description": "Search index", "events": ["data.changed"], "format": "dexie", "filter": todos},
        ),
    ):
        api("POST", f"{of_app}/endpoints", {"url": f"{receiver_url}/{path}", **about})
    api("PUT", f"{of_app}/model", {"source": textwrap.dedent(MODEL)})


def _sign_in(installation: Installation, email: str, device: str) -> None:
    """As an app does, by mailed code, with a key of the device's own."""
    url = f"{installation.url}/{APP}/token"
    asked = {"grant_type": "otp", "email": email, "scopes": ["ACCESS_DB"]}
    started = _post(url, asked)
    give_up_at = time.monotonic() + WAIT_SECONDS
    while not (mails := [mail for mail in installation.mails() if mail["to"] == email]):
        assert time.monotonic() < give_up_at, "no mail came"
        time.sleep(0.05)
    proof = {"otp": mails[-1]["otp"], "otp_id": started["otp_id"], "public_key": _public_key()}
    named = {"device": {"id": re.sub(r"\W", "-", f"{device}-{email}"), "label": device, "platform": "web"}}
    _post(url, asked | proof | (named if device else {}))


def _happen(api: _Api) -> str:
    """What operators and apps have done since. The link by which somebody is invited."""
    of_app, ada, dana = f"/apps/{APP}", PEOPLE[0][0], PEOPLE[3][0]
    for number in range(1, 4):
        todo = {"id": f"todo-{number}", "title": f"Walk the field {number}", "done": number == 1}
        api("POST", f"{of_app}/objects/todos", {"value": todo, "realm_id": ada})
    api("POST", f"{of_app}/settings", {"eval_days": 14})
    [welcome, *_] = api("GET", f"{of_app}/endpoints")["endpoints"]
    api("POST", f"{of_app}/endpoints/{welcome['id']}/backfill", {"of": "user"})
    api("POST", f"{of_app}/events/trigger", {"type": "user.upgraded"})
    api("PUT", f"{of_app}/task-env/CRM_URL", {"value": "https://crm.example.com"})
    api("POST", f"{of_app}/users/{dana}/deactivation")
    api("POST", f"{of_app}/users/{ada}/enrollment-tokens", {})
    return str(api("POST", "/operators", {"email": "kim@example.com", "role": "support"})["link"])


def _operator(installation: Installation) -> tuple[str, str]:
    """Becomes the first operator by the link of the log; the cookie of the session."""
    link, jar = set_up_link(installation), CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    with browser.open(link) as page:
        fields = _fields(page.read().decode())
    typed = fields | {"name": "Noor Haddad", "email": OPERATOR, "password": PASSWORD, "way": "password"}
    browser.open(urllib.request.Request(link, urlencode(typed).encode(), {"Origin": _origin(link)})).close()
    [cookie] = [each for each in jar if "operator" in each.name]
    return cookie.name, cookie.value or ""


def set_up_link(installation: Installation) -> str:
    """The link that a server without operators prints."""
    found = re.findall(r"\S+/manager/set-up/\S+", (installation.folder / "server.log").read_text())
    return str(found[-1])


def _pages(installation: Installation, cookie: tuple[str, str], first: Sequence[str]) -> dict[str, str]:
    """An example of each page, as links lead from `first` and from one to the next."""
    patterns = [
        (each.path, compile_path(f"/manager{each.path}")[0])
        for each in routes.PAGES
        if each.method == "GET" and each.path not in NO_PAGES
    ]
    found: dict[str, str] = {}
    seen, waiting = set[str](), deque(first)
    while waiting:
        path = waiting.popleft()
        pattern = next((name for name, regex in patterns if regex.match(path.partition("?")[0])), None)
        if pattern is None or pattern in found:
            continue
        request = urllib.request.Request(installation.url + path, headers={"Cookie": "=".join(cookie)})
        with urllib.request.urlopen(request) as answer:
            links = _links(answer.read().decode())
        found[pattern] = path
        for link in links:
            to = urljoin(path, link)
            if to.startswith("/manager") and to not in seen:
                seen.add(to)
                waiting.append(to)
    return found


NO_PAGES = frozenset({"", "/{rest:path}"})
"""Where nothing is: what leads on, and what leads nowhere."""


class _Finder(HTMLParser):
    """Collects links and hidden fields."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "a" and not given.get("href", "").startswith("#"):
            self.links.append(given.get("href", "").partition("#")[0])
        if tag == "input" and given.get("type") == "hidden":
            self.fields[given["name"]] = given.get("value", "")


def _links(html: str) -> list[str]:
    finder = _Finder()
    finder.feed(html)
    return finder.links


def _fields(html: str) -> dict[str, str]:
    finder = _Finder()
    finder.feed(html)
    return finder.fields


class _Receiver(BaseHTTPRequestHandler):
    """Decides about people, takes events, and has one address that is always down."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(*self._answer_to(body))

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def _answer_to(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.path == "/broken":
            return 503, {"error": "Down for maintenance"}
        if self.path != "/decide":
            return 200, {"ok": True}
        kind = {email: kind for email, _, kind in PEOPLE}.get(body.get("email", ""), "prod")
        if kind == "refused":
            return 200, {"ok": False, "code": "NOT_A_CUSTOMER", "message": "Ask your contact for an account."}
        return 200, {"ok": True, "action": kind, "userData": {"displayName": body["email"].partition("@")[0]}}

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        raw = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


@contextmanager
def _receiver() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            read: dict[str, Any] = json.loads(answer.read())
            return read
    except urllib.error.HTTPError as refusal:  # somebody is refused in this story
        return {"refused": json.loads(refusal.read())}


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _public_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode().strip()
