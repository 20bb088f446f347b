"""/users: the people of an app, for the app's own programs. The Dexie Cloud contract, docs/compat.md."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from starlette.responses import Response

from admit.accounts import user_pages, users
from admit.accounts.apps import App
from admit.accounts.tokens import AccessClaims
from admit.accounts.user_changes import CHANGES_MAX, Rejected, Written
from admit.accounts.user_edits import UserChange
from admit.accounts.user_pages import PAGE_USERS_MAX, Sort
from admit.accounts.users import NEVER, User
from admit.clock import iso_date
from admit.enrollment.creations import write_users
from admit.enrollment.departures import delete_person
from admit.errors import (
    NO_SEATS_AVAILABLE,
    AdmitError,
    Conflict,
    InvalidRequest,
    NotFound,
    TooLarge,
)
from admit.signin.email_addresses import is_demo
from admit.signin.proof import user_id_as_known
from admit.storage.transaction import Transaction
from admit.web.bearer import bearer, holder, require
from admit.web.operations import Call, Operation
from admit.web.rate_limits import count_rest

USERS_BYTES_MAX = 4_000_000

PAGING_KEY_CHARACTERS_MAX = 4_000


class UsersQuery(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Which users, in which order. `desc` may stand without a value; `search` looks for prefixes."""

    search: str = ""
    active: bool | None = None
    type: Literal["eval", "prod", "demo"] | None = None
    sort: Sort = "userId"
    desc: Literal["", "true", "false"] = "false"
    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_USERS_MAX)] = PAGE_USERS_MAX
    paging_key: Annotated[str, msgspec.Meta(max_length=PAGING_KEY_CHARACTERS_MAX)] | None = None


class UserModel(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One user. Dates are ISO 8601 in UTC; without `validUntil` there is no end."""

    user_id: str
    created: str
    updated: str
    last_login: str | None
    type: str
    valid_until: str | None = None
    eval_days_left: int | None = None
    max_allowed_eval_days_left: int
    deactivated: str | None
    data: Any


class UsersPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One page of users. With `hasMore` there is always a `pagingKey`, which leads to the next."""

    data: list[UserModel]
    has_more: bool
    paging_key: str | None = None


class Ok(msgspec.Struct, frozen=True):
    """It is done."""

    ok: Literal[True] = True


async def list_users(call: Call) -> Response:
    """A page of the users of the app."""
    app = await call.app()
    told = await _read_by_program(call, app)
    query = call.query(UsersQuery)
    wanted = user_pages.Query(
        search=query.search,
        active=query.active,
        type=query.type,
        sort=query.sort,
        desc=query.desc != "false",
        limit=query.limit,
        paging_key=query.paging_key,
    )

    def find(tx: Transaction) -> user_pages.Page:
        return user_pages.page(tx, app.app_id, wanted)

    page = await call.gateway.db.read(find)
    return call.answer(
        UsersPage(
            data=[_model(user) for user in page.users], has_more=page.has_more, paging_key=page.paging_key
        ),
        headers=told,
    )


async def get_user(call: Call) -> Response:
    """One user of the app."""
    app = await call.app()
    told = await _read_by_program(call, app)
    key = (app.app_id, user_id_as_known(app, call.param("user_id")))

    def find(tx: Transaction) -> User | None:
        return users.by_user_id(tx, [key]).get(key)

    user = await call.gateway.db.read(find)
    if user is None:
        raise _unknown()
    return call.answer(_model(user), headers=told)


async def post_users(call: Call) -> Response:
    """Creates and changes users: every entry of the array, or none."""
    app = await call.app()
    claims = await bearer(call, app)
    require(claims, "ACCESS_DB", "GLOBAL_WRITE")
    told = await count_rest(call, app, claims, prod=True)
    changes = await call.json(list[UserChange])
    if len(changes) > CHANGES_MAX:  # said here, where nobody's commit waits for it
        raise TooLarge(f"At most {CHANGES_MAX} users can be changed at once.")
    now, who = call.gateway.clock(), f"the API client {claims.client_id or claims.sub}"

    def write(tx: Transaction) -> Written | Rejected:
        return write_users(tx, app, changes, who=who, now=now)

    outcome = await call.gateway.db.write(write)
    if isinstance(outcome, Rejected):
        raise refusal_of(outcome)
    return call.answer(Ok(), headers=told)


async def remove_user(call: Call) -> Response:
    """Deletes a user with devices, sessions and data. Anybody may delete themselves."""
    app = await call.app()
    asking = await holder(call, app)
    claims = asking.claims
    user_id = user_id_as_known(app, call.param("user_id"))
    if user_id == claims.sub and _is_oneself(claims):
        require(claims, "ACCESS_DB")
        asking.check_welcome()
    else:
        require(claims, "ACCESS_DB", "GLOBAL_WRITE")
    told = await count_rest(call, app, claims, prod="GLOBAL_WRITE" in claims.scopes)
    if not await delete_person(call.gateway.db, app.app_id, user_id, call.gateway.clock()):
        raise _unknown()
    return call.answer(Ok(), headers=told)


def refusal_of(rejected: Rejected) -> AdmitError:
    """The error that tells why nothing was changed, and because of which entry."""
    place = "" if rejected.index is None else f"Entry {rejected.index}: "
    if rejected.code == NO_SEATS_AVAILABLE:
        return Conflict(place + rejected.sentence, code=NO_SEATS_AVAILABLE)
    return InvalidRequest(place + rejected.sentence, code=rejected.code)


def _is_oneself(claims: AccessClaims) -> bool:
    """Whether their own person holds these claims: no owner who acts for them, no visitor of a demo."""
    return claims.act is None and not is_demo(claims.sub)


async def _read_by_program(call: Call, app: App) -> Mapping[str, str]:
    """Admits and counts a reading program of the app; returns the headers that tell how often it may."""
    claims = await bearer(call, app)
    require(claims, "ACCESS_DB", "GLOBAL_READ")
    return await count_rest(call, app, claims, prod=True)


def _unknown() -> NotFound:
    return NotFound("There is no such user.", code="user_not_found")


def _model(user: User) -> UserModel:
    return UserModel(
        user_id=user.user_id,
        created=iso_date(user.created_at),
        updated=iso_date(user.updated_at),
        last_login=iso_date(user.last_login_at) if user.last_login_at else None,
        type=user.type,
        valid_until=None if user.valid_until == NEVER else iso_date(user.valid_until),
        eval_days_left=user.eval_days_left if user.type == "eval" else None,
        max_allowed_eval_days_left=user.eval_days_max,
        deactivated=None if user.deactivated_at is None else iso_date(user.deactivated_at),
        data=user.data,
    )


OPERATIONS = (
    Operation(
        method="GET",
        path="/{app}/users",
        handler=list_users,
        summary="Lists users, page by page",
        access="person",
        scopes=("ACCESS_DB", "GLOBAL_READ"),
        query=UsersQuery,
        answer=UsersPage,
    ),
    Operation(
        method="POST",
        path="/{app}/users",
        handler=post_users,
        summary="Creates and changes users, all of them or none",
        access="person",
        scopes=("ACCESS_DB", "GLOBAL_WRITE"),
        body=list[UserChange],
        body_bytes_max=USERS_BYTES_MAX,
        answer=Ok,
        codes=("invalid_request", "too_large", "conflict", NO_SEATS_AVAILABLE),
    ),
    Operation(
        method="GET",
        path="/{app}/users/{user_id}",
        handler=get_user,
        summary="Shows one user",
        access="person",
        scopes=("ACCESS_DB", "GLOBAL_READ"),
        answer=UserModel,
        codes=("user_not_found",),
    ),
    Operation(
        method="DELETE",
        path="/{app}/users/{user_id}",
        handler=remove_user,
        summary="Deletes a user with everything about them; oneself needs no GLOBAL_WRITE",
        access="person",
        scopes=("ACCESS_DB", "GLOBAL_WRITE"),
        answer=Ok,
        codes=("user_not_found",),
    ),
)
