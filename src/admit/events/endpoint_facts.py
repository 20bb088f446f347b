"""The part of the catalog that is about endpoints, not about people."""

from typing import Annotated, ClassVar

from msgspec import UNSET, Meta, UnsetType

from admit.events.members import Members, Moment

FailingSince = Annotated[Moment, Meta(description="When the first of these failures was.")]


class Endpoint(Members, frozen=True, kw_only=True):
    """Where events are delivered."""

    id: Annotated[str, Meta(description="The endpoint, as the admin API names it.")]
    url: Annotated[str, Meta(description="Its scheme and host: what comes behind them may be a secret.")]
    description: Annotated[str, Meta(description="What the operator calls it.")]


class EndpointFailing(Members, frozen=True, kw_only=True):
    """Deliveries to an endpoint have done nothing but fail for a day."""

    event_type: ClassVar[str] = "endpoint.failing"

    endpoint: Endpoint
    failing_since: FailingSince
    reason: Annotated[str, Meta(description="What the last attempt came to, in a sentence.")]


class EndpointDisabled(Members, frozen=True, kw_only=True):
    """An endpoint is told of nothing any more, until it is enabled; then it is told what it has missed."""

    event_type: ClassVar[str] = "endpoint.disabled"

    endpoint: Endpoint
    failing_since: FailingSince | UnsetType = UNSET
    reason: Annotated[str, Meta(description="Why, in a sentence.")]


class Ping(Members, frozen=True, kw_only=True):
    """A test: nothing has happened. Sent to endpoints that ask for it by name, and to try one out."""

    event_type: ClassVar[str] = "test.ping"
