"""Contexts of tasks for tests: those that the server gives, made of what the test says."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict, Unpack, cast

import msgspec

from admit.task.contexts import (
    CallContext,
    Context,
    DecisionContext,
    EventContext,
    RequestContext,
    ScheduleContext,
)
from admit.task.declarations import Verb
from admit.task.decorators import mark_of
from admit.task.environment import Masking
from admit.task.event_parts import (
    DecidedAs,
    Device,
    Endpoint,
    EventData,
    EventType,
    Identity,
    Person,
    Session,
    SignIn,
)
from admit.task.moments import ms_of
from admit.task.payloads import (
    AskedDevice,
    Call,
    Caller,
    Decision,
    Event,
    Payload,
    Request,
    Run,
    Schedule,
    SignedIn,
)
from admit.task.responses import Response
from admit.task.running import authenticate, run
from admit.task.staging import context_of
from admit.task.wire import Begin, Declined, Fetch, Question, Said
from admit.testing.apps import App
from admit.testing.clocks import Clock
from admit.testing.outside import Http


class Around(TypedDict, total=False):
    """What every context can be given besides.

    `env`: the variables. `app`: who lives there. `http`: what the outside answers; without it each request
    fails the test. `clock`: what time it is. `attempt`: 1 is the first. `run_id`: that of the run.
    """

    env: Mapping[str, str]
    app: App
    http: Http
    clock: Clock
    attempt: int
    run_id: str


def decision(
    email: str = "ada@example.com",
    *,
    user_id: str | None = None,
    email_verified: bool = True,
    name: str = "",
    sign_in: SignedIn | None = None,
    device: AskedDevice | str | None = "device-1",
    claims: Mapping[str, Any] | None = None,
    address: str = "127.0.0.1",
    **around: Unpack[Around],
) -> DecisionContext:
    """Somebody unknown is at the door, by a mailed code where `sign_in` does not say otherwise.

    `user_id` is the email, where it is not given; `device` may be given by its identifier alone.
    """
    payload = Decision(
        admission_id="adm_test",
        user_id=email if user_id is None else user_id,
        email=email,
        email_verified=email_verified,
        name=name,
        sign_in=sign_in or SignedIn(method="email_code", provider="email"),
        device=AskedDevice(identifier=device, derived=False) if isinstance(device, str) else device,
        claims=dict(claims or {}),
        address=address,
    )
    return cast(DecisionContext, _context(payload, around))


def event(
    type: EventType,
    *,
    user: Person | str | None = "ada@example.com",
    device: Device | str | None = None,
    session: Session | None = None,
    sign_in: SignIn | None = None,
    verdict: DecidedAs | None = None,
    identity: Identity | None = None,
    endpoint: Endpoint | None = None,
    changed: Sequence[str] = (),
    reason: str = "",
    actor: str = "",
    sequence: int = 1,
    occurred_at: datetime | None = None,
    **around: Unpack[Around],
) -> EventContext:
    """Something has happened. `user` may be given by the userId alone, `device` by its identifier.

    It is said to have happened when the clock says, where `occurred_at` is not given.
    """
    told = EventData(
        user=_person(user, type) if isinstance(user, str) else user,
        device=Device(identifier=device, derived=False) if isinstance(device, str) else device,
        session=session,
        sign_in=sign_in,
        verdict=verdict,
        identity=identity,
        endpoint=endpoint,
        changed=tuple(changed),
        reason=reason,
        actor=actor,
    )
    clock = around.setdefault("clock", Clock())
    payload = Event(
        event_id="evt_test",
        sequence=sequence,
        type=type,
        occurred_at=clock.ms() if occurred_at is None else ms_of(occurred_at),
        data=msgspec.json.encode(told),
    )
    return cast(EventContext, _context(payload, around))


def schedule(at: datetime | None = None, **around: Unpack[Around]) -> ScheduleContext:
    """A time of the schedule has come: `at`, or what the clock shows."""
    clock = around.setdefault("clock", Clock())
    payload = Schedule(scheduled_at=clock.ms() if at is None else ms_of(at))
    return cast(ScheduleContext, _context(payload, around))


def request(
    method: Verb,
    path: str,
    *,
    json: object = msgspec.UNSET,
    body: bytes | str = b"",
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    caller: Caller | str | None = None,
    address: str = "127.0.0.1",
    **around: Unpack[Around],
) -> RequestContext:
    """A request to an HTTP task. `caller`: whose valid access token came along; a userId will do."""
    told = {name.lower(): value for name, value in (headers or {}).items()}
    if json is not msgspec.UNSET:
        told.setdefault("content-type", "application/json")
        body = msgspec.json.encode(json)
    payload = Request(
        method=method,
        path=path,
        query=tuple((query or {}).items()),
        headers=told,
        body=body.encode() if isinstance(body, str) else body,
        address=address,
        caller=Caller(user_id=caller, scopes=("ACCESS_DB",)) if isinstance(caller, str) else caller,
    )
    return cast(RequestContext, _context(payload, around))


def call(
    parameters: Mapping[str, Any] | None = None, *, by: str = "", **around: Unpack[Around]
) -> CallContext:
    """It was called by its name, with `parameters`."""
    payload = Call(parameters=msgspec.json.encode(dict(parameters or {})), by=by)
    return cast(CallContext, _context(payload, around))


def answer(function: object, context: RequestContext) -> Response:
    """What the server would answer: it asks `authenticate` first, and answers 401 where that is not True.

    Raises what the task raises.
    """
    mark = mark_of(function)
    if mark is None or not callable(function):
        raise TypeError("This is no task.")
    if isinstance(authenticate(mark, context), Declined):
        return Response(status=401)
    return msgspec.json.decode(run(function, context).result, type=Response)


class _House:
    """What is behind a run in a test."""

    def __init__(self, app: App, http: Http, clock: Clock) -> None:
        self._app = app
        self._http = http
        self._clock = clock

    def ask(self, question: Question) -> Any:
        if isinstance(question, Fetch):
            return self._http.answer(question)
        return self._app.answer(question)

    def say(self, line: Said) -> None:
        """The context's log has it."""

    def now(self) -> int:
        return self._clock.ms()


def _context(payload: Payload, around: Around) -> Context:
    app, clock = around.get("app") or App(), around.get("clock") or Clock()
    run = Run(
        run_id=around.get("run_id", "run_test"),
        attempt=around.get("attempt", 1),
        task="test",
        app_id=app.id,
        app=app.name,
        now=clock.ms(),
    )
    env = dict(around.get("env", {}))
    begin = Begin(run=run, payload=payload, env=env)
    house = _House(app, around.get("http") or Http(), clock)
    return context_of(begin, house, Masking(env), tuple(env))


def _person(user_id: str, type: EventType) -> Person:
    if type == "user.refused":
        return Person(user_id=user_id)
    email = user_id if "@" in user_id else ""
    return Person(user_id=user_id, uid=f"usr_{user_id}", type="prod", email=email)
