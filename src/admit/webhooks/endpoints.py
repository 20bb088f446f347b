"""Endpoints: where the operator wants to be told of what happens in an app.

An endpoint is a row here, a subscription to the log of its app, a lane of deliveries, and secrets. While it
is not live, `caught_up_to` says up to which position of the log it was told; what came after is told later.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET
from sqlalchemy import bindparam, func, insert, select, update

from admit import clock
from admit.data import announcing
from admit.errors import Conflict, InvalidRequest, NotFound
from admit.events import log, subscriptions
from admit.events.data_facts import DataChanged
from admit.events.subscriptions import Filter, Subscription
from admit.jobs import lanes
from admit.jobs.retry import Schedule
from admit.jobs.tables import lanes as lanes_table
from admit.storage.lookups import Lookup
from admit.storage.sealing import KeyRing
from admit.storage.transaction import Transaction
from admit.webhooks import change_hooks, hook_endpoints, secrets
from admit.webhooks.endpoint_settings import EndpointSettings, SettingsChange, changed
from admit.webhooks.sealed import place_of_headers
from admit.webhooks.secrets import Secret
from admit.webhooks.tables import endpoints

KIND = "delivery"
"""Of the jobs that tell an endpoint something."""
TOPIC = "endpoint"
ENDPOINTS_MAX = 500


State = Literal["enabled", "paused", "disabled"]

_key = (endpoints.c.app_id, endpoints.c.endpoint_id)
_this = (endpoints.c.app_id == bindparam("app"), endpoints.c.endpoint_id == bindparam("endpoint"))
_subscribed = subscriptions.subscriptions
_whole = (
    select(
        endpoints,
        _subscribed.c.types,
        _subscribed.c.filter,
        _subscribed.c.once,
        lanes_table.c.at_once_max,
        lanes_table.c.per_minute,
    )
    .join(
        _subscribed,
        (_subscribed.c.app_id == endpoints.c.app_id)
        & (_subscribed.c.subscriber_id == endpoints.c.endpoint_id),
    )
    .join(lanes_table, lanes_table.c.lane == endpoints.c.endpoint_id)
)

FIND = _whole.where(*_this)
PAGE = (
    _whole.where(endpoints.c.app_id == bindparam("app"), endpoints.c.endpoint_id > bindparam("after"))
    .order_by(endpoints.c.endpoint_id)
    .limit(bindparam("limit"))
)
OF_APP = select(endpoints.c.endpoint_id).where(endpoints.c.app_id == bindparam("app"))
COUNT = select(func.count()).select_from(endpoints).where(endpoints.c.app_id == bindparam("app"))
LOCK = Lookup(select(*_key), _key, lock=True)
ADD = insert(endpoints)
CHANGE = (
    update(endpoints)
    .where(*_this)
    .values(
        url=bindparam("new_url"),
        description=bindparam("new_description"),
        format=bindparam("new_format"),
        sealed_headers=bindparam("new_headers"),
        retry_delays=bindparam("new_delays"),
        failing_since=bindparam("failing"),
        noticed_at=bindparam("noticed"),
        changed_at=bindparam("now"),
    )
)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint as it is stored, with what is sealed left so.

    `failing_since`: since when there is nothing but failures (UTC ms), `noticed_at`: when that was told.
    `caught_up_to`: the position up to which it was told, where it is behind; None: it is live.
    """

    app_id: str
    endpoint_id: str
    settings: EndpointSettings
    sealed_headers: str | None
    state: State
    reason: str
    caught_up_to: int | None
    failing_since: int | None
    noticed_at: int | None
    created_at: int
    changed_at: int

    @property
    def url(self) -> str:
        """Where it is told."""
        return self.settings.url

    @property
    def full(self) -> bool:
        """Whether it is told email, name and data of the person."""
        return self.settings.format == "full"

    @property
    def schedule(self) -> Schedule | None:
        """When a delivery that failed is tried again; None: as every delivery is."""
        return self.settings.schedule

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.endpoint_id!r})"


class Endpoint(Standing, frozen=True, kw_only=True):
    """An endpoint with everything that a delivery needs. `headers` are the operator's own, in lower case.

    `secrets`: the present one first, ended ones too.
    """

    headers: Mapping[str, str]
    secrets: tuple[Secret, ...]

    def live_secrets(self, now: int) -> tuple[str, ...]:
        """What requests at `now` are signed with, the present secret first."""
        return tuple(each.text for each in self.secrets if each.signs_at(now))


def kind_of(settings: EndpointSettings) -> str:
    """The kind of the jobs in the endpoint's lane."""
    return change_hooks.KIND if settings.gathers else KIND


def create(tx: Transaction, ring: KeyRing, app_id: str, new: SettingsChange, secret: str, now: int) -> str:
    """Makes an endpoint, which is told of whatever is committed after this unit, and returns its id.

    `new`, which names a URL, and `secret` have been checked. Raises Conflict (too_many_endpoints) above
    ENDPOINTS_MAX.
    """
    position = log.audience_changes(tx, app_id)
    if tx.execute(COUNT, {"app": app_id}).scalar_one() >= ENDPOINTS_MAX:
        raise Conflict(
            f"An app has at most {ENDPOINTS_MAX} endpoints. Remove one first.", code="too_many_endpoints"
        )
    endpoint_id, settings = clock.new_id("ep"), changed(EndpointSettings(url=""), new)
    settings = hook_endpoints.resolved(tx, app_id, settings, None)
    _check_secret(settings, secret)
    tx.execute(
        ADD,
        {
            "app_id": app_id,
            "endpoint_id": endpoint_id,
            "url": settings.url,
            "description": settings.description,
            "format": settings.format,
            "sealed_headers": _sealed(ring, app_id, endpoint_id, new.headers or {}),
            "retry_delays": _delays_text(settings),
            "state": "enabled",
            "reason": "",
            "told_from": position,
            "caught_up_to": None,
            "failing_since": None,
            "noticed_at": None,
            "created_at": now,
            "changed_at": now,
        },
    )
    secrets.add(tx, ring, app_id, endpoint_id, secret, now)
    lanes.open_lane(tx, app_id, kind_of(settings), endpoint_id, settings.limits, closed=False)
    subscriptions.put(tx, subscription_of(app_id, endpoint_id, settings, live=True))
    if settings.gathers:
        change_hooks.begin(tx, app_id, endpoint_id, position)
    if DataChanged.event_type in settings.events:
        announcing.watch(tx, app_id)
    tx.signal(TOPIC, endpoint_id)
    return endpoint_id


def find(tx: Transaction, ring: KeyRing, app_id: str, endpoint_id: str) -> Endpoint | None:
    """The endpoint of this id; None: there is none in this app. Raises SealBroken."""
    standing = _find(tx, app_id, endpoint_id)
    return None if standing is None else _opened(tx, ring, [standing])[0]


def page(tx: Transaction, ring: KeyRing, app_id: str, *, after: str, limit: int) -> list[Endpoint]:
    """The next `limit` endpoints behind the id `after`, the oldest first. Raises SealBroken."""
    which = {"app": app_id, "after": after, "limit": limit}
    return _opened(tx, ring, [_standing(row) for row in tx.execute(PAGE, which)])


def standings(tx: Transaction, app_id: str) -> list[Standing]:
    """All endpoints of the app, the oldest first, with what is sealed left so."""
    which = {"app": app_id, "after": "", "limit": ENDPOINTS_MAX}
    return [_standing(row) for row in tx.execute(PAGE, which)]


def public_secrets(tx: Transaction, ring: KeyRing, app_id: str) -> list[Secret]:
    """The secrets of all endpoints of the app whose public half is published, ended ones too."""
    keys = [(app_id, endpoint_id) for endpoint_id in tx.execute(OF_APP, {"app": app_id}).scalars()]
    found = secrets.of_endpoints(tx, ring, keys)
    return [each for key in sorted(found) for each in found[key] if each.kind == "ed25519"]


def change(
    tx: Transaction, ring: KeyRing, app_id: str, endpoint_id: str, change: SettingsChange, now: int
) -> bool:
    """Changes what `change`, which has been checked, names. False: there is no such endpoint.

    A new URL begins with a clean record. One that is behind stays so.
    """
    here = locked(tx, app_id, endpoint_id)
    if here is None:
        return False
    settings = hook_endpoints.resolved(tx, app_id, changed(here.settings, change), here.settings)
    for format_ in ("dexie", "journeyapps"):
        if (settings.format == format_) != (here.settings.format == format_):
            raise InvalidRequest(
                f"The format {format_} is chosen when an endpoint is made, and stays. Make another endpoint."
            )
    moved = settings.url != here.url
    tx.execute(
        CHANGE,
        {
            "app": app_id,
            "endpoint": endpoint_id,
            "new_url": settings.url,
            "new_description": settings.description,
            "new_format": settings.format,
            "new_headers": here.sealed_headers
            if change.headers is UNSET
            else _sealed(ring, app_id, endpoint_id, change.headers),
            "new_delays": _delays_text(settings),
            "failing": None if moved else here.failing_since,
            "noticed": None if moved else here.noticed_at,
            "now": now,
        },
    )
    if settings.limits != here.settings.limits:
        closed = here.state != "enabled"
        lanes.change(tx, kind_of(settings), endpoint_id, settings.limits, closed=closed)
    log.audience_changes(tx, app_id)
    subscriptions.put(tx, subscription_of(app_id, endpoint_id, settings, live=here.caught_up_to is None))
    announcing.watch(tx, app_id)
    tx.signal(TOPIC, endpoint_id)
    return True


def rotate(
    tx: Transaction,
    ring: KeyRing,
    app_id: str,
    endpoint_id: str,
    secret: str,
    *,
    overlap_seconds: int,
    now: int,
) -> bool:
    """Makes `secret`, which has been checked, the present one; see `secrets.rotate`.

    False: there is no such endpoint.
    """
    here = locked(tx, app_id, endpoint_id)
    if here is None:
        return False
    _check_secret(here.settings, secret)
    secrets.rotate(tx, ring, app_id, endpoint_id, secret, overlap_seconds=overlap_seconds, now=now)
    tx.signal(TOPIC, endpoint_id)
    return True


def not_found(endpoint_id: str) -> NotFound:
    """The complaint about an id that no endpoint of the app has."""
    return NotFound(f"There is no endpoint {endpoint_id[:80]!r} in this app.", code="endpoint_not_found")


def _find(tx: Transaction, app_id: str, endpoint_id: str) -> Standing | None:
    row = tx.execute(FIND, {"app": app_id, "endpoint": endpoint_id}).one_or_none()
    return None if row is None else _standing(row)


def locked(tx: Transaction, app_id: str, endpoint_id: str) -> Standing | None:
    """The endpoint, which nobody else changes until the commit."""
    return _find(tx, app_id, endpoint_id) if LOCK.rows(tx, [(app_id, endpoint_id)]) else None


def subscription_of(app_id: str, endpoint_id: str, settings: EndpointSettings, *, live: bool) -> Subscription:
    return Subscription(
        app_id=app_id,
        subscriber_id=endpoint_id,
        kind=kind_of(settings),
        types=settings.events,
        filter=settings.filter,
        once=settings.once,
        live=live,
    )


def _check_secret(settings: EndpointSettings, secret: str) -> None:
    if settings.gathers and secrets.kind_of(secret) != "hmac":
        raise InvalidRequest(
            "An endpoint of the format dexie is sent its secret, and a private key must not be. Choose a "
            "secret that begins with whsec_.",
            code="secret_refused",
        )


def _sealed(ring: KeyRing, app_id: str, endpoint_id: str, headers: Mapping[str, str]) -> str | None:
    if not headers:
        return None
    return ring.seal(msgspec.json.encode(headers).decode(), place_of_headers(app_id, endpoint_id))


def _delays_text(settings: EndpointSettings) -> str | None:
    return None if settings.retry_delays is None else msgspec.json.encode(settings.retry_delays).decode()


def _standing(row: Any) -> Standing:
    return Standing(
        app_id=row.app_id,
        endpoint_id=row.endpoint_id,
        settings=EndpointSettings(
            url=row.url,
            description=row.description,
            events=msgspec.json.decode(row.types, type=tuple[str, ...]),
            filter=msgspec.json.decode(row.filter, type=Filter),
            once=row.once,
            format=row.format,
            retry_delays=msgspec.json.decode(row.retry_delays or "null", type=tuple[float, ...] | None),
            at_once_max=row.at_once_max,
            per_minute=row.per_minute,
        ),
        sealed_headers=row.sealed_headers,
        state=row.state,
        reason=row.reason,
        caught_up_to=row.caught_up_to,
        failing_since=row.failing_since,
        noticed_at=row.noticed_at,
        created_at=row.created_at,
        changed_at=row.changed_at,
    )


def _opened(tx: Transaction, ring: KeyRing, standings: Sequence[Standing]) -> list[Endpoint]:
    """The endpoints with what is sealed."""
    found = secrets.of_endpoints(tx, ring, [(each.app_id, each.endpoint_id) for each in standings])
    return [
        Endpoint(
            **{name: getattr(each, name) for name in Standing.__struct_fields__},
            headers=_headers(ring, each),
            secrets=found[each.app_id, each.endpoint_id],
        )
        for each in standings
    ]


def _headers(ring: KeyRing, here: Standing) -> dict[str, str]:
    if here.sealed_headers is None:
        return {}
    text = ring.unseal(here.sealed_headers, place_of_headers(here.app_id, here.endpoint_id))
    return msgspec.json.decode(text, type=dict[str, str])
