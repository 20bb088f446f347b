"""/api/apps/{app}/seats: how many production users there may be and are, and counting them anew."""

import msgspec
from starlette.responses import Response

from admit.accounts import seats
from admit.accounts.apps import App
from admit.accounts.seats import WHOLE_APP, Recount, Seats
from admit.errors import Conflict
from admit.gateway import Gateway
from admit.storage.transaction import Transaction
from admit.web.admin_types import NewSeats, SeatsRecount, SeatsView, WaySeats
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app
from admit.web.ways_in import WayIn, parse_way_in

RECOUNTS_MAX = 3
WRITTEN = ("api", "import")
"""By these nobody is at the door, so that there is no policy for them; but there are seats."""


class SeatsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which seats: those of who comes by one way in (`for`); "": those of the whole app."""

    way_in: WayIn = msgspec.field(default=WHOLE_APP, name="for")


async def show_seats(call: Call) -> Response:
    """How many seats there are, and how many are taken."""
    app, way_in = await _asked(call)
    return call.answer(await _view(call.gateway, app, way_in))


async def set_seats(call: Call) -> Response:
    """Sets how many seats there are; it holds from the next newcomer."""
    app, way_in = await _asked(call)
    body = await call.json(NewSeats)

    def set_limit(tx: Transaction) -> None:
        seats.set_limit(tx, app.app_id, body.limit, body.when_full, way_in=way_in)

    await call.gateway.db.write(set_limit)
    return call.answer(await _view(call.gateway, app, way_in))


async def recount_seats(call: Call) -> Response:
    """Counts the users who hold a seat, and corrects the number where it is wrong."""
    app, way_in = await _asked(call)
    for _ in range(RECOUNTS_MAX):
        drift = await _corrected(call.gateway, app, way_in)
        if drift is not None:
            now = await _view(call.gateway, app, way_in)
            return call.answer(SeatsRecount(**msgspec.structs.asdict(now), drift=drift))
    raise Conflict("Somebody else counts the seats of this app at this moment. Try again.")


async def _asked(call: Call) -> tuple[App, str]:
    """The app, and the way in; one that a removed provider has left behind is known too."""
    query, app = call.query(SeatsQuery), await permitted_app(call)
    if query.way_in == WHOLE_APP:
        return app, WHOLE_APP
    kept = await call.gateway.db.read(lambda tx: seats.ways_of_app(tx, app.app_id))
    return app, parse_way_in(app, query.way_in, beside=(*WRITTEN, *(each.way_in for each in kept)))


async def _corrected(gateway: Gateway, app: App, way_in: str) -> int | None:
    """By how much the number was too low before it was corrected; None: somebody else was at it."""

    def count(tx: Transaction) -> Recount:
        return seats.recount(tx, app.app_id, way_in)

    counted = await gateway.db.read(count)
    if counted.drift == 0:
        return 0
    repaired = await gateway.db.write(lambda tx: seats.repair(tx, app.app_id, counted))
    return counted.drift if repaired else None


async def _view(gateway: Gateway, app: App, way_in: str) -> SeatsView:
    def find(tx: Transaction) -> tuple[Seats, list[Seats]]:
        ways = seats.ways_of_app(tx, app.app_id) if way_in == WHOLE_APP else []
        return seats.of_app(tx, app.app_id, way_in), ways

    now, ways = await gateway.db.read(find)
    return SeatsView(
        way_in=way_in,
        taken=now.taken,
        limit=now.limit,
        when_full=now.when_full,
        by_way_in=[
            WaySeats(way_in=each.way_in, taken=each.taken, limit=each.limit, when_full=each.when_full)
            for each in ways
        ],
    )


OPERATIONS = (
    admin(
        "GET",
        "/apps/{app}/seats",
        show_seats,
        "Shows the seats",
        "apps:read",
        query=SeatsQuery,
        answer=SeatsView,
    ),
    admin(
        "PUT",
        "/apps/{app}/seats",
        set_seats,
        "Sets how many seats there are",
        "apps:write",
        query=SeatsQuery,
        body=NewSeats,
        answer=SeatsView,
    ),
    admin(
        "POST",
        "/apps/{app}/seats/count",
        recount_seats,
        "Counts the seats anew",
        "apps:write",
        query=SeatsQuery,
        answer=SeatsRecount,
        codes=("conflict",),
    ),
)
