"""What a device says when it leaves: that it signs out, or that it has erased what it held.

It signs as for a refresh. A time that a refresh was accepted for before counts for nothing here, so that a
recorded refresh neither ends a session nor confirms that anything was erased.
"""

from functools import partial
from typing import assert_never

import structlog

from admit.accounts import session_states
from admit.accounts.apps import App
from admit.accounts.session_standing import is_over
from admit.accounts.tokens import Mint
from admit.clock import Clock
from admit.errors import Conflict, InvalidGrant
from admit.signin.refresh import STALE, SignedRefresh, verify
from admit.storage.database import Database

NOT_WIPED = "not_wiped"

log = structlog.get_logger("admit.signin")


async def sign_out(db: Database, mint: Mint, clock: Clock, app: App, request: SignedRefresh) -> None:
    """Ends the session of the device, or finds it ended. Raises InvalidRequest and InvalidGrant."""
    session = (await verify(db, mint, clock, app, request)).tenant.session
    if is_over(session):
        return
    unit = partial(
        session_states.sign_out,
        app_id=app.app_id,
        session_id=session.session_id,
        now=clock(),
        time_stamp=request.time_stamp,
    )
    if await db.write(unit) == "used":
        raise InvalidGrant(STALE)
    log.info("logout.done", app_id=app.app_id, session_id=session.session_id)


async def confirm_wipe(db: Database, mint: Mint, clock: Clock, app: App, request: SignedRefresh) -> None:
    """Notes that the device of a wiped session has erased what it held.

    Raises InvalidRequest, InvalidGrant, and Conflict (not_wiped) where nobody has asked for that.
    """
    session = (await verify(db, mint, clock, app, request)).tenant.session
    if session.state != "RESET":
        raise _not_wiped()
    if session.wiped_at is not None:
        return
    unit = partial(
        session_states.confirm_wipe,
        app_id=app.app_id,
        session_id=session.session_id,
        now=clock(),
        time_stamp=request.time_stamp,
    )
    match await db.write(unit):
        case "confirmed":
            log.info("wipe.confirmed", app_id=app.app_id, session_id=session.session_id)
        case "not_wiped":
            raise _not_wiped()
        case "used":
            raise InvalidGrant(STALE)
        case other:
            assert_never(other)


def _not_wiped() -> Conflict:
    return Conflict("This device was not told to erase anything.", code=NOT_WIPED)
