"""/api/apps/{app}/admissions: the ledger of decisions about unknown people."""

from typing import Annotated, Literal

import msgspec
from starlette.responses import Response

from admit.enrollment import ledger
from admit.enrollment.ledger import Key, LedgerRow, Query
from admit.errors import InvalidRequest, NotFound
from admit.web.admin_types import PAGE_SIZE, AdmissionPage, AdmissionView, Moment, PageSize, Text
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app
from admit.web.ways_in import WayIn


class AdmissionsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which decisions: about the person `user`, or people whose userId begins with `beginning`, who came by
    `way_in`, that ended with `verdict` or were refused with `code`. Opened at or after `since`, and before
    `until`. `before` comes from an earlier page.
    """

    user: Text | None = None
    beginning: Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)] | None = None
    way_in: WayIn | None = None
    verdict: Literal["eval", "prod", "refused", "open"] | None = None
    code: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    since: Moment = 0
    until: Moment | None = None
    before: Text | None = None
    limit: PageSize = PAGE_SIZE


async def list_admissions(call: Call) -> Response:
    """A page of the ledger, newest first."""
    app, asked = await permitted_app(call), call.query(AdmissionsQuery)
    after = None if asked.before is None else _key_of(asked.before)
    query = Query(
        user_id=asked.user,
        beginning=asked.beginning,
        way_in=asked.way_in,
        verdict=asked.verdict,
        code=asked.code,
        since=asked.since,
        until=ledger.MOMENT_MAX if asked.until is None else asked.until,
    )
    page = await call.gateway.db.read(lambda tx: ledger.page(tx, app.app_id, query, after, asked.limit))
    return call.answer(
        AdmissionPage(
            admissions=[view_of(row) for row in page.rows],
            before=None if page.next is None else f"{page.next[0]}.{page.next[1]}",
        )
    )


async def show_admission(call: Call) -> Response:
    """One decision, with all that is kept of it."""
    app, admission_id = await permitted_app(call), call.param("admission")
    row = await call.gateway.db.read(lambda tx: ledger.find(tx, app.app_id, admission_id))
    if row is None:
        raise NotFound(f"{app.name} has no admission {admission_id[:80]!r}.", code="admission_not_found")
    return call.answer(view_of(row))


def view_of(row: LedgerRow) -> AdmissionView:
    """A decision as the API tells it."""
    claims = msgspec.json.decode(row.claims) if row.claims else None
    return AdmissionView(**msgspec.structs.asdict(row) | {"claims": claims})


def _key_of(before: str) -> Key:
    moment, _, admission_id = before.partition(".")
    if not (moment.isascii() and moment.isdigit() and len(moment) < 16 and admission_id):
        raise InvalidRequest("before is not what an earlier page has given.")
    return int(moment), admission_id


OPERATIONS = (
    admin(
        "GET",
        "/apps/{app}/admissions",
        list_admissions,
        "Lists decisions about unknown people, newest first",
        "users:read",
        query=AdmissionsQuery,
        answer=AdmissionPage,
    ),
    admin(
        "GET",
        "/apps/{app}/admissions/{admission}",
        show_admission,
        "Shows a decision about an unknown person",
        "users:read",
        answer=AdmissionView,
        codes=("admission_not_found",),
    ),
)
