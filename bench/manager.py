"""What the pages of the Manager cost, where an app has a million people and ten million events.

    uv run python -m bench.manager [--people 1000000] [--events 10000000] [--databases sqlite,postgresql]

Fills an app, starts the server anew, looks at the sign-in page for as long as one types a password, and asks
for every page ASKS times, one at a time. Prints per page the time at the server's socket (the first, p50,
p99), its CPU, the HTML, and with it all that a browser loads for the first time; marks what is over 100 ms or
150 kB, and ends with 1 where something is. Ten million events need 20 GB of disk on SQLite, 30 GB on
PostgreSQL, and some four minutes each to be written.
"""

import argparse
import http.client
import json
import re
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from admit.web.manager import routes
from bench import histories, machine, people, servers

ASKS = 50
MS_MAX = 100.0
BYTES_MAX = 150_000
APP = "bench"
EMAIL = "bench@example.com"
PASSWORD = "a password of a bench, long enough"
TASKS = Path(__file__).parent.parent / "examples/first-login/tasks/demo"
SETTLE_SECONDS_MAX = 30
TYPING_SECONDS = 3

NO_PAGES = ("/live", "/jump", "export", "/frame", "/menu", ".csv")
"""What paths end with that lead to a stream, a download, or a part of a page."""
ALSO = {
    "/apps/{app}": ({"days": "28"},),
    "/apps/{app}/people": (
        {"q": "ada"},
        {"q": "person00000"},
        {"type": "prod"},
        {"sort": "-lastLogin"},
        {"sort": "displayName", "q": "b"},
    ),
    "/apps/{app}/people/{user_id}": ({"kind": "events"}, {"kind": "deliveries"}),
    "/apps/{app}/events": ({"q": "{user_id}"}, {"q": "device000000001"}, {"type": "device.enrolled"}),
    "/apps/{app}/deliveries": ({"state": "failed"}, {"user": "{user_id}"}),
    "/apps/{app}/runs": ({"state": "failed"}, {"user": "{user_id}"}),
    "/apps/{app}/policy/ledger": (
        {"verdict": "refused"},
        {"search": "person0000"},
        {"code": "WEBHOOK_ERROR"},
    ),
    "/apps/{app}/changes": ({"who": EMAIL}, {"search": "endpoints"}),
}
"""Pages that are asked for with filters, too: fields of the query, as the pages name them."""


@dataclass
class Browser:
    """A signed-in operator, over one connection that stays open."""

    port: int
    cookie: str = ""
    _connection: http.client.HTTPConnection | None = None
    assets: dict[str, int] = field(default_factory=dict)
    """Sizes of what pages load, by address."""

    def get(self, path: str) -> tuple[int, bytes, float]:
        """Status and body of a page, and the milliseconds until the last byte of it."""
        return self._ask("GET", path, None, {})

    def post(self, path: str, fields: dict[str, str]) -> tuple[int, bytes, float]:
        """The answer to a form."""
        own = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
        return self._ask("POST", path, urlencode(fields).encode(), own)

    def whole(self, html: bytes) -> int:
        """The bytes of a page and of everything that a browser loads for it."""
        addresses = set(re.findall(r'(?:src|href)="(/manager/static/[^"#]+)', html.decode()))
        for each in addresses - self.assets.keys():
            self.assets[each] = len(self.get(each)[1])
        return len(html) + sum(self.assets[each] for each in addresses)

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes, float]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("localhost", self.port, timeout=120)
        started = time.perf_counter()
        self._connection.request(method, path, body, headers | {"Cookie": self.cookie})
        answer = self._connection.getresponse()
        content = answer.read()
        took = (time.perf_counter() - started) * 1_000
        self._keep(answer.headers.get_all("Set-Cookie") or [])
        return answer.status, content, took

    def _keep(self, cookies: list[str]) -> None:
        for each in cookies:
            name, _, rest = each.partition("=")
            value = rest.partition(";")[0]
            others = [kept for kept in self.cookie.split("; ") if kept and not kept.startswith(f"{name}=")]
            self.cookie = "; ".join([*others, f"{name}={value}"] if value else others)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--people", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--databases", default="sqlite,postgresql")
    options = parser.parse_args()
    over = [_bench(each, options.people, options.events) for each in options.databases.split(",")]
    raise SystemExit(any(over))


def _bench(database: str, crowd: int, happened: int) -> bool:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="admit-bench-")))
        hook_port = stack.enter_context(servers.receiver())
        url = f"sqlite:///{folder}/admit.db"
        if database == "postgresql":
            url, _ = stack.enter_context(servers.postgres(folder))
        place = servers.Place(folder, url, servers.free_port(), str(folder / "tasks"))
        shutil.copytree(TASKS, folder / "tasks" / APP)
        known = _first_login(place, hook_port)
        written = people.fill(url, APP, crowd)
        ids, seconds = histories.fill(url, APP, crowd=crowd, happened=happened)
        told = f"{crowd:,} people and {happened:,} events, written in {written + seconds:.0f} s"
        print(f"\n{database}, {told}", flush=True)
        values = known | {name: getattr(ids, name) for name in ids.__struct_fields__}
        with servers.running(place) as pid:
            return _ask_for_all(place.port, pid, values, known["cookie"])


def _first_login(place: servers.Place, hook_port: int) -> dict[str, str]:
    """Lets an operator in, and one person, whose rows are copied; tells where the pages of it are."""
    command = place.command
    command("app", "create", APP, "--owner", "owner@example.com")
    command("policy", "set", APP, "webhook", f"http://127.0.0.1:{hook_port}/decide")
    client = command("client", "create", APP, "--scopes", "ACCESS_DB,IMPERSONATE")
    with servers.running(place):
        browser = Browser(place.port)
        _set_up(browser, command)
        endpoint = command("endpoint", "create", APP, f"http://127.0.0.1:{hook_port}/decide")["id"]
        command("object", "put", APP, "notes", '{"id": "note", "title": "Milk"}', "--realm", "rlm-public")
        command("provider", "add", APP, "oidc", "--name", "house", "--issuer", "https://id.example.com",
                "--client-id", APP, "--public")  # fmt: skip
        _sign_in(place.port, client)
        campaign = command("endpoint", "replay", APP, endpoint, "--sequence", "0")["id"]
        _until(lambda: all(each["state"] != "waiting" for each in command("delivery", "list", APP)))
        _until(lambda: command("task", "runs", APP))
    return {
        "app": APP,
        "cookie": browser.cookie,
        "endpoint": endpoint,
        "campaign": campaign,
        "provider": "house",
        "task": "welcome",
        "table": "notes",
        "type": "user.enrolled",
    }


def _set_up(browser: Browser, command: Callable[..., Any]) -> None:
    """Follows an invitation, as an owner who takes a password."""
    link = urlsplit(command("operator", "invite", EMAIL, "--role", "owner")["link"]).path
    html = browser.get(link)[1].decode()
    fields = {name: unescape(value) for name, value in re.findall(r'name="(\w+)"[^>]* value="([^"]*)"', html)}
    status, content, _ = browser.post(link, fields | {"name": "Bench", "email": EMAIL, "password": PASSWORD})
    if status != 303:
        raise SystemExit(f"The operator could not be set up: {status} {content[:2_000]!r}")


def _sign_in(port: int, client: dict[str, str]) -> None:
    """A first login, by a server that vouches for the person."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    body = {
        "grant_type": "client_credentials",
        "client_id": client["client_id"],
        "client_secret": client["client_secret"],
        "scopes": ["ACCESS_DB"],
        "public_key": key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        "claims": {"sub": "first@example.com", "email": "first@example.com", "name": "First"},
    }
    request = urllib.request.Request(
        f"http://localhost:{port}/{APP}/token",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()


def _until(settled: Callable[[], Any]) -> None:
    give_up_at = time.monotonic() + SETTLE_SECONDS_MAX
    while not settled():
        if time.monotonic() > give_up_at:
            raise SystemExit("What the login has set off did not come to its end.")
        time.sleep(0.2)


def _ask_for_all(port: int, pid: int, values: dict[str, str], cookie: str) -> bool:
    """Asks for every page and prints what each cost. True: something is over its limit, or broken."""
    browser, over = Browser(port, cookie), False
    browser.get("/manager/sign-in?again=1")
    time.sleep(TYPING_SECONDS)
    print(f"{'page':<78}{'first ms':>9}{'p50':>8}{'p99':>8}{'CPU':>7}{'HTML kB':>9}{'all kB':>8}")
    for path in _addresses(values):
        first = browser.get(path)[2]  # nothing of it is in memory yet
        used = machine.cpu_seconds(pid)
        asked = [browser.get(path) for _ in range(ASKS)]
        cpu_ms = (machine.cpu_seconds(pid) - used) / ASKS * 1_000
        times = sorted(took for _, _, took in asked)
        p50, p99 = times[ASKS // 2], times[min(ASKS - 1, int(ASKS * 0.99))]
        status, html, _ = asked[-1]
        size = browser.whole(html)
        wrong = "" if status in (200, 303) else f"  status {status}"
        wrong += "  SLOW" if p99 > MS_MAX else ""
        wrong += "  HEAVY" if size > BYTES_MAX else ""
        over = over or bool(wrong)
        figures = (
            f"{first:>9.1f}{p50:>8.1f}{p99:>8.1f}{cpu_ms:>7.1f}{len(html) / 1e3:>9.1f}{size / 1e3:>8.1f}"
        )
        print(f"{path[:77]:<78}{figures}{wrong}", flush=True)
    return over


def _addresses(values: dict[str, str]) -> Iterator[str]:
    """The address of every page, and those with filters."""
    for each in routes.PAGES:
        if each.method != "GET" or each.path.endswith(NO_PAGES) or ":path" in each.path or not each.path:
            continue
        if unknown := set(re.findall(r"{(\w+)}", each.path)) - values.keys():
            print(f"{each.path}: no value for {', '.join(sorted(unknown))}", flush=True)
            continue
        path = "/manager" + each.path.format(
            **{name: quote(value, safe="") for name, value in values.items()}
        )
        yield path
        for fields in ALSO.get(each.path, ()):
            filled = {name: value.format(**values) for name, value in fields.items()}
            yield f"{path}?{urlencode(filled)}"


if __name__ == "__main__":
    main()
