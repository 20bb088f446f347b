"""What a task is given: one argument, which holds all there is."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, cast

import msgspec

from admit.task.calls import Calls
from admit.task.db import Db
from admit.task.environment import Env
from admit.task.event_parts import (
    DecidedAs,
    Device,
    Endpoint,
    EventData,
    Identity,
    Person,
    Session,
    SignIn,
)
from admit.task.fetching import Http
from admit.task.log import Log
from admit.task.payloads import AskedDevice, Caller, SignedIn
from admit.task.pending import Pending
from admit.task.responses import BadRequest
from admit.task.wire import Change, NewCall


class AppName(msgspec.Struct, frozen=True, kw_only=True):
    """The app that the run is for."""

    id: str
    name: str

    def __str__(self) -> str:
        return self.name


class ThisRun(msgspec.Struct, frozen=True, kw_only=True):
    """Which run it is. `attempt` is 1 on the first try, `now` the time at which this attempt began.

    `test`: nothing of it is kept, and nothing goes out.
    """

    id: str
    attempt: int
    now: datetime
    test: bool = False

    @property
    def key(self) -> str:
        """The same at every attempt: for whoever does a thing once for each key."""
        return self.id


class Effects(msgspec.Struct, frozen=True):
    """What the run has written and called so far."""

    pending: Pending
    calls: Calls


class Context(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What every task is given.

    `env`: the variables that it has asked for. `log` takes down lines, as print() does. `http` sends requests
    to the outside, `db` has the app's users, devices and sessions, and its tables.
    """

    app: AppName
    run: ThisRun
    env: Env
    log: Log
    http: Http
    db: Db
    effects: Effects

    def call(
        self,
        task: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        after: timedelta | float | None = None,
        at: datetime | None = None,
        queue: str = "",
    ) -> str:
        """Has a task, by its name, run once this run has ended well; returns the id of that run.

        It is due at once, `after` some time (a timedelta, or seconds), or `at` a time. Runs in one `queue`
        never overlap. `parameters` become a JSON object of at most 1 MB. Raises ValueError.
        """
        return self.effects.calls.add(task, parameters or {}, after, at, queue)

    @property
    def changes(self) -> tuple[Change, ...]:
        """What is to be written once the run has ended well."""
        return tuple(self.effects.pending)

    @property
    def calls(self) -> tuple[NewCall, ...]:
        """What is to be called once the run has ended well."""
        return self.effects.calls.calls


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request comes from. `address` is "" while unknown."""

    address: str = ""


class DecisionContext(Context, frozen=True, kw_only=True, eq=False):
    """An unknown person is at the door. `db` can be read, not written.

    `device` is None where the client brings no key, `claims` are those that the provider's mapping keeps.
    """

    admission_id: str
    user_id: str
    email: str
    email_verified: bool
    name: str
    sign_in: SignedIn
    device: AskedDevice | None
    claims: Mapping[str, Any]
    request: Origin

    @property
    def deviceIdentifier(self) -> str:
        """The identifier of the device, as JourneyApps calls it; "" where there is none."""
        return "" if self.device is None else self.device.identifier


class Happened(msgspec.Struct, frozen=True, kw_only=True):
    """The event itself. `sequence` is its position in the app's log."""

    id: str
    type: str
    sequence: int
    occurred_at: datetime


class EventContext(Context, frozen=True, kw_only=True, eq=False):
    """Something has happened. `data` is everything that the event carries; what is asked of most is here by
    name: None, or "", where the event has none."""

    event: Happened
    told: EventData
    body: bytes

    @property
    def data(self) -> Mapping[str, Any]:
        """The data of the event, as endpoints are sent it in full."""
        return cast(dict[str, Any], msgspec.json.decode(self.body))

    @property
    def user(self) -> Person:
        """Whom it is about. Raises LookupError for the few events that are about nobody."""
        if self.told.user is None:
            raise LookupError(f"{self.event.type} is about no user.")
        return self.told.user

    @property
    def device(self) -> Device | None:
        """The device that took part."""
        return self.told.device

    @property
    def deviceIdentifier(self) -> str:
        """The identifier of the device, as JourneyApps calls it; "" where there is none."""
        return "" if self.told.device is None else self.told.device.identifier

    @property
    def session(self) -> Session | None:
        """The session that took part."""
        return self.told.session

    @property
    def sign_in(self) -> SignIn | None:
        """How it was proven who is at the door."""
        return self.told.sign_in

    @property
    def verdict(self) -> DecidedAs | None:
        """What was decided about the person."""
        return self.told.verdict

    @property
    def identity(self) -> Identity | None:
        """The identity that was linked or unlinked."""
        return self.told.identity

    @property
    def endpoint(self) -> Endpoint | None:
        """The endpoint, of events about endpoints."""
        return self.told.endpoint

    @property
    def reason(self) -> str:
        """Why it happened."""
        return self.told.reason

    @property
    def changed(self) -> tuple[str, ...]:
        """Which properties of the user were changed."""
        return self.told.changed


class ScheduleContext(Context, frozen=True, kw_only=True, eq=False):
    """A time of the schedule has come: `scheduled_at`, which may be some time ago."""

    scheduled_at: datetime


class RequestContext(Context, frozen=True, kw_only=True, eq=False):
    """A request to PUBLIC_URL/<app>/tasks<path>. Headers are found in any case.

    `query` has the last value of each name, `query_pairs` all. `caller` is whose access token came along,
    None where there was none.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    query: Mapping[str, str]
    query_pairs: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes
    address: str
    caller: Caller | None

    @property
    def text(self) -> str:
        """The body, in UTF-8. Raises BadRequest, which is answered 400."""
        try:
            return self.body.decode()
        except UnicodeDecodeError:
            raise BadRequest("The body is not UTF-8.") from None

    def json(self) -> Any:
        """The body, read as JSON. Raises BadRequest, which is answered 400."""
        try:
            return msgspec.json.decode(self.body)
        except (ValueError, RecursionError):
            raise BadRequest("The body is not JSON.") from None


class CallContext(Context, frozen=True, kw_only=True, eq=False):
    """It was called by its name, with `parameters`. `by` says who called: a run, or somebody."""

    parameters: Mapping[str, Any]
    by: str
