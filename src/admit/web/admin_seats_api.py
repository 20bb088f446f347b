"""/api/apps/{app}/seats: how many production users there may be and are, and counting them anew."""

from starlette.responses import Response

from admit.accounts import seats
from admit.accounts.apps import App
from admit.accounts.seats import Recount, Seats
from admit.errors import Conflict
from admit.gateway import Gateway
from admit.storage.transaction import Transaction
from admit.web.admin_types import NewSeats, SeatsRecount, SeatsView
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app

RECOUNTS_MAX = 3


async def show_seats(call: Call) -> Response:
    """How many seats there are, and how many are taken."""
    app = await permitted_app(call)
    return call.answer(await _view(call.gateway, app))


async def set_seats(call: Call) -> Response:
    """Sets how many seats there are; it holds from the next newcomer."""
    app, body = await permitted_app(call), await call.json(NewSeats)
    await call.gateway.db.write(lambda tx: seats.set_limit(tx, app.app_id, body.limit, body.when_full))
    return call.answer(await _view(call.gateway, app))


async def recount_seats(call: Call) -> Response:
    """Counts the users who hold a seat, and corrects the number where it is wrong."""
    app = await permitted_app(call)
    for _ in range(RECOUNTS_MAX):
        drift = await _corrected(call.gateway, app)
        if drift is not None:
            now = await _seats(call.gateway, app)
            return call.answer(
                SeatsRecount(taken=now.taken, limit=now.limit, when_full=now.when_full, drift=drift)
            )
    raise Conflict("Somebody else counts the seats of this app at this moment. Try again.")


async def _corrected(gateway: Gateway, app: App) -> int | None:
    """By how much the number was too low before it was corrected; None: somebody else was at it."""

    def count(tx: Transaction) -> Recount:
        return seats.recount(tx, app.app_id)

    counted = await gateway.db.read(count)
    if counted.drift == 0:
        return 0
    repaired = await gateway.db.write(lambda tx: seats.repair(tx, app.app_id, counted))
    return counted.drift if repaired else None


async def _seats(gateway: Gateway, app: App) -> Seats:
    return await gateway.db.read(lambda tx: seats.of_app(tx, app.app_id))


async def _view(gateway: Gateway, app: App) -> SeatsView:
    now = await _seats(gateway, app)
    return SeatsView(taken=now.taken, limit=now.limit, when_full=now.when_full)


OPERATIONS = (
    admin("GET", "/apps/{app}/seats", show_seats, "Shows the seats", "apps:read", answer=SeatsView),
    admin(
        "PUT",
        "/apps/{app}/seats",
        set_seats,
        "Sets how many seats there are",
        "apps:write",
        body=NewSeats,
        answer=SeatsView,
    ),
    admin(
        "POST",
        "/apps/{app}/seats/count",
        recount_seats,
        "Counts the seats anew",
        "apps:write",
        answer=SeatsRecount,
        codes=("conflict",),
    ),
)
