"""/api/v4/{app}: users and sessions as JourneyApps documents them, and what scripts lacked there: reading.

Source: docs/compat.md. What changes them is in `sessions_changes_api`.
"""

from typing import Annotated, Any

from msgspec import Meta
from starlette.responses import Response

from admit.accounts import session_pages, sessions, user_session_pages, users
from admit.accounts.session_pages import ListedSession, Page
from admit.accounts.user_session_pages import Holder, HolderPage, WhichUsers
from admit.accounts.users import User
from admit.errors import NotFound
from admit.signin.proof import user_id_as_known
from admit.storage.transaction import Transaction
from admit.web.operations import Call, Handler, Method, Operation
from admit.web.sessions_access import Admitted, admitted
from admit.web.sessions_types import (
    Sessions,
    SessionsWanted,
    SessionView,
    Text,
    Users,
    UsersWanted,
    UserWithSessions,
    session_view,
    user_view,
)


class DeviceSessionsWanted(SessionsWanted, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which sessions on the devices that call themselves `device`, whoever is on them. Newest first."""

    device: Annotated[Text, Meta(min_length=1)]


async def list_users_with_sessions(call: Call) -> Response:
    """A page of users, oldest first, each with their newest sessions."""
    let_in, query = await admitted(call), call.query(UsersWanted)
    app = let_in.app
    which = WhichUsers(
        device=query.device, locked=query.locked, limit=query.limit, skip=query.skip, after=query.after
    )

    def find(tx: Transaction) -> HolderPage:
        return user_session_pages.page(tx, app.app_id, which)

    page = await call.gateway.db.read(find)
    total = page.total
    if total is None:
        total = (await call.gateway.user_totals.of(app.app_id)).of(query.locked)
    shown = Users(
        total=total,
        count=len(page.holders),
        more=page.next is not None,
        next=page.next,
        objects=[user_view(each) for each in page.holders],
    )
    return call.answer(shown, headers=let_in.headers)


async def get_user_with_sessions(call: Call) -> Response:
    """One user with their newest sessions."""
    let_in = await admitted(call)
    return await answer_user(call, let_in)


async def list_sessions_of_user(call: Call) -> Response:
    """A page of the sessions of one user, newest first."""
    let_in, query = await admitted(call), call.query(SessionsWanted)
    app, which, now = let_in.app, query.which, call.gateway.clock()
    idle_days = app.settings.session_idle_days

    def find(tx: Transaction) -> Page | None:
        if (user := user_of(tx, call, let_in)) is None:
            return None
        return session_pages.of_user(tx, user, which, now=now, idle_days=idle_days)

    page = await call.gateway.db.read(find)
    if page is None:
        raise no_such_user()
    return call.answer(_shown(page), headers=let_in.headers)


async def get_session_of_user(call: Call) -> Response:
    """One session of a user."""
    let_in = await admitted(call)

    def find(tx: Transaction) -> tuple[User | None, ListedSession | None]:
        user = user_of(tx, call, let_in)
        return user, None if user is None else session_of(tx, call, user)

    user, session = await call.gateway.db.read(find)
    if user is None:
        raise no_such_user()
    if session is None:
        raise no_such_session()
    return call.answer(session_view(session), headers=let_in.headers)


async def list_sessions_of_device(call: Call) -> Response:
    """A page of the sessions on the devices of one id, whoever is on them."""
    let_in, query = await admitted(call), call.query(DeviceSessionsWanted)
    app, which, now = let_in.app, query.which, call.gateway.clock()
    device, idle_days = query.device, app.settings.session_idle_days

    def find(tx: Transaction) -> Page:
        return session_pages.of_device(tx, app.app_id, device, which, now=now, idle_days=idle_days)

    return call.answer(_shown(await call.gateway.db.read(find)), headers=let_in.headers)


async def get_session(call: Call) -> Response:
    """One session, whoever's it is."""
    let_in = await admitted(call)
    app_id, session_id = let_in.app.app_id, call.param("session_id")

    def find(tx: Transaction) -> ListedSession | None:
        if (session := sessions.find(tx, app_id, session_id)) is None:
            return None
        (user,) = users.by_uid(tx, [(app_id, session.uid)]).values()
        return session_pages.find_listed(tx, user, session_id)

    session = await call.gateway.db.read(find)
    if session is None:
        raise NotFound("There is no such session in this app.", code="session_not_found")
    return call.answer(session_view(session), headers=let_in.headers)


async def answer_user(call: Call, let_in: Admitted) -> Response:
    """The user of the path as they are now. Raises NotFound."""

    def find(tx: Transaction) -> Holder | None:
        user = user_of(tx, call, let_in)
        return None if user is None else user_session_pages.with_sessions(tx, [user])[0]

    holder = await call.gateway.db.read(find)
    if holder is None:
        raise no_such_user()
    return call.answer(user_view(holder), headers=let_in.headers)


async def require_user(call: Call, let_in: Admitted) -> User:
    """The user of the path. Raises NotFound."""

    def find(tx: Transaction) -> User | None:
        return user_of(tx, call, let_in)

    if (user := await call.gateway.db.read(find)) is None:
        raise no_such_user()
    return user


def user_of(tx: Transaction, call: Call, let_in: Admitted) -> User | None:
    """The user whose uid or userId stands in the path; None: there is none."""
    id_ = call.param("user_id")
    return user_session_pages.find(tx, let_in.app.app_id, id_, user_id_as_known(let_in.app, id_))


def session_of(tx: Transaction, call: Call, user: User) -> ListedSession | None:
    """The session of the path, if it is one of `user`."""
    return session_pages.find_listed(tx, user, call.param("session_id"))


def no_such_user() -> NotFound:
    """For a user who is not there."""
    return NotFound("There is no such user in this app.", code="user_not_found")


def no_such_session() -> NotFound:
    """For a session that is not there, or another user's."""
    return NotFound("This user has no such session.", code="session_not_found")


def operation(
    method: Method,
    path: str,
    handler: Handler,
    summary: str,
    *,
    query: Any = None,
    body: Any = None,
    status: int = 200,
    answer: Any = None,
    codes: tuple[str, ...] = (),
) -> Operation:
    """An operation of the Sessions API: a GET needs sessions:read, all else sessions:write."""
    return Operation(
        method=method,
        path=f"/api/v4/{{app}}{path}",
        handler=handler,
        summary=summary,
        access="operator_or_client",
        scopes=("sessions:read" if method == "GET" else "sessions:write",),
        query=query,
        body=body,
        status=status,
        answer=answer,
        codes=codes,
    )


def _shown(page: Page) -> Sessions:
    return Sessions(
        total=page.total,
        count=len(page.sessions),
        more=page.next is not None,
        next=page.next,
        objects=[session_view(each) for each in page.sessions],
    )


OPERATIONS = (
    operation(
        "GET",
        "/users",
        list_users_with_sessions,
        "Lists users with their newest sessions",
        query=UsersWanted,
        answer=Users,
    ),
    operation(
        "GET",
        "/users/{user_id}",
        get_user_with_sessions,
        "Shows a user, by uid or userId, with their newest sessions",
        answer=UserWithSessions,
        codes=("user_not_found",),
    ),
    operation(
        "GET",
        "/users/{user_id}/sessions",
        list_sessions_of_user,
        "Lists the sessions of a user, newest first",
        query=SessionsWanted,
        answer=Sessions,
        codes=("user_not_found",),
    ),
    operation(
        "GET",
        "/users/{user_id}/sessions/{session_id}",
        get_session_of_user,
        "Shows a session of a user",
        answer=SessionView,
        codes=("user_not_found", "session_not_found"),
    ),
    operation(
        "GET",
        "/sessions",
        list_sessions_of_device,
        "Lists the sessions on the devices of one id, whoever is on them",
        query=DeviceSessionsWanted,
        answer=Sessions,
    ),
    operation(
        "GET",
        "/sessions/{session_id}",
        get_session,
        "Shows a session, whoever's it is",
        answer=SessionView,
        codes=("session_not_found",),
    ),
)
