"""/apps/APP/jump and /badges: what the palette finds beside pages, what the side counts beside entries.

People are found by how they begin, anything else by its id.
"""

from collections.abc import Awaitable, Callable

import msgspec
from starlette.responses import Response

from admit.errors import Forbidden, InvalidRequest, NotFound
from admit.web.admin_types import AdmissionView
from admit.web.changes_api import ChangeView
from admit.web.deliveries_api import DeliveryView
from admit.web.endpoint_types import EndpointView
from admit.web.events_api import EventView
from admit.web.manager.pages import Page, page
from admit.web.overview_types import Code, Overview
from admit.web.sessions_types import SessionView
from admit.web.task_types import RunView

PEOPLE = 8
CHARACTERS_MAX = 200
APP_NOT_FOUND = "app_not_found"


class _Person(msgspec.Struct, frozen=True):
    user_id: str
    name: str
    type: str


class _People(msgspec.Struct, frozen=True):
    """What a page of people says, less what nobody needs to jump to them."""

    users: list[_Person]


class Hit(msgspec.Struct, frozen=True):
    """Somewhere to jump to. `note` says more of it, `icon` is the address of a symbol."""

    label: str
    url: str
    icon: str
    note: str


class Group(msgspec.Struct, frozen=True):
    """Hits of one kind."""

    name: str
    hits: list[Hit]


class Found(msgspec.Struct, frozen=True):
    """All that was found."""

    groups: list[Group]


async def jump(page: Page) -> Response:
    """What `q` leads to. What the operator may not see is not found."""
    wanted = page.query("q")[:CHARACTERS_MAX]
    groups: list[Group | None] = []
    if wanted:
        by_id = _BY_ID.get(wanted.partition("_")[0]) if "_" in wanted else None
        groups = [await _found(by_id(page, wanted)) if by_id else None, await _found(_people(page, wanted))]
    shown = Found([each for each in groups if each is not None and each.hits])
    return Response(msgspec.json.encode(shown), media_type="application/json")


async def _found(asked: Awaitable[Group]) -> Group | None:
    try:
        return await asked
    except (NotFound, Forbidden, InvalidRequest) as error:
        if error.code == APP_NOT_FOUND:
            raise
        return None


async def _people(page: Page, wanted: str) -> Group:
    found = await page.get("/apps/{app}/users", _People, {"search": wanted, "limit": PEOPLE})
    return Group(
        "People",
        [
            _hit(page, each.user_id, each.name or each.type, "people", "people", each.user_id)
            for each in found.users
        ],
    )


async def _event(page: Page, wanted: str) -> Group:
    event = await page.get("/apps/{app}/events/{event}", EventView, event=wanted)
    return _one("Event", _hit(page, event.type, event.id, "event", "events", event.id))


async def _delivery(page: Page, wanted: str) -> Group:
    delivery = await page.get("/apps/{app}/deliveries/{delivery}", DeliveryView, delivery=wanted)
    label = f"{delivery.type}, {delivery.state}"
    return _one("Delivery", _hit(page, label, delivery.id, "send", "deliveries", delivery.id))


async def _run(page: Page, wanted: str) -> Group:
    run = await page.get("/apps/{app}/runs/{run}", RunView, run=wanted)
    return _one("Run", _hit(page, f"{run.task}, {run.state}", run.id, "task", "runs", run.id))


async def _session(page: Page, wanted: str) -> Group:
    session = await page.get("/v4/{app}/sessions/{session_id}", SessionView, session_id=wanted)
    label = f"{session.label or 'A device'} of {session.user.id}"
    return _one("Session", _hit(page, label, session.state, "phone", "people", session.user.id))


async def _admission(page: Page, wanted: str) -> Group:
    made = await page.get("/apps/{app}/admissions/{admission}", AdmissionView, admission=wanted)
    label = f"{made.user_id}, {made.verdict or 'open'}"
    return _one("Decision", _hit(page, label, made.admission_id, "policy", "policy", "ledger", wanted))


async def _endpoint(page: Page, wanted: str) -> Group:
    here = await page.get("/apps/{app}/endpoints/{endpoint}", EndpointView, endpoint=wanted)
    return _one("Web hook", _hit(page, here.description or here.url, here.id, "hook", "endpoints", here.id))


async def _change(page: Page, wanted: str) -> Group:
    made = await page.get("/apps/{app}/changes/{change}", ChangeView, change=wanted)
    return _one("Change", _hit(page, made.summary, made.who, "audit", "changes", made.change_id))


_BY_ID: dict[str, Callable[[Page, str], Awaitable[Group]]] = {
    "evt": _event,
    "dlv": _delivery,
    "run": _run,
    "ses": _session,
    "adm": _admission,
    "ep": _endpoint,
    "chg": _change,
}
"""By the beginning of the id."""


def _one(name: str, hit: Hit) -> Group:
    return Group(name, [hit])


def _hit(page: Page, label: str, note: str, icon: str, *where: str) -> Hit:
    return Hit(label, page.here(*where), f"{page.house.renderer.asset('icons.svg')}#{icon}", note)


class Badge(msgspec.Struct, frozen=True):
    """So many things need attention on a page; `urgent`: one of them is."""

    number: int
    urgent: bool


_AT: dict[Code, str] = {
    "endpoint_disabled": "endpoints",
    "endpoint_failing": "endpoints",
    "hook_failing": "policy",
    "hook_slow": "policy",
    "mails_failed": "sign-in",
    "no_origin": "clients",
    "runs_failed": "tasks",
    "seats_few": "settings",
    "seats_full": "settings",
}
"""The entry of the side under which each is looked after."""


async def badges(page: Page) -> Response:
    """How much needs attention, by the entry of the side."""
    overview = await page.get("/apps/{app}/overview", Overview, {"days": 1})
    told: dict[str, Badge] = {}
    for each in overview.attention:
        known = told.get(_AT[each.code], Badge(0, False))
        told[_AT[each.code]] = Badge(known.number + 1, known.urgent or each.urgent)
    return Response(msgspec.json.encode(told), media_type="application/json")


PAGES = (page("GET", "/apps/{app}/jump", jump), page("GET", "/apps/{app}/badges", badges))
