"""Subscriptions: who is to be told of which events. What is recorded fans out to them as jobs, at once.

Endpoints and tasks write theirs here, so that whoever records an event need not know them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import Index, PrimaryKeyConstraint, Table, bindparam, delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from admit import clock
from admit.events.change_filters import ChangeFilter, passes
from admit.events.data_facts import DataChange, DataChanged
from admit.events.hook_filters import OfHook
from admit.jobs import order, queue
from admit.jobs.order import NewJob, topic_key
from admit.jobs.tables import jobs
from admit.storage.lookups import Lookup
from admit.storage.rows import Insertion
from admit.storage.schema import metadata, text
from admit.storage.transaction import Transaction

Once = Literal["user", "device", "enrollment"]
ENROLLMENTS = frozenset({"user.enrolled", "device.enrolled", "session.started"})
"""What `once` is about: the other events are told every time."""
NOT_FOR_EVERYBODY = frozenset({"data.changed", "object.ready", "object.updated", "test.ping"})
"""Told to those who name it, or who are asked to be sent it."""
GATHERED = "changes"
"""The kind of jobs of which one tells all that has come until it begins."""
JOB_PREFIXES = {"delivery": "dlv", "run": "run", GATHERED: "dlv"}
"""What the ids of jobs begin with, by their kind."""
APPS_REMEMBERED_MAX = 1_000

subscriptions = Table(
    "subscriptions",
    metadata,
    text("app_id"),
    text("subscriber_id"),  # an endpoint or a task; the lane of its jobs
    text("kind"),  # of its jobs: delivery | changes | run
    text("types"),  # JSON array; empty: every type
    text("filter"),  # JSON of Filter
    text("once"),  # user | device | enrollment
    text("live"),  # "yes"; "no": it is behind, and nothing fans out to it
    PrimaryKeyConstraint("app_id", "subscriber_id"),
)

told = Table(
    "told",
    metadata,
    text("app_id"),
    text("uid"),
    text("subscriber_id"),
    text("type"),
    text("device_id"),  # "": once per user
    PrimaryKeyConstraint("app_id", "uid", "subscriber_id", "type", "device_id"),
    Index(None, "app_id", "subscriber_id"),
)

_put = insert(subscriptions)
PUT = _put.on_conflict_do_update(
    index_elements=["app_id", "subscriber_id"],
    set_={name: _put.excluded[name] for name in ("kind", "types", "filter", "once", "live")},
)
REMOVE = delete(subscriptions).where(
    subscriptions.c.app_id == bindparam("app"), subscriptions.c.subscriber_id == bindparam("subscriber")
)
OF_APP = (
    select(subscriptions)
    .where(subscriptions.c.app_id == bindparam("app"))
    .order_by(subscriptions.c.subscriber_id)
)
NAMING = (
    select(subscriptions.c.subscriber_id)
    .where(subscriptions.c.app_id == bindparam("app"), subscriptions.c.types.like(bindparam("named")))
    .limit(1)
)
FIND = select(subscriptions).where(
    subscriptions.c.app_id == bindparam("app"), subscriptions.c.subscriber_id == bindparam("subscriber")
)
# The subscriber is no column here, so that PostgreSQL never looks by its index, in which everybody is: while
# a table is young, one index that fits is as good to it as another.
_subscriber = told.c.subscriber_id.concat("")
LOCK = Lookup(
    select(subscriptions.c.app_id, subscriptions.c.subscriber_id),
    (subscriptions.c.app_id, subscriptions.c.subscriber_id),
    lock=True,
)
ALREADY_TOLD = Lookup(select(told), (told.c.app_id, told.c.uid, _subscriber, told.c.type, told.c.device_id))
TELL = Insertion(insert(told).on_conflict_do_nothing())
# In the lane of a subscriber that gathers, somebody is at work or will be.
AT_WORK = Lookup(
    select(jobs.c.lane).where(jobs.c.finished_at.is_(None), jobs.c.kind == GATHERED),
    (jobs.c.lane,),
)
_OF_SUBSCRIBER = (
    select(told.c.uid, told.c.type, told.c.device_id)
    .where(told.c.app_id == bindparam("app"), told.c.subscriber_id == bindparam("subscriber"))
    .limit(bindparam("most"))
)
FORGET_SUBSCRIBER = delete(told).where(
    told.c.app_id == bindparam("app"),
    told.c.subscriber_id == bindparam("subscriber"),
    tuple_(told.c.uid, told.c.type, told.c.device_id).in_(_OF_SUBSCRIBER),
)
FORGET_PERSON = delete(told).where(told.c.app_id == bindparam("app"), told.c.uid == bindparam("uid"))

Scalar = str | int | float | bool | None


class Equal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The member at `path` of an event's data, such as ("user", "data", "plan"), is `value`."""

    path: tuple[str, ...]
    value: Scalar


class Filter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events of a type are told. Every condition that is set must hold; in a list, one is enough."""

    user_types: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    email_domains: tuple[str, ...] = ()
    equals: tuple[Equal, ...] = ()
    changes: tuple[ChangeFilter, ...] = ()
    hook: OfHook | UnsetType = UNSET


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """What one subscriber is to be told of. `types` empty: everything but tests.

    `live`: it is told at once, in the unit of the fact. Otherwise nothing fans out to it; whoever made it so
    remembers where it stopped.
    """

    app_id: str
    subscriber_id: str
    kind: str
    types: tuple[str, ...] = ()
    filter: Filter = Filter()
    once: Once = "enrollment"
    live: bool = True


@dataclass(frozen=True)
class Fact:
    """An event at its place, as subscribers see it. `text` is its data as JSON."""

    type: str
    uid: str | None
    position: int
    occurred_at: int
    text: str

    @cached_property
    def data(self) -> Mapping[str, Any]:
        """Read only where somebody looks into it."""
        return msgspec.json.decode(self.text, type=dict[str, Any])

    @cached_property
    def changes(self) -> tuple[DataChange, ...]:
        """Those that an event about objects tells."""
        return msgspec.json.decode(self.text, type=DataChanged).changes


class Audience:
    """The live subscriptions of an app, by the type that they want."""

    def __init__(self, live: Sequence[Subscription]) -> None:
        self._everything = [each for each in live if not each.types]
        self._by_type: dict[str, list[Subscription]] = {}
        for each in live:
            for type_ in each.types:
                self._by_type.setdefault(type_, []).append(each)

    def of(self, type_: str) -> list[Subscription]:
        """Who wants events of the type, whatever is in them."""
        named = self._by_type.get(type_, [])
        return named if type_ in NOT_FOR_EVERYBODY else named + self._everything


def put(tx: Transaction, subscription: Subscription) -> None:
    """Writes a subscription. The caller holds the log of the app (`log.audience_changes`)."""
    tx.execute(PUT, _row(subscription))


def remove(tx: Transaction, app_id: str, subscriber_id: str) -> None:
    """Takes a subscription out. The caller holds the log of the app (`log.audience_changes`)."""
    tx.execute(REMOVE, {"app": app_id, "subscriber": subscriber_id})


def of_app(tx: Transaction, app_id: str) -> dict[str, Subscription]:
    """The subscriptions of an app by subscriber, those that are behind too."""
    return {row.subscriber_id: _subscription(row) for row in tx.execute(OF_APP, {"app": app_id})}


def anybody_names(tx: Transaction, app_id: str, type_: str) -> bool:
    """Whether a subscription of the app names the type, also one that is behind."""
    return tx.execute(NAMING, {"app": app_id, "named": f'%"{type_}"%'}).first() is not None


def find(tx: Transaction, app_id: str, subscriber_id: str) -> Subscription | None:
    """The subscription of one subscriber, also where it is behind."""
    row = tx.execute(FIND, {"app": app_id, "subscriber": subscriber_id}).one_or_none()
    return None if row is None else _subscription(row)


def locked(tx: Transaction, app_id: str, subscribers: Iterable[str]) -> set[str]:
    """Those of `subscribers` that subscribe, which nobody changes or takes out until the commit."""
    return {row.subscriber_id for row in LOCK.rows(tx, [(app_id, each) for each in subscribers])}


def audience(tx: Transaction, app_id: str, version: str) -> Audience:
    """Whom the app's events are told to. `version` changes with every change of its subscriptions."""
    # With the connection it dies with it. Versions are random: what a unit that failed has left here is
    # never asked for.
    known: dict[str, tuple[str, Audience]] = tx.connection.info.setdefault("admit.audiences", {})
    remembered = known.get(app_id)
    if remembered is not None and remembered[0] == version:
        return remembered[1]
    if len(known) >= APPS_REMEMBERED_MAX:
        known.clear()
    found = Audience([each for each in of_app(tx, app_id).values() if each.live])
    known[app_id] = version, found
    return found


def wants(subscription: Subscription, fact: Fact) -> bool:
    """Whether an event, of a type that is wanted, is to be told. Nobody is told that they do not listen."""
    rule = subscription.filter
    if rule == Filter() and fact.uid is not None:
        return True
    if fact.type == DataChanged.event_type:
        return rule == Filter(changes=rule.changes) and any(
            passes(each, rule.changes) for each in fact.changes
        )
    data = fact.data
    if _member(data, ("endpoint", "id")) == subscription.subscriber_id:
        return False
    user = _member(data, ("user",))
    return (
        (not rule.user_types or _member(user, ("type",)) in rule.user_types)
        and (not rule.methods or _member(data, ("sign_in", "method")) in rule.methods)
        and (not rule.email_domains or _domain_of(user) in rule.email_domains)
        and all(_is(_member(data, each.path), each.value) for each in rule.equals)
        and (rule.hook is UNSET or rule.hook.passes(fact.type, data))
    )


def not_told_yet(
    tx: Transaction, app_id: str, due: Sequence[tuple[Subscription, Fact]]
) -> list[tuple[Subscription, Fact]]:
    """Those of `due` that `once` lets through, each noted as told. The caller holds the log of the app."""
    keys = [_once_key(app_id, subscription, fact) for subscription, fact in due]
    asked = [key for key in keys if key is not None]
    if not asked:
        return list(due)
    known = {tuple(row) for row in ALREADY_TOLD.rows(tx, asked)}
    passed, fresh = [], []
    for pair, key in zip(due, keys, strict=True):
        if key is not None:
            if key in known:
                continue
            known.add(key)
            fresh.append(key)
        passed.append(pair)
    tx.write(TELL, fresh)
    return passed


def tell_each(tx: Transaction, due: Sequence[tuple[Subscription, Fact]]) -> None:
    """Leaves the jobs that tell each subscriber its fact. The caller holds the log of the app."""
    gathering = {}
    for subscription, fact in due:
        if subscription.kind == GATHERED:
            gathering[subscription.app_id, subscription.subscriber_id] = fact.occurred_at
        else:
            tell(tx, subscription, fact)
    rouse(tx, gathering)


def rouse(tx: Transaction, gathering: Mapping[tuple[str, str], int]) -> None:
    """Leaves a job to each subscriber, told by app_id and its id, in whose lane there is none unfinished.

    It tells what has come until it begins. The values are now (UTC ms). The caller holds the log of the apps,
    or two could leave one at once.
    """
    lanes = AT_WORK.rows(tx, [(subscriber_id,) for _, subscriber_id in gathering])
    at_work = {row.lane for row in lanes}
    for (app_id, subscriber_id), now in gathering.items():
        if subscriber_id in at_work:
            continue
        job = NewJob(
            app_id=app_id,
            job_id=clock.new_id(JOB_PREFIXES[GATHERED]),
            kind=GATHERED,
            payload="",
            now=now,
            due_at=now,
            lane=subscriber_id,
        )
        order.add_at_once(tx, job)
        tx.signal(order.TOPIC, topic_key(GATHERED, subscriber_id))


def tell(tx: Transaction, subscription: Subscription, fact: Fact) -> None:
    """Leaves the job that tells `fact` to the subscriber."""
    hook = subscription.filter.hook
    queue.enqueue(
        tx,
        app_id=subscription.app_id,
        kind=subscription.kind,
        payload="" if hook is UNSET else hook.payload,
        now=fact.occurred_at,
        job_id=clock.new_id(JOB_PREFIXES[subscription.kind]),
        lane=subscription.subscriber_id if hook is UNSET else hook.lane or subscription.subscriber_id,
        subject=fact.uid,
        sequence=fact.position,
    )


def forget_subscriber(tx: Transaction, app_id: str, subscriber_id: str, most: int) -> int:
    """Forgets `most` of those whom a subscriber was told of; says how many there were."""
    which = {"app": app_id, "subscriber": subscriber_id, "most": most}
    return tx.execute(FORGET_SUBSCRIBER, which).rowcount


def forget_person(tx: Transaction, app_id: str, uid: str) -> None:
    """Forgets who was told of somebody: who comes back is somebody new."""
    tx.execute(FORGET_PERSON, {"app": app_id, "uid": uid})


def _once_key(app_id: str, subscription: Subscription, fact: Fact) -> tuple[str, ...] | None:
    hook = subscription.filter.hook
    if hook is not UNSET and hook.once and fact.uid is not None:
        key = hook.once_key(fact.data)
        return None if key is None else (app_id, fact.uid, subscription.subscriber_id, *key)
    if subscription.once == "enrollment" or fact.type not in ENROLLMENTS or fact.uid is None:
        return None
    device = _member(fact.data, ("device", "identifier")) if subscription.once == "device" else None
    return app_id, fact.uid, subscription.subscriber_id, fact.type, device or ""


def _member(data: Any, path: Iterable[str]) -> Any:
    for name in path:
        if not isinstance(data, Mapping) or name not in data:
            return None
        data = data[name]
    return data


def _domain_of(user: Any) -> str | None:
    """That of the email; of the userId, which often is one, where no email is told."""
    told = _member(user, ("email",)) or _member(user, ("user_id",))
    return told.rpartition("@")[2].lower() if isinstance(told, str) and "@" in told else None


def _is(found: Any, wanted: Scalar) -> bool:
    """Equality as JSON has it, where 1 is not true."""
    return found == wanted and isinstance(found, bool) == isinstance(wanted, bool)


def _row(subscription: Subscription) -> dict[str, object]:
    return {
        "app_id": subscription.app_id,
        "subscriber_id": subscription.subscriber_id,
        "kind": subscription.kind,
        "types": msgspec.json.encode(subscription.types).decode(),
        "filter": msgspec.json.encode(subscription.filter).decode(),
        "once": subscription.once,
        "live": "yes" if subscription.live else "no",
    }


def _subscription(row: Any) -> Subscription:
    return Subscription(
        app_id=row.app_id,
        subscriber_id=row.subscriber_id,
        kind=row.kind,
        types=msgspec.json.decode(row.types, type=tuple[str, ...]),
        filter=msgspec.json.decode(row.filter, type=Filter),
        once=row.once,
        live=row.live == "yes",
    )
