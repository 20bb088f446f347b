"""Triggering: an example of a type of event goes the way of a real one, except that nothing has happened."""

import msgspec

from admit.clock import new_id
from admit.errors import InvalidRequest
from admit.events import subscriptions
from admit.events.examples import EXAMPLES
from admit.events.subscriptions import Audience, Subscription
from admit.jobs import queue
from admit.storage.transaction import Transaction
from admit.webhooks import change_hooks
from admit.webhooks.delivery import Enclosed
from admit.webhooks.endpoints import KIND


class Triggered(msgspec.Struct, frozen=True):
    """A delivery of an example that was left to the workers."""

    delivery_id: str
    endpoint_id: str


def trigger(
    tx: Transaction, app_id: str, event_type: str, endpoint_id: str | None, event_id: str, now: int
) -> list[Triggered] | None:
    """Leaves an example of a type, marked as a test, to an endpoint, or (None) to all that are told of the
    type at present. Filters are not asked. Returns None where there is no such endpoint.

    Nothing is recorded. Raises KeyError for an unknown type.
    """
    example = Enclosed(
        event_id=event_id,
        type=event_type,
        occurred_at=now,
        data=msgspec.Raw(msgspec.json.encode(EXAMPLES[event_type])),
        test=True,
    )
    payload = msgspec.json.encode(example).decode()
    known = {
        each.subscriber_id: each for each in subscriptions.of_app(tx, app_id).values() if each.kind == KIND
    }
    if endpoint_id is not None and change_hooks.told_until(tx, app_id, endpoint_id) is not None:
        raise InvalidRequest("A change hook is told of no examples. `admit endpoint test` sends it one.")
    if endpoint_id is None:
        told = Audience([each for each in known.values() if each.live]).of(event_type)
    elif endpoint_id in known:
        told = [known[endpoint_id]]
    else:
        return None
    # The lock keeps out a removal, which would leave the delivery behind in a lane that is gone.
    here = subscriptions.locked(tx, app_id, [each.subscriber_id for each in told])
    return [_enqueued(tx, each, payload, now) for each in told if each.subscriber_id in here]


def _enqueued(tx: Transaction, endpoint: Subscription, payload: str, now: int) -> Triggered:
    delivery_id = queue.enqueue(
        tx,
        app_id=endpoint.app_id,
        kind=KIND,
        payload=payload,
        now=now,
        job_id=new_id("dlv"),
        lane=endpoint.subscriber_id,
    )
    return Triggered(delivery_id, endpoint.subscriber_id)
