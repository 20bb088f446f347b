"""/apps/APP/tasks: the operator's own Python, and how its code was taken; /task-env: its variables."""

from starlette.responses import Response

from admit.errors import AdmitError, Conflict, InvalidRequest
from admit.web.manager import task_words
from admit.web.manager.pages import Page, page
from admit.web.task_types import CodeView, TaskList, Variable

TASKS, ENV = "/apps/{app}/tasks", "/apps/{app}/task-env"


async def show(page: Page) -> Response:
    """The tasks by what sets them off."""
    return await _show(page)


async def reload(page: Page) -> Response:
    """Reads the folders of tasks anew."""
    try:
        loaded = await page.send("POST", "/tasks/reload", list[CodeView])
    except Conflict as refused:
        return await _show(page, refused)
    mine = [each for each in loaded if each.app == page.app]
    if any(each.problems for each in mine):
        return page.done(page.here("tasks"), "The code was read, and not taken.")
    if not loaded:
        return page.done(page.here("tasks"), "Every server was asked to read its folder anew.")
    tasks = sum(len(each.tasks) for each in mine)
    return page.done(page.here("tasks"), f"The code was read anew: {tasks} task{'' if tasks == 1 else 's'}.")


async def show_variables(page: Page) -> Response:
    """The names of the variables."""
    return await _show_variables(page)


async def set_variable(page: Page) -> Response:
    """Gives a variable its value."""
    name, value = page.form.text("name"), page.form.verbatim("value")
    try:
        if not name:
            raise InvalidRequest("Write the name of the variable, such as CRM_TOKEN.")
        await page.send("PUT", f"{ENV}/{{name}}", Variable, {"value": value}, name=name)
    except (InvalidRequest, Conflict) as refused:
        return await _show_variables(page, refused, name)
    return page.done(page.here("task-env"), f"{name} is set. Runs that begin from now on are given it.")


async def remove_variable(page: Page) -> Response:
    """Forgets a variable."""
    name = page.param("name")
    await page.send("DELETE", f"{ENV}/{{name}}", type(None), name=name)
    return page.done(page.here("task-env"), f"{name} is forgotten.")


async def _show(page: Page, refused: AdmitError | None = None) -> Response:
    found = await page.get(TASKS, TaskList)
    live = [each for each in found.tasks if each.state != "gone"]
    return page.render(
        "tasks.html",
        status=page.status_of(refused),
        groups=[
            (heading, help_, of_kind)
            for kind, heading, help_ in task_words.KINDS
            if (of_kind := [each for each in live if each.kind == kind])
        ],
        gone=[each for each in found.tasks if each.state == "gone"],
        code=found.code,
        refused="" if refused is None else refused.message,
        words=task_words,
    )


async def _show_variables(page: Page, refused: AdmitError | None = None, name: str = "") -> Response:
    variables, tasks = await page.together(page.get(ENV, list[Variable]), page.get(TASKS, TaskList))
    known = {each.name for each in variables}
    asked = sorted({wanted for task in tasks.tasks if task.state != "gone" for wanted in task.env} - known)
    return page.render(
        "task_env.html",
        status=page.status_of(refused),
        variables=variables,
        missing=[(each, [task.name for task in tasks.tasks if each in task.env]) for each in asked],
        refused="" if refused is None else refused.message,
        name=name or page.query("name"),
    )


PAGES = (
    page("GET", TASKS, show, nav="tasks"),
    page("POST", TASKS, reload, nav="tasks"),
    page("GET", ENV, show_variables, nav="tasks"),
    page("POST", ENV, set_variable, nav="tasks"),
    page("POST", f"{ENV}/{{name}}/delete", remove_variable, nav="tasks"),
)
