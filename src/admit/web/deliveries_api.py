"""/api/apps/{app}/deliveries: what became of each event that an endpoint is owed."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec.structs import asdict
from starlette.responses import Response

from admit.accounts import users
from admit.accounts.apps import App
from admit.errors import AdmitError, InvalidRequest, NotFound
from admit.events.data_facts import DataChange
from admit.gateway import Gateway
from admit.storage.transaction import Transaction
from admit.web.admin_types import Text
from admit.web.endpoint_types import LEFT_OUT
from admit.web.events_api import find_event, uid_of
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app
from admit.webhooks import change_delivery, change_portions, deliveries, endpoints, messages
from admit.webhooks.deliveries import NEWEST, PAGE_MAX, Delivery, History, Key, Page, Query, State
from admit.webhooks.endpoints import Endpoint


class DeliveriesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which deliveries: to an `endpoint`, of the person `user` (a userId or uid), in a `state`.

    `before` comes from an earlier page. Those of an `event` are all on one page, the first one first.
    """

    endpoint: Text = ""
    user: Text | None = None
    event: Text = ""
    state: State | None = None
    before: Text | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = 100


class DeliveryView(msgspec.Struct, frozen=True, kw_only=True):
    """One event owed to one endpoint. `event_id` is the webhook-id; `sequence` its place in the log, None in
    tests and backfills. `type` is empty, and `event_id` None, where what it told is no longer kept.

    To an endpoint of the format dexie, all changes that had come when it was begun: `event_id` is its own id.

    `user_id` None: it is about nobody, or whoever it was about is deleted.

    waiting: tried again at `next_at`. blocked: an earlier delivery of the person to the endpoint comes first.
    """

    id: str
    endpoint: str
    state: State
    type: str
    event_id: str | None
    sequence: str | None
    uid: str | None
    user_id: str | None
    backfill: bool
    test: bool
    attempts: int
    next_at: int | None
    out_of_order: bool
    detail: str
    created_at: int
    finished_at: int | None


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """One try. `outcome` is a word for programs, `detail` a sentence for people, `reply` what was answered,
    16 kB of it at most, `headers` what stood in front of it. `status` None: there was no answer."""

    attempt: int
    started_at: int
    duration_ms: int
    outcome: str
    status: int | None
    address: str
    detail: str
    reply: str
    headers: dict[str, str]


class DeliveryHistory(DeliveryView, frozen=True, kw_only=True):
    """A delivery with its attempts, the first one first, and the request as it would be now.

    None: what it told, or its endpoint, is no longer there. Of the headers those that are the same in every
    attempt; "…" stands for what an operator has set, which may be a secret.
    """

    history: list[AttemptView]
    url: str | None
    headers: dict[str, str] | None
    body: str | None


class DeliveryPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some deliveries, the newest first. `before`: what to ask for next; None: there is nothing older.

    A page may be short, or empty, and have more behind it, where few fit.
    """

    deliveries: list[DeliveryView]
    before: str | None


class _Found(msgspec.Struct, frozen=True):
    """A delivery and what is told of it. `changes`: to a change hook; `people`: userIds by uid."""

    history: History
    endpoint: Endpoint | None
    changes: list[DataChange] | None
    people: Mapping[str, str]


async def list_deliveries(call: Call) -> Response:
    """A page of deliveries."""
    app, asked = await permitted_app(call), call.query(DeliveriesQuery)
    if asked.event:
        return await _deliveries_of_event(call, app, asked)
    query = Query(
        endpoint_id=asked.endpoint,
        uid="" if asked.user is None else await uid_of(call, app, asked.user),
        state=asked.state,
        before=NEWEST if asked.before is None else _key_of(asked.before),
        limit=asked.limit,
    )

    def find(tx: Transaction) -> tuple[Page, Mapping[str, str]]:
        page = deliveries.page(tx, app.app_id, query)
        return page, _people(tx, app, page.deliveries)

    page, people = await call.gateway.db.read(find)
    if not page.deliveries and page.before is None:
        await require_endpoint(call, app, asked.endpoint)
    before = None if page.before is None else f"{page.before[0]}.{page.before[1]}"
    shown = [view_of(each, people) for each in page.deliveries]
    return call.answer(DeliveryPage(deliveries=shown, before=before))


async def _deliveries_of_event(call: Call, app: App, asked: DeliveriesQuery) -> Response:
    if asked.user is not None or asked.before is not None:
        raise InvalidRequest("event goes neither with user nor with before.")
    event = await find_event(call, app, asked.event)

    def find(tx: Transaction) -> tuple[list[Delivery], Mapping[str, str]]:
        found = deliveries.of_event(tx, app.app_id, event)
        return found, _people(tx, app, found)

    found, people = await call.gateway.db.read(find)
    chosen = [
        view_of(each, people)
        for each in found
        if asked.endpoint in ("", each.endpoint_id) and asked.state in (None, each.state)
    ]
    return call.answer(DeliveryPage(deliveries=chosen[: asked.limit], before=None))


async def show_delivery(call: Call) -> Response:
    """One delivery with its attempts."""
    app = await permitted_app(call)
    return call.answer(await _history(call.gateway, app, call.param("delivery")))


async def retry_delivery(call: Call) -> Response:
    """Makes a delivery due."""
    app, delivery_id, gateway = await permitted_app(call), call.param("delivery"), call.gateway
    unit = partial(deliveries.retry, app_id=app.app_id, delivery_id=delivery_id, now=gateway.clock())
    outcome = await gateway.db.write(unit)
    if outcome == "unknown":
        raise _not_found(delivery_id)
    if isinstance(outcome, AdmitError):
        raise outcome
    return call.answer(await _history(gateway, app, delivery_id))


async def require_endpoint(call: Call, app: App, endpoint_id: str) -> None:
    """Raises NotFound where `endpoint_id`, which is not empty, names no endpoint of the app."""
    if not endpoint_id:
        return
    find = partial(endpoints.find, ring=call.gateway.ring, app_id=app.app_id, endpoint_id=endpoint_id)
    if await call.gateway.db.read(find) is None:
        raise endpoints.not_found(endpoint_id)


async def _history(gateway: Gateway, app: App, delivery_id: str) -> DeliveryHistory:
    def find(tx: Transaction) -> _Found | None:
        history = deliveries.show(tx, app.app_id, delivery_id)
        if history is None:
            return None
        endpoint = endpoints.find(tx, gateway.ring, app.app_id, history.delivery.endpoint_id)
        portion = history.delivery.portion
        changes = None if portion is None else change_portions.changes_of(tx, app.app_id, portion)
        return _Found(history, endpoint, changes, _people(tx, app, [history.delivery]))

    found = await gateway.db.read(find)
    if found is None:
        raise _not_found(delivery_id)
    delivery, endpoint, names = found.history.delivery, found.endpoint, AttemptView.__struct_fields__
    attempts = found.history.attempts
    return DeliveryHistory(
        **_members(delivery, found.people),
        history=[AttemptView(**{name: getattr(each, name) for name in names}) for each in attempts],
        url=None if endpoint is None else endpoint.url,
        headers=_headers(delivery, endpoint),
        body=_body(app, delivery, endpoint, found.changes),
    )


def _headers(delivery: Delivery, endpoint: Endpoint | None) -> dict[str, str] | None:
    body_id = _body_id(delivery)
    if endpoint is None or body_id is None:
        return None
    token = [change_delivery.TOKEN_HEADER.lower()] if endpoint.settings.gathers else []
    own = dict.fromkeys(sorted({*endpoint.headers, *token}), LEFT_OUT)
    return {**own, "content-type": "application/json", "webhook-id": body_id}


def _body(
    app: App, delivery: Delivery, endpoint: Endpoint | None, changes: list[DataChange] | None
) -> str | None:
    if endpoint is not None and changes:
        return change_portions.body(changes).decode()
    if delivery.event is None or endpoint is None:
        return None
    return messages.body(
        delivery.event,
        app.app_id,
        app.name,
        full=endpoint.full,
        out_of_order=delivery.out_of_order,
        backfill=delivery.backfill,
        test=delivery.test,
    ).decode()


def view_of(delivery: Delivery, people: Mapping[str, str]) -> DeliveryView:
    """A delivery as the API tells it. `people`: userIds by uid."""
    return DeliveryView(**_members(delivery, people))


def _people(tx: Transaction, app: App, found: Sequence[Delivery]) -> Mapping[str, str]:
    """The userIds of those whom deliveries are about, by uid."""
    here = users.by_uid(tx, {(app.app_id, each.uid) for each in found if each.uid is not None})
    return {uid: user.user_id for (_, uid), user in here.items()}


def _body_id(delivery: Delivery) -> str | None:
    """The webhook-id of its requests."""
    if delivery.event is not None:
        return delivery.event.event_id
    return None if delivery.portion is None else delivery.delivery_id


def _members(delivery: Delivery, people: Mapping[str, str]) -> dict[str, Any]:
    event = delivery.event
    members = asdict(delivery)
    for name in ("app_id", "delivery_id", "endpoint_id", "event", "portion", "due_at"):
        del members[name]
    return members | {
        "id": delivery.delivery_id,
        "endpoint": delivery.endpoint_id,
        "user_id": None if delivery.uid is None else people.get(delivery.uid),
        "event_id": _body_id(delivery),
        "sequence": str(event.position) if event is not None and event.position else None,
        "next_at": delivery.due_at,
    }


def _key_of(before: str) -> Key:
    moment, _, delivery_id = before.partition(".")
    if not (moment.isascii() and moment.isdigit() and len(moment) < 16 and delivery_id):
        raise InvalidRequest("before is not what an earlier page has given.")
    return int(moment), delivery_id


def _not_found(delivery_id: str) -> NotFound:
    return NotFound(f"There is no delivery {delivery_id[:80]!r} in this app.", code="delivery_not_found")


OPERATIONS = (
    admin(
        "GET",
        "/apps/{app}/deliveries",
        list_deliveries,
        "Lists deliveries, the newest first",
        "webhooks:read",
        query=DeliveriesQuery,
        answer=DeliveryPage,
        codes=("endpoint_not_found", "event_not_found", "user_not_found"),
    ),
    admin(
        "GET",
        "/apps/{app}/deliveries/{delivery}",
        show_delivery,
        "Shows a delivery with its attempts",
        "webhooks:read",
        answer=DeliveryHistory,
        codes=("delivery_not_found",),
    ),
    admin(
        "POST",
        "/apps/{app}/deliveries/{delivery}/retry",
        retry_delivery,
        "Tries a delivery again, or sooner",
        "webhooks:write",
        answer=DeliveryHistory,
        codes=("delivery_not_found", "delivery_busy", "delivery_blocked", "delivery_gone"),
    ),
)
