"""How web hooks and their deliveries are told of on pages. Pure."""

from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec
from markupsafe import Markup, escape

from admit.clock import SECOND_MS
from admit.web.campaigns_api import CampaignView
from admit.web.deliveries_api import AttemptView, DeliveryHistory, DeliveryView
from admit.web.endpoint_figures_api import EndpointFigures
from admit.web.endpoint_types import LEFT_OUT, EndpointView
from admit.web.manager.endpoint_forms import METHODS, change_text, equal_text
from admit.webhooks.figures import COUNTED_MAX
from admit.webhooks.health import DISABLE_MS as DISABLE_MS

METHOD_NAMES = dict(METHODS)
STATES: Mapping[str, tuple[str, str]] = {
    "waiting": ("Waits", "warn"),
    "blocked": ("Waits its turn", ""),
    "sending": ("On its way", ""),
    "delivered": ("Delivered", "good"),
    "failed": ("Given up", "bad"),
}
"""What a state of a delivery is called, and its tone."""

STATE_CHOICES = (("", "All"), *((state, name) for state, (name, _) in STATES.items() if state != "sending"))

CAMPAIGNS: Mapping[str, str] = {
    "catch_up": "Catching up",
    "replay": "Replay",
    "retry": "Retry of what failed",
    "backfill": "Backfill",
}
ROWS: Mapping[str, str] = {"user": "person", "device": "device", "session": "session"}
"""What a backfill tells of."""
CAMPAIGN_STATES: Mapping[str, tuple[str, str]] = {
    "running": ("Running", "good"),
    "waiting": ("Waits until the web hook is enabled", "warn"),
    "done": ("Done", ""),
    "cancelled": ("Cancelled", ""),
}


SAMPLES: Mapping[str, str] = {
    "python": """\
import os
from flask import Flask, request
from standardwebhooks import Webhook, WebhookVerificationError

app = Flask(__name__)
webhook = Webhook(os.environ["ENDPOINT_SECRET"])
seen = set()  # in real life a table

@app.post("/")
def receive():
    try:
        event = webhook.verify(request.data, dict(request.headers))
    except WebhookVerificationError:
        return "", 400
    if request.headers["webhook-id"] not in seen:
        seen.add(request.headers["webhook-id"])
        print(event["type"], event["data"])
    return "", 204
""",
    "javascript": """\
import { createServer } from "node:http"
import { Webhook } from "standardwebhooks"

const webhook = new Webhook(process.env.ENDPOINT_SECRET)
const seen = new Set() // in real life a table

createServer(async (request, response) => {
  let body = ""
  for await (const piece of request.setEncoding("utf8")) body += piece
  try {
    const event = webhook.verify(body, request.headers)
    const id = request.headers["webhook-id"]
    if (!seen.has(id)) console.log(event.type, event.data)
    seen.add(id)
    response.writeHead(204).end()
  } catch {
    response.writeHead(400).end()
  }
}).listen(9100)
""",
}
"""Receivers to begin with, by language."""


class Health(msgspec.Struct, frozen=True):
    """How a web hook is doing, in a word with its tone. `since` (UTC ms) None: it says nothing."""

    text: str
    tone: str = ""
    since: int | None = None


def name_of(endpoint: EndpointView) -> str:
    """What people call it: its description, else its host."""
    return endpoint.description or urlsplit(endpoint.url).netloc


def health(endpoint: EndpointView, figures: EndpointFigures) -> Health:
    """How a web hook is doing."""
    if endpoint.state == "disabled":
        return Health("Switched off", "bad", endpoint.failing_since)
    if endpoint.state == "paused":
        return Health("Paused")
    if endpoint.failing_since is not None:
        return Health("Failing", "bad", endpoint.failing_since)
    if endpoint.behind is not None:
        return Health("Catching up", "warn")
    if not figures.accepted and not figures.waiting:
        return Health("Ready")
    return Health("Working", "good")


def waits(figures: EndpointFigures) -> str:
    """How much it has not been told yet."""
    count = figures.waiting + figures.missed
    return f"{count:,}" + ("+" if figures.waiting >= COUNTED_MAX else "")


def told_of(endpoint: EndpointView) -> str:
    """What it is told of, in a few words."""
    if endpoint.hook:
        return f"Model hook {endpoint.hook}"
    if endpoint.format == "dexie":
        return "Changes of objects"
    if not endpoint.events:
        return "Every event"
    return endpoint.events[0] if len(endpoint.events) == 1 else f"{len(endpoint.events)} types of events"


def conditions(endpoint: EndpointView) -> list[str]:
    """Its filter, a phrase for each condition."""
    rule, found = endpoint.filter, []
    if rule.user_types:
        found.append(f"people of the type {_either(rule.user_types)}")
    if rule.methods:
        found.append("by " + _either([METHOD_NAMES.get(each, each).lower() for each in rule.methods]))
    if rule.email_domains:
        found.append(f"emails at {_either(rule.email_domains)}")
    found += map(equal_text, rule.equals)
    found += [f"changes of {change_text(each)}" for each in rule.changes]
    if endpoint.once != "enrollment":
        found.append(f"once per {endpoint.once}")
    return found


def type_of(delivery: DeliveryView) -> str:
    """The type that a delivery tells, as far as it is known: of a test that has ended nothing is kept."""
    return delivery.type or ("no longer kept" if delivery.sequence else "test")


def is_under_way(delivery: DeliveryView, now: int) -> bool:
    """Whether it is being sent, or due."""
    is_due = delivery.next_at is not None and delivery.next_at <= now
    return delivery.state == "sending" or (delivery.state == "waiting" and is_due)


def standing(delivery: DeliveryHistory) -> str:
    """What changes when what is shown of a delivery does."""
    return f"{delivery.state}.{delivery.attempts}.{len(delivery.history)}.{delivery.next_at}"


def request_headers(delivery: DeliveryHistory, attempt: AttemptView) -> str:
    """The headers of one attempt, as far as they are known: a signature is not kept."""
    headers = {**(delivery.headers or {}), "webhook-timestamp": str(attempt.started_at // SECOND_MS)}
    return lines_of({**headers, "webhook-signature": LEFT_OUT})


def campaign_name(campaign: CampaignView) -> str:
    """What it does."""
    name = CAMPAIGNS[campaign.kind]
    return f"{name} of every {ROWS[campaign.of]}" if campaign.of else name


def _either(words: tuple[str, ...] | list[str]) -> str:
    return " or ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} or {words[-1]}"


def with_code(sentence: str) -> Markup:
    """A sentence of the catalogue, with what stands between backticks as code."""
    parts = sentence.split("`")
    marked = [
        Markup("<code>{}</code>").format(each) if place % 2 else escape(each)
        for place, each in enumerate(parts)
    ]
    return Markup("").join(marked)


def lines_of(headers: Mapping[str, str]) -> str:
    """Headers as they are sent, one on each line."""
    return "\n".join(f"{name}: {value}" for name, value in headers.items())
