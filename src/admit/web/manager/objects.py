"""/apps/APP/data/TABLE/KEY: one object, as JSON that can be changed."""

import msgspec
from starlette.responses import Response

from admit.errors import AdmitError, Conflict, InvalidRequest, NotFound
from admit.web.admin_tables_api import ObjectView
from admit.web.manager import typed_json
from admit.web.manager.pages import Page, page
from admit.web.manager.rendering import pretty_json
from admit.web.manager.tables import BODY_BYTES_MAX
from admit.web.manager.toasts import Undo

OBJECT = "/apps/{app}/objects/{table}/{key}"
DATA_OBJECT = "/apps/{app}/data/{table}/{key}"
PUBLIC = "rlm-public"
UNDONE_BYTES_MAX = 1_500
"""Of the former value, which travels in a cookie of 4 kB at most, until somebody takes the change back."""


async def show(page: Page) -> Response:
    """An object."""
    return await _show(page)


async def save(page: Page) -> Response:
    """Puts what was typed in the place of the object, if nobody else has changed it meanwhile."""
    table, key, realm = page.param("table"), page.param("key"), page.form.text("realm")
    try:
        value = typed_json.read_object(page.form.verbatim("value"))
        former = await _find(page, realm)
        if page.form.text("revision") not in ("", str(former.revision)):
            raise Conflict(
                "Somebody has changed the object since you opened it. What they have written is below; save "
                "again to put yours in its place."
            )
        body = {"value": value, "realm_id": realm}
        saved = await page.send("PUT", OBJECT, ObjectView, body, table=table, key=key)
    except (InvalidRequest, Conflict) as refused:
        return await _show(page, refused)
    undo = None
    if len(bytes(former.value)) <= UNDONE_BYTES_MAX:
        fields = {"realm": realm, "revision": str(saved.revision), "value": bytes(former.value).decode()}
        undo = Undo(_path(page, table, key), fields)
    return page.done(page.here("data", table, key, realm=realm), f"{key} is saved.", undo)


async def delete(page: Page) -> Response:
    """Deletes an object, here and on every device that has it."""
    table, key, realm = page.param("table"), page.param("key"), page.form.text("realm")
    await page.send("DELETE", OBJECT, type(None), query={"realm_id": realm}, table=table, key=key)
    return page.done(page.here("data", table), f"{key} is deleted.")


async def _find(page: Page, realm: str) -> ObjectView:
    query = {"realm_id": realm or None}
    return await page.get(OBJECT, ObjectView, query, table=page.param("table"), key=page.param("key"))


async def _show(page: Page, refused: AdmitError | None = None) -> Response:
    posted = page.request.method == "POST"
    realm = page.form.text("realm") if posted else page.query("realm")
    try:
        found = await _find(page, realm)
    except Conflict as several:
        raise NotFound(f"{several.message} Open it from the list of its table.") from None
    now = pretty_json(found.value)
    return page.render(
        "object.html",
        status=page.status_of(refused),
        object=found,
        typed=page.form.verbatim("value") if posted else now,
        now=now if isinstance(refused, Conflict) else "",
        refused="" if refused is None else refused.message,
        size=len(msgspec.json.encode(found.value)),
        public=found.realm_id == PUBLIC,
    )


def _path(page: Page, table: str, key: str) -> str:
    """The path of the object below /manager, as forms are posted to it."""
    return page.here("data", table, key).removeprefix(page.url(""))


PAGES = (
    page("GET", DATA_OBJECT, show, nav="data"),
    page("POST", DATA_OBJECT, save, nav="data", body_bytes_max=BODY_BYTES_MAX),
    page("POST", f"{DATA_OBJECT}/delete", delete, nav="data"),
)
