"""admit delivery: what became of the events that endpoints are owed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from admit.cli.command import AppName, Terminal, command, group
from admit.cli.connection import target
from admit.cli.output import Column
from admit.cli.values import moment

if TYPE_CHECKING:
    from admit.web.deliveries_api import AttemptView, DeliveryHistory, DeliveryView

deliveries = group(
    "delivery",
    "Deliveries: what became of each event that an endpoint is owed.",
    example="admit delivery list notes --state failed",
)

PAGE_SIZE = 200
REPLY_CHARACTERS = 200

State = Literal["waiting", "blocked", "sending", "delivered", "failed"]
DeliveryId = Annotated[str, typer.Argument(metavar="DELIVERY_ID", help="Its id.", show_default=False)]


@command(deliveries, "list", example="admit delivery list notes --endpoint ep_a47f --state failed")
def list_deliveries(
    terminal: Terminal,
    app: AppName,
    endpoint: Annotated[
        str | None, typer.Option(metavar="ENDPOINT_ID", help="Only to this endpoint.", show_default=False)
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(metavar="USER", help="Only about this person, a userId or a uid.", show_default=False),
    ] = None,
    event: Annotated[
        str | None,
        typer.Option(metavar="EVENT_ID", help="Only those that tell this event.", show_default=False),
    ] = None,
    state: Annotated[State | None, typer.Option(help="Only those in this state.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many.")] = 100,
) -> None:
    """Lists deliveries, the newest first; failed ones as they have failed.

    A blocked one waits for an earlier one about the same person to the same endpoint.
    """
    query = {"endpoint": endpoint, "user": user, "event": event, "state": state}
    terminal.out.many(
        _pages(terminal, app, query, limit),
        [
            Column["DeliveryView"]("MADE", lambda delivery: moment(delivery.created_at)),
            Column("STATE", lambda delivery: delivery.state),
            Column("TRIES", lambda delivery: str(delivery.attempts)),
            Column("NEXT", lambda delivery: moment(delivery.next_at)),
            Column("TYPE", lambda delivery: _type_of(delivery)),
            Column("DELIVERY ID", lambda delivery: delivery.id),
            Column("LAST OUTCOME", lambda delivery: delivery.detail),
        ],
        none=f"No deliveries. `admit endpoint list {app}` shows who is told of what.",
    )


@command(deliveries, "show", example="admit delivery show notes dlv_a47f")
def show(terminal: Terminal, app: AppName, delivery_id: DeliveryId) -> None:
    """Shows a delivery, what is sent and what each attempt has come to."""
    from admit.web.deliveries_api import DeliveryHistory

    where = target("apps", app, "deliveries", delivery_id)
    _tell(terminal, terminal.call("GET", where, None, DeliveryHistory))


@command(deliveries, "retry", example="admit delivery retry notes dlv_a47f")
def retry(terminal: Terminal, app: AppName, delivery_id: DeliveryId) -> None:
    """Tries a delivery again that has ended, or at once what waits for its time.

    Its attempts are kept, and it has its whole schedule before it once more.
    """
    from admit.web.deliveries_api import DeliveryHistory

    where = target("apps", app, "deliveries", delivery_id, "retry")
    delivery = terminal.call("POST", where, None, DeliveryHistory)
    terminal.out.done(
        delivery, f"{delivery.id} is {delivery.state}. `admit delivery show` tells the outcome."
    )


def _tell(terminal: Terminal, delivery: "DeliveryHistory") -> None:
    terminal.out.one(
        delivery,
        [
            ("delivery id", delivery.id),
            ("endpoint id", delivery.endpoint),
            ("state", delivery.state),
            ("type", _type_of(delivery)),
            ("event id", delivery.event_id or ""),
            ("sequence", delivery.sequence or ""),
            ("uid", delivery.uid or ""),
            ("out of order", "yes" if delivery.out_of_order else "no"),
            ("next try", moment(delivery.next_at)),
            ("made", moment(delivery.created_at)),
            ("ended", moment(delivery.finished_at)),
            ("body", delivery.body if delivery.body is not None else "no longer kept"),
            *((f"attempt {each.attempt}", _attempt(each)) for each in delivery.history),
        ],
    )


def _type_of(delivery: "DeliveryView") -> str:
    """What is known of it: of a test that has ended nothing is kept, and of an old event neither."""
    return delivery.type or ("no longer kept" if delivery.sequence else "test")


def _attempt(attempt: "AttemptView") -> str:
    reply = f" {attempt.reply[:REPLY_CHARACTERS].strip()}" if attempt.reply else ""
    where = f" at {attempt.address}" if attempt.address else ""
    return f"{moment(attempt.started_at)}, {attempt.duration_ms} ms{where}: {attempt.detail}{reply}"


def _pages(
    terminal: Terminal, app: str, query: dict[str, str | None], limit: int
) -> Iterator["DeliveryView"]:
    """However many pages are empty on the way."""
    from admit.web.deliveries_api import DeliveryPage

    before: str | None = None
    while limit > 0:
        where = target("apps", app, "deliveries", **query, limit=min(limit, PAGE_SIZE), before=before)
        page = terminal.call("GET", where, None, DeliveryPage)
        yield from page.deliveries
        limit -= len(page.deliveries)
        if (before := page.before) is None:
            return
