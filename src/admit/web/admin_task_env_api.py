"""/api/apps/{app}/task-env: the variables that tasks are given. Values go in, and never come out."""

from functools import partial

from starlette.responses import Response

from admit.accounts.apps import App
from admit.errors import NotFound
from admit.storage.transaction import Transaction
from admit.tasks import env, registrations
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app
from admit.web.task_types import NewValue, Variable


async def list_task_variables(call: Call) -> Response:
    """The names of the variables."""
    app = await permitted_app(call)
    return call.answer(await _views(call, app))


async def set_task_variable(call: Call) -> Response:
    """Gives a variable its value."""
    app, name, gateway = await permitted_app(call), call.param("name"), call.gateway
    value, now = (await call.json(NewValue)).value, gateway.clock()
    env.check(name, value)
    await gateway.db.write(lambda tx: env.put(tx, gateway.ring, app.app_id, name, value, now))
    [view] = [each for each in await _views(call, app) if each.name == name]
    return call.answer(view)


async def remove_task_variable(call: Call) -> Response:
    """Forgets a variable."""
    app, name = await permitted_app(call), call.param("name")
    if not await call.gateway.db.write(partial(env.remove, app_id=app.app_id, name=name)):
        raise NotFound(f"There is no variable {name[:80]!r} in this app.", code="variable_not_found")
    return call.done()


async def _views(call: Call, app: App) -> list[Variable]:
    def find(tx: Transaction) -> list[Variable]:
        tasks = [each for each in registrations.of_app(tx, app.app_id) if each.live]
        return [
            Variable(
                name=each.name,
                changed_at=each.changed_at,
                tasks=[task.name for task in tasks if each.name in task.declaration.env],
            )
            for each in env.names(tx, app.app_id)
        ]

    return await call.gateway.db.read(find)


OPERATIONS = (
    admin(
        "GET",
        "/apps/{app}/task-env",
        list_task_variables,
        "Lists the variables of tasks, without their values",
        "tasks:read",
        answer=list[Variable],
    ),
    admin(
        "PUT",
        "/apps/{app}/task-env/{name}",
        set_task_variable,
        "Sets a variable of tasks",
        "tasks:write",
        body=NewValue,
        answer=Variable,
        codes=("variable_refused", "too_many_variables"),
    ),
    admin(
        "DELETE",
        "/apps/{app}/task-env/{name}",
        remove_task_variable,
        "Forgets a variable of tasks",
        "tasks:write",
        codes=("variable_not_found",),
    ),
)
