"""/apps/APP/change-hooks: the endpoints that hear of changes of objects, by table."""

from collections.abc import Sequence

import msgspec
from starlette.responses import Response

from admit.web.endpoint_types import EndpointPage, EndpointView
from admit.web.manager.pages import Page, page

ENDPOINTS = "/apps/{app}/endpoints"
PAGES_MAX = 20
"""Of a hundred endpoints each."""
EVERY_TABLE = ""


class ChangeHook(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint hears of one table. `operations` empty: of every kind; `properties` empty: of all."""

    table: str
    endpoint: EndpointView
    operations: Sequence[str]
    properties: Sequence[str]


async def show(page: Page) -> Response:
    """All of them, by table."""
    hooks = await find(page)
    tables = sorted({each.table for each in hooks})
    return page.render(
        "change_hooks.html",
        groups=[(table, [each for each in hooks if each.table == table]) for table in tables],
    )


async def find(page: Page) -> list[ChangeHook]:
    """The change hooks of the app."""
    return [hook for each in await endpoints(page) for hook in _hooks_of(each)]


async def of_table(page: Page, table: str) -> list[ChangeHook]:
    """Those that hear of a table; none for an operator who may not see them."""
    if not page.may("webhooks:read"):
        return []
    return [each for each in await find(page) if each.table in (EVERY_TABLE, table)]


async def endpoints(page: Page) -> list[EndpointView]:
    """All endpoints of the app."""
    found: list[EndpointView] = []
    after = ""
    for _ in range(PAGES_MAX):
        answer = await page.get(ENDPOINTS, EndpointPage, {"after": after})
        found += answer.endpoints
        if answer.after is None:
            break
        after = answer.after
    return found


def _hooks_of(endpoint: EndpointView) -> list[ChangeHook]:
    if endpoint.format != "dexie":
        return []
    rules = endpoint.filter.changes
    if not rules:
        return [ChangeHook(table=EVERY_TABLE, endpoint=endpoint, operations=(), properties=())]
    return [
        ChangeHook(
            table=each.table, endpoint=endpoint, operations=each.operations, properties=each.properties
        )
        for each in rules
    ]


PAGES = (page("GET", "/apps/{app}/change-hooks", show, nav="data"),)
