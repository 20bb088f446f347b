"""What is sent to an endpoint: the body of a delivery, as Standard Webhooks 1.0.0 asks for. Pure.

The log keeps the data of an event as JSON; here it gets the members around it, and is not read unless
something must be taken out.
"""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from admit.clock import iso_date
from admit.events.examples import EXAMPLES
from admit.events.log import Recorded
from admit.events.members import Moment
from admit.events.privacy import without_person

_encode = msgspec.json.Encoder().encode


class App(msgspec.Struct, frozen=True):
    """The app in which it happened."""

    id: Annotated[str, Meta(description="Never changes.")]
    name: Annotated[str, Meta(description="As it is at the time of sending.")]


class Around(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The members of `data` in front of what the log keeps."""

    sequence: (
        Annotated[
            str,
            Meta(
                description="The place of the event in the log of its app: a whole number that grows. Absent "
                "where there is none, in tests and backfills."
            ),
        ]
        | UnsetType
    ) = UNSET
    app: App
    out_of_order: (
        Annotated[bool, Meta(description="An earlier event of the same person may still be to come.")]
        | UnsetType
    ) = UNSET
    backfill: (
        Annotated[
            bool, Meta(description="It tells what was so when the endpoint was made, not what happened.")
        ]
        | UnsetType
    ) = UNSET
    test: Annotated[bool, Meta(description="It is an example: nothing has happened.")] | UnsetType = UNSET


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a request to an endpoint."""

    type: Annotated[str, Meta(description="The type of the event.")]
    timestamp: Annotated[
        Moment, Meta(description="When it happened. When it was sent is in the header webhook-timestamp.")
    ]
    data: Around


def body(
    recorded: Recorded,
    app_id: str,
    app_name: str,
    *,
    full: bool,
    out_of_order: bool = False,
    backfill: bool = False,
    test: bool = False,
) -> bytes:
    """The body that tells `recorded`: the same bytes for the same arguments.

    `full`: with email, name and data of the person. Position 0 is none.
    """
    around = Around(
        sequence=str(recorded.position) if recorded.position else UNSET,
        app=App(app_id, app_name),
        out_of_order=out_of_order or UNSET,
        backfill=backfill or UNSET,
        test=test or UNSET,
    )
    head = _encode(Body(type=recorded.type, timestamp=iso_date(recorded.occurred_at), data=around))
    told = bytes(recorded.data) if full else without_person(bytes(recorded.data))
    return head if told == b"{}" else head[:-2] + b"," + told[1:] + b"}"


def sample(event_type: str, app_id: str, app_name: str, *, full: bool, now: int, test: bool = True) -> bytes:
    """The body of an example of a type of event, happening at `now`. Raises KeyError for an unknown type."""
    data = msgspec.Raw(_encode(EXAMPLES[event_type]))
    example = Recorded(position=0, event_id="", type=event_type, uid=None, occurred_at=now, data=data)
    return body(example, app_id, app_name, full=full, test=test)
