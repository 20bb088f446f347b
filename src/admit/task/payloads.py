"""What a worker process is given for one run, as the server knows it. Contexts are made of it.

Times are UTC milliseconds here. What is JSON from elsewhere (data of events, parameters) stays text until a
task looks at it.
"""

from collections.abc import Mapping
from typing import Any

import msgspec


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Which run it is. `attempt` is 1 on the first try; `now` the server's time at its beginning.

    `test`: nothing of it is kept, and nothing goes out.
    """

    run_id: str
    attempt: int
    task: str
    app_id: str
    app: str
    now: int
    test: bool = False


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """How it was proven who is at the door; the words are those of events."""

    method: str
    provider: str
    intent: str = ""


class AskedDevice(msgspec.Struct, frozen=True, kw_only=True):
    """Where somebody signs in. `derived`: the client sent no id, so it is made from its key."""

    identifier: str
    derived: bool
    label: str = ""
    platform: str = ""
    model: str = ""
    bundle_id: str = ""
    app_version: str = ""
    runtime_version: str = ""

    @property
    def deviceIdentifier(self) -> str:
        """The same as `identifier`, as JourneyApps calls it."""
        return self.identifier


class Decision(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="decision"):
    """An unknown person at the door. `device` is None where the client brings no key; `address` is the one
    that the request came from."""

    admission_id: str
    user_id: str
    email: str
    email_verified: bool
    name: str
    sign_in: SignedIn
    device: AskedDevice | None
    claims: Mapping[str, Any]
    address: str = ""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="event"):
    """A fact that was committed. `data` is the JSON of the catalog, with all its members."""

    event_id: str
    sequence: int
    type: str
    occurred_at: int
    data: bytes


class Schedule(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="schedule"):
    """A time of the cron expression has come."""

    scheduled_at: int


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Whose access token came with a request; it was valid here."""

    user_id: str
    scopes: tuple[str, ...]
    session_id: str = ""


class Request(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="request"):
    """A request to an HTTP task. Names of headers are in lower case."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes
    address: str = ""
    caller: Caller | None = None


class Call(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="call"):
    """It was called by its name. `parameters` is a JSON object; `by` says who called: a run, or an actor."""

    parameters: bytes
    by: str = ""


Payload = Decision | Event | Schedule | Request | Call
