"""/apps/APP/runs: what became of each run, and one run with what it says while it goes on."""

from typing import Any

from starlette.responses import Response

from admit.errors import Conflict, InvalidRequest, NotFound
from admit.web.manager import task_words
from admit.web.manager.pages import Page, page
from admit.web.manager.task_words import ENDED, STATES
from admit.web.task_types import LinePage, RunHistory, RunPage, TaskList

RUNS, RUN, LINES = "/apps/{app}/runs", "/apps/{app}/runs/{run}", "/apps/{app}/lines"
PAGE_SIZE = 50
LINES_SHOWN = 200
LIVE_WAIT_SECONDS = 1


async def show_all(page: Page) -> Response:
    """The runs that the query asks for, the newest first."""
    asked = {name: page.query(name) for name in ("task", "state", "user", "about")}
    before = page.query("before")
    query: dict[str, Any] = {name: value or None for name, value in asked.items()}
    query |= {"before": before or None, "limit": PAGE_SIZE}
    listing = page.get("/apps/{app}/tasks", TaskList)
    try:
        tasks, found = await page.together(listing, page.get(RUNS, RunPage, query))
        refused = ""
    except (InvalidRequest, NotFound) as error:
        tasks, found = await page.get("/apps/{app}/tasks", TaskList), RunPage(runs=[], before=None)
        refused = error.message
    return page.render(
        "runs.html",
        status=400 if refused else 200,
        tasks=[each.name for each in tasks.tasks],
        runs=found.runs,
        asked=asked,
        first="" if not before else page.here("runs", **asked),
        older="" if found.before is None else page.here("runs", **asked, before=found.before),
        states=[(page.here("runs", **{**asked, "state": each}), text) for each, text in _choices()],
        refused=refused,
        words=task_words,
    )


async def show(page: Page) -> Response:
    """One run. What htmx asks for is what it has said since, and how it stands now."""
    run_id, after = page.param("run"), page.query("after")
    if page.wants_fragment:
        said = await _lines(page, {"run": run_id, "after": after, "wait": LIVE_WAIT_SECONDS})
        values = _values(await _run(page), said)
        return page.render_block("run.html", "news", **values, seen=page.query("seen"))
    which: dict[str, Any] = {"run": run_id}
    which |= {"after": after, "limit": LINES_SHOWN} if after else {"last": LINES_SHOWN}
    run, said = await page.together(_run(page), _lines(page, which))
    return page.render("run.html", **_values(run, said), after=after)


async def cancel(page: Page) -> Response:
    """Ends a run."""
    return await _ask(page, "cancel", "The run is ended.")


async def retry(page: Page) -> Response:
    """Runs again."""
    return await _ask(page, "retry", "The run is due again.")


async def _ask(page: Page, verb: str, sentence: str) -> Response:
    run_id = page.param("run")
    try:
        await page.send("POST", f"{RUN}/{verb}", RunHistory, run=run_id)
    except Conflict as refused:
        return page.done(page.here("runs", run_id), refused.message)
    return page.done(page.here("runs", run_id), sentence)


async def _run(page: Page) -> RunHistory:
    return await page.get(RUN, RunHistory, run=page.param("run"))


async def _lines(page: Page, query: dict[str, Any]) -> LinePage:
    return await page.get(LINES, LinePage, query)


def _values(run: RunHistory, said: LinePage) -> dict[str, Any]:
    return {
        "run": run,
        "lines": said.lines,
        "cursor": said.cursor,
        "more": said.more,
        "goes_on": run.state not in ENDED or said.more,
        "shown_max": LINES_SHOWN,
        "words": task_words,
    }


def _choices() -> list[tuple[str, str]]:
    return [("", "All"), *STATES.items()]


PAGES = (
    page("GET", RUNS, show_all, nav="tasks"),
    page("GET", RUN, show, nav="tasks"),
    page("POST", f"{RUN}/cancel", cancel, nav="tasks"),
    page("POST", f"{RUN}/retry", retry, nav="tasks"),
)
