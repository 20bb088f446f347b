"""/apps/APP/data: the tables of an app, what is known of each, and its objects."""

from typing import Any

from starlette.responses import Response

from admit.errors import AdmitError, Conflict, InvalidRequest, NotFound
from admit.web.admin_tables_api import ObjectCount, ObjectPage, ObjectView, TableView
from admit.web.manager import change_hooks, typed_json
from admit.web.manager.pages import Page, page

TABLES, TABLE, OBJECTS = "/apps/{app}/tables", "/apps/{app}/tables/{table}", "/apps/{app}/objects/{table}"
COUNT = "/apps/{app}/object-counts/{table}"
DATA, DATA_TABLE, NEW = "/apps/{app}/data", "/apps/{app}/data/{table}", "/apps/{app}/new-object/{table}"
TABLES_SHOWN = 50
COUNTED_MAX = 1_000
OBJECTS_SHOWN = 50
VALUE_CHARACTERS = 110
BODY_BYTES_MAX = 6_500_000
"""A megabyte of JSON, each byte of it as three characters of a form, twice."""


async def show(page: Page) -> Response:
    """The tables."""
    return await _show(page)


async def tell(page: Page) -> Response:
    """Tells of a table before any client has."""
    name = page.form.text("table")
    try:
        if not name:
            raise InvalidRequest("Write the name of the table, such as todos.")
        await page.send("PUT", TABLE, TableView, _setting(page), table=name)
    except (InvalidRequest, Conflict, NotFound) as refused:
        return await _show(page, refused)
    return page.done(page.here("data", name), f"{name} is a table.")


async def show_table(page: Page) -> Response:
    """A page of the objects of a table."""
    return await _show_table(page)


async def correct(page: Page) -> Response:
    """Corrects what is known of a table."""
    name = page.param("table")
    try:
        await page.send("PUT", TABLE, TableView, _setting(page), table=name)
    except (InvalidRequest, Conflict) as refused:
        return await _show_table(page, refused)
    return page.done(page.here("data", name), f"What is known of {name} is corrected.")


async def show_new(page: Page) -> Response:
    """The form for a new object."""
    return _show_new(page)


async def add(page: Page) -> Response:
    """Adds an object; one that is there is not written over."""
    table, realm = page.param("table"), page.form.text("realm")
    try:
        value = typed_json.read_object(page.form.verbatim("value"))
        if not realm:
            raise InvalidRequest("Say whose it is: a userId, or rlm-public for everybody.")
        made = await _add(page, table, realm, value)
    except (InvalidRequest, Conflict, NotFound) as refused:
        return _show_new(page, refused)
    return page.done(page.here("data", table, made.key, realm=made.realm_id), f"{made.key} is in {table}.")


async def _add(page: Page, table: str, realm: str, value: dict[str, Any]) -> ObjectView:
    key = page.form.text("key")
    if not key:
        known = await _known(page, table)
        key = str(value.get(known.primary_key, "")) if known.primary_key else ""
    if key and await _is_there(page, table, key, realm):
        raise Conflict(f"{realm} has an object {key[:80]} already. Open it to change it.")
    body = {"value": value, "realm_id": realm}
    if page.form.text("key"):
        return await page.send("PUT", f"{OBJECTS}/{{key}}", ObjectView, body, table=table, key=key)
    return await page.send("POST", OBJECTS, ObjectView, body, table=table)


async def _is_there(page: Page, table: str, key: str, realm: str) -> bool:
    try:
        await page.get(f"{OBJECTS}/{{key}}", ObjectView, {"realm_id": realm}, table=table, key=key)
    except NotFound as missing:
        if missing.code == "object_not_found":
            return False
        raise
    return True


def _setting(page: Page) -> dict[str, Any]:
    return {
        "primary_key": page.form.text("primary_key"),
        "id_prefix": page.form.text("id_prefix"),
        "generated": page.form.flag("generated"),
    }


async def _known(page: Page, table: str) -> TableView:
    """What is known of a table, or is assumed of it."""
    try:
        return await page.get(TABLE, TableView, table=table)
    except NotFound:
        return TableView(name=table, primary_key="id", id_prefix="", generated=False, known=False)


async def _show(page: Page, refused: AdmitError | None = None) -> Response:
    tables = await page.get(TABLES, list[TableView])
    after = page.query("after")
    behind = [each for each in tables if each.name > after]
    shown = behind[:TABLES_SHOWN]
    counts = await page.together(*(_count(page, each.name) for each in shown))
    return page.render(
        "tables.html",
        status=page.status_of(refused),
        tables=list(zip(shown, counts, strict=True)),
        total=len(tables),
        first=page.here("data") if after else "",
        older=page.here("data", after=shown[-1].name) if len(behind) > len(shown) else "",
        refused="" if refused is None else refused.message,
        typed={name: page.form.text(name) for name in ("table", "primary_key", "id_prefix")}
        if refused
        else {"table": "", "primary_key": "id", "id_prefix": ""},
        generated=bool(refused and page.form.flag("generated")),
    )


async def _count(page: Page, table: str) -> str:
    """How many objects, in words, without looking at more than COUNTED_MAX."""
    found = await page.get(COUNT, ObjectCount, {"rows": COUNTED_MAX}, table=table)
    return f"{found.objects:,}" if found.after is None else f"{COUNTED_MAX:,} and more"


async def _show_table(page: Page, wrong: AdmitError | None = None) -> Response:
    table = page.param("table")
    asked = {name: page.query(name) for name in ("realm", "where")}
    after = page.query("after")
    found, refused = ObjectPage(objects=[], after=None), ""
    try:
        query = {"realm_id": asked["realm"] or None, "after": after or None, "limit": OBJECTS_SHOWN}
        found = await page.get(OBJECTS, ObjectPage, _condition(asked["where"]) | query, table=table)
    except (InvalidRequest, NotFound) as error:
        refused = error.message
    known, hooks = await page.together(_known(page, table), change_hooks.of_table(page, table))
    values = [each.value for each in found.objects]
    return page.render(
        "table.html",
        status=page.status_of(wrong) if wrong else 400 if refused else 200,
        table=known,
        objects=list(zip(found.objects, map(_short, map(bytes, values)), strict=True)),
        asked=asked,
        first=page.here("data", table, **asked) if after else "",
        older="" if found.after is None else page.here("data", table, **asked, after=found.after),
        refused=refused,
        wrong="" if wrong is None else wrong.message,
        setting=_setting(page) if wrong else known,
        hooks=hooks,
    )


def _show_new(page: Page, refused: AdmitError | None = None) -> Response:
    posted = page.request.method == "POST"
    return page.render(
        "object_new.html",
        status=page.status_of(refused),
        table=page.param("table"),
        realm=page.form.text("realm") if posted else page.query("realm"),
        key=page.form.text("key") if posted else "",
        value=page.form.verbatim("value") if posted else '{\n  "id": ""\n}',
        refused="" if refused is None else refused.message,
    )


def _condition(where: str) -> dict[str, object]:
    """`done=true` as the API takes it. Raises InvalidRequest."""
    if not where:
        return {}
    name, equals, value = where.partition("=")
    if not (name.strip() and equals) or name.strip() in ("realm_id", "after", "limit"):
        raise InvalidRequest("Write a property and what it is, such as done=true or title=Tea.")
    return {name.strip(): value.strip()}


def _short(value: bytes) -> str:
    text = value[: 4 * VALUE_CHARACTERS].decode(errors="ignore")
    return text if len(text) <= VALUE_CHARACTERS else text[: VALUE_CHARACTERS - 1] + "…"


PAGES = (
    page("GET", DATA, show, nav="data"),
    page("POST", DATA, tell, nav="data"),
    page("GET", DATA_TABLE, show_table, nav="data"),
    page("POST", TABLE, correct, nav="data"),
    page("GET", NEW, show_new, nav="data"),
    page("POST", NEW, add, nav="data", body_bytes_max=BODY_BYTES_MAX),
)
