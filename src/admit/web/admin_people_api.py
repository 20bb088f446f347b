"""/api/apps/{app}/users: who lives here."""

from typing import Annotated

import msgspec
from starlette.responses import Response

from admit.accounts import user_pages, users
from admit.accounts.apps import App
from admit.accounts.licenses import license_of
from admit.accounts.user_changes import CHANGES_MAX, Rejected, Written
from admit.accounts.user_edits import UserChange
from admit.accounts.user_pages import Sort
from admit.accounts.users import NEVER, User, UserType
from admit.enrollment.creations import write_users
from admit.enrollment.departures import delete_person
from admit.errors import NotFound, TooLarge
from admit.gateway import Gateway
from admit.storage.transaction import Transaction
from admit.web.admin_types import (
    PAGE_SIZE,
    PageSize,
    UserPage,
    UserView,
)
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app
from admit.web.users_api import Ok, refusal_of


class UsersQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which users, in which order. `search` looks for beginnings of userId, email and words of the name.

    `back`: the page before the place of `paging_key`, which is then the `back_key` of a page; the last page
    where there is none.
    """

    search: str = ""
    active: bool | None = None
    type: UserType | None = None
    sort: Sort = "created"
    desc: bool = False
    limit: PageSize = PAGE_SIZE
    paging_key: Annotated[str, msgspec.Meta(max_length=4_000)] | None = None
    back: bool = False


async def list_app_users(call: Call) -> Response:
    """A page of people."""
    app, query = await permitted_app(call), call.query(UsersQuery)
    wanted = user_pages.Query(
        search=query.search,
        active=query.active,
        type=query.type,
        sort=query.sort,
        desc=query.desc,
        limit=query.limit,
        paging_key=query.paging_key,
    )

    def find(tx: Transaction) -> user_pages.Page:
        return (user_pages.page_before if query.back else user_pages.page)(tx, app.app_id, wanted)

    page, now = await call.gateway.db.read(find), call.gateway.clock()
    shown = [_view(each, now) for each in page.users]
    return call.answer(UserPage(users=shown, paging_key=page.paging_key, back_key=page.back_key))


async def write_app_users(call: Call) -> Response:
    """Creates and changes people, all of them or none."""
    app, changes = await permitted_app(call), await call.json(list[UserChange])
    if len(changes) > CHANGES_MAX:
        raise TooLarge(f"At most {CHANGES_MAX} users can be changed at once.")
    await _write(call.gateway, app, changes)
    return call.answer(Ok())


async def show_app_user(call: Call) -> Response:
    """One person."""
    app = await permitted_app(call)
    return call.answer(await _find(call, app))


async def delete_app_user(call: Call) -> Response:
    """Deletes a person with everything about them."""
    app = await permitted_app(call)
    if not await delete_person(call.gateway.db, app.app_id, call.param("user_id"), call.gateway.clock()):
        raise _unknown()
    return call.done()


async def deactivate_app_user(call: Call) -> Response:
    """Deactivates a person, who cannot come in any more; what they have is kept."""
    return await _set_deactivated(call, deactivated=True)


async def reactivate_app_user(call: Call) -> Response:
    """Lets a deactivated person in again."""
    return await _set_deactivated(call, deactivated=False)


async def _set_deactivated(call: Call, *, deactivated: bool) -> Response:
    app = await permitted_app(call)
    await _find(call, app)  # a change would create whoever is unknown, or say so in other words
    change = UserChange(user_id=call.param("user_id"), deactivated=deactivated)
    await _write(call.gateway, app, [change])
    return call.answer(await _find(call, app))


async def _write(gateway: Gateway, app: App, changes: list[UserChange]) -> None:
    now = gateway.clock()

    def write(tx: Transaction) -> Written | Rejected:
        return write_users(tx, app, changes, who="an operator", now=now)

    outcome = await gateway.db.write(write)
    if isinstance(outcome, Rejected):
        raise refusal_of(outcome)


async def _find(call: Call, app: App) -> UserView:
    key = (app.app_id, call.param("user_id"))

    def find(tx: Transaction) -> User | None:
        return users.by_user_id(tx, [key]).get(key)

    user = await call.gateway.db.read(find)
    if user is None:
        raise _unknown()
    return _view(user, call.gateway.clock())


def _unknown() -> NotFound:
    return NotFound("There is no such user in this app.", code="user_not_found")


def _view(user: User, now: int) -> UserView:
    return UserView(
        user_id=user.user_id,
        uid=user.uid,
        email=user.email,
        email_verified=user.email_verified,
        name=user.name,
        type=user.type,
        license=license_of(user, now),
        data=user.data,
        created_at=user.created_at,
        updated_at=user.updated_at,
        last_login_at=user.last_login_at or None,
        valid_until=None if user.valid_until == NEVER else user.valid_until,
        eval_days_left=user.eval_days_left,
        eval_days_max=user.eval_days_max,
        deactivated_at=user.deactivated_at,
        locked_at=user.locked_at,
        devices_max=user.devices_max,
        way_in=user.way_in,
    )


OPERATIONS = (
    admin(
        "GET",
        "/apps/{app}/users",
        list_app_users,
        "Lists people",
        "users:read",
        query=UsersQuery,
        answer=UserPage,
    ),
    admin(
        "POST",
        "/apps/{app}/users",
        write_app_users,
        "Creates and changes people, all of them or none",
        "users:write",
        body=list[UserChange],
        answer=Ok,
    ),
    admin(
        "GET",
        "/apps/{app}/users/{user_id}",
        show_app_user,
        "Shows a person",
        "users:read",
        answer=UserView,
        codes=("user_not_found",),
    ),
    admin(
        "DELETE",
        "/apps/{app}/users/{user_id}",
        delete_app_user,
        "Deletes a person with everything about them",
        "users:write",
        codes=("user_not_found",),
    ),
    admin(
        "POST",
        "/apps/{app}/users/{user_id}/deactivation",
        deactivate_app_user,
        "Deactivates a person",
        "users:write",
        answer=UserView,
        codes=("user_not_found",),
    ),
    admin(
        "DELETE",
        "/apps/{app}/users/{user_id}/deactivation",
        reactivate_app_user,
        "Lets a person in again",
        "users:write",
        answer=UserView,
        codes=("user_not_found",),
    ),
)
