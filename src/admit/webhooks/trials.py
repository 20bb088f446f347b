"""Trying an endpoint out: an example is sent at once, beside the queue, and nothing is noted of it."""

import msgspec

from admit.clock import Clock, new_id
from admit.outbound.http import Failure, HttpClient, Reply
from admit.webhooks import delivery, messages, verdicts
from admit.webhooks.endpoints import Endpoint
from admit.webhooks.verdicts import Verdict


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent, what came back, and what that would have meant for a delivery."""

    headers: dict[str, str]
    body: bytes
    answer: Reply | Failure
    verdict: Verdict


async def try_out(
    http: HttpClient, endpoint: Endpoint, app_name: str, event_type: str, clock: Clock
) -> Trial:
    """Sends an example of `event_type`, which is in the catalog, as a delivery would, paused or not."""
    now, event_id = clock(), new_id("evt")
    body = messages.sample(event_type, endpoint.app_id, app_name, full=endpoint.full, now=now)
    headers = delivery.headers_of(endpoint, event_id, body, now)
    answer = await delivery.post(http, endpoint, event_id, body, now)
    return Trial(headers=headers, body=body, answer=answer, verdict=verdicts.judge(answer, clock()))
