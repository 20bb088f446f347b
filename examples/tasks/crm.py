"""Prints what it is told: python crm.py"""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

seen: set[str] = set()


class Receiver(BaseHTTPRequestHandler):
    timeout = 10

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        key = self.headers["idempotency-key"]
        print(body, "again" if key in seen else "", flush=True)
        seen.add(key)  # the same at every attempt of a run: what was done under it is not done twice
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: what it is told is one line already."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9100"))), Receiver)
    print(f"Waiting at http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
