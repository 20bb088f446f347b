"""/api/apps/{app}/runs: what became of each run of a task, calling one, ending one, and another try."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import msgspec
from starlette.responses import Response

from admit.accounts import users
from admit.accounts.apps import App
from admit.clock import DAY_MS
from admit.errors import AdmitError, Conflict, InvalidRequest, NotFound
from admit.events import finding
from admit.jobs.links import Key
from admit.storage.transaction import Transaction
from admit.task.payloads import Schedule
from admit.tasks import registrations, run_changes, run_pages, run_starts
from admit.tasks.registrations import Registered
from admit.tasks.run_orders import OwedEvent
from admit.tasks.run_pages import NEWEST, PAGE_MAX, History, Query, Run, State
from admit.tasks.run_starts import QUEUE_NAME
from admit.web.admin_tasks_api import find_task, unknown_task
from admit.web.admin_types import Text
from admit.web.events_api import uid_of, unknown_event
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app, permitted_in_app
from admit.web.task_types import NewRun, RunAttempt, RunHistory, RunPage, RunView

SINCE_SECONDS_MAX = 10 * 366 * 86_400
AHEAD_MS_MAX = 366 * DAY_MS
BODY_BYTES_MAX = 1_100_000
OK = "ok"
"""The outcome of an attempt that has left a result."""


Starting = Callable[[Transaction], str | AdmitError]
"""A unit that begins a run and returns its id, or says why it does not."""


class RunsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which runs: of a `task`, in a `state`, of the person `user` (a userId or uid), `about` an id, such as
    that of an event, or made in the last `since_seconds`. `before` comes from an earlier page.
    """

    task: Text = ""
    state: State | None = None
    user: Text | None = None
    about: Text = ""
    since_seconds: Annotated[int, msgspec.Meta(ge=1, le=SINCE_SECONDS_MAX)] | None = None
    before: Text | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = 100


async def list_runs(call: Call) -> Response:
    """A page of runs."""
    app, asked, gateway = await permitted_app(call), call.query(RunsQuery), call.gateway
    since = 0 if asked.since_seconds is None else gateway.clock() - asked.since_seconds * 1_000
    query = Query(
        task_id=await task_id_of(call, app, asked.task),
        uid="" if asked.user is None else await uid_of(call, app, asked.user),
        state=asked.state,
        about=asked.about,
        since=max(0, since),
        before=NEWEST if asked.before is None else _key_of(asked.before),
        limit=asked.limit,
    )

    def find(tx: Transaction) -> tuple[run_pages.Page, Mapping[str, str]]:
        page = run_pages.page(tx, app.app_id, query)
        return page, _people(tx, app, page.runs)

    page, people = await gateway.db.read(find)
    before = None if page.before is None else f"{page.before[0]}.{page.before[1]}"
    views = [view_of(each, people) for each in page.runs]
    return call.answer(RunPage(runs=views, before=before))


async def show_run(call: Call) -> Response:
    """One run with its attempts."""
    app = await permitted_app(call)
    return call.answer(await _history(call, app, call.param("run")))


async def start_run(call: Call) -> Response:
    """Begins a run of a task."""
    app, token = await permitted_in_app(call)
    task, body = await find_task(call, app), await call.json(NewRun)
    unit = _starting(task, body, by=token.token_id, now=call.gateway.clock())
    started = await call.gateway.db.write(unit)
    if isinstance(started, AdmitError):
        raise started
    return call.answer(await _history(call, app, started))


async def cancel_run(call: Call) -> Response:
    """Ends a run."""
    app, token = await permitted_in_app(call)
    run_id, now = call.param("run"), call.gateway.clock()
    unit = partial(run_changes.cancel, app_id=app.app_id, run_id=run_id, now=now, by=token.token_id)
    return await _changed(call, app, await call.gateway.db.write(unit))


async def retry_run(call: Call) -> Response:
    """Makes a run due."""
    app = await permitted_app(call)
    run_id, now = call.param("run"), call.gateway.clock()
    unit = partial(run_changes.retry, app_id=app.app_id, run_id=run_id, now=now)
    return await _changed(call, app, await call.gateway.db.write(unit))


async def task_id_of(call: Call, app: App, name: str) -> str:
    """The id of the task of this name; "" for "". Raises NotFound."""
    if not name:
        return ""
    task = await call.gateway.db.read(partial(registrations.find, app_id=app.app_id, name=name))
    if task is None:
        raise unknown_task(name)
    return task.task_id


def _starting(task: Registered, body: NewRun, *, by: str, now: int) -> Starting:
    """The unit that begins the run which `body` asks for. Raises InvalidRequest, Conflict."""
    if not task.live:
        raise Conflict(f"The code does not declare {task.name} any more.", code="task_gone")
    if task.kind in ("decides", "http"):
        raise Conflict(
            f"{task.name} runs when somebody is at the door or asks it. A rehearsal tries it, e.g. "
            f"admit task run APP {task.name} --test",
            code="task_not_callable",
        )
    if (body.event is not None) is not (task.kind == "on"):
        raise InvalidRequest("A task that runs on events is given an event, and no other task is.")
    if body.parameters is not None and task.kind != "called":
        raise InvalidRequest("Only a task that is called by its name is given parameters.")
    due: Mapping[str, Any] = {"now": now, "due_at": _due_at(body, now), "queue": _queue(body)}
    if task.kind == "called":
        parameters = msgspec.json.encode(body.parameters or {})
        return lambda tx: run_starts.call(tx, task.app_id, task.task_id, parameters, by=by, **due)
    if task.kind == "every":
        owed = Schedule(scheduled_at=now)
        return lambda tx: run_starts.start(tx, task.app_id, task.task_id, owed, **due)
    return partial(_start_for_event, task=task, event_id=body.event or "", by=by, due=due)


def _start_for_event(
    tx: Transaction, task: Registered, event_id: str, by: str, due: Mapping[str, Any]
) -> str | AdmitError:
    event = finding.find(tx, task.app_id, event_id)
    if event is None:
        return unknown_event(event_id)
    owed = OwedEvent(task_id=task.task_id, sequence=event.position, by=by)
    return run_starts.start(tx, task.app_id, task.task_id, owed, **due)


def _queue(body: NewRun) -> str:
    if body.queue and not QUEUE_NAME.fullmatch(body.queue):
        raise InvalidRequest("A queue is named by small letters, digits and _.-, at most 63 of them.")
    return body.queue or ""


def _due_at(body: NewRun, now: int) -> int:
    if body.at is not None and body.after_seconds:
        raise InvalidRequest("A run begins at a time, or after some seconds; not both.")
    due_at = now + round(body.after_seconds * 1_000) if body.at is None else max(now, body.at)
    if due_at > now + AHEAD_MS_MAX:
        raise InvalidRequest("A run can be due in a year at the latest.")
    return due_at


async def _changed(call: Call, app: App, outcome: AdmitError | str) -> Response:
    if isinstance(outcome, AdmitError):
        raise outcome
    if outcome == "unknown":
        raise _not_found(call.param("run"))
    return call.answer(await _history(call, app, call.param("run")))


async def _history(call: Call, app: App, run_id: str) -> RunHistory:
    def find(tx: Transaction) -> tuple[History, Mapping[str, str]] | None:
        found = run_pages.show(tx, app.app_id, run_id)
        return None if found is None else (found, _people(tx, app, [found.run]))

    shown = await call.gateway.db.read(find)
    if shown is None:
        raise _not_found(run_id)
    found, people = shown
    parameters = found.run.parameters
    return RunHistory(
        **_members(found.run, people),
        history=[
            RunAttempt(
                attempt=each.attempt,
                started_at=each.started_at,
                duration_ms=each.duration_ms,
                outcome=each.outcome,
                detail=each.detail,
                result=each.reply if each.outcome == OK else "",
                traceback="" if each.outcome == OK else each.reply,
            )
            for each in found.attempts
        ],
        about=found.abouts,
        parameters=None if parameters is None else msgspec.json.decode(parameters),
        scheduled_at=found.run.scheduled_at,
    )


def _people(tx: Transaction, app: App, runs: Sequence[Run]) -> Mapping[str, str]:
    """The userIds of those whom `runs` are about, by uid."""
    found = users.by_uid(tx, {(app.app_id, run.uid) for run in runs if run.uid is not None})
    return {uid: user.user_id for (_, uid), user in found.items()}


def view_of(run: Run, people: Mapping[str, str]) -> RunView:
    """A run as the API tells it. `people`: userIds by uid."""
    return RunView(**_members(run, people))


def _members(run: Run, people: Mapping[str, str]) -> dict[str, Any]:
    """What a RunView says of `run`."""
    return {
        "id": run.run_id,
        "task": run.task,
        "kind": run.kind,
        "state": run.state,
        "attempts": run.attempts,
        "next_at": run.due_at,
        "uid": run.uid,
        "user_id": None if run.uid is None else people.get(run.uid),
        "event_id": None if run.event is None else run.event.event_id,
        "queue": run.queue,
        "by": run.by,
        "detail": run.detail,
        "created_at": run.created_at,
        "finished_at": run.finished_at,
    }


def _key_of(before: str) -> Key:
    moment, _, run_id = before.partition(".")
    if not (moment.isascii() and moment.isdigit() and len(moment) < 16 and run_id):
        raise InvalidRequest("before is not what an earlier page has given.")
    return int(moment), run_id


def _not_found(run_id: str) -> NotFound:
    return NotFound(f"There is no run {run_id[:80]!r} in this app.", code="run_not_found")


OPERATIONS = (
    admin(
        "GET",
        "/apps/{app}/runs",
        list_runs,
        "Lists the runs of tasks, the newest first",
        "tasks:read",
        query=RunsQuery,
        answer=RunPage,
        codes=("task_not_found", "user_not_found"),
    ),
    admin(
        "POST",
        "/apps/{app}/tasks/{task}/runs",
        start_run,
        "Begins a run of a task",
        "tasks:write",
        body=NewRun,
        body_bytes_max=BODY_BYTES_MAX,
        answer=RunHistory,
        codes=("task_not_found", "task_gone", "task_not_callable", "event_not_found"),
    ),
    admin(
        "GET",
        "/apps/{app}/runs/{run}",
        show_run,
        "Shows a run with its attempts",
        "tasks:read",
        answer=RunHistory,
        codes=("run_not_found",),
    ),
    admin(
        "POST",
        "/apps/{app}/runs/{run}/cancel",
        cancel_run,
        "Ends a run that waits or is under way",
        "tasks:write",
        answer=RunHistory,
        codes=("run_not_found", "conflict"),
    ),
    admin(
        "POST",
        "/apps/{app}/runs/{run}/retry",
        retry_run,
        "Runs again what has ended, or at once what waits",
        "tasks:write",
        answer=RunHistory,
        codes=("run_not_found", "conflict"),
    ),
)
