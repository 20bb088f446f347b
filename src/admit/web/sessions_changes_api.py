"""/api/v4/{app}: locking, wiping and enrolling from afar, as JourneyApps documents them (docs/compat.md)."""

from collections.abc import Callable

from starlette.responses import Response

from admit.accounts import enrollment_tokens, session_states, user_device_limit
from admit.accounts.enrollment_tokens import EnrollmentToken, NewToken
from admit.accounts.session_pages import ListedSession
from admit.accounts.session_states import NotMoved
from admit.accounts.sessions import Session
from admit.clock import iso_date
from admit.errors import Forbidden, NotFound
from admit.signin.client_credentials import IMPERSONATE
from admit.storage.transaction import Transaction
from admit.web.enrollment_tokens_api import issue
from admit.web.operations import Call, decode, read_body
from admit.web.sessions_access import admitted
from admit.web.sessions_api import (
    answer_user,
    no_such_session,
    no_such_user,
    operation,
    require_user,
    session_of,
)
from admit.web.sessions_types import (
    AuthenticationToken,
    AuthenticationTokens,
    AuthenticationTokenView,
    DeviceLimit,
    NewAuthenticationToken,
    SessionView,
    TokensWanted,
    UserWithSessions,
    session_view,
)

Transition = Callable[[Transaction, str, str, int], Session | NotMoved]
"""What is done to a session: tx, app_id, session_id, now."""


async def lock_user(call: Call) -> Response:
    """Locks a user out of every device."""
    let_in = await admitted(call)
    user, gateway = await require_user(call, let_in), call.gateway
    await session_states.lock_user(gateway.db, user.app_id, user.uid, gateway.clock())
    return await answer_user(call, let_in)


async def unlock_user(call: Call) -> Response:
    """Gives back what locking the user took."""
    let_in = await admitted(call)
    user, gateway = await require_user(call, let_in), call.gateway
    await session_states.unlock_user(gateway.db, user.app_id, user.uid, gateway.clock())
    return await answer_user(call, let_in)


async def set_device_limit(call: Call) -> Response:
    """Says how many devices a user may have enrolled at once, from the next login on."""
    let_in, body = await admitted(call), await call.json(DeviceLimit)
    user = await require_user(call, let_in)

    def change(tx: Transaction) -> bool:
        return user_device_limit.set_limit(tx, user.app_id, user.uid, body.devices_max)

    if not await call.gateway.db.write(change):
        raise no_such_user()
    return await answer_user(call, let_in)


async def lock_session(call: Call) -> Response:
    """Locks one session until it is unlocked."""
    return await _change(call, session_states.lock)


async def unlock_session(call: Call) -> Response:
    """Lets a locked session go on."""
    return await _change(call, session_states.unlock)


async def wipe_session(call: Call) -> Response:
    """Ends a session for good; its device is to erase what it holds."""
    return await _change(call, session_states.wipe)


async def reauthenticate_session(call: Call) -> Response:
    """Locks a session until its person has signed in again."""
    return await _change(call, session_states.reauthenticate)


async def create_authentication_token(call: Call) -> Response:
    """Makes a token that enrolls a device as the user, with a link and a QR code. The body may be empty.

    Whoever has a token speaks for the person, so an API client needs what it needs to do so itself.
    """
    let_in = await admitted(call)
    if let_in.client is not None and IMPERSONATE not in let_in.client.scopes:
        raise Forbidden(f"This API client lacks the scope {IMPERSONATE}.")
    body = await read_body(call.request, call.operation.body_bytes_max)
    wanted = decode(body, NewAuthenticationToken) if body.strip() else NewAuthenticationToken()
    user = await require_user(call, let_in)
    new = NewToken(
        uid=user.uid,
        maker=let_in.maker,
        device_id=wanted.device,
        uses_max=wanted.uses,
        seconds=wanted.expires_in,
    )
    issued = await issue(call.gateway, let_in.app, user, new)
    token = AuthenticationToken(
        id=issued.token_id,
        token=issued.token,
        url=issued.url,
        qr_svg=issued.qr_svg,
        expires_at=iso_date(issued.expires_at),
        uses=issued.uses_max,
        device=issued.device,
    )
    return call.answer(token, headers=let_in.headers)


async def list_authentication_tokens(call: Call) -> Response:
    """A page of the tokens of a user, newest first, whatever has become of them."""
    let_in, query = await admitted(call), call.query(TokensWanted)
    user, now = await require_user(call, let_in), call.gateway.clock()

    def find(tx: Transaction) -> list[EnrollmentToken]:
        return enrollment_tokens.of_user(
            tx, user.app_id, user.uid, now=now, before=query.after, limit=query.limit + 1
        )

    found = await call.gateway.db.read(find)
    shown = found[: query.limit]
    page = AuthenticationTokens(
        count=len(shown),
        more=len(found) > len(shown),
        next=shown[-1].token_id if len(found) > len(shown) else None,
        objects=[_view(each, now) for each in shown],
    )
    return call.answer(page, headers=let_in.headers)


async def revoke_authentication_token(call: Call) -> Response:
    """Ends a token at once. Sessions that have come of it go on."""
    let_in = await admitted(call)
    user, now = await require_user(call, let_in), call.gateway.clock()
    token_id = call.param("token_id")

    def end(tx: Transaction) -> bool:
        return enrollment_tokens.revoke(tx, user.app_id, user.uid, token_id, now)

    if not await call.gateway.db.write(end):
        raise NotFound("This user has no such token.", code="enrollment_token_not_found")
    return call.done()


async def _change(call: Call, transition: Transition) -> Response:
    """Does something to the session of the path, if it is one of the user's, and answers what it is then."""
    let_in = await admitted(call)
    user, now = await require_user(call, let_in), call.gateway.clock()

    def change(tx: Transaction) -> ListedSession | NotMoved | None:
        if (session := session_of(tx, call, user)) is None:
            return None
        moved = transition(tx, user.app_id, session.session_id, now)
        return moved if isinstance(moved, NotMoved) else session_of(tx, call, user)

    session = await call.gateway.db.write(change)
    if isinstance(session, NotMoved):
        raise session_states.refusal_of(session)
    if session is None:
        raise no_such_session()
    return call.answer(session_view(session), headers=let_in.headers)


def _view(token: EnrollmentToken, now: int) -> AuthenticationTokenView:
    return AuthenticationTokenView(
        id=token.token_id,
        state=token.state(now),
        created_at=iso_date(token.created_at),
        expires_at=iso_date(token.expires_at),
        revoked_at=None if token.revoked_at is None else iso_date(token.revoked_at),
        uses=token.uses_max,
        used=token.uses,
        device=token.device_id,
    )


_SESSION = "/users/{user_id}/sessions/{session_id}"

OPERATIONS = (
    operation(
        "POST",
        "/users/{user_id}/lock",
        lock_user,
        "Locks a user out of every device",
        answer=UserWithSessions,
        codes=("user_not_found",),
    ),
    operation(
        "POST",
        "/users/{user_id}/unlock",
        unlock_user,
        "Gives a user back what locking took",
        answer=UserWithSessions,
        codes=("user_not_found",),
    ),
    operation(
        "PUT",
        "/users/{user_id}/device-limit",
        set_device_limit,
        "Says how many devices a user may have enrolled at once",
        body=DeviceLimit,
        answer=UserWithSessions,
        codes=("user_not_found",),
    ),
    operation(
        "POST",
        f"{_SESSION}/lock",
        lock_session,
        "Locks a session until it is unlocked",
        answer=SessionView,
        codes=("user_not_found", "session_not_found", "session_over"),
    ),
    operation(
        "POST",
        f"{_SESSION}/unlock",
        unlock_session,
        "Lets a locked session go on",
        answer=SessionView,
        codes=("user_not_found", "session_not_found", "session_over", "user_locked"),
    ),
    operation(
        "POST",
        f"{_SESSION}/wipe",
        wipe_session,
        "Ends a session for good: its device is to erase what it holds",
        answer=SessionView,
        codes=("user_not_found", "session_not_found"),
    ),
    operation(
        "POST",
        f"{_SESSION}/re-authenticate",
        reauthenticate_session,
        "Locks a session until its person has signed in again",
        answer=SessionView,
        codes=("user_not_found", "session_not_found", "session_over"),
    ),
    operation(
        "POST",
        "/users/{user_id}/authentication-token",
        create_authentication_token,
        "Makes a token that enrolls a device as a user, with a link and a QR code",
        body=NewAuthenticationToken,
        status=201,
        answer=AuthenticationToken,
        codes=("user_not_found", "too_many_enrollment_tokens", "enrollment_link_unusable"),
    ),
    operation(
        "GET",
        "/users/{user_id}/authentication-tokens",
        list_authentication_tokens,
        "Lists the tokens of a user, newest first",
        query=TokensWanted,
        answer=AuthenticationTokens,
        codes=("user_not_found",),
    ),
    operation(
        "DELETE",
        "/users/{user_id}/authentication-tokens/{token_id}",
        revoke_authentication_token,
        "Revokes a token of a user",
        codes=("user_not_found", "enrollment_token_not_found"),
    ),
)
