"""A decision endpoint: Admit asks it about every person whom the app does not know yet.

    HOOK_SECRET=whsec_… python decision_endpoint.py --port 9000
    admit policy set demo webhook http://127.0.0.1:9000/decide

It is asked `{"userId": "ada@example.com", "email": "ada@example.com"}` and answers
`{"ok": true, "action": "prod", "userData": {"displayName": "Ada", "plan": "team"}}`.
Copy it, and put your own rule into `decide`.
"""

import argparse
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import strftime
from typing import Any, ClassVar, Literal, TypedDict

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

REQUEST_BYTES_MAX = 64_000


class Question(TypedDict):
    """What Admit asks. `email` is "" when the person proved who they are in another way."""

    userId: str
    email: str


class Verdict(TypedDict):
    """What we answer. `userData` becomes `db.cloud.currentUser.data`, its displayName also the name."""

    ok: bool
    action: Literal["prod", "eval", "reject"]
    userData: dict[str, str]


def decide(person: Question) -> Verdict:
    """The rule. Yours will look into a CRM, a list of customers or a payment system."""
    local, _, domain = person["email"].rpartition("@")
    name = local.replace(".", " ").title()
    if local.startswith("no"):
        return {"ok": True, "action": "reject", "userData": {}}
    # The whole domain is compared: "example.com" also stands in "example.com.attacker.io".
    if domain == "example.com":
        return {"ok": True, "action": "prod", "userData": {"displayName": name, "plan": "team"}}
    return {"ok": True, "action": "eval", "userData": {"displayName": name, "plan": "trial"}}


class DecisionHandler(BaseHTTPRequestHandler):
    """Checks that it is Admit who asks, decides and answers."""

    webhook: ClassVar[Webhook]
    protocol_version = "HTTP/1.1"  # Admit keeps the connection for the next question

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("content-length", 0)), REQUEST_BYTES_MAX))
        try:
            # The signature covers id, time and body: without it anybody could ask who is a customer.
            person: Question = self.webhook.verify(body, dict(self.headers.items()))
        except (WebhookVerificationError, ValueError) as error:
            self.answer(401, {"error": str(error)})
            tell(f"refused a request that Admit did not sign: {error}")
            return
        verdict = decide(person)
        self.answer(200, verdict)
        tell(f"{person['email'] or person['userId']} → {verdict['action']}", **verdict["userData"])

    def answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: `tell` has a better line for each question."""


def tell(what: str, **details: str) -> None:
    """Prints one call in one line."""
    told = "".join(f"  {name}={value!r}" for name, value in details.items())
    print(f"{strftime('%H:%M:%S')}  decision endpoint: {what}{told}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Decides about newcomers. HOOK_SECRET must be set.")
    parser.add_argument("--port", type=int, default=9000)
    port = parser.parse_args().port
    DecisionHandler.webhook = Webhook(os.environ["HOOK_SECRET"])
    ThreadingHTTPServer(("127.0.0.1", port), DecisionHandler).serve_forever()


if __name__ == "__main__":
    main()
