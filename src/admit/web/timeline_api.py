"""/api/apps/{app}/users/{user_id}/timeline: everything that happened to a person, under one heading."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from starlette.responses import Response

from admit.accounts import users
from admit.accounts.apps import App
from admit.enrollment import ledger
from admit.enrollment.ledger import LedgerRow
from admit.errors import NotFound
from admit.events import log, person_walk
from admit.events.log import Recorded
from admit.events.subscriptions import GATHERED
from admit.jobs import person_walk as jobs_walk
from admit.operators import tokens
from admit.operators.tokens import OperatorToken
from admit.storage.transaction import Transaction
from admit.tasks import run_pages
from admit.tasks.registrations import KIND as RUN
from admit.tasks.run_pages import Run
from admit.web.admin_admissions_api import view_of as admission_view
from admit.web.admin_runs_api import view_of as run_view
from admit.web.admin_types import PAGE_SIZE, AdmissionView
from admit.web.deliveries_api import DeliveryView
from admit.web.deliveries_api import view_of as delivery_view
from admit.web.events_api import UID_PREFIX, EventView
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_in_app
from admit.web.task_types import RunView
from admit.web.timeline import KEY_CHARACTERS_MAX, Entry, Kind, Page, Place, Places, Source, merge
from admit.webhooks import deliveries, messages
from admit.webhooks.deliveries import Delivery
from admit.webhooks.endpoints import KIND as DELIVERY

PAGE_MAX = 200

SCOPES: Mapping[Kind, str] = {
    "decision": "users:read",
    "event": "events:read",
    "delivery": "webhooks:read",
    "run": "tasks:read",
}
"""Who may see what: the same as where it is listed by itself."""

_JOB_KINDS: Mapping[str, Kind] = {DELIVERY: "delivery", GATHERED: "delivery", RUN: "run"}


class TimelineQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which entries: of one `kind`, older than `before`, which comes from an earlier page."""

    kind: Kind | None = None
    before: Annotated[str, msgspec.Meta(max_length=KEY_CHARACTERS_MAX)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = PAGE_SIZE


class TimelineEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What happened `at` a time (UTC ms). The member that its `kind` names is there, and no other.

    An event is told without email, name and data of the person.
    """

    kind: Kind
    id: str
    at: int
    decision: AdmissionView | None = None
    event: EventView | None = None
    delivery: DeliveryView | None = None
    run: RunView | None = None


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a person, newest first. `before` leads to what is older; None: there is nothing.

    `kinds`: which were looked for: those of which the token has the scope. A page may be short, or empty, and
    have more behind it.
    """

    entries: list[TimelineEntry]
    kinds: list[Kind]
    before: str | None


class _Person(msgspec.Struct, frozen=True):
    """Whom to look for. `uid` None: nobody of this userId lives here, and the ledger may know them."""

    app: App
    user_id: str
    uid: str | None

    @property
    def names(self) -> dict[str, str]:
        """The userId by the uid, of somebody who lives here."""
        return {} if self.uid in (None, self.user_id) else {self.uid: self.user_id}


class _Found(msgspec.Struct, frozen=True):
    person: _Person
    page: Page
    decisions: Mapping[str, LedgerRow]
    events: Mapping[str, Recorded]
    deliveries: Mapping[str, Delivery]
    runs: Mapping[str, Run]


async def show_timeline(call: Call) -> Response:
    """A page of the timeline."""
    app, token = await permitted_in_app(call)
    query, user_id = call.query(TimelineQuery), call.param("user_id")
    kinds = _kinds(token, query.kind)
    begin = Places() if query.before is None else Places.of(query.before)

    def find(tx: Transaction) -> _Found | None:
        person = _person(tx, app, user_id)
        return None if person is None else _find(tx, person, kinds, begin, query.limit)

    found = await call.gateway.db.read(find)
    if found is None:
        raise NotFound("There is no such user in this app.", code="user_not_found")
    before = found.page.before
    return call.answer(
        Timeline(
            entries=[each for entry in found.page.entries if (each := _shown(found, entry, app)) is not None],
            kinds=kinds,
            before=None if before is None else before.key,
        )
    )


def _kinds(token: OperatorToken, asked: Kind | None) -> list[Kind]:
    """What to look for. Raises Forbidden where what was asked for is not to be seen."""
    if asked is not None:
        tokens.require(token, SCOPES[asked], token.app_id)
        return [asked]
    return [kind for kind, scope in SCOPES.items() if scope in token.scopes]


def _person(tx: Transaction, app: App, user_id: str) -> _Person | None:
    """Who is meant: somebody who lives here, was deleted (by their uid), or was refused."""
    key = (app.app_id, user_id)
    user = users.by_user_id(tx, [key]).get(key)
    if user is not None:
        return _Person(app, user_id, user.uid)
    if user_id.startswith(UID_PREFIX):
        return _Person(app, user_id, user_id)
    known = ledger.page(tx, app.app_id, ledger.Query(user_id=user_id), None, 1).rows
    return _Person(app, user_id, None) if known else None


def _find(tx: Transaction, person: _Person, kinds: Sequence[Kind], begin: Places, limit: int) -> _Found:
    app_id, wanted = person.app.app_id, limit + 1
    sources: dict[Source, Sequence[Entry]] = {}
    rows: list[LedgerRow] = []
    if "decision" in kinds:
        rows = ledger.page(tx, app_id, ledger.Query(user_id=person.user_id), begin.decisions, wanted).rows
        sources["decisions"] = [_decided(each) for each in rows]
    if "event" in kinds and person.uid is not None:
        sources["events"] = _events(tx, person, begin.events, wanted)
    job_kinds = [name for name, kind in _JOB_KINDS.items() if kind in kinds]
    if job_kinds and person.uid is not None:
        sources["jobs"] = _jobs(tx, person, job_kinds, begin.jobs, wanted)
    page = merge(sources, begin, limit)
    of_kind = {kind: [each.id for each in page.entries if each.kind == kind] for kind in SCOPES}
    events = log.find_each(tx, [(app_id, int(each)) for each in of_kind["event"]])
    return _Found(
        person,
        page,
        {row.admission_id: row for row in rows},
        {str(position): event for (_, position), event in events.items()},
        deliveries.each(tx, app_id, of_kind["delivery"]),
        run_pages.each(tx, app_id, of_kind["run"]),
    )


def _decided(row: LedgerRow) -> Entry:
    return Entry(row.opened_at, "decision", row.admission_id, (row.opened_at, row.admission_id))


def _events(tx: Transaction, person: _Person, before: Place, limit: int) -> list[Entry]:
    walked = person_walk.walk(tx, person.app.app_id, person.uid or "", before[0], limit)
    entries = [Entry(at, "event", str(position), (position, "")) for position, at in walked.found]
    if walked.edge is not None:
        position, at = walked.edge
        entries.append(Entry(at, None, "", (position, "")))
    return entries


def _jobs(tx: Transaction, person: _Person, kinds: Sequence[str], before: Place, limit: int) -> list[Entry]:
    walked = jobs_walk.walk(tx, person.app.app_id, person.uid or "", kinds, before, limit)
    entries = [Entry(each.key[0], _JOB_KINDS[each.kind], each.key[1], each.key) for each in walked.found]
    if walked.edge is not None:
        entries.append(Entry(walked.edge[0], None, "", walked.edge))
    return entries


def _shown(found: _Found, entry: Entry, app: App) -> TimelineEntry | None:
    """The entry with what it tells; None: it was pruned between the two looks."""
    told: dict[str, Any]
    match entry.kind:
        case "decision":
            told = {"decision": admission_view(found.decisions[entry.id])}
        case "event":
            if (event := found.events.get(entry.id)) is None:
                return None
            return TimelineEntry(kind="event", id=event.event_id, at=entry.at, event=_event_view(event, app))
        case "delivery":
            delivery = found.deliveries.get(entry.id)
            told = {"delivery": None if delivery is None else delivery_view(delivery, found.person.names)}
        case "run":
            run = found.runs.get(entry.id)
            told = {"run": None if run is None else run_view(run, found.person.names)}
        case _:
            return None
    if None in told.values():
        return None
    return TimelineEntry(kind=entry.kind, id=entry.id, at=entry.at, **told)


def _event_view(event: Recorded, app: App) -> EventView:
    body = msgspec.json.decode(messages.body(event, app.app_id, app.name, full=False))
    return EventView(event.event_id, event.type, body["timestamp"], body["data"])


OPERATIONS = (
    admin(
        "GET",
        "/apps/{app}/users/{user_id}/timeline",
        show_timeline,
        "Lists what happened to a person: decisions, events, deliveries and runs, newest first",
        "users:read",
        query=TimelineQuery,
        answer=Timeline,
        codes=("user_not_found",),
    ),
)
