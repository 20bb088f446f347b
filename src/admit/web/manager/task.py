"""/apps/APP/tasks/TASK: one task, its runs, and trying it: a run, or a rehearsal of which nothing is kept."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from admit.errors import AdmitError, Conflict, InvalidRequest, NotFound
from admit.web.manager import task_words, typed_json
from admit.web.manager.pages import Page, page
from admit.web.manager.toasts import Undo
from admit.web.task_types import Rehearsed, RunHistory, RunPage, TaskDetails, TaskView

TASK = "/apps/{app}/tasks/{task}"
RUNS_SHOWN = 20
INPUT_BYTES_MAX = 2_000_000
GIVEN = {
    "called": ("parameters", "Parameters", "A JSON object; the task reads it as context.parameters.", "{}"),
    "decides": (
        "decision",
        "Person at the door",
        "Somebody imagined: an email, and what else the task looks at.",
        '{\n  "email": "new@example.com",\n  "name": "Ada",\n  "device": {"identifier": "d1"}\n}',
    ),
    "http": (
        "request",
        "Request",
        "What is sent: method, query, headers, json or body, and the user who sends it.",
        '{\n  "json": {}\n}',
    ),
}
"""By kind: the member of the body that carries it, its label and help, and what stands there first."""


async def show(page: Page) -> Response:
    """A task and its newest runs."""
    return await _show(page)


async def pause(page: Page) -> Response:
    """Has the runs wait."""
    task = await page.send("POST", f"{TASK}/pause", TaskView, task=page.param("task"))
    undo = Undo(f"/apps/{page.app}/tasks/{task.name}/resume")
    return page.done(page.here("tasks", task.name), f"{task.name} is paused. Its runs wait.", undo)


async def resume(page: Page) -> Response:
    """Lets the runs go on."""
    task = await page.send("POST", f"{TASK}/resume", TaskView, task=page.param("task"))
    undo = Undo(f"/apps/{page.app}/tasks/{task.name}/pause")
    return page.done(page.here("tasks", task.name), f"{task.name} runs again.", undo)


async def run(page: Page) -> Response:
    """Begins a run, and goes to where it is followed."""
    task = await page.get(TASK, TaskDetails, task=page.param("task"))
    try:
        body = {**_given(page, task), **_later(page)}
        begun = await page.send("POST", f"{TASK}/runs", RunHistory, body, task=task.name)
    except (InvalidRequest, Conflict, NotFound) as refused:
        return await _show(page, refused)
    return page.go(page.here("runs", begun.id))


async def rehearse(page: Page) -> Response:
    """Runs the task without effects, and shows what it would have done."""
    task = await page.get(TASK, TaskDetails, task=page.param("task"))
    try:
        body = _given(page, task, rehearsal=True)
        done = await page.send("POST", f"{TASK}/rehearsals", Rehearsed, body, task=task.name)
    except (InvalidRequest, Conflict, NotFound) as refused:
        return await _show(page, refused)
    return await _show(page, rehearsed=done)


def _given(page: Page, task: TaskView, *, rehearsal: bool = False) -> Mapping[str, Any]:
    """What was typed, as the API takes it. Raises InvalidRequest."""
    if task.kind in GIVEN:
        typed = page.form.verbatim("given").strip()
        return {GIVEN[task.kind][0]: typed_json.read_object(typed or "{}")}
    event = page.form.text("event")
    if task.kind != "on":
        return {}
    if rehearsal and "." in event:
        return {"type": event}
    if not event and not rehearsal:
        raise InvalidRequest("Write the id of an event. A rehearsal can do with an example of its type.")
    return {"event": event} if event else {}


def _later(page: Page) -> Mapping[str, Any]:
    minutes = page.form.integer("minutes", "Begin after")
    queue = page.form.optional("queue")
    later = {} if minutes is None else {"after_seconds": minutes * 60}
    return later if queue is None else {**later, "queue": queue}


async def _show(
    page: Page, refused: AdmitError | None = None, rehearsed: Rehearsed | None = None
) -> Response:
    name = page.param("task")
    asked: dict[str, Any] = {"task": name, "limit": RUNS_SHOWN}
    task, runs = await page.together(
        page.get(TASK, TaskDetails, task=name), page.get("/apps/{app}/runs", RunPage, asked)
    )
    member, label, help_, example = GIVEN.get(task.kind, ("", "", "", ""))
    typed = _typed(page, example)
    return page.render(
        "task.html",
        status=page.status_of(refused),
        task=task,
        runs=runs.runs,
        more=runs.before,
        refused="" if refused is None else refused.message,
        rehearsed=rehearsed,
        typed=typed,
        command=_command(page, task, typed),
        given=(member, label, help_),
        address=task_words.http_address(task, page.gateway.settings.public_url, page.app),
        words=task_words,
        raw=msgspec.json.encode,
    )


def _typed(page: Page, example: str) -> dict[str, str]:
    """What stands in the form: what was typed, or the example."""
    if page.request.method != "POST":
        return {"given": example, "event": page.query("event"), "minutes": "", "queue": ""}
    return {name: page.form.verbatim(name) for name in ("given", "event", "minutes", "queue")}


def _command(page: Page, task: TaskView, typed: Mapping[str, str]) -> list[str]:
    """The command that runs the task, or tries it where it only can be tried."""
    if task.state == "gone" or not page.may("tasks:write"):
        return ["task", "show", page.app, task.name]
    words = ["task", "run", page.app, task.name]
    match task.kind:
        case "called":
            return [*words, _on_one_line(typed["given"])]
        case "on" if typed["event"]:
            return [*words, "--event", typed["event"]]
        case "every":
            return words
        case "on":
            return [*words, "--test"]
        case _:
            return [*words, _on_one_line(typed["given"]), "--test"]


def _on_one_line(typed: str) -> str:
    return " ".join(line.strip() for line in typed.splitlines())


PAGES = (
    page("GET", TASK, show, nav="tasks"),
    page("POST", f"{TASK}/pause", pause, nav="tasks"),
    page("POST", f"{TASK}/resume", resume, nav="tasks"),
    page("POST", f"{TASK}/run", run, nav="tasks", body_bytes_max=INPUT_BYTES_MAX),
    page("POST", f"{TASK}/rehearse", rehearse, nav="tasks", body_bytes_max=INPUT_BYTES_MAX),
)
