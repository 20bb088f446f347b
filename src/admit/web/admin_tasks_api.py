"""/api/apps/{app}/tasks, /api/tasks: which tasks there are, pausing them, and reading their code anew."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from starlette.responses import Response

from admit.accounts.apps import App
from admit.errors import Conflict, NotFound
from admit.gateway import Gateway
from admit.storage.transaction import Transaction
from admit.tasks import env, last_runs, registrations, schedules
from admit.tasks.registrations import Registered
from admit.tasks.registry import AppReport
from admit.tasks.run_pages import Run
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted, permitted_app
from admit.web.task_types import CodeView, LastRun, ProblemView, TaskDetails, TaskList, TaskState, TaskView


async def list_tasks(call: Call) -> Response:
    """The tasks of an app, and how its code was taken."""
    app = await permitted_app(call)

    def find(tx: Transaction) -> list[TaskView]:
        found = registrations.of_app(tx, app.app_id)
        found.sort(key=lambda task: (not task.live, task.name))
        last = last_runs.of_tasks(tx, app.app_id, [each.task_id for each in found])
        return [TaskView(**_members(tx, each, last)) for each in found]

    views = await call.gateway.db.read(find)
    reports = [code_view(each) for each in _reports(call.gateway) if each.app == app.name]
    return call.answer(TaskList(tasks=views, code=reports[0] if reports else None))


async def show_task(call: Call) -> Response:
    """One task."""
    app = await permitted_app(call)
    task = await find_task(call, app)
    kept = {each.name for each in await call.gateway.db.read(partial(env.names, app_id=app.app_id))}
    missing = [name for name in task.declaration.env if name not in kept]
    members = await call.gateway.db.read(partial(_members_alone, task=task))
    return call.answer(TaskDetails(**members, env_missing=missing))


async def pause_task(call: Call) -> Response:
    """Has the runs of a task wait."""
    return await _set_paused(call, paused=True)


async def resume_task(call: Call) -> Response:
    """Lets the runs of a task go on."""
    return await _set_paused(call, paused=False)


async def list_code(call: Call) -> Response:
    """How the code of each app was taken when it was last loaded here."""
    await permitted(call)
    return call.answer([code_view(each) for each in _reports(call.gateway)])


async def reload_tasks(call: Call) -> Response:
    """Loads the code of all apps here, and has the other servers do the same."""
    await permitted(call)
    gateway = call.gateway
    if gateway.registry is not None:
        return call.answer([code_view(each) for each in await gateway.registry.reload()])
    if gateway.settings.on_sqlite:  # nobody else could
        raise no_tasks_here()
    await gateway.db.write(registrations.ask_reload)
    return call.answer([])


async def find_task(call: Call, app: App) -> Registered:
    """The task that the path names. Raises NotFound."""
    name = call.param("task")
    found = await call.gateway.db.read(partial(registrations.find, app_id=app.app_id, name=name))
    if found is None:
        raise unknown_task(name)
    return found


def unknown_task(name: str) -> NotFound:
    """What is said where no task has this name."""
    return NotFound(f"There is no task {name[:80]!r} in this app.", code="task_not_found")


def no_tasks_here() -> Conflict:
    """What is said where the server that is asked runs no tasks."""
    return Conflict(
        "This server loads no tasks. Set ADMIT_TASKS to their folder, e.g. ADMIT_TASKS=tasks", code="no_tasks"
    )


def _members_alone(tx: Transaction, task: Registered) -> dict[str, Any]:
    return _members(tx, task, last_runs.of_tasks(tx, task.app_id, [task.task_id]))


def _members(tx: Transaction, task: Registered, last: Mapping[str, Run]) -> dict[str, Any]:
    """What a TaskView says of `task`. `last`: the last runs of tasks by their ids."""
    declared = task.declaration
    by_the_clock = task.live and task.kind == "every"
    retries = declared.retries_seconds
    return {
        "name": task.name,
        "id": task.task_id,
        "kind": task.kind,
        "trigger": declared.trigger,
        "about": declared.about,
        "state": _state_of(task),
        "file": declared.file,
        "line": declared.line,
        "timeout_seconds": declared.timeout_seconds,
        "retries_seconds": None if retries is None else list(retries),
        "at_once": declared.at_once,
        "env": list(declared.env),
        "version": task.version,
        "created_at": task.created_at,
        "changed_at": task.changed_at,
        "gone_at": task.gone_at,
        "next_at": schedules.next_of(tx, task.app_id, task.task_id) if by_the_clock else None,
        "last_run": _last_run(last.get(task.task_id)),
    }


def _last_run(run: Run | None) -> LastRun | None:
    if run is None:
        return None
    return LastRun(
        id=run.run_id,
        state=run.state,
        detail=run.detail,
        created_at=run.created_at,
        finished_at=run.finished_at,
    )


def code_view(report: AppReport) -> CodeView:
    """What was said when the code of an app was loaded."""
    return CodeView(
        app=report.app,
        version=report.version,
        tasks=sorted(report.tasks),
        problems=[
            ProblemView(file=each.file, line=each.line, message=each.message, traceback=each.traceback)
            for each in report.problems
        ],
    )


async def _set_paused(call: Call, *, paused: bool) -> Response:
    app, now = await permitted_app(call), call.gateway.clock()
    name = call.param("task")
    unit = partial(registrations.set_paused, app_id=app.app_id, name=name, paused=paused, now=now)
    changed = await call.gateway.db.write(unit)
    if changed is None:
        raise unknown_task(name)
    members = await call.gateway.db.read(partial(_members_alone, task=changed))
    return call.answer(TaskView(**members))


def _state_of(task: Registered) -> TaskState:
    return "gone" if not task.live else "paused" if task.paused else "ready"


def _reports(gateway: Gateway) -> list[AppReport]:
    return [] if gateway.registry is None else gateway.registry.reports()


OPERATIONS = (
    admin("GET", "/apps/{app}/tasks", list_tasks, "Lists the tasks", "tasks:read", answer=TaskList),
    admin(
        "GET",
        "/apps/{app}/tasks/{task}",
        show_task,
        "Shows a task",
        "tasks:read",
        answer=TaskDetails,
        codes=("task_not_found",),
    ),
    admin(
        "POST",
        "/apps/{app}/tasks/{task}/pause",
        pause_task,
        "Has the runs of a task wait",
        "tasks:write",
        answer=TaskView,
        codes=("task_not_found",),
    ),
    admin(
        "POST",
        "/apps/{app}/tasks/{task}/resume",
        resume_task,
        "Lets the runs of a task go on",
        "tasks:write",
        answer=TaskView,
        codes=("task_not_found",),
    ),
    admin(
        "GET",
        "/tasks",
        list_code,
        "Shows how the code of each app was taken by the server that answers",
        "tasks:read",
        answer=list[CodeView],
    ),
    admin(
        "POST",
        "/tasks/reload",
        reload_tasks,
        "Has every server read its folder of tasks anew",
        "tasks:write",
        answer=list[CodeView],
        codes=("no_tasks",),
    ),
)
