"""The page's own server: the bundle, where the page finds the rest, and the devices of its people.

    ADMIT_TOKEN=adm_… python page_server.py --port 3000 --database-url http://localhost:8080/demo
    admit token create --label "The demo's page" --app demo --scopes sessions:read

The page knows who is here, and nothing of their other devices. Its server asks Admit, with a token of the
operator's that never reaches a browser.
"""

import argparse
import json
import os
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

BUNDLE = Path(__file__).parent / "page" / "dist"
ASK_SECONDS_MAX = 5


def devices_of(access_token: str, database_url: str, operator_token: str) -> list[dict[str, Any]]:
    """The newest session on each device of whoever holds the access token. Raises HTTPError, 401 for nobody.

    They are not asked who they are: the token says it, and Admit says whether the token is good.
    """
    claims = ask(f"{database_url}/token/validate", access_token)["claims"]
    server, _, app = database_url.rpartition("/")
    user = quote(claims["sub"], safe="")
    page = ask(f"{server}/api/v4/{app}/users/{user}/sessions", operator_token)
    newest: dict[str, dict[str, Any]] = {}
    for session in page["objects"]:  # the newest comes first
        newest.setdefault(session["device"]["id"], session)
    return list(newest.values())


def ask(url: str, token: str) -> Any:
    """What Admit answers, as JSON. Raises HTTPError, and OSError where it does not answer."""
    request = Request(url, headers={"authorization": f"Bearer {token}"})
    with urlopen(request, timeout=ASK_SECONDS_MAX) as answer:
        return json.load(answer)


class PageHandler(SimpleHTTPRequestHandler):
    """Files of the bundle, `config.json`, and `devices` for whoever shows an access token."""

    def __init__(
        self, *args: Any, database_url: str, inbox_url: str, events_url: str, operator_token: str
    ) -> None:
        self.config = {"databaseUrl": database_url, "inboxUrl": inbox_url, "eventsUrl": events_url}
        self.operator_token = operator_token
        server, receiver = urlsplit(database_url).netloc, urlsplit(events_url).netloc
        self.policy = (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; base-uri 'none'; "
            f"connect-src 'self' http://{server} ws://{server} http://{receiver}; form-action 'none'; "
            "frame-ancestors 'none'"
        )
        super().__init__(*args, directory=str(BUNDLE))

    def do_GET(self) -> None:
        if self.path == "/config.json":
            self.answer(200, self.config)
        elif self.path == "/devices":
            self.tell_devices()
        else:
            super().do_GET()

    def tell_devices(self) -> None:
        if not self.operator_token:
            self.answer(503, {"message": "This server was started without ADMIT_TOKEN."})
            return
        access_token = self.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            self.answer(200, devices_of(access_token, self.config["databaseUrl"], self.operator_token))
        except HTTPError as refusal:
            self.answer(refusal.code, {"message": f"Admit says: {refusal}"})
        except OSError as error:
            self.answer(502, {"message": f"Admit does not answer: {error}"})

    def answer(self, status: int, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def end_headers(self) -> None:
        self.send_header("content-security-policy", self.policy)
        self.send_header("cache-control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the browser's own tools show requests better."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Serves the bundled page. ADMIT_TOKEN lists people's devices."
    )
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--database-url", default="http://localhost:8080/demo")
    parser.add_argument("--events-url", default="http://localhost:9100/events")
    options = parser.parse_args()
    server = urlsplit(options.database_url)
    handler = partial(
        PageHandler,
        database_url=options.database_url,
        inbox_url=f"{server.scheme}://{server.netloc}/inbox",
        events_url=options.events_url,
        operator_token=os.environ.get("ADMIT_TOKEN", ""),
    )
    ThreadingHTTPServer(("127.0.0.1", options.port), handler).serve_forever()


if __name__ == "__main__":
    main()
