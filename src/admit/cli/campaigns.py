"""admit endpoint replay, retry-failed, backfill: many deliveries at once, and how far they have come."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from admit import clock
from admit.cli.command import AppName, Refusal, Terminal, command, duration_option
from admit.cli.connection import target
from admit.cli.endpoint_options import EndpointId
from admit.cli.endpoints import endpoints
from admit.cli.output import Column, say
from admit.cli.values import moment

if TYPE_CHECKING:
    from admit.web.campaigns_api import CampaignView, NewBackfill, NewReplay, NewRetry

__all__ = ["endpoints"]

POLL_SECONDS = 0.5
SILENT_SECONDS_MAX = 10.0
PAGE_SIZE = 100

Of = Literal["user", "device", "session"]
PerMinute = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="At most so many a minute; as fast as the endpoint takes them by default.",
        show_default=False,
    ),
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Begin, and do not wait for the end.")]
CampaignId = Annotated[str, typer.Argument(metavar="CAMPAIGN_ID", help="Its id.", show_default=False)]


@command(endpoints, "replay", example="admit endpoint replay notes ep_a47f --since 2h")
def replay(
    terminal: Terminal,
    app: AppName,
    endpoint_id: EndpointId,
    since: Annotated[float | None, duration_option("What has happened since then, such as 2h or 7d.")] = None,
    sequence: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="What lies behind this sequence; 0 is everything.", show_default=False
        ),
    ] = None,
    per_minute: PerMinute = None,
    no_wait: NoWait = False,
) -> None:
    """Tells an endpoint once more what has happened, under the same ids.

    Its filter holds; whether it is to be told once only does not. What waits to be delivered is not doubled.
    """
    from admit.web.campaigns_api import NewReplay

    if (since is None) == (sequence is None):
        raise Refusal("A replay begins with --since or with --sequence.", 2)
    body = NewReplay(
        since=None if since is None else _ago(since),
        sequence=None if sequence is None else str(sequence),
        per_minute=per_minute,
    )
    _start(terminal, app, endpoint_id, "replay", body, no_wait=no_wait)


@command(endpoints, "retry-failed", example="admit endpoint retry-failed notes ep_a47f --since 1d")
def retry_failed(
    terminal: Terminal,
    app: AppName,
    endpoint_id: EndpointId,
    since: Annotated[float, duration_option("Those that have failed since then, such as 2h or 7d.")],
    per_minute: PerMinute = None,
    no_wait: NoWait = False,
) -> None:
    """Tries the deliveries of an endpoint again that have failed for good.

    Their attempts are kept, and each has its whole schedule before it once more.
    """
    from admit.web.campaigns_api import NewRetry

    body = NewRetry(since=_ago(since), per_minute=per_minute)
    _start(terminal, app, endpoint_id, "retry-failed", body, no_wait=no_wait)


@command(endpoints, "backfill", example="admit endpoint backfill notes ep_a47f --of user --per-minute 600")
def backfill(
    terminal: Terminal,
    app: AppName,
    endpoint_id: EndpointId,
    of: Annotated[Of, typer.Option(help="Of what it is told, one event each.", show_default=False)],
    per_minute: PerMinute = None,
    no_wait: NoWait = False,
) -> None:
    """Tells an endpoint of everybody who was here before it, of their devices, or of their sessions.

    Each is told once: a backfill that is repeated goes on where the last one ended. The bodies say
    `backfill`.
    """
    from admit.web.campaigns_api import NewBackfill

    _start(terminal, app, endpoint_id, "backfill", NewBackfill(of=of, per_minute=per_minute), no_wait=no_wait)


@command(endpoints, "campaigns", example="admit endpoint campaigns notes ep_a47f --limit 5")
def list_campaigns(
    terminal: Terminal,
    app: AppName,
    endpoint_id: Annotated[
        str | None,
        typer.Argument(metavar="ENDPOINT_ID", help="Only of this endpoint.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many.")] = 20,
) -> None:
    """Lists replays, retries, backfills and catching up, the newest first, and how far they have come."""
    terminal.out.many(
        _pages(terminal, app, endpoint_id, limit),
        [
            Column["CampaignView"]("CAMPAIGN ID", lambda campaign: campaign.id),
            Column("WHAT", _what),
            Column("STATE", lambda campaign: campaign.state),
            Column("SEEN", _seen),
            Column("DELIVERIES", lambda campaign: str(campaign.done)),
            Column("BEGUN", lambda campaign: moment(campaign.created_at)),
            Column("ENDPOINT ID", lambda campaign: campaign.endpoint),
        ],
        none=f"No replay, no retry and no backfill yet. `admit endpoint list {app}` shows the endpoints.",
    )


@command(endpoints, "cancel", example="admit endpoint cancel notes cmp_a47f")
def cancel(terminal: Terminal, app: AppName, campaign_id: CampaignId) -> None:
    """Ends a replay, a retry or a backfill. What it has left to be delivered is delivered."""
    from admit.web.campaigns_api import CampaignView

    campaign = terminal.call("DELETE", target("apps", app, "campaigns", campaign_id), None, CampaignView)
    terminal.out.done(campaign, f"{campaign_id} is {campaign.state}, after {campaign.done} deliveries.")


def _start(
    terminal: Terminal,
    app: str,
    endpoint_id: str,
    verb: str,
    body: "NewReplay | NewRetry | NewBackfill",
    *,
    no_wait: bool,
) -> None:
    """Begins a campaign and, unless `no_wait`, follows it to its end."""
    from admit.web.campaigns_api import CampaignView

    where = target("apps", app, "endpoints", endpoint_id, verb)
    campaign = terminal.call("POST", where, body, CampaignView)
    if campaign.detail:
        terminal.out.note(campaign.detail)
    if not (no_wait or terminal.alone):
        campaign = _follow(terminal, app, campaign)
    terminal.out.one(
        campaign,
        [
            ("campaign id", campaign.id),
            ("what", _what(campaign)),
            ("state", campaign.state),
            ("seen", _seen(campaign)),
            ("deliveries", str(campaign.done)),
            *([("no longer kept", str(campaign.missed))] if campaign.missed else []),
        ],
    )
    if campaign.state == "done" and campaign.done == 0:
        terminal.out.note(campaign.detail or _why_nothing(campaign))
    elif campaign.state == "waiting":
        terminal.out.note("The endpoint is not enabled. It goes on with: admit endpoint resume")
    elif campaign.state == "running" and terminal.alone:
        terminal.out.note("No server is running here. It begins when one does: admit serve")
    elif campaign.state == "running":
        terminal.out.note(_again(app, campaign))


def _follow(terminal: Terminal, app: str, campaign: "CampaignView") -> "CampaignView":
    """Waits until a campaign is over, or waits for its endpoint itself. It goes on without us, too."""
    from admit.web.campaigns_api import CampaignView

    where = target("apps", app, "campaigns", campaign.id)
    begin, begun_at, told = campaign.seen, time.monotonic(), False
    try:
        with _bar(terminal, campaign) as show:
            while campaign.state == "running":
                time.sleep(POLL_SECONDS)
                campaign = terminal.call("GET", where, None, CampaignView)
                show(campaign)
                silent = campaign.seen == begin and time.monotonic() - begun_at > SILENT_SECONDS_MAX
                if silent and not told:
                    terminal.out.note("Nothing happens yet. It is a server that does it: admit serve")
                    told = True
    except KeyboardInterrupt:
        say(f"It goes on without this command. {_again(app, campaign)}")
        raise
    return campaign


def _again(app: str, campaign: "CampaignView") -> str:
    return f"How far it has come: admit endpoint campaigns {app} {campaign.endpoint}"


@contextmanager
def _bar(terminal: Terminal, begin: "CampaignView") -> Iterator[Callable[["CampaignView"], None]]:
    """Shows people how far it has come. Programs and files see nothing of it."""
    if terminal.out.json or not sys.stderr.isatty():
        yield lambda campaign: None
        return
    from admit.cli.user_import import progress

    with progress() as bar:
        task = bar.add_task(_what(begin), total=begin.total, completed=begin.seen)
        yield lambda campaign: bar.update(
            task,
            total=None if campaign.total is None else max(campaign.total, campaign.seen + campaign.missed),
            completed=campaign.seen + campaign.missed,
        )


def _what(campaign: "CampaignView") -> str:
    kind = campaign.kind.replace("_", " ")
    return f"{kind} of every {campaign.of}" if campaign.of else kind


def _seen(campaign: "CampaignView") -> str:
    return f"{campaign.seen} of {campaign.total}" if campaign.total is not None else str(campaign.seen)


def _why_nothing(campaign: "CampaignView") -> str:
    """Why a campaign that is done has made no delivery, as far as its figures tell."""
    if campaign.kind == "backfill":
        if campaign.total == 0:
            return f"There is no {campaign.of} yet."
        return (
            f"No {campaign.of} is left to tell of: each is told once, and those who came after the endpoint "
            "was made when they came."
        )
    if campaign.kind == "retry":
        return "No delivery has failed since then."
    return "Nothing that the endpoint wants to be told has happened since then, or it waits to be delivered."


def _ago(seconds: float) -> int:
    return max(0, clock.now() - round(seconds * 1_000))


def _pages(terminal: Terminal, app: str, endpoint_id: str | None, limit: int) -> Iterator["CampaignView"]:
    from admit.web.campaigns_api import CampaignPage

    before: str | None = None
    while limit > 0:
        size = min(limit, PAGE_SIZE)
        where = target("apps", app, "campaigns", endpoint=endpoint_id, limit=size, before=before)
        page = terminal.call("GET", where, None, CampaignPage)
        yield from page.campaigns
        limit -= len(page.campaigns)
        if (before := page.before) is None:
            return
