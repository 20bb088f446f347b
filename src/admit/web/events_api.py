"""/api/apps/{app}/events: the feed of an app's events, for programs that follow it by a cursor."""

from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from starlette.responses import Response

from admit.accounts import devices, users
from admit.accounts.apps import App
from admit.clock import new_id
from admit.errors import InvalidRequest, NotFound
from admit.events import finding, type_names, upkeep
from admit.events.feed import BEGINNING, CURSOR_CHARACTERS_MAX, LATEST, PAGE_EVENTS_MAX, Wanted
from admit.events.finding import OnDevice, PageBack
from admit.events.log import Recorded
from admit.storage.transaction import Transaction
from admit.web.admin_types import PAGE_SIZE, Text
from admit.web.long_poll import WAIT_SECONDS_MAX, while_connected
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted, permitted_app
from admit.webhooks import messages
from admit.webhooks.triggers import Triggered, trigger

UID_PREFIX = "usr_"
PEOPLE_ON_DEVICE_MAX = 20

Format = Literal["thin", "full"]


Cursor = Annotated[str, msgspec.Meta(max_length=CURSOR_CHARACTERS_MAX)]


class EventsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which events: those behind `after` (a cursor, `beginning` or `latest`), the oldest first, or those
    `before` one, the newest first; of the `types`, which commas separate, and of the person `user`, a userId
    or uid.

    `wait`: how many seconds to wait for one where there is none yet. `device`: with `before`, those about the
    device of this identifier, while whoever was on it lives here.
    """

    after: Cursor | None = None
    before: Cursor | None = None
    device: Text = ""
    types: Annotated[str, msgspec.Meta(max_length=1_000)] = ""
    user: Text | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_EVENTS_MAX)] = PAGE_SIZE
    wait: Annotated[float, msgspec.Meta(ge=0, le=WAIT_SECONDS_MAX)] = 0.0
    format: Format = "full"


class EventView(msgspec.Struct, frozen=True):
    """An event as endpoints are told it, and its `id`. /schemas tells `data` for each type."""

    id: str
    type: str
    timestamp: str
    data: dict[str, Any]


class EventPage(msgspec.Struct, frozen=True):
    """The next events. `cursor`: what to ask for next time; `more`: something is behind it already.

    A page may be empty and have more behind it, where few events fit. `back`: where a page before a cursor
    begins; `after` it come newer ones.
    """

    events: list[EventView]
    cursor: str
    more: bool
    back: str | None = None


class EventQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of the event is told."""

    format: Format = "full"


class Trigger(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to send an example of, and to which endpoint; None: to all that are told of the type."""

    type: Text
    endpoint: Text | None = None


class Deliveries(msgspec.Struct, frozen=True):
    """The deliveries of an example; all of them bear the `event_id`."""

    event_id: str
    deliveries: list[Triggered]


class Restored(msgspec.Struct, frozen=True):
    """How many logs begin anew."""

    logs: int


async def list_events(call: Call) -> Response:
    """A page of the feed."""
    app, query = await permitted_app(call), call.query(EventsQuery)
    wanted = Wanted(
        app_id=app.app_id,
        types=_types(query.types),
        uid=None if query.user is None else await uid_of(call, app, query.user),
        limit=query.limit,
    )
    if query.before is not None:
        return await _events_before(call, app, query, wanted)
    if query.device:
        raise InvalidRequest("device goes with before: events of a device are found from the newest on.")
    page = await while_connected(
        call.request, call.gateway.news.page(wanted, query.after or BEGINNING, query.wait)
    )
    shown = [_shown(each, app, full=query.format == "full") for each in page.events]
    return call.answer({"events": shown, "cursor": page.place.cursor, "more": page.more})


async def _events_before(call: Call, app: App, query: EventsQuery, wanted: Wanted) -> Response:
    if query.after is not None or query.wait:
        raise InvalidRequest("before goes neither with after nor with wait.")

    def find(tx: Transaction) -> PageBack:
        on = None
        if query.device:
            on = OnDevice(query.device, devices.people_on(tx, app.app_id, query.device, PEOPLE_ON_DEVICE_MAX))
        return finding.page_before(tx, wanted, query.before or LATEST, on)

    page = await call.gateway.db.read(find)
    shown = [_shown(each, app, full=query.format == "full") for each in page.events]
    return call.answer(
        {"events": shown, "cursor": page.place.cursor, "more": page.more, "back": page.start.cursor}
    )


async def show_event(call: Call) -> Response:
    """One event."""
    app, query, event_id = await permitted_app(call), call.query(EventQuery), call.param("event")
    return call.answer(_shown(await find_event(call, app, event_id), app, full=query.format == "full"))


async def find_event(call: Call, app: App, event_id: str) -> Recorded:
    """The event of this id. Raises NotFound."""
    found = await call.gateway.db.read(partial(finding.find, app_id=app.app_id, event_id=event_id))
    if found is None:
        raise unknown_event(event_id)
    return found


def unknown_event(event_id: str) -> NotFound:
    """What is said where no event that is kept has this id."""
    return NotFound(f"There is no event {event_id[:80]!r} in this app any more.", code="event_not_found")


async def trigger_event(call: Call) -> Response:
    """Sends an example of an event."""
    app, body = await permitted_app(call), await call.json(Trigger)
    event_type = type_names.check(body.type)
    event_id, now = new_id("evt"), call.gateway.clock()

    def leave(tx: Transaction) -> list[Triggered] | None:
        return trigger(tx, app.app_id, event_type, body.endpoint, event_id, now)

    left = await call.gateway.db.write(leave)
    if left is None:
        raise NotFound("There is no such endpoint in this app.", code="endpoint_not_found")
    return call.answer(Deliveries(event_id, left))


async def restored(call: Call) -> Response:
    """Ends the cursors into the log of one app."""
    app = await permitted_app(call)
    await call.gateway.db.write(lambda tx: upkeep.begin_epoch(tx, app.app_id))
    return call.answer(Restored(1))


async def all_restored(call: Call) -> Response:
    """Ends the cursors into all logs."""
    await permitted(call)
    count, after = 0, ""
    while page := await call.gateway.db.write(partial(upkeep.begin_epochs, after=after)):
        count, after = count + len(page), page[-1]
    return call.answer(Restored(count))


def _types(text: str) -> frozenset[str]:
    return frozenset(type_names.check(each.strip()) for each in text.split(",") if each.strip())


async def uid_of(call: Call, app: App, user: str) -> str:
    """Whom `user` means. A uid is believed: events of deleted people are still told, by their uid."""
    key = (app.app_id, user)

    def find(tx: Transaction) -> str | None:
        found = users.by_user_id(tx, [key]).get(key)
        return None if found is None else found.uid

    uid = await call.gateway.db.read(find)
    if uid is None and not user.startswith(UID_PREFIX):
        raise NotFound(
            "There is no such user in this app. Events of people who were deleted are found by their uid.",
            code="user_not_found",
        )
    return uid or user


def _shown(event: Recorded, app: App, *, full: bool) -> msgspec.Raw:
    """The body that endpoints are sent, with the event's id in front."""
    body = messages.body(event, app.app_id, app.name, full=full)
    return msgspec.Raw(b'{"id":"' + event.event_id.encode() + b'",' + body[1:])


OPERATIONS = (
    admin(
        "GET",
        "/apps/{app}/events",
        list_events,
        "Lists events as they were committed, and waits for the next ones; or the newest first",
        "events:read",
        query=EventsQuery,
        answer=EventPage,
        codes=("cursor_expired", "event_type_unknown", "user_not_found"),
    ),
    admin(
        "POST",
        "/apps/{app}/events/trigger",
        trigger_event,
        "Sends endpoints an example of an event, marked as a test",
        "webhooks:write",
        body=Trigger,
        answer=Deliveries,
        codes=("endpoint_not_found", "event_type_unknown"),
    ),
    admin(
        "POST",
        "/apps/{app}/events/restored",
        restored,
        "Says that the database was restored from a copy: ends all cursors into the events of an app",
        "apps:write",
        answer=Restored,
    ),
    admin(
        "POST",
        "/events/restored",
        all_restored,
        "Says that the database was restored from a copy: ends all cursors into the events of all apps",
        "apps:write",
        answer=Restored,
    ),
    admin(
        "GET",
        "/apps/{app}/events/{event}",
        show_event,
        "Shows an event",
        "events:read",
        query=EventQuery,
        answer=EventView,
        codes=("event_not_found",),
    ),
)
