"""Trying an endpoint out: an example is sent at once, beside the queue, and nothing is noted of it."""

import msgspec

from admit.clock import Clock, new_id
from admit.errors import InvalidRequest
from admit.events.data_facts import DataChange, DataChanged
from admit.events.endpoint_facts import Ping
from admit.events.examples import EXAMPLES
from admit.outbound.http import Failure, HttpClient, Reply
from admit.webhooks import change_delivery, change_portions, delivery, journey_messages, messages, verdicts
from admit.webhooks.book import Book
from admit.webhooks.endpoints import Endpoint
from admit.webhooks.verdicts import Verdict


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent, what came back, and what that would have meant for a delivery."""

    headers: dict[str, str]
    body: bytes
    answer: Reply | Failure
    verdict: Verdict


async def try_out(
    book: Book,
    http: HttpClient,
    endpoint: Endpoint,
    app_name: str,
    event_type: str,
    clock: Clock,
    server: str,
) -> Trial:
    """Sends an example of `event_type`, which is in the catalog, as a delivery would, paused or not.

    The endpoint of a web hook of the data model is sent an example of what it is told. `server`: our host.
    Raises InvalidRequest for a type of which the endpoint cannot be told.
    """
    now, event_id = clock(), new_id("evt")
    if endpoint.settings.gathers:
        body = change_portions.body(_changes(event_type))
        headers = change_delivery.headers_of(endpoint, event_id, body, now)
        answer = await change_delivery.post(http, endpoint, event_id, body, now)
        return Trial(headers=headers, body=body, answer=answer, verdict=verdicts.judge(answer, clock()))
    if endpoint.settings.hook:
        body = journey_messages.sample(endpoint, app_name=app_name, server=server, event_id=event_id, now=now)
    else:
        body = messages.sample(event_type, endpoint.app_id, app_name, full=endpoint.full, now=now)
    signed = await book.journey_headers(endpoint, body, now)
    headers = delivery.headers_of(endpoint, event_id, body, now, signed)
    answer = await delivery.post(http, endpoint, event_id, body, now, signed)
    return Trial(headers=headers, body=body, answer=answer, verdict=verdicts.judge(answer, clock()))


def _changes(event_type: str) -> tuple[DataChange, ...]:
    """What a change hook is sent as an example of a type."""
    match EXAMPLES[event_type]:
        case DataChanged(changes=changes):
            return changes
        case Ping():
            return ()
        case _:
            raise InvalidRequest(f"A change hook is told of {DataChanged.event_type}, and of nothing else.")
