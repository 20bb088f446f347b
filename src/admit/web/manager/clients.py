"""/apps/APP/clients: API clients, whose secret is shown once, and the origins whose pages may call."""

from starlette.responses import Response

from admit.accounts.clients import SCOPES
from admit.errors import AdmitError
from admit.web.admin_types import ClientSecret, ClientView, NewClient, Origin, OriginsView
from admit.web.manager.pages import Page, PageHandler, page, showing_refusals
from admit.web.manager.toasts import Undo

ABOUT = {
    "ACCESS_DB": "Sync and read the data of the app",
    "IMPERSONATE": "Speak for any person, such as to make links that sign them in",
    "MANAGE_DB": "Change people, roles and settings",
    "GLOBAL_READ": "Read everybody’s data and sessions",
    "GLOBAL_WRITE": "Change everybody’s data and sessions",
    "DELETE_DB": "Delete the app, which this server does not do yet",
}
"""What a scope lets an API client do, in a line."""
CHOSEN_AT_FIRST = frozenset({"ACCESS_DB"})


async def show(page: Page) -> Response:
    """The page."""
    return await _page(page)


async def create(page: Page) -> Response:
    """Makes a client and shows its secret, this once."""
    scopes = [each for each in page.form.many("scope") if each in SCOPES]
    body = NewClient(scopes=[*scopes], owner=page.form.optional("owner"))
    return await _page(page, made=await page.send("POST", "/apps/{app}/clients", ClientSecret, body))


async def rotate(page: Page) -> Response:
    """Gives a client another secret and shows it, this once."""
    path, client_id = "/apps/{app}/clients/{client_id}/secret", page.param("client")
    return await _page(page, made=await page.send("POST", path, ClientSecret, client_id=client_id))


async def revoke(page: Page) -> Response:
    """Ends a client."""
    client_id = page.param("client")
    await page.send("DELETE", "/apps/{app}/clients/{client_id}", type(None), client_id=client_id)
    return page.done(page.here("clients"), f"{client_id} is revoked, and all that it had opened.")


async def allow(page: Page) -> Response:
    """Lets the pages of an origin call."""
    body = Origin(origin=page.form.text("origin"), force=page.form.flag("force"))
    before = await page.get("/apps/{app}/origins", OriginsView)
    after = await page.send("POST", "/apps/{app}/origins", OriginsView, body)
    added = [each for each in after.origins if each not in before.origins]
    if not added:
        return page.done(page.here("clients"), f"{body.origin} was allowed already.")
    undo = Undo(f"/apps/{page.app}/clients/origins/disallow", {"origin": added[0]})
    return page.done(page.here("clients"), f"Pages of {added[0]} may call now.", undo)


async def disallow(page: Page) -> Response:
    """Lets the pages of an origin call no more."""
    origin = page.form.text("origin")
    await page.send("DELETE", "/apps/{app}/origins", OriginsView, query={"origin": origin})
    undo = Undo(f"/apps/{page.app}/clients/origins/allow", {"origin": origin, "force": "on"})
    return page.done(page.here("clients"), f"Browsers let no page of {origin} call any more.", undo)


def _shown(handler: PageHandler) -> PageHandler:
    return showing_refusals(handler, _page)


async def _page(page: Page, error: AdmitError | None = None, *, made: ClientSecret | None = None) -> Response:
    clients, origins = await page.together(
        page.get("/apps/{app}/clients", list[ClientView]),
        page.get("/apps/{app}/origins", OriginsView),
    )
    of_origins = page.request.url.path.endswith("/allow")
    typed = page.form if error is not None else None
    return page.render(
        "clients.html",
        page.status_of(error),
        clients=clients,
        origins=origins.origins,
        made=made,
        scopes=list(ABOUT.items()),
        chosen=CHOSEN_AT_FIRST if typed is None or of_origins else frozenset(typed.many("scope")),
        client_problem=error.message if error is not None and not of_origins else "",
        origin_problem=error.message if error is not None and of_origins else "",
        origin=typed.text("origin") if typed is not None else "",
        owner=typed.text("owner") if typed is not None else page.signed_in.operator.email,
        may_write=page.may("apps:write"),
        may_make=page.may("apps:write") and page.may("secrets:read"),
    )


PAGES = (
    page("GET", "/apps/{app}/clients", show, nav="clients"),
    page("POST", "/apps/{app}/clients/create", _shown(create), nav="clients"),
    page("POST", "/apps/{app}/clients/origins/allow", _shown(allow), nav="clients"),
    page("POST", "/apps/{app}/clients/origins/disallow", _shown(disallow), nav="clients"),
    page("POST", "/apps/{app}/clients/{client}/rotate", _shown(rotate), nav="clients"),
    page("POST", "/apps/{app}/clients/{client}/revoke", _shown(revoke), nav="clients"),
)
