"""/apps/APP/endpoints: who is told of what happens, how they are doing; and a new one with its secret."""

from starlette.responses import Response

from admit.errors import AdmitError, Conflict, InvalidRequest
from admit.web.endpoint_figures_api import FiguresPage
from admit.web.endpoint_types import EndpointPage, EndpointSecret, EndpointView
from admit.web.event_types_api import EventTypesView, EventTypeView
from admit.web.manager import endpoint_forms, hook_words, seen
from admit.web.manager.endpoint_forms import CHANGES, HOOK, SOME, Typed
from admit.web.manager.pages import Page, page
from admit.web.model_types import ModelView

ENDPOINTS = "/apps/{app}/endpoints"
FIGURES = "/apps/{app}/endpoint-figures"
PAGE_SIZE = 50
FAMILIES = (
    ("user", "People"),
    ("device", "Devices"),
    ("session", "Sessions"),
    ("data", "Objects"),
    ("object", "Objects, for web hooks of the data model"),
    ("endpoint", "Web hooks themselves"),
    ("test", "Tests"),
)
"""The families of types, by what their names begin with."""


async def show(page: Page) -> Response:
    """The endpoints."""
    which = {"after": page.query("after") or None, "limit": PAGE_SIZE}
    found, figures = await page.together(
        page.get(ENDPOINTS, EndpointPage, which), page.get(FIGURES, FiguresPage, which)
    )
    figures_of = {each.id: each for each in figures.endpoints}
    # One that was made between the two questions has no figures yet, and is on the next page that is loaded.
    rows = [(each, figures_of[each.id]) for each in found.endpoints if each.id in figures_of]
    first = page.query("after") != ""
    return page.render(
        "endpoints.html",
        rows=rows,
        newer=page.here("endpoints") if first else "",
        older=page.here("endpoints", after=found.after) if found.after else "",
        words=hook_words,
    )


async def show_new(page: Page) -> Response:
    """The form of a new endpoint. The query may choose what it is told of: `hook`, `table` or `events`."""
    hook, table, events = page.query("hook"), page.query("table"), page.query("events")
    typed = Typed(
        told_of=HOOK if hook else CHANGES if table else SOME if events else endpoint_forms.EVERY,
        hook=hook,
        changes=table,
        events=tuple(each for each in events.split(",") if each),
    )
    return await show_form(page, typed)


async def create(page: Page) -> Response:
    """Makes an endpoint, and shows its secret, this once."""
    typed = endpoint_forms.typed_in(page.form)
    try:
        made = await page.send("POST", ENDPOINTS, EndpointSecret, endpoint_forms.new(typed))
    except (InvalidRequest, Conflict) as refused:
        return await show_form(page, typed, refused)
    return show_secret(page, made, new=True)


def show_secret(page: Page, made: EndpointSecret, *, new: bool) -> Response:
    """The page that shows a secret. It is in no other: who loads it anew does not see it again."""
    return page.render(
        "endpoint_made.html", endpoint=made, new=new, words=hook_words, samples=hook_words.SAMPLES
    )


async def show_form(
    page: Page, typed: Typed, refused: AdmitError | None = None, present: EndpointView | None = None
) -> Response:
    """The form of an endpoint, a new one where none is `present`, with why it was refused."""
    types, model = await page.together(
        page.get("/apps/{app}/event-types", EventTypesView), page.get("/apps/{app}/model", ModelView)
    )
    return page.render(
        "endpoint_form.html",
        status=page.status_of(refused),
        typed=typed,
        families=families_of(types.types),
        hooks=[(each.name, f"{each.name}, of {each.model}") for each in model.hooks],
        refused=refused,
        endpoint_id=present.id if present else "",
        seen=seen.mark(endpoint_forms.typed_of(present)) if present else "",
        name=hook_words.name_of(present) if present else "",
        header_names=present.headers if present else [],
        forms=endpoint_forms,
        words=hook_words,
    )


def families_of(types: list[EventTypeView]) -> list[tuple[str, str, list[EventTypeView]]]:
    """The families that there are, with their types."""
    found = [
        (prefix, heading, [each for each in types if each.type.startswith(f"{prefix}.")])
        for prefix, heading in FAMILIES
    ]
    return [family for family in found if family[2]]


PAGES = (
    page("GET", ENDPOINTS, show, nav="endpoints"),
    page("POST", ENDPOINTS, create, nav="endpoints"),
    page("GET", f"{ENDPOINTS}/new", show_new, nav="endpoints"),
)
