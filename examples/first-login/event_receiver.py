"""A receiver of events: Admit tells it what has happened, once it has been committed.

    ENDPOINT_SECRET=whsec_… python event_receiver.py --port 9100
    admit endpoint create demo http://127.0.0.1:9100/ --events user.enrolled,device.enrolled

Copy it, and put what your systems have to do into `happened`. The smallest receivers that do all they must,
in Python and in JavaScript, are in ../receivers.
"""

import argparse
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition
from time import strftime
from typing import Any, ClassVar

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

REQUEST_BYTES_MAX = 1_000_000
REMEMBERED_MAX = 1_000
STREAM_BREATH_SECONDS = 15.0


def happened(event: dict[str, Any]) -> None:
    """The effect. Yours will write to a CRM, send a welcome mail or make a workspace."""
    data = event["data"]
    details = {}
    if device := data.get("device"):
        details["device"] = device["identifier"][:12] + "…"
        details["first_for_user"] = device.get("first_for_user", False)
    if session := data.get("session"):
        details["ordinal"] = session["ordinal"]
    tell(f"{event['type']}  {data.get('user', {}).get('user_id', '-')}", **details)


class Received:
    """What has come, the oldest first. An event may come twice, and is the same by its `webhook-id`.

    In real life this is a table, and a row of it is written in the transaction of what the event causes.
    """

    def __init__(self) -> None:
        self._events: dict[str, str] = {}
        self._news = Condition()

    def add(self, event_id: str, body: str) -> bool:
        """Remembers an event. False: it has come before."""
        with self._news:
            if event_id in self._events:
                return False
            self._events[event_id] = body
            if len(self._events) > REMEMBERED_MAX:
                del self._events[next(iter(self._events))]
            self._news.notify_all()
            return True

    def behind(self, last_id: str | None) -> list[tuple[str, str]]:
        """Those that have come since `last_id`; waits a while where there are none."""
        with self._news:
            if not (found := self._since(last_id)):
                self._news.wait(STREAM_BREATH_SECONDS)
                found = self._since(last_id)
            return found

    def _since(self, last_id: str | None) -> list[tuple[str, str]]:
        events = list(self._events.items())
        places = [place for place, (event_id, _) in enumerate(events) if event_id == last_id]
        return events[places[0] + 1 :] if places else events


class EventHandler(BaseHTTPRequestHandler):
    """POST: an event of Admit. GET /events: what has come, for the page of this demo."""

    webhook: ClassVar[Webhook]
    received: ClassVar[Received]
    page: ClassVar[str]
    protocol_version = "HTTP/1.1"  # Admit keeps the connection for the next event

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("content-length", 0)), REQUEST_BYTES_MAX))
        try:
            # The signature covers id, time and body: without it anybody could tell us of anything.
            event = self.webhook.verify(body, dict(self.headers.items()))
        except (WebhookVerificationError, ValueError) as error:
            self.answer(400, str(error))
            tell(f"refused a request that Admit did not sign: {error}")
            return
        if self.received.add(self.headers["webhook-id"], json.dumps(event)):
            happened(event)
        # Only now: whatever is not answered with 2xx is sent again, for about three days.
        self.answer(200, "")

    def do_GET(self) -> None:
        if self.path != "/events":
            self.answer(404, "There is nothing here but POST / and GET /events.")
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("cache-control", "no-store")
        self.send_header("access-control-allow-origin", self.page)
        self.send_header("connection", "close")
        self.end_headers()
        last_id = self.headers["last-event-id"]
        try:
            while True:
                self.wfile.write(b": still here\n\n")
                for event_id, body in self.received.behind(last_id):
                    self.wfile.write(f"id: {event_id}\ndata: {body}\n\n".encode())
                    last_id = event_id
        except OSError:
            self.close_connection = True  # the page was closed

    def answer(self, status: int, sentence: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(sentence.encode())))
        self.end_headers()
        self.wfile.write(sentence.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: `tell` has a better line for each event."""


def tell(what: str, **details: object) -> None:
    """Prints one event in one line."""
    told = "".join(f"  {name}={value!r}" for name, value in details.items())
    print(f"{strftime('%H:%M:%S')}  event receiver: {what}{told}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Receives events. ENDPOINT_SECRET must be set.")
    parser.add_argument("--port", type=int, default=9100)
    parser.add_argument("--page", default="http://localhost:3000", help="Who may read GET /events.")
    options = parser.parse_args()
    EventHandler.webhook = Webhook(os.environ["ENDPOINT_SECRET"])
    EventHandler.received = Received()
    EventHandler.page = options.page
    server = ThreadingHTTPServer(("127.0.0.1", options.port), EventHandler)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
