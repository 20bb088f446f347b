"""POST /sync: a client pushes what it has changed, and pulls what others have.

A client clears its queue when it is answered 200. So whatever it has pushed is stored before, or rejected and
answered with the state that the server has instead; what cannot be read is refused as a whole.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import msgspec
from starlette.responses import Response

from admit.accounts.active_days import Activity, count_active_days
from admit.accounts.apps import App
from admit.accounts.licenses import after_activity, license_of
from admit.accounts.tokens import AccessClaims
from admit.accounts.users import User
from admit.data.authors import Author
from admit.data.operations import Batch, Written
from admit.data.operations import Operation as Wanted
from admit.data.pushing import push
from admit.errors import Refused, Unauthorized
from admit.web import sync_requests
from admit.web.bearer import Holder, holder_if_any, require
from admit.web.not_built_api import no_texts
from admit.web.operations import Call, Operation, read_body
from admit.web.rate_limits import count_sync
from admit.web.sync_answers import Pull, answer, pull_of
from admit.web.sync_requests import SyncRequest

SYNC_BYTES_MAX = 16_000_000
ANONYMOUS_BYTES_MAX = 262_144
"""Strangers sync no more than the names of their tables, and must not fill our memory."""
ASIDE_BYTES = 65_536
"""A larger request is read beside the loop, which has others to serve."""

T = TypeVar("T")


class TableChange(msgspec.Struct, frozen=True):
    """What has become of objects of one table: each of `muts` puts or deletes some."""

    table: str
    muts: list[dict[str, Any]]


class RejectionView(msgspec.Struct, frozen=True):
    """A transaction of the client of which nothing was taken, and why."""

    name: str
    message: str
    txid: str


class SyncAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What has changed. `schema` is the client's own; `serverRevision` says how far the client is now."""

    server_revision: str
    db_id: str
    realms: list[str]
    invite_realms: list[str]
    schema: dict[str, Any]
    changes: list[TableChange]
    rejections: list[RejectionView]


class Person(msgspec.Struct, frozen=True):
    """Who syncs, in their own name or with a client's help."""

    user: User
    claims: AccessClaims


async def sync(call: Call) -> Response:
    """Takes what the client has changed and tells what it lacks; counts the day as active."""
    app = await call.app()
    asking = await holder_if_any(call, app)
    person = None if asking is None else _person(asking)
    told = await count_sync(call, app, None if person is None else person.user)
    body = await read_body(call.request, ANONYMOUS_BYTES_MAX if person is None else SYNC_BYTES_MAX)
    request = await _aside(body, partial(sync_requests.read, body))
    if person is not None:
        await _check_person(call, app, person, request)
    elif request.pushes or request.carries_texts:
        raise Unauthorized("Changes are synced by those who have signed in.")
    if request.carries_texts:
        raise no_texts()
    pull = pull_of(app, None if person is None else person.user, request)
    written = None
    if person is not None and request.pushes:
        wanted = await _aside(body, lambda: tuple(sync_requests.operations(request, pull.last)))
        written = await _push(call, app, person, request, pull, wanted)
    schema = await _aside(body, partial(sync_requests.schema_in, body, request))
    return await answer(call.gateway, pull, written, schema, told)


async def _aside(body: bytes, work: Callable[[], T]) -> T:
    return work() if len(body) < ASIDE_BYTES else await asyncio.to_thread(work)


# Who may


def _person(asking: Holder) -> Person:
    require(asking.claims, "ACCESS_DB")
    if asking.user is None:
        raise _deleted()
    return Person(asking.user, asking.claims)


async def _check_person(call: Call, app: App, person: Person, request: SyncRequest) -> None:
    """Raises Refused. An owner who acts for a person costs that person no day."""
    user = person.user
    if person.claims.act is None:
        user = await _active(call, app, user)
    _check_license(
        user, call.gateway.clock(), only_fills=_is_first_pull(request, user) and not request.pushes
    )


async def _active(call: Call, app: App, user: User) -> User:
    """The user, whose day has been counted. Only the first sync of a day writes."""
    now = call.gateway.clock()
    if after_activity(user, now) == user:
        return user
    activity = Activity(app_id=app.app_id, uid=user.uid, now=now)
    counted = await call.gateway.db.write_together(count_active_days, activity)
    if counted is None:
        raise _deleted()
    return counted


def _deleted() -> Refused:
    return Refused("This user does not exist any more.", code="user_not_found")


def _check_license(user: User, now: int, *, only_fills: bool) -> None:
    """Raises Refused. Whose license has expired may still fill an empty device, and works offline there."""
    match license_of(user, now):
        case "deactivated":
            raise Refused("This user is deactivated.", code="license_deactivated")
        case "expired" if not only_fills:
            raise Refused("The license of this user has expired.", code="license_expired")


def _is_first_pull(request: SyncRequest, user: User) -> bool:
    return request.last_pull is None or user.user_id not in request.last_pull.realms


# What is taken


async def _push(
    call: Call, app: App, person: Person, request: SyncRequest, pull: Pull, wanted: tuple[Wanted, ...]
) -> Written:
    """What has come of what the client has changed."""
    user, claims = person.user, person.claims
    author = Author(uid=user.uid, user_id=user.user_id, session_id=claims.sid, client_id=claims.client_id)
    batch = Batch(
        app_id=app.app_id,
        realm=user.uid,
        realm_id=user.user_id,
        client=request.client_identity,
        author=author,
        operations=wanted,
        epoch=pull.last.epoch,
        known=pull.last.private,
        now=call.gateway.clock(),
    )
    written = await push(call.gateway.db, batch)
    pushed = {change.table for change in request.changes}
    told = {name: setting for name, setting in request.schema.items() if name in pushed}
    await call.gateway.known_tables.learn(app.app_id, told, batch.now)
    return written


OPERATIONS = (
    Operation(
        method="POST",
        path="/{app}/sync",
        handler=sync,
        summary="Takes what a client has changed, and tells it what it lacks",
        access="person_or_open",
        scopes=("ACCESS_DB",),
        body=SyncRequest,
        body_media_types=("application/tson", "application/json"),
        body_bytes_max=SYNC_BYTES_MAX,
        answer=SyncAnswer,
        codes=(
            no_texts().code,
            "license_expired",
            "license_deactivated",
            "user_not_found",
            "rate_limited",
        ),
    ),
)
