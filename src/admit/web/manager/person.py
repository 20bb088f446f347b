"""/apps/APP/people/USER: one person, with their devices, sessions, data and timeline."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.responses import Response

from admit.web.admin_identities_api import IdentitiesView
from admit.web.devices_api import Devices
from admit.web.endpoint_types import EndpointPage
from admit.web.enrollment_tokens_api import EnrollmentTokenPage
from admit.web.erasure_api import ErasureView, erased_text, kept_text
from admit.web.manager.pages import Page, page
from admit.web.people_replies import Person
from admit.web.sessions_types import UserWithSessions
from admit.web.timeline_api import SCOPES, Timeline, TimelineEntry
from admit.web.timeline_words import heading, sentence, tone

DEVICES = 20
LINKS = 5
ENTRIES = 30
KINDS = (
    ("", "All"),
    ("decision", "Decisions"),
    ("event", "Events"),
    ("delivery", "Deliveries"),
    ("run", "Runs"),
)
TYPES = (
    (("prod", "prod: takes a seat"), ("eval", "eval: a trial, no seat")),
    (("demo", "demo: no seat, no end"),),
)
"""Of everybody, and of demo users, who stay what they are."""
ICONS = {"decision": "policy", "event": "event", "delivery": "hook", "run": "task"}
OF_LOGINS = frozenset({"user.enrolled", "device.enrolled", "session.started"})
ABOUT_DEVICES = frozenset({"device", "session"})


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the timeline as the page shows it."""

    at: int
    icon: str
    tone: str
    heading: str
    sentence: str
    types: list[str]
    url: str


async def show(page: Page) -> Response:
    """A person, or only their timeline."""
    if page.wants_fragment and page.request.headers.get("hx-target") == "timeline":
        return page.render_block("person.html", "timeline", **await timeline(page))
    return await render(page)


async def render(page: Page, status: int = 200, **given: Any) -> Response:
    """The whole page. `given`: what was typed in a form, and why it was refused."""
    user_id = page.param("user_id")
    person, holder, devices, identities, links, erasure, told = await page.together(
        page.get("/apps/{app}/users/{user_id}", Person, user_id=user_id),
        page.get("/v4/{app}/users/{user_id}", UserWithSessions, user_id=user_id),
        page.get("/v4/{app}/users/{user_id}/devices", Devices, query=_devices_query(page), user_id=user_id),
        page.get("/apps/{app}/users/{user_id}/identities", IdentitiesView, user_id=user_id),
        page.get(
            "/apps/{app}/users/{user_id}/enrollment-tokens",
            EnrollmentTokenPage,
            query={"limit": LINKS},
            user_id=user_id,
        ),
        page.get("/apps/{app}/users/{user_id}/erasure", ErasureView, user_id=user_id),
        timeline(page),
    )
    values = {
        "person": person,
        "holder": holder,
        "devices": devices,
        "identities": [each for each in identities.identities if each.unlinkable],
        "links": links.tokens,
        "erased": erased_text(erasure),
        "kept": kept_text(erasure),
        "frees_seat": erasure.frees_seat,
        "standing": standing_of(person),
        "data": "" if bytes(person.data) == b"null" else bytes(person.data).decode(),
        "types": TYPES[person.type == "demo"],
        "at": path_of(page),
        "ms_of": ms_of,
        "problems": {},
        **told,
    }
    return page.render("person.html", status, **values | given)


async def timeline(page: Page) -> dict[str, Any]:
    """What the timeline shows: the entries, and where older ones are."""
    user_id, kind = page.param("user_id"), page.query("kind")
    if kind not in dict(KINDS):
        kind = ""
    told, names = await page.together(
        page.get(
            "/apps/{app}/users/{user_id}/timeline",
            Timeline,
            query={"kind": kind or None, "before": page.query("before") or None, "limit": ENTRIES},
            user_id=user_id,
        ),
        _endpoints(page),
    )
    here = page.here("people", user_id, kind=kind)
    tabs = [
        (page.here("people", user_id, kind=each) + "#timeline", label)
        for each, label in KINDS
        if not each or page.may(SCOPES[each])  # type: ignore[index]
    ]
    return {
        "entries": [_shown(page, each, names) for each in _logins_as_one(told.entries)],
        "kind": kind,
        "kinds": tabs,
        "kind_label": dict(KINDS)[kind],
        "newest": here if page.query("before") else "",
        "older": page.here("people", user_id, kind=kind, before=told.before) if told.before else "",
    }


def standing_of(person: Person) -> dict[str, str]:
    """The fields of the form for the standing, as they are now."""
    until = (
        ""
        if person.valid_until is None
        else f"{datetime.fromtimestamp(person.valid_until / 1_000, UTC):%Y-%m-%d}"
    )
    limit = "" if person.devices_max is None else str(person.devices_max)
    return {
        "type": person.type,
        "eval_days": str(person.eval_days_left),
        "valid_until": until,
        "devices_max": limit,
    }


def path_of(page: Page, *parts: str) -> str:
    """The path of this person below /manager, as `Undo` takes it."""
    return page.here("people", page.param("user_id"), *parts).removeprefix(page.url(""))


def ms_of(moment: str | None) -> int:
    """UTC ms of a time that the Sessions API tells."""
    return 0 if moment is None else round(datetime.fromisoformat(moment).timestamp() * 1_000)


def _devices_query(page: Page) -> dict[str, object]:
    return {"limit": DEVICES, "after": page.query("devices") or None}


async def _endpoints(page: Page) -> dict[str, str]:
    """What endpoints are called, by id."""
    if not page.may("webhooks:read"):
        return {}
    found = await page.get("/apps/{app}/endpoints", EndpointPage)
    return {each.id: each.description or each.url for each in found.endpoints}


def _logins_as_one(entries: Sequence[TimelineEntry]) -> list[list[TimelineEntry]]:
    """The entries, what one login has led to together; the event that says most comes first."""
    found: list[list[TimelineEntry]] = []
    for entry in entries:
        if found and _login_of(entry) is not None and _login_of(found[-1][0]) == _login_of(entry):
            found[-1].insert(0, entry)
        else:
            found.append([entry])
    return found


def _login_of(entry: TimelineEntry) -> tuple[int, str] | None:
    """When which session was opened, of an event that tells it."""
    if entry.event is None or entry.event.type not in OF_LOGINS:
        return None
    return entry.at, entry.event.data.get("session", {}).get("id", "")


def _shown(page: Page, group: Sequence[TimelineEntry], endpoints: dict[str, str]) -> Shown:
    entry = group[0]
    detail = sentence(entry)
    if entry.delivery is not None:
        to = endpoints.get(entry.delivery.endpoint, "an endpoint that was removed")
        detail = f"To {to}. {detail}".strip()
    return Shown(
        at=entry.at,
        icon=_icon(entry),
        tone=tone(entry),
        heading=heading(entry),
        sentence=detail,
        types=[each.event.type for each in group if each.event is not None],
        url=_url(page, entry),
    )


def _icon(entry: TimelineEntry) -> str:
    if entry.event is None:
        return ICONS[entry.kind]
    about, _, what = entry.event.type.partition(".")
    if what in ("locked", "unlocked"):
        return "lock"
    if what in ("wiped", "wipe_confirmed", "deleted"):
        return "wipe"
    return "laptop" if about in ABOUT_DEVICES else "people"


def _url(page: Page, entry: TimelineEntry) -> str:
    """The page of what an entry tells of."""
    parts: dict[str, Sequence[str]] = {
        "decision": ("policy", "ledger", entry.id),
        "event": ("events", entry.id),
        "delivery": ("deliveries", entry.id),
        "run": ("runs", entry.id),
    }
    return page.here(*parts[entry.kind])


PAGES = (page("GET", "/apps/{app}/people/{user_id}", show, nav="people"),)
