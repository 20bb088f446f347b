"""/api/apps/{app}/users/{user_id}/enrollment-tokens: what enrolls a device by a link or a QR code."""

import asyncio
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.responses import Response

from admit.accounts import enrollment_links, enrollment_tokens, users
from admit.accounts.apps import App
from admit.accounts.enrollment_links import PLACE
from admit.accounts.enrollment_tokens import SECONDS_DEFAULT, EnrollmentToken, Maker, Minted, NewToken, State
from admit.accounts.users import User
from admit.errors import NotFound
from admit.gateway import Gateway
from admit.storage.transaction import Transaction
from admit.web import qr
from admit.web.admin_types import PAGE_SIZE, Moment, PageSize, Text
from admit.web.bearer import issuer_of
from admit.web.operations import Call
from admit.web.operator_access import admin, permitted_app, permitted_in_app


class NewEnrollmentToken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token to make: for how long, for how many enrollments, and for which device only."""

    expires_in_seconds: Annotated[
        int,
        Meta(
            ge=enrollment_tokens.SECONDS_MIN,
            le=enrollment_tokens.SECONDS_MAX,
            description="15 minutes unless something else is asked for.",
        ),
    ] = SECONDS_DEFAULT
    uses_max: Annotated[int, Meta(ge=1, le=enrollment_tokens.USES_MAX)] = 1
    device: Annotated[Text | None, Meta(description="The id that the device sends. None: any device.")] = None


class IssuedEnrollmentToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token right after it was made: neither it nor its link can be read again."""

    token_id: str
    token: str
    url: Annotated[str, Meta(description="The link that carries the token to the app.")]
    qr_svg: Annotated[str, Meta(description="A data URL: the link as a picture to scan.")]
    user_id: str
    device: str | None
    uses_max: int
    expires_at: Moment


class EnrollmentTokenView(msgspec.Struct, frozen=True, kw_only=True):
    """A token as it is kept, which is without the token."""

    token_id: str
    state: State
    device: str | None
    uses_max: int
    uses: int
    created_at: Moment
    expires_at: Moment
    revoked_at: Moment | None


class EnrollmentTokenPage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of a user, newest first. `before` leads to the next page; None: there is none."""

    tokens: list[EnrollmentTokenView]
    before: str | None


class TokensQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which page: older than `before`."""

    before: Text | None = None
    limit: PageSize = PAGE_SIZE


async def create_enrollment_token(call: Call) -> Response:
    """Makes a token for a person and tells it, this once."""
    (app, operator), body = await permitted_in_app(call), await call.json(NewEnrollmentToken)
    user = await _user(call, app)
    wanted = NewToken(
        uid=user.uid,
        maker=Maker(operator_token_id=operator.revocable_id),
        device_id=body.device,
        uses_max=body.uses_max,
        seconds=body.expires_in_seconds,
    )
    return call.answer(await issue(call.gateway, app, user, wanted))


async def issue(gateway: Gateway, app: App, user: User, wanted: NewToken) -> IssuedEnrollmentToken:
    """Makes a token for `user`, with its link and the link's picture. What every door does that makes one.

    Raises as `enrollment_links.template_of` and `enrollment_tokens.mint` do; then there is no token.
    """
    enrollment_tokens.check(wanted)
    template = enrollment_links.template_of(app, issuer_of(gateway, app))
    now = gateway.clock()

    def make(tx: Transaction) -> Minted:
        return enrollment_tokens.mint(tx, gateway.ring, app.app_id, wanted, now)

    minted = await gateway.db.write(make)
    url = template.replace(PLACE, minted.token)
    return IssuedEnrollmentToken(
        token_id=minted.about.token_id,
        token=minted.token,
        url=url,
        qr_svg=await asyncio.to_thread(qr.svg_of, url),  # takes some 15 ms
        user_id=user.user_id,
        device=minted.about.device_id,
        uses_max=minted.about.uses_max,
        expires_at=minted.about.expires_at,
    )


async def list_enrollment_tokens(call: Call) -> Response:
    """A page of the tokens of a person, whatever has become of them."""
    app, query = await permitted_app(call), call.query(TokensQuery)
    user, now = await _user(call, app), call.gateway.clock()

    def find(tx: Transaction) -> list[EnrollmentToken]:
        return enrollment_tokens.of_user(
            tx, app.app_id, user.uid, now=now, before=query.before, limit=query.limit
        )

    found = await call.gateway.db.read(find)
    before = found[-1].token_id if len(found) == query.limit else None
    return call.answer(EnrollmentTokenPage(tokens=[_view(each, now) for each in found], before=before))


async def revoke_enrollment_token(call: Call) -> Response:
    """Ends a token at once. Sessions that have come of it go on."""
    app = await permitted_app(call)
    user, token_id, now = await _user(call, app), call.param("token_id"), call.gateway.clock()

    def end(tx: Transaction) -> bool:
        return enrollment_tokens.revoke(tx, app.app_id, user.uid, token_id, now)

    if not await call.gateway.db.write(end):
        raise NotFound("There is no such enrollment token of this user.", code="enrollment_token_not_found")
    return call.done()


async def _user(call: Call, app: App) -> User:
    key = (app.app_id, call.param("user_id"))

    def find(tx: Transaction) -> User | None:
        return users.by_user_id(tx, [key]).get(key)

    user = await call.gateway.db.read(find)
    if user is None:
        raise NotFound("There is no such user in this app.", code="user_not_found")
    return user


def _view(token: EnrollmentToken, now: int) -> EnrollmentTokenView:
    return EnrollmentTokenView(
        token_id=token.token_id,
        state=token.state(now),
        device=token.device_id,
        uses_max=token.uses_max,
        uses=token.uses,
        created_at=token.created_at,
        expires_at=token.expires_at,
        revoked_at=token.revoked_at,
    )


OPERATIONS = (
    admin(
        "POST",
        "/apps/{app}/users/{user_id}/enrollment-tokens",
        create_enrollment_token,
        "Makes a token that enrolls a device as a person, with a link and a QR code",
        "sessions:write",
        body=NewEnrollmentToken,
        answer=IssuedEnrollmentToken,
        codes=("user_not_found", "too_many_enrollment_tokens", "enrollment_link_unusable"),
    ),
    admin(
        "GET",
        "/apps/{app}/users/{user_id}/enrollment-tokens",
        list_enrollment_tokens,
        "Lists the enrollment tokens of a person, newest first",
        "sessions:read",
        query=TokensQuery,
        answer=EnrollmentTokenPage,
        codes=("user_not_found",),
    ),
    admin(
        "DELETE",
        "/apps/{app}/users/{user_id}/enrollment-tokens/{token_id}",
        revoke_enrollment_token,
        "Revokes an enrollment token",
        "sessions:write",
        codes=("user_not_found", "enrollment_token_not_found"),
    ),
)
