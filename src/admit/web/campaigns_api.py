"""/api/apps/{app}/campaigns: replays, retries and backfills of endpoints, and how far they have come."""

from functools import partial
from typing import Annotated, Literal

import msgspec
from starlette.responses import Response

from admit.accounts import people_walk
from admit.accounts.apps import App
from admit.accounts.people_walk import Of
from admit.errors import AdmitError, InvalidRequest, NotFound
from admit.storage.transaction import Unit
from admit.web.admin_types import Moment, Text
from admit.web.deliveries_api import require_endpoint
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app
from admit.webhooks import campaign_starts, campaigns, endpoints
from admit.webhooks.campaigns import Campaign, Kind, Shown
from admit.webhooks.endpoint_settings import PER_MINUTE_MAX

PAGE_MAX = 100

PerMinute = Annotated[int, msgspec.Meta(ge=1, le=PER_MINUTE_MAX)]


class NewReplay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to tell once more: what happened `since` a time, or behind a `sequence`.

    `per_minute`: at most so many; None: as fast as the endpoint takes them.
    """

    since: Moment | None = None
    sequence: Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{1,18}\Z")] | None = None
    per_minute: PerMinute | None = None


class NewRetry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which failed deliveries to try again: those that failed `since` a time."""

    since: Moment
    per_minute: PerMinute | None = None


class NewBackfill(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to tell of: every user, device or session that was there before the endpoint."""

    of: Of
    per_minute: PerMinute | None = None


class CampaignsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which campaigns: of an `endpoint`, older than the one of the id `before`."""

    endpoint: Text = ""
    before: Text = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = PAGE_MAX


class CampaignView(msgspec.Struct, frozen=True, kw_only=True):
    """One campaign. Of `total` events or rows it has `seen` so many, and made `done` deliveries of them.

    `total` is as counted at the beginning; None: there are very many. `missed`: so many were no longer kept.
    waiting: the endpoint is paused or disabled. `detail`: what there is to say of it.
    """

    id: str
    endpoint: str
    kind: Kind
    of: Of | Literal[""]
    state: Literal["running", "waiting", "done", "cancelled"]
    done: int
    seen: int
    total: int | None
    missed: int
    per_minute: int | None
    detail: str
    created_at: int
    finished_at: int | None


class CampaignPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of campaigns, the newest first; `before` leads to the next, None: this is the last."""

    campaigns: list[CampaignView]
    before: str | None


async def replay(call: Call) -> Response:
    """Begins to tell an endpoint once more."""
    app, body = await permitted_app(call), await call.json(NewReplay)
    if (body.since is None) == (body.sequence is None):
        raise InvalidRequest("A replay begins with since or with sequence.")
    unit = partial(
        campaign_starts.start_replay,
        app_id=app.app_id,
        endpoint_id=call.param("endpoint"),
        since=body.since,
        after=None if body.sequence is None else int(body.sequence),
        per_minute=body.per_minute,
        now=call.gateway.clock(),
    )
    return await _started(call, app, unit)


async def retry_failed(call: Call) -> Response:
    """Begins to try the failed deliveries of an endpoint again."""
    app, body = await permitted_app(call), await call.json(NewRetry)
    unit = partial(
        campaign_starts.start_retry,
        app_id=app.app_id,
        endpoint_id=call.param("endpoint"),
        since=body.since,
        per_minute=body.per_minute,
        now=call.gateway.clock(),
    )
    return await _started(call, app, unit)


async def start_backfill(call: Call) -> Response:
    """Begins to tell an endpoint of those who were there before it."""
    app, body, gateway = await permitted_app(call), await call.json(NewBackfill), call.gateway
    unit = partial(
        campaign_starts.start_backfill,
        app_id=app.app_id,
        endpoint_id=call.param("endpoint"),
        of=body.of,
        total=await people_walk.count(gateway.db, app.app_id, body.of),
        per_minute=body.per_minute,
        now=gateway.clock(),
    )
    return await _started(call, app, unit)


async def list_campaigns(call: Call) -> Response:
    """A page of campaigns."""
    app, query = await permitted_app(call), call.query(CampaignsQuery)
    find = partial(
        campaigns.page,
        app_id=app.app_id,
        endpoint_id=query.endpoint,
        before=query.before,
        limit=query.limit + 1,
    )
    found = await call.gateway.db.read(find)
    if not found and not query.before:
        await require_endpoint(call, app, query.endpoint)
    shown = [_view(each) for each in found[: query.limit]]
    return call.answer(
        CampaignPage(campaigns=shown, before=shown[-1].id if len(found) > len(shown) else None)
    )


async def show_campaign(call: Call) -> Response:
    """One campaign."""
    app = await permitted_app(call)
    return await _current(call, app, call.param("campaign"))


async def cancel_campaign(call: Call) -> Response:
    """Ends a campaign before it is done."""
    app, campaign_id = await permitted_app(call), call.param("campaign")
    unit = partial(campaigns.cancel, app_id=app.app_id, campaign_id=campaign_id, now=call.gateway.clock())
    outcome = await call.gateway.db.write(unit)
    if isinstance(outcome, AdmitError):
        raise outcome
    return await _current(call, app, campaign_id)


async def _started(call: Call, app: App, start: Unit[Campaign | AdmitError | None]) -> Response:
    campaign = await call.gateway.db.write(start)
    if campaign is None:
        raise endpoints.not_found(call.param("endpoint"))
    if isinstance(campaign, AdmitError):
        raise campaign
    return await _current(call, app, campaign.campaign_id)


async def _current(call: Call, app: App, campaign_id: str) -> Response:
    shown = await call.gateway.db.read(partial(campaigns.show, app_id=app.app_id, campaign_id=campaign_id))
    if shown is None:
        raise NotFound(f"There is no campaign {campaign_id[:80]!r} in this app.", code="campaign_not_found")
    return call.answer(_view(shown))


def _view(shown: Shown) -> CampaignView:
    campaign = shown.campaign
    return CampaignView(
        id=campaign.campaign_id,
        endpoint=campaign.endpoint_id,
        kind=campaign.kind,
        of=campaign.of,
        state="waiting" if shown.waits else campaign.state,
        done=campaign.done,
        seen=campaign.seen,
        total=campaign.total,
        missed=campaign.missed,
        per_minute=campaign.per_minute,
        detail=campaign.detail,
        created_at=campaign.created_at,
        finished_at=campaign.finished_at,
    )


OPERATIONS = (
    admin(
        "POST",
        "/apps/{app}/endpoints/{endpoint}/replay",
        replay,
        "Tells an endpoint once more what has happened",
        "webhooks:write",
        body=NewReplay,
        answer=CampaignView,
        codes=("endpoint_not_found", "campaign_running"),
    ),
    admin(
        "POST",
        "/apps/{app}/endpoints/{endpoint}/retry-failed",
        retry_failed,
        "Tries deliveries again that have failed",
        "webhooks:write",
        body=NewRetry,
        answer=CampaignView,
        codes=("endpoint_not_found", "campaign_running"),
    ),
    admin(
        "POST",
        "/apps/{app}/endpoints/{endpoint}/backfill",
        start_backfill,
        "Tells an endpoint of those who were there before it",
        "webhooks:write",
        body=NewBackfill,
        answer=CampaignView,
        codes=("endpoint_not_found", "campaign_running", "backfill_not_wanted"),
    ),
    admin(
        "GET",
        "/apps/{app}/campaigns",
        list_campaigns,
        "Lists campaigns, the newest first",
        "webhooks:read",
        query=CampaignsQuery,
        answer=CampaignPage,
        codes=("endpoint_not_found",),
    ),
    admin(
        "GET",
        "/apps/{app}/campaigns/{campaign}",
        show_campaign,
        "Shows a campaign",
        "webhooks:read",
        answer=CampaignView,
        codes=("campaign_not_found",),
    ),
    admin(
        "DELETE",
        "/apps/{app}/campaigns/{campaign}",
        cancel_campaign,
        "Ends a campaign",
        "webhooks:write",
        answer=CampaignView,
        codes=("campaign_not_found", "campaign_needed"),
    ),
)
