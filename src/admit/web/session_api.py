"""What a device says of its own session: POST /logout and POST /wiped. Not in the Dexie Cloud contract."""

import msgspec
from starlette.responses import Response

from admit.accounts import session_states
from admit.accounts.apps import App
from admit.accounts.session_standing import find_tenants, is_over
from admit.errors import InvalidRequest
from admit.signin import leaving
from admit.signin.refresh import SignedRefresh
from admit.storage.transaction import Transaction
from admit.web.bearer import token_of, verified
from admit.web.operations import Call, Operation

SIGNED_BYTES_MAX = 32_768


class SignedToken(msgspec.Struct, frozen=True, kw_only=True):
    """A refresh token, signed as for a refresh: over the token and `time_stamp` (UTC ms)."""

    refresh_token: str
    time_stamp: int
    signing_algorithm: str
    signature: str


async def logout(call: Call) -> Response:
    """Ends the session of the device, by its access token or by its key. It may be asked for again."""
    app = await call.app()
    if (token := token_of(call)) is not None:
        await _end_session_of(call, app, token)
    else:
        gateway = call.gateway
        await leaving.sign_out(gateway.db, gateway.mint, gateway.clock, app, await _signed(call))
    return call.done()


async def wiped(call: Call) -> Response:
    """The device of a wiped session says that it has erased what it held."""
    app = await call.app()
    gateway = call.gateway
    await leaving.confirm_wipe(gateway.db, gateway.mint, gateway.clock, app, await _signed(call))
    return call.done()


async def _end_session_of(call: Call, app: App, token: str) -> None:
    claims = verified(call.gateway, app, token)
    if (session_id := claims.sid) is None:
        raise InvalidRequest("This access token belongs to no session.")
    db, now = call.gateway.db, call.gateway.clock()
    tenant = await db.read_together(find_tenants, (app.app_id, session_id))
    if tenant is None or is_over(tenant.session):
        return  # asked for again and again, it costs no write

    def end(tx: Transaction) -> None:
        session_states.end(tx, app.app_id, session_id, now, "logged_out")

    await db.write(end)


async def _signed(call: Call) -> SignedRefresh:
    body = await call.json(SignedToken)
    return SignedRefresh(
        refresh_token=body.refresh_token,
        time_stamp=body.time_stamp,
        signing_algorithm=body.signing_algorithm,
        signature=body.signature,
    )


OPERATIONS = (
    Operation(
        method="POST",
        path="/{app}/logout",
        handler=logout,
        summary="Ends the session of the device that asks, by its access token or by its key",
        access="person_or_open",
        body=SignedToken,
        body_bytes_max=SIGNED_BYTES_MAX,
        status=204,
        codes=("invalid_token", "invalid_grant"),
    ),
    Operation(
        method="POST",
        path="/{app}/wiped",
        handler=wiped,
        summary="A wiped device says that it has erased what it held",
        access="open",
        body=SignedToken,
        body_bytes_max=SIGNED_BYTES_MAX,
        status=204,
        codes=("invalid_grant", leaving.NOT_WIPED),
    ),
)
