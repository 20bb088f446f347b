"""/api/apps/{app}/users/{user_id}/erasure: what a delete would erase, and what it would keep."""

import msgspec
from starlette.responses import Response

from admit.accounts import belongings, users
from admit.data import erasure
from admit.enrollment import departures
from admit.errors import NotFound
from admit.events import person_walk
from admit.jobs import emptying
from admit.storage.transaction import Transaction
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app

COUNTED_MAX = 1_000


class ErasureView(msgspec.Struct, frozen=True, kw_only=True):
    """What a delete of the person would do. A number that is `counted_max` stands for that many or more.

    Erased: their data, devices, sessions, identities, enrollment tokens and the `objects` of their private
    realm. Dropped: `unfinished` deliveries and runs about them. Kept: `decisions` of the ledger, without what
    a provider said of them, and `events`, without email, name, data and what clients said of devices.
    `frees_seat`: one more production user may come.
    """

    user_id: str
    devices: int
    sessions: int
    identities: int
    enrollment_tokens: int
    objects: int
    unfinished: int
    decisions: int
    events: int
    frees_seat: bool
    counted_max: int = COUNTED_MAX


def erased_text(view: ErasureView) -> str:
    """What would go, such as: their data, 2 devices and 1,000 or more objects."""
    counts = {
        "device": view.devices,
        "session": view.sessions,
        "identity": view.identities,
        "enrollment link": view.enrollment_tokens,
        "object": view.objects,
        "unfinished delivery or run": view.unfinished,
    }
    told = ["the data", *(_counted(view, name, count) for name, count in counts.items() if count)]
    return " and ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told)


def kept_text(view: ErasureView) -> str:
    """What would stay, and without what."""
    decisions = _counted(view, "decision", view.decisions)
    events = _counted(view, "event", view.events)
    return f"{decisions} in the ledger and {events}, with the userId and without name, email and data"


_MANY = {"identity": "identities", "unfinished delivery or run": "unfinished deliveries and runs"}


def _counted(view: ErasureView, name: str, count: int) -> str:
    number = f"{count:,}" + (" or more" if count >= view.counted_max else "")
    return f"{number} {name if count == 1 else _MANY.get(name, name + 's')}"


async def show_erasure(call: Call) -> Response:
    """What would be erased. Nothing is."""
    app = await permitted_app(call)
    key = (app.app_id, call.param("user_id"))

    def find(tx: Transaction) -> ErasureView | None:
        user = users.by_user_id(tx, [key]).get(key)
        if user is None:
            return None
        whose = app.app_id, user.uid, COUNTED_MAX
        has = belongings.count(tx, *whose)
        return ErasureView(
            user_id=user.user_id,
            devices=has.devices,
            sessions=has.sessions,
            identities=has.identities,
            enrollment_tokens=has.enrollment_tokens,
            objects=erasure.count(tx, *whose),
            unfinished=emptying.count(tx, *whose),
            decisions=departures.count_decisions(tx, app.app_id, user.user_id, COUNTED_MAX),
            events=person_walk.count(tx, *whose),
            frees_seat=user.holds_seat,
        )

    found = await call.gateway.db.read(find)
    if found is None:
        raise NotFound("There is no such user in this app.", code="user_not_found")
    return call.answer(found)


OPERATIONS = (
    admin(
        "GET",
        "/apps/{app}/users/{user_id}/erasure",
        show_erasure,
        "Says what deleting a person would erase, and what it would keep",
        "users:read",
        answer=ErasureView,
        codes=("user_not_found",),
    ),
)
