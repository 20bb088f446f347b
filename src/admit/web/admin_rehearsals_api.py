"""/api/apps/{app}/tasks/{task}/rehearsals: what a run would do, of which nothing is kept and nothing sent."""

import time
from typing import Any, assert_never

import msgspec
from starlette.responses import Response

from admit.accounts.apps import App
from admit.clock import new_id
from admit.errors import Conflict, InvalidRequest
from admit.events import examples, finding, type_names
from admit.events.log import Recorded
from admit.task import payloads
from admit.task.declarations import Http, On, Problem, kind_of
from admit.task.wire import (
    Change,
    Declined,
    DeleteObject,
    Ended,
    LockUser,
    MoveSession,
    PutObject,
    Raised,
    Said,
    WriteUser,
)
from admit.tasks.registry import Task
from admit.tasks.run_rehearsals import Rehearsal
from admit.tasks.workshop import Stopped
from admit.web.admin_runs_api import BODY_BYTES_MAX
from admit.web.admin_tasks_api import no_tasks_here, unknown_task
from admit.web.events_api import unknown_event
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app
from admit.web.task_types import (
    LineView,
    NewRehearsal,
    Rehearsed,
    RehearsedDecision,
    RehearsedRequest,
    WouldCall,
    WouldChange,
    WouldSend,
)

TRIED_RUN = "run_test"
"""What a rehearsal calls itself."""
_GIVEN = {
    "decides": ("decision",),
    "on": ("event", "type"),
    "every": ("scheduled_at",),
    "http": ("request",),
    "called": ("parameters",),
}


async def rehearse_task(call: Call) -> Response:
    """Runs a task without effects."""
    app, asked = await permitted_app(call), await call.json(NewRehearsal)
    task = await _task(call, app)
    payload = await _payload(call, app, task, asked)
    runs = call.gateway.runs
    if runs is None:
        raise no_tasks_here()
    started = time.perf_counter()
    rehearsal = await runs.rehearse(task, payload)
    duration_ms = round((time.perf_counter() - started) * 1_000)
    return call.answer(_rehearsed(task, rehearsal, duration_ms))


async def _task(call: Call, app: App) -> Task:
    """The task of the path, by the code of this process; where it has none, by what lies in its folder."""
    registry, name = call.gateway.registry, call.param("task")
    if registry is None:
        raise no_tasks_here()
    if registry.knows(app.app_id):
        found = registry.find(app.app_id, name)
    else:
        found = _named(name, await registry.try_out(app))
    if found is None:
        raise unknown_task(name)
    return found


def _named(name: str, tried: tuple[Task, ...] | tuple[Problem, ...]) -> Task | None:
    """The task of this name. Raises Conflict where the code cannot be taken."""
    for each in tried:
        if isinstance(each, Problem):
            place = f"{each.file}:{each.line}: " if each.file else ""
            raise Conflict(f"The code cannot be taken. {place}{each.message}", code="code_broken")
        if each.declaration.name == name:
            return each
    return None


async def _payload(call: Call, app: App, task: Task, asked: NewRehearsal) -> payloads.Payload:
    """What the task is given. Raises InvalidRequest where something is given that is not for its kind."""
    kind, now = kind_of(task.declaration.trigger), call.gateway.clock()
    given = {name for name in NewRehearsal.__struct_fields__ if getattr(asked, name) is not None}
    if len(given) > 1 or not given <= set(_GIVEN[kind]):
        wanted = " or ".join(_GIVEN[kind])
        raise InvalidRequest(f"{task.declaration.name} is given {wanted}, and nothing else.")
    match kind:
        case "decides":
            if asked.decision is None:
                raise InvalidRequest('Whom shall it decide about? For example {"email": "new@example.com"}')
            return _decision(asked.decision)
        case "on":
            return await _event(call, app, task, asked, now)
        case "every":
            return payloads.Schedule(scheduled_at=now if asked.scheduled_at is None else asked.scheduled_at)
        case "http":
            return _request(task, asked.request or RehearsedRequest())
        case "called":
            return payloads.Call(parameters=msgspec.json.encode(asked.parameters or {}), by="a rehearsal")
        case _:
            assert_never(kind)


def _decision(asked: RehearsedDecision) -> payloads.Decision:
    device = asked.device
    return payloads.Decision(
        admission_id="adm_test",
        user_id=asked.email if asked.user_id is None else asked.user_id,
        email=asked.email,
        email_verified=asked.email_verified,
        name=asked.name,
        sign_in=payloads.SignedIn(method=asked.method, provider=asked.provider, intent="login"),
        device=None
        if device is None
        else payloads.AskedDevice(derived=False, **msgspec.structs.asdict(device)),
        claims=asked.claims,
        address=asked.address,
    )


async def _event(call: Call, app: App, task: Task, asked: NewRehearsal, now: int) -> payloads.Event:
    if asked.event is not None:
        return _recorded(await _find(call, app, asked.event))
    trigger = task.declaration.trigger
    assert isinstance(trigger, On)
    type_ = type_names.check(asked.type or trigger.types[0])
    data = msgspec.json.encode(examples.EXAMPLES[type_])
    return payloads.Event(event_id=new_id("evt"), sequence=0, type=type_, occurred_at=now, data=data)


async def _find(call: Call, app: App, event_id: str) -> Recorded:
    found = await call.gateway.db.read(lambda tx: finding.find(tx, app.app_id, event_id))
    if found is None:
        raise unknown_event(event_id)
    return found


def _recorded(event: Recorded) -> payloads.Event:
    return payloads.Event(
        event_id=event.event_id,
        sequence=event.position,
        type=event.type,
        occurred_at=event.occurred_at,
        data=bytes(event.data),
    )


def _request(task: Task, asked: RehearsedRequest) -> payloads.Request:
    trigger = task.declaration.trigger
    assert isinstance(trigger, Http)
    headers = {name.lower(): value for name, value in asked.headers.items()}
    body = asked.body.encode()
    if asked.json is not msgspec.UNSET:
        body = msgspec.json.encode(asked.json)
        headers.setdefault("content-type", "application/json")
    caller = None if asked.user is None else payloads.Caller(user_id=asked.user, scopes=asked.scopes)
    return payloads.Request(
        method=asked.method or trigger.methods[0],
        path=trigger.path,
        query=tuple(asked.query.items()),
        headers=headers,
        body=body,
        caller=caller,
    )


def _rehearsed(task: Task, rehearsal: Rehearsal, duration_ms: int) -> Rehearsed:
    outcome, result, error, traceback = _ending(rehearsal.result)
    return Rehearsed(
        outcome=outcome,
        result=result,
        error=error,
        traceback=traceback,
        duration_ms=duration_ms,
        lines=[_line(task, each) for each in rehearsal.lines],
        changes=[_change(each) for each in rehearsal.changes],
        calls=[
            WouldCall(
                task=each.task,
                parameters=msgspec.json.decode(each.parameters),
                due_at=each.due_at,
                queue=each.queue,
            )
            for each in rehearsal.calls
        ],
        requests=[_blocked(each) for each in rehearsal.blocked],
    )


def _ending(result: "Ended | Declined | Raised | Stopped") -> tuple[str, Any, str, str]:
    """The word, what was returned, what went wrong in a sentence, and where."""
    match result:
        case Ended():
            return "ok", msgspec.json.decode(result.result) if result.result else None, "", ""
        case Declined():
            return "declined", None, "authenticate did not say yes: the answer would be 401.", ""
        case Raised():
            where = f" ({result.place})" if result.place else ""
            return "raised", None, f"{result.error}: {result.message}{where}", result.traceback
        case Stopped():
            return result.kind, None, result.detail, ""


def _change(change: Change) -> WouldChange:
    match change:
        case WriteUser():
            entry = msgspec.json.decode(change.entry, type=dict[str, Any])
            return WouldChange(what="write_user", user_id=change.user_id, entry=entry)
        case LockUser():
            what = "lock_user" if change.locked else "unlock_user"
            return WouldChange(what=what, user_id=change.user_id)
        case MoveSession():
            return WouldChange(what=change.move, session_id=change.session_id)
        case PutObject() | DeleteObject():
            return _of_object(change)
        case _:
            assert_never(change)


def _of_object(change: PutObject | DeleteObject) -> WouldChange:
    value = change.value if isinstance(change, PutObject) else b""
    return WouldChange(
        what="put_object" if value else "delete_object",
        table=change.table,
        realm=change.realm_id,
        key=change.key,
        entry=msgspec.json.decode(value) if value else {},
    )


def _line(task: Task, said: Said) -> LineView:
    return LineView(
        cursor="",
        run=TRIED_RUN,
        task=task.declaration.name,
        attempt=1,
        at=said.at,
        level=said.level,
        text=said.text,
        fields=dict(said.fields),
    )


def _blocked(request: str) -> WouldSend:
    method, _, url = request.partition(" ")
    return WouldSend(method=method, url=url)


OPERATIONS = (
    admin(
        "POST",
        "/apps/{app}/tasks/{task}/rehearsals",
        rehearse_task,
        "Runs a task of which nothing is kept and nothing sent, and shows what it would have done",
        "tasks:write",
        body=NewRehearsal,
        body_bytes_max=BODY_BYTES_MAX,
        answer=Rehearsed,
        codes=("task_not_found", "event_not_found", "event_type_unknown", "no_tasks", "code_broken"),
    ),
)
