"""Deals with each enrollment once: ENDPOINT_SECRET=whsec_… python receive_enrollments.py"""

import os
import sqlite3
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

REQUEST_BYTES_MAX = 1_000_000
TABLES = """
CREATE TABLE IF NOT EXISTS heard (webhook_id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS processed (user_id TEXT, device_id TEXT, PRIMARY KEY (user_id, device_id));
"""
HEARD = "INSERT INTO heard VALUES (?) ON CONFLICT DO NOTHING"
PROCESSED = "INSERT INTO processed VALUES (?, ?) ON CONFLICT DO NOTHING"

webhook = Webhook(os.environ["ENDPOINT_SECRET"])
one_at_a_time = Lock()
db = sqlite3.connect(os.environ.get("TABLES", "enrollments.db"), check_same_thread=False)
db.executescript(TABLES)


def enrolled(webhook_id: str, data: Any) -> str:
    """Deals with a device.enrolled; all it does is committed together, or not at all."""
    user, device, session = data["user"]["user_id"], data["device"], data["session"]
    with one_at_a_time, db:
        if db.execute(HEARD, [webhook_id]).rowcount == 0:
            return "heard before"
        if db.execute(PROCESSED, [user, device["identifier"]]).rowcount == 0:
            return f"{user} on {device['identifier']}: dealt with before, number {session['ordinal']}"
        # Here is the place for what an enrollment means to you, in the same transaction.
        who = "a new person" if device.get("first_for_user") else "one more device"
        return f"{user} on {device['identifier']}: {who}"


class Receiver(BaseHTTPRequestHandler):
    timeout = 10

    def do_POST(self) -> None:
        try:
            body = self.rfile.read(min(int(self.headers["content-length"] or 0), REQUEST_BYTES_MAX))
            event = webhook.verify(body, dict(self.headers.items()))
        except (WebhookVerificationError, ValueError) as error:
            return self.answer(400, f"This is no event that Admit has signed: {error}.\n")
        if event["type"] == "device.enrolled":
            print(enrolled(self.headers["webhook-id"], event["data"]), flush=True)
        return self.answer(204, "")

    def answer(self, status: int, sentence: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(sentence.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: an event is one line already."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9100"))), Receiver)
    print(f"Waiting for enrollments at http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
