"""POST /sync: what a client needs to settle, until this server keeps its data too.

A client clears its queue of changes when it is answered 200. So changes are refused, loudly, and never
dropped; apps without synced data list their tables in `unsyncedTables`.
"""

from typing import Annotated, Any

import msgspec
from starlette.responses import Response

from admit.accounts.active_days import Activity, count_active_days
from admit.accounts.apps import App
from admit.accounts.licenses import after_activity, license_of
from admit.accounts.users import User
from admit.errors import Forbidden, Refused
from admit.web.bearer import holder_if_any, require
from admit.web.operations import Call, Operation
from admit.web.rate_limits import count_sync

SYNC_BYTES_MAX = 4_000_000
ANONYMOUS_BYTES_MAX = 262_144
"""Strangers sync no more than the names of their tables, and must not fill our memory."""
SYNC_NOT_AVAILABLE = "sync_not_available"
PUBLIC_REALM = "rlm-public"
REVISION = "1"

# Of what a client sends about shared texts (Yjs), only updates would be lost.
_HARMLESS_TEXT_MESSAGES = frozenset({"sv", "doc-open", "doc-close", "aware"})


Nothing = Annotated[list[Any], msgspec.Meta(max_length=0)]


class TableChanges(msgspec.Struct, frozen=True):
    """The changes of one table. Anything but an empty list is refused, whatever it is."""

    muts: list[msgspec.Raw] | None = None


class TextMessage(msgspec.Struct, frozen=True):
    """What is asked or told about a shared text."""

    type: Any = None


class LastPull(msgspec.Struct, frozen=True):
    """What the client has already."""

    realms: list[str] = []


class SyncRequest(msgspec.Struct, frozen=True):
    """What of a sync request matters here. It is TSON: JSON in which special types are objects with `$t`."""

    schema: dict[str, msgspec.Raw] = {}
    changes: list[TableChanges | None] = []
    y: list[TextMessage] | None = None
    last_pull: LastPull | None = msgspec.field(name="lastPull", default=None)


class SyncAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing has changed. `schema` is the client's own."""

    server_revision: str = msgspec.field(name="serverRevision", default=REVISION)
    db_id: str = msgspec.field(name="dbId")
    realms: list[str]
    invite_realms: list[str] = msgspec.field(name="inviteRealms", default_factory=list)
    schema: dict[str, msgspec.Raw]
    changes: Nothing = []
    rejections: Nothing = []


async def sync(call: Call) -> Response:
    """Lets the client settle; counts the day as active."""
    app = await call.app()
    asking = await holder_if_any(call, app)
    told = {} if asking is not None else await count_sync(call, app, None)
    request = await call.json(
        SyncRequest, bytes_max=ANONYMOUS_BYTES_MAX if asking is None else SYNC_BYTES_MAX
    )
    realms = [PUBLIC_REALM]
    if asking is not None:
        claims, user = asking.claims, asking.user
        require(claims, "ACCESS_DB")
        if user is None:
            raise _deleted()
        told = await count_sync(call, app, user)
        if claims.act is None:  # an owner who acts for a person costs that person no day
            user = await _active(call, app, user)
        _check_license(user, call.gateway.clock(), first_pull=_is_first_pull(request, claims.sub))
        realms.append(claims.sub)
    if _carries_changes(request):
        raise Forbidden(
            "This server keeps no synced data yet, so the changes were not taken and stay on the device. "
            "List the tables in unsyncedTables of db.cloud.configure().",
            code=SYNC_NOT_AVAILABLE,
        )
    return call.answer(SyncAnswer(db_id=app.app_id, realms=realms, schema=request.schema), headers=told)


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


def _check_license(user: User, now: int, *, first_pull: bool) -> None:
    """Raises Refused. Whose license has expired may still fill an empty device, and works offline there."""
    match license_of(user, now):
        case "deactivated":
            raise Refused("This user is deactivated.", code="license_deactivated")
        case "expired" if not first_pull:
            raise Refused("The license of this user has expired.", code="license_expired")


def _is_first_pull(request: SyncRequest, user_id: str) -> bool:
    return request.last_pull is None or user_id not in request.last_pull.realms


def _carries_changes(request: SyncRequest) -> bool:
    if any(table is None or table.muts is None or table.muts for table in request.changes):
        return True
    return any(not _is_harmless(message.type) for message in request.y or ())


def _is_harmless(kind: object) -> bool:
    return isinstance(kind, str) and kind in _HARMLESS_TEXT_MESSAGES


OPERATIONS = (
    Operation(
        method="POST",
        path="/{app}/sync",
        handler=sync,
        summary="Lets a client settle; refuses changes, which are not kept here yet",
        access="person_or_open",
        scopes=("ACCESS_DB",),
        body=SyncRequest,
        body_media_types=("application/tson", "application/json"),
        body_bytes_max=SYNC_BYTES_MAX,
        answer=SyncAnswer,
        codes=(
            SYNC_NOT_AVAILABLE,
            "license_expired",
            "license_deactivated",
            "user_not_found",
            "rate_limited",
        ),
    ),
)
