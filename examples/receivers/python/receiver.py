"""Receives events: ENDPOINT_SECRET=whsec_… python receiver.py"""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any

from public_key import PublicKeyWebhook
from standardwebhooks import Webhook, WebhookVerificationError

REQUEST_BYTES_MAX = 1_000_000

secret = os.environ["ENDPOINT_SECRET"]
webhook = PublicKeyWebhook(secret) if secret.startswith("whpk_") else Webhook(secret)
seen: set[str] = set()  # in real life a table, written in the transaction of what the event causes
one_at_a_time = Lock()


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps the connection for the next event
    timeout = 10

    def do_POST(self) -> None:
        try:
            body = self.rfile.read(min(int(self.headers["content-length"] or 0), REQUEST_BYTES_MAX))
            event = webhook.verify(body, dict(self.headers.items()))
        except (WebhookVerificationError, ValueError) as error:
            return self.answer(400, f"This is no event that Admit has signed: {error}.\n")
        with one_at_a_time:
            again = self.headers["webhook-id"] in seen
            seen.add(self.headers["webhook-id"])
        user = event["data"].get("user", {}).get("user_id", "-")
        print(event["type"], user, *(["again"] if again else []), flush=True)
        return self.answer(200, "")

    def answer(self, status: int, sentence: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(sentence.encode())))
        self.end_headers()
        self.wfile.write(sentence.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: an event is one line already."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9100"))), Receiver)
    print(f"Waiting for events at http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
