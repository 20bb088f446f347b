"""/api/changes: what operators changed, in all apps or in one."""

from typing import Annotated, Any

import msgspec
from starlette.responses import Response

from admit.errors import InvalidRequest, NotFound
from admit.gateway import Gateway
from admit.operators import changes
from admit.operators.changes import Change, Kind, Page, Summary, Wanted, WhoKind
from admit.operators.tokens import OperatorToken
from admit.storage.transaction import Transaction
from admit.web.admin_types import MOMENT_MAX, PAGE_SIZE, Text
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted, permitted_app, permitted_in_app

CONFIDENTIAL = {
    "/api/operators": "operators:read",
    "/api/operator-sessions": "operators:read",
    "/api/tokens": "tokens:read",
}
"""Places of which a role reads nothing, although it sees that there was a change: by their scope."""


class ChangesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which changes: by `who`, an id or a label such as an email, since when, with `search` in their path.

    `before`: older than those of an earlier page.
    """

    who: Text = ""
    since: Annotated[int, msgspec.Meta(ge=0, le=MOMENT_MAX)] = 0
    search: Text = ""
    before: Text | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=changes.PAGE_ROWS_MAX)] = PAGE_SIZE


class ChangeView(msgspec.Struct, frozen=True, kw_only=True):
    """A change that an operator made or tried to make.

    `who_kind`: an operator in the Manager, the holder of an operator token, or a command on the machine of
    the server. `kind`: after a test, nothing stays. `status` None: nobody knows how it came out, because the
    server ended in between, or it is being made right now. `app` None: it belongs to no app.
    """

    change_id: str
    app: str | None
    at: int
    who_kind: WhoKind
    who_id: str
    who: str
    address: str
    kind: Kind
    summary: str
    method: str
    path: str
    status: int | None
    code: str
    ended_at: int | None


class ChangeDetails(ChangeView, frozen=True, kw_only=True):
    """A change with what was asked and what there was before and after, without secrets; None: nothing.

    What is known of people is left out, and so is what is long: a digest stands in its place. Of operators
    and of tokens, whoever may not read those is told no contents.
    """

    query: dict[str, Any] | None
    asked: Any
    before: Any
    after: Any


class ChangePage(msgspec.Struct, frozen=True, kw_only=True):
    """Some changes, newest first; `before` leads to the next ones, None: these were all.

    A page of a search can have fewer than were asked for, or none, and lead on: so far was looked.
    """

    changes: list[ChangeView]
    before: str | None


async def list_changes(call: Call) -> Response:
    """What operators changed, in all apps and in none."""
    await permitted(call)
    return await _page(call, None)


async def list_changes_of_app(call: Call) -> Response:
    """What operators changed in an app."""
    return await _page(call, (await permitted_app(call)).app_id)


async def show_change(call: Call) -> Response:
    """One change."""
    return await _details(call, await permitted(call), None)


async def show_change_of_app(call: Call) -> Response:
    """One change in an app."""
    app, holder = await permitted_in_app(call)
    return await _details(call, holder, app.app_id)


async def _page(call: Call, app_id: str | None) -> Response:
    query = call.query(ChangesQuery)
    wanted = Wanted(
        app_id=app_id,
        who=query.who,
        since=query.since,
        search=query.search,
        before=None if query.before is None else _place_of(query.before),
        limit=query.limit,
    )

    def find(tx: Transaction) -> Page:
        return changes.page(tx, wanted)

    page = await call.gateway.db.read(find)
    names = {each: await _app(call.gateway, each) for each in {each.app_id for each in page.changes}}
    return call.answer(
        ChangePage(
            changes=[ChangeView(**_fields(each, names[each.app_id])) for each in page.changes],
            before=None if page.before is None else f"{page.before[0]}.{page.before[1]}",
        )
    )


async def _details(call: Call, holder: OperatorToken, app_id: str | None) -> Response:
    change_id = call.param("change")

    def find(tx: Transaction) -> Change | None:
        return changes.find(tx, change_id)

    change = await call.gateway.db.read(find)
    if change is None or app_id not in (None, change.app_id):
        raise NotFound(
            f"There is no change {change_id[:80]!r} here, or it is too old to be kept.",
            code="change_not_found",
        )
    if not _may_read(holder, change):
        change = msgspec.structs.replace(change, query="", asked="", before="", after="")
    return call.answer(
        ChangeDetails(
            **_fields(change, await _app(call.gateway, change.app_id)),
            query=_json(change.query),
            asked=_json(change.asked),
            before=_json(change.before),
            after=_json(change.after),
        )
    )


def _may_read(holder: OperatorToken, change: Change) -> bool:
    """Whether `holder` may read the place that was changed, where not everybody who sees changes may."""
    return all(
        scope in holder.scopes for place, scope in CONFIDENTIAL.items() if change.path.startswith(place)
    )


def _fields(change: Summary, app: str | None) -> dict[str, Any]:
    return {
        "change_id": change.change_id,
        "app": app,
        "at": change.at,
        "who_kind": change.who_kind,
        "who_id": change.who_id,
        "who": change.who_label,
        "address": change.address,
        "kind": change.kind,
        "summary": change.summary,
        "method": change.method,
        "path": change.path,
        "status": change.status,
        "code": change.code,
        "ended_at": change.ended_at,
    }


async def _app(gateway: Gateway, app_id: str) -> str | None:
    return (await gateway.directory.app_by_id(app_id)).name if app_id else None


def _json(text: str) -> Any:
    return msgspec.json.decode(text) if text else None


def _place_of(before: str) -> tuple[int, str]:
    moment, _, change_id = before.partition(".")
    if not (moment.isascii() and moment.isdigit() and len(moment) < 16 and change_id):
        raise InvalidRequest("before is not what an earlier page has given.")
    return int(moment), change_id


OPERATIONS = (
    admin(
        "GET",
        "/changes",
        list_changes,
        "Lists what operators changed, newest first",
        "audit:read",
        query=ChangesQuery,
        answer=ChangePage,
    ),
    admin(
        "GET",
        "/changes/{change}",
        show_change,
        "Shows what an operator changed",
        "audit:read",
        answer=ChangeDetails,
        codes=("change_not_found",),
    ),
    admin(
        "GET",
        "/apps/{app}/changes",
        list_changes_of_app,
        "Lists what operators changed in an app, newest first",
        "audit:read",
        query=ChangesQuery,
        answer=ChangePage,
    ),
    admin(
        "GET",
        "/apps/{app}/changes/{change}",
        show_change_of_app,
        "Shows what an operator changed in an app",
        "audit:read",
        answer=ChangeDetails,
        codes=("change_not_found",),
    ),
)
