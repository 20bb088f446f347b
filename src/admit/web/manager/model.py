"""/apps/APP/model: the data model, its web hooks and where they lead."""

from starlette.responses import Response

from admit.errors import AdmitError, Conflict, InvalidRequest
from admit.web.deliveries_api import DeliveryPage, DeliveryView
from admit.web.endpoint_types import EndpointView
from admit.web.manager import change_hooks, seen
from admit.web.manager.pages import Page, page
from admit.web.manager.toasts import Undo
from admit.web.model_types import CheckedModel, ModelView

MODEL, CHECK = "/apps/{app}/model", "/apps/{app}/model/check"
BODY_BYTES_MAX = 2_000_000
UNDONE_CHARACTERS_MAX = 1_500
ASKED_MAX = 30
"""Endpoints whose last delivery is shown."""
EXAMPLE = """[models.todo]
table = "todos"
fields = { title = "text", done = "boolean" }

[[models.todo.webhooks]]
type = "ready"
fields = ["title", "user"]
"""


async def show(page: Page) -> Response:
    """The data model."""
    return await _show(page)


async def check(page: Page) -> Response:
    """Says what a text would be."""
    source = _source(page)
    checked = await page.send("POST", CHECK, CheckedModel, {"source": source})
    return await _show(page, source, checked)


async def set_model(page: Page) -> Response:
    """Makes a text the data model. One that loses web hooks which somebody hears is set when asked twice."""
    source = _source(page)
    try:
        former = await page.get(MODEL, ModelView)
        seen.refuse_stale(page.form, former.version)
        checked = await page.send("POST", CHECK, CheckedModel, {"source": source})
        silenced = [each for each in checked.lost if each.endpoints]
        if checked.problems or (silenced and not page.form.flag("all_the_same")):
            return await _show(page, source, checked, asks=bool(silenced))
        made = await page.send("PUT", MODEL, ModelView, {"source": source})
    except (InvalidRequest, Conflict) as refused:
        return await _show(page, source, refused=refused)
    undo = None
    if former.version and len(former.source) <= UNDONE_CHARACTERS_MAX:
        fields = {"source": former.source, "all_the_same": "on", seen.FIELD: seen.mark(made.version)}
        undo = Undo(f"/apps/{page.app}/model", fields)
    return page.done(page.here("model"), "The data model is set. What is written from now on fires it.", undo)


async def rotate(page: Page) -> Response:
    """Gives the app a new key."""
    await page.send("POST", "/apps/{app}/model/key", type(None))
    return page.done(page.here("model"), "There is a new key. It signs in ten minutes.")


def _source(page: Page) -> str:
    """The file that was chosen; otherwise what was typed. Raises InvalidRequest."""
    file = page.form.file("file")
    if file is None:
        return page.form.verbatim("source")
    try:
        return file.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise InvalidRequest("The file is not UTF-8.") from None


async def _show(
    page: Page,
    source: str | None = None,
    checked: CheckedModel | None = None,
    refused: AdmitError | None = None,
    *,
    asks: bool = False,
) -> Response:
    model = await page.get(MODEL, ModelView)
    endpoints = await change_hooks.endpoints(page) if any(each.endpoints for each in model.hooks) else []
    by_id = {each.id: each for each in endpoints}
    wrong = bool(checked and checked.problems)
    return page.render(
        "model.html",
        status=page.status_of(refused) if refused else 400 if wrong and page.route.path == MODEL else 200,
        model=model,
        seen=seen.mark(model.version),
        source=(model.source or EXAMPLE) if source is None else source,
        checked=checked,
        asks=asks,
        refused="" if refused is None else refused.message,
        endpoints=by_id,
        last=await _last(page, [each for each in by_id.values() if each.hook]),
    )


async def _last(page: Page, endpoints: list[EndpointView]) -> dict[str, DeliveryView]:
    """The last delivery to each endpoint that had one."""
    asked = endpoints[:ASKED_MAX]
    query = [{"endpoint": each.id, "limit": 1} for each in asked]
    pages = await page.together(*(page.get("/apps/{app}/deliveries", DeliveryPage, each) for each in query))
    return {
        each.id: found.deliveries[0] for each, found in zip(asked, pages, strict=True) if found.deliveries
    }


PAGES = (
    page("GET", MODEL, show, nav="data"),
    page("POST", MODEL, set_model, nav="data", body_bytes_max=BODY_BYTES_MAX),
    page("POST", CHECK, check, nav="data", body_bytes_max=BODY_BYTES_MAX),
    page("POST", "/apps/{app}/model/key", rotate, nav="data"),
)
