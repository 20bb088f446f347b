"""Serves the bundled page, and tells it where the app's database URL, the inbox and the receiver are.

python page_server.py --port 3000 --database-url http://localhost:8080/demo
"""

import argparse
import json
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

BUNDLE = Path(__file__).parent / "page" / "dist"


class PageHandler(SimpleHTTPRequestHandler):
    """Files of the bundle, and `config.json`."""

    def __init__(self, *args: Any, database_url: str, inbox_url: str, events_url: str) -> None:
        config = {"databaseUrl": database_url, "inboxUrl": inbox_url, "eventsUrl": events_url}
        self.config = json.dumps(config).encode()
        server, receiver = urlsplit(database_url).netloc, urlsplit(events_url).netloc
        self.policy = (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; base-uri 'none'; "
            f"connect-src 'self' http://{server} ws://{server} http://{receiver}; form-action 'none'; "
            "frame-ancestors 'none'"
        )
        super().__init__(*args, directory=str(BUNDLE))

    def do_GET(self) -> None:
        if self.path == "/config.json":
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(self.config)))
            self.end_headers()
            self.wfile.write(self.config)
        else:
            super().do_GET()

    def end_headers(self) -> None:
        self.send_header("content-security-policy", self.policy)
        self.send_header("cache-control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the browser's own tools show requests better."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Serves the bundled page.")
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
    )
    ThreadingHTTPServer(("127.0.0.1", options.port), handler).serve_forever()


if __name__ == "__main__":
    main()
