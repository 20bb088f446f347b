"""What becomes of endpoints: paused, resumed, failing, disabled, removed.

While an endpoint is not told of anything, it is remembered up to which position of the log it was, so that it
can be told of the rest.
"""

from typing import Literal

from msgspec import UNSET
from sqlalchemy import bindparam, delete, update
from yarl import URL

from admit import clock
from admit.data import announcing
from admit.events import endpoint_facts, log, subscriptions
from admit.events.endpoint_facts import EndpointDisabled, EndpointFailing
from admit.events.log import Event
from admit.jobs import emptying, lanes
from admit.storage.transaction import Transaction
from admit.webhooks import alarms, campaign_starts, campaigns, change_hooks, health, secrets
from admit.webhooks.alarms import Alarm
from admit.webhooks.endpoints import TOPIC, Endpoint, Standing, State, kind_of, locked, subscription_of
from admit.webhooks.tables import endpoints

DROPPED_AT_ONCE = 500

_PAUSED = "An operator has paused it."
_REMOVING = "It is being removed."
_REMOVED = "The endpoint was removed."
_FAILED_FOR_DAYS = f"For {health.DISABLE_MS // clock.DAY_MS} days every attempt has failed. The last one: "

_this = (endpoints.c.app_id == bindparam("app"), endpoints.c.endpoint_id == bindparam("endpoint"))

STOP = (
    update(endpoints)
    .where(*_this)
    .values(
        failing_since=bindparam("failing"),
        state=bindparam("new_state"),
        reason=bindparam("why"),
        caught_up_to=bindparam("position"),
        changed_at=bindparam("now"),
    )
)
CAUGHT_UP = update(endpoints).where(*_this).values(caught_up_to=None)
ENABLE = (
    update(endpoints)
    .where(*_this)
    .values(state="enabled", reason="", failing_since=None, noticed_at=None, changed_at=bindparam("now"))
)
BEGIN_FAILING = update(endpoints).where(*_this).values(failing_since=bindparam("now"))
NOTICE = update(endpoints).where(*_this).values(noticed_at=bindparam("now"))
RECOVER = (
    update(endpoints)
    .where(*_this, endpoints.c.failing_since.is_not(None))
    .values(failing_since=None, noticed_at=None)
)
REMOVE = delete(endpoints).where(*_this)


def pause(tx: Transaction, app_id: str, endpoint_id: str, now: int) -> bool:
    """Tells an endpoint of nothing until it is resumed. False: there is no such endpoint."""
    here = locked(tx, app_id, endpoint_id)
    if here is None:
        return False
    if here.state != "paused":
        _stop(tx, here, "paused", _PAUSED, now)
    return True


def resume(tx: Transaction, app_id: str, endpoint_id: str, now: int) -> bool:
    """Lets deliveries go on, and tells an endpoint what it has missed before it is live again.

    False: there is no such endpoint.
    """
    here = locked(tx, app_id, endpoint_id)
    if here is None:
        return False
    if here.state != "enabled":
        tx.execute(ENABLE, {"app": app_id, "endpoint": endpoint_id, "now": now})
        settings = here.settings
        lanes.change(tx, kind_of(settings), endpoint_id, settings.limits, closed=False, opened_at=now)
        if settings.gathers:
            _gather_again(tx, here, now)
            return True
        campaigns.start_catch_up(tx, app_id, endpoint_id, now)
        if here.state == "disabled" and here.failing_since is not None:
            # What was given up in the outage that disabled it is as little lost as what came after.
            campaign_starts.start_retry(
                tx, app_id, endpoint_id, since=here.failing_since, per_minute=None, now=now
            )
        tx.signal(TOPIC, endpoint_id)
    return True


def _gather_again(tx: Transaction, here: Standing, now: int) -> None:
    """Lets a change hook go on where it has stopped, or with what was given up in the outage that disabled
    it."""
    log.audience_changes(tx, here.app_id)
    subscriptions.put(tx, subscription_of(here.app_id, here.endpoint_id, here.settings, live=True))
    tx.execute(CAUGHT_UP, {"app": here.app_id, "endpoint": here.endpoint_id})
    if here.state == "disabled" and here.failing_since is not None:
        change_hooks.rewind_to_failed(tx, here.app_id, here.endpoint_id, here.failing_since, now)
    change_hooks.go_on(tx, here.app_id, here.endpoint_id, now)
    tx.signal(TOPIC, here.endpoint_id)


def disable(tx: Transaction, endpoint: Endpoint, reason: str, now: int) -> bool:
    """Tells an endpoint of nothing any more, for a reason that lies with it, and records that.

    False, and nothing changed: it is not enabled any more, or has another URL than `endpoint`.
    """
    here = _still(tx, endpoint)
    if here is None:
        return False
    _disable(tx, here, reason, now)
    return True


def failed(tx: Transaction, endpoint: Endpoint, detail: str, now: int) -> None:
    """Draws the consequence of a failure (`health`), about which `detail` is a sentence, and records it.

    Nothing, where `endpoint` is not enabled any more, or has another URL now.
    """
    here = _still(tx, endpoint)
    if here is None:
        return
    key = {"app": here.app_id, "endpoint": here.endpoint_id, "now": now}
    match health.after_failure(here.failing_since, here.noticed_at, now):
        case "begin":
            tx.execute(BEGIN_FAILING, key)
        case "notice":
            assert here.failing_since is not None
            tx.execute(NOTICE, key)
            since = clock.iso_date(here.failing_since)
            _record(tx, here, EndpointFailing(endpoint=_named(here), failing_since=since, reason=detail), now)
            alarms.sound(tx, here.app_id, _alarm(here, "failing", detail), now)
        case "disable":
            _disable(tx, here, _FAILED_FOR_DAYS + detail, now)
        case None:
            return
    tx.signal(TOPIC, here.endpoint_id)


def recovered(tx: Transaction, endpoint: Endpoint) -> None:
    """Ends what a failure began: the endpoint has received something."""
    if tx.execute(RECOVER, {"app": endpoint.app_id, "endpoint": endpoint.endpoint_id}).rowcount:
        tx.signal(TOPIC, endpoint.endpoint_id)


def remove(tx: Transaction, app_id: str, endpoint_id: str, now: int) -> Literal["gone", "more", "unknown"]:
    """Ends DROPPED_AT_ONCE deliveries of an endpoint, or forgets as many people whom it was told of; when
    there is nothing left of either, the endpoint.

    more: it must be called again. Meanwhile the endpoint is paused, so that nobody finds it half gone, and
    whoever was cut off can ask once more. Deliveries that have ended stay to be looked at.
    """
    here = locked(tx, app_id, endpoint_id)
    if here is None:
        return "unknown"
    _stop(tx, here, "paused", _REMOVING, now)
    if emptying.empty(tx, kind_of(here.settings), endpoint_id, _REMOVED, now, DROPPED_AT_ONCE):
        return "more"
    if subscriptions.forget_subscriber(tx, app_id, endpoint_id, DROPPED_AT_ONCE):
        return "more"
    subscriptions.remove(tx, app_id, endpoint_id)
    announcing.watch(tx, app_id)
    change_hooks.forget(tx, app_id, endpoint_id)
    lanes.remove(tx, endpoint_id)
    secrets.forget(tx, app_id, endpoint_id)
    campaigns.forget(tx, app_id, endpoint_id)
    tx.execute(REMOVE, {"app": app_id, "endpoint": endpoint_id})
    return "gone"


def _still(tx: Transaction, endpoint: Endpoint) -> Standing | None:
    """The endpoint as it is now, where it is enabled and has the URL that `endpoint` has."""
    here = locked(tx, endpoint.app_id, endpoint.endpoint_id)
    return here if here is not None and here.state == "enabled" and here.url == endpoint.url else None


def _disable(tx: Transaction, here: Standing, reason: str, now: int) -> None:
    _stop(tx, here, "disabled", reason, now)
    since = UNSET if here.failing_since is None else clock.iso_date(here.failing_since)
    _record(tx, here, EndpointDisabled(endpoint=_named(here), failing_since=since, reason=reason), now)
    alarms.sound(tx, here.app_id, _alarm(here, "disabled", reason), now)


def _stop(tx: Transaction, here: Standing, state: State, reason: str, now: int) -> None:
    """Lets nothing begin any more, and notes how far the endpoint was told."""
    lanes.change(tx, kind_of(here.settings), here.endpoint_id, here.settings.limits, closed=True)
    position = log.audience_changes(tx, here.app_id)
    subscriptions.put(tx, subscription_of(here.app_id, here.endpoint_id, here.settings, live=False))
    tx.execute(
        STOP,
        {
            "app": here.app_id,
            "endpoint": here.endpoint_id,
            # Who says 410 has failed from then on.
            "failing": now if state == "disabled" and here.failing_since is None else here.failing_since,
            "new_state": state,
            "why": reason,
            "position": position if here.caught_up_to is None else here.caught_up_to,
            "now": now,
        },
    )
    tx.signal(TOPIC, here.endpoint_id)


def _record(tx: Transaction, here: Standing, data: EndpointFailing | EndpointDisabled, now: int) -> None:
    log.record(tx, Event(app_id=here.app_id, uid=None, occurred_at=now, data=data))


def _alarm(here: Standing, state: Literal["failing", "disabled"], reason: str) -> Alarm:
    return Alarm(
        state=state,
        endpoint_id=here.endpoint_id,
        url=_place_of(here.url),
        since=here.failing_since,
        reason=reason,
    )


def _named(here: Standing) -> endpoint_facts.Endpoint:
    return endpoint_facts.Endpoint(
        id=here.endpoint_id, url=_place_of(here.url), description=here.settings.description
    )


def _place_of(url: str) -> str:
    """Scheme and host: what comes behind them is often what lets us in, and others read this."""
    return str(URL(url).origin())
